# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's own interface in a bridge, ``control0``, so that guests are in the lab's net; and back again.

The interface is the one the host is reached by, so everything moves in one run of `ip`: the bridge gets the interface's MAC, addresses and
routes. Before that a watchdog is started that outlives the connection and puts everything back, unless somebody confirms over a new
connection that the host can be reached. All experiments of a host share the bridge; with the last one the interface comes back.

    ROOT/.control0/                   root's
        state.json                    what the interface had; the watchdog's process
        restore                       the commands of ip that bring it back
        armed | fired                 the watchdog waits; it has put everything back

What happens, happens to the one of these who could rename ``armed``: the watchdog, whoever confirms, or the last who leaves.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import host_links
from .host_links import LinkError
from .processes import Process, alive, boot_id, spawn, stop
from .real_interfaces import owner
from .rundir import existing, host_lock, passage, read_json, remove, write_file, write_json

BRIDGE = "control0"
FOREVER = 4294967295
# Least seconds an address that the lab lent comes back with: its client asks for more in time.
LEAST_LIFETIME = 600
WATCHDOG = 'sleep "$1"; mv "$2/armed" "$2/fired" 2>/dev/null || exit 0; exec ip -force -batch "$2/restore"'
# How the host treats packets is a matter of the interface they come by.
COPIED = (
    *(f"ipv4/conf/{{}}/{key}" for key in ("rp_filter", "arp_ignore", "arp_announce", "accept_redirects", "accept_local", "forwarding")),
    *(f"ipv6/conf/{{}}/{key}" for key in ("disable_ipv6", "forwarding", "accept_ra", "autoconf", "accept_redirects")),
)
# Keys of `ip -json route` that say how a route is doing, not what it is.
PASSING = {"dst", "dev", "flags", "type", "expires", "age", "used", "users", "cache", "error", "metrics", "via"}
PLAIN = {"gateway": "via", "prefsrc": "src", "metric": "metric", "protocol": "proto", "scope": "scope", "table": "table", "pref": "pref"}
# How ip names the line of a batch that failed.
BROKEN = re.compile(r"Command failed -:(\d+)")
LOCAL = {"local", "broadcast", "anycast", "multicast"}


def home(root: str) -> str:
    """Directory of what must be known of the interface; no experiment's."""
    return f"{root}/.control0"


def state(root: str) -> dict[str, Any]:
    """Return what the interface had; nothing when it is not bridged by us."""
    record = read_json(f"{home(root)}/state.json")
    # What an earlier boot of the host has bridged is as the host itself sets it up again.
    return record if record.get("boot") == boot_id() and _sound(record) else {}


def _sound(record: Mapping[str, Any]) -> bool:
    """Tell whether a record can bring the interface back; without one, what the bridge has now is what the interface gets."""
    try:
        restoring(record, 0.0)
        taking("", record)
        return isinstance(record["interface"], str) and isinstance(record.get("since", 0.0), (int, float))
    except (AttributeError, KeyError, TypeError, ValueError):
        return False


def pending(root: str) -> bool:
    """Tell whether the watchdog waits for somebody to confirm."""
    return os.path.exists(f"{home(root)}/armed")


def fired(root: str) -> bool:
    """Tell whether the watchdog has put everything back."""
    return os.path.exists(f"{home(root)}/fired")


def uplink(root: str, wanted: str = "") -> str:
    """Return the interface that is or shall be bridged: the one that is wanted, or that of the default route. Raises LinkError."""
    carried = str(state(root).get("interface") or "")
    if wanted or (carried and stands(root)):
        return wanted or carried
    for family in ("-4", "-6"):
        routes = json.loads(host_links.run(["ip", "-json", family, "route", "show", "default"]) or "[]")
        devices = [route["dev"] for route in sorted(routes, key=lambda route: int(route.get("metric", 0))) if route.get("dev")]
        if devices:
            return str(devices[0])
    raise LinkError("this host has no default route: say with control_interface which interface is to be bridged")


def stands(root: str) -> bool:
    """Tell whether the interface is in the bridge, and the bridge is ours."""
    record = state(root)
    ours = host_links.alias(BRIDGE) == _alias(root, str(record.get("interface")))
    return bool(record) and ours and not fired(root) and host_links.master(str(record["interface"])) == BRIDGE


def needs(root: str, wanted: str) -> str:
    """Say why the interface must be bridged; nothing when it is."""
    if stands(root):
        return ""
    return "taken back by the host" if fired(root) else "not there"


def check(root: str, wanted: str) -> None:
    """Raise LinkError when the interface cannot be bridged."""
    interface = uplink(root, wanted)
    if stands(root):
        carried = state(root)["interface"]
        if interface != carried:
            raise LinkError(f"{BRIDGE} of this host carries {carried} already, not {interface}: all experiments of a host share one")
        return
    if not host_links.exists(interface):
        raise LinkError(f"this host has no interface {interface}: choose one with control_interface")
    if host_links.exists(BRIDGE) and not host_links.alias(BRIDGE).startswith(f"{root}:"):
        raise LinkError(f"there is an interface {BRIDGE} already which is not ours: remove it, or use another control_mode")
    if host_links.is_bridge(interface) or host_links.master(interface):
        raise LinkError(f"the interface {interface} is a bridge or in one already: choose a plain one with control_interface")
    if interface == "lo" or os.path.exists(f"/sys/class/net/{interface}/wireless"):
        raise LinkError(f"the interface {interface} cannot be in a bridge: choose a wired one with control_interface")
    if owner(interface):
        raise LinkError(f"the interface {interface} is that of a node of {owner(interface)}: choose another with control_interface")
    routes_of(interface)


def take(root: str, wanted: str, deadline: int, mark: str) -> bool:
    """Bridge the interface, unless it is. True when it was done, and waits to be confirmed. Raises LinkError with everything as it was."""
    with host_lock(root):
        check(root, wanted)
        if stands(root):
            return False
        interface = uplink(root, wanted)
        if host_links.exists(BRIDGE):
            _put_back(root)
        remove(home(root))
        passage(home(root))
        had = {**captured(interface), "since": time.time(), "boot": boot_id()}
        write_json(f"{home(root)}/state.json", had)
        write_file(f"{home(root)}/restore", "".join(f"{line}\n" for line in restoring(had)).encode())
        write_file(f"{home(root)}/armed", b"")
        argv = ["sh", "-c", WATCHDOG, "benito-watchdog", str(deadline), home(root)]
        watchdog = spawn(argv, mark=mark, log=f"{home(root)}/log", unit="benito-watchdog")
        write_json(f"{home(root)}/state.json", {**had, "watchdog": watchdog.to_record()})
        try:
            _batch([f"link add name {BRIDGE} type bridge stp_state 0 forward_delay 0"])
            _copy_settings(interface)
            _batch(taking(root, had))
        except (LinkError, OSError):
            _put_back(root)
            raise
        return True


def confirm(root: str) -> None:
    """Say that the host can be reached. Raises LinkError when the watchdog was faster."""
    with host_lock(root):
        if not pending(root):
            if stands(root):
                return
            raise LinkError(
                f"nobody could reach this host by {BRIDGE} in time, and it has taken {state(root).get('interface')} back: "
                "look whether the lab's switch and this host's own firewall let guests' MACs and the bridge through"
            )
        try:
            os.rename(f"{home(root)}/armed", f"{home(root)}/confirmed")
        except FileNotFoundError:
            raise LinkError(f"this host has just taken {state(root).get('interface')} back: it was confirmed too late") from None
        stop(_watchdog(root))


def users(root: str, leaving: str = "") -> list[str]:
    """Return who needs the bridge: experiments by name, and TAPs in it. What bears the mark ``leaving`` does not count."""
    found = []
    for rundir in existing(root):
        if rundir.mark == leaving:
            continue
        claim = read_json(f"{rundir.path}/control.json").get("claim")
        if isinstance(claim, dict) and claim.get("mode") == "bridge":
            found.append(f"{rundir.project}/{rundir.experiment}")
    taps = {port: host_links.alias(port) for port in host_links.ports(BRIDGE)}
    return found + [port for port, alias in taps.items() if alias != leaving and "/" in alias.rpartition(":")[2]]


def unused(root: str, leaving: str = "") -> str:
    """Return the interface that nobody needs in the bridge, save who bears the mark ``leaving``; nothing when there is none."""
    there = bool(state(root)) or host_links.alias(BRIDGE).startswith(f"{root}:{BRIDGE}:")
    return _carried(root) if there and not users(root, leaving) else ""


def release(root: str, leaving: str = "") -> bool:
    """Give the host its interface back when no experiment needs the bridge, save who bears the mark ``leaving``.

    True when something was done. Raises LinkError.
    """
    if not unused(root, leaving):
        return False
    with host_lock(root):
        if users(root, leaving):
            return False
        _put_back(root)
        return True


def _put_back(root: str) -> None:
    """Bring the interface back to what it had, and forget it. The watchdog, if it waits, is called off."""
    interface = _carried(root)
    with contextlib.suppress(FileNotFoundError):
        os.rename(f"{home(root)}/armed", f"{home(root)}/released")
    stop(_watchdog(root))
    if (not fired(root) and state(root)) or host_links.exists(BRIDGE):
        # Without a record, what the bridge has now is what the interface gets.
        had = state(root) or {**captured(BRIDGE), "interface": interface}
        _batch(restoring(had, time.time() - float(had.get("since", time.time()))), force=True)
        missing = _lost(had)
        if missing:
            raise LinkError(f"{interface} did not get back what it had: {'; '.join(missing)}; see {home(root)}/restore")
    remove(home(root))


def _lost(had: Mapping[str, Any]) -> list[str]:
    """Compare the interface with what it had: what is missing."""
    now = captured(str(had["interface"]))
    lost = [f"address {a['local']}" for a in had["addresses"] if a["local"] not in [b["local"] for b in now["addresses"]]]
    routes = [" ".join(route_words(r, "")) for r in now["routes"]]
    return lost + [f"route {words}" for r in had["routes"] if (words := " ".join(route_words(r, ""))) not in routes]


def _carried(root: str) -> str:
    """Return the interface that is in the bridge, by the record or by the bridge's alias."""
    return str(state(root).get("interface") or host_links.alias(BRIDGE).rpartition(":")[2])


def _watchdog(root: str) -> Process | None:
    process = Process.from_record(state(root).get("watchdog"))
    return process if alive(process) else None


def watchdog(root: str) -> Process | None:
    """Return the process that waits for somebody to confirm."""
    return _watchdog(root)


def _alias(root: str, interface: str) -> str:
    return f"{root}:{BRIDGE}:{interface}"


def _batch(lines: Sequence[str], force: bool = False) -> None:
    """Run commands of ip in one process. With ``force`` those that fail do not matter."""
    text = "".join(f"{line}\n" for line in lines)
    argv = ["ip", *(["-force"] if force else []), "-batch", "-"]
    done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=60, check=False)
    failed = BROKEN.search(done.stderr)
    if done.returncode and not force:
        line = lines[int(failed[1]) - 1] if failed else "-batch -"
        raise LinkError(f"ip {line}: {(done.stderr.strip().splitlines() or ['failed'])[0]}")


def _copy_settings(interface: str) -> None:
    for pattern in COPIED:
        value = host_links.setting(pattern.format(interface))
        with contextlib.suppress(LinkError):
            if value:
                host_links.change_setting(pattern.format(BRIDGE), value)


def captured(interface: str) -> dict[str, Any]:
    """Return what an interface has: MAC, MTU, addresses and routes as `ip -json` shows them. Raises LinkError."""
    [link] = host_links.links("dev", interface)
    addresses = [address for address in link.get("addr_info", []) if address.get("local") and not address.get("temporary")]
    return {
        "interface": interface,
        "mac": link.get("address"),
        "mtu": link["mtu"],
        "addresses": addresses,
        "routes": routes_of(interface, addresses),
    }


def routes_of(interface: str, addresses: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """Return the routes over an interface that do not come by themselves with an address. Raises LinkError for what cannot be moved."""
    found = []
    for family in ("-4", "-6"):
        try:
            routes = json.loads(host_links.run(["ip", "-json", family, "route", "show", "table", "all"]) or "[]")
        except LinkError:
            continue
        for route in routes:
            if any(hop.get("dev") == interface for hop in route.get("nexthops", [])):
                raise LinkError(f"the route {route['dst']} has several next hops, one over {interface}: such a host cannot be bridged")
            if route.get("dev") != interface or route.get("type") in LOCAL or route.get("table") == "local":
                continue
            unknown = sorted(set(route) - PASSING - set(PLAIN))
            if unknown:
                raise LinkError(f"the route {route['dst']} over {interface} has {', '.join(unknown)}: such a host cannot be bridged")
            if not _comes_by_itself(route, addresses):
                found.append({**route, "family": "inet6" if family == "-6" else "inet"})
    # What leads to the next hops comes first.
    return sorted(found, key=lambda route: "gateway" in route or "via" in route)


def _comes_by_itself(route: Mapping[str, Any], addresses: Sequence[Mapping[str, Any]]) -> bool:
    if route.get("protocol") != "kernel" or "gateway" in route:
        return False

    def brings(address: Mapping[str, Any]) -> bool:
        network = str(ipaddress.ip_interface(f"{address.get('address') or address['local']}/{address['prefixlen']}").network)
        return not address.get("noprefixroute") and route["dst"] in (network, network.partition("/")[0])

    return any(map(brings, addresses))


def _moving(had: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the addresses that move, in the order in which they must be added: the kernel shows the newest of IPv6 first.

    Those of the link itself stay: the kernel has made them, and both interfaces may have the same.
    """
    addresses = had["addresses"]
    six = [address for address in addresses if address["family"] == "inet6" and address.get("scope") != "link"]
    return [address for address in addresses if address["family"] == "inet"] + six[::-1]


def taking(root: str, had: Mapping[str, Any]) -> list[str]:
    """Return the commands that move everything from the interface to the bridge."""
    interface = had["interface"]
    links = [a for a in had["addresses"] if a["family"] == "inet6" and a.get("scope") == "link"]
    return [
        f"link set dev {BRIDGE} alias {_alias(root, interface)}",
        f"link set dev {BRIDGE} mtu {had['mtu']} address {had['mac']} addrgenmode none",
        f"link set dev {BRIDGE} up",
        *(f"address add {a['local']}/{a['prefixlen']} dev {BRIDGE} nodad" for a in links),
        # From here to the last line the host cannot be reached.
        *(f"route del {' '.join(route_words(r, interface))}" for r in reversed(had["routes"])),
        *(f"address del {a['local']}/{a['prefixlen']} dev {interface}" for a in reversed(_moving(had))),
        f"link set dev {interface} master {BRIDGE}",
        *(f"address add {' '.join(_address_words(a, interface, BRIDGE))}" for a in _moving(had)),
        *(f"route add {' '.join(route_words(r, BRIDGE))}" for r in had["routes"]),
    ]


def restoring(had: Mapping[str, Any], passed: float = 0.0) -> list[str]:
    """Return the commands that bring everything back; ``passed`` seconds ago it was taken. Each may fail because there is nothing to do."""
    interface = had["interface"]
    return [
        # With the bridge go its addresses and routes, and its ports are free.
        f"link delete dev {BRIDGE}",
        f"link set dev {interface} nomaster",
        *(f"address add {' '.join(_address_words(a, BRIDGE, interface, passed))}" for a in _moving(had)),
        *(f"route add {' '.join(route_words(r, interface, passed))}" for r in had["routes"]),
    ]


def _address_words(address: Mapping[str, Any], old: str, device: str, passed: float | None = None) -> Iterator[str]:
    """Say an address as `ip address add` wants it. On the bridge (without ``passed``) it has it for good."""
    local = f"{address['local']}/{address['prefixlen']}"
    yield from [address["local"], "peer", f"{address['address']}/{address['prefixlen']}"] if address.get("address") else [local]
    yield from ("dev", device)
    if address["family"] == "inet":
        if address.get("broadcast"):
            yield from ("broadcast", address["broadcast"])
        label = str(address.get("label") or "")
        if ":" in label:
            yield from ("label", f"{device}:{label.partition(':')[2]}")
        if address.get("scope") not in (None, "global"):
            yield from ("scope", address["scope"])
    else:
        yield "nodad"
        if address.get("mngtmpaddr") and passed is not None:
            yield "mngtmpaddr"
    if address.get("metric"):
        yield from ("metric", str(address["metric"]))
    if address.get("noprefixroute"):
        yield "noprefixroute"
    for key, word in (("valid_life_time", "valid_lft"), ("preferred_life_time", "preferred_lft")):
        seconds = int(address.get(key, FOREVER))
        if passed is not None and 0 < seconds < FOREVER:
            yield from (word, str(max(LEAST_LIFETIME, int(seconds - passed))))


def route_words(route: Mapping[str, Any], device: str, passed: float | None = None) -> Iterator[str]:
    """Say a route as `ip route add` wants it."""
    if route.get("type", "unicast") != "unicast":
        yield route["type"]
    default = "::/0" if route["family"] == "inet6" else "0.0.0.0/0"
    yield default if route["dst"] == "default" else route["dst"]
    if route.get("via"):
        yield from ("via", str(route["via"]["family"]), str(route["via"]["host"]))
    for key, word in PLAIN.items():
        if key in route:
            yield from (word, str(route[key]))
    for metrics in route.get("metrics", []):
        for key, value in metrics.items():
            yield from (key, str(value))
    if "onlink" in route.get("flags", []):
        yield "onlink"
    if device:
        yield from ("dev", device)
    if passed is not None and route.get("expires"):
        yield from ("expires", str(max(LEAST_LIFETIME, int(route["expires"] - passed))))

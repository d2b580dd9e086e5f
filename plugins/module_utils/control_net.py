# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control net of an experiment on this host.

In the modes ``nat`` and ``ports`` it is a bridge with a private subnet of its own, reachable from the host and masqueraded to the outside;
with ``ports`` ports of the host lead to the guests' ssh. In ``bridge`` guests are in the lab's net (see control_bridge). In ``none``
there is nothing. What an experiment has on the host is written into its record before it is made, and others are refused the same.

The rules are those of least privilege: guests may speak to the outside with an address of the control net as source and to nothing on the
host but its answers and ping; nobody outside and no other experiment reaches a guest; guests do not reach each other.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from . import control_bridge, host_links
from .control_rules import ControlGuest, guarded, label, routed
from .host_links import LinkError
from .rundir import RunDir, existing, host_lock, read_json, remove, write_file, write_json
from .untrusted import UntrustedError, read_bytes

FORWARDING = "/proc/sys/net/ipv4/ip_forward"
LISTENING = "0A"
NAME = re.compile(r"[A-Za-z0-9]{1,15}\Z")
DEVICE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,14}\Z")
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")


@dataclass(frozen=True)
class ControlNet:
    """Name of the bridge, the guests' gateway and the subnet's prefix length; in mode ``bridge`` there may be neither gateway nor subnet.

    ``table`` names the experiment's nftables tables, ``uplink`` the host's interface to be bridged (empty for that of the default route),
    ``deadline`` the seconds after which the host takes it back, ``span`` the ports that are the experiment's.
    """

    bridge: str
    address: str
    prefix: int
    mode: str = "nat"
    table: str = ""
    uplink: str = ""
    deadline: int = 30
    span: tuple[int, ...] = ()
    guests: tuple[ControlGuest, ...] = ()

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> ControlNet:
        """Take the document's ``control``. Raises LinkError."""
        mode = str(options.get("mode") or "nat")
        bridge = str(options["bridge"])
        table = str(options.get("table") or "")
        uplink = str(options.get("interface") or "")
        address = str(options.get("address") or "")
        prefix = int(options.get("prefix") or 0)
        for what, word in (("bridge", bridge), ("table", table or bridge)):
            if not NAME.match(word):
                raise LinkError(f"control.{what} must be at most 15 letters and digits, not {word[:40]!r}")
        if uplink and not DEVICE.match(uplink):
            raise LinkError(f"control.interface must be the name of a network interface, not {uplink[:40]!r}")
        if mode in ("nat", "ports") or address:
            try:
                ipaddress.IPv4Interface(f"{address}/{prefix}")
            except ValueError as error:
                raise LinkError(f"control: {error}") from error
        span = tuple(int(port) for port in options.get("ports") or ())
        if span and not (len(span) == 2 and 1024 <= span[0] <= span[1] <= 65535):
            raise LinkError(f"control.ports must be the first and the last port of a range from 1024 to 65535, not {span}")
        guests = tuple(_guest(entry, mode, span) for entry in options.get("guests") or ())
        return cls(bridge, address, prefix, mode, table, uplink, int(options.get("deadline") or 30), span, guests)

    @property
    def own_table(self) -> str:
        """The name of the experiment's tables."""
        return self.table or self.bridge

    @property
    def behind_host(self) -> bool:
        """Whether this host routes for the guests."""
        return self.mode in ("nat", "ports")

    @property
    def interface(self) -> str:
        """The bridge's address with its prefix length."""
        return f"{self.address}/{self.prefix}"

    @property
    def subnet(self) -> ipaddress.IPv4Network:
        """The subnet of the control net."""
        return ipaddress.IPv4Interface(self.interface).network

    @property
    def claim(self) -> dict[str, Any]:
        """What nobody else may have on this host (bridge mode: in this net), as JSON."""
        return {
            "mode": self.mode,
            "bridge": self.bridge,
            "table": self.table,
            "address": self.address,
            "prefix": self.prefix,
            "interface": self.uplink,
            "deadline": self.deadline,
            "ports": list(self.span),
            "guests": [asdict(guest) for guest in self.guests],
        }


def _guest(entry: Mapping[str, Any], mode: str, span: tuple[int, ...]) -> ControlGuest:
    name = str(entry.get("name"))
    guest = ControlGuest(name, str(entry["tap"]), str(entry["mac"]), str(entry.get("address") or ""), int(entry.get("port") or 0))
    try:
        fine = not guest.address or bool(ipaddress.IPv4Address(guest.address))
    except ValueError:
        fine = False
    if not (fine and WORD.match(name) and DEVICE.match(guest.tap) and MAC.match(guest.mac)) or (mode != "bridge" and not guest.address):
        raise LinkError(f"control: guest {name[:64]!r} must have the name of a TAP, a MAC in lower case and an IPv4 address")
    if guest.port and (mode != "ports" or not span or not span[0] <= guest.port <= span[1]):
        raise LinkError(f"control: port {guest.port} of {name} is not one of the experiment's")
    return guest


def rules(rundir: RunDir, net: ControlNet) -> str:
    """Return the experiment's nftables tables."""
    inet = routed(rundir.mark, net.bridge, net.subnet, net.guests) if net.behind_host else ""
    return inet + guarded(rundir.mark, net.own_table, net.guests)


def recorded(rundir: RunDir) -> ControlNet | None:
    """Return the control net that was last wanted here; None when there is no record of it."""
    claim = read_json(f"{rundir.path}/control.json").get("claim")
    try:
        return ControlNet.from_options(claim) if isinstance(claim, dict) else None
    except (LinkError, AttributeError, KeyError, OverflowError, TypeError, ValueError):
        return None


def needs(rundir: RunDir, net: ControlNet) -> list[str]:
    """Say what must be done for the control net; empty when everything is as wanted."""
    todo = []
    if net.mode == "bridge":
        if control_bridge.needs(rundir.root, net.uplink):
            todo.append("bridge")
    elif net.behind_host:
        if not host_links.exists(net.bridge):
            todo.append("bridge")
        elif host_links.addresses(net.bridge) != [net.interface] or not _is_up(net.bridge):
            todo.append("address")
    record = read_json(f"{rundir.path}/control.json")
    if net.mode == "none":
        if record:
            todo.append("record")
    elif record.get("claim") != net.claim or record.get("rules") != rules(rundir, net) or listing_all(net) != record.get("listing"):
        todo.append("rules")
    if net.behind_host and forwarding() != "1":
        todo.append("forwarding")
    if outlived(rundir, net):
        todo.append("leftovers")
    return todo


def described(rundir: RunDir) -> dict[str, Any]:
    """Say how the control net of an experiment is, for people and programs: ``state`` is up, broken or absent."""
    net = recorded(rundir)
    if net is None:
        return {"state": "absent", "mode": "", "name": "", "interface": "", "detail": ""}
    missing = needs(rundir, net)
    detail = f"the control net is not as it was made: {', '.join(missing)}" if missing else ""
    carried = ""
    if net.mode == "bridge":
        carried = str(control_bridge.state(rundir.root).get("interface") or "")
        if control_bridge.fired(rundir.root):
            detail = f"the host has taken {carried} out of {control_bridge.BRIDGE}, since nobody reached it in time"
        elif not missing and control_bridge.pending(rundir.root):
            detail = f"the host takes {carried} out of {control_bridge.BRIDGE} unless it is confirmed in time"
    return {"state": "broken" if missing else "up", "mode": net.mode, "name": net.bridge, "interface": carried, "detail": detail}


def outlived(rundir: RunDir, net: ControlNet) -> list[str]:
    """Return what an earlier mode of this experiment's control net has left: names of tables and of bridges, and ports of the latter."""
    wanted = {"nat": {net.bridge}, "ports": {net.bridge}}.get(net.mode, set())
    families = {net.bridge: net.behind_host, f"bridge {net.own_table}": bool(net.guests) and net.mode != "none"}
    earlier = recorded(rundir)
    names = {net.own_table, *([earlier.own_table, earlier.bridge] if earlier else [])} - {control_bridge.BRIDGE}
    found = [table for table in tables(rundir.mark) if table.split()[-1] in names and not families.get(table)]
    bridges = [name for name in sorted(names - wanted) if host_links.alias(name) == rundir.mark and host_links.is_bridge(name)]
    orphans = [port for name in bridges for port in host_links.ports(name)] if net.mode == "none" else []
    return [*found, *bridges, *orphans]


def check_free(rundir: RunDir, net: ControlNet) -> None:
    """Raise LinkError when something the net needs is somebody else's on this host."""
    if net.behind_host:
        _check_networks(rundir, net)
    if net.mode == "bridge":
        control_bridge.check(rundir.root, net.uplink)
        own = {address.split("/")[0] for link in host_links.links() for address in host_links.inet(link)}
        for guest in net.guests:
            if guest.address in own:
                raise LinkError(f"the control address {guest.address} of {guest.name} is this host's own: choose another")
    for other in existing(rundir.root):
        theirs = None if other.mark == rundir.mark else recorded(other)
        if theirs:
            _check_claims(net, theirs, f"{other.project}/{other.experiment}")
    used = _listening()
    for guest in net.guests:
        if guest.port in used:
            raise LinkError(f"port {guest.port} of {guest.name} is a program's on this host: choose another range with control_ports")


def _check_networks(rundir: RunDir, net: ControlNet) -> None:
    for link in host_links.links():
        if link["ifname"] == net.bridge:
            continue
        for address in host_links.inet(link):
            other = ipaddress.IPv4Interface(address).network
            if other.overlaps(net.subnet):
                spare = f"172.31.{sum(rundir.mark.encode()) % 256}.0/24"
                raise LinkError(
                    f"the control net {net.subnet} overlaps with {other} of {link['ifname']} on this host: "
                    f"choose another with control_subnet, for example {spare}"
                )


def _check_claims(net: ControlNet, theirs: ControlNet, owner: str) -> None:
    """Compare with what another experiment has on this host."""
    if net.behind_host and theirs.behind_host and net.subnet.overlaps(theirs.subnet):
        raise LinkError(f"the control net {net.subnet} overlaps with {theirs.subnet} of {owner}: choose another with control_subnet")
    if net.span and theirs.span and net.span[0] <= theirs.span[1] and theirs.span[0] <= net.span[1]:
        raise LinkError(
            f"the ports {net.span[0]}-{net.span[1]} overlap with {theirs.span[0]}-{theirs.span[1]} of {owner}: "
            "choose another range with control_ports"
        )
    if net.mode == "bridge" and theirs.mode == "bridge":
        for what, attribute in (("address", "address"), ("MAC", "mac")):
            taken = {getattr(guest, attribute): guest.name for guest in theirs.guests}
            for guest in net.guests:
                value = getattr(guest, attribute)
                if value and value in taken:
                    raise LinkError(
                        f"the control {what} {value} of {guest.name} is that of {taken[value]} in {owner}: "
                        "choose another with control_addresses or control_map"
                    )


def create(rundir: RunDir, net: ControlNet) -> None:
    """Bring the control net to what is wanted. In mode ``bridge`` somebody must confirm it, see control_bridge. Raises LinkError."""
    leftovers = outlived(rundir, net)
    with host_lock(rundir.root):
        check_free(rundir, net)
        record = read_json(f"{rundir.path}/control.json")
        if net.mode == "none":
            remove(f"{rundir.path}/control.json")
        elif record.get("claim") != net.claim:
            write_json(f"{rundir.path}/control.json", {**record, "claim": net.claim})
    _tidy(rundir, leftovers)
    # Its own guests may still be in there: they follow into the net they are given now.
    control_bridge.release(rundir.root, leaving="" if net.mode == "bridge" else rundir.mark)
    if net.mode == "bridge":
        control_bridge.take(rundir.root, net.uplink, net.deadline, rundir.mark)
    elif net.behind_host:
        host_links.add_bridge(net.bridge, net.interface, rundir.mark)
    if net.mode != "none":
        _load(rundir, net)
    if net.behind_host:
        forward(rundir.root)


def forward(root: str) -> None:
    """Let the host forward packets."""
    with host_lock(root):
        if forwarding() != "1":
            # Remembered for the last experiment that leaves this host.
            write_file(f"{root}/ip_forward", forwarding().encode())
            _set_forwarding("1")


def _load(rundir: RunDir, net: ControlNet) -> None:
    """Put the rules in force."""
    families = [family for family, wanted in (("inet", net.behind_host), ("bridge", bool(net.guests))) if wanted]
    text = "".join(f"table {family} {net.own_table}\ndelete table {family} {net.own_table}\n" for family in families) + rules(rundir, net)
    # One transaction: the old tables go and the new ones come, or nothing happens.
    host_links.run(["nft", "-f", "-"], text)
    write_json(f"{rundir.path}/control.json", {"claim": net.claim, "rules": rules(rundir, net), "listing": listing_all(net)})


def _tidy(rundir: RunDir, leftovers: list[str]) -> None:
    """Remove what an earlier mode left."""
    for name in leftovers:
        if name in tables(rundir.mark):
            delete_table(name)
        elif host_links.alias(name) == rundir.mark:
            host_links.delete(name)


def tables(mark: str) -> list[str]:
    """Return the nftables tables that bear the mark: ``NAME`` for one of the family inet, ``bridge NAME`` for one of the family bridge."""
    found = []
    for family in ("inet", "bridge"):
        try:
            lines = host_links.run(["nft", "list", "tables", family]).splitlines()
        except LinkError:
            continue
        for line in lines:
            name = line.split()[-1]
            if f'comment "{label(mark)}"' in listing(name, family):
                found.append(name if family == "inet" else f"{family} {name}")
    return found


def delete_table(name: str) -> None:
    """Remove a table, named as `tables` does."""
    host_links.run(["nft", "delete", "table", *(name.split() if " " in name else ["inet", name])])


def restore_forwarding(root: str) -> bool:
    """Give the host its forwarding setting back when no experiment is left. True when something was done."""
    remembered = f"{root}/ip_forward"
    if not os.path.lexists(remembered):
        return False
    with host_lock(root):
        if existing(root) or not os.path.lexists(remembered):
            return False
        with contextlib.suppress(UntrustedError):
            _set_forwarding("1" if read_bytes(remembered).strip() == b"1" else "0")
        return remove(remembered)


def listing(table: str, family: str = "inet") -> str:
    """Return what nft shows of a table; nothing when there is none."""
    try:
        return host_links.run(["nft", "list", "table", family, table])
    except LinkError:
        return ""


def listing_all(net: ControlNet) -> str:
    """Return what nft shows of the experiment's tables; nothing when one is missing."""
    families = [family for family, wanted in (("inet", net.behind_host), ("bridge", bool(net.guests))) if wanted]
    texts = [listing(net.own_table, family) for family in families]
    return "".join(texts) if all(texts) else "gone"


def _listening() -> set[int]:
    """Return the TCP ports that programs of this host listen at."""
    found = set()
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(path, encoding="ascii") as file:
                lines = [line.split() for line in file.readlines()[1:]]
        except OSError:
            continue
        found |= {int(words[1].rpartition(":")[2], 16) for words in lines if words[3] == LISTENING}
    return found


def _is_up(name: str) -> bool:
    return any("UP" in link.get("flags", []) for link in host_links.links("dev", name))


def forwarding() -> str:
    """Return whether the host forwards packets, 1 or 0."""
    with open(FORWARDING, encoding="ascii") as file:
        return file.read().strip()


def _set_forwarding(value: str) -> None:
    try:
        with open(FORWARDING, "w", encoding="ascii") as file:
            file.write(value)
    except OSError as error:
        raise LinkError(f"cannot set net.ipv4.ip_forward to {value}: {error.strerror}; set it where this host is configured") from error

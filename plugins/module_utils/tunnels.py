# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cables of kinds ``vxlan`` and ``ethernet`` need of the kernel: a device towards the other side, and a TAP towards the switch.

Device and TAP are joined by two redirections of the traffic control, not by a bridge: a bridge learns, swallows frames of the link
layer's own protocols, and lets a vxlan answer packets that are too large for the path with forged ICMP messages inside the experiment,
where without one it fragments them. What an interface of the lab was like before is kept in ROOT/.interfaces, outside the
experiment's directory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import host_links, tun_node
from .host_links import LinkError, run
from .rundir import ACCOUNT, RunDir, host_lock, read_json, remove, write_json

MTU = 1500


@dataclass(frozen=True)
class Tunnel:
    """The devices of one cable. ``outer`` leads to the other side: ours for vxlan and VLANs, else the lab's interface itself."""

    id: str
    outer: str
    tap: str
    number: int = 0
    port: int = 0
    device: str = ""
    vlan: int = 0

    @property
    def ours(self) -> bool:
        """Whether the outer device was made by us."""
        return self.outer != self.device


def names(rundir: RunDir, id_: str) -> tuple[str, str]:
    """Return the names of what we make for a cable: the outer device and the TAP."""
    digest = hashlib.sha256(f"{rundir.project}/{rundir.experiment}/{id_}".encode()).hexdigest()[:10]
    return f"bo{digest}", f"bt{digest}"


def vxlan(rundir: RunDir, id_: str, number: int, port: int) -> Tunnel:
    """Return the tunnel of a vxlan cable."""
    outer, tap = names(rundir, id_)
    return Tunnel(id_, outer, tap, number=number, port=port)


def ethernet(rundir: RunDir, id_: str, device: str, vlan: int) -> Tunnel:
    """Return what plugs an interface of the lab, or a VLAN of it, into a switch; ``vlan`` 0 for the interface itself."""
    outer, tap = names(rundir, id_)
    return Tunnel(id_, outer if vlan else device, tap, device=device, vlan=vlan)


def missing(rundir: RunDir, tunnel: Tunnel, remote: str) -> str:
    """Say what is not as wanted; empty when all is. ``remote`` is the peer's address."""
    for name in (tunnel.outer, tunnel.tap):
        if not host_links.exists(name):
            return f"interface {name} is gone"
        if not _flag(name, "UP"):
            return f"interface {name} is down"
    if not tunnel.ours and not os.path.exists(_record(rundir.root, tunnel.outer)):
        return f"interface {tunnel.outer} is not taken"
    if tunnel.number and _vxlan_of(tunnel.outer) != (tunnel.number, tunnel.port, remote):
        return f"interface {tunnel.outer} leads elsewhere"
    if not (_leads(tunnel.outer, tunnel.tap) and _leads(tunnel.tap, tunnel.outer)):
        return f"interfaces {tunnel.outer} and {tunnel.tap} are not joined"
    return "" if tun_node.admitted() else f"the account {ACCOUNT} may not open {tun_node.NODE}"


def check_free(rundir: RunDir, tunnel: Tunnel) -> None:
    """Raise LinkError when what the tunnel needs is somebody else's."""
    for name in [tunnel.tap, *([tunnel.outer] if tunnel.ours else [])]:
        if host_links.exists(name) and host_links.alias(name) != rundir.mark:
            raise LinkError(f"there is an interface {name} already which is not ours: remove it or rename the experiment")
    if tunnel.number:
        for link in host_links.links():
            data = link.get("linkinfo", {}).get("info_data", {})
            same = link.get("linkinfo", {}).get("info_kind") == "vxlan" and (data.get("id"), data.get("port")) == (
                tunnel.number,
                tunnel.port,
            )
            if same and link["ifname"] != tunnel.outer:
                whose = link.get("ifalias") or "nobody we know"
                raise LinkError(
                    f"the vxlan {tunnel.number} on UDP port {tunnel.port} is on this host already, as {link['ifname']} of {whose}: "
                    "choose another number or another port"
                )
        return
    if not host_links.exists(tunnel.device):
        raise LinkError(f"this host has no interface {tunnel.device}")
    taken = read_json(_record(rundir.root, tunnel.device))
    if tunnel.vlan:
        for link in host_links.links():
            info = link.get("linkinfo", {})
            same = (
                info.get("info_kind") == "vlan" and link.get("link") == tunnel.device and info.get("info_data", {}).get("id") == tunnel.vlan
            )
            if same and link["ifname"] != tunnel.outer:
                whose = link.get("ifalias") or "of the host's own"
                raise LinkError(f"VLAN {tunnel.vlan} of {tunnel.device} is in use already, as {link['ifname']} ({whose})")
        if _whose(tunnel.device):
            raise LinkError(f"interface {tunnel.device} belongs to {_whose(tunnel.device)}: no VLAN of it can be")
        if taken:
            raise LinkError(f"interface {tunnel.device} is plugged in as a whole for {taken.get('mark')}: no VLAN of it can be")
        return
    if taken and (taken.get("mark"), taken.get("cable")) != (rundir.mark, tunnel.id):
        raise LinkError(f"interface {tunnel.device} is plugged in already for {taken.get('mark')}")
    if not taken:
        check_unused(tunnel.device)


def _whose(device: str) -> str:
    """Return the mark of whoever has an interface; what a node's was like before stands behind it (see `real_interfaces`)."""
    alias = host_links.alias(device)
    return alias.partition(" was ")[0] if alias.startswith("/") else ""


def check_unused(device: str) -> None:
    """Raise LinkError for an interface that the host itself uses: it is never taken from it."""
    if device == "lo":
        raise LinkError("interface lo leads nowhere: name one of the lab's")
    upper = host_links.master(device)
    if upper:
        raise LinkError(f"interface {device} is a port of {upper}: take it out of there first")
    if _whose(device):
        raise LinkError(f"interface {device} belongs to {_whose(device)}")
    addresses = [
        f"{entry['local']}/{entry['prefixlen']}"
        for link in host_links.links("dev", device)
        for entry in link.get("addr_info", [])
        if entry.get("scope") != "link"
    ]
    if addresses:
        raise LinkError(f"interface {device} has the address {addresses[0]}, so this host uses it: name one that is not in use")
    if json.loads(run(["ip", "-json", "route", "show", "default", "dev", device]) or "[]"):
        raise LinkError(f"interface {device} has this host's default route: name one that is not in use")
    if "ingress" in run(["tc", "qdisc", "show", "dev", device]) or "clsact" in run(["tc", "qdisc", "show", "dev", device]):
        raise LinkError(f"interface {device} has filters of its own (tc): name one that is not in use")


def set_up(rundir: RunDir, tunnel: Tunnel, remote: str) -> None:
    """Make the devices of a cable and join them. Raises LinkError."""
    check_free(rundir, tunnel)
    if tunnel.number and host_links.exists(tunnel.outer) and _vxlan_of(tunnel.outer) != (tunnel.number, tunnel.port, remote):
        host_links.delete(tunnel.outer)
    if tunnel.ours and not host_links.exists(tunnel.outer):
        if tunnel.number:
            kind = ["type", "vxlan", "id", str(tunnel.number), "remote", remote, "dstport", str(tunnel.port), "nolearning", "df", "unset"]
            run(["ip", "link", "add", "name", tunnel.outer, *kind])
        else:
            _take(rundir, tunnel)
            run(["ip", "link", "add", "link", tunnel.device, "name", tunnel.outer, "type", "vlan", "id", str(tunnel.vlan)])
        run(["ip", "link", "set", "dev", tunnel.outer, "alias", rundir.mark])
    if not host_links.exists(tunnel.tap):
        run(["ip", "tuntap", "add", "dev", tunnel.tap, "mode", "tap", "user", ACCOUNT])
        run(["ip", "link", "set", "dev", tunnel.tap, "alias", rundir.mark])
    tun_node.admit(rundir.root)
    if not tunnel.ours:
        _take(rundir, tunnel)
    if tunnel.number:
        run(["ip", "link", "set", "dev", tunnel.outer, "mtu", str(MTU)])
    for name in (tunnel.outer, tunnel.tap):
        host_links.disable_ipv6(name)
        run(["ip", "link", "set", "dev", name, "up", *(["promisc", "on"] if not tunnel.number else [])])
    for one, other in ((tunnel.outer, tunnel.tap), (tunnel.tap, tunnel.outer)):
        if not _leads(one, other):
            run(["tc", "qdisc", "replace", "dev", one, "ingress"])
            run(["tc", "filter", "del", "dev", one, "ingress"])
            everything = ["protocol", "all", "prio", "1", "u32", "match", "u32", "0", "0"]
            run(["tc", "filter", "add", "dev", one, "ingress", *everything, "action", "mirred", "egress", "redirect", "dev", other])


def take_down(rundir: RunDir, id_: str) -> None:
    """Remove the devices of a cable and give the host its interface back."""
    for device, record in taken(rundir.root).items():
        if (record.get("mark"), record.get("cable")) == (rundir.mark, id_):
            give_back(rundir.root, device)
    for name in names(rundir, id_):
        if host_links.alias(name) == rundir.mark:
            host_links.delete(name)


def taken(root: str) -> dict[str, dict[str, Any]]:
    """Return the records of the lab's interfaces that experiments have, by ``DEVICE``, or ``DEVICE.VLAN@`` for one that carries a VLAN."""
    with contextlib.suppress(OSError):
        found = sorted(os.listdir(f"{root}/.interfaces"))
        return {name[: -len(".json")]: read_json(f"{root}/.interfaces/{name}") for name in found if name.endswith(".json")}
    return {}


def taken_by(root: str, mark: str) -> list[str]:
    """Return the records of an experiment."""
    return [name for name, record in taken(root).items() if record.get("mark") == mark]


def give_back(root: str, name: str) -> None:
    """Let an interface of the lab be again what it was before."""
    record = read_json(_record(root, name))
    device = str(record.get("device", ""))
    with host_lock(root):
        if device and host_links.exists(device):
            if record.get("whole"):
                with contextlib.suppress(LinkError):
                    run(["tc", "qdisc", "del", "dev", device, "ingress"])
                run(["ip", "link", "set", "dev", device, "promisc", "on" if record.get("promisc") else "off"])
            # Several VLANs may still be on it: the last one to leave switches it off.
            others = [other for key, other in taken(root).items() if key != name and other.get("device") == device]
            if not record.get("up") and not others:
                run(["ip", "link", "set", "dev", device, "down"])
            for other in filter(lambda other: other.get("name"), others):
                pass_on = {**other, "up": bool(other.get("up")) and bool(record.get("up"))}
                write_json(_record(root, str(other.get("name", ""))), pass_on)
            if record.get("whole"):
                host_links.disable_ipv6(device, str(record.get("disable_ipv6") or "0"))
        remove(_record(root, name))
        with contextlib.suppress(OSError):
            os.rmdir(f"{root}/.interfaces")


def _take(rundir: RunDir, tunnel: Tunnel) -> None:
    """Remember what an interface of the lab is like, and switch it on."""
    name = f"{tunnel.device}.{tunnel.vlan}@" if tunnel.vlan else tunnel.device
    with host_lock(rundir.root):
        path = _record(rundir.root, name)
        if not os.path.exists(path):
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            write_json(path, {"name": name, "mark": rundir.mark, "cable": tunnel.id, "whole": not tunnel.vlan, **_facts(tunnel.device)})
    run(["ip", "link", "set", "dev", tunnel.device, "up"])


def _facts(device: str) -> Mapping[str, Any]:
    return {
        "device": device,
        "up": _flag(device, "UP"),
        "promisc": _flag(device, "PROMISC"),
        "disable_ipv6": host_links.setting(f"ipv6/conf/{device}/disable_ipv6"),
    }


def _record(root: str, name: str) -> str:
    return f"{root}/.interfaces/{name}.json"


def _flag(name: str, flag: str) -> bool:
    bits = {"UP": 0x1, "PROMISC": 0x100}
    try:
        with open(f"/sys/class/net/{name}/flags", encoding="ascii") as file:
            return bool(int(file.read(), 16) & bits[flag])
    except OSError:
        return False


def _vxlan_of(name: str) -> tuple[int, int, str]:
    for link in host_links.links("dev", name):
        data = link.get("linkinfo", {}).get("info_data", {})
        return int(data.get("id", 0)), int(data.get("port", 0)), str(data.get("remote", ""))
    return 0, 0, ""


def _leads(one: str, other: str) -> bool:
    """Tell whether what comes in at one device goes out at the other."""
    try:
        shown = run(["tc", "filter", "show", "dev", one, "ingress"])
    except LinkError:
        return False
    return f"Egress Redirect to device {other})" in shown

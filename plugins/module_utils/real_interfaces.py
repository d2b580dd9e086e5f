# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real interfaces of the host that physical nodes have for their own: taken, and given back as they were.

What an interface was like stands in its alias, behind the experiment's mark. So it is known wherever the interface is, whatever became of
records, and goes with the boot of the host that takes addresses and all else away, too.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Collection, Iterable

from . import host_links, tunnels
from .guest import Nic, RouteEntry
from .host_links import LinkError, run
from .node_programs.making import INTERFACE
from .rundir import host_lock

# The mark, whether it was up, the settings in their order and the group, and the alias that it had.
_TAKEN = re.compile(r"(/.*?) was (up|down) ([0-9,-]*)(?: (.*))?", re.DOTALL)
# What the kernel keeps of an alias, in bytes.
_LONGEST = 255


def owner(device: str) -> str:
    """Return the mark of the experiment whose node has an interface; empty when none has."""
    found = _TAKEN.fullmatch(_alias(device))
    return found[1] if found else ""


def taken(mark: str) -> list[str]:
    """Return the interfaces that nodes of an experiment have."""
    return sorted(name for name in os.listdir("/sys/class/net") if owner(name) == mark)


def obstacle(root: str, mark: str, device: str) -> str:
    """Say why an interface cannot be a node's; empty when it can, or is."""
    whose = owner(device)
    if whose == mark:
        return ""
    if whose:
        return f"interface {device} is that of a node of {whose}: swap that out, or name another"
    if not host_links.exists(device):
        return f"this host has no interface {device}: name one that it has"
    for record in tunnels.taken(root).values():
        if record.get("device") == device:
            return f"interface {device} is plugged in already for {record.get('mark')}: name another"
    try:
        tunnels.check_unused(device)
    except LinkError as error:
        return str(error)
    routes = _routes(device)
    if routes:
        return f"interface {device} has this host's route to {routes[0][0]}: name one that is not in use"
    if len(os.fsencode(_remembered(mark, device))) > _LONGEST:
        return f"the alias of interface {device} is too long to be kept beside ours: shorten it"
    return ""


def fault(mark: str, device: str) -> str:
    """Say what keeps an interface from being a node's; empty when nothing does."""
    if not host_links.exists(device):
        return f"interface {device} is gone"
    if owner(device) != mark:
        return f"interface {device} is not taken"
    return "" if _up(device) else f"interface {device} is down"


def missing(mark: str, nic: Nic, routes: Iterable[RouteEntry]) -> str:
    """Say what is not as wanted of a node's interface, its address and the routes over it; empty when all is."""
    device = nic.device
    wrong = fault(mark, device)
    if wrong:
        return wrong
    if f"{nic.address}/{nic.prefix}" not in host_links.addresses(device):
        return f"interface {device} has not its address"
    there = _routes(device)
    lost = [route for route in routes if route.device == device and (route.to, route.via) not in there]
    return f"the route to {lost[0].to} is gone" if lost else ""


def take(root: str, mark: str, device: str) -> None:
    """Make sure that an interface is a node's, and behaves like one. Raises LinkError."""
    with host_lock(root):
        problem = obstacle(root, mark, device)
        if problem:
            raise LinkError(problem)
        if not owner(device):
            run(["ip", "link", "set", "dev", device, "alias", _remembered(mark, device)])
        run(["ip", "link", "set", "dev", device, "group", str(host_links.node_group(mark))])
    for name, value in INTERFACE.items():
        host_links.change_setting(name.format(device), value)


def clear(device: str) -> None:
    """Take all addresses off an interface; the routes over it go with the last one."""
    run(["ip", "-4", "address", "flush", "dev", device])


def keep(mark: str, devices: Collection[str]) -> None:
    """Give back what nodes of an experiment have, but for these."""
    for device in taken(mark):
        if device not in devices:
            give_back(device)


def give_back(device: str) -> None:
    """Let an interface be again what it was. The alias goes last: until then it is known what there is to do."""
    found = _TAKEN.fullmatch(_alias(device))
    if found is None:
        return
    clear(device)
    if found[2] == "down":
        run(["ip", "link", "set", "dev", device, "down"])
    for name, value in zip(INTERFACE, found[3].split(",")):
        if value:
            host_links.change_setting(name.format(device), value)
    group = found[3].split(",")[len(INTERFACE) :]
    run(["ip", "link", "set", "dev", device, "group", group[0] if group else "0"])
    run(["ip", "link", "set", "dev", device, "alias", found[4] or ""])


def _remembered(mark: str, device: str) -> str:
    """Return the alias that says whose an interface is, and what it is like now."""
    settings = ",".join([*(host_links.setting(name.format(device)) for name in INTERFACE), str(host_links.group(device))])
    alias = _alias(device)
    return f"{mark} was {'up' if _up(device) else 'down'} {settings}{f' {alias}' if alias else ''}"


def _alias(device: str) -> str:
    """Return an alias as it is, to the byte."""
    try:
        with open(f"/sys/class/net/{device}/ifalias", encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except OSError:
        return ""
    return text[:-1] if text.endswith("\n") else text


def _up(device: str) -> bool:
    """Tell whether it is switched on, whatever is at the other end."""
    try:
        with open(f"/sys/class/net/{device}/flags", encoding="ascii") as file:
            return bool(int(file.read(), 16) & 1)
    except OSError:
        return False


def _routes(device: str) -> list[tuple[str, str]]:
    """Return the IPv4 routes over an interface, network and next hop, but for those that come with its addresses."""
    found = json.loads(run(["ip", "-json", "-4", "route", "show", "dev", device]) or "[]")
    return [
        (str(ipaddress.IPv4Network("0.0.0.0/0" if route["dst"] == "default" else route["dst"])), str(route.get("gateway", "")))
        for route in found
        if route.get("protocol") != "kernel"
    ]

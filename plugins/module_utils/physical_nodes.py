# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node that is the host itself: whether what it is to get can be had without cutting the host off.

Its addresses and routes go to the host's own network, so none of them may touch what the host uses: its networks and routes, the way out,
and whoever is logged in. Its interfaces are TAPs, which its supervisor makes, or real ones of the host, which are taken here.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from . import host_links, real_interfaces
from .guest import Guest
from .rundir import RunDir


@dataclass(frozen=True)
class Used:
    """Something of the host's: a network, and in words what it is."""

    network: ipaddress.IPv4Network
    what: str


def used(mark: str) -> list[Used]:
    """Return what this host uses, besides what it has of the experiment with this mark."""
    links = host_links.links()
    ours = {link["ifname"] for link in links if link.get("ifalias") == mark} | {*real_interfaces.taken(mark)}
    found = []
    for link in links:
        if link["ifname"] not in ours:
            found += [Used(ipaddress.IPv4Interface(text).network, f"a network of {link['ifname']}") for text in host_links.inet(link)]
    for route in json.loads(host_links.run(["ip", "-json", "-4", "route", "show", "table", "all"]) or "[]"):
        if route.get("dev") in ours or route.get("type") in ("local", "broadcast", "multicast"):
            continue
        if route.get("gateway"):
            found.append(Used(_network(route["gateway"]), f"its gateway {route['gateway']}"))
        if route.get("dst") != "default":
            found.append(Used(_network(route["dst"]), f"a route over {route.get('dev', 'no interface')}"))
    found += [Used(_network(peer), f"its ssh connection with {peer}") for peer in ssh_peers()]
    return [entry for entry in found if not entry.network.is_loopback]


def ssh_peers() -> list[str]:
    """Return the IPv4 addresses that the ssh connections we run below come from."""
    found = set()
    for words in _ssh_connections():
        with contextlib.suppress(ValueError):
            found.add(str(ipaddress.IPv4Address(words[0])))
    return sorted(found)


def _ssh_connections() -> list[list[str]]:
    """Return the ssh connections we run below, in the words of sshd: their address and port, ours and our port."""
    found, pid = [], os.getpid()
    while pid > 1:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
            for word in file.read().split(b"\0"):
                if word.startswith(b"SSH_CONNECTION=") and word.count(b" ") > 2:
                    found.append(word.partition(b"=")[2].decode(errors="replace").split())
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
                pid = int(file.read().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            break
    return found


def _network(text: str) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network(text)


def conflict(rundir: RunDir, guest: Guest, host: Iterable[Used]) -> str:
    """Say why a node cannot be this host; empty when it can."""
    wanted = [(ipaddress.IPv4Interface(f"{nic.address}/{nic.prefix}").network, f"its network {nic.substrate}") for nic in guest.nics]
    wanted += [(_network(route.to), "its route to it") for route in guest.routes]
    for network, whose in wanted:
        if network.prefixlen == 0:
            return "it is the host itself, whose default route stays: leave the route to 0.0.0.0/0 out"
        for entry in host:
            if network.overlaps(entry.network):
                return f"{network} ({whose}) overlaps {entry.network}, {entry.what} of this host: give the experiment other addresses"
    for nic in guest.nics:
        if nic.real:
            problem = _way_in(nic.device) or real_interfaces.obstacle(rundir.root, rundir.mark, nic.device)
            if problem:
                return problem
        elif host_links.exists(nic.device) and not host_links.alias(nic.device):
            return f"this host has an interface {nic.device} already: rename the experiment"
    return ""


def _way_in(device: str) -> str:
    """Say which ssh connection comes by an interface, though it has no address of its own; empty for none."""
    for words in _ssh_connections():
        leads = any(word.endswith(f"%{device}") for word in words)
        with contextlib.suppress(host_links.LinkError):
            route = json.loads(host_links.run(["ip", "-json", "route", "get", words[0]]) or "[]")
            leads = leads or any(hop.get("dev") == device for hop in route)
        if leads:
            return f"interface {device} leads to {words[0]}, who is logged in by ssh: name another"
    return ""


def missing(mark: str, guest: Guest) -> str:
    """Say what is not as wanted of the node's real interfaces; empty when all is."""
    return next((lack for nic in guest.nics if nic.real and (lack := real_interfaces.missing(mark, nic, guest.routes))), "")


def fault(mark: str, entry: Mapping[str, Any]) -> str:
    """Say what keeps the real interfaces of an entry of the supervisor's list from being the node's; empty when nothing does."""
    return next((wrong for device in entry.get("devices", []) if (wrong := real_interfaces.fault(mark, device))), "")


def take(rundir: RunDir, guest: Guest, anew: bool) -> None:
    """Make sure of the node's real interfaces; with ``anew`` without any address, since whoever makes the node gives it its own.

    Raises HostError.
    """
    for nic in guest.nics:
        if nic.real:
            real_interfaces.take(rundir.root, rundir.mark, nic.device)
            if anew:
                real_interfaces.clear(nic.device)


def mend(mark: str, guest: Guest, entry: Mapping[str, Any]) -> None:
    """Do again what an entry of the supervisor's list says of the network, where that was undone behind its back. Raises HostError."""
    if missing(mark, guest):
        host_links.run(["ip", "-batch", "-"], "".join(f"{line}\n" for dummy, line in entry["network"]))


def let_go(mark: str, entries: Iterable[Mapping[str, Any]]) -> None:
    """Give back the real interfaces that no entry of the supervisor's list has."""
    real_interfaces.keep(mark, [device for entry in entries for device in entry.get("devices", [])])

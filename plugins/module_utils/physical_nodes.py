# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node that is the host itself: whether what it is to get can be had without cutting the host off.

Its addresses and routes go to the host's own network, so none of them may touch what the host uses: its networks and routes, the way out,
and whoever is logged in.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass

from . import host_links
from .guest import Guest


@dataclass(frozen=True)
class Used:
    """Something of the host's: a network, and in words what it is."""

    network: ipaddress.IPv4Network
    what: str


def used(mark: str) -> list[Used]:
    """Return what this host uses, besides what it has of the experiment with this mark."""
    links = host_links.links()
    ours = {link["ifname"] for link in links if link.get("ifalias") == mark}
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
    """Return the addresses that the ssh connections we run below come from."""
    found, pid = [], os.getpid()
    while pid > 1:
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/environ", "rb") as file:
            for word in file.read().split(b"\0"):
                if word.startswith(b"SSH_CONNECTION="):
                    found.append(str(ipaddress.IPv4Address(word.partition(b"=")[2].split()[0].decode())))
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
                pid = int(file.read().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            break
    return sorted(set(found))


def _network(text: str) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network(text)


def conflict(guest: Guest, host: Iterable[Used]) -> str:
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
        if host_links.exists(nic.device) and not host_links.alias(nic.device):
            return f"this host has an interface {nic.device} already: rename the experiment"
    return ""

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The networks and addresses that a host uses itself, and that no experiment may take over.

A longer prefix beats the default route: a small network around a name server or a gateway diverts it. So each use has an entry here.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from . import host_links

ROUTE = "a route"
NETWORK = "a network"
# systemd-resolved stands before the name servers of the second file.
RESOLVER_FILES = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")
# Nobody can be a neighbour with these: this host's own, its links', multicast, reserved and broadcast.
SPECIAL = tuple(map(ipaddress.IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")))
# Networks that no machine of the Internet has: private ones, those of carriers and of benchmarks, those of examples.
CLOSED = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "10.0.0.0/8",
            "100.64.0.0/10",
            "172.16.0.0/12",
            "192.0.2.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
        ),
    )
)


@dataclass(frozen=True)
class Used:
    """A network that the host uses, and in words what for. ``kind`` is NETWORK, ROUTE, or empty for a single machine."""

    network: ipaddress.IPv4Network
    what: str
    kind: str = ""


def used(ours: Callable[[str], bool]) -> list[Used]:
    """Return what this host uses, without what it has over the interfaces for which ``ours`` is true."""
    found = []
    for link in host_links.links():
        if not ours(str(link["ifname"])):
            found += [Used(_interface_network(text), f"{NETWORK} of {link['ifname']}", NETWORK) for text in host_links.inet(link)]
    for route in json.loads(host_links.run(["ip", "-json", "-4", "route", "show", "table", "all"]) or "[]"):
        if not ours(str(route.get("dev"))) and route.get("type") not in ("local", "broadcast", "multicast"):
            found += _of_route(route)
    found += [Used(_network(server), f"its name server {server}") for server in name_servers()]
    found += [Used(_network(peer), f"its ssh connection with {peer}") for peer in ssh_peers()]
    return [entry for entry in found if not entry.network.is_loopback]


def _of_route(route: Mapping[str, Any]) -> Iterator[Used]:
    """Say which networks a route leads to, and over which gateways."""
    for hop in (route, *route.get("nexthops", [])):
        gateway = hop.get("gateway") or (hop.get("via") or {}).get("host")
        with contextlib.suppress(ValueError):
            if gateway:
                yield Used(_network(str(gateway)), f"its gateway {gateway}")
    if route.get("dst") != "default":
        device = f" over {route['dev']}" if route.get("dev") else f" of type {route['type']}" if route.get("type") else " over no interface"
        yield Used(_network(str(route["dst"])), f"{ROUTE}{device}", ROUTE)


def name_servers() -> list[str]:
    """Return the IPv4 name servers of this host that other machines can reach, too."""
    for path in RESOLVER_FILES:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                words = [line.split() for line in file]
        except OSError:
            continue
        found = []
        for line in words:
            with contextlib.suppress(ValueError):
                if len(line) > 1 and line[0] == "nameserver" and not ipaddress.IPv4Address(line[1]).is_loopback:
                    found.append(line[1])
        if found:
            return list(dict.fromkeys(found))
    return []


def ssh_peers() -> list[str]:
    """Return the IPv4 addresses that the ssh connections we run below come from."""
    found = set()
    for words in ssh_connections():
        with contextlib.suppress(ValueError):
            found.add(str(ipaddress.IPv4Address(words[0])))
    return sorted(found)


def ssh_connections() -> list[list[str]]:
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


def is_special(network: ipaddress.IPv4Network) -> bool:
    """Tell whether a network has an address that is no machine's: loopback, of links, multicast, reserved."""
    return any(network.overlaps(special) for special in SPECIAL)


def is_closed(network: ipaddress.IPv4Network) -> bool:
    """Tell whether no address of a network is a machine's of the Internet."""
    return any(network.subnet_of(closed) for closed in CLOSED)


def _network(text: str) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network(text)


def _interface_network(text: str) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Interface(text).network

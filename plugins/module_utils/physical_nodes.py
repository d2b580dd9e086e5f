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
from collections.abc import Iterable, Mapping
from typing import Any

from . import control_net, host_links, host_networks, real_interfaces
from .control_rules import label
from .guest import Guest
from .host_networks import Used
from .rundir import RunDir


def used(mark: str) -> list[Used]:
    """Return what this host uses, besides what it has of the experiment with this mark."""
    ours = {*host_links.marked(mark), *real_interfaces.taken(mark)}
    return host_networks.used(ours.__contains__)


def conflict(rundir: RunDir, guest: Guest, host: Iterable[Used]) -> str:
    """Say why a node cannot be this host; empty when it can."""
    wanted = [(ipaddress.IPv4Interface(f"{nic.address}/{nic.prefix}").network, f"its network {nic.substrate}") for nic in guest.nics]
    wanted += [(ipaddress.IPv4Network(route.to), "its route to it") for route in guest.routes]
    for network, whose in wanted:
        if network.prefixlen == 0:
            return "it is the host itself, whose default route stays: leave the route to 0.0.0.0/0 out"
        if host_networks.is_special(network):
            return f"{network} ({whose}) is no network of machines, and it is the host itself: give the experiment other addresses"
        if not (guest.lab_routes or host_networks.is_closed(network)):
            return (
                f"{network} ({whose}) is not private, and it is the host itself, which would lose its way there: "
                "give the experiment private addresses, or have the lab allow it"
            )
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
    for words in host_networks.ssh_connections():
        leads = any(word.endswith(f"%{device}") for word in words)
        with contextlib.suppress(host_links.LinkError):
            route = json.loads(host_links.run(["ip", "-json", "route", "get", words[0]]) or "[]")
            leads = leads or any(hop.get("dev") == device for hop in route)
        if leads:
            return f"interface {device} leads to {words[0]}, who is logged in by ssh: name another"
    return ""


def _enclosure(mark: str) -> str:
    """Return the table by which the host forwards among interfaces of the experiment's nodes, and not between them and others."""
    group = host_links.node_group(mark)
    return f"""table inet bp{group:08x} {{
  comment "{label(mark)}"
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifgroup {group} oifgroup != {group} drop
    oifgroup {group} iifgroup != {group} drop
  }}
}}
"""


def enclose(rundir: RunDir) -> None:
    """Keep the experiment's networks apart from the host's own, and from those of others. Raises LinkError."""
    name = f"bp{host_links.node_group(rundir.mark):08x}"
    host_links.run(["nft", "-f", "-"], f"table inet {name}\ndelete table inet {name}\n{_enclosure(rundir.mark)}")


def _enclosed(mark: str) -> bool:
    group = host_links.node_group(mark)
    shown = control_net.listing(f"bp{group:08x}")
    return all(f"{way}group {group} {other}group != {group} drop" in shown for way, other in (("iif", "oif"), ("oif", "iif")))


def missing(mark: str, guest: Guest) -> str:
    """Say what is not as wanted of the node's real interfaces and of the rules around its networks; empty when all is."""
    if not _enclosed(mark):
        return "its networks are not kept apart from the host's"
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
    """Give back the real interfaces that no entry of the supervisor's list has, and the host when none is it."""
    entries = list(entries)
    real_interfaces.keep(mark, [device for entry in entries for device in entry.get("devices", [])])
    table = f"bp{host_links.node_group(mark):08x}"
    if not any(entry["kind"] == "physical" for entry in entries) and control_net.listing(table):
        control_net.delete_table(table)

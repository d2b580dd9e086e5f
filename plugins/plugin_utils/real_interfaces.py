# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interfaces of physical nodes that are real interfaces of the host: which may be, and whom they meet.

Such an interface is wired into the lab's own Ethernet, so its substrate is there: members on other pnodes come in by a leg of their
switches (see `cabling`). It has no switch of ours, no port, and keeps its MAC.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from .attributes import find
from .diagnostics import TopologyError, one_line

if TYPE_CHECKING:
    from .cabling import Cable
    from .interpretation import Link
    from .placement import Placement
    from .pool import PoolHost
    from .topology import Interface

_DEVICE = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,14}")
# What would have to be done to the host's interface, or to a switch that it is not in.
_NOT_THERE = ("mac_address", "vde_port")


def real_interface(node: str, kind: str, interface: Interface) -> str:
    """Return the host's interface that an interface of a node is; empty when it is one of ours.

    Raises TopologyError where that cannot be.
    """
    said = find(interface.attributes, "device")
    if said is None:
        return ""
    device = said.value.strip()
    if not _DEVICE.fullmatch(device):
        raise TopologyError(
            f"{said.name} is {one_line(said.value)}: it must name an interface of the host: "
            "a letter, and up to 14 letters, digits, '.', '_' or '-'",
            said.where,
        )
    owner = f"interface {interface.name} of {node}"
    if kind != "physical":
        raise TopologyError(
            f"{owner} is to be {device} of the host, but {node} is a {kind} node: {said.name} belongs on interfaces of physical nodes",
            said.where,
        )
    for key in _NOT_THERE:
        other = find(interface.attributes, key)
        if other is not None:
            raise TopologyError(
                f"{owner} is {device} of the host, in no switch and with a MAC of its own: leave {other.name} out", other.where
            )
    return device


def direct(link: Link, placement: Placement) -> frozenset[int]:
    """Return the pnodes on which a real interface is on this link."""
    return frozenset(placement.pnode_of[m.node] for m in link.members if m.real)


def check_real(links: Iterable[Link], placement: Placement) -> None:
    """Check that each real interface is one node's, and that nobody else on its pnode is on its substrate. Raises TopologyError."""
    owners: dict[tuple[int, str], str] = {}
    for link in links:
        there = direct(link, placement)
        for member in link.members:
            pnode = placement.pnode_of[member.node]
            if member.real:
                me = f"interface {member.name} of {member.node}"
                other = owners.setdefault((pnode, member.real), me)
                if other != me:
                    raise TopologyError(f"{me} is to be {member.real} of its host, which is {other}: each needs its own", member.where)
            elif pnode in there:
                one = next(m for m in link.members if m.real and placement.pnode_of[m.node] == pnode)
                raise TopologyError(
                    f"interface {member.name} of {member.node} needs a switch of substrate {link.name} where {one.real} of the host is "
                    f"interface {one.name} of {one.node}, and cannot be the switch's as well: leave benito:device out there, or place "
                    f"{member.node} elsewhere",
                    member.where,
                )


def check_cable_devices(links: Iterable[Link], placement: Placement, cables: Iterable[Cable], pool: Sequence[PoolHost]) -> None:
    """Check that no real interface is the one by which the switches of its host meet the lab's Ethernet. Raises TopologyError."""
    reals = {(placement.pnode_of[m.node], m.real): m for link in links for m in link.members if m.real}
    for cable in cables:
        host = pool[cable.hub] if cable.spoke is None and cable.hub < len(pool) else None
        member = reals.get((cable.hub, host.device)) if host else None
        if host and member:
            raise TopologyError(
                f"interface {member.name} of {member.node} is to be {member.real} of {host.name}, by which substrate {cable.substrate} "
                "leaves that host (benito_cable_device): one of the two needs another",
                member.where,
            )

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of addresses, as Emulab gives them.

Every address is ``<node>-<substrate>`` and ``<node>-<index>``. The plain name of a node depends on who looks: a
neighbour sees it in the first substrate the two share, everybody else (and the node itself) at its interface 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .addressing import dotted
from .diagnostics import TopologyError
from .interpretation import Node

MOST_NAMES = 4_000_000


def hosts_table(nodes: Iterable[Node], addresses: Mapping[tuple[str, str], int]) -> list[tuple[str, str, int, str]]:
    """Return one row (node, substrate, index, address) for each interface of the experiment, in the order of the file."""
    return [(n.name, i.substrate, i.index, dotted(addresses[n.name, i.name])) for n in nodes for i in n.interfaces]


def plain_names(nodes: Iterable[Node]) -> dict[str, dict[str, str]]:
    """Return for each viewing node the others whose plain name is not their interface 0, with the substrate where it is."""
    nodes = tuple(nodes)
    touched = {n.name: {i.substrate for i in n.interfaces} for n in nodes}
    first = {n.name: n.interfaces[0].substrate for n in nodes if n.interfaces}
    # Whoever's interface 0 is in the substrate needs no exception there; in a plain LAN this leaves nobody.
    exceptions: dict[str, list[str]] = {}
    for node in nodes:
        for substrate in dict.fromkeys(i.substrate for i in node.interfaces):
            if first[node.name] != substrate:
                exceptions.setdefault(substrate, []).append(node.name)

    total = 0
    found: dict[str, dict[str, str]] = {}
    for viewer in nodes:
        seen: set[str] = set()
        names: dict[str, str] = {}
        for substrate in dict.fromkeys(i.substrate for i in viewer.interfaces):
            for other in exceptions.get(substrate, ()):
                if other != viewer.name and seen.isdisjoint(touched[other]):
                    names[other] = substrate
            seen.add(substrate)
        found[viewer.name] = names
        total += len(names)
        if total > MOST_NAMES:
            raise TopologyError(
                f"nodes see each other by more than {MOST_NAMES} interfaces that are not their first ones, and so many names cannot be "
                f"written down: let the interface on the substrate that most have in common be the first, as at {viewer.name}",
                viewer.where,
            )
    return found

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every topology must obey, whichever format it was written in: legal names, each once, and no reference to nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from ..diagnostics import NOWHERE, Location, Notice, TopologyError, close_to, first_notices, listing, one_line
from ..topology import Computer, Interface, Topology

NODES = 100_000

_HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}"), "1 to 63 letters, digits, '-' and '_', the first a letter or digit"
_PLAIN_NAME = (
    re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){0,62}"),
    "1 to 63 letters, digits, '-', '_' and single dots, the first a letter or digit",
)
_RULES = {"node": _HOST_NAME, "substrate": _PLAIN_NAME, "interface": _PLAIN_NAME}
_RESERVED = re.compile(r"localhost|loghost|ops|pnode-[0-9]+", re.IGNORECASE)


def check_name(kind: str, name: str, where: Location = NOWHERE) -> None:
    """Raise TopologyError unless the name may be used for a ``kind``: ``node``, ``substrate`` or ``interface``.

    Names reach host tables, paths and groups. A node's name becomes a host name, so it has no dots.
    """
    pattern, right = _RULES[kind]
    if not pattern.fullmatch(name):
        raise TopologyError(f"the {kind} name {one_line(name)} cannot be used: it must be {right}", where)
    if kind == "node" and _RESERVED.fullmatch(name):
        raise TopologyError(
            f"the node name {one_line(name)} is the testbed's own, as are localhost, loghost, ops and pnode-N: choose another", where
        )


def check_topology(topology: Topology) -> tuple[Notice, ...]:
    """Raise TopologyError where names are wrong or point nowhere; return what is only strange."""
    if len(topology.elements) > NODES:
        raise TopologyError(f"there are more than {NODES} nodes: no topology has so many", topology.elements[NODES].where)
    substrates: dict[str, Location] = {}
    for substrate in topology.substrates:
        check_name("substrate", substrate.name, substrate.where)
        _check_new("substrate", substrate.name, substrates.get(substrate.name), substrate.where)
        substrates[substrate.name] = substrate.where
    nodes: dict[str, Computer] = {}
    for node in topology.computers:
        check_name("node", node.name, node.where)
        twin = nodes.setdefault(node.name.lower(), node)
        if twin is not node:
            differing = "" if twin.name == node.name else f" but for capitals, which host names ignore, from {one_line(twin.name)}"
            _check_new("node", node.name, twin.where, node.where, differing)
    members: Counter[str] = Counter()
    for element in topology.elements:
        owner = f" of node {element.name}" if isinstance(element, Computer) else ""
        members.update(_check_interfaces(element.interfaces, owner, substrates))
    return tuple(
        first_notices(
            Notice(s.where, f"substrate {s.name} has {('no interface', 'one interface')[members[s.name]]}: a link needs two, a LAN more")
            for s in topology.substrates
            if members[s.name] < 2
        )
    )


def _check_interfaces(interfaces: Iterable[Interface], owner: str, substrates: dict[str, Location]) -> list[str]:
    """Return the substrate of each end of each interface."""
    seen: dict[str, Location] = {}
    ends: list[str] = []
    for interface in interfaces:
        check_name("interface", interface.name, interface.where)
        _check_new("interface", interface.name, seen.get(interface.name), interface.where, owner)
        seen[interface.name] = interface.where
        what = f"interface {interface.name}{owner}"
        for name, count in Counter(interface.substrates).items():
            if name not in substrates:
                raise TopologyError(
                    f"{what} is on substrate {one_line(name)}, which does not exist: {_hint(name, substrates)}", interface.where
                )
            if count > 1:
                raise TopologyError(f"{what} is on substrate {name} more than once: once is enough", interface.where)
        ends.extend(interface.substrates)
    return ends


def _hint(name: str, known: Iterable[str]) -> str:
    near = close_to(name, known, cutoff=0.5)
    return f"did you mean {listing(near)}?" if near else f"known are {listing(known) or 'none'}"


def _check_new(kind: str, name: str, first: Location | None, where: Location, more: str = "") -> None:
    if first is not None:
        place = f" (the first is at {first})" if first.file else ""
        raise TopologyError(f"there is more than one {kind} {one_line(name)}{more}: names must differ{place}", where)

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Topologies that say where things are: which host carries a node, what joins the switches of a substrate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..integration.topologies import attribute, computer


def substrate(name: str, *attributes: str, latency: float = 0) -> str:
    """Return one substrate; the latency is in ms, one way between a node and the substrate."""
    limits = f"<latency><time>{latency}</time><kind>average</kind></latency>" if latency else ""
    return f"<substrates><name>{name}</name>{limits}{''.join(attributes)}</substrates>\n"


def node(name: str, pnode: int, substrates: Sequence[str], *attributes: str) -> str:
    """Return one computer that a certain pnode carries."""
    return computer(name, list(substrates), attribute("benito:partition", pnode), *attributes)


def topology(substrates: Sequence[str], nodes: Sequence[str], settings: Mapping[str, object] | None = None) -> str:
    """Return a whole file."""
    words = "".join(attribute(f"benito:{name}", value) for name, value in (settings or {}).items())
    return f"<experiment><version>1.0</version>\n{''.join(substrates)}{''.join(nodes)}{words}</experiment>\n"


def campus() -> str:
    """A LAN over all three hosts, and behind one of its members a shaped link to a machine on another host."""
    return topology(
        [substrate("lan0"), substrate("link1", latency=10)],
        [node("a", 0, ["lan0"]), node("b", 1, ["lan0", "link1"]), node("c", 2, ["lan0"]), node("d", 2, ["link1"])],
    )


def spread(hosts: int = 2) -> str:
    """A LAN with a member on each host."""
    return topology([substrate("lan0")], [node(name, number, ["lan0"]) for number, name in enumerate("abc"[:hosts])])

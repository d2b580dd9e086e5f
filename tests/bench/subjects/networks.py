# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks of process nodes: which LANs they have, and the same as TopDL."""

from __future__ import annotations

from collections.abc import Sequence

from ...integration.topologies import attribute, computer, experiment
from ..shapes import grid

PROCESS = attribute("benito:node_type", "process")


def chained(count: int) -> list[list[int]]:
    """As many LANs as nodes: each node leads from one to the next, but for the last, which is at the end."""
    return [[0], *([number - 1, number] for number in range(1, count))]


def lan_grid(count: int) -> list[list[int]]:
    """LANs of ten nodes in a square. The first node of each leads to the LAN beside it, the second to the one below."""
    lans = [list(range(first, min(first + 10, count))) for first in range(0, count, 10)]
    side = max(int(len(lans) ** 0.5), 1)
    for number in range(len(lans)):
        if (number + 1) % side and number + 1 < len(lans):
            lans[number + 1].append(number * 10)
        if number + side < len(lans) and number * 10 + 1 < count:
            lans[number + side].append(number * 10 + 1)
    return lans


def addressed(lans: Sequence[Sequence[int]]) -> list[list[tuple[int, str]]]:
    """Give each LAN a network and its members addresses."""
    return [[(node, f"10.{number >> 8}.{number & 255}.{place}/24") for place, node in enumerate(lan, 1)] for number, lan in enumerate(lans)]


def topdl(lans: Sequence[Sequence[int]]) -> str:
    """Return it as TopDL."""
    own: dict[int, list[str]] = {}
    for number, lan in enumerate(lans):
        for node in lan:
            own.setdefault(node, []).append(f"l-{number}")
    return experiment(
        [f"l-{number}" for number in range(len(lans))], [computer(f"n-{node}", found, PROCESS) for node, found in sorted(own.items())]
    )


SHAPES = {"chain": chained, "grid": grid, "lans": lan_grid}

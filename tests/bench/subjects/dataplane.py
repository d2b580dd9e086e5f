# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What frames take from node to node: switch, cables, shaper; beside a bridge of the kernel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..links import BRIDGE, ROWS, round_trip, throughput
from ..results import Measure, Ratio, Table, in_turns


def once(row: str) -> Mapping[str, Mapping[str, float]]:
    """Measure one of the links."""
    with ROWS[row]() as (node, other, goal):
        trip = round_trip(node, goal)
        there, back = throughput(node, other, goal)
        return {row: {"trip": trip, "there": there, "back": back}}


def tables(bench: Any) -> Iterator[Table]:
    """Measure all of them."""
    samples, reasons = in_turns({row: lambda row=row: once(row) for row in ROWS}, bench.rounds, bench.say)
    yield Table(
        "dataplane",
        "Between two nodes",
        (Measure("trip", "round trip, ms", 2), Measure("there", "TCP there, Mb/s", 0), Measure("back", "TCP back, Mb/s", 0)),
        (
            Ratio("trip-to", "round trip, of the bridge's", "trip", "trip", BRIDGE),
            Ratio("slower", "times slower by TCP", "there", "there", BRIDGE, inverse=True),
        ),
        ("trip",),
        samples,
        reasons,
        (
            "One node at each end, a TAP plugged into a VDE switch; no guest's own slowness is in the figures. The round trip is the "
            "middle one of 500; TCP is one connection of iperf3 for five seconds, from the first node and to it.",
            "The bridge never leaves the kernel, nor copies a frame, and hands on TCP in pieces of 64 kB: it is the floor, not a choice "
            "where a link is to be cabled over hosts or shaped in every way.",
        ),
    )

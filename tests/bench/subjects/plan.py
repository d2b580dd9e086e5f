# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans and inventories of many shapes, beside the same hosts from a static YAML file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..planning import Case
from ..results import Measure, Ratio, Samples, Table, Unavailable, in_turns
from ..shapes import SHAPES

# The YAML file of a large network takes minutes each time: it is read once, for these.
READ_LARGE = ("chain", "lan")
# Seconds and MB, for 10,000 nodes.
SOON, ROOM = 5, 1024
MOST = 1000  # nodes, up to which everything is measured as often as anything


def ours(case: Case) -> Mapping[str, Mapping[str, float]]:
    """Plan it and list it."""
    parts = case.parts()
    if not parts:
        raise Unavailable(case.complaint or "the plan was not done within the limits")
    listed = case.listed()
    if not listed:
        raise Unavailable("our inventory was not done within the limits")
    return {case.name: {"plan": parts["plan"], "routes": parts["total"], "list": listed[0], "memory": listed[1]}}


def fixed(case: Case) -> Mapping[str, Mapping[str, float]]:
    """List it from YAML."""
    listed = case.listed_from_yaml()
    if not listed:
        raise Unavailable("the YAML file was not read within the limits")
    return {case.name: {"yaml": listed[0]}}


def tables(bench: Any) -> Iterator[Table]:
    """Measure all shapes at 100, 1,000 and 10,000 nodes."""
    for size in bench.of((100, 1000, 10000), (100, 1000)):
        yield measured(bench, size)


def measured(bench: Any, size: int) -> Table:
    """Measure every shape with so many nodes."""
    samples: Samples = {}
    reasons: dict[str, str] = {}
    for shape, routing in (*((shape, "") for shape in SHAPES), ("random", "tree")):
        with tempfile.TemporaryDirectory(prefix="benito-bench-") as work:
            case = Case(shape, size, Path(work), routing)
            our = {"ours": lambda case=case: ours(case)}
            yaml = {"yaml": lambda case=case: fixed(case)}
            if size <= MOST:
                turns = [({**our, **yaml}, bench.rounds)]
            else:
                turns = [(our, bench.rounds), *([(yaml, 1)] if case.name in READ_LARGE else [])]
            row = samples.setdefault(case.name, {})
            for ways, times in turns:
                found, why = in_turns(ways, times, bench.say)
                row.update(found.get(case.name, {}))
                reasons.update({f"{case.name}, {way}": reason for way, reason in why.items()})
    large = samples if size >= 10000 else ()
    return Table(
        f"plan-{size}",
        f"Plan and inventory of {size:,} nodes",
        (
            Measure("list", "`--list`, s", 1, dict.fromkeys(large, SOON)),
            Measure("yaml", "YAML file, s"),
            Measure("plan", "the plan alone, s", 2),
            Measure("routes", "routes", 0),
            Measure("memory", "MB", 0, dict.fromkeys(large, ROOM)),
        ),
        (Ratio("to-yaml", "of the YAML file", "list", "yaml", targets=dict.fromkeys(large, 1.0)),),
        ("list", "yaml"),
        samples,
        reasons,
        (
            "`ansible-inventory --list` of a topology, a hundred nodes on each host, beside the same of a static YAML file with the same "
            "hosts, groups and variables. Seconds are user CPU time of a process of its own.",
        )
        + ((f"The YAML file was read once only, for {' and '.join(READ_LARGE)}.",) if large else ()),
    )

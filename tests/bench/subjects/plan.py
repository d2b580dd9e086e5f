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

LARGE = ("chain", "lan", "star", "tree", "grid")
MOST = 1000  # nodes, up to which every shape is measured


def row_of(case: Case) -> str:
    """Return what a row is called."""
    return f"{case.shape}, {case.size:,}"


def ours(case: Case) -> Mapping[str, Mapping[str, float]]:
    """Plan it and list it."""
    parts, listed = case.parts(), case.listed()
    if not parts or not listed:
        raise Unavailable("our inventory was not done within the limits")
    return {row_of(case): {"plan": parts["plan"], "routes": parts["total"], "list": listed[0], "memory": listed[1]}}


def fixed(case: Case) -> Mapping[str, Mapping[str, float]]:
    """List it from YAML."""
    listed = case.listed_from_yaml()
    if not listed:
        raise Unavailable("the YAML file was not read within the limits")
    return {row_of(case): {"yaml": listed[0]}}


def tables(bench: Any) -> Iterator[Table]:
    """Measure all shapes at 100 and 1,000 nodes, and some at 10,000."""
    samples: Samples = {}
    reasons: dict[str, str] = {}
    targets: dict[str, float] = {}
    for size in bench.of((100, 1000, 10000), (100, 1000)):
        for shape in LARGE if size > MOST or bench.quick else SHAPES:
            with tempfile.TemporaryDirectory(prefix="benito-bench-") as work:
                case = Case(shape, size, Path(work))
                # The YAML file of a large network takes minutes each time: once.
                turns = [({"ours": lambda case=case: ours(case)}, bench.rounds), ({"yaml": lambda case=case: fixed(case)}, 1)]
                if size <= MOST:
                    turns = [({**turns[0][0], **turns[1][0]}, bench.rounds)]
                row = samples.setdefault(row_of(case), {})
                if size > MOST:
                    targets[row_of(case)] = 1.0
                for ways, times in turns:
                    found, why = in_turns(ways, times, bench.say)
                    row.update(found.get(row_of(case), {}))
                    reasons.update({row_of(case): reason for reason in why.values()})
    yield Table(
        "plan",
        "Plans and inventories",
        (
            Measure("list", "`--list`, s"),
            Measure("yaml", "YAML file, s"),
            Measure("plan", "of it the plan, s", 2),
            Measure("routes", "routes", 0),
            Measure("memory", "MB", 0),
        ),
        (Ratio("to-yaml", "of the YAML file", "list", "yaml", targets=targets),),
        ("to-yaml",),
        samples,
        reasons,
        (
            "`ansible-inventory --list` of a topology, a hundred nodes on each host, beside the same of a static YAML file with the same "
            "hosts, groups and variables. Seconds are user CPU time of a process of its own.",
            "Rows are shape and number of nodes. From 10,000 nodes on the YAML file is read once only.",
        ),
    )

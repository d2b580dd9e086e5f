# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether anything got worse: ratios, which hold on any machine, beside those that were kept in expected.json.

An entry, by ``table/row/ratio``: ``ratio`` is what was found when it was kept, ``tolerance`` by what part of it more is still fine (a
half where it says nothing), and ``why`` says why its target is missed, if so. An entry of a measure, ``table/row/measure``, has that alone:
seconds are another machine's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .results import Report

EXPECTED = Path(__file__).with_name("expected.json")
TOLERANCE = 0.5


def load(path: Path = EXPECTED) -> dict[str, dict[str, Any]]:
    """Read what is expected."""
    return json.loads(path.read_text()) if path.exists() else {}


def reasons(expected: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return why targets are missed."""
    return {key: entry["why"] for key, entry in expected.items() if entry.get("why")}


def found(reports: Iterable[Report]) -> dict[str, float]:
    """Return every ratio of these reports."""
    return {key: ratio for report in reports for table in report.tables for key, ratio in table.ratios_by_key().items()}


def worse(ratios: Mapping[str, float], expected: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a line for each ratio that got worse than it may."""
    said = []
    for key, ratio in sorted(ratios.items()):
        entry = expected.get(key)
        if entry and "ratio" in entry and ratio > (most := entry["ratio"] * (1 + entry.get("tolerance", TOLERANCE))):
            said.append(f"{key} is {ratio:.2f}, was {entry['ratio']:.2f}, and may be {most:.2f}")
    return said


def missing(reports: Iterable[Report], expected: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a line for each expected ratio whose table was measured, and which is not there: what broke is not fast."""
    reports = list(reports)
    ratios, tables = found(reports), {table.key for report in reports for table in report.tables}
    guarded = sorted(key for key, entry in expected.items() if "ratio" in entry and key.partition("/")[0] in tables)
    return [f"{key} was not found" for key in guarded if key not in ratios]


def kept(ratios: Mapping[str, float], expected: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what is expected from now on: these ratios, with the tolerances and reasons that were there."""
    return {**expected, **{key: {**expected.get(key, {}), "ratio": ratio} for key, ratio in ratios.items()}}


def save(expected: Mapping[str, Mapping[str, Any]], path: Path = EXPECTED) -> None:
    """Write what is expected."""
    path.write_text(json.dumps(dict(sorted(expected.items())), indent=2) + "\n")

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a measurement found: samples by row and measure, and the ratios that are what it is about."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Samples = dict[str, dict[str, list[float]]]


class Unavailable(Exception):
    """What cannot be measured here, and why."""


@dataclass(frozen=True)
class Measure:
    """What is measured: a key, the heading of its column, how many digits behind the point; the most that it is to be, by row."""

    key: str
    heading: str
    digits: int = 1
    targets: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Ratio:
    """A measure as a multiple of ``beside``: that of the row ``to``, of the same row where ``to`` is empty. Smaller is better.

    ``inverse`` turns it round, for measures of which more is better. ``targets`` are by row.
    """

    key: str
    heading: str
    of: str
    beside: str
    to: str = ""
    inverse: bool = False
    targets: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table. ``samples`` are by row and measure.

    ``reasons`` say of a row why something is missing; ``drawn`` are the keys of its plot.
    """

    key: str
    title: str
    measures: tuple[Measure, ...]
    ratios: tuple[Ratio, ...]
    drawn: tuple[str, ...]
    samples: Samples
    reasons: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def median(self, row: str, measure: str) -> float | None:
        """Return the middle of what was measured."""
        found = self.samples.get(row, {}).get(measure)
        return statistics.median(found) if found else None

    def value(self, row: str, key: str) -> float | None:
        """Return the median of a measure, or a ratio of medians."""
        ratio = next((r for r in self.ratios if r.key == key), None)
        if ratio is None:
            return self.median(row, key)
        own, other = self.median(row, ratio.of), self.median(ratio.to or row, ratio.beside)
        over, under = (other, own) if ratio.inverse else (own, other)
        return over / under if over is not None and under else None

    def ratios_by_key(self) -> dict[str, float]:
        """Return every ratio by ``table/row/ratio``, but those of a row to itself."""
        found = {}
        for ratio in self.ratios:
            for row in self.samples:
                value = self.value(row, ratio.key)
                if row != ratio.to and value is not None:
                    found[f"{self.key}/{row}/{ratio.key}"] = round(value, 4)
        return found

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Table:
        """Read what ``asdict`` made and JSON kept."""
        return Table(
            **{
                **data,
                "measures": tuple(Measure(**entry) for entry in data["measures"]),
                "ratios": tuple(Ratio(**entry) for entry in data["ratios"]),
                "drawn": tuple(data["drawn"]),
                "notes": tuple(data["notes"]),
            }
        )


@dataclass(frozen=True)
class Report:
    """All tables of a subject, and the machine and the day they are from."""

    subject: str
    machine: Mapping[str, str]
    tables: tuple[Table, ...]

    def save(self, directory: Path) -> None:
        """Write it as JSON."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{self.subject}.json").write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n")

    @staticmethod
    def load(path: Path) -> Report:
        """Read it again."""
        data = json.loads(path.read_text())
        return Report(data["subject"], data["machine"], tuple(Table.from_json(table) for table in data["tables"]))


# Measures something once: values by row and measure.
Way = Callable[[], Mapping[str, Mapping[str, float]]]


def in_turns(ways: Mapping[str, Way], times: int, say: Callable[[str], None]) -> tuple[Samples, dict[str, str]]:
    """Measure all ways, one after the other, so many times; return the samples and why ways have none.

    A way that is unavailable or fails is left out of the turns that follow: the others are worth having.
    """
    samples: Samples = {name: {} for name in ways}
    reasons: dict[str, str] = {}
    for turn in range(times):
        for name, way in ways.items():
            if name in reasons:
                continue
            try:
                found = way()
            except Exception as error:
                reasons[name] = " ".join(str(error).split())[:300] or type(error).__name__
                say(f"{name}: {reasons[name]}")
                continue
            for row, values in found.items():
                for measure, value in values.items():
                    samples.setdefault(row, {}).setdefault(measure, []).append(value)
            say(f"turn {turn + 1} of {times}: {' '.join(f'{row}: {dict(values)}' for row, values in found.items())}")
    return samples, reasons

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest costs that does nothing: memory, what is shared in equal parts, and processor time; booted and woken up."""

from __future__ import annotations

import os
import re
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .. import ours
from ..results import Measure, Ratio, Samples, Table
from ..shapes import SHAPES, topdl

LOOKS, PAUSE, SETTLING = 3, 10, 20
TICKS = os.sysconf("SC_CLK_TCK")
# What a booted guest takes at most, in MB, as long as none was measured; and the part of what is free that guests may take.
GUESS, ROOM = 200.0, 0.93


def pss(pid: int) -> float:
    """Return the memory of a process in MB, what it shares with others in equal parts."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.findall(r"^Pss:\s+(\d+)", text, re.MULTILINE)[0]) / 1024


def spent(pids: Sequence[int]) -> float:
    """Return the processor seconds of processes."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(found[11]) + int(found[12]) for found in fields) / TICKS


def available() -> float:
    """Return the MB that are free, or could be."""
    return int(re.findall(r"^MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)[0]) / 1024


def look(pids: Sequence[int]) -> tuple[float, float]:
    """Return MB a guest, the middle of all, and the percent of a processor that each takes."""
    before, began = spent(pids), time.monotonic()
    time.sleep(PAUSE)
    share = (spent(pids) - before) / (time.monotonic() - began) / len(pids) * 100
    return statistics.median(pss(pid) for pid in pids), share


def tables(bench: Any) -> Iterator[Table]:
    """Measure 10 to 200 guests."""
    samples: Samples = {}
    reasons: dict[str, str] = {}
    cost = {"cold": GUESS, "warm": GUESS}
    for count in bench.of((10, 50, 100, 200), (10,)):
        row = samples.setdefault(f"{count} guests", {})
        topology = bench.home / f"memory-{count}.topdl"
        topology.write_text(topdl(SHAPES["lan"](count)))
        experiment = ours.Experiment(topology, bench.home)
        for start in ("cold", "warm"):
            needed, there = cost[start] * count, available()
            if needed > ROOM * there:
                reasons[f"{count} guests, {start}"] = f"it would take {needed / 1024:.0f} GB, and {there / 1024:.0f} GB are free"
                continue
            try:
                experiment.swap_in("-e", f"benito_start={start}")
                pids = [pid for pid, dummy in experiment.guests()]
                time.sleep(SETTLING)
                for dummy in range(LOOKS):
                    size, share = look(pids)
                    row.setdefault(f"{start}-pss", []).append(size)
                    row.setdefault(f"{start}-cpu", []).append(share)
                cost[start] = size
            except Exception as error:
                # The other sizes are worth having.
                reasons[f"{count} guests, {start}"] = " ".join(str(error).split())[-300:]
            finally:
                experiment.swap_out()
            bench.say(f"{count} guests, {start}: {row}")
    yield Table(
        "memory",
        "A guest that does nothing",
        (
            Measure("cold-pss", "booted, MB"),
            Measure("warm-pss", "woken up, MB"),
            Measure("cold-cpu", "booted, % of a core", 2),
            Measure("warm-cpu", "woken up, % of a core", 2),
        ),
        (
            Ratio("memory", "memory, woken up of booted", "warm-pss", "cold-pss"),
            Ratio("cpu", "core, woken up of booted", "warm-cpu", "cold-cpu"),
        ),
        ("cold-pss", "warm-pss"),
        samples,
        reasons,
        (
            "PSS of QEMU, the middle of all guests: memory that is shared counts in equal parts. Image `tiny`, 128 MB each, a control "
            f"interface and one in the LAN, {SETTLING} s after all have booted. Samples are looks at one swap-in, {PAUSE} s each.",
        ),
    )

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest costs that does nothing: memory, what is shared in equal parts, and processor time; booted and woken up."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from .. import ours
from ..results import Measure, Ratio, Samples, Table
from ..shapes import SHAPES, topdl

LOOKS, PAUSE, SETTLING, SAMPLE = 3, 5, 20, 20
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


def reach(experiment: ours.Experiment, count: int) -> None:
    """Ping a sample of the guests by the control net; raise when one does not answer."""
    hosts = re.findall(r"^Host (\S+).*\n\s+HostName (\S+)", experiment.ssh_config.read_text(), re.MULTILINE)
    guests = [address for name, address in hosts if name.startswith("n-")]
    if len(guests) != count:
        raise RuntimeError(f"{len(guests)} of {count} guests have an address on the control net")
    for address in Random(count).sample(guests, min(SAMPLE, count)):
        done = subprocess.run(["ping", "-c", "2", "-W", "5", address], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"no answer from {address}: {done.stdout[-200:]}")


def grown(bench: Any, start: str, sizes: Sequence[int], samples: Samples, reasons: dict[str, str]) -> None:
    """Swap in the smallest number of guests, and change it in place to the larger ones; look at each."""
    topology = bench.home / "memory.topdl"
    experiment = ours.Experiment(topology, bench.home)
    cost, there = GUESS, 0
    try:
        for count in sizes:
            row, more = samples[row_of(count)], cost * (count - there)
            if more > ROOM * available():
                reasons[f"{row_of(count)}, {start}"] = f"it would take {more / 1024:.0f} GB more, and {available() / 1024:.0f} GB are free"
                return
            topology.write_text(topdl(SHAPES["lan"](count)))
            seconds = experiment.swap_in("-e", f"benito_start={start}")
            reach(experiment, count)
            pids = [pid for pid, dummy in experiment.guests()]
            time.sleep(SETTLING)
            for dummy in range(LOOKS):
                cost, share = look(pids)
                row.setdefault(f"{start}-pss", []).append(cost)
                row.setdefault(f"{start}-cpu", []).append(share)
            bench.say(f"{row_of(count)}, {start}: {count - there} more in {seconds:.0f} s: {row}")
            there = count
    except Exception as error:
        # The other way is worth having.
        reasons[f"{row_of(count)}, {start}"] = " ".join(str(error).split())[-300:]
    finally:
        bench.say(f"{start}: all swapped out in {experiment.swap_out():.0f} s")


def row_of(count: int) -> str:
    """Return what a row is called."""
    return f"{count} guests"


def tables(bench: Any) -> Iterator[Table]:
    """Measure 10 to 200 guests."""
    sizes = bench.of((10, 50, 100, 200), (10,))
    samples: Samples = {row_of(count): {} for count in sizes}
    reasons: dict[str, str] = {}
    for start in ("cold", "warm"):
        grown(bench, start, sizes, samples, reasons)
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
            f"interface and one in the LAN, {SETTLING} s after all have booted. Samples are looks at the same guests, {PAUSE} s each.",
            f"Each number of guests is reached from the one before by a change in place; {SAMPLE} of them, drawn by lot, have answered "
            "a ping before they are looked at.",
        ),
    )

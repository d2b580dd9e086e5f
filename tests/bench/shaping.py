# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""How exact shaped links are: `python -m tests.bench.shaping [PACKETS]`, as root, prints a Markdown table.

The nodes are network namespaces, wired as guests are, so nothing of a guest's own slowness is in the figures.
"""

from __future__ import annotations

import os
import statistics
import sys
from pathlib import Path

from .wires import Wires, losses, rate

LINK = {"latency": 5}
INSIDE = "BENITO_BENCH_NETWORK"
ROWS = list[tuple[str, str, str]]


def times(found: list[float]) -> str:
    """Say how long round trips took."""
    cuts = statistics.quantiles(found, n=100)
    return f"{statistics.fmean(found):.2f} ms (1 % below {cuts[0]:.1f}, 1 % above {cuts[-1]:.1f})"


def measure(count: int) -> ROWS:
    """Measure everything; return rows of what, wanted, observed."""
    rows: ROWS = []

    def add(*row: str) -> None:
        rows.append(row)  # type: ignore[arg-type]
        print(row, file=sys.stderr, flush=True)

    with Wires(2) as wires:
        add("round trip, 1 link, shaper without values", "-", times(wires.round_trips("10.0.0.2", count // 10, 0.003)))
        wires.shape(LINK)
        add("round trip, 1 link of 10 ms", "20 ms", times(wires.round_trips("10.0.0.2", count, 0.003)))
        add("the same, one packet in 50 ms", "20 ms", times(wires.round_trips("10.0.0.2", count // 40, 0.05)))
        add("round trip, 2 links of 10 ms", "40 ms", times(wires.round_trips("10.0.1.2", count, 0.003)))
        add("the same, one packet in 50 ms", "40 ms", times(wires.round_trips("10.0.1.2", count // 40, 0.05)))
        wires.shape({"latency": 50}, {"latency": 5})
        add("round trip, 50 ms away from each node and 5 ms towards it", "110 ms", times(wires.round_trips("10.0.0.2", count // 4, 0.003)))
        wires.shape({"latency": 20, "jitter": 5})
        add("round trip, 1 link of 40 ms, each end 20 ms \u00b1 5 ms", "80 ms", times(wires.round_trips("10.0.0.2", count // 40, 0.05)))
        for megabits in (10, 100):
            for kind, more in (("", {}), (", kind average", {"spread": 0.25})):
                wires.shape({"capacity": megabits * 1000, "latency": 5, **more})
                there, back = (rate(arrived) for arrived in wires.arrivals(count * (3 if megabits > 10 else 1), megabits * 1.3))
                add(
                    f"{megabits} Mb/s{kind}, both directions at once", f"{megabits} and {megabits} Mb/s", f"{there:.2f} and {back:.2f} Mb/s"
                )
        wires.shape({"loss": 0.1}, {})
        for arrived in wires.arrivals(count, 10, both=False):
            add("loss of 10 %", "10 %", f"{losses(arrived, count)[0]:.2%}")
        wires.shape({"loss": 0.1, "burst": 5}, {})
        for arrived in wires.arrivals(count, 10, both=False):
            lost, runs = losses(arrived, count)
            add("loss of 10 % in runs of 5", "10 %, 5 packets", f"{lost:.2%}, {runs:.2f} packets")
        wires.shape({"duplication": 0.05}, {})
        for arrived in wires.arrivals(count, 10, both=False):
            numbers = arrived["numbers"]
            add("duplication of 5 %", "5 %", f"{len(numbers) / len(set(numbers)) - 1:.2%}")
    return rows


def main() -> None:
    """Print the table."""
    if os.geteuid() != 0:
        sys.exit("it makes network namespaces: run it as root")
    if INSIDE not in os.environ:
        os.execvpe(
            "unshare", ["unshare", "--net", sys.executable, "-B", "-m", "tests.bench.shaping", *sys.argv[1:]], {**os.environ, INSIDE: "1"}
        )
    # Frames that a socket may hold: what systemd sets at boot; the kernel's own 10 lose some wherever a process is a moment late.
    Path("/proc/sys/net/unix/max_dgram_qlen").write_text("512")
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20000
    rows = measure(count)
    print(f"| what ({count} packets) | wanted | observed |\n| --- | --- | --- |")
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()

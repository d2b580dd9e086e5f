# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fuzz the readers of what others wrote: `python -B -m tests.fuzz`; `make fuzz ARGS='--minutes 30 --target topdl'`."""

from __future__ import annotations

import argparse
import sys
import time

from . import files, records, results
from .runner import BATCH, CPU, MEMORY, Crash, Fuzzer, check
from .target import Target


def all_targets() -> dict[str, Target]:
    """Return every target by its name."""
    return {target.name: target for part in (files, records, results) for target in part.targets()}


def _arguments(names: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--target", action="append", choices=names, help="only this reader; may be given several times")
    parser.add_argument("--inputs", type=int, default=0, help="how many inputs, over all targets")
    parser.add_argument("--minutes", type=float, default=0, help="stop after so many minutes (10, where no number of inputs is given)")
    parser.add_argument("--seed", type=int, default=0, help="what all chance follows from: the same number gives the same inputs")
    parser.add_argument("--keep", action="store_true", help="put what crashes into tests/fuzz/corpus, which the unit tests replay")
    return parser.parse_args()


def _shares(targets: list[Target], inputs: int) -> dict[str, int]:
    """Divide the inputs among the targets by their shares."""
    whole = sum(target.share for target in targets)
    return {target.name: -(-inputs * target.share // whole) for target in targets}


def main() -> int:
    """Fuzz, and tell what was found. Returns 1 when something crashed."""
    known = all_targets()
    options = _arguments(list(known))
    chosen = [known[name] for name in options.target or known]
    limit = options.minutes * 60 or (0 if options.inputs else 600)
    deadline = time.monotonic() + limit if limit else float("inf")
    left = _shares(chosen, options.inputs) if options.inputs else dict.fromkeys((t.name for t in chosen), sys.maxsize)
    fuzzers = {target.name: Fuzzer(target, options.seed) for target in chosen}
    for target in chosen:
        for seed in target.seeds:
            check(target, seed)
    while any(left.values()) and time.monotonic() < deadline:
        for name, fuzzer in fuzzers.items():
            if left[name] and time.monotonic() < deadline:
                before = fuzzer.inputs
                fuzzer.batch(min(left[name], BATCH * fuzzer.target.share // 20 + 1))
                left[name] -= min(left[name], fuzzer.inputs - before)
    return _tell(fuzzers, options.keep)


def _tell(fuzzers: dict[str, Fuzzer], keep: bool) -> int:
    print(f"{'TARGET':18} {'INPUTS':>8} {'OUTCOMES':>8} {'CRASHES':>7} {'SLOWEST':>8} {'LARGEST':>7}")
    for name, fuzzer in fuzzers.items():
        row = f"{name:18} {fuzzer.inputs:8} {len(fuzzer.outcomes):8} {len(fuzzer.crashes):7} {fuzzer.slowest:6.2f} s {fuzzer.largest:4} MB"
        print(row)
    crashes = [crash for fuzzer in fuzzers.values() for crash in fuzzer.crashes.values()]
    for crash in crashes:
        print(f"{crash.target}: {crash.how}\n    {crash.data[:300]!r}")
        if keep:
            _keep(crash)
    print(
        f"{sum(f.inputs for f in fuzzers.values())} inputs, {len(crashes)} kinds of crashes; at most {CPU} s and {MEMORY} MB for each input"
    )
    return 1 if crashes else 0


def _keep(crash: Crash) -> None:
    crash.file.parent.mkdir(parents=True, exist_ok=True)
    crash.file.write_bytes(crash.data)


if __name__ == "__main__":
    sys.exit(main())

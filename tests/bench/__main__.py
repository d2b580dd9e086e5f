# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark: `make bench`, as root; `make bench ARGS='--only plan,guests --quick'` for parts of it.

Writes tests/output/bench/SUBJECT.json, the tables of docs/performance.md and the plots below docs/plots, and ends with exit code 1 when
a ratio got worse than tests/bench/expected.json allows.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from . import guard, machine, ours, private, render
from .results import Report

ROOT = Path(__file__).resolve().parents[2]
SUBJECTS = ("guests", "processes", "plan", "memory", "dataplane", "hosts")
OUTPUT = ROOT / "tests" / "output" / "bench"
WORK = ROOT / ".cache" / "bench" / "work"
# Medians are of no fewer samples.
USUAL = 3
INTERRUPTED = 130
PAGE, PLOTS = ROOT / "docs" / "performance.md", ROOT / "docs" / "plots"


@dataclass(frozen=True)
class Bench:
    """What subjects are told: how much to measure, and where they may write what goes away."""

    quick: bool
    rounds: int
    sizes: tuple[int, ...]
    home: Path

    def of(self, usual: tuple[int, ...], quick: tuple[int, ...]) -> tuple[int, ...]:
        """Return the sizes to measure."""
        return self.sizes or (quick if self.quick else usual)

    @staticmethod
    def say(text: str) -> None:
        """Tell whoever waits how it goes."""
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def arguments(words: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description="Measure and write docs/performance.md.")

    def several(text: str) -> list[str]:
        unknown = set(text.split(",")) - set(SUBJECTS)
        if unknown:
            raise argparse.ArgumentTypeError(f"no subject is called {', '.join(sorted(unknown))}; there are: {', '.join(SUBJECTS)}")
        return [subject for subject in SUBJECTS if subject in text.split(",")]

    parser.add_argument("--only", type=several, default=list(SUBJECTS), metavar="SUBJECT,...", help=", ".join(SUBJECTS))
    parser.add_argument("--quick", action="store_true", help="small sizes, measured once; the documentation stays as it is")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often each is measured, in turns (3, with --quick 1)")
    parser.add_argument("--sizes", type=lambda text: tuple(map(int, text.split(","))), default=(), metavar="N,...", help="other sizes")
    parser.add_argument("--no-docs", action="store_true", help="leave the documentation as it is, as --sizes and fewer rounds do")
    parser.add_argument("--keep", action="store_true", help="keep the ratios as those to be expected from now on")
    parser.add_argument("--guard", action="store_true", help="measure nothing: compare what the last run found")
    parser.add_argument("--render", action="store_true", help="measure nothing: write the documentation from what the last run found")
    return parser.parse_args(words)


def measure(options: argparse.Namespace) -> int:
    """Measure the subjects, each report written as it grows."""
    home = Path("/tmp/home")
    home.mkdir(exist_ok=True)
    bench = Bench(options.quick, options.rounds or (1 if options.quick else USUAL), options.sizes, home)
    failed = 0
    for subject in options.only:
        bench.say(f"=== {subject}")
        began, facts, tables = time.monotonic(), machine.describe(), []
        try:
            for table in importlib.import_module(f"tests.bench.subjects.{subject}").tables(bench):
                tables.append(table)
                facts["accelerator"] = machine.accelerator()
                Report(subject, facts, tuple(tables)).save(OUTPUT)
                print(f"\n{render.table(table, {}, 'plots')}\n", flush=True)
        except KeyboardInterrupt:
            return INTERRUPTED
        except Exception as error:
            # The other subjects are worth having.
            bench.say(f"{subject} failed: {type(error).__name__}: {error}")
            failed = 1
        bench.say(f"=== {subject} took {time.monotonic() - began:.0f} s")
    return failed


def reports(subjects: list[str]) -> list[Report]:
    """Return what was found of these subjects."""
    return [Report.load(path) for subject in subjects if (path := OUTPUT / f"{subject}.json").exists()]


def conclude(options: argparse.Namespace, complete: bool = True) -> int:
    """Write the documentation, if all was measured, and compare with what is expected; return the exit code."""
    known, expected = reports(options.only), guard.load()
    if not known:
        print(f"There is nothing to compare: {OUTPUT.relative_to(ROOT)} has no figures of {', '.join(options.only)}.")
        return 1
    if options.keep and complete:
        expected = guard.kept(guard.found(known), expected)
        guard.save(expected)
    whole = complete and not (options.quick or options.sizes or (options.rounds or USUAL) < USUAL)
    if options.render or (whole and not options.no_docs and not options.guard):
        for report in known:
            render.write(report, guard.reasons(expected), PAGE, PLOTS)
    said = [*guard.worse(guard.found(known), expected)]
    if whole:
        said += guard.missing(known, expected)
    print("\n".join(f"WORSE: {line}" for line in said) or "No ratio got worse than expected.json allows.")
    return 1 if said else 0


def prepare() -> None:
    """Fetch and build what is measured, while there is a way to the package mirrors."""
    environment = ours.environment(Path.home())
    subprocess.run(["ansible-playbook", "tests/integration/prepare.yml"], cwd=ROOT, env=environment, check=True, stdin=subprocess.DEVNULL)


def main(words: list[str]) -> int:
    """Measure, write, compare."""
    options = arguments(words)
    if options.guard or options.render:
        return conclude(options)
    if os.geteuid() != 0:
        sys.exit("the benchmark makes namespaces and machines: run it as root")
    if private.INSIDE not in os.environ:
        for subject in options.only:
            (OUTPUT / f"{subject}.json").unlink(missing_ok=True)
        if set(options.only) != {"plan"}:
            prepare()
            if "hosts" in options.only:
                subprocess.run([sys.executable, "-B", "-m", "tests.hosts.root"], cwd=ROOT, check=True, stdin=subprocess.DEVNULL)
    status = private.enter(WORK, lambda: measure(options))
    if private.INSIDE in os.environ:
        return status
    if status == INTERRUPTED:
        print("Interrupted: everything is taken away, and what was measured until now is in tests/output/bench.")
        return status
    return conclude(options, complete=status == 0) or status


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

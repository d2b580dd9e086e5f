# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many inputs to one reader, each within bounds of processor time and memory; and what broke it, kept as a file.

Inputs are read in processes of their own, some thousands in each, so that one that takes down the interpreter is known: it lies in memory
that both processes see. An input that leads to something new (another exception, another message) becomes a seed of those that follow.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import pickle
import re
import resource
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType

from .mutation import LARGEST, mutated
from .target import Target

CORPUS = Path(__file__).with_name("corpus")
CPU = 5  # seconds of processor time for one input
PATIENCE = 120  # seconds on the clock for one input, for what waits
MEMORY = 500  # MB of the whole process, interpreter and libraries included
BATCH = 2000
_ADDRESSES = 3 << 30  # bytes; what needs more fails before the machine does
_MOST_SEEDS = 400
_VARYING = re.compile(r"'.*'|\".*\"|[0-9]+|/\S+", re.DOTALL)


class TooSlow(BaseException):
    """An input takes longer than it may. No reader catches this."""


@dataclass(frozen=True)
class Crash:
    """An input that broke its reader, and how."""

    target: str
    data: bytes
    how: str

    @property
    def file(self) -> Path:
        """Where it is kept."""
        return CORPUS / self.target / hashlib.sha256(self.data).hexdigest()[:16]


@dataclass
class Outcome:
    """What a batch did."""

    inputs: int = 0
    crashes: list[Crash] = field(default_factory=list)
    new: list[tuple[str, bytes]] = field(default_factory=list)  # what was new, and the input that led to it
    largest: int = 0  # MB
    slowest: float = 0.0  # seconds of processor time


def check(target: Target, data: bytes) -> str:
    """Give one input to a target. Returns what came of it, in words that are the same for inputs alike; raises what is a crash."""
    with _bounded():
        try:
            target.read(data)
        except target.refusals as error:
            return f"{type(error).__name__}: {_VARYING.sub('', str(error))[:150]}"
    return "read"


@contextmanager
def _bounded() -> Iterator[None]:
    """Raise TooSlow beyond the bounds of time: for what computes, and for what waits."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlow(f"more than {CPU} s of processor time" if number == signal.SIGPROF else f"more than {PATIENCE} s")

    before = [(number, signal.signal(number, stop)) for number in (signal.SIGPROF, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_PROF, CPU)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before:
            signal.signal(number, handler)


def memory() -> int:
    """Return the most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform != "darwin" else 1024 * 1024)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Fuzzer:
    """One target, its seeds, and what became known of it."""

    def __init__(self, target: Target, seed: int) -> None:
        self.target = target
        self.seed = seed
        self.inputs = 0
        self.largest = 0
        self.slowest = 0.0
        self.crashes: dict[str, Crash] = {}  # by how, so that each kind is kept once
        self.outcomes: Counter[str] = Counter()
        self._batches = 0
        self._seeds = [*target.seeds]
        self._shared = mmap.mmap(-1, LARGEST + 8)

    def batch(self, count: int) -> None:
        """Read so many inputs in a process of its own."""
        reading, writing = os.pipe()
        self._batches += 1
        child = os.fork()
        if not child:
            os.close(reading)
            resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
            with suppress(BaseException), os.fdopen(writing, "wb") as pipe:
                pickle.dump(self._read(count), pipe)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            content = pipe.read()
        dummy, status = os.waitpid(child, 0)
        if content:
            self._learn(pickle.loads(content))
        else:
            length = int.from_bytes(self._shared[:8], "little")
            how = f"the interpreter ended with status {os.waitstatus_to_exitcode(status)}"
            self._learn(Outcome(1, [Crash(self.target.name, self._shared[8 : 8 + length], how)]))

    def _learn(self, outcome: Outcome) -> None:
        self.inputs += outcome.inputs
        self.largest = max(self.largest, outcome.largest)
        self.slowest = max(self.slowest, outcome.slowest)
        for crash in outcome.crashes:
            kept = self.crashes.setdefault(crash.how, crash)
            if len(crash.data) < len(kept.data):
                self.crashes[crash.how] = crash
        for what, data in outcome.new:
            self.outcomes[what] += 1
            if self.outcomes[what] == 1 and len(self._seeds) < _MOST_SEEDS:
                self._seeds.append(data)

    def _read(self, count: int) -> Outcome:
        """Read so many inputs, and stop early where the memory is no longer a measure of those that follow."""
        outcome = Outcome()
        dice = Random(f"{self.seed}/{self.target.name}/{self._batches}")
        seen = set(self.outcomes)
        for dummy in range(count):
            data = mutated(dice, self._seeds, self.target.words, self.target.form)
            self._shared[:8] = len(data).to_bytes(8, "little")
            self._shared[8 : 8 + len(data)] = data
            began = _cpu()
            outcome.inputs += 1
            try:
                what = check(self.target, data)
            except (Exception, TooSlow) as error:
                outcome.crashes.append(Crash(self.target.name, data, _how(error)))
                what = ""
            outcome.slowest = max(outcome.slowest, _cpu() - began)
            outcome.largest = memory()
            if outcome.largest > MEMORY:
                outcome.crashes.append(Crash(self.target.name, data, f"more than {MEMORY} MB of memory"))
                break
            if what and what not in seen:
                seen.add(what)
                if len(data) < 20_000:
                    outcome.new.append((what, data))
        return outcome


def _how(error: BaseException) -> str:
    """Return an exception and the place in our code where it arose, in one line."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "plugin" in f.filename or "module_utils" in f.filename]
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno} {frames[-1].name}" if frames else "?"
    return f"{type(error).__name__} in {place}" if not isinstance(error, TooSlow) else f"{error} in {place}"

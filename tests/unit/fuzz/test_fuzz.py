# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inputs that once broke a reader, and the runner that finds such inputs."""

from __future__ import annotations

import json
import os
import signal
from random import Random

import pytest

from tests.fuzz import runner
from tests.fuzz.__main__ import all_targets
from tests.fuzz.mutation import LARGEST, mutated
from tests.fuzz.runner import CORPUS, Fuzzer, TooSlow, check
from tests.fuzz.target import Target

TARGETS = all_targets()
KEPT = sorted(path for path in CORPUS.glob("*/*") if path.is_file())


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_once_broke_a_reader_is_read_or_refused(path):
    check(TARGETS[path.parent.name], path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_what_makes_sense_is_read(name):
    for seed in TARGETS[name].seeds:
        check(TARGETS[name], seed)


def test_the_same_chance_gives_the_same_inputs():
    seeds = (b'{"a": [1, 2, {"b": null}]}', b"<a><b>c</b></a>", b"word word\nword")
    for form in ("json", "xml", "words", "bytes"):
        first, second = ([mutated(dice, seeds, ("w",), form) for dummy in range(200)] for dice in (Random(1), Random(1)))
        assert first == second
        assert len(set(first)) > 50
        assert max(map(len, first)) <= LARGEST


def broken(data: bytes) -> None:
    """Break in every way, depending on the input."""
    content = json.loads(data)
    if content == 1:
        raise KeyError("one")
    if content == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if content == 3:
        while True:
            pass
    if content == 4:
        assert b"x" * (600 << 20)


@pytest.mark.parametrize(
    ("seed", "how"),
    [(b"1", "KeyError in ?"), (b"2", "status -9"), (b"3", "s of processor time"), (b"4", "MB of memory")],
)
def test_each_way_to_break_is_found(monkeypatch, seed, how):
    monkeypatch.setattr(runner, "CPU", 0.2 if seed == b"3" else 5)
    monkeypatch.setattr(runner, "mutated", lambda *dummy: seed)
    fuzzer = Fuzzer(Target("broken", broken, (seed,), (ValueError,)), 0)
    fuzzer.batch(1)
    assert [how in text for text in fuzzer.crashes] == [True]
    assert [crash.data for crash in fuzzer.crashes.values()] == [seed]


def test_what_is_refused_is_no_crash_and_what_is_new_is_remembered():
    fuzzer = Fuzzer(Target("json", json.loads, (b'{"a": [1, 2]}',), (ValueError, RecursionError)), 0)
    fuzzer.batch(300)
    assert (fuzzer.inputs, fuzzer.crashes) == (300, {})
    assert len(fuzzer.outcomes) > 2
    assert fuzzer.largest > 0


def test_no_reader_can_catch_the_end_of_its_time(monkeypatch):
    def stubborn(data: bytes) -> None:
        while True:
            try:
                while True:
                    pass
            except Exception:
                continue

    monkeypatch.setattr(runner, "CPU", 0.2)
    with pytest.raises(TooSlow):
        check(Target("stubborn", stubborn, ()), b"")

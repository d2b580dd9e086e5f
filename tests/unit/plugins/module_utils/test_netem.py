# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shaping at the end node, in netem's words."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.module_utils.netem import VALUES, NetemError, netem_words, shaping


def words(**direction: Any) -> str:
    return netem_words("n-0", {**dict.fromkeys(VALUES), **direction})


@pytest.mark.parametrize(
    ("direction", "said"),
    [
        ({}, ""),
        ({"latency": 10}, "limit 100000 delay 10ms"),
        ({"latency": 2.5, "jitter": 0.5}, "limit 100000 delay 2.5ms 0.5ms"),
        ({"loss": 0.1}, "limit 100000 loss 10%"),
        ({"loss": 0.1, "burst": 1}, "limit 100000 loss 10%"),
        ({"loss": 1.0, "burst": 5}, "limit 100000 loss 100%"),
        ({"duplication": 0.01}, "limit 100000 duplicate 1%"),
        ({"capacity": 1000}, "limit 50 rate 1000000bit"),
        ({"capacity": 0.5}, "limit 50 rate 500bit"),
        ({"capacity": 10000, "latency": 20}, "limit 100 delay 20ms rate 10000000bit"),
    ],
)
def test_words(direction: dict[str, float], said: str) -> None:
    assert words(**direction) == said


@given(st.floats(0.001, 0.5), st.floats(1.5, 50))
def test_bursts_lose_as_much_and_in_runs_as_long(loss: float, burst: float) -> None:
    found = re.search(r"loss gemodel ([0-9.]+)% ([0-9.]+)%", words(loss=loss, burst=burst))
    assert found
    enter, leave = float(found[1]) / 100, float(found[2]) / 100
    assert 1 / leave == pytest.approx(burst, rel=1e-3)
    assert enter / (enter + leave) == pytest.approx(loss, rel=1e-2)


def test_the_directions_are_apart() -> None:
    made = shaping("n-0", {"out": {"latency": 1}, "in": {"loss": 0.5, "latency": None}})
    assert [(shaped.way, shaped.words) for shaped in made] == [("out", "limit 100000 delay 1ms"), ("in", "limit 100000 loss 50%")]
    assert shaping("n-0", {"out": None, "in": {}}) == ()


@pytest.mark.parametrize(
    "direction", [{"loss": 2}, {"latency": -1}, {"capacity": "10; reboot"}, {"jitter": True}, {"latency": float("nan")}]
)
def test_what_is_no_value(direction: dict[str, Any]) -> None:
    with pytest.raises(NetemError, match=rf"guest 'n-0': {next(iter(direction))} .* must be a number"):
        words(**direction)


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_numbers_have_no_exponent(capacity: float, latency: float) -> None:
    assert re.fullmatch(r"[a-z0-9. ]*", words(capacity=capacity, latency=latency))
    assert not re.search(r"[0-9]e[0-9+-]", words(capacity=capacity, latency=latency))

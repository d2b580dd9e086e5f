# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Links shaped by the guests' own kernels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import PROJECT, Done, Lab
from .topologies import attribute, computer, experiment

pytestmark = pytest.mark.network

NAME = f"{PROJECT}.netem"


def topology(substrate: str) -> str:
    """Return a LAN whose substrate says more, shaped at the end nodes."""
    text = experiment(["lan0"], [computer("a", ["lan0"]), computer("b", ["lan0"])])
    text = text.replace("<name>lan0</name>", f"<name>lan0</name>{substrate}")
    return text.replace("</experiment>", f"{attribute('benito:shaping', 'netem')}</experiment>")


def latency(time: int) -> str:
    return f"<latency><time>{time}</time><kind>average</kind></latency>"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("topologies") / "netem.topdl"
    path.write_text(topology(latency(25)))
    return path


@pytest.fixture(scope="module")
def up(lab: Lab, file: Path) -> Iterator[Done]:
    before = lab.listing()
    yield lab.play("swapin", file)
    lab.play("swapout", file)
    assert lab.listing() == before


def round_trip(lab: Lab) -> float:
    """The shortest of some round trips between the two, in ms."""
    done = lab.ssh(NAME, "a", "ping -c 10 -i 0.2 b-lan0")
    assert done.code == 0, done.out
    return float(re.search(r"= ([0-9.]+)/", done.out)[1])


def test_each_end_delays_both_ways(lab: Lab, up: Done) -> None:
    assert up.code == 0, up.out
    # Out of a, into b, out of b, into a. What comes on top is the emulated machines' own.
    assert 100 <= round_trip(lab) < 130
    assert "in-eth1" in lab.ssh(NAME, "a", "tc qdisc show").out


def test_a_change_takes_effect_while_they_run(lab: Lab, up: Done, file: Path) -> None:
    assert lab.play("swapin", file).changed == 0
    uptime = float(lab.ssh(NAME, "a", "cat /proc/uptime").out.split()[0])
    file.write_text(topology(latency(5)))
    changed = lab.play("swapin", file)
    assert changed.code == 0, changed.out
    assert 20 <= round_trip(lab) < 50
    file.write_text(topology(attribute("loss", "1")))
    changed = lab.play("swapin", file)
    assert changed.code == 0, changed.out
    assert lab.ssh(NAME, "a", "ping -c 3 -W 1 b-lan0").code != 0
    file.write_text(topology(""))
    changed = lab.play("swapin", file)
    assert changed.code == 0, changed.out
    assert round_trip(lab) < 20
    assert "netem" not in lab.ssh(NAME, "a", "tc qdisc show").out
    assert "in-eth1" not in lab.ssh(NAME, "a", "ip link").out
    assert float(lab.ssh(NAME, "a", "cat /proc/uptime").out.split()[0]) > uptime

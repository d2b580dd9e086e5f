# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A thousand process nodes on one host, in a hundred LANs joined by routers, brought up and taken down by the playbooks.

`pytest -s --durations=0 tests/kinds/test_thousand.py` is where the figures of docs/performance.md come from.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..integration.conftest import PROJECT, Done, Lab
from ..integration.topologies import attribute, computer, experiment

NAME = f"{PROJECT}.thousand"
SIDE, SIZE = 10, 10
PROCESS = attribute("benito:node_type", "process")
ENTER = f"/var/lib/benito/{NAME}/nodes/enter"


def node(row: int, column: int, number: int) -> str:
    return f"n-{row}-{column}-{number}"


def grid() -> str:
    """Ten by ten LANs of ten nodes. The first of each leads to the LAN beside, the second to the one below."""
    lans = {(row, column): f"lan-{row}-{column}" for row in range(SIDE) for column in range(SIDE)}
    nodes = []
    for (row, column), lan in lans.items():
        further = [lans.get((row, column + 1)), lans.get((row + 1, column))]
        leads = [[found] if found else [] for found in further] + [[]] * (SIZE - 2)
        nodes += [computer(node(row, column, number), [lan, *more], PROCESS) for number, more in enumerate(leads)]
    return experiment(list(lans.values()), nodes)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("thousand") / "thousand.topdl"
    path.write_text(grid())
    return path


@pytest.fixture(scope="module")
def before(lab: Lab) -> dict[str, set[str]]:
    return lab.listing()


@pytest.fixture(scope="module")
def up(lab: Lab, before: dict[str, set[str]], file: Path) -> Iterator[Done]:
    yield lab.play("swapin", file)
    lab.play("swapout", file)


def test_all_of_them_come_up(up: Done) -> None:
    assert up.code == 0, up.out[-3000:]
    assert up.out.count(" booted ") == SIDE * SIDE * SIZE


def test_any_two_reach_each_other_by_name_over_many_hops(lab: Lab, up: Done) -> None:
    chance = random.Random(7)
    places = [(row, column) for row in range(SIDE) for column in range(SIDE)]
    hops = []
    for dummy in range(20):
        source, *goals = [(*place, chance.randrange(SIZE)) for place in chance.sample(places, 11)]
        words = " ".join(node(*goal) for goal in goals)
        # The first packet of a way asks for an address at each hop.
        command = f"far() {{ ping -c 1 -W 5 $1 | grep -o 'ttl=[0-9]*'; }}; for goal in {words}; do far $goal || far $goal; done"
        found = lab.run(ENTER, node(*source), "--", "sh", "-c", command).out.split()
        assert len(found) == 10, (source, goals, found)
        hops += [65 - int(word.partition("=")[2]) for word in found]
    print(f"{len(hops)} pairs, {min(hops)} to {max(hops)} hops")
    assert max(hops) > 10


def test_again_nothing_changes(lab: Lab, up: Done, file: Path) -> None:
    again = lab.play("swapin", file)
    assert (again.code, again.changed) == (0, 0), again.out[-3000:]


def test_nothing_is_left(lab: Lab, up: Done, file: Path, before: dict[str, set[str]]) -> None:
    gone = lab.play("swapout", file)
    assert gone.code == 0, gone.out
    assert lab.listing() == before

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where machines go in a pool of unlike hosts, said before anything is started."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..integration.topologies import computer, experiment
from .machines import ADDRESSES, Done, Host, Network


@pytest.fixture
def pool(network: Network, hosts: list[Host]) -> Iterator[Network]:
    before = {host.name: host.listing() for host in hosts}
    yield network
    network.write_pool({host.name: {} for host in hosts})
    for host in hosts:
        assert not host.news(before[host.name]), "nothing ran"


def crowd(path: Path, count: int) -> Path:
    """A LAN of so many machines, with no word of where."""
    file = path / "crowd.topdl"
    file.write_text(experiment(["lan0"], [computer(f"n-{i}", ["lan0"]) for i in range(count)]))
    return file


def load(done: Done) -> dict[str, int]:
    """The numbers of nodes by host, of the table that a check run prints."""
    lines = [line.split() for line in done.out.splitlines() if line.strip()]
    column = next(words for words in lines if words[0] == "PNODE").index("NODES")
    return {words[1]: int(words[column]) for words in lines if words[0].startswith("pnode-000") and words[1] in ADDRESSES}


def test_unlike_hosts_carry_what_they_can(pool: Network, tmp_path: Path) -> None:
    pool.write_pool({"amber": {"benito_memory": 300}, "birch": {"benito_packing": 1}, "cedar": {"benito_memory": 400}})
    done = pool.play("swapin", crowd(tmp_path, 6), "--check")
    assert done.code == 0, done.out
    assert load(done) == {"amber": 2, "birch": 1, "cedar": 3}


def test_a_group_of_another_name_in_another_order(pool: Network, tmp_path: Path) -> None:
    pool.write_pool({"cedar": {}, "amber": {}})
    pool.pool.write_text(pool.pool.read_text().replace("pool:", "lab:", 1))
    done = pool.play("swapin", crowd(tmp_path, 2), "--check", "-e", "benito_pool=lab", "-e", "benito_packing=1")
    assert done.code == 0, done.out
    assert load(done) == {"cedar": 1, "amber": 1}


def test_what_does_not_fit_is_refused_with_the_numbers(pool: Network, tmp_path: Path) -> None:
    pool.write_pool({name: {"benito_memory": 300} for name in ("amber", "birch", "cedar")})
    done = pool.play("swapin", crowd(tmp_path, 7))
    assert done.code != 0
    assert "896 MB" in done.out
    assert "amber (300 MB" in done.out

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a swap-in costs in tasks of Ansible does not depend on how many nodes there are."""

from __future__ import annotations

from pathlib import Path

from .conftest import Lab
from .topologies import computer, experiment


def tasks(lab: Lab, directory: Path, nodes: int) -> dict[str, tuple[int, int]]:
    """Return how many tasks each host of a checked swap-in has done and skipped; the nodes are processes in a chain."""
    links = [f"l-{n}" for n in range(nodes + 1)]
    file = directory / f"nodes-{nodes}.topdl"
    file.write_text(experiment(links, [computer(f"n-{n}", links[n : n + 2]) for n in range(nodes)]))
    done = lab.play("swapin", file, "--check", "-e", "benito_default_kind=process")
    assert done.code == 0, done.out
    return {host: (done.recap(host)["ok"], done.recap(host)["skipped"]) for host in ("localhost", "pnode-0000")}


def test_a_hundred_times_the_nodes_are_as_many_tasks(lab: Lab, tmp_path: Path) -> None:
    few = tasks(lab, tmp_path, 10)
    assert tasks(lab, tmp_path, 1000) == few
    assert sum(few["pnode-0000"]) < 30

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where control groups are, and what is written there."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import node_limits

MARK = "/var/lib/benito:lab/demo"


def mounts(tmp_path: Path, *names: str) -> str:
    """Return a table of mounts with hierarchies below a directory; ``unified`` is of version 2."""
    lines = []
    for number, name in enumerate(names):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup.procs").write_text("")
        kind = "cgroup2 cgroup2 rw" if name == "unified" else f"cgroup cgroup rw,{name}"
        lines.append(f"{number} 1 0:{number} / {tmp_path / name} rw,relatime - {kind}\n")
    lines.append("99 1 0:99 / / rw - ext4 /dev/vda rw\n98 1 0:98 /part /elsewhere rw - cgroup cgroup rw,memory\n")
    path = tmp_path / "mountinfo"
    path.write_text("".join(lines))
    return str(path)


@pytest.mark.parametrize(
    ("limits", "values"),
    [
        ({}, {}),
        ({"memory": None, "cpus": None, "processes": None}, {}),
        ({"memory": 64, "cpus": 0.5, "processes": 20}, {"memory": "67108864", "cpu": "50000", "pids": "20"}),
        ({"cpus": 0.0001}, {"cpu": "1000"}),
        ({"cpus": 2}, {"cpu": "200000"}),
    ],
)
def test_what_limits_mean(limits: dict[str, float | None], values: dict[str, str]) -> None:
    assert node_limits.wanted(limits) == values


def test_hierarchies_are_found(tmp_path: Path) -> None:
    path = mounts(tmp_path, "memory", "cpu,cpuacct", "pids", "unified")
    found = node_limits.hierarchies(path)
    assert found == {
        "memory": str(tmp_path / "memory"),
        "cpu": str(tmp_path / "cpu,cpuacct"),
        "pids": str(tmp_path / "pids"),
        "": str(tmp_path / "unified"),
    }


def test_what_is_covered_is_not_found(tmp_path: Path) -> None:
    path = mounts(tmp_path, "memory")
    (tmp_path / "memory" / "cgroup.procs").unlink()
    assert node_limits.hierarchies(path) == {}
    assert node_limits.hierarchies(str(tmp_path / "nothing")) == {}


def test_groups_of_version_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = {name: str(tmp_path / name) for name in ("memory", "pids")}
    monkeypatch.setattr(node_limits, "hierarchies", lambda: there)
    monkeypatch.setattr(node_limits, "groups_of", lambda pid: {"memory": "/user", "pids": "/"})
    groups, remarks = node_limits.prepare(1, MARK, {"a": {"memory": 64, "processes": 5}, "b": {"memory": 32, "cpus": 1}})
    name = node_limits.name_of(MARK)
    assert groups == {"a": [f"{tmp_path}/memory/user/{name}/a", f"{tmp_path}/pids/{name}/a"], "b": [f"{tmp_path}/memory/user/{name}/b"]}
    assert (tmp_path / "memory/user" / name / "a/memory.limit_in_bytes").read_text() == str(64 << 20)
    assert (tmp_path / "pids" / name / "a/pids.max").read_text() == "5"
    assert list(remarks) == ["b"] and "no control group for cpu" in remarks["b"]
    assert node_limits.left(MARK) == sorted([f"{tmp_path}/memory/user/{name}", f"{tmp_path}/pids/{name}"])
    assert node_limits.left("/var/lib/benito:lab/other") == []


def test_groups_of_version_2_are_in_a_scope_of_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = tmp_path / "benito.slice/benito-nodes-1a2b3c.scope"
    scope.mkdir(parents=True)
    (scope / "cgroup.procs").write_text("17\n")
    monkeypatch.setattr(node_limits, "hierarchies", lambda: {"": str(tmp_path)})
    for group in ("/benito.slice/benito-nodes-1a2b3c.scope", "/benito.slice/benito-nodes-1a2b3c.scope/keeper"):
        monkeypatch.setattr(node_limits, "groups_of", lambda pid, group=group: {"": group})
        groups, remarks = node_limits.prepare(17, MARK, {"a": {"cpus": 0.5}})
        assert (groups, remarks) == ({"a": [f"{scope}/node-a"]}, {})
    assert (scope / "node-a/cpu.max").read_text() == "50000 100000"
    assert (scope / "keeper/cgroup.procs").read_text() == "17"
    assert (scope / "cgroup.subtree_control").read_text() == "+cpu"


def test_nobody_elses_scope_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "session-1.scope").mkdir()
    monkeypatch.setattr(node_limits, "hierarchies", lambda: {"": str(tmp_path)})
    monkeypatch.setattr(node_limits, "groups_of", lambda pid: {"": "/session-1.scope"})
    groups, remarks = node_limits.prepare(17, MARK, {"a": {"memory": 64}})
    assert (groups.get("a", []), list(remarks)) == ([], ["a"])
    assert list((tmp_path / "session-1.scope").iterdir()) == []

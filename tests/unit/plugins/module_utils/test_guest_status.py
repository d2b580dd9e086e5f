# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a guest that is looked at from outside."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import guest_status
from ansible_collections.benito.testbed.plugins.module_utils.boot_state import BootState
from ansible_collections.benito.testbed.plugins.module_utils.guest_status import (
    describe,
    diagnose,
    known,
    last_words,
    panic,
    plugged,
    unplugged,
)
from ansible_collections.benito.testbed.plugins.module_utils.processes import Process, spawn, stop
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir, write_json

PANIC = "[    1.5] Kernel panic - not syncing: no init\n[    1.6] Rebooting\n"


@pytest.fixture
def process(rundir: RunDir) -> Process:
    return spawn(["sleep", "300"], mark=rundir.mark, log=f"{rundir.path}/log")


@pytest.fixture
def recorded(rundir: RunDir, process: Process) -> Callable[..., str]:
    """Record a guest n-0 with this state file, plugged into port 3 of lan0; return its directory."""

    def record(state: str = "", **more: Any) -> str:
        home = rundir.guest("n-0")
        os.makedirs(f"{home}/io", exist_ok=True)
        Path(f"{home}/io/state").write_text(state)
        plugs = [["lan0", 3, "lan0"], ["lan1", 1, "a-long-name"]]
        content = {"name": "node-0", "process": process.to_record(), "config_key": "k", "ssh_host_key": "ssh-ed25519 H", "plugs": plugs}
        write_json(f"{home}/launch.json", {**content, "wanted": "started", **more})
        return home

    return record


def ports(process: Process) -> dict[str, dict[int, int]]:
    return {"lan0": {3: process.pid, 4: 1}, "lan1": {1: process.pid}}


def test_nothing_is_known_of_nobody(rundir: RunDir) -> None:
    assert known(rundir) == []
    assert plugged(rundir) == {}
    assert describe(rundir, "n-0", {})["state"] == "absent"
    assert known(RunDir("lab", "none", "lab.none", rundir.root)) == []
    assert plugged(RunDir("lab", "none", "lab.none", rundir.root)) == {}


@pytest.mark.parametrize(
    ("state", "wanted"),
    [
        ("", {"state": "running", "exit_status": None, "uptime": None, "detail": ""}),
        ("boot x\n", {"state": "running", "detail": ""}),
        ("boot x\nconfigured k\nbooted 1.5\n", {"state": "booted", "exit_status": None, "uptime": 1.5, "detail": ""}),
        ("boot x\nconfigured k\nbooted 1.5\nstart-command running\n", {"state": "booted", "exit_status": "running"}),
        ("boot x\nconfigured k\nbooted 1.5\nstart-command exit 0\n", {"state": "booted", "exit_status": 0, "detail": ""}),
        ("boot x\nconfigured old\nbooted 1.5\n", {"state": "booted", "detail": "runs an older configuration"}),
        ("boot x\nerror no eth1\n", {"state": "running", "detail": "no eth1"}),
        ("boot x\nerror no eth1\nbooted 1\n", {"state": "booted", "detail": "no eth1; has applied no configuration"}),
        ("boot x\nconfigured old\nbooted 1\nerror bad\n", {"state": "booted", "detail": "bad; runs an older configuration"}),
    ],
)
def test_one_that_runs(rundir: RunDir, recorded: Callable[..., str], process: Process, state: str, wanted: dict[str, Any]) -> None:
    recorded(state)
    said = describe(rundir, "n-0", ports(process))
    assert {key: said[key] for key in wanted} == wanted
    assert (said["name"], said["pid"], said["ssh_host_key"]) == ("node-0", process.pid, "ssh-ed25519 H")
    assert said["console"] == f"{rundir.path}/guests/n-0/io/console"
    assert known(rundir) == ["n-0"]


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"lan0": {}}, "unplugged from lan0"),
        ({"lan0": {3: 1}}, "unplugged from lan0"),
        ({"lan1": {2: 0}}, "unplugged from a-long-name"),
        ({"lan0": {4: 1}, "lan1": {}}, "unplugged from lan0, a-long-name"),
    ],
)
def test_one_that_is_unplugged(
    rundir: RunDir, recorded: Callable[..., str], process: Process, change: dict[str, dict[int, int]], detail: str
) -> None:
    recorded("boot x\nconfigured k\nbooted 1\n")
    assert describe(rundir, "n-0", {**ports(process), **change})["detail"] == detail


def test_one_whose_links_were_taken_down(rundir: RunDir, recorded: Callable[..., str], process: Process) -> None:
    recorded("boot x\nconfigured k\nbooted 1\n", down={"inf001": 1, "inf003": 3})
    assert describe(rundir, "n-0", ports(process))["detail"] == "taken down: inf001, inf003"


def test_which_interfaces_are_unplugged() -> None:
    record = {"plugs": [["lan0", 1, "l"], ["lan0", 2, "l"], ["lan1", 1, "m"]]}
    assert unplugged(record, 7, {"lan0": {1: 7, 2: 8}}) == [1, 2]
    assert unplugged({}, 7, {}) == []


@pytest.mark.parametrize(
    ("wanted", "state", "log", "console", "said"),
    [
        ("stopped", "boot x\nbooted 1\n", "", "", {"state": "stopped", "detail": ""}),
        ("started", "boot x\nbooted 1\n", "", "", {"state": "dead", "detail": "its process is gone"}),
        ("started", "", "one\nqemu: no memory\n", "", {"state": "dead", "detail": "qemu: no memory"}),
        ("started", "", "qemu: ended\n", PANIC, {"state": "dead", "detail": "Kernel panic - not syncing: no init"}),
        ("started", "boot x\nbooted 1\nstart-command running\n", "", "", {"state": "dead", "exit_status": None}),
        ("started", "boot x\nbooted 1\nstart-command exit 4\n", "", "", {"state": "dead", "exit_status": 4}),
    ],
)
def test_one_that_does_not_run(
    rundir: RunDir, recorded: Callable[..., str], process: Process, wanted: str, state: str, log: str, console: str, said: dict[str, Any]
) -> None:
    home = recorded(state, wanted=wanted)
    Path(f"{home}/qemu.log").write_text(log)
    Path(f"{home}/io/console.log").write_text(console)
    stop(process)
    found = describe(rundir, "n-0", ports(process))
    assert {key: found[key] for key in said} == said
    assert (found["pid"], found["uptime"]) == (None, None)


def test_a_damaged_record_is_a_dead_guest(rundir: RunDir, recorded: Callable[..., str]) -> None:
    recorded("boot x\nbooted 1\n", process={"pid": "x"})
    assert describe(rundir, "n-0", {})["state"] == "dead"


def test_the_switches_are_asked(rundir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lan0", "lan1"):
        os.mkdir(rundir.switch(name))
    monkeypatch.setattr(guest_status, "endpoints", lambda dummy, name: {1: len(name)})
    assert plugged(rundir) == {"lan0": {1: 4}, "lan1": {1: 4}}


@pytest.mark.parametrize(
    ("console", "wanted"),
    [
        ("", ""),
        ("login:\n", ""),
        (PANIC, "Kernel panic - not syncing: no init"),
        (PANIC.replace("no init", "first") + PANIC, "Kernel panic - not syncing: no init"),
        (PANIC + "line\n" * 500, "Kernel panic - not syncing: no init"),
    ],
)
def test_a_panic(tmp_path: Path, console: str, wanted: str) -> None:
    (tmp_path / "io").mkdir()
    (tmp_path / "io/console.log").write_text(console)
    assert panic(str(tmp_path)) == wanted


def test_the_last_words_are_the_consoles_or_qemus(tmp_path: Path) -> None:
    assert last_words(str(tmp_path)) == ""
    (tmp_path / "qemu.log").write_text("qemu: no\n")
    assert last_words(str(tmp_path)) == "qemu: no"
    (tmp_path / "io").mkdir()
    (tmp_path / "io/console.log").write_text("".join(f"line {i}\n" for i in range(20)))
    assert last_words(str(tmp_path)).splitlines() == [f"line {i}" for i in range(12, 20)]


@pytest.mark.parametrize(
    ("said", "lives", "console", "cause"),
    [
        (BootState(), True, "", "silent: its agent did not start within 7 s\n    | (nothing on its console)"),
        (BootState(), True, "hello\n", "silent: its agent did not start within 7 s\n    | hello"),
        (BootState(boots=1), True, "", "its agent started but did not finish within 7 s"),
        (BootState(boots=3), True, "", "crashed: it rebooted 2 times"),
        (BootState(), True, PANIC, "crashed: Kernel panic - not syncing: no init"),
        (BootState(boots=1), False, "", "crashed: its QEMU has ended"),
        (BootState(boots=1, errors=("one", "no eth1")), False, "", "misconfigured: no eth1"),
    ],
)
def test_what_went_wrong(tmp_path: Path, process: Process, said: BootState, lives: bool, console: str, cause: str) -> None:
    (tmp_path / "io").mkdir()
    (tmp_path / "io/console.log").write_text(console)
    if not lives:
        stop(process)
    assert diagnose(str(tmp_path), process, said, 7).startswith(cause)

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What comes in by ssh gets the one thing it may have: the gate, run as the program it is, at a real switch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import cable_keeper, ssh_gate, vde
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir
from ansible_collections.benito.testbed.plugins.module_utils.ssh_gate import Refused, choose, started

GATE = {"cables": {"lan0-1": {"plug": "vde:///x/ctl[5]", "control": "/x/ctl/ctl"}}}


@pytest.mark.parametrize("asked", ["", "lan0-2", "lan0-1 ", "lan0-1;id", "../lan0-1", "cables", "mark", "*"])
def test_only_what_is_listed_is_given(asked: str) -> None:
    with pytest.raises(Refused, match="no such cable"):
        choose(GATE, asked)
    assert choose(GATE, "lan0-1") == {"plug": "vde:///x/ctl[5]", "control": "/x/ctl/ctl"}
    with pytest.raises(Refused):
        choose({"cables": {"a": "b"}}, "a")


def test_both_programs_mean_the_same_word() -> None:
    assert ssh_gate.CONNECTED == cable_keeper.CONNECTED


class Gate:
    """A gate with a directory of its own."""

    def __init__(self, home: Path, rundir: RunDir) -> None:
        self.home = home
        (home / "io").mkdir()
        (home / "gate.py").write_bytes(Path(ssh_gate.__file__).read_bytes())
        control = vde.control_directory(rundir, "lan0")
        cables = {"lan0-1": {"plug": f"vde://{control}[5]", "control": f"{control}/ctl"}}
        gate = {"mark": rundir.mark, "path": os.environ["PATH"], "cables": cables}
        (home / "gate.json").write_text(json.dumps(gate))
        self.processes: list[subprocess.Popen[bytes]] = []

    def enter(self, asked: str = "lan0-1") -> subprocess.Popen[bytes]:
        environment = {"SSH_ORIGINAL_COMMAND": asked, "SSH_CONNECTION": "192.0.2.1 5 192.0.2.2 22", "LD_PRELOAD_": "x"}
        words = [sys.executable, "-I", str(self.home / "gate.py")]
        self.processes.append(
            subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        )
        return self.processes[-1]

    def record(self) -> dict[str, Any]:
        return json.loads((self.home / "io/gate-lan0-1.json").read_text())


@pytest.fixture
def gate(rundir: RunDir, unprivileged: None, tmp_path: Path) -> Iterator[Gate]:
    vde.start(rundir, vde.Switch("lan0", "lan0", 8))
    made = Gate(tmp_path, rundir)
    yield made
    for process in made.processes:
        process.kill()
        process.wait()


def test_it_becomes_the_plug_and_bears_the_mark(gate: Gate, rundir: RunDir) -> None:
    process = gate.enter()
    assert process.stderr.readline().decode().strip() == ssh_gate.CONNECTED
    deadline = time.monotonic() + 10
    while vde.endpoints(rundir, "lan0") != {5: process.pid}:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    environment = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    assert f"BENITO_MARK={rundir.mark}".encode() in environment
    assert not any(word.startswith((b"SSH_", b"LD_")) for word in environment)
    assert "NoNewPrivs:\t1\n" in Path(f"/proc/{process.pid}/status").read_text()
    assert gate.record()["connections"] == 1
    assert (gate.record()["pid"], gate.record()["started"]) == (process.pid, started(process.pid))
    # It ends with the connection.
    process.stdin.close()
    assert process.wait(10) == 0


def test_a_second_connection_takes_the_place_of_the_first(gate: Gate) -> None:
    first = gate.enter()
    first.stderr.readline()
    second = gate.enter()
    assert second.stderr.readline().decode().strip() == ssh_gate.CONNECTED
    assert first.wait(10) == -signal.SIGKILL
    assert second.poll() is None
    assert gate.record()["connections"] == 2


def test_a_record_of_another_process_kills_nobody(gate: Gate) -> None:
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        for change in ({"started": 1}, {"boot": "another"}):
            record = {"pid": bystander.pid, "started": started(bystander.pid), "boot": ssh_gate.boot(), "connections": 4, **change}
            (gate.home / "io/gate-lan0-1.json").write_text(json.dumps(record))
            process = gate.enter()
            assert process.stderr.readline().decode().strip() == ssh_gate.CONNECTED
            assert gate.record()["connections"] == 5
            assert bystander.poll() is None
        (gate.home / "io/gate-lan0-1.json").write_text("{")
        assert gate.enter().stderr.readline().decode().strip() == ssh_gate.CONNECTED
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize("asked", ["", "id", "lan0-2"])
def test_others_are_sent_away(gate: Gate, asked: str) -> None:
    process = gate.enter(asked)
    out, said = process.communicate(timeout=10)
    assert process.returncode == 1
    assert out == b""
    assert said.decode().startswith("benito: this key opens")
    assert os.listdir(gate.home / "io") == []


def test_a_switch_that_is_dead_is_said(gate: Gate, rundir: RunDir) -> None:
    os.kill(vde.running(rundir, "lan0").pid, signal.SIGKILL)
    time.sleep(0.2)
    process = gate.enter()
    assert "the switch there does not run" in process.communicate(timeout=10)[1].decode()
    assert process.returncode == 1

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines with a disk that were woken up from a template: each is itself, keeps what it writes, and needs the template no more."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..integration.conftest import PROJECT, STATE, Done, Lab, wait_for
from ..integration.topologies import attribute, computer, experiment

NAME = f"{PROJECT}.warm-debian"
NODES = ("first", "second", "third")
TEMPLATES = Path("/var/cache/benito/templates")
AT_BOOT = "echo run >>/root/runs; od -An -tx1 -N16 /dev/urandom >/root/random; exit 4"
# What a guest says of itself: one word a line, the name first.
LOOK = (
    "hostname; cat /etc/machine-id /proc/sys/kernel/random/boot_id; cat /sys/class/net/eth0/address /sys/class/net/eth1/address;"
    " ip -4 -o address show dev eth1 | awk '{ print $4 }'; ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key | cut -d' ' -f2;"
    " tr -d ' \\n' </root/random; echo; od -An -tx1 -N16 /dev/urandom | tr -d ' \\n'; echo; wc -l </root/runs; systemctl is-system-running"
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("topologies") / "warm-debian.topdl"
    words = [attribute("benito:image", "debian"), attribute("startup", AT_BOOT)]
    path.write_text(experiment(["lan0"], [computer(node, ["lan0"], *words) for node in NODES]))
    return path


@pytest.fixture(scope="module")
def up(lab: Lab, file: Path) -> Iterator[Done]:
    before = lab.listing()
    try:
        yield lab.play("swapin", file, "-e", "benito_start=warm")
    finally:
        lab.play("swapout", file)
    assert lab.listing() == before


@pytest.fixture(scope="module")
def said(lab: Lab, up: Done) -> dict[str, list[str]]:
    """What each of them says of itself at first."""
    return {node: lab.ssh(NAME, node, LOOK).out.split() for node in NODES}


def record(node: str) -> dict[str, object]:
    return json.loads((STATE / NAME / "guests" / node / "launch.json").read_text())


def state_of(node: str) -> list[str]:
    return (STATE / NAME / "guests" / node / "io/state").read_text().splitlines()


def test_all_are_woken_up(lab: Lab, file: Path, up: Done) -> None:
    assert up.code == 0, up.out
    for node in NODES:
        assert up.row(node)[3] == "booted"
        assert " ".join(up.row(node)[6:]) == "exit 4"
        assert (record(node)["start"], record(node)["remark"]) == ("warm", "")
    again = lab.play("swapin", file, "-e", "benito_start=warm")
    assert again.code == 0, again.out
    assert again.changed == 0


def test_each_is_itself(said: dict[str, list[str]]) -> None:
    for node, words in said.items():
        assert words[0] == node
        assert re.fullmatch("[0-9a-f]{32}", words[1])
        assert words[-2:] == ["1", "running"], words
    assert len({len(words) for words in said.values()}) == 1
    for column in range(9):
        assert len({words[column] for words in said.values()}) == len(NODES), (column, said)


def test_their_clocks_are_right_within_a_second(lab: Lab, said: dict[str, list[str]]) -> None:
    for node in NODES:
        earliest = time.time()
        clock = float(lab.ssh(NAME, node, "date +%s.%N").out)
        assert earliest - 1 <= clock <= time.time() + 1, node


def test_their_journals_are_their_own(lab: Lab, said: dict[str, list[str]]) -> None:
    for node, words in said.items():
        boot = words[2].replace("-", "")
        script = f"logger here-i-am; journalctl --sync; journalctl -b {boot} -o json -t root | tail -n 1"
        entry = json.loads(lab.ssh(NAME, node, script).out)
        assert (entry["MESSAGE"], entry["_BOOT_ID"], entry["_MACHINE_ID"], entry["_HOSTNAME"]) == ("here-i-am", boot, words[1], node)


def test_a_reboot_inside_gives_the_same_guest_again(lab: Lab, said: dict[str, list[str]]) -> None:
    assert lab.ssh(NAME, "first", "echo kept >/root/file").code == 0
    before = state_of("first")
    lab.ssh(NAME, "first", "reboot")
    assert wait_for(lambda: state_of("first")[len(before) :].count("start-command exit 4") == 1, 180), state_of("first")
    words = lab.ssh(NAME, "first", LOOK).out.split()
    assert words[:2] == said["first"][:2]
    assert words[2] != said["first"][2]
    assert words[3:7] == said["first"][3:7]
    assert words[9] == "2"
    assert lab.ssh(NAME, "first", "cat /root/file").out.strip() == "kept"
    assert lab.ssh(NAME, "first", "ping -c 1 -W 10 third").code == 0


def test_what_it_wrote_outlives_its_process_and_the_template(lab: Lab, file: Path, said: dict[str, list[str]]) -> None:
    assert lab.ssh(NAME, "second", "echo kept >/root/file; sync").code == 0
    for entry in TEMPLATES.iterdir():
        if (entry / "disk.qcow2").exists():
            shutil.rmtree(entry)
    os.kill(int(record("second")["process"]["pid"]), signal.SIGKILL)
    assert wait_for(lambda: not Path(f"/proc/{record('second')['process']['pid']}").exists())
    again = lab.play("swapin", file, "-e", "benito_start=warm")
    assert again.code == 0, again.out
    assert "booted, not woken up: it has a disk of its own from an earlier start" in again.out
    assert record("second")["start"] == "cold"
    words = lab.ssh(NAME, "second", LOOK).out.split()
    assert words[:2] == said["second"][:2]
    assert words[2] != said["second"][2]
    assert words[9] == "2"
    assert lab.ssh(NAME, "second", "cat /root/file; grep -c boot_id /proc/mounts").out.split() == ["kept", "0"]
    # The others have not noticed.
    assert lab.ssh(NAME, "third", LOOK).out.split()[:3] == said["third"][:3]

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that were woken up from a template are what they would be if they had been booted, and live on like those."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import PROJECT, STATE, Done, Lab, wait_for
from .topologies import lan

NAME = f"{PROJECT}.warm"
NODES = [f"n-{i}" for i in range(6)]
AT_BOOT = "echo >>/tmp/runs; head -c 16 /dev/urandom >/tmp/random; exit 3"
TEMPLATES = Path("/var/cache/benito/templates")
# What a guest says of itself: one word a line, the name first.
LOOK = (
    "hostname; cat /sys/class/net/eth0/address /sys/class/net/eth1/address; ip -4 -o address show dev eth1 | awk '{ print $4 }'; "
    "cat /proc/sys/kernel/random/boot_id; hexdump -ve '1/1 \"%02x\"' /tmp/random; echo; "
    "head -c 16 /dev/urandom | hexdump -ve '1/1 \"%02x\"'; echo; wc -l </tmp/runs; "
    "ls /sys/firmware/qemu_fw_cfg/by_name/opt/benito; ip link show dev eth1 | grep -c permaddr"
)


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("warm") / "warm.topdl"
    path.write_text(lan(dict.fromkeys(NODES, AT_BOOT)))
    return path


@pytest.fixture(scope="module")
def before(lab: Lab) -> dict[str, set[str]]:
    return lab.listing()


@pytest.fixture(scope="module")
def warm(lab: Lab, before: dict[str, set[str]], topology: Path) -> Iterator[Done]:
    yield lab.play("swapin", topology, "-e", "benito_start=warm")
    lab.play("swapout", topology)


def commands() -> dict[str, list[str]]:
    """The command line of each guest, as the kernel shows it; the process is the last word."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if words[0] == "qemu-system-x86_64" and any(f"{STATE}/{NAME}/" in word for word in words):
                found[words[words.index("-name") + 1].removeprefix("guest=")] = [*words, entry.name]
    return found


def macs(command: list[str]) -> list[str]:
    return re.findall(r'"virtio-net-pci"[^}]*"mac":"([0-9a-f:]+)"', " ".join(command))


def look(lab: Lab, node: str) -> list[str]:
    done = lab.ssh(NAME, node, LOOK)
    return done.out.split()


def test_all_are_woken_up(lab: Lab, warm: Done) -> None:
    assert warm.code == 0, warm.out
    assert sorted(commands()) == NODES
    for node, command in commands().items():
        assert "-incoming" in command, node
        assert warm.row(node)[3] == "booted"
        assert " ".join(warm.row(node)[6:]) == "exit 3"


def test_each_is_itself(lab: Lab, warm: Done) -> None:
    said = {node: look(lab, node) for node in NODES}
    running = commands()
    for node, words in said.items():
        assert words[0] == node
        assert words[1:3] == macs(running[node])
        assert words[7:] == ["1", "config", "0"], words
    for column in range(1, 7):
        assert len({words[column] for words in said.values()}) == len(NODES), (column, said)


def test_their_clocks_are_right_within_a_second(lab: Lab, warm: Done) -> None:
    for node in NODES:
        earliest = time.time()
        # What is there to tell fractions of a second.
        said = lab.ssh(NAME, node, "ping -D -c 1 127.0.0.1").out
        clock = float(re.search(r"\[([0-9.]+)\]", said)[1])
        assert earliest - 1 <= clock <= time.time() + 1, node


def test_their_host_keys_are_their_own(lab: Lab, warm: Done) -> None:
    keys = {node: (STATE / NAME / "guests" / node / "ssh_host_ed25519_key.pub").read_text().split()[1] for node in NODES}
    assert len(set(keys.values())) == len(NODES)
    known = (lab.state / NAME / "known_hosts").read_text()
    for node in NODES:
        # The client refuses any other.
        assert keys[node] in known
        assert lab.ssh(NAME, node, "true").code == 0


def test_all_reach_each_other_by_name(lab: Lab, warm: Done) -> None:
    for node in NODES:
        done = lab.ssh(NAME, node, "; ".join(f"ping -c 1 -W 5 {other} || exit 1" for other in NODES))
        assert done.code == 0, done.out


def test_the_template_has_no_way_to_an_experiment(warm: Done) -> None:
    key = (STATE / NAME / "guests" / "n-3" / "ssh_host_ed25519_key").read_bytes().splitlines()[3]
    for path in (TEMPLATES / name for name in templates()):
        assert not path.name.startswith(".")
        assert {part.name for part in path.iterdir()} - {"disk.qcow2"} == {"manifest.json", "memory", "state"}
        assert all(part.stat().st_mode & 0o037 == 0 for part in path.iterdir())
        memory = (path / "memory").read_bytes()
        for secret in (key, f"{PROJECT}\nwarm".encode(), b"n-3-lan0"):
            assert secret not in memory


def test_the_second_swapin_changes_nothing(lab: Lab, warm: Done, topology: Path) -> None:
    running = commands()
    again = lab.play("swapin", topology, "-e", "benito_start=warm")
    assert again.changed == 0, again.out
    # However they were started: they run.
    assert lab.play("swapin", topology, "-e", "benito_start=cold").recap("pnode-0000")["changed"] == 0
    assert commands() == running


def test_a_reboot_inside_gives_the_same_guest_again(lab: Lab, warm: Done) -> None:
    running, first = commands(), look(lab, "n-2")
    lab.ssh(NAME, "n-2", "reboot")
    assert wait_for(lambda: (now := look(lab, "n-2"))[:1] == ["n-2"] and len(now) == len(first) and now[4] != first[4], 120)
    again = look(lab, "n-2")
    assert again[:4] == first[:4]
    assert again[5] != first[5], "the start command ran in this boot"
    assert commands() == running
    assert lab.ssh(NAME, "n-2", "ping -c 1 -W 5 n-5").code == 0


def test_one_that_is_killed_is_woken_up_again_with_its_key(lab: Lab, warm: Done, topology: Path) -> None:
    running, first = commands(), look(lab, "n-4")
    os.kill(int(running["n-4"][-1]), signal.SIGKILL)
    assert wait_for(lambda: "n-4" not in commands())
    assert lab.play("swapin", topology).code == 0
    now = commands()
    assert "-incoming" in now["n-4"], "the template is there: it pays for one"
    assert {node: command for node, command in now.items() if node != "n-4"} == {n: c for n, c in running.items() if n != "n-4"}
    again = look(lab, "n-4")
    assert again[:4] == first[:4]
    assert again[4] != first[4]
    assert again[5] != first[5]
    assert lab.ssh(NAME, "n-0", "ping -c 1 -W 5 n-4").code == 0


def test_clones_take_news_while_they_run(lab: Lab, warm: Done, topology: Path) -> None:
    running = commands()
    topology.write_text(lan({**dict.fromkeys(NODES[:-1], AT_BOOT), "other": ""}))
    changed = lab.play("swapin", topology)
    assert changed.code == 0, changed.out
    now = commands()
    assert sorted(now) == [*NODES[:-1], "other"]
    assert all(now[node] == running[node] for node in NODES[:-1])
    # It has the address of the one that went: neighbours take a few seconds to see that its MAC is another.
    assert wait_for(lambda: lab.ssh(NAME, "n-0", "ping -c 1 -W 5 other").code == 0)
    assert lab.ssh(NAME, "n-0", "ping -c 1 n-5").code != 0


def test_status_says_how_they_started(lab: Lab, warm: Done, topology: Path) -> None:
    record = json.loads((STATE / NAME / "guests" / "n-0" / "launch.json").read_text())
    assert (record["start"], record["remark"]) == ("warm", "")


def test_swapout_leaves_nothing_but_the_templates(lab: Lab, before: dict[str, set[str]], warm: Done, topology: Path) -> None:
    gone = lab.play("swapout", topology)
    assert gone.code == 0, gone.out
    assert lab.listing() == before
    assert [name for name in templates() if not name.startswith(".")]


def small(name: str, memory: int, directory: Path, nodes: int = 1) -> Path:
    """Write a topology whose machines no other test has."""
    path = directory / f"{name}.topdl"
    commands = {f"n-{i}": "" for i in range(nodes)}
    path.write_text(lan(commands, memory=dict.fromkeys(commands, memory)))
    return path


def templates() -> set[str]:
    """What there is of templates, whole or not."""
    return {entry.name for entry in TEMPLATES.iterdir() if entry.is_dir()} if TEMPLATES.exists() else set()


@pytest.fixture
def empty(lab: Lab) -> set[str]:
    """Throw away what earlier runs have made; return what is there all the same."""
    for name in templates():
        if not name.startswith("."):
            shutil.rmtree(TEMPLATES / name)
    return templates()


def sleeper(name: str) -> list[int]:
    """The process of a template that is being made for an experiment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"guest=template" in words and any(f"{STATE}/{PROJECT}.{name}/".encode() in word for word in words):
                    found.append(int(entry.name))
    return found


def test_two_experiments_that_want_the_same_template_make_one(lab: Lab, empty: set[str], tmp_path: Path) -> None:
    files = [small(name, 101, tmp_path) for name in ("warm-one", "warm-two")]
    try:
        words = [("ansible-playbook", "playbooks/swapin.yml", "-i", str(file), "-e", "benito_start=warm") for file in files]
        runs = [lab.start(*one) for one in words]
        done = [Done(0, run.communicate(timeout=400)[0]) for run in runs]
        assert [run.returncode for run in runs] == [0, 0], done
        assert len(templates() - empty) == 1
        for file in files:
            record = json.loads((STATE / f"{PROJECT}.{file.stem}/guests/n-0/launch.json").read_text())
            assert (record["start"], record["remark"]) == ("warm", "")
    finally:
        for file in files:
            lab.play("swapout", file)


def test_when_the_template_dies_in_the_making_guests_are_booted_and_say_why(lab: Lab, empty: set[str], tmp_path: Path) -> None:
    file = small("warm-dies", 102, tmp_path)
    try:
        run = lab.start("ansible-playbook", "playbooks/swapin.yml", "-i", str(file), "-e", "benito_start=warm")
        assert wait_for(lambda: sleeper("warm-dies"), 120)
        os.kill(sleeper("warm-dies")[0], signal.SIGKILL)
        done = Done(0, run.communicate(timeout=400)[0])
        assert run.returncode == 0, done.out
        assert done.row("n-0")[3] == "booted"
        assert "booted, not woken up: no template could be made: its QEMU has ended" in done.out
        assert templates() == empty
    finally:
        lab.play("swapout", file)


def test_a_run_that_is_killed_in_the_making_leaves_nothing_to_wake_up_from(lab: Lab, empty: set[str], tmp_path: Path) -> None:
    file = small("warm-killed", 103, tmp_path)
    try:
        run = lab.start("ansible-playbook", "playbooks/swapin.yml", "-i", str(file), "-e", "benito_start=warm")
        assert wait_for(lambda: sleeper("warm-killed"), 120)
        left = sleeper("warm-killed")
        # The module's process is the one that holds the lock of what it makes.
        drafts = [str(TEMPLATES / name) for name in templates() - empty]
        assert len(drafts) == 1
        assert os.path.basename(drafts[0]).startswith(".")
        os.kill(holder(drafts[0]), signal.SIGKILL)
        run.communicate(timeout=400)
        assert run.returncode != 0
        assert sleeper("warm-killed") == left
        again = lab.play("swapin", file, "-e", "benito_start=warm")
        assert again.code == 0, again.out
        assert sleeper("warm-killed") == []
        record = json.loads((STATE / f"{PROJECT}.warm-killed/guests/n-0/launch.json").read_text())
        assert record["start"] == "warm"
        [made] = templates() - empty
        assert not made.startswith(".")
    finally:
        lab.play("swapout", file)


def test_a_template_that_was_altered_is_made_again(lab: Lab, empty: set[str], tmp_path: Path) -> None:
    file = small("warm-altered", 104, tmp_path)
    try:
        assert lab.play("swapin", file, "-e", "benito_start=warm").code == 0
        [name] = templates() - empty
        lab.play("swapout", file)
        first = (TEMPLATES / name / "manifest.json").read_text()
        with (TEMPLATES / name / "memory").open("r+b") as memory:
            memory.seek(50 << 20)
            memory.write(b"altered")
        again = lab.play("swapin", file, "-e", "benito_start=warm")
        assert again.code == 0, again.out
        assert templates() - empty == {name}
        assert (TEMPLATES / name / "manifest.json").read_text() != first
        assert b"altered" not in (TEMPLATES / name / "memory").read_bytes()[50 << 20 :][:7]
        assert lab.ssh(f"{PROJECT}.warm-altered", "n-0", "hostname").out.strip() == "n-0"
    finally:
        lab.play("swapout", file)


def holder(path: str) -> int:
    """The process that holds the lock on a directory."""
    facts = os.stat(path)
    place = f"{os.major(facts.st_dev):02x}:{os.minor(facts.st_dev):02x}:{facts.st_ino}"
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if words[5] == place and words[1] != "->":
            return int(words[4])
    raise AssertionError(f"nobody holds {path}")

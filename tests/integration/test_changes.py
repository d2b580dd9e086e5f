# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Experiments that change while they run, start commands of every sort, and swap-ins that do not come to their end."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from .conftest import PROJECT, STATE, Lab, marked_processes, wait_for
from .topologies import lan

NAME = f"{PROJECT}.change"


@pytest.fixture
def file(lab: Lab, tmp_path: Path):
    """Return a function that writes a topology file; the experiment is taken away in the end."""
    before = lab.listing()
    path = tmp_path / "change.topdl"

    def write(text: str) -> Path:
        path.write_text(text)
        return path

    yield write
    lab.run("ansible-playbook", "playbooks/swapout.yml", "-e", f"project={PROJECT}", "-e", "experiment=change")
    assert lab.listing() == before


def processes(node: str) -> set[str]:
    return {line for line in marked_processes() if f"guest={node} " in f"{line} "}


def test_start_commands(lab: Lab, file) -> None:
    commands = {
        "fine": "true",
        "fails": "echo to stderr >&2; exit 7",
        "redirects": "echo one > /tmp/x; cat < /tmp/x | tr a-z A-Z > /tmp/y && cat /tmp/y",
        "forever": "while true; do sleep 1; done",
        "text": "echo '{{ 7 * 7 }}' \"$(echo $((6*7)))\" 'a,b;c' `id -un`",
        "none": "",
    }
    done = lab.play("swapin", file(lan(commands)))
    assert done.code == 0, done.out
    cells = {node: " ".join(done.row(node)[6:]) for node in commands}
    assert cells == {"fine": "exit 0", "fails": "exit 7", "redirects": "exit 0", "forever": "running", "text": "exit 0", "none": "-"}
    log = "/var/benito/log/start_command"
    assert lab.ssh(NAME, "redirects", f"cat {log}.out").out == "ONE\n"
    assert lab.ssh(NAME, "fails", f"cat {log}.err").out == "to stderr\n"
    assert "7" in lab.ssh(NAME, "fails", f"cat {log}.log").out
    assert lab.ssh(NAME, "text", f"cat {log}.out").out == "{{ 7 * 7 }} 42 a,b;c root\n"


def test_a_node_comes_and_goes_and_the_others_run_on(lab: Lab, file) -> None:
    assert lab.play("swapin", file(lan({"a": "", "b": ""}))).code == 0
    running = processes("a") | processes("b")
    assert len(running) == 2
    addresses = lab.ssh(NAME, "a", "ip -o -4 addr show; cat /sys/class/net/eth1/address").out

    more = lab.play("swapin", file(lan({"new": "", "a": "", "b": ""})))
    assert more.code == 0, more.out
    assert processes("a") | processes("b") == running
    assert lab.ssh(NAME, "a", "ip -o -4 addr show; cat /sys/class/net/eth1/address").out == addresses
    assert lab.ssh(NAME, "a", "ping -c 2 -i 0.2 new").code == 0, "a learned the name of the new node while it ran"

    less = lab.play("swapin", file(lan({"a": "", "b": ""})))
    assert less.code == 0, less.out
    assert processes("a") | processes("b") == running
    assert not processes("new")
    assert "new" not in lab.ssh(NAME, "b", "cat /etc/hosts").out


def test_many_interfaces(lab: Lab, file) -> None:
    from .topologies import hub

    done = lab.play("swapin", file(hub(40)))
    assert done.code == 0, done.out
    up = lab.ssh(NAME, "hub", "ip -o -4 addr show | grep -c ' 10\\.0\\.'").out.strip()
    assert up == "40"
    assert lab.ssh(NAME, "hub", "ping -c 2 -i 0.2 leaf-39").code == 0


def test_a_guest_that_cannot_boot_is_named_with_its_console(lab: Lab, file) -> None:
    done = lab.play("swapin", file(lan({"small": "", "fine": ""}, memory={"small": 64})))
    assert done.code != 0
    assert done.row("fine")[3] == "booted"
    assert "small: " in done.out
    assert "    | " in done.out


def test_a_swapin_that_is_killed_leaves_what_swapout_finds(lab: Lab, file) -> None:
    topology = file(lan({f"k-{i}": "" for i in range(6)}))
    process = lab.start("ansible-playbook", "playbooks/swapin.yml", "-i", str(topology))
    assert wait_for(lambda: len(marked_processes()) >= 3, 120)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_the_next_swapin_goes_on_after_a_killed_one(lab: Lab, file) -> None:
    topology = file(lan({f"k-{i}": "" for i in range(6)}))
    process = lab.start("ansible-playbook", "playbooks/swapin.yml", "-i", str(topology))
    assert wait_for(lambda: len(marked_processes()) >= 3, 120)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    done = lab.play("swapin", topology)
    assert done.code == 0, done.out
    assert lab.play("swapin", topology).changed == 0


def test_swapout_with_records_and_topology_lost(lab: Lab, file) -> None:
    topology = file(lan({"a": "", "b": ""}))
    assert lab.play("swapin", topology).code == 0
    topology.unlink()
    shutil.rmtree(STATE / NAME)
    # The fixture swaps out by name and compares.


def test_two_experiments_with_the_same_addresses_share_a_host(lab: Lab, file, tmp_path: Path) -> None:
    other = tmp_path / "other.topdl"
    other.write_text(lan({"a": "", "b": ""}))
    first = lab.start("ansible-playbook", "playbooks/swapin.yml", "-i", str(file(lan({"a": "", "b": ""}))))
    second = lab.play("swapin", other)
    assert first.communicate(timeout=300)[0] and first.returncode == 0
    try:
        assert second.code == 0, second.out
        for name in (NAME, f"{PROJECT}.other"):
            assert lab.ssh(name, "a", "ping -c 1 b; cat /var/benito/eid").out.splitlines()[-1] == name.partition(".")[2]
        heard = lab.start(*lab.ssh_words(NAME, "b", "timeout 10 tcpdump -c 1 -n -i eth1 icmp"))
        assert lab.ssh(f"{PROJECT}.other", "a", "ping -c 8 -i 0.5 b").code == 0
        assert "ICMP" not in heard.communicate(timeout=60)[0], "their links never meet"
    finally:
        assert lab.play("swapout", other).code == 0
    assert lab.ssh(NAME, "a", "ping -c 1 b").code == 0, "the one that stays is not touched by the one that leaves"

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Process nodes beside machines: on one LAN, through each other, damaged one by one, and gone without a trace."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from ..integration.conftest import PROJECT, STATE, Lab, wait_for
from ..integration.topologies import attribute, computer, experiment

NAME = f"{PROJECT}.blend"
PROCESS = attribute("benito:node_type", "process")


def blend(far: str = "") -> str:
    """Two processes and a machine on a LAN; a process leads to another LAN with a process."""
    return experiment(
        ["lan0", "lan1"],
        [
            computer("p1", ["lan0"], PROCESS, attribute("startup", "ping -c 2 -i 0.2 -W 5 q && ping -c 2 -i 0.2 -W 5 far")),
            computer("p2", ["lan0"], PROCESS, attribute("startup", "echo wrong >&2; exit 4")),
            computer("q", ["lan0"], attribute("startup", "sleep 3; ping -c 2 -W 10 p1")),
            computer("r", ["lan0", "lan1"], PROCESS),
            computer("far", ["lan1"], PROCESS, *([attribute("startup", far)] if far else [])),
        ],
    )


def keepers() -> set[int]:
    """The supervisor of our process nodes and its plug, by their command lines."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if any(word.startswith(f"{STATE}/{NAME}/nodes/") for word in words):
                found.add(int(entry.name))
    return found


def pid_of_machine(name: str) -> int:
    return int(json.loads((STATE / NAME / "guests" / name / "launch.json").read_text())["process"]["pid"])


@pytest.fixture
def file(lab: Lab, tmp_path: Path):
    """The topology file; the experiment is taken away in the end, and nothing of it is left."""
    before, roots = lab.listing(), set(os.listdir("/")) | {f"/var/{name}" for name in os.listdir("/var")}
    path = tmp_path / "blend.topdl"
    path.write_text(blend())
    yield path
    lab.run("ansible-playbook", "playbooks/swapout.yml", "-e", f"project={PROJECT}", "-e", "experiment=blend")
    assert wait_for(lambda: not keepers())
    assert lab.listing() == before
    assert set(os.listdir("/")) | {f"/var/{name}" for name in os.listdir("/var")} == roots


def test_processes_and_machines_are_equals(lab: Lab, file: Path) -> None:
    done = lab.play("swapin", file)
    assert done.code == 0, done.out
    cells = {node: done.row(node) for node in ("p1", "p2", "q", "r", "far")}
    assert {node: cell[3] for node, cell in cells.items()} == dict.fromkeys(cells, "booted"), done.out
    assert {node: cell[1] for node, cell in cells.items()} == {**dict.fromkeys(cells, "process"), "q": "qemu"}
    assert cells["p1"][-2:] == ["exit", "0"], done.out
    assert cells["p2"][-2:] == ["exit", "4"], done.out
    assert "p2: its start command failed: wrong" in done.out
    # Everyone reaches everyone by name, through processes and machines alike.
    for node in cells:
        everyone = " && ".join(f"ping -c 1 -W 5 {other}" for other in cells)
        assert lab.ssh(NAME, node, everyone).code == 0, node
    assert lab.ssh(NAME, "p1", "exit 6").code == 6
    assert lab.ssh(NAME, "far", "hostname").out == "far\n"

    # Again, and nothing is done.
    again = lab.play("swapin", file)
    assert (again.code, again.changed) == (0, 0), again.out

    # A machine's death is a machine's, and a supervisor's that of its processes.
    machine = pid_of_machine("q")
    (keeper,) = {pid for pid in keepers() if Path(f"/proc/{pid}/cmdline").read_text().endswith("\0keeper\0")}
    os.kill(keeper, signal.SIGKILL)
    assert wait_for(lambda: not keepers())
    status = lab.play("status", file)
    assert {node: status.row(node)[3] for node in cells} == {**dict.fromkeys(cells, "dead"), "q": "booted"}, status.out
    repaired = lab.play("swapin", file)
    assert repaired.code == 0, repaired.out
    assert pid_of_machine("q") == machine
    assert lab.ssh(NAME, "q", "ping -c 1 -W 5 far").code == 0

    os.kill(machine, signal.SIGKILL)
    running = keepers()
    repaired = lab.play("swapin", file)
    assert repaired.code == 0, repaired.out
    assert keepers() == running
    assert lab.ssh(NAME, "p1", "ping -c 1 -W 5 q").code == 0

    # One node more is wanted to do something, and the others are not touched.
    file.write_text(blend(far="sleep 1000"))
    changed = lab.play("swapin", file)
    assert changed.code == 0, changed.out
    assert keepers() == running


def test_a_crash_of_everything_leaves_nothing(lab: Lab, file: Path) -> None:
    done = lab.play("swapin", file)
    assert done.code == 0, done.out
    for name in ("nodes.json", "state.json", "launch.json"):
        (STATE / NAME / "nodes" / name).unlink()
    for pid in keepers():
        os.kill(pid, signal.SIGKILL)
    os.kill(pid_of_machine("q"), signal.SIGKILL)
    gone = lab.run("ansible-playbook", "playbooks/swapout.yml", "-e", f"project={PROJECT}", "-e", "experiment=blend")
    assert gone.code == 0, gone.out
    assert not (STATE / NAME).exists()


def test_the_host_itself_is_a_node(lab: Lab, file: Path, tmp_path: Path) -> None:
    """With a hosts file of the test's own in place of this machine's."""
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost")
    private = ["unshare", "--mount", "sh", "-c", f'mount --bind {hosts} /etc/hosts && exec "$@"', "sh"]
    links = set(lab.listing()["links"])
    nodes = [
        computer("host", ["lan0"], attribute("benito:node_type", "embedded_pnode"), attribute("startup", "ping -c 2 -i 0.2 -W 5 far")),
        computer("r", ["lan0", "lan1"], PROCESS, attribute("benito:host", "host")),
        computer("far", ["lan1"], PROCESS, attribute("benito:host", "host"), attribute("startup", "ping -c 2 -i 0.2 -W 5 host")),
    ]
    file.write_text(experiment(["lan0", "lan1"], nodes))
    play = [*private, "ansible-playbook", "playbooks/swapin.yml", "-i", str(file), "-e", "benito_physical_hosts=true"]
    refused = lab.play("swapin", file)
    assert refused.code != 0 and hosts.read_text() == "127.0.0.1 localhost"
    assert "benito:node_type may not be 'embedded_pnode' in a topology file" in refused.out and "BENITO_PHYSICAL_HOSTS" in refused.out
    done = lab.run(*play)
    assert done.code == 0, done.out
    assert {node: done.row(node)[3] for node in ("host", "r", "far")} == dict.fromkeys(("host", "r", "far"), "booted"), done.out
    assert {node: " ".join(done.row(node)[-2:]) for node in ("host", "far")} == dict.fromkeys(("host", "far"), "exit 0"), done.out
    assert lab.run(*private, "ping", "-c", "1", "-W", "5", "far").code == 0
    again = lab.run(*play)
    assert (again.code, again.changed) == (0, 0), again.out
    gone = lab.run(*private, "ansible-playbook", "playbooks/swapout.yml", *play[play.index("-i") :])
    assert gone.code == 0, gone.out
    assert hosts.read_text() == "127.0.0.1 localhost"
    assert set(lab.listing()["links"]) == links

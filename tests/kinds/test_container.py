# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A platform that is not ours: the containers of examples/platforms on LANs with a machine, and taken away without the platform."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..integration.conftest import PROJECT, ROOT, STATE, Done, Lab, wait_for
from ..integration.topologies import attribute, computer, experiment

NAME = f"{PROJECT}.boxes"
ROLE = ROOT / "examples/platforms/container_guest"
KIND = ("-e", f"benito_platforms=container={ROLE}")
CONTAINER, OPENVZ = attribute("benito:node_type", "container"), attribute("containers:node_type", "openvz")


def topology(command: str) -> str:
    """Return a machine and a container on either side of a router, which is a container too."""
    return experiment(
        ["inner", "outer"],
        [
            computer("box", ["inner"], OPENVZ, attribute("startup", command)),
            computer("router", ["inner", "outer"], CONTAINER),
            computer("far", ["outer"], CONTAINER),
            computer("machine", ["outer"]),
        ],
    )


def running() -> dict[str, int]:
    """Return the first process of each container, by what the kernel shows."""
    found = {}
    for pid, words in ours().items():
        if "watch" in words:
            found[next(word.partition("=")[2] for word in words if word.startswith("--machine="))] = pid
    return found


def ours() -> dict[int, list[str]]:
    """Return all processes, in whatever namespace, that speak of the experiment's directory."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if any(f"{STATE}/{NAME}/" in word for word in words):
                found[int(entry.name)] = words
    return found


@pytest.fixture(scope="module")
def before(lab: Lab) -> dict[str, set[str]]:
    return lab.listing()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("boxes") / "boxes.topdl"
    path.write_text(topology("ping -c 2 machine; exit 7"))
    return path


@pytest.fixture(scope="module")
def boxes(lab: Lab, before: dict[str, set[str]], file: Path) -> Iterator[Done]:
    yield lab.play("swapin", file, *KIND)
    lab.play("swapout", file)


def test_containers_and_machines_come_up_together(boxes: Done) -> None:
    assert boxes.code == 0, boxes.out
    for node in ("box", "router", "far"):
        assert boxes.row(node)[1:4] == ["container", "pnode-0000", "booted"]
    assert boxes.row("machine")[1:4] == ["qemu", "pnode-0000", "booted"]


def test_they_reach_each_other_by_name_over_the_router(lab: Lab, boxes: Done) -> None:
    for source, target in (("box", "machine"), ("machine", "box"), ("box", "far"), ("far", "box")):
        done = lab.ssh(NAME, source, f"hostname; ping -c 2 -i 0.2 {target}")
        assert done.code == 0, done.out
        assert done.out.split()[0] == source
        assert "ttl=63" in done.out


def test_a_container_is_no_part_of_its_host(lab: Lab, boxes: Done) -> None:
    done = lab.ssh(
        NAME, "box", "ls /sys/class/net /proc/sys/net/ipv4/conf; ps ax; ls /var/benito/config/route; cat /var/benito/config/pid_eid"
    )
    assert "outside" not in done.out
    assert "systemd-nspawn" not in done.out
    assert done.out.split()[-3:] == ["box", PROJECT, "boxes"]


def test_what_dies_and_what_changes_is_told_first_and_done_alone(lab: Lab, boxes: Done, file: Path) -> None:
    first = running()
    os.kill(first["far"], signal.SIGKILL)
    assert wait_for(lambda: len([pid for pid, words in ours().items() if "--machine=far" in words]) == 0)
    status = lab.play("status", file, *KIND)
    assert status.row("far")[3] == "dead"
    assert status.row("box")[3] == "booted"
    assert status.row("box")[-2:] == ["exit", "7"]
    assert "2 received" in lab.ssh(NAME, "box", "cat /var/benito/log/start_command.out").out

    file.write_text(topology("true"))
    predicted = lab.play("swapin", file, *KIND, "--check", "--diff")
    assert "far: dead" in predicted.out
    assert "box: reconfigure" in predicted.out
    repaired = lab.play("swapin", file, *KIND)
    assert repaired.code == 0, repaired.out
    assert repaired.recap("pnode-0000")["changed"] == predicted.recap("pnode-0000")["changed"] == 1
    now = running()
    assert now.pop("far") != first.pop("far")
    assert now == first, "a new start command is told while the container runs"
    assert lab.ssh(NAME, "box", "cat /run/benito/config/start_command; ping -c 2 -i 0.2 far").out.startswith("true")
    again = lab.play("swapin", file, *KIND)
    assert again.changed == 0, again.out


def test_swapout_needs_neither_the_platform_nor_all_of_its_records(lab: Lab, boxes: Done, before: dict[str, set[str]]) -> None:
    (STATE / NAME / "guests/router/launch.json").unlink()
    gone = lab.run("ansible-playbook", "playbooks/swapout.yml", "-e", f"project={PROJECT}", "-e", "experiment=boxes")
    assert gone.code == 0, gone.out
    assert ours() == {}
    assert lab.listing() == before
    groups = json.loads(lab.run("lsns", "--json", "--type", "mnt", "--output", "COMMAND").out)
    assert not [entry for entry in groups["namespaces"] if "container-run" in (entry["command"] or "")]

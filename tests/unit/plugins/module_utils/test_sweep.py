# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""An experiment is taken off a host: all of it, found by its mark, and nothing of anybody else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import (
    control_bridge,
    control_net,
    host_forwarding,
    host_links,
    shapers,
    sweep,
    vde,
)
from ansible_collections.benito.testbed.plugins.module_utils.control_net import ControlNet, create
from ansible_collections.benito.testbed.plugins.module_utils.control_rules import ControlGuest
from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.owner import Owner
from ansible_collections.benito.testbed.plugins.module_utils.processes import Process, alive, spawn
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir, existing, write_json
from ansible_collections.benito.testbed.plugins.module_utils.sweep import Remains, check_owner_of, find, owner_of

Run = Callable[[Callable[[], None]], None]


def guest(rundir: RunDir, id_: str, recorded: bool = True) -> Process:
    """Start what stands in for the QEMU of a guest."""
    home = rundir.guest(id_)
    os.makedirs(f"{home}/io", exist_ok=True)
    process = spawn(["sh", "-c", f"sleep 300; : {home}/"], mark=rundir.mark, log=f"{home}/qemu.log")
    if recorded:
        write_json(f"{home}/launch.json", {"name": id_, "process": process.to_record(), "wanted": "started"})
    return process


@pytest.fixture
def other(rundir: RunDir) -> RunDir:
    """Another experiment on the same host, with a similar name."""
    made = RunDir("lab", "demo2", "lab.demo2", rundir.root)
    made.create()
    return made


def test_it_is_said_in_words(rundir: RunDir) -> None:
    stray = Process(4711, 1, "b", ("qemu-system-x86_64", "-x"))
    remains = Remains((rundir,), ((rundir, "n-0"),), ((rundir, "lan0"),), (stray,), ("bn0",), ("bn0", "bntap"))
    assert remains.lines() == [
        "guest n-0",
        "switch lan0",
        "process 4711 (qemu-system-x86_64)",
        "nftables table bn0",
        "interface bn0",
        "interface bntap",
        f"directory {rundir.path}",
    ]
    assert Remains((), (), (), (), (), ()).lines() == []


def test_an_experiment_of_another_owner_is_not_swept(rundir: RunDir, other: RunDir) -> None:
    ann, bob = (Owner(name, "desk", f"SHA256:{name[0] * 43}") for name in ("ann", "bob"))
    replace(rundir, owner=ann).create()
    remains = Remains((rundir,), (), (), (), (), ())
    assert str(owner_of(remains)).startswith("ann at desk")
    with pytest.raises(HostError, match="lab/demo belongs to ann at desk"):
        check_owner_of(remains, replace(rundir, owner=bob))
    for asking in (replace(rundir, owner=ann), replace(rundir, owner=bob, take_over=True), rundir):
        check_owner_of(remains, asking)
    unowned = Remains((other,), (), (), (), (), ())
    check_owner_of(unowned, replace(rundir, owner=bob))
    assert owner_of(unowned) is None


def test_everything_is_found_and_removed_and_the_second_time_nothing(
    rundir: RunDir, other: RunDir, unprivileged: None, own_network: Run
) -> None:
    def inside() -> None:
        forwarding = Path(host_forwarding.FORWARDING)
        forwarding.write_text("0")
        create(rundir, ControlNet("bn11", "172.20.5.1", 24))
        create(other, ControlNet("bn22", "172.20.6.1", 24))
        host_links.add_tap("bntap", "bn11", rundir.mark)
        recorded, lost, theirs = guest(rundir, "n-0"), guest(rundir, "n-1", recorded=False), guest(other, "n-0")
        for place in (rundir, other):
            vde.start(place, vde.Switch("lan0", "lan0", 8))
        switches = vde.running(rundir, "lan0"), vde.running(other, "lan0")

        remains = find("lab", "demo", rundir.root)
        assert remains.lines() == [
            "guest n-0",
            "guest n-1",
            "switch lan0",
            f"process {lost.pid} (sh)",
            "nftables table bn11",
            "interface bn11",
            "interface bntap",
            f"directory {rundir.path}",
        ]
        sweep.sweep(remains, rundir.root)
        assert find("lab", "demo", rundir.root).lines() == []
        assert not any(map(alive, (recorded, lost, switches[0])))
        assert not os.path.exists(rundir.path)

        # The other one has lost nothing.
        assert alive(theirs)
        assert alive(switches[1])
        assert existing(rundir.root) == [other]
        assert control_net.needs(other, ControlNet("bn22", "172.20.6.1", 24)) == []
        assert forwarding.read_text() == "1\n"

        # With the last one the host gets back what it had.
        sweep.sweep(find("lab", "demo2", rundir.root), rundir.root)
        assert forwarding.read_text() == "0\n"
        assert not host_links.marked(other.mark)
        assert not {"ip_forward", "forwarding.json"} & {*os.listdir(rundir.root)}
        sweep.sweep(find("lab", "demo2", rundir.root), rundir.root)

    own_network(inside)


def test_without_records_and_directory(rundir: RunDir, unprivileged: None, own_network: Run) -> None:
    def inside() -> None:
        vde.start(rundir, vde.Switch("lan0", "lan0", 8))
        process, switch = guest(rundir, "n-0"), vde.running(rundir, "lan0")
        host_links.add_bridge("bn11", "172.20.5.1/24", rundir.mark)
        shutil.rmtree(rundir.path)
        remains = find("lab", "demo", rundir.root)
        assert {stray.pid for stray in remains.strays} == {process.pid, switch.pid}
        assert remains.links == ("bn11",)
        assert remains.directories == ()
        sweep.sweep(remains, rundir.root)
        assert not alive(process)
        assert not alive(switch)
        assert find("lab", "demo", rundir.root).lines() == []

    own_network(inside)


def test_the_last_one_gives_the_host_its_interface_back(rundir: RunDir, other: RunDir, own_network: Run) -> None:
    def inside() -> None:
        for words in ("link add up0 type veth peer name lab0", "link set up0 up", "link set lab0 up", "address add 192.0.2.5/24 dev up0"):
            host_links.run(["ip", *words.split()])
        guests = tuple(ControlGuest(f"n{i}", f"bntap{i}", f"02:00:00:00:00:0{i}", f"192.0.2.10{i}") for i in (1, 2))
        for place, guest in ((rundir, guests[0]), (other, guests[1])):
            create(place, ControlNet("control0", "192.0.2.1", 24, "bridge", f"bn{place.id[-1]}", "up0", 60, (), (guest,)))
            host_links.add_tap(guest.tap, "control0", place.mark)
        watchdog = control_bridge.watchdog(rundir.root)
        assert alive(watchdog)

        remains = find("lab", "demo", rundir.root)
        assert remains.lines() == ["nftables table bridge bno", "interface bntap1", f"directory {rundir.path}"]
        sweep.sweep(remains, rundir.root)
        assert alive(watchdog), "it watches for the other one now"
        assert host_links.ports("control0") == ["bntap2", "up0"]

        remains = find("lab", "demo2", rundir.root)
        assert "bridge control0: up0 gets back what it had" in remains.lines()
        sweep.sweep(remains, rundir.root)
        assert not alive(watchdog)
        assert not host_links.exists("control0")
        assert host_links.addresses("up0") == ["192.0.2.5/24"]
        assert find("lab", "demo2", rundir.root).lines() == []
        assert os.listdir(rundir.root) == []

    own_network(inside)


@pytest.mark.skipif(not shutil.which("wirefilter"), reason="wirefilter is missing")
def test_shapers_with_and_without_their_records(rundir: RunDir, unprivileged: None) -> None:
    for name in ("lan0", "a", "b"):
        vde.start(rundir, vde.Switch(name, name, 8))
    for port, node in enumerate("ab", 1):
        entry = {"name": f"{node}:inf000", "id": node, "edge": node, "edge_port": 2, "switch": "lan0", "port": port}
        shapers.start(rundir, shapers.Shaper.from_options(entry))
    processes = [p for node in "ab" for p in shapers.running(rundir, node).values()]
    assert len(processes) == 4
    os.unlink(shapers.record_path(rundir, "b"))
    lines = find("lab", "demo", rundir.root).lines()
    assert [line for line in lines if line.startswith("shaper")] == ["shaper a", "shaper b"]
    assert sum("(wirefilter)" in line for line in lines) == 2
    sweep.sweep(find("lab", "demo", rundir.root), rundir.root)
    assert not any(map(alive, processes))
    assert find("lab", "demo", rundir.root).lines() == []


def test_nothing_of_an_experiment_under_another_root_is_found(rundir: RunDir) -> None:
    process = guest(rundir, "n-0")
    assert find("lab", "demo", f"{rundir.root}/other").lines() == []
    assert find("lab", "dem", rundir.root).lines() == []
    assert find("la", "demo", rundir.root).lines() == []
    assert alive(process)


def test_a_guest_whose_directory_is_half_made(rundir: RunDir) -> None:
    os.makedirs(rundir.guest("n-0"))
    remains = find("lab", "demo", rundir.root)
    assert remains.lines() == ["guest n-0", f"directory {rundir.path}"]


def test_one_thing_that_stays_does_not_keep_the_rest(rundir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[str] = []

    def discard(where: RunDir, name: str) -> None:
        if name == "stuck":
            raise HostError("it does not end")
        removed.append(name)

    monkeypatch.setattr(sweep.lifecycle, "discard", discard)
    monkeypatch.setattr(sweep.host_links, "delete", removed.append)
    remains = Remains((rundir,), ((rundir, "stuck"), (rundir, "other")), (), (), (), ("bn0",))
    with pytest.raises(HostError, match="it does not end"):
        sweep.sweep(remains, rundir.root)
    assert removed == ["other", "bn0"]
    assert os.path.isdir(rundir.path), "its records are needed for the next attempt"

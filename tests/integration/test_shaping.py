# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shaped links: what happens to real packets, and what the playbooks do to links of machines that run."""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import shapers, vde
from ansible_collections.benito.testbed.plugins.module_utils.guest_status import plugged
from ansible_collections.benito.testbed.plugins.module_utils.processes import alive

from ..bench.wires import Wires, losses, rate
from .conftest import PROJECT, STATE, Lab, wait_for
from .topologies import attribute, experiment

pytestmark = pytest.mark.network

NAME = f"{PROJECT}.shaped"
# A machine that is busy with other things delays packets as well.
LATE = 6.0


@pytest.fixture(scope="module")
def wires() -> Iterator[Wires]:
    if os.geteuid() != 0:
        pytest.fail("these tests make network namespaces and must run as root")
    with Wires(2) as made:
        yield made


def pids(wires: Wires) -> dict[str, dict[str, int]]:
    return {id_: {half: p.pid for half, p in shapers.running(wires.rundir, id_).items()} for id_ in shapers.known(wires.rundir)}


def test_neighbours_and_leaves(wires: Wires) -> None:
    there = pids(wires)
    wires.shape({"latency": 5})
    assert 18 <= statistics.median(wires.round_trips("10.0.0.2", 200, 0.01)) <= 20 + LATE
    assert 38 <= statistics.median(wires.round_trips("10.0.1.2", 200, 0.01)) <= 40 + 2 * LATE
    assert pids(wires) == there


def test_one_direction_does_not_hold_up_the_other(wires: Wires) -> None:
    wires.shape({"latency": 40}, {"latency": 2})
    # One packet in 5 ms: many are under way one way while answers come the other.
    found = wires.round_trips("10.0.0.2", 300, 0.005)
    assert 82 <= statistics.median(found) <= 84 + LATE


def test_capacity_in_both_directions_at_once(wires: Wires) -> None:
    wires.shape({"capacity": 8000})
    for arrived in wires.arrivals(2000, 12):
        assert 8 * 0.9 <= rate(arrived) <= 8 * 1.05


def test_what_does_not_fit_is_dropped_and_does_not_wait_for_ever(wires: Wires) -> None:
    wires.shape({"capacity": 2000})
    arrived = wires.arrivals(1000, 8, both=False)[0]
    # Four times too much for 1.5 s: a quarter arrives then, and what waits is some 50 frames of 6 ms.
    assert arrived["times"][-1] < 1.5 + 1.0
    assert 0.55 <= losses(arrived, 1000)[0] <= 0.8


def test_losses_and_their_runs(wires: Wires) -> None:
    wires.shape({"loss": 0.2}, {})
    lost, runs = losses(wires.arrivals(3000, 10, both=False)[0], 3000)
    assert 0.15 <= lost <= 0.25
    assert runs < 1.5
    wires.shape({"loss": 0.2, "burst": 8}, {})
    lost, runs = losses(wires.arrivals(3000, 10, both=False)[0], 3000)
    assert 0.1 <= lost <= 0.3
    assert 5 <= runs <= 12


def test_everything_is_lost_one_way_and_nothing_the_other(wires: Wires) -> None:
    wires.shape({})
    ends = wires.shapers({})
    shapers.retune(wires.rundir, ends[0].id, "in", shapers.Direction(loss=1))
    assert wires.round_trips("10.0.0.2", 20, 0.01) == []
    shapers.retune(wires.rundir, ends[0].id, "in", shapers.Direction())
    assert len(wires.round_trips("10.0.0.2", 20, 0.01)) == 20


def test_a_shaper_or_a_switch_that_dies_is_repaired_and_nothing_else(wires: Wires) -> None:
    wires.shape({"latency": 5})
    there = {id_: shapers.running(wires.rundir, id_) for id_ in shapers.known(wires.rundir)}
    os.kill(there["e0.0"]["out"].pid, signal.SIGKILL)
    os.kill(vde.running(wires.rundir, "link1").pid, signal.SIGKILL)
    gone = [("e0.0", "out"), ("e1.0", "in"), ("e1.1", "in")]
    assert wait_for(lambda: not any(alive(there[id_][half]) for id_, half in gone), 10)
    ports = plugged(wires.rundir)
    states = {id_: shapers.state(wires.rundir, id_, ports)["state"] for id_ in there}
    assert states == {"e0.0": "dead", "e0.1": "running", "e1.0": "dead", "e1.1": "dead"}

    wires.switch("link1")
    done = {result["id"]: result["action"] for result in wires.shape({"latency": 5})}
    assert done == {"e0.0": "start", "e0.1": "none", "e1.0": "start", "e1.1": "start"}
    now = {id_: shapers.running(wires.rundir, id_) for id_ in there}
    assert [id_ for id_ in now if now[id_] == there[id_]] == ["e0.1"]
    assert 38 <= statistics.median(wires.round_trips("10.0.1.2", 100, 0.01)) <= 40 + 2 * LATE


# Whole experiments.


def pair(latency: float, loss: float = 0) -> str:
    """Return a file with a link whose ends delay, and a LAN that nothing shapes."""
    text = experiment(["slow", "lan0"], [node(name) for name in ("a", "b")])
    said = f"<latency><time>{latency}</time><kind>max</kind></latency>{attribute('loss', loss) if loss else ''}"
    return text.replace("<name>slow</name>", f"<name>slow</name>{said}", 1)


def node(name: str) -> str:
    interfaces = "".join(f"<interface><substrate>{s}</substrate><name>inf00{i}</name></interface>" for i, s in enumerate(("slow", "lan0")))
    return f"<elements><computer><name>{name}</name>{interfaces}</computer></elements>\n"


def machines() -> set[str]:
    """The processes of this experiment: guests, switches and shapers; the latter by their script's name."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if words[0].startswith(("qemu-system", "vde_switch", "wirefilter")) and any(f"{STATE}/{NAME}/" in word for word in words):
                found.add(f"{entry.name} {words[2]}")
    return found


def ping(lab: Lab, goal: str) -> float | None:
    """Return the mean round trip from a to an address or name in ms; None when nothing comes back."""
    done = lab.ssh(NAME, "a", f"ping -c 1 -W 1 {goal} >/dev/null 2>&1; ping -c 10 -i 0.1 -W 2 -q {goal}")
    found = re.search(r"= [0-9.]+/([0-9.]+)/", done.out)
    return float(found[1]) if found else None


def carrier(lab: Lab, node: str, device: str) -> str:
    return lab.ssh(NAME, node, f"cat /sys/class/net/{device}/carrier").out.strip()


def address(lab: Lab, node: str, device: str) -> str:
    return lab.ssh(NAME, node, f"ip -o -4 addr show dev {device}").out.split()[3].split("/")[0]


def test_a_link_is_shaped_retuned_changed_and_cut_while_the_machines_run(lab: Lab, tmp_path: Path) -> None:
    before = lab.listing()
    path = tmp_path / "shaped.topdl"
    path.write_text(pair(5))
    try:
        done = lab.play("swapin", path)
        assert done.code == 0, done.out
        there = machines()
        assert sum(line.endswith(".rc") for line in there) == 4, "two shapers of two halves, and none for the LAN"
        slow, fast = address(lab, "b", "eth1"), address(lab, "b", "eth2")
        assert 18 <= ping(lab, slow) <= 20 + 2 * LATE
        assert ping(lab, fast) < 10
        assert lab.play("swapin", path).changed == 0

        # Another value in the file: told to the shapers, which run on like everything else.
        path.write_text(pair(20))
        would = lab.play("swapin", path, "--check", "--diff")
        assert "latency 5 ms" in would.out
        assert "latency 20 ms" in would.out
        assert 18 <= ping(lab, slow) <= 20 + 2 * LATE
        assert lab.play("swapin", path).code == 0
        assert 78 <= ping(lab, slow) <= 80 + 2 * LATE

        # A change without the file, and back by the next swap-in.
        done = lab.play("link", path, "-e", "link=slow", "-e", "latency=2")
        assert done.code == 0, done.out
        assert 6 <= ping(lab, slow) <= 8 + 2 * LATE
        assert lab.play("link", path, "-e", "link=slow", "-e", "latency=2").changed == 0
        assert lab.play("swapin", path).code == 0
        assert 78 <= ping(lab, slow) <= 80 + 2 * LATE

        # One end of the link that nothing shapes, cut and restored.
        assert carrier(lab, "b", "eth2") == "1"
        done = lab.play("link", path, "-e", "link=lan0", "-e", "node=b", "-e", "state=down")
        assert done.code == 0, done.out
        assert carrier(lab, "b", "eth2") == "0"
        assert carrier(lab, "a", "eth2") == "1"
        assert ping(lab, fast) is None
        assert "taken down: inf001" in lab.play("status", path).out
        assert lab.play("link", path, "-e", "link=lan0", "-e", "node=b", "-e", "state=up").code == 0
        assert carrier(lab, "b", "eth2") == "1"
        assert lab.play("link", path, "-e", "node=b", "-e", "state=down").code == 0
        assert carrier(lab, "b", "eth1") == "0"
        assert lab.play("swapin", path).code == 0
        assert carrier(lab, "b", "eth1") + carrier(lab, "b", "eth2") == "11"
        assert 78 <= ping(lab, slow) <= 80 + 2 * LATE

        done = lab.play("link", path, "-e", "link=lan0", "-e", "loss=0.5")
        assert done.code != 0
        assert "nothing shapes it" in done.out
        done = lab.play("link", path, "-e", "link=lan7", "-e", "loss=0.5")
        assert done.code != 0
        assert "link lan7" in done.out
        assert machines() == there

        # A shaper that died is repaired, and only that.
        victim = next(line for line in there if line.endswith("/out.rc"))
        os.kill(int(victim.split()[0]), signal.SIGKILL)
        assert ping(lab, slow) is None
        assert lab.play("swapin", path).code == 0
        home = victim.split()[1].removesuffix("out.rc")
        assert all(home in line for line in there - machines()), "only the one that died"
        assert 78 <= ping(lab, slow) <= 80 + 2 * LATE
    finally:
        lab.run("ansible-playbook", "playbooks/swapout.yml", "-e", f"project={PROJECT}", "-e", "experiment=shaped")
    assert lab.listing() == before
    assert machines() == set()


def test_a_lab_that_asks_for_both_ways_of_shaping_on_one_link(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "shaped.topdl"
    text = pair(5)
    text = text.replace("<name>inf000</name>", f"<name>inf000</name>{attribute('benito:shaping', 'netem')}", 1)
    path.write_text(text)
    done = lab.play("swapin", path)
    assert done.code != 0
    assert "substrate slow is shaped by netem, wirefilter" in json.dumps(done.out)

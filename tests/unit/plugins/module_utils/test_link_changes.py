# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Links that change while everything runs: real shapers, and guests as far as a monitor can tell."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import link_changes, shapers, vde
from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.link_changes import Interface, change, interfaces, restore, select
from ansible_collections.benito.testbed.plugins.module_utils.processes import spawn, stop
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir, read_json, write_json
from ansible_collections.benito.testbed.plugins.module_utils.shapers import HALVES, Direction, running

pytestmark = [
    pytest.mark.usefixtures("unprivileged"),
    pytest.mark.skipif(not shutil.which("wirefilter"), reason="wirefilter is missing"),
]

GUESTS = [
    {"name": "a", "id": "a", "interfaces": [{"name": "inf000", "substrate": "lan0"}, {"name": "inf001", "substrate": "lan1"}]},
    {"name": "b", "id": "b", "interfaces": [{"name": "inf000", "substrate": "lan0", "mac": "x"}]},
]
SHAPERS: list[dict[str, Any]] = [
    {
        "name": f"{node}:inf000",
        "id": f"{node}.inf000",
        "node": node,
        "interface": "inf000",
        "substrate": "lan0",
        "edge": node,
        "edge_port": 2,
        "switch": "lan0",
        "port": port,
        "out": {"latency": 5},
        "in": {"latency": 5, "loss": 0.1},
    }
    for port, node in enumerate("ab", 1)
]


@pytest.fixture
def there(rundir: RunDir) -> RunDir:
    """An experiment with the shapers of two interfaces."""
    for name in ("lan0", "a", "b"):
        vde.start(rundir, vde.Switch(name, name, 8))
    results = shapers.present(rundir, [shapers.Shaper.from_options(entry) for entry in SHAPERS], purge=False, check=False)
    assert not any(result.get("failed") for result in results)
    return rundir


def run_guest(rundir: RunDir, id_: str) -> None:
    """Start what stands in for the QEMU of a guest, without a monitor."""
    home = rundir.guest(id_)
    os.makedirs(f"{home}/io", exist_ok=True)
    process = spawn(["sh", "-c", f"sleep 300; : {home}/"], mark=rundir.mark, log=f"{home}/qemu.log")
    write_json(f"{home}/launch.json", {"name": id_, "process": process.to_record(), "wanted": "started", "config_key": "k"})


def meant(link: str | None = None, node: str | None = None, interface: str | None = None) -> list[Interface]:
    return select(interfaces(GUESTS, SHAPERS), link, node, interface)


def does(rundir: RunDir, node: str, half: str) -> Direction:
    return shapers.live(shapers.report(rundir, f"{node}.inf000", half))


def names(found: list[Interface]) -> list[tuple[str, int, bool]]:
    return [(i.title, i.number, i.shaper is not None) for i in found]


def test_who_is_meant() -> None:
    assert names(meant("lan0")) == [("a:inf000", 0, True), ("b:inf000", 0, True)]
    assert names(meant(node="a")) == [("a:inf000", 0, True), ("a:inf001", 1, False)]
    assert names(meant("lan0", "b")) == [("b:inf000", 0, True)]
    assert names(meant(node="a", interface="inf001")) == [("a:inf001", 1, False)]
    assert meant("lan9") == []


def test_all_ends_of_a_link_get_new_values_and_the_file_brings_back_its_own(there: RunDir) -> None:
    pids = [running(there, s["id"]) for s in SHAPERS]
    wanted = {"latency": 20.0, "loss": 0.5}
    would = change(there, meant("lan0"), None, wanted, HALVES, check=True)
    assert does(there, "a", "out") == Direction(latency=5)
    results = change(there, meant("lan0"), None, wanted, HALVES, check=False)
    assert results == would
    assert [(r["name"], r["action"], r["changed"]) for r in results] == [("a:inf000", "retune", True), ("b:inf000", "retune", True)]
    assert results[0]["before"] == "out: latency 5 ms; in: latency 5 ms, loss 0.1"
    assert results[0]["after"] == "out: latency 20 ms, loss 0.5; in: latency 20 ms, loss 0.5"
    assert {does(there, node, half) for node in "ab" for half in HALVES} == {Direction(latency=20, loss=0.5)}
    assert [r["changed"] for r in change(there, meant("lan0"), None, wanted, HALVES, check=False)] == [False, False]

    # What the next swap-in does.
    back = shapers.present(there, [shapers.Shaper.from_options(entry) for entry in SHAPERS], purge=True, check=False)
    assert [r["action"] for r in back] == ["retune", "retune"]
    assert (does(there, "a", "out"), does(there, "a", "in")) == (Direction(latency=5), Direction(latency=5, loss=0.1))
    assert [running(there, s["id"]) for s in SHAPERS] == pids


def test_one_direction_of_one_end(there: RunDir) -> None:
    change(there, meant("lan0", "b"), None, {"loss": 0.0}, ("in",), check=False)
    assert does(there, "b", "in") == Direction(latency=5)
    assert does(there, "b", "out") == Direction(latency=5)
    assert does(there, "a", "in") == Direction(latency=5, loss=0.1)


def test_values_that_mean_nothing_change_nothing(there: RunDir) -> None:
    results = change(there, meant("lan0"), None, {"jitter": 50.0}, HALVES, check=False)
    assert ["a:inf000 out: jitter must be at most the latency" in r["msg"] for r in results] == [True, False]
    assert all(r["failed"] for r in results)
    assert does(there, "a", "out") == Direction(latency=5)


def test_an_interface_that_nothing_shapes(there: RunDir) -> None:
    results = change(there, meant(node="a"), None, {"loss": 0.5}, HALVES, check=False)
    assert [r.get("failed", False) for r in results] == [False, True]
    assert "give lan1 a capacity, latency or loss in the file" in results[1]["msg"]
    assert does(there, "a", "out") == Direction(latency=5, loss=0.5)


def test_a_shaper_that_is_dead(there: RunDir) -> None:
    stop(running(there, "a.inf000")["in"])
    results = change(there, meant("lan0"), None, {"loss": 0.5}, HALVES, check=False)
    assert "its shaper does not run: swap in again" in results[0]["msg"]
    assert "failed" not in results[1]


def test_down_and_up(there: RunDir, monitor: Callable[..., Any]) -> None:
    run_guest(there, "a")
    qemu = monitor(f"{there.guest('a')}/io/qmp")
    assert [r["action"] for r in change(there, meant("lan1"), "down", {}, HALVES, check=True)] == ["down"]
    assert qemu.heard == []
    results = change(there, meant("lan1"), "down", {}, HALVES, check=False)
    assert [(r["name"], r["action"], r["before"], r["after"]) for r in results] == [("a:inf001", "down", "up", "down")]
    assert qemu.heard[-1] == {"execute": "set_link", "arguments": {"name": "nic1", "up": False}}
    assert link_changes.down(there) == {("a", "inf001"): ("a", 1)}
    assert read_json(f"{there.guest('a')}/launch.json")["config_key"] == "k", "the rest of the record stays"
    assert [r["changed"] for r in change(there, meant("lan1"), "down", {}, HALVES, check=False)] == [False]

    change(there, meant("lan1"), "up", {}, HALVES, check=False)
    assert qemu.heard[-1] == {"execute": "set_link", "arguments": {"name": "nic1", "up": True}}
    assert link_changes.down(there) == {}


def test_up_brings_back_the_values_of_the_file_too(there: RunDir, monitor: Callable[..., Any]) -> None:
    run_guest(there, "a")
    monitor(f"{there.guest('a')}/io/qmp")
    change(there, meant("lan0", "a"), "down", {"loss": 0.9}, HALVES, check=False)
    assert does(there, "a", "in") == Direction(latency=5, loss=0.9)
    results = change(there, meant("lan0", "a"), "up", {}, HALVES, check=False)
    assert [r["action"] for r in results] == ["up"]
    assert does(there, "a", "in") == Direction(latency=5, loss=0.1)


def test_the_next_swap_in_takes_up_what_is_down(there: RunDir, monitor: Callable[..., Any]) -> None:
    run_guest(there, "a")
    qemu = monitor(f"{there.guest('a')}/io/qmp")
    change(there, meant(node="a"), "down", {}, HALVES, check=False)
    assert [(r["name"], r["action"]) for r in restore(there, check=True)] == [("a:inf000", "up"), ("a:inf001", "up")]
    assert len(link_changes.down(there)) == 2
    assert [r["changed"] for r in restore(there, check=False)] == [True, True]
    assert [m["arguments"] for m in qemu.heard[-3::2]] == [{"name": "nic0", "up": True}, {"name": "nic1", "up": True}]
    assert restore(there, check=False) == []


def test_a_guest_that_does_not_run(there: RunDir) -> None:
    results = change(there, meant("lan0"), "down", {}, HALVES, check=False)
    assert ["its guest does not run" in r["msg"] for r in results] == [True, True]
    assert link_changes.down(there) == {}


def test_a_monitor_that_refuses(there: RunDir, monitor: Callable[..., Any]) -> None:
    run_guest(there, "a")
    monitor(f"{there.guest('a')}/io/qmp", set_link={"error": {"desc": "Device 'nic1' not found"}})
    results = change(there, meant("lan1"), "down", {}, HALVES, check=False)
    assert "Device 'nic1' not found" in results[0]["msg"]
    assert link_changes.down(there) == {}


def test_a_guest_that_was_started_anew_has_its_links(there: RunDir) -> None:
    run_guest(there, "a")
    path = f"{there.guest('a')}/launch.json"
    record = read_json(path)
    write_json(path, {**record, "down": {"inf001": 1}})
    assert link_changes.down(there) == {("a", "inf001"): ("a", 1)}
    write_json(path, {**record, "down": {"inf001": 1}, "process": {**record["process"], "started": 1}})
    assert link_changes.down(there) == {}


def test_ids_are_checked() -> None:
    with pytest.raises(HostError):
        interfaces([{"name": "a", "id": "../a", "interfaces": [{"name": "inf000", "substrate": "lan0"}]}], [])

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real wirefilters between real switches: started, retuned, mended and removed; and what they are told."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.module_utils import shapers, vde
from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.guest_status import plugged
from ansible_collections.benito.testbed.plugins.module_utils.id_ranges import id_range
from ansible_collections.benito.testbed.plugins.module_utils.processes import Process, alive, look, marked
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir, read_json, write_json
from ansible_collections.benito.testbed.plugins.module_utils.shapers import HALVES, Direction, Shaper, absent, known, present, running

pytestmark = [
    pytest.mark.usefixtures("unprivileged"),
    pytest.mark.skipif(not shutil.which("wirefilter"), reason="wirefilter is missing"),
]

SLOW = {"capacity": 10000, "latency": 5}


def entry(node: str = "a", port: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "name": f"{node}:inf000",
        "id": f"{node}.inf000",
        "node": node,
        "interface": "inf000",
        "substrate": "lan0",
        "edge": node,
        "edge_port": 2,
        "switch": "lan0",
        "port": port,
        "out": SLOW,
        "in": SLOW,
        **more,
    }


def shaper(node: str = "a", port: int = 1, **more: Any) -> Shaper:
    return Shaper.from_options(entry(node, port, **more))


def wait_until(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.01)


@pytest.fixture
def wired(rundir: RunDir) -> RunDir:
    """An experiment with the switch of a LAN and those of three interfaces."""
    for name in ("lan0", "a", "b", "c"):
        vde.start(rundir, vde.Switch(name, name, 8))
    return rundir


def pids(rundir: RunDir, id_: str = "a.inf000") -> dict[str, int]:
    return {half: process.pid for half, process in running(rundir, id_).items()}


def does(rundir: RunDir, half: str, id_: str = "a.inf000") -> Direction:
    return shapers.live(shapers.report(rundir, id_, half))


def look_at(rundir: RunDir, id_: str = "a.inf000", **more: Any) -> dict[str, Any]:
    return shapers.state(rundir, id_, plugged(rundir), **more)


def actions(results: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(result["name"], result["action"]) for result in results]


# What a wirefilter is told.


def test_nothing_is_told_as_zeros() -> None:
    assert set(Direction().settings().values()) == {(0, 0)}


def test_units() -> None:
    told = Direction(capacity=8000, latency=10, jitter=3, loss=0.1, duplication=0.02, burst=4).settings()
    assert told["bandwidth"] == (1e6, 0)
    assert told["loss"] == (pytest.approx(10), 0)
    assert told["dup"] == (pytest.approx(2), 0)
    assert told["lostburst"] == (4, 0)
    assert told["delay"] == (10 - 0.25 + 0.5, 3)
    # 50 full frames, and what is under way meanwhile.
    assert told["chanbufsize"] == (50 * 1516 + 13000, 0)


def test_what_is_in_the_delay_line_is_no_queue() -> None:
    assert Direction(capacity=8000).settings()["chanbufsize"][0] == 50 * 1516
    assert Direction(latency=5).settings()["chanbufsize"][0] == 64 << 20
    assert Direction(loss=0.5).settings()["chanbufsize"][0] == 0


def test_runs_of_losses_need_losses() -> None:
    assert Direction(burst=4).settings()["lostburst"] == (0, 0)
    assert Direction(burst=4, loss=1).settings()["lostburst"] == (0, 0)


def test_an_average_rate_takes_as_long_as_the_same_maximum() -> None:
    mean, swing = Direction(capacity=8000, spread=0.25).settings()["bandwidth"]
    assert swing == mean / 4
    times = [1 / (mean + swing * (2 * i / 9999 - 1)) for i in range(10000)]
    assert sum(times) / len(times) == pytest.approx(1e-6, rel=1e-3)


def test_what_wirefilter_cannot_count_is_no_limit() -> None:
    assert Direction(capacity=1e9).settings()["bandwidth"] == (0, 0)
    assert Direction(capacity=1e7).settings()["bandwidth"] == (1.25e9, 0)


values = st.none() | st.floats(1e-3, 1e6).map(lambda x: float(f"{x:.4g}"))
fractions = st.none() | st.floats(1e-4, 0.9).map(lambda x: float(f"{x:.4g}"))


@given(capacity=values, latency=values, loss=fractions, duplication=fractions, spread=st.none() | st.just(0.25))
def test_commands_are_short_and_plain(**words: float | None) -> None:
    for line in shapers.script(Direction(**words)).splitlines():
        assert len(line) < 120
        assert "e" not in line.split("LR")[1]


@pytest.mark.parametrize(
    "direction",
    [
        Direction(),
        Direction(capacity=10000, latency=5),
        Direction(capacity=123.4, spread=0.25, latency=2.5, loss=0.1, burst=3),
        Direction(latency=100, jitter=20, loss=1, duplication=0.000005),
        Direction(latency=600000, capacity=0.5, loss=0.000005),
    ],
)
def test_what_it_says_is_what_it_was_told(wired: RunDir, direction: Direction) -> None:
    words = {key: value for key, value in vars(direction).items() if value is not None}
    shapers.start(wired, shaper(out=words, **{"in": {}}))
    assert does(wired, "out") == direction
    assert does(wired, "in") == Direction()
    assert actions(present(wired, [shaper(out=words, **{"in": {}})], purge=False, check=False)) == [("a:inf000", "none")]


@pytest.mark.parametrize(
    ("words", "right"),
    [
        ({"capacity": -1}, "a:inf000 out: capacity must be a positive number of kb/s, not -1"),
        ({"latency": float("nan")}, "latency must be from 0 to 600000 ms, not nan"),
        ({"latency": 1e9}, "latency must be"),
        ({"loss": 1.5}, "loss must be a fraction from 0 to 1, not 1.5"),
        ({"duplication": 1}, "duplication must be a fraction from 0 to 0.9"),
        ({"burst": 0.5}, "burst must be from 1 to"),
        ({"jitter": 3, "latency": 2}, "jitter must be at most the latency, 2 ms, not 3 ms"),
        ({"jitter": 3}, "jitter must be at most the latency, 0 ms"),
        ({"loss": 0.9, "burst": 2}, "with a loss of 0.9 the mean burst must be at least 9"),
    ],
)
def test_values_that_mean_nothing_are_refused(words: dict[str, float], right: str) -> None:
    with pytest.raises(HostError, match=right):
        shaper(out=words)


@pytest.mark.parametrize("key", ["id", "edge", "switch"])
def test_an_id_that_is_no_plain_name_is_refused(key: str) -> None:
    with pytest.raises(HostError, match="an id must be"):
        shaper(**{key: "../x"})


# The processes.


def test_what_runs_as_wanted_is_left_alone(wired: RunDir) -> None:
    wanted = [shaper(), shaper("b", 2)]
    first = present(wired, wanted, purge=False, check=False)
    assert [(r["name"], r["changed"], r["action"], r["reason"]) for r in first] == [
        ("a:inf000", True, "start", "not there"),
        ("b:inf000", True, "start", "not there"),
    ]
    there = pids(wired), pids(wired, "b.inf000")
    assert [set(p) for p in there] == [set(HALVES)] * 2
    second = present(wired, wanted, purge=True, check=False)
    assert [(r["changed"], r["action"]) for r in second] == [(False, "none")] * 2
    assert (pids(wired), pids(wired, "b.inf000")) == there


def test_it_is_plugged_in_where_it_should_be(wired: RunDir) -> None:
    present(wired, [shaper(port=5)], purge=False, check=False)
    assert vde.endpoints(wired, "a") == {2: pids(wired)["out"]}
    assert vde.endpoints(wired, "lan0") == {5: pids(wired)["in"]}


def test_what_is_said_of_it(wired: RunDir) -> None:
    present(wired, [shaper(**{"in": {"loss": 0.5}})], purge=False, check=False)
    nothing = dict.fromkeys(("spread", "jitter", "loss", "duplication", "burst"))
    assert look_at(wired, down=["a:inf000"]) == {
        "name": "a:inf000",
        "id": "a.inf000",
        "node": "a",
        "interface": "inf000",
        "substrate": "lan0",
        "state": "running",
        "pid": pids(wired)["out"],
        "pids": pids(wired),
        "out": {**nothing, "capacity": 10000, "latency": 5},
        "in": {**nothing, "capacity": None, "latency": None, "loss": 0.5},
        "queued": {"out": 0, "in": 0},
        "down": True,
    }
    assert look_at(wired, down=["a:inf001"])["down"] is False
    assert look_at(wired, "gone")["state"] == "dead"


def test_it_is_the_service_accounts(wired: RunDir, account: str, root_user: None) -> None:
    present(wired, [shaper()], purge=False, check=False)
    owner = id_range(wired).service
    io = f"{shapers.home(wired, 'a.inf000')}/io"
    assert {os.stat(f"/proc/{pid}").st_uid for pid in pids(wired).values()} == {owner}
    assert os.stat(io).st_mode & 0o077 == 0
    assert {os.stat(f"{io}/{name}").st_mode & 0o077 for name in HALVES} == {0}
    assert os.stat(shapers.record_path(wired, "a.inf000")).st_uid == 0
    assert set(running(wired, "a.inf000").values()) == set(marked(wired.mark, f"{wired.path}/shapers/"))


def test_other_values_are_taken_over_while_it_runs(wired: RunDir) -> None:
    present(wired, [shaper(), shaper("b", 2)], purge=False, check=False)
    there = pids(wired)
    wanted = [shaper(out={"latency": 20, "loss": 0.1}), shaper("b", 2)]
    would = present(wired, wanted, purge=False, check=True)
    assert actions(would) == [("a:inf000", "retune"), ("b:inf000", "none")]
    assert does(wired, "out") == Direction(capacity=10000, latency=5)
    results = present(wired, wanted, purge=False, check=False)
    assert actions(results) == actions(would)
    assert shapers.difference(results) == {
        "before": "a:inf000: out: capacity 10000 kb/s, latency 5 ms\n",
        "after": "a:inf000: out: latency 20 ms, loss 0.1\n",
    }
    assert pids(wired) == there
    assert does(wired, "out") == Direction(latency=20, loss=0.1)
    assert does(wired, "in") == Direction(capacity=10000, latency=5)
    assert actions(present(wired, wanted, purge=False, check=False)) == [("a:inf000", "none"), ("b:inf000", "none")]


def test_what_somebody_else_tuned_is_noticed(wired: RunDir) -> None:
    present(wired, [shaper()], purge=False, check=False)
    there = pids(wired)
    vde.ask(f"{shapers.home(wired, 'a.inf000')}/io/in", "loss LR50", prompt=shapers.PROMPT)
    results = present(wired, [shaper()], purge=False, check=False)
    assert actions(results) == [("a:inf000", "retune")]
    assert results[0]["reason"] == "in: capacity 10000 kb/s, latency 5 ms, loss 0.5 -> capacity 10000 kb/s, latency 5 ms"
    assert does(wired, "in") == Direction(capacity=10000, latency=5)
    assert pids(wired) == there


@pytest.mark.parametrize("half", HALVES)
def test_one_of_which_a_half_died_is_started_again_and_no_other(wired: RunDir, half: str) -> None:
    wanted = [shaper(), shaper("b", 2)]
    present(wired, wanted, purge=False, check=False)
    there, others = running(wired, "a.inf000"), pids(wired, "b.inf000")
    os.kill(there[half].pid, signal.SIGKILL)
    wait_until(lambda: not alive(there[half]))
    said = look_at(wired)
    assert (said["state"], said[half], said["pids"][half]) == ("dead", None, None)
    assert [r["reason"] for r in present(wired, wanted, purge=False, check=False)] == [f"{half} dead", ""]
    assert not any(map(alive, there.values()))
    assert pids(wired, "b.inf000") == others
    assert look_at(wired)["state"] == "running"


def test_without_its_switch_it_ends_instead_of_spinning(wired: RunDir) -> None:
    wanted = [shaper(), shaper("b", 2)]
    present(wired, wanted, purge=False, check=False)
    first, second = running(wired, "a.inf000"), running(wired, "b.inf000")
    os.kill(vde.running(wired, "a").pid, signal.SIGKILL)
    wait_until(lambda: not alive(first["out"]))
    assert alive(first["in"])
    assert look_at(wired)["state"] == "dead"
    failed = present(wired, wanted, purge=False, check=False)
    assert failed[0]["failed"]
    assert "the switch a it is plugged into does not run" in failed[0]["msg"]
    assert "failed" not in failed[1]
    vde.start(wired, vde.Switch("a", "a", 8))
    assert look_at(wired)["state"] == "dead"
    assert [r["reason"] for r in present(wired, wanted, purge=False, check=False)] == ["out dead; in dead", ""]
    assert look_at(wired)["state"] == "running"
    assert running(wired, "b.inf000") == second


def test_the_switch_of_a_substrate_takes_all_its_shapers_along(wired: RunDir) -> None:
    wanted = [shaper(), shaper("b", 2)]
    present(wired, wanted, purge=False, check=False)
    there = running(wired, "a.inf000")
    os.kill(vde.running(wired, "lan0").pid, signal.SIGKILL)
    wait_until(lambda: not alive(there["in"]))
    vde.start(wired, vde.Switch("lan0", "lan0", 8))
    assert [r["reason"] for r in present(wired, wanted, purge=False, check=False)] == ["in dead", "in dead"]
    assert look_at(wired)["state"] == "running"


def test_another_port_is_another_plug(wired: RunDir) -> None:
    present(wired, [shaper()], purge=False, check=False)
    there = running(wired, "a.inf000")
    assert [r["reason"] for r in present(wired, [shaper(port=6)], purge=False, check=False)] == ["in plugged in elsewhere"]
    assert vde.endpoints(wired, "lan0") == {6: pids(wired)["in"]}
    assert not any(map(alive, there.values()))


def test_a_port_that_is_not_there(wired: RunDir) -> None:
    results = present(wired, [shaper(), shaper("b", 99), shaper("c", 3)], purge=False, check=False)
    assert [bool(r.get("failed")) for r in results] == [False, True, False]
    assert "did not come up" in results[1]["msg"] or "ended at once" in results[1]["msg"]
    assert not list(marked(wired.mark, "/shapers/b.inf000/"))


def test_a_check_run_touches_nothing(wired: RunDir) -> None:
    assert actions(present(wired, [shaper()], purge=True, check=True)) == [("a:inf000", "start")]
    assert known(wired) == []
    present(wired, [shaper()], purge=True, check=False)
    assert actions(present(wired, [shaper("b", 2)], purge=True, check=True)) == [("a:inf000", "remove"), ("b:inf000", "start")]
    assert known(wired) == ["a.inf000"]
    assert set(pids(wired)) == set(HALVES)


def test_purge_and_removal(wired: RunDir) -> None:
    present(wired, [shaper(), shaper("b", 2)], purge=False, check=False)
    gone = running(wired, "a.inf000")
    assert actions(present(wired, [shaper("b", 2)], purge=True, check=False)) == [("a:inf000", "remove"), ("b:inf000", "none")]
    assert not any(map(alive, gone.values()))
    assert actions(absent(wired, ["b.inf000"], check=False)) == [("b:inf000", "remove")]
    assert known(wired) == []
    assert actions(absent(wired, ["b.inf000"], check=False)) == [("b.inf000", "none")]
    assert not list(marked(wired.mark, "/shapers/"))


def test_one_whose_record_was_lost_is_replaced(wired: RunDir) -> None:
    present(wired, [shaper()], purge=False, check=False)
    lost = running(wired, "a.inf000")
    os.unlink(shapers.record_path(wired, "a.inf000"))
    assert [r["reason"] for r in present(wired, [shaper()], purge=False, check=False)] == ["not there"]
    assert not any(map(alive, lost.values()))
    assert look_at(wired)["state"] == "running"


def test_a_record_of_another_process_harms_nobody(wired: RunDir) -> None:
    present(wired, [shaper()], purge=False, check=False)
    path = shapers.record_path(wired, "a.inf000")
    with subprocess.Popen(["sleep", "300"]) as bystander:
        try:
            wait_until(lambda: look(bystander.pid).argv[0] == "sleep")
            there = look(bystander.pid)
            record = read_json(path)
            wrong = Process(there.pid, 1, there.boot, there.argv).to_record()
            write_json(path, {**record, "processes": {"out": wrong, "in": "nonsense"}})
            assert look_at(wired)["state"] == "dead"
            assert shapers.halt(wired, "a.inf000")
            assert bystander.poll() is None
        finally:
            bystander.kill()
    assert not list(marked(wired.mark, "/shapers/"))


def test_one_that_does_not_answer_is_started_again(wired: RunDir) -> None:
    present(wired, [shaper()], purge=False, check=False)
    os.unlink(f"{shapers.home(wired, 'a.inf000')}/io/out")
    assert look_at(wired)["out"] is None
    assert [r["reason"] for r in present(wired, [shaper()], purge=False, check=False)] == ["out silent"]
    assert does(wired, "out") == Direction(capacity=10000, latency=5)


def test_a_missing_program(wired: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapers, "PROGRAM", "wirefilter_that_is_not_there")
    assert "wirefilter_that_is_not_there" in present(wired, [shaper()], purge=False, check=False)[0]["msg"]


def test_a_retune_that_does_not_take(wired: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    present(wired, [shaper()], purge=False, check=False)
    monkeypatch.setattr(shapers, "script", lambda direction: "")
    with pytest.raises(HostError, match="did not take out: latency 9 ms"):
        shapers.retune(wired, "a.inf000", "out", Direction(latency=9))


def test_long_names_fit(rundir: RunDir) -> None:
    long = replace(rundir, id="i" * 24)
    long.create()
    for name in ("e" * 20, "s" * 20):
        vde.start(long, vde.Switch(name, name, 8))
    wanted = shaper(id="x" * 20, edge="e" * 20, switch="s" * 20)
    assert "failed" not in present(long, [wanted], purge=False, check=False)[0]
    assert shapers.state(long, "x" * 20, plugged(long))["state"] == "running"

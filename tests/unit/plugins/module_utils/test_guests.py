# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The batch: what separates each guest from being as wanted, and what is done about it."""

from __future__ import annotations

import dataclasses
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import guests as batch
from ansible_collections.benito.testbed.plugins.module_utils import host_key, host_links, qemu, vde
from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.guest import Guest
from ansible_collections.benito.testbed.plugins.module_utils.guests import Job, Pace, compare
from ansible_collections.benito.testbed.plugins.module_utils.lifecycle import Surroundings, archive, process_of
from ansible_collections.benito.testbed.plugins.module_utils.processes import Process, ProcessError, alive, look, spawn
from ansible_collections.benito.testbed.plugins.module_utils.qmp import QmpError
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir, read_json, write_json
from ansible_collections.benito.testbed.plugins.module_utils.stock import Stock

PID = 4711
PORTS = {"lan0": {1: PID, 3: PID}}
NET = {"bridge": "bn0", "address": "172.20.5.1", "prefix": 24}
CONTROL = {"mac": "02:00:00:00:ff:01", "address": "172.20.5.2", "tap": "bntap"}
PACE = Pace(window=2, boot_timeout=20, command_wait=5, stop_timeout=1)


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make the records of guests that run as wanted and have booted; ``state`` and ``record`` differ where they are given."""
    living: dict[str, Process] = {}
    monkeypatch.setattr(batch, "process_of", lambda dummy, id_: living.get(id_))

    def make(around: Surroundings, guest: Guest, state: str | None = None, pid: int | None = PID, **record: Any) -> None:
        path = qemu.files(around.rundir, guest)
        os.makedirs(path["io"], exist_ok=True)
        host_key.make(path["key"])
        key = archive(around, guest)[0]
        Path(path["state"]).write_text(f"boot x\nconfigured {key}\nbooted 1\n" if state is None else state)
        plugs = [[nic.switch, nic.port, nic.substrate] for nic in guest.nics]
        argv = tuple(qemu.command(around.rundir, guest, around.machines[guest.image]))
        process = Process(pid or PID, 1, "b", argv)
        content = {"name": guest.name, "process": process.to_record(), "config_key": key, "plugs": plugs, "wanted": "started"}
        write_json(path["record"], {**content, **record})
        if pid:
            living[guest.id] = process

    return make


def verdict(job: Job) -> tuple[str, str]:
    return job.action, job.reason


def test_one_that_runs_as_wanted_is_left_alone(
    around: Surroundings, make_guest: Callable[..., Guest], running: Callable[..., None]
) -> None:
    running(around, make_guest(interfaces=2))
    job = compare(around, make_guest(interfaces=2), PORTS)
    assert verdict(job) == ("none", "")
    assert job.process is not None


def test_one_that_is_not_there(around: Surroundings, make_guest: Callable[..., Guest]) -> None:
    assert verdict(compare(around, make_guest(), {})) == ("start", "not there")


@pytest.mark.parametrize(("wanted", "reason"), [("started", "dead"), ("stopped", "stopped")])
def test_one_that_does_not_run(
    around: Surroundings, make_guest: Callable[..., Guest], running: Callable[..., None], wanted: str, reason: str
) -> None:
    running(around, make_guest(), pid=None, wanted=wanted)
    assert verdict(compare(around, make_guest(), PORTS)) == ("start", reason)


@pytest.mark.parametrize("change", [{"memory": 256}, {"cpus": 2}, {"interfaces": 2}, {"control": CONTROL}])
def test_another_machine(
    around: Surroundings, make_guest: Callable[..., Guest], running: Callable[..., None], change: dict[str, Any]
) -> None:
    running(around, make_guest())
    assert verdict(compare(around, make_guest(**change), PORTS)) == ("start", "changed")


@pytest.mark.parametrize("change", [{"accelerator": "kvm"}, {"kernel": "/other"}, {"append": "x"}])
def test_another_image_or_accelerator(
    around: Surroundings, make_guest: Callable[..., Guest], running: Callable[..., None], change: dict[str, str]
) -> None:
    running(around, make_guest())
    machines = {"tiny": dataclasses.replace(around.machines["tiny"], **change)}
    assert verdict(compare(dataclasses.replace(around, machines=machines), make_guest(), PORTS)) == ("start", "changed")


@pytest.mark.parametrize("change", [{"start_command": "true"}, {"plain_names": {"a": "lan0"}}, {"unreachable": ["10.0.0.0/8"]}])
def test_another_configuration(
    around: Surroundings, make_guest: Callable[..., Guest], running: Callable[..., None], change: dict[str, Any]
) -> None:
    running(around, make_guest())
    other = make_guest(**change)
    if change == {"plain_names": {"a": "lan0"}}:
        # Says what holds anyway: the first interface of a is on lan0.
        assert verdict(compare(around, other, PORTS)) == ("none", "")
        return
    assert verdict(compare(around, other, PORTS)) == ("reconfigure", "configuration changed")


def test_hosts_and_keys_are_part_of_the_configuration(
    around: Surroundings, make_guest: Callable[..., Guest], running: Callable[..., None]
) -> None:
    running(around, make_guest())
    for change in ({"hosts": []}, {"authorized_keys": ""}, {"resolver": "nameserver 192.0.2.1\n"}):
        assert verdict(compare(dataclasses.replace(around, **change), make_guest(), PORTS)) == ("reconfigure", "configuration changed")


def test_one_that_rebooted_with_what_it_found_at_its_launch(
    around: Surroundings, make_guest: Callable[..., Guest], running: Callable[..., None]
) -> None:
    running(around, make_guest(), state="boot x\nconfigured new\nbooted 1\nboot x\nconfigured old\nbooted 1\n")
    assert verdict(compare(around, make_guest(), PORTS)) == ("reconfigure", "it rebooted with an older configuration")


def test_one_that_changed_while_booting(around: Surroundings, make_guest: Callable[..., Guest], running: Callable[..., None]) -> None:
    running(around, make_guest(), state="boot x\n")
    assert verdict(compare(around, make_guest(), PORTS)) == ("none", "")
    assert verdict(compare(around, make_guest(start_command="true"), PORTS)) == ("start", "changed while booting")


@pytest.mark.parametrize(
    ("ports", "reason"),
    [
        ({}, "unplugged from lan0, lan0"),
        ({"lan0": {1: PID}}, "unplugged from lan0"),
        ({"lan0": {1: PID, 3: PID + 1}}, "unplugged from lan0"),
    ],
)
def test_one_that_is_unplugged(
    around: Surroundings, make_guest: Callable[..., Guest], running: Callable[..., None], ports: dict[str, dict[int, int]], reason: str
) -> None:
    running(around, make_guest(interfaces=2))
    assert verdict(compare(around, make_guest(interfaces=2), ports)) == ("replug", reason)


def test_one_that_is_unplugged_and_configured_anew(
    around: Surroundings, make_guest: Callable[..., Guest], running: Callable[..., None]
) -> None:
    running(around, make_guest(interfaces=2))
    job = compare(around, make_guest(interfaces=2, start_command="true"), {"lan0": {1: PID}})
    assert verdict(job) == ("reconfigure", "configuration changed")
    assert job.loose == [1]


def test_one_without_its_host_key(around: Surroundings, make_guest: Callable[..., Guest], running: Callable[..., None]) -> None:
    running(around, make_guest())
    os.unlink(qemu.files(around.rundir, make_guest())["key"])
    assert verdict(compare(around, make_guest(), PORTS)) == ("start", "its host key is gone")


def test_the_control_interface(
    around: Surroundings, make_guest: Callable[..., Guest], running: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    around, guest = dataclasses.replace(around, control=NET), make_guest(control=CONTROL)
    running(around, guest)
    assert verdict(compare(around, guest, PORTS)) == ("start", "its control interface is gone")
    monkeypatch.setattr(host_links, "exists", lambda name: True)
    monkeypatch.setattr(host_links, "is_attached", lambda name, bridge: True)
    assert verdict(compare(around, guest, PORTS)) == ("none", "")
    monkeypatch.setattr(host_links, "is_attached", lambda name, bridge: False)
    assert verdict(compare(around, guest, PORTS)) == ("reattach", "its control interface is not where it should be")


def test_a_check_run_says_what_would_be_done_and_does_nothing(
    around: Surroundings, make_guest: Callable[..., Guest], running: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("launch", "halt", "reconfigure", "mark_stopped", "discard"):
        monkeypatch.setattr(batch, name, lambda *dummy: pytest.fail("touched something"))
    running(around, make_guest("same", interfaces=0))
    running(around, make_guest("other", interfaces=0, memory=64))
    wanted = [make_guest(name, interfaces=0) for name in ("same", "other", "new")]
    said = batch.started(around, wanted, PACE, check=True)
    assert [(r["name"], r["action"], r["reason"], r["changed"]) for r in said] == [
        ("same", "none", "", False),
        ("other", "start", "changed", True),
        ("new", "start", "not there", True),
    ]
    said = batch.started(around, wanted, PACE, check=True, restart=True)
    assert [(r["action"], r["reason"]) for r in said] == [("start", "restart asked for"), ("start", "changed"), ("start", "not there")]
    before = read_json(qemu.files(around.rundir, wanted[0])["record"])
    assert [r["action"] for r in batch.stopped(around.rundir, wanted, PACE, check=True)] == ["stop", "stop", "none"]
    assert [r["action"] for r in batch.absent(around.rundir, ["same", "new"], check=True)] == ["remove", "none"]
    assert read_json(qemu.files(around.rundir, wanted[0])["record"]) == before


def test_memory_that_is_not_there_is_refused_with_the_numbers(around: Surroundings, make_guest: Callable[..., Guest]) -> None:
    jobs = [Job(make_guest(memory=1 << 20), "start") for dummy in range(4)]
    with pytest.raises(ProcessError, match=r"the guests to start need 4194304 MB of memory and this host has \d+ MB free"):
        batch.refuse_too_much(jobs)
    with pytest.raises(ProcessError):
        batch.started(around, [make_guest(memory=1 << 20)] * 4, PACE, check=False)
    batch.refuse_too_much([Job(make_guest(memory=1 << 20), "none")] * 4)


def test_a_changed_guest_gives_its_memory_back_first(
    around: Surroundings, make_guest: Callable[..., Guest], running: Callable[..., None]
) -> None:
    guests = [make_guest(f"n-{i}", memory=1 << 20) for i in range(4)]
    for guest in guests:
        running(around, guest)
    changed = [dataclasses.replace(guest, cpus=2) for guest in guests]
    batch.refuse_too_much([compare(around, guest, PORTS) for guest in changed])


def test_one_that_grows_beyond_the_host_is_refused_before_it_is_stopped(
    around: Surroundings, make_guest: Callable[..., Guest], running: Callable[..., None]
) -> None:
    running(around, make_guest(memory=128))
    grown = compare(around, dataclasses.replace(make_guest(memory=128), memory=1 << 20), PORTS)
    assert (grown.action, grown.process is None) == ("start", False)
    with pytest.raises(ProcessError, match="MB of memory"):
        batch.refuse_too_much([grown])


def test_two_guests_that_would_take_each_others_place_are_refused(make_guest: Callable[..., Guest]) -> None:
    assert batch.distinct([make_guest("a"), make_guest("b")])
    with pytest.raises(HostError, match="id a"):
        batch.distinct([make_guest("a"), make_guest("a")])


@pytest.mark.parametrize(("wish", "failed"), [("fatal", True), ("nonfatal", False), ("ignore", False)])
def test_a_failure_is_reported_and_fatal_where_it_is_wished(
    around: Surroundings, make_guest: Callable[..., Guest], wish: str, failed: bool
) -> None:
    job = Job(make_guest(failure_action=wish), "start", "dead", failure="silent\n    | last words")
    said = batch.result(around.rundir, job, {})
    assert (said["failed"], said["msg"], said["detail"]) == (failed, "silent\n    | last words", "silent")


def test_a_repair_that_fails_is_a_failure_of_that_guest_alone(
    around: Surroundings, make_guest: Callable[..., Guest], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(dummy: object, guest: Guest, index: int) -> None:
        if guest.name == "a":
            raise QmpError("netdev_add: no switch")

    monkeypatch.setattr(qemu, "replug", refuse)
    jobs = [Job(make_guest(name), "replug", loose=[0]) for name in ("a", "b")]
    for job in jobs:
        batch.repair(around, job)
    assert [job.failure for job in jobs] == ["netdev_add: no switch", ""]


@pytest.fixture
def sleeping(rundir: RunDir) -> Callable[..., Process]:
    """Start a process that stands in for a guest's QEMU, with a record and a state file."""

    def start(id_: str = "n-0", state: str = "") -> Process:
        home = rundir.guest(id_)
        os.makedirs(f"{home}/io", exist_ok=True)
        process = spawn(["sh", "-c", f"sleep 300; : {home}/"], mark=rundir.mark, log=f"{home}/qemu.log")
        write_json(f"{home}/launch.json", {"name": id_, "process": process.to_record(), "wanted": "started"})
        Path(f"{home}/io/state").write_text(state)
        return process

    return start


@pytest.mark.parametrize(
    ("state", "settled", "failure"),
    [
        ("", False, ""),
        ("boot x\n", False, ""),
        ("boot x\nboot x\n", False, ""),
        ("boot x\nconfigured k\nbooted 1\n", True, ""),
        ("boot x\nerror no eth1\n", False, ""),
        ("boot x\nerror no eth1\nbooted 1\n", True, "misconfigured: no eth1"),
        ("boot x\nconfigured k\nbooted 1\nerror mount /proj\n", True, ""),
        ("boot x\nboot x\nboot x\n", True, "crashed: it rebooted 2 times"),
    ],
)
def test_whether_a_guest_has_settled(
    around: Surroundings, make_guest: Callable[..., Guest], sleeping: Callable[..., Process], state: str, settled: bool, failure: str
) -> None:
    job = Job(make_guest(), "start", process=sleeping(state=state), since=batch.time.monotonic())
    assert batch.settled(around.rundir, job, PACE) is settled
    assert job.failure.splitlines()[:1] == ([failure] if failure else [])


def test_a_guest_that_takes_too_long(around: Surroundings, make_guest: Callable[..., Guest], sleeping: Callable[..., Process]) -> None:
    job = Job(make_guest(), "start", process=sleeping(state="boot x\n"), since=batch.time.monotonic() - 21)
    assert batch.settled(around.rundir, job, PACE)
    assert job.failure.startswith("its agent started but did not finish within 20 s")


def test_a_guest_that_panics(around: Surroundings, make_guest: Callable[..., Guest], sleeping: Callable[..., Process]) -> None:
    job = Job(make_guest(), "start", process=sleeping(), since=batch.time.monotonic())
    Path(qemu.files(around.rundir, job.guest)["console_log"]).write_text("Kernel panic - no init\n")
    assert batch.settled(around.rundir, job, PACE)
    assert job.failure.startswith("crashed: Kernel panic - no init")


def test_guests_are_stopped(around: Surroundings, make_guest: Callable[..., Guest], sleeping: Callable[..., Process]) -> None:
    process = sleeping()
    guests = [make_guest(), make_guest("never")]
    said = batch.stopped(around.rundir, guests, Pace(window=1, stop_timeout=0.1), check=False)
    assert [(r["name"], r["state"], r["action"], r["changed"]) for r in said] == [
        ("n-0", "stopped", "stop", True),
        ("never", "absent", "none", False),
    ]
    assert not alive(process)
    again = batch.stopped(around.rundir, guests, PACE, check=False)
    assert [(r["state"], r["changed"]) for r in again] == [("stopped", False), ("absent", False)]


def test_a_check_run_of_stopping_makes_no_false_remarks(
    around: Surroundings, make_guest: Callable[..., Guest], sleeping: Callable[..., Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    process = sleeping(state="boot x\nbooted 1\n")
    path = f"{around.rundir.guest('n-0')}/launch.json"
    write_json(path, {**read_json(path), "plugs": [["lan0", 1, "lan0"]], "config_key": ""})
    monkeypatch.setattr(batch, "plugged", lambda dummy: {"lan0": {1: process.pid}})
    [said] = batch.stopped(around.rundir, [make_guest()], PACE, check=True)
    assert said["detail"] == ""


def test_guests_are_removed(rundir: RunDir, sleeping: Callable[..., Process]) -> None:
    process, other = sleeping("n-0"), sleeping("n-1")
    said = batch.absent(rundir, ["n-0", "never"], check=False)
    assert [(r["name"], r["state"], r["action"], r["changed"]) for r in said] == [
        ("n-0", "absent", "remove", True),
        ("never", "absent", "none", False),
    ]
    assert not alive(process)
    assert alive(other)
    assert os.listdir(f"{rundir.path}/guests") == ["n-1"]


def agents(monkeypatch: pytest.MonkeyPatch, launched: list[str], state: Callable[[str], str]) -> None:
    """Launch the real QEMU and write into each state file what its agent would."""
    launch = batch.launch

    def with_agent(around: Surroundings, guest: Guest, **more: Any) -> Process:
        process = launch(around, guest, **more)
        launched.append(guest.name)
        path = qemu.files(around.rundir, guest)
        key = read_json(path["record"])["config_key"]
        text = state(guest.name).format(key=key)

        def speak() -> None:
            # The file is QEMU's to make: made by somebody else before, it could not open it.
            while not os.path.exists(path["state"]) and look(process.pid):
                time.sleep(0.01)
            with open(path["state"], "a") as file:
                file.write(text)

        threading.Timer(0.1, speak).start()
        return process

    monkeypatch.setattr(batch, "launch", with_agent)


@pytest.fixture
def lan(around: Surroundings, root_user: None, account: str) -> Surroundings:
    vde.start(around.rundir, vde.Switch("lan0", "lan0", 32))
    return around


def plugged_into(make_guest: Callable[..., Guest], name: str, port: int, **more: Any) -> Guest:
    guest = make_guest(name, memory=64, **more)
    return dataclasses.replace(guest, nics=tuple(dataclasses.replace(nic, port=port) for nic in guest.nics))


def test_a_batch_with_the_real_qemu(lan: Surroundings, make_guest: Callable[..., Guest], monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[str] = []
    booted = "boot x\nconfigured {key}\nbooted 1.5\n"
    agents(monkeypatch, launched, lambda name: "boot x\nerror bad\nbooted 1\n" if name == "bad" else booted + "start-command exit 0\n")
    said: list[str] = []
    pace = dataclasses.replace(PACE, progress=said.append)
    wanted = [plugged_into(make_guest, name, port + 1, start_command="true") for port, name in enumerate(["a", "bad", "c"])]

    first = {r["name"]: r for r in batch.started(lan, wanted, pace, check=False)}
    assert launched == ["a", "bad", "c"]
    assert {name: (r["state"], r["action"], r.get("failed", False)) for name, r in first.items()} == {
        "a": ("booted", "start", False),
        "bad": ("booted", "start", True),
        "c": ("booted", "start", False),
    }, first
    assert first["bad"]["msg"].startswith("misconfigured: bad")
    assert (first["a"]["exit_status"], first["a"]["detail"]) == (0, "")
    # The stand-ins may have spoken before the first line; two were launched by then, never three.
    assert re.match(r"[0-2] of 3 up(, booting (a|bad|a, bad))?, 1 to start", said[0])
    pids = {name: r["pid"] for name, r in first.items()}
    assert vde.endpoints(lan.rundir, "lan0") == {1: pids["a"], 2: pids["bad"], 3: pids["c"]}

    # Again: what is up is not touched.
    good = [wanted[0], wanted[2]]
    again = batch.started(lan, good, pace, check=False)
    assert [(r["action"], r["pid"]) for r in again] == [("none", pids["a"]), ("none", pids["c"])]

    # One dies, the switch is replaced: one starts, the other is plugged in again.
    os.kill(pids["a"], 9)
    vde.start(lan.rundir, vde.Switch("lan0", "lan0", 32))
    mended = batch.started(lan, good, pace, check=False)
    assert [(r["action"], r["reason"], r["state"], r["detail"]) for r in mended] == [
        ("start", "dead", "booted", ""),
        ("replug", "unplugged from lan0", "booted", ""),
    ]
    assert mended[1]["pid"] == pids["c"]
    assert launched == ["a", "bad", "c", "a"]


def test_one_that_cannot_be_launched_does_not_hide_the_others(
    lan: Surroundings, make_guest: Callable[..., Guest], monkeypatch: pytest.MonkeyPatch
) -> None:
    agents(monkeypatch, [], lambda name: "boot x\nconfigured {key}\nbooted 1\n")
    launch = batch.launch

    def refuse_one(around: Surroundings, guest: Guest, **more: Any) -> Process:
        if guest.name == "a":
            raise ProcessError("cannot start qemu-system-x86_64")
        return launch(around, guest, **more)

    monkeypatch.setattr(batch, "launch", refuse_one)
    said = batch.started(lan, [plugged_into(make_guest, name, port) for port, name in ((1, "a"), (2, "b"))], PACE, check=False)
    assert [(r["name"], r["state"]) for r in said] == [("a", "absent"), ("b", "booted")]
    assert said[0]["msg"] == "never started: cannot start qemu-system-x86_64"
    assert "failed" not in said[1]


def test_no_more_than_the_window_boot_at_a_time(
    around: Surroundings, make_guest: Callable[..., Guest], sleeping: Callable[..., Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    booting: set[str] = set()
    most = []

    def launch(dummy: Surroundings, guest: Guest, **more: Any) -> Process:
        booting.add(guest.id)
        most.append(len(booting))
        return sleeping(guest.id)

    def settled(dummy: RunDir, job: Job, pace: Pace) -> bool:
        # As if one of them were up at each look.
        if min(booting) != job.guest.id:
            return False
        booting.remove(job.guest.id)
        return True

    monkeypatch.setattr(batch, "launch", launch)
    monkeypatch.setattr(batch, "settled", settled)
    jobs = [Job(make_guest(f"n-{i}"), "start") for i in range(7)]
    with Stock(around.rundir, around.templates, around.machines, "cold", 1) as stock:
        batch.boot(around, list(jobs), [], jobs, Pace(window=3), stock)
    assert len(most) == 7
    assert max(most) == 3


def test_one_that_an_interrupted_run_left_booting_is_waited_for(
    around: Surroundings, make_guest: Callable[..., Guest], running: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = make_guest(interfaces=0)
    running(around, guest, state="boot x\n")
    monkeypatch.setattr(batch, "launch", lambda *dummy, **more: pytest.fail("launched it again"))
    path = qemu.files(around.rundir, guest)

    def speak() -> None:
        with open(path["state"], "a") as file:
            file.write("configured k\nbooted 1\n")

    threading.Timer(0.2, speak).start()
    [said] = batch.started(around, [guest], PACE, check=False)
    assert (said["action"], said.get("failed", False)) == ("none", False)
    assert "booted" in Path(path["state"]).read_text()


def test_restarting_what_has_not_booted(
    lan: Surroundings, make_guest: Callable[..., Guest], sleeping: Callable[..., Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [plugged_into(make_guest, name, port) for port, name in ((1, "a"), (2, "b"))]
    silent, pace = dataclasses.replace(PACE, boot_timeout=0.1), PACE
    launched: list[str] = []
    batch.started(lan, wanted, silent, check=False)
    agents(monkeypatch, launched, lambda name: "boot x\nconfigured {key}\nbooted 1\n")
    said = batch.started(lan, wanted, pace, check=False, restart=True)
    assert launched == ["a", "b"]
    assert [(r["state"], r.get("failed", False), r.get("msg", "")) for r in said] == [("booted", False, "")] * 2


@pytest.mark.parametrize(("state", "status"), [("start-command exit 3\n", 3), ("start-command running\n", "running")])
def test_start_commands_are_given_a_moment(
    around: Surroundings, make_guest: Callable[..., Guest], sleeping: Callable[..., Process], state: str, status: object
) -> None:
    guest = make_guest(start_command="x")
    job = Job(guest, "start", process=sleeping(state=f"boot x\nbooted 1\n{state}"))
    said: list[str] = []
    batch.await_commands(around.rundir, [job], Pace(window=1, command_wait=0.2, progress=said.append))
    assert said == ([] if isinstance(status, int) else ["waiting for 1 start commands"] * len(said))
    assert bool(said) is not isinstance(status, int)
    assert batch.result(around.rundir, job, {})["exit_status"] == status


@pytest.mark.parametrize("given", ["192.0.2.7", ""])
def test_addresses_of_the_labs_server_are_waited_for(
    around: Surroundings, make_guest: Callable[..., Guest], sleeping: Callable[..., Process], given: str
) -> None:
    guest = make_guest(control={"mac": "02:00:00:00:00:99", "address": "", "tap": "bntap"})
    job = Job(guest, "start", process=sleeping(state="boot x\nbooted 1\n" + (f"control-address {given}\n" if given else "")))
    said: list[str] = []
    batch.await_addresses(around.rundir, [job], Pace(window=1, address_wait=0.2, progress=said.append))
    assert bool(said) is not bool(given)
    assert batch.result(around.rundir, job, {}).get("control_address", "") == given


def test_nobody_waits_for_the_command_of_a_dead_guest(
    around: Surroundings, make_guest: Callable[..., Guest], sleeping: Callable[..., Process]
) -> None:
    process = sleeping(state="boot x\nbooted 1\nstart-command running\n")
    os.kill(process.pid, 9)
    said: list[str] = []
    job = Job(make_guest(start_command="x"), "start", process=process)
    while process_of(around.rundir, "n-0"):
        pass
    batch.await_commands(around.rundir, [job], Pace(window=1, command_wait=30, progress=said.append))
    assert said == []


def test_the_window_follows_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, window in ((None, 2), (1, 2), (8, 16)):
        monkeypatch.setattr(batch.os, "cpu_count", lambda cores=cores: cores)
        assert batch.default_window() == window

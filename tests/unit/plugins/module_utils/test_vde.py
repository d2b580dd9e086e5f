# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real switches: started, asked, mended and removed."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import processes, service_ids, vde
from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.id_ranges import id_range
from ansible_collections.benito.testbed.plugins.module_utils.processes import Process, ProcessError, alive, look
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir, read_json, write_json
from ansible_collections.benito.testbed.plugins.module_utils.vde import (
    Switch,
    absent,
    endpoints,
    halt,
    known,
    needs,
    present,
    running,
    start,
    state,
)

pytestmark = pytest.mark.usefixtures("unprivileged")

LAN = Switch("lan0", "lan0", 8)
LONG = Switch("a-substrate-with-a-long-name", "a-substrate-12345678", 4)


def wait_until(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.01)


def pid_of(rundir: RunDir, id_: str) -> int:
    process = running(rundir, id_)
    assert process is not None
    return process.pid


def test_a_switch_is_started_and_known(rundir: RunDir) -> None:
    start(rundir, LAN)
    assert needs(rundir, LAN) is None
    assert known(rundir) == ["lan0"]
    assert state(rundir, "lan0") == {"name": "lan0", "id": "lan0", "state": "running", "pid": pid_of(rundir, "lan0"), "plugged": []}
    assert "8" in look(pid_of(rundir, "lan0")).argv


def test_it_is_the_service_accounts(rundir: RunDir, account: str, root_user: None) -> None:
    start(rundir, LAN)
    owner = id_range(rundir).service
    home = f"{rundir.switch('lan0')}/io"
    assert os.stat(f"/proc/{pid_of(rundir, 'lan0')}").st_uid == owner
    assert {os.stat(f"{home}/{name}").st_uid for name in (".", "ctl", "mgmt")} == {owner}
    # Nobody else comes further than this, so what is inside may be open.
    assert (os.stat(home).st_mode & 0o777, os.stat(home).st_gid) == (0o700, owner)
    # Cables come in as the account.
    vde.let_cables_in(rundir, {"lan0"})
    assert (os.stat(home).st_mode & 0o777, os.stat(home).st_gid) == (0o710, pwd.getpwnam(account).pw_gid)
    # Those of a switch that is started anew find it again.
    start(rundir, LAN)
    assert (os.stat(home).st_mode & 0o777, os.stat(home).st_gid) == (0o710, pwd.getpwnam(account).pw_gid)
    vde.let_cables_in(rundir, {"another"})
    assert (os.stat(home).st_mode & 0o777, os.stat(home).st_gid) == (0o700, owner)
    # It exists a moment before it is closed to others as well.
    wait_until(lambda: os.stat(f"{home}/mgmt").st_mode & 0o077 == 0)
    assert os.stat(vde.record_path(rundir, "lan0")).st_uid == 0


def test_it_has_as_many_ports_as_asked_for(rundir: RunDir) -> None:
    start(rundir, LAN)
    assert "Numports=8" in vde.ask(f"{rundir.switch('lan0')}/io/mgmt", "port/showinfo")


def test_who_is_plugged_in(rundir: RunDir) -> None:
    start(rundir, LAN)
    assert endpoints(rundir, "lan0") == {}
    assert endpoints(rundir, "lan1") == {}


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("", {}),
        (
            "Port 0001 untagged_vlan=0000 ACTIVE - Unnamed Allocatable\n  -- endpoint ID 0007 module unix prog   : QEMU PID=12 pid=4711\n",
            {1: 4711},
        ),
        ("Port 0003\n  -- endpoint ID 0007 module unix prog : x\nPort 0012\n -- endpoint ID 0009 module unix prog: qemu pid=5\n", {12: 5}),
        ("1000 Success\n\nPort\n", {}),
    ],
)
def test_answers_of_the_switch(rundir: RunDir, monkeypatch: pytest.MonkeyPatch, answer: str, wanted: dict[int, int]) -> None:
    monkeypatch.setattr(vde, "ask", lambda path, question: answer)
    assert endpoints(rundir, "lan0") == wanted


def test_a_switch_that_does_not_answer(rundir: RunDir) -> None:
    os.makedirs(f"{rundir.switch('lan0')}/io")
    path = f"{rundir.switch('lan0')}/io/mgmt"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with pytest.raises(OSError, match="timed out"):
            vde.ask(path, "port/print", patience=0.1)


def test_what_runs_as_wanted_is_left_alone(rundir: RunDir) -> None:
    first = present(rundir, [LAN, LONG], purge=False, check=False)
    assert [(r["name"], r["changed"], r["action"], r["reason"]) for r in first] == [
        ("lan0", True, "start", "not there"),
        (LONG.name, True, "start", "not there"),
    ]
    pids = [pid_of(rundir, s.id) for s in (LAN, LONG)]
    second = present(rundir, [LAN, LONG], purge=True, check=False)
    assert [(r["changed"], r["action"]) for r in second] == [(False, "none")] * 2
    assert pids == [pid_of(rundir, s.id) for s in (LAN, LONG)]


def test_one_that_died_is_started_again_and_the_other_is_not(rundir: RunDir) -> None:
    present(rundir, [LAN, LONG], purge=False, check=False)
    there, other = running(rundir, "lan0"), pid_of(rundir, LONG.id)
    os.kill(there.pid, signal.SIGKILL)
    wait_until(lambda: not alive(there))
    assert state(rundir, "lan0")["state"] == "dead"
    assert [r["reason"] for r in present(rundir, [LAN, LONG], purge=False, check=False)] == ["dead", ""]
    assert pid_of(rundir, "lan0") != there.pid
    assert pid_of(rundir, LONG.id) == other


def test_another_number_of_ports_is_a_change(rundir: RunDir) -> None:
    start(rundir, LAN)
    before = running(rundir, "lan0")
    wider = Switch("lan0", "lan0", 16)
    assert needs(rundir, wider) == "changed"
    assert [r["action"] for r in present(rundir, [wider], purge=False, check=False)] == ["start"]
    assert not alive(before)
    assert needs(rundir, wider) is None


def test_a_check_run_touches_nothing_and_says_what_would_be(rundir: RunDir) -> None:
    assert [r["reason"] for r in present(rundir, [LAN], purge=True, check=True)] == ["not there"]
    assert known(rundir) == []
    start(rundir, LAN)
    would = present(rundir, [LONG], purge=True, check=True)
    assert [(r["id"], r["action"]) for r in would] == [("lan0", "remove"), (LONG.id, "start")]
    assert absent(rundir, ["lan0"], check=True)[0]["changed"]
    assert known(rundir) == ["lan0"]
    assert running(rundir, "lan0")


def test_purge_removes_what_is_not_listed(rundir: RunDir) -> None:
    present(rundir, [LAN, LONG], purge=False, check=False)
    gone = running(rundir, "lan0")
    results = present(rundir, [LONG], purge=True, check=False)
    assert [(r["name"], r["action"]) for r in results] == [("lan0", "remove"), (LONG.name, "none")]
    assert not alive(gone)
    assert known(rundir) == [LONG.id]


def test_removal_twice(rundir: RunDir) -> None:
    start(rundir, LAN)
    process = running(rundir, "lan0")
    assert [(r["name"], r["action"]) for r in absent(rundir, ["lan0"], check=False)] == [("lan0", "remove")]
    assert not alive(process)
    assert os.listdir(f"{rundir.path}/switches") == []
    assert [(r["changed"], r["action"]) for r in absent(rundir, ["lan0"], check=False)] == [(False, "none")]


def test_one_whose_record_was_lost_is_stopped_too(rundir: RunDir) -> None:
    start(rundir, LAN)
    process = running(rundir, "lan0")
    os.unlink(vde.record_path(rundir, "lan0"))
    assert needs(rundir, LAN) == "not there"
    start(rundir, LAN)
    assert not alive(process)
    assert running(rundir, "lan0")


def test_a_record_of_another_process_harms_nobody(rundir: RunDir) -> None:
    start(rundir, LAN)
    with subprocess.Popen(["sleep", "300"]) as bystander:
        try:
            there = look(bystander.pid)
            write_json(
                vde.record_path(rundir, "lan0"), {"name": "lan0", "process": Process(there.pid, 1, there.boot, there.argv).to_record()}
            )
            assert needs(rundir, LAN) == "dead"
            assert halt(rundir, "lan0")
            assert bystander.poll() is None
        finally:
            bystander.kill()
    assert not list(processes.marked(rundir.mark, f"{rundir.path}/"))


def test_the_guests_that_are_plugged_in_outlive_their_switch(rundir: RunDir) -> None:
    start(rundir, LAN)
    guest = processes.spawn(["sh", "-c", f"sleep 300; : {rundir.switch('lan0')}/io/ctl"], mark=rundir.mark, log=f"{rundir.path}/log")
    os.unlink(vde.record_path(rundir, "lan0"))
    assert halt(rundir, "lan0")
    assert alive(guest)


def test_strays_go_before_their_switches_start_and_are_looked_for_once(rundir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    start(rundir, LAN)
    start(rundir, Switch("lan10", "lan10", 4))
    stray, other = running(rundir, "lan0"), running(rundir, "lan10")
    os.unlink(vde.record_path(rundir, "lan0"))
    looked = []
    monkeypatch.setattr(vde, "marked", lambda *words: looked.append(words) or processes.marked(*words))
    wanted = [LAN, *(Switch(f"lan{number}", f"lan{number}", 4) for number in range(10, 20))]
    results = present(rundir, wanted, purge=False, check=False)
    assert [result["action"] for result in results] == ["start", "none", *["start"] * 9]
    assert not alive(stray) and alive(other)
    assert len(looked) == 1
    assert sorted(p.pid for p in processes.marked(rundir.mark, f"{rundir.path}/")) == sorted(running(rundir, s.id).pid for s in wanted)
    assert not any(result["changed"] for result in present(rundir, wanted, purge=False, check=False))
    assert len(looked) == 1


def test_a_switch_that_is_known_is_halted_without_a_look_at_every_process(rundir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    start(rundir, LAN)
    monkeypatch.setattr(vde, "marked", lambda *words: pytest.fail("it looked"))
    assert halt(rundir, "lan0")


def test_a_socket_that_is_not_listened_at_yet_is_waited_for(tmp_path: Path) -> None:
    path = str(tmp_path / "mgmt")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        with pytest.raises(ConnectionRefusedError):
            vde.ask(path, "showinfo")

        def answer() -> None:
            time.sleep(0.2)
            server.listen()
            connection = server.accept()[0]
            with connection:
                connection.sendall(b"hello" + vde.PROMPT)
                assert connection.recv(100) == b"showinfo\n"
                connection.sendall(b"all is well" + vde.PROMPT)

        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(answer)
            assert "all is well" in vde.ask(path, "showinfo")
            done.result(5)


def test_a_switch_that_cannot_be_started_does_not_hide_the_others(rundir: RunDir) -> None:
    results = present(rundir, [Switch("broken", "broken", 0), LAN], purge=False, check=False)
    assert results[0]["failed"]
    assert "at least 1 port" in results[0]["msg"]
    assert "failed" not in results[1]
    assert running(rundir, "lan0")


def test_many_come_up_at_a_time_and_are_reported_in_their_order(rundir: RunDir) -> None:
    many = [Switch(f"lan-{number}", f"s{number}", 8) for number in range(50)]
    wanted = [*many[:20], Switch("broken", "broken", 0), *many[20:]]
    start(rundir, many[30])
    before = pid_of(rundir, "s30")
    results = present(rundir, wanted, purge=True, check=False)
    assert [r["name"] for r in results] == [switch.name for switch in wanted]
    assert [r["name"] for r in results if r.get("failed")] == ["broken"]
    assert [r["name"] for r in results if not r["changed"]] == ["lan-30"]
    assert pid_of(rundir, "s30") == before
    # Each one is a process of its own, which its record names and which answers for itself.
    assert len({pid_of(rundir, switch.id) for switch in many}) == 50
    for switch in many:
        process = running(rundir, switch.id)
        assert process is not None
        assert any(f"/switches/{switch.id}/" in word for word in process.argv)
        assert "\nNumports=8\n" in vde.ask(f"{rundir.switch(switch.id)}/io/mgmt", "port/showinfo")
    assert len([p for p in processes.marked(rundir.mark, f"{rundir.path}/") if p.argv[0] == vde.PROGRAM]) == 50
    again = present(rundir, many, purge=True, check=False)
    assert [(r["name"], r["changed"]) for r in again] == [("broken", True), *((switch.name, False) for switch in many)]


def test_two_of_one_id_are_refused(rundir: RunDir) -> None:
    with pytest.raises(HostError, match="the switch lan0 is listed twice"):
        present(rundir, [LAN, Switch("other", "lan0", 8)], purge=False, check=False)
    assert known(rundir) == []


def test_a_missing_program(rundir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vde, "PROGRAM", "vde_switch_that_is_not_there")
    with pytest.raises(ProcessError, match="vde_switch_that_is_not_there"):
        start(rundir, LAN)
    assert read_json(vde.record_path(rundir, "lan0")) == {}


def test_a_missing_account(rundir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_ids, "ACCOUNT", "no-such-account")
    assert present(rundir, [LAN], purge=False, check=False)[0]["failed"]


@pytest.mark.parametrize("id_", ["..", "../../../victim", "a/b", "", "a,b"])
def test_an_id_that_is_no_plain_name_is_refused(id_: str) -> None:
    with pytest.raises(HostError):
        Switch.from_options({"name": "lan0", "id": id_, "ports": 8})


def test_ids_that_look_like_records(rundir: RunDir) -> None:
    start(rundir, Switch("lan.json", "lan.json", 8))
    assert known(rundir) == ["lan.json"]


def test_plugged_ports_of_the_real_switch(rundir: RunDir) -> None:
    start(rundir, LAN)
    if not shutil.which("vde_plug"):
        pytest.skip("vde_plug is missing")
    with subprocess.Popen(["vde_plug", vde.control_directory(rundir, "lan0")], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        try:
            wait_until(lambda: endpoints(rundir, "lan0"))
            assert endpoints(rundir, "lan0") == {1: child.pid}
            assert state(rundir, "lan0")["plugged"] == [1]
        finally:
            child.kill()


def test_a_log_in_the_accounts_directory_is_no_way_to_other_files(rundir: RunDir) -> None:
    start(rundir, LAN)
    victim = Path(f"{rundir.root}/victim")
    victim.write_text("untouched")
    log = Path(f"{rundir.switch('lan0')}/switch.log")
    log.unlink()
    log.symlink_to(victim)
    start(rundir, LAN)
    assert victim.read_text() == "untouched"

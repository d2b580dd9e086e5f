# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one experiment's programs can reach of another's: real ones, of two experiments, and a stranger that has the ids of one."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pwd
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import cables, lifecycle, qemu, service_ids, shapers, sleeping, vde
from ansible_collections.benito.testbed.plugins.module_utils.accounts import Identity
from ansible_collections.benito.testbed.plugins.module_utils.guest import Guest
from ansible_collections.benito.testbed.plugins.module_utils.lifecycle import Surroundings
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir, own_directory, passage
from ansible_collections.benito.testbed.plugins.module_utils.service_ids import service, template_maker

pytestmark = pytest.mark.usefixtures("root_user", "account")

# One that everybody may run.
PYTHON = cables.python()
CONNECT = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"


@pytest.fixture
def other(root: str) -> RunDir:
    made = RunDir("lab", "other", "lab.other", root)
    made.create()
    return made


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, dummy, value in (line.partition(":") for line in lines)}


def may(ids: Identity, *argv: str) -> bool:
    """Tell whether a command ends well for a program with these ids, all it has: no rights of root's are left."""
    return subprocess.run([*ids.words, *argv], stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def running_guest(rundir: RunDir, around: Surroundings, guest: Guest, disk: str) -> int:
    """Start a switch and a machine of an experiment, and return the machine's pid."""
    here = dataclasses.replace(around, rundir=rundir, machines={"tiny": dataclasses.replace(around.machines["tiny"], disk=disk)})
    vde.start(rundir, vde.Switch("lan0", "lan0", 32))
    process, path = lifecycle.launch(here, guest), qemu.files(rundir, guest)
    with sleeping.monitor(path["qmp"], process, path["log"]) as qmp:
        qmp.execute("query-status")
    return process.pid


def test_machines_and_switches_of_two_experiments_are_strangers(
    rundir: RunDir, other: RunDir, around: Surroundings, make_guest: Callable[..., Guest], root: str
) -> None:
    disk, guest = f"{root}/disk.img", make_guest(memory=64)
    with open(disk, "wb") as file:
        file.truncate(1 << 20)
    os.chmod(disk, 0o644)
    ids = {}
    for each in (rundir, other):
        found = [status(running_guest(each, around, guest, disk)), status(vde.running(each, "lan0").pid)]  # type: ignore[union-attr]
        assert {facts["NoNewPrivs"] for facts in found} == {"1"}
        assert {facts["CapEff"] for facts in found} == {"0" * 16}
        [ids[each]] = {tuple(facts["Uid"].split() + facts["Gid"].split()) for facts in found}
        assert not {"0", str(pwd.getpwnam(service_ids.ACCOUNT).pw_gid)} & set(found[0]["Groups"].split())
    assert not set(ids[rundir]) & set(ids[other])
    mine, theirs = qemu.files(rundir, guest), qemu.files(other, guest)
    switch = f"{other.switch('lan0')}/io"
    for ids_of, path, right in ((service(other), theirs, True), (service(rundir), theirs, False), (service(rundir), mine, True)):
        assert may(ids_of, PYTHON, "-c", CONNECT, path["agent"]) == right
        for file in (path["disk"], path["config"], path["console_log"]):
            assert may(ids_of, "test", "-r", file) == right, file
        assert may(ids_of, "test", "-w", path["disk"]) == right
        # A private key of a guest is root's alone.
        assert not may(ids_of, "test", "-r", path["key"])
    for place in (f"{switch}/ctl/ctl", f"{switch}/mgmt"):
        assert may(service(other), PYTHON, "-c", CONNECT, place)
        assert not may(service(rundir), PYTHON, "-c", CONNECT, place)
    victim = lifecycle.process_of(other, guest.id)
    assert victim is not None
    assert not may(service(rundir), "kill", "-0", str(victim.pid))
    assert not may(service(rundir), "test", "-r", f"/proc/{victim.pid}/mem")


def test_the_account_of_the_cables_reaches_switches_with_cables_and_nothing_else(
    rundir: RunDir, around: Surroundings, make_guest: Callable[..., Guest], account: str
) -> None:
    guest = make_guest(memory=64)
    vde.start(rundir, vde.Switch("lan0", "lan0", 32))
    lifecycle.launch(around, guest)
    entry = pwd.getpwnam(account)
    gate = Identity(entry.pw_uid, entry.pw_gid)
    assert not may(gate, PYTHON, "-c", CONNECT, f"{rundir.switch('lan0')}/io/ctl/ctl")
    vde.let_cables_in(rundir, {"lan0"})
    assert may(gate, PYTHON, "-c", CONNECT, f"{rundir.switch('lan0')}/io/ctl/ctl")
    # What tells a switch to do things, and machines, are not the cables' business.
    assert not may(gate, PYTHON, "-c", CONNECT, f"{rundir.switch('lan0')}/io/mgmt")
    assert not may(gate, PYTHON, "-c", CONNECT, qemu.files(rundir, guest)["agent"])
    anybody = Identity(65532, 65532)
    assert not may(anybody, PYTHON, "-c", CONNECT, f"{rundir.switch('lan0')}/io/ctl/ctl")


def test_a_cable_of_the_account_carries_frames(rundir: RunDir, account: str) -> None:
    vde.start(rundir, vde.Switch("lan0", "lan0", 8))
    vde.let_cables_in(rundir, {"lan0"})
    entry = pwd.getpwnam(account)
    argv = [*Identity(entry.pw_uid, entry.pw_gid).words, "vde_plug", f"vde://{vde.control_directory(rundir, 'lan0')}[3]"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as plug, contextlib.ExitStack() as stack:
        stack.callback(plug.kill)
        while not vde.endpoints(rundir, "lan0"):
            assert plug.poll() is None
        assert vde.endpoints(rundir, "lan0") == {3: plug.pid}
        # And what the experiment itself plugs in hears it.
        with subprocess.Popen(
            [*service(rundir).words, "vde_plug", f"vde://{vde.control_directory(rundir, 'lan0')}[4]"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as own:
            stack.callback(own.kill)
            while 4 not in vde.endpoints(rundir, "lan0"):
                assert own.poll() is None
            frame = b"\xff" * 6 + b"\x02\0\0\0\0\x01" + b"\x08\0" + b"hello from the other side".ljust(50)
            for source, target in ((plug, own), (own, plug)):
                assert source.stdin is not None and target.stdout is not None
                source.stdin.write(len(frame).to_bytes(2, "big") + frame)
                source.stdin.flush()
                assert target.stdout.read(2 + len(frame))[2:] == frame
                plug.kill() if source is own else None


def test_shapers_run_as_the_experiment(rundir: RunDir) -> None:
    for name in ("lan0", "edge"):
        vde.start(rundir, vde.Switch(name, name, 8))
    options = {"name": "a:inf000", "id": "a.inf000", "edge": "edge", "edge_port": 2, "switch": "lan0", "port": 2}
    shapers.start(rundir, shapers.Shaper.from_options(options))
    found = [status(process.pid) for process in shapers.running(rundir, "a.inf000").values()]
    assert {(facts["Uid"].split()[1], facts["NoNewPrivs"]) for facts in found} == {(str(service(rundir).uid), "1")}


def test_what_becomes_everybodys_template_is_made_by_other_ids(rundir: RunDir, other: RunDir) -> None:
    ids = {service(rundir).uid, service(other).uid, template_maker(rundir).uid, template_maker(other).uid}
    assert len(ids) == 4


def test_what_ran_before_goes_on_as_it_was(rundir: RunDir, account: str) -> None:
    entry = pwd.getpwnam(account)
    passage(f"{rundir.path}/switches/empty")
    passage(f"{rundir.path}/switches/lan0")
    own_directory(f"{rundir.path}/switches/lan0/io", account)
    assert (service(rundir).uid, service(rundir).gid) == (entry.pw_uid, entry.pw_gid)
    vde.start(rundir, vde.Switch("lan0", "lan0", 8))
    vde.start(rundir, vde.Switch("lan1", "lan1", 8))
    assert {status(vde.running(rundir, name).pid)["Uid"].split()[0] for name in ("lan0", "lan1")} == {str(entry.pw_uid)}  # type: ignore[union-attr]
    for name in ("lan0", "lan1"):
        vde.halt(rundir, name)
    os.rmdir(f"{rundir.path}/switches/empty")
    assert service(rundir).uid != entry.pw_uid


def test_a_switch_with_the_modes_of_before_is_left_alone(rundir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    switch = vde.Switch("lan0", "lan0", 8)
    older = vde.earlier_command(rundir, switch)
    assert "0600" in older and "0666" not in older
    with monkeypatch.context() as patch:
        patch.setattr(vde, "command", lambda rundir, switch: older)
        vde.start(rundir, switch)
    assert vde.needs(rundir, switch) is None
    assert vde.needs(rundir, vde.Switch("lan0", "lan0", 9)) == "changed"


def test_shared_directories_are_opened_with_their_group(rundir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_ids, "group", {"kvm": 77, "benito-share": 78}.get)
    assert 77 in service(rundir).groups
    assert 78 not in service(rundir).groups
    assert 78 in service(rundir, shares=True).groups


def test_a_machine_with_a_writable_directory_makes_no_setuid_files(
    rundir: RunDir, around: Surroundings, make_guest: Callable[..., Guest], root: str
) -> None:
    vde.start(rundir, vde.Switch("lan0", "lan0", 32))
    filtered = []
    for number, writable in enumerate((True, False)):
        share = {"tag": "share0", "name": "/x", "path": root, "writable": writable}
        guest = make_guest(f"n-{number}", memory=64, shares=[share])
        nics = tuple(dataclasses.replace(nic, port=nic.port + number) for nic in guest.nics)
        process = lifecycle.launch(around, dataclasses.replace(guest, nics=nics))
        filtered.append(int(status(process.pid)["Seccomp_filters"]))
    # One more than QEMU's own.
    assert filtered[0] == filtered[1] + 1

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""One guest: launched with the real QEMU, told something new, stopped, removed. Its agent is played by the test."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import disks, host_links, lifecycle, qemu, vde
from ansible_collections.benito.testbed.plugins.module_utils.boot_state import read
from ansible_collections.benito.testbed.plugins.module_utils.guest import Guest
from ansible_collections.benito.testbed.plugins.module_utils.id_ranges import id_range
from ansible_collections.benito.testbed.plugins.module_utils.lifecycle import (
    Surroundings,
    archive,
    discard,
    halt,
    launch,
    mark_stopped,
    prepare,
    process_of,
    reconfigure,
)
from ansible_collections.benito.testbed.plugins.module_utils.processes import Process, ProcessError, alive, look, marked, spawn
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir, read_json, write_json

pytestmark = pytest.mark.usefixtures("root_user", "account")


def wait_until(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.01)


def mode_of(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.fixture
def guest(around: Surroundings, make_guest: Callable[..., Guest]) -> Guest:
    """A guest with one interface, and its switch."""
    vde.start(around.rundir, vde.Switch("lan0", "lan0", 32))
    return make_guest(memory=64)


class Agent:
    """The guest's end of its config port: it hears until ``until`` is met, then does ``then``."""

    def __init__(self, path: str, until: Callable[[bytes], object], then: Callable[[], None]) -> None:
        self.heard = b""
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        # As whom QEMU would: nobody else is spoken to.
        os.seteuid(os.stat(os.path.dirname(path)).st_uid)
        try:
            self.listener.listen()
        finally:
            os.seteuid(0)
        self.thread = threading.Thread(target=self._serve, args=(until, then), daemon=True)
        self.thread.start()

    def _serve(self, until: Callable[[bytes], object], then: Callable[[], None]) -> None:
        with contextlib.suppress(OSError):
            connection, dummy = self.listener.accept()
            with connection:
                while not until(self.heard):
                    piece = connection.recv(65536)
                    if not piece:
                        return
                    self.heard += piece
                then()
                connection.recv(1)


@pytest.fixture
def agent() -> Iterator[Callable[..., Agent]]:
    agents: list[Agent] = []

    def start(path: str, until: Callable[[bytes], object], then: Callable[[], None] = lambda: None) -> Agent:
        agents.append(Agent(path, until, then))
        return agents[-1]

    yield start
    for made in agents:
        with contextlib.suppress(OSError):
            made.listener.shutdown(socket.SHUT_RDWR)
        made.listener.close()
        made.thread.join(5)


@pytest.fixture
def sleeper(rundir: RunDir) -> Process:
    """A process that stands in for the QEMU of guest n-0, with its record."""
    home = rundir.guest("n-0")
    os.makedirs(f"{home}/io")
    process = spawn(["sh", "-c", f"sleep 300; : {home}/"], mark=rundir.mark, log=f"{home}/qemu.log")
    write_json(f"{home}/launch.json", {"name": "n-0", "process": process.to_record(), "wanted": "started"})
    return process


def test_preparation_makes_a_place_and_a_host_key_once(around: Surroundings, make_guest: Callable[..., Guest]) -> None:
    path = qemu.files(around.rundir, make_guest())
    public = prepare(around, make_guest())
    assert re.match(r"ssh-ed25519 \S+$", public)
    assert prepare(around, make_guest()) == public
    assert mode_of(path["key"]) == 0o600
    assert mode_of(path["home"]) == 0o711
    assert os.stat(path["home"]).st_uid == 0
    assert mode_of(path["io"]) == 0o700
    assert os.stat(path["io"]).st_uid == id_range(around.rundir).service


@pytest.mark.parametrize("umask", [0o077, 0o027])
def test_a_strict_umask_makes_no_difference(around: Surroundings, make_guest: Callable[..., Guest], umask: int) -> None:
    before = os.umask(umask)
    try:
        prepare(around, make_guest())
    finally:
        os.umask(before)
    assert mode_of(around.rundir.guest("n-0")) == 0o711


def test_the_configuration_is_for_qemu_and_nobody_else(root: str) -> None:
    lifecycle.write_config(f"{root}/config", b"secret", 90210)
    facts = os.stat(f"{root}/config")
    assert (facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)) == (0, 90210, 0o640)


def test_the_real_qemu_is_launched(around: Surroundings, guest: Guest) -> None:
    process = launch(around, guest)
    path = qemu.files(around.rundir, guest)
    assert process_of(around.rundir, guest.id) == process
    assert list(process.argv) == qemu.command(around.rundir, guest, around.machines["tiny"])
    wait_until(lambda: vde.endpoints(around.rundir, "lan0"))
    assert vde.endpoints(around.rundir, "lan0") == {1: process.pid}
    assert os.stat(f"/proc/{process.pid}").st_uid == id_range(around.rundir).service
    record = read_json(path["record"])
    assert record["plugs"] == [["lan0", 1, "lan0"]]
    assert record["config_key"] == archive(around, guest)[0]
    assert (record["name"], record["wanted"], record["tap"]) == ("n-0", "started", "")
    assert list(marked(around.rundir.mark, f"{path['home']}/")) == [process]


def test_launched_again_in_place_of_what_is_left(around: Surroundings, guest: Guest) -> None:
    first = launch(around, guest)
    key = read_json(qemu.files(around.rundir, guest)["record"])["ssh_host_key"]
    path = qemu.files(around.rundir, guest)
    Path(path["state"]).write_text("boot x\nbooted 1\n")
    second = launch(around, guest)
    assert not alive(first)
    assert alive(second)
    # What it said is not taken for what the new one says.
    assert not read(path["state"]).booted
    assert read_json(path["record"])["ssh_host_key"] == key
    # Its record was lost: found by its mark.
    os.unlink(path["record"])
    third = launch(around, guest)
    assert not alive(second)
    assert alive(third)


@pytest.fixture
def with_disk(around: Surroundings, root: str) -> Surroundings:
    """Surroundings whose image has a disk."""
    with open(f"{root}/disk.img", "wb") as file:
        file.truncate(100 << 20)
    os.chmod(f"{root}/disk.img", 0o644)
    machine = dataclasses.replace(around.machines["tiny"], disk=f"{root}/disk.img")
    return dataclasses.replace(around, machines={"tiny": machine})


def test_a_guests_disk_outlives_its_starts(with_disk: Surroundings, guest: Guest) -> None:
    path = qemu.files(with_disk.rundir, guest)
    process = launch(with_disk, guest)
    facts = os.stat(path["disk"])
    assert facts.st_uid == id_range(with_disk.rundir).service
    assert read_json(path["record"])["disk"]["path"] == with_disk.machines["tiny"].disk
    # All of the disk and no more can be written to, beside what a guest without one may write.
    limit = int(re.search(r"Max file size +([0-9]+)", Path(f"/proc/{process.pid}/limits").read_text())[1])
    assert lifecycle.LARGEST_LOG + (100 << 20) < limit < lifecycle.LARGEST_LOG + (110 << 20)
    launch(with_disk, guest)
    assert os.stat(path["disk"]).st_ino == facts.st_ino
    assert discard(with_disk.rundir, guest.id)
    assert not os.path.exists(path["disk"])


def test_another_disk_below_means_another_disk(with_disk: Surroundings, around: Surroundings, guest: Guest) -> None:
    path = qemu.files(with_disk.rundir, guest)
    image = Path(with_disk.machines["tiny"].disk)

    def is_new(number: int) -> bool:
        # A second name keeps the place of each on the host's disk from being used again.
        os.link(path["disk"], f"{with_disk.rundir.root}/{number}")
        return not any(os.path.samefile(path["disk"], f"{with_disk.rundir.root}/{earlier}") for earlier in range(number))

    launch(with_disk, guest)
    assert is_new(0)
    # Built anew in the same place.
    os.utime(image, ns=(1, 1))
    launch(with_disk, guest)
    assert is_new(1)
    # What it had over the other image is not there again when that one comes back.
    launch(around, guest)
    assert not os.path.exists(path["disk"])
    launch(with_disk, guest)
    assert is_new(2)
    # Whose disk it is nobody knows.
    os.unlink(path["record"])
    launch(with_disk, guest)
    assert is_new(3)


def test_a_link_in_place_of_the_disk_leads_nowhere(with_disk: Surroundings, guest: Guest, root: str) -> None:
    path = qemu.files(with_disk.rundir, guest)
    prepare(with_disk, guest)
    Path(f"{root}/victim").write_text("the host's own")
    os.symlink(f"{root}/victim", path["disk"])
    launch(with_disk, guest)
    assert Path(f"{root}/victim").read_text() == "the host's own"
    assert not os.path.islink(path["disk"])


def test_a_disk_that_is_not_there_is_named(with_disk: Surroundings, guest: Guest) -> None:
    os.unlink(with_disk.machines["tiny"].disk)
    with pytest.raises(ProcessError, match=r"the disk /.*/disk.img of its image cannot be used: No such file"):
        launch(with_disk, guest)


def test_a_disk_that_the_account_cannot_read_is_named(with_disk: Surroundings, guest: Guest) -> None:
    os.chmod(with_disk.machines["tiny"].disk, 0o600)
    with pytest.raises(ProcessError, match=r"its disk cannot be made: .*disk\.img.*Permission denied"):
        launch(with_disk, guest)


def test_a_qcow2_says_its_size_itself(with_disk: Surroundings, root: str) -> None:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", f"{root}/base.qcow2", "3G"], check=True)
    machine = dataclasses.replace(with_disk.machines["tiny"], disk=f"{root}/base.qcow2", disk_format="qcow2")
    assert 3 << 30 <= disks.most_written(machine) < 3.1 * (1 << 30)
    assert disks.most_written(dataclasses.replace(machine, disk="")) == 0


def test_a_guest_that_cannot_be_launched_leaves_no_record(around: Surroundings, guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(around, guest)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ProcessError, match="cannot start qemu-system-x86_64"):
        launch(around, guest)
    assert read_json(qemu.files(around.rundir, guest)["record"]) == {}


def test_the_control_interface_is_handed_to_qemu(
    around: Surroundings, make_guest: Callable[..., Guest], own_network: Callable, rundir: RunDir
) -> None:
    with_net = dataclasses.replace(around, control={"bridge": "bn0", "address": "172.20.5.1", "prefix": 24})
    guest = make_guest(interfaces=0, memory=64, control={"mac": "02:00:00:00:ff:01", "address": "172.20.5.2", "tap": "bntap"})

    def inside() -> None:
        host_links.add_bridge("bn0", "172.20.5.1/24", rundir.mark)
        process = launch(with_net, guest)
        assert host_links.master("bntap") == "bn0"
        assert "iff:\tbntap" in Path(f"/proc/{process.pid}/fdinfo/{host_links.TAP_HANDLE}").read_text()
        assert not os.path.exists(f"/proc/self/fd/{host_links.TAP_HANDLE}")
        assert read_json(qemu.files(rundir, guest)["record"])["tap"] == "bntap"
        wait_until(lambda: Path("/sys/class/net/bntap/carrier").read_text() == "1\n")
        assert discard(rundir, guest.id)
        assert not host_links.exists("bntap")

    own_network(inside)


def test_the_interface_of_somebody_else_is_not_removed(rundir: RunDir, sleeper: Process, own_network: Callable) -> None:
    record = f"{rundir.guest('n-0')}/launch.json"
    write_json(record, {**read_json(record), "tap": "bnforeign"})

    def inside() -> None:
        host_links.add_bridge("bnforeign", "172.20.5.1/24", "somebody else's mark")
        assert discard(rundir, "n-0")
        assert host_links.exists("bnforeign")

    own_network(inside)


def test_a_running_guest_takes_a_new_configuration(
    around: Surroundings, make_guest: Callable[..., Guest], sleeper: Process, agent: Callable[..., Agent]
) -> None:
    guest = make_guest()
    path = qemu.files(around.rundir, guest)
    prepare(around, guest)
    key, content = archive(around, guest)
    Path(path["state"]).write_text("boot x\nconfigured old\nbooted 1\n")

    def answer() -> None:
        with open(path["state"], "a") as file:
            file.write(f"configured {key}\n")

    wanted = b"config %d\n" % len(content) + content
    port = agent(path["agent"], lambda heard: len(heard) >= len(wanted), answer)
    reconfigure(around, guest)
    assert port.heard == wanted
    assert not os.path.exists(path["config"]), "QEMU would not look at it again"
    record = read_json(path["record"])
    assert record["config_key"] == key
    assert Process.from_record(record["process"]) == sleeper


def test_a_guest_that_refuses_its_configuration(
    around: Surroundings, make_guest: Callable[..., Guest], sleeper: Process, agent: Callable[..., Agent]
) -> None:
    guest = make_guest()
    path = qemu.files(around.rundir, guest)
    prepare(around, guest)
    Path(path["state"]).write_text("boot x\nconfigured old\nbooted 1\n")

    def answer() -> None:
        with open(path["state"], "a") as file:
            file.write("error no eth1\n")

    agent(path["agent"], lambda heard: b"\n" in heard, answer)
    with pytest.raises(ProcessError, match="it did not take its new configuration: no eth1"):
        reconfigure(around, guest)
    assert "config_key" not in read_json(path["record"])


def test_a_guest_that_does_not_answer(
    around: Surroundings, make_guest: Callable[..., Guest], sleeper: Process, agent: Callable[..., Agent]
) -> None:
    guest = make_guest()
    prepare(around, guest)
    with pytest.raises(ProcessError, match=r"it did not take its new configuration: .*No such file"):
        reconfigure(around, guest, patience=0.2)
    agent(qemu.files(around.rundir, guest)["agent"], lambda heard: False)
    with pytest.raises(ProcessError, match="no answer within 0 s"):
        reconfigure(around, guest, patience=0.2)


def test_after_a_refused_configuration_a_better_one_is_taken(
    around: Surroundings, make_guest: Callable[..., Guest], sleeper: Process, agent: Callable[..., Agent]
) -> None:
    guest = make_guest()
    path = qemu.files(around.rundir, guest)
    prepare(around, guest)
    key = archive(around, guest)[0]
    Path(path["state"]).write_text("boot x\nconfigured old\nbooted 1\nerror of an earlier attempt\n")

    def answer() -> None:
        time.sleep(0.3)
        with open(path["state"], "a") as file:
            file.write(f"configured {key}\n")

    agent(path["agent"], lambda heard: b"\n" in heard, answer)
    reconfigure(around, guest)
    assert read_json(path["record"])["config_key"] == key


def test_with_patience_a_guest_powers_off_by_itself(rundir: RunDir, sleeper: Process, agent: Callable[..., Agent]) -> None:
    port = agent(f"{rundir.guest('n-0')}/io/config", lambda heard: b"\n" in heard, lambda: os.kill(sleeper.pid, signal.SIGKILL))
    assert halt(rundir, "n-0", patience=20) is True
    assert port.heard == b"poweroff\n"
    assert not alive(sleeper)


def test_qemu_is_told_to_quit(rundir: RunDir, sleeper: Process, monitor: Callable) -> None:
    def quit_(message: dict[str, Any]) -> dict[str, Any]:
        os.kill(sleeper.pid, signal.SIGKILL)
        return {"return": {}}

    server = monitor(f"{rundir.guest('n-0')}/io/qmp", quit=quit_)
    assert halt(rundir, "n-0") is True
    assert [message["execute"] for message in server.heard] == ["qmp_capabilities", "quit"]
    assert not alive(sleeper)


def test_one_that_hears_nothing_is_stopped_all_the_same(rundir: RunDir, sleeper: Process, agent: Callable[..., Agent]) -> None:
    agent(f"{rundir.guest('n-0')}/io/config", lambda heard: False)
    assert halt(rundir, "n-0", patience=0.2) is True
    assert not alive(sleeper)
    assert halt(rundir, "n-0", patience=0.2) is False


def test_the_real_qemu_is_stopped_and_removed(around: Surroundings, guest: Guest) -> None:
    process = launch(around, guest)
    assert halt(around.rundir, guest.id, patience=0.2) is True
    assert not alive(process)
    again = launch(around, guest)
    assert discard(around.rundir, guest.id) is True
    assert not alive(again)
    assert not os.path.exists(around.rundir.guest(guest.id))
    assert discard(around.rundir, guest.id) is False


def test_a_guest_whose_record_was_lost_is_removed(rundir: RunDir, sleeper: Process) -> None:
    os.unlink(f"{rundir.guest('n-0')}/launch.json")
    assert process_of(rundir, "n-0") is None
    assert discard(rundir, "n-0") is True
    assert not alive(sleeper)


def test_a_record_of_a_pid_that_was_used_again_harms_nobody(rundir: RunDir) -> None:
    home = rundir.guest("n-0")
    os.makedirs(home)
    other = spawn(["sleep", "300"], mark=rundir.mark, log=f"{rundir.path}/log")
    write_json(f"{home}/launch.json", {"process": {**other.to_record(), "started": other.started - 1}})
    assert halt(rundir, "n-0") is False
    assert discard(rundir, "n-0") is True
    assert alive(other)


def test_it_is_remembered_that_somebody_wanted_it_down(rundir: RunDir, sleeper: Process) -> None:
    mark_stopped(rundir, "n-0")
    record = read_json(f"{rundir.guest('n-0')}/launch.json")
    assert record["wanted"] == "stopped"
    assert record["process"]["pid"] == sleeper.pid
    assert look(sleeper.pid)

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What root says to a socket is heard by the one that it is meant for: real switches and machines, and links in their place."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import lifecycle, qemu, vde
from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.guest import Guest
from ansible_collections.benito.testbed.plugins.module_utils.lifecycle import Surroundings
from ansible_collections.benito.testbed.plugins.module_utils.qmp import Qmp, QmpError
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir, own_directory
from ansible_collections.benito.testbed.plugins.module_utils.service_ids import service
from ansible_collections.benito.testbed.plugins.module_utils.unix_sockets import connect

pytestmark = pytest.mark.usefixtures("root_user", "account")


@pytest.fixture
def victim(root: str) -> RunDir:
    """Another experiment, with a switch."""
    made = RunDir("lab", "victim", "lab.victim", root)
    made.create()
    vde.start(made, vde.Switch("lan0", "lan0", 8))
    return made


def swap(path: str, target: str) -> None:
    """Put a link in the place of a socket, as the program may that owns the directory."""
    os.rename(path, f"{path}.own")
    os.symlink(target, path)


def test_a_switch_answers_for_itself_alone(rundir: RunDir, victim: RunDir) -> None:
    vde.start(rundir, vde.Switch("lan0", "lan0", 8))
    assert "Success" in vde.ask(f"{rundir.switch('lan0')}/io/mgmt", "port/print")
    swap(f"{rundir.switch('lan0')}/io/mgmt", f"{victim.switch('lan0')}/io/mgmt")
    with pytest.raises(PermissionError, match="and not as its owner"):
        vde.ask(f"{rundir.switch('lan0')}/io/mgmt", "port/remove 1")
    assert vde.endpoints(rundir, "lan0") == {}


def test_no_guest_gets_the_keys_of_another_experiment(
    rundir: RunDir, victim: RunDir, around: Surroundings, make_guest: Callable[..., Guest]
) -> None:
    guest = make_guest()
    for each in (rundir, victim):
        own_directory_of(each, guest)
    path, theirs = qemu.files(rundir, guest), qemu.files(victim, guest)
    lifecycle.prepare(around, guest)
    with listener(theirs["agent"], service(victim).uid) as agent, listener(theirs["qmp"], service(victim).uid):
        os.symlink(theirs["agent"], path["agent"])
        os.symlink(theirs["qmp"], path["qmp"])
        with pytest.raises(HostError, match=r"did not take its new configuration: .*not as its owner"):
            lifecycle.reconfigure(around, guest, patience=2)
        with pytest.raises(QmpError, match="not as its owner"):
            Qmp(path["qmp"], patience=2)
        agent.settimeout(2)
        connection, dummy = agent.accept()
        assert connection.recv(1 << 16) == b"", "not a word"
        connection.close()


def own_directory_of(rundir: RunDir, guest: Guest) -> None:
    os.makedirs(rundir.guest(guest.id))
    own_directory(qemu.files(rundir, guest)["io"], service(rundir))


def listener(path: str, uid: int) -> socket.socket:
    """Listen at a socket with the id of a program of an experiment."""
    made = socket.socket(socket.AF_UNIX)
    made.bind(path)
    os.seteuid(uid)
    try:
        made.listen()
    finally:
        os.seteuid(0)
    return made


def test_not_even_root_is_taken_for_the_owner(root: str) -> None:
    own_directory(f"{root}/io", "nobody")
    with listener(f"{root}/root", 0), socket.socket(socket.AF_UNIX) as connection:
        Path(f"{root}/io/qmp").symlink_to(f"{root}/root")
        with pytest.raises(PermissionError, match="runs as the id 0"):
            connect(connection, f"{root}/io/qmp")

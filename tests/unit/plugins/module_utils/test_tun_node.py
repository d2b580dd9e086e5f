# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may open the node of all TAPs: the service account while there is need, and afterwards whoever could before."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
from pathlib import Path

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import tun_node
from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir

pytestmark = pytest.mark.usefixtures("root_user")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_node_that_is_open_is_left_alone(rundir: RunDir, tun: Path) -> None:
    tun.chmod(0o666)
    before = tun.stat().st_ctime_ns
    tun_node.admit(rundir.root)
    assert tun.stat().st_ctime_ns == before
    assert not os.path.exists(f"{rundir.root}/tun.json")
    shutil.rmtree(rundir.path)
    assert not tun_node.restore(rundir.root)
    assert mode(tun) == 0o666


def test_a_closed_one_is_the_accounts_until_the_last_experiment_has_left(rundir: RunDir, tun: Path, account: str) -> None:
    tun.chmod(0o600)
    tun_node.admit(rundir.root)
    assert (mode(tun), tun.stat().st_gid) == (0o660, pwd.getpwnam(account).pw_gid)
    before = tun.stat().st_ctime_ns
    tun_node.admit(rundir.root)
    assert tun.stat().st_ctime_ns == before
    other = RunDir("lab", "other", "lab.other", rundir.root)
    other.create()
    shutil.rmtree(rundir.path)
    assert not tun_node.restore(rundir.root)
    assert mode(tun) == 0o660
    shutil.rmtree(other.path)
    assert tun_node.restore(rundir.root)
    assert (mode(tun), tun.stat().st_gid) == (0o600, 0)
    assert os.listdir(rundir.root) == []


def test_what_somebody_changed_since_stays(rundir: RunDir, tun: Path) -> None:
    tun.chmod(0o600)
    tun_node.admit(rundir.root)
    os.chown(tun, -1, grp.getgrnam("adm").gr_gid)
    tun.chmod(0o666)
    shutil.rmtree(rundir.path)
    assert tun_node.restore(rundir.root)
    assert (mode(tun), tun.stat().st_gid) == (0o666, grp.getgrnam("adm").gr_gid)
    assert os.listdir(rundir.root) == []


def test_a_node_that_is_gone_is_not_made(rundir: RunDir, tun: Path) -> None:
    tun.chmod(0o600)
    tun_node.admit(rundir.root)
    tun.unlink()
    shutil.rmtree(rundir.path)
    assert tun_node.restore(rundir.root)
    assert not tun.exists()


def test_one_that_cannot_be_changed_is_said(rundir: RunDir, tun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    tun.chmod(0o600)
    monkeypatch.setattr(tun_node.os, "chown", refuse)
    with pytest.raises(HostError, match=rf"may not open {tun}, nor can this be changed \(Operation not permitted\): give it mode 0666"):
        tun_node.admit(rundir.root)
    assert not os.path.exists(f"{rundir.root}/tun.json")
    assert mode(tun) == 0o600

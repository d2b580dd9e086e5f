# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of an experiment: whose it is, who may work on it, what is written into it and how."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.module_utils import locks, qemu, vde
from ansible_collections.benito.testbed.plugins.module_utils.guest import Guest
from ansible_collections.benito.testbed.plugins.module_utils.rundir import (
    LONGEST_ID,
    LONGEST_PART,
    LONGEST_ROOT,
    ROOT,
    RunDir,
    RunDirError,
    existing,
    own_directory,
    read_json,
    remove,
    write_file,
    write_json,
)

NAMES = {"project": "lab", "experiment": "demo", "id": "lab.demo"}
# VDE appends the name of the client's socket to the path of a switch.
VDE_SUFFIX = len("/.12345-00000")
LONGEST = 107


def mode_of(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def longest_socket(root: str) -> int:
    made = RunDir("p" * 64, "e" * 64, "i" * LONGEST_ID, root)
    guest = Guest.from_options({"name": "n" * 63, "id": "g" * LONGEST_PART})
    paths = [text for key, text in qemu.files(made, guest).items() if key in ("qmp", "agent", "console")]
    switch = vde.control_directory(made, "s" * LONGEST_PART)
    return max(map(len, [*paths, f"{made.switch('s' * LONGEST_PART)}/io/mgmt", switch + "x" * VDE_SUFFIX]))


def test_names_become_a_directory() -> None:
    made = RunDir.from_options(NAMES)
    assert made.path == "/var/lib/benito/lab.demo"
    assert made.mark == "/var/lib/benito:lab/demo"
    assert RunDir.from_options(NAMES, "/srv/b/") == RunDir("lab", "demo", "lab.demo", "/srv/b")


@pytest.mark.parametrize("key", sorted(NAMES))
@pytest.mark.parametrize("value", ["", ".", "..", ".hidden", "a/b", "../a", "a b", "a\n", "a,b", "-a", "é", "a" * 65])
def test_names_that_are_no_plain_names_are_refused(key: str, value: str) -> None:
    with pytest.raises(RunDirError, match=f"experiment.{key} must be"):
        RunDir.from_options({**NAMES, key: value})


@pytest.mark.parametrize("root", ["", "/", "relative", "/a,b", "/a b", "/a=b", "/a\n", "/a/../b", "/" + "a" * LONGEST_ROOT])
def test_roots_that_are_no_plain_paths_are_refused(root: str) -> None:
    with pytest.raises(RunDirError, match="root must be"):
        RunDir.from_options(NAMES, root)


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=12))
def test_no_name_leads_out_of_the_root(text: str) -> None:
    try:
        made = RunDir.from_options({**NAMES, "id": text})
    except RunDirError:
        return
    assert os.path.normpath(made.path) == made.path
    assert os.path.dirname(made.path) == ROOT


def test_paths_of_sockets_fit_under_the_default_root() -> None:
    assert longest_socket(ROOT) < 100


def test_paths_of_sockets_fit_under_the_longest_root() -> None:
    longest = "/" + "r" * (LONGEST_ROOT - 1)
    assert RunDir.from_options(NAMES, longest).root == longest
    assert longest_socket(longest) <= LONGEST


def test_an_id_that_makes_paths_too_long_is_refused() -> None:
    with pytest.raises(RunDirError):
        RunDir.from_options({**NAMES, "id": "i" * (LONGEST_ID + 1)})


def test_two_experiments_live_side_by_side(root: str) -> None:
    one, two = RunDir("lab", "one", "lab.one", root), RunDir("lab", "two", "lab.two", root)
    one.create()
    two.create()
    one.create()
    assert existing(root) == [one, two]
    with one.locked(patience=0), two.locked(patience=0):
        remove(one.path)
    assert existing(root) == [two]


def test_the_service_account_passes_through_and_sees_nothing(rundir: RunDir) -> None:
    for path in (rundir.root, rundir.path, f"{rundir.path}/switches", f"{rundir.path}/guests"):
        assert mode_of(path) == 0o711
    assert mode_of(f"{rundir.path}/experiment.json") == 0o600


def test_a_strict_umask_makes_no_difference(root: str) -> None:
    before = os.umask(0o077)
    try:
        RunDir("lab", "demo", "lab.demo", f"{root}/sub").create()
    finally:
        os.umask(before)
    assert [mode_of(f"{root}/{path}") for path in ("sub", "sub/lab.demo", "sub/lab.demo/guests")] == [0o711] * 3


@pytest.mark.parametrize("other", [("lab", "other"), ("other", "demo")])
def test_the_directory_of_another_experiment_is_refused(rundir: RunDir, other: tuple[str, str]) -> None:
    before = Path(f"{rundir.path}/experiment.json").read_bytes()
    intruder = RunDir(*other, rundir.id, rundir.root)
    with pytest.raises(RunDirError, match=f"{rundir.path} belongs to lab/demo"):
        intruder.create()
    with pytest.raises(RunDirError, match="belongs to"), intruder.locked(patience=0):
        pass
    assert Path(f"{rundir.path}/experiment.json").read_bytes() == before


def test_directories_without_a_record_and_files_are_no_experiments(rundir: RunDir) -> None:
    os.mkdir(f"{rundir.root}/something")
    write_json(f"{rundir.root}/accelerator.json", {"accelerator": "tcg"})
    assert existing(rundir.root) == [rundir]
    assert existing(f"{rundir.root}/nothing") == []


LOCKER = """
import sys
sys.path[:0] = {path!r}
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir, remove
made = RunDir("lab", "demo", "lab.demo", sys.argv[1])
with made.locked(patience=20):
    print("locked", flush=True)
    sys.stdin.readline()
    if sys.argv[2] == "remove":
        remove(made.path)
"""


@pytest.fixture
def locker(rundir: RunDir):
    """Start other processes that hold the lock until they are told to go on."""
    started = []

    def start(last_act: str = "") -> subprocess.Popen[str]:
        code = LOCKER.format(path=sys.path)
        child = subprocess.Popen(
            [sys.executable, "-c", code, rundir.root, last_act], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


def test_the_lock_excludes_another_process(rundir: RunDir, locker: Callable) -> None:
    other = locker()
    assert other.stdout.readline() == "locked\n"
    with pytest.raises(RunDirError, match="another run is working on lab/demo"), rundir.locked(patience=0.2):
        pass
    other.communicate("\n", timeout=10)
    with rundir.locked(patience=0):
        pass


def test_the_lock_is_given_back_by_an_error_and_by_a_killed_process(rundir: RunDir, locker: Callable) -> None:
    with pytest.raises(ZeroDivisionError), rundir.locked(patience=0):
        raise ZeroDivisionError
    with rundir.locked(patience=0):
        pass
    other = locker()
    assert other.stdout.readline() == "locked\n"
    other.kill()
    other.wait(10)
    with rundir.locked(patience=5):
        pass


def test_the_directory_is_removed_while_somebody_waits_for_the_lock(rundir: RunDir, locker: Callable) -> None:
    first = locker("remove")
    assert first.stdout.readline() == "locked\n"
    second = locker()
    first.stdin.write("\n")
    first.stdin.flush()
    assert second.stdout.readline() == "locked\n"
    # What the second one holds is the lock of the directory that is there, made anew.
    assert existing(rundir.root) == [rundir]
    with pytest.raises(RunDirError, match="another run"), rundir.locked(patience=0.2):
        pass


def test_a_lock_on_a_directory_that_was_replaced_is_none(rundir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    flock, attempts = locks.fcntl.flock, []

    def replace_under_the_lock(descriptor: int, how: int) -> None:
        flock(descriptor, how)
        attempts.append(descriptor)
        if len(attempts) == 1:
            shutil.rmtree(rundir.path)

    monkeypatch.setattr(locks.fcntl, "flock", replace_under_the_lock)
    with rundir.locked(patience=0):
        assert len(attempts) == 2
        assert existing(rundir.root) == [rundir]


def test_a_record_is_written_whole_for_root_alone(root: str) -> None:
    path = f"{root}/record.json"
    write_json(path, {"b": 1, "a": [2]})
    write_json(path, {"b": 2})
    assert read_json(path) == {"b": 2}
    assert mode_of(path) == 0o600
    assert os.listdir(root) == ["record.json"]


def test_a_failed_write_leaves_the_old_record(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"{root}/record.json"
    write_json(path, {"old": True})
    monkeypatch.setattr("os.replace", lambda *dummy: (dummy for dummy in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_json(path, {"new": True})
    assert read_json(path) == {"old": True}


def test_the_mode_of_a_file_does_not_depend_on_the_umask(root: str) -> None:
    before = os.umask(0o077)
    try:
        write_file(f"{root}/progress", b"1", 0o644)
    finally:
        os.umask(before)
    assert mode_of(f"{root}/progress") == 0o644


def test_nothing_is_written_through_a_link(root: str) -> None:
    Path(f"{root}/victim").write_text("untouched")
    Path(f"{root}/record.{os.getpid()}.new").symlink_to(f"{root}/victim")
    with pytest.raises(OSError, match="symbolic"):
        write_file(f"{root}/record", b"overwritten")
    Path(f"{root}/other").symlink_to(f"{root}/victim")
    write_file(f"{root}/other", b"in its place")
    assert Path(f"{root}/victim").read_text() == "untouched"
    assert not os.path.islink(f"{root}/other")


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"3", b"null", b"\xff\xfe", b'{"a": 1} x'])
def test_a_damaged_record_is_empty(root: str, content: bytes) -> None:
    Path(f"{root}/record.json").write_bytes(content)
    assert read_json(f"{root}/record.json") == {}
    assert read_json(f"{root}/none.json") == {}
    assert read_json(root) == {}


@settings(max_examples=80, deadline=None)
@given(
    content=st.one_of(
        st.binary(max_size=60), st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda x: json.dumps(x).encode())
    )
)
def test_any_record_can_be_read(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any-record"
    path.write_bytes(content)
    assert isinstance(read_json(str(path)), dict)


def test_removal_takes_files_trees_sockets_and_links_but_not_what_they_lead_to(root: str) -> None:
    os.makedirs(f"{root}/tree/sub")
    Path(f"{root}/tree/sub/file").write_text("x")
    os.mkdir(f"{root}/target")
    Path(f"{root}/link").symlink_to(f"{root}/target")
    Path(f"{root}/tree/link").symlink_to(f"{root}/target")
    os.mkfifo(f"{root}/pipe")
    Path(f"{root}/dangling").symlink_to("nowhere")
    assert all(remove(f"{root}/{name}") for name in ("tree", "link", "pipe", "dangling"))
    assert os.listdir(root) == ["target"]
    assert remove(f"{root}/tree") is False


def test_a_directory_of_the_account(root: str, account: str, root_user: None) -> None:
    own_directory(f"{root}/own", account)
    facts = os.stat(f"{root}/own")
    assert facts.st_uid == pwd.getpwnam(account).pw_uid
    assert mode_of(f"{root}/own") == 0o700

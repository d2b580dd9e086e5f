# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A local user holds every lock that he can; what he can hold stops nobody, and an error says which process holds one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import image_store, locks, rundir, templates
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir, host_lock

NOBODY = 65534
HOLDER = """# the-holder
import fcntl, os, sys, time
held = []
for path in sys.argv[1:]:
    for flags in (os.O_RDONLY, os.O_RDONLY | os.O_DIRECTORY, os.O_WRONLY, os.O_RDWR):
        try:
            handle = os.open(path, flags | os.O_NONBLOCK)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held.append(path)
            break
        except OSError:
            continue
print("\\t".join(held), flush=True)
sys.stdin.read()
"""
Hold = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody may pass through, whatever the umask was."""
    directory = Path(tempfile.mkdtemp(prefix="bn-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Start a process that holds the locks of these paths, as far as it can; returns its pid and which it holds."""
    started = []

    def start(*paths: object, user: int = NOBODY) -> tuple[int, list[str]]:
        # Not ours, which may lie where only root can go.
        words = ["/usr/bin/python3", "-I", "-c", HOLDER, *map(str, paths)]
        identity = {"user": user, "group": user, "extra_groups": []} if user else {}
        child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/", **identity)
        started.append(child)
        return child.pid, child.stdout.readline().rstrip("\n").split("\t")

    yield start
    for child in started:
        child.communicate()


def test_a_local_user_cannot_hold_what_builders_of_images_wait_for(root_user: None, place: Path, hold: Hold) -> None:
    with image_store.locked(place):
        pass
    assert hold(place / ".lock")[1] == [""]
    assert hold(place)[1] == [str(place)], "he can read the cache, so nothing may be a lock on the directory itself"
    with image_store.locked(place):
        assert (place / ".lock").stat().st_mode & 0o777 == 0o600


def test_a_lock_that_everybody_could_open_once_counts_no_more(
    root_user: None, place: Path, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / ".lock").touch()
    (place / ".lock").chmod(0o644)
    assert hold(place / ".lock")[1] == [str(place / ".lock")]
    monkeypatch.setattr(image_store, "PATIENCE", 0.2)
    with image_store.locked(place):
        assert hold(place / ".lock")[1] == [""]


def test_a_builder_that_never_ends_is_named(place: Path, hold: Hold, monkeypatch: pytest.MonkeyPatch) -> None:
    with image_store.locked(place):
        pass
    pid, held = hold(place / ".lock", user=0 if os.geteuid() == 0 else os.geteuid())
    assert held == [str(place / ".lock")]
    monkeypatch.setattr(image_store, "PATIENCE", 0.2)
    with (
        pytest.raises(locks.LockError, match=rf"building an image in .*locked by process {pid} \(.*python.*the-holder"),
        image_store.locked(place),
    ):
        pass


def test_a_local_user_cannot_hold_the_locks_of_a_host(root_user: None, place: Path, hold: Hold) -> None:
    made = RunDir("lab", "demo", "lab.demo", str(place / "root"))
    made.create()
    with host_lock(made.root), made.locked(patience=0.2), templates.drafting(str(place / "templates"), "KEY") as draft:
        pass
    with templates.drafting(str(place / "templates"), "KEY") as draft:
        os.rename(draft, f"{place}/kept")
    os.rename(f"{place}/kept", draft)
    assert hold(made.root, made.path, f"{made.path}/guests", place / "templates", draft)[1] == [""]
    with host_lock(made.root, 0.2), made.locked(patience=0.2):
        pass


@pytest.mark.parametrize("make", [rundir.passage, lambda path: rundir.own_directory(path, "root")], ids=["passage", "own"])
def test_a_directory_is_never_readable_by_others_not_even_for_a_moment(
    root_user: None, place: Path, make: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def chmod(path: str, mode: int) -> None:
        seen.append(os.stat(path).st_mode & 0o044)

    monkeypatch.setattr(rundir.os, "chmod", chmod)
    before = os.umask(0)
    try:
        make(str(place / "made"))
    finally:
        os.umask(before)
    assert seen == [0]


@pytest.mark.parametrize(
    "take", [lambda made: host_lock(made.root, 0.2), lambda made: made.locked(patience=0.2)], ids=["host", "experiment"]
)
def test_who_holds_a_lock_is_said(rundir: RunDir, hold: Hold, take: Callable) -> None:
    rundir.create()
    pid, held = hold(rundir.root, rundir.path, user=0 if os.geteuid() == 0 else os.geteuid())
    assert len(held) == 2
    with pytest.raises(locks.HostError, match=rf"another run is .*locked by process {pid} \(.*the-holder"), take(rundir):
        pass


def test_the_name_of_a_holder_is_printable(place: Path, hold: Hold) -> None:
    (place / "x\x1b[31m").touch()
    hold(place / "x\x1b[31m", user=0 if os.geteuid() == 0 else os.geteuid())
    with open(place / "x\x1b[31m") as file:
        said = locks.holder(file.fileno())
    assert "the-holder" in said and said.isprintable()
    with open(place / "other", "w") as file:
        assert locks.holder(file.fileno()) == "a process that cannot be seen from here"

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that keeps setuid files out of directories: real calls of a real program that has it."""

from __future__ import annotations

import errno
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import plain_modes
from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError

# Tries each way there is to set the bits, and says how it ended. The numbers are those of x86_64.
PROGRAM = r"""
import ctypes, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
os.chdir(sys.argv[1])
open("file", "w").close()
os.mkdir("directory")
here, file = os.open(".", os.O_RDONLY), os.open("file", os.O_RDWR)

def call(*words):
    if libc.syscall(*words) < 0:
        raise OSError(ctypes.get_errno(), "")

mode = int(sys.argv[2], 8)
ways = {
    "chmod": lambda: call(90, b"file", mode),
    "fchmod": lambda: call(91, file, mode),
    "fchmodat": lambda: call(268, here, b"file", mode),
    "fchmodat2": lambda: call(452, here, b"file", mode, 0),
    "open": lambda: call(2, b"made1", os.O_CREAT | os.O_WRONLY, mode),
    "openat": lambda: call(257, here, b"made2", os.O_CREAT | os.O_WRONLY, mode),
    "openat of no name": lambda: call(257, here, b".", os.O_TMPFILE | os.O_WRONLY, mode),
    "creat": lambda: call(85, b"made3", mode),
    "mknod": lambda: call(133, b"made4", 0o100000 | mode, 0),
    "mknodat": lambda: call(259, here, b"made5", 0o100000 | mode, 0),
    "openat2": lambda: call(437, here, b"made6", ctypes.byref((ctypes.c_uint64 * 3)(os.O_CREAT | os.O_WRONLY, mode, 0)), 24),
    "chmod of the second table": lambda: call(0x40000000 + 90, b"file", mode),
    # What does not make a file has no mode, whatever lies where that would be.
    "opening": lambda: call(257, here, b"file", os.O_RDONLY, 0o6777),
    "a directory": lambda: os.mkdir("below", 0o2755),
}
said = {}
for name, way in ways.items():
    try:
        way()
        said[name] = 0
    except OSError as error:
        said[name] = error.errno
print(json.dumps(said))
"""

linux_on_x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="calls by their numbers")


def tried(directory: Path, mode: int) -> dict[str, int]:
    """Return how each way ended, for a program that has the filter."""
    argv = [sys.executable, "-c", PROGRAM, str(directory), f"{mode:o}"]
    done = plain_modes.started_by(lambda: subprocess.run(argv, capture_output=True, text=True, check=True))
    return dict(json.loads(done.stdout))


@linux_on_x86_64
@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6000])
def test_no_way_leads_to_a_setuid_file(tmp_path: Path, mode: int) -> None:
    said = tried(tmp_path, mode)
    assert (said.pop("opening"), said.pop("a directory")) == (0, 0)
    assert (said.pop("openat2"), said.pop("chmod of the second table")) == (errno.ENOSYS, errno.ENOSYS)
    assert set(said.values()) == {errno.EPERM}, said
    assert not [path for path in tmp_path.iterdir() if path.stat().st_mode & 0o6000]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["below", "directory", "file"]


@linux_on_x86_64
@pytest.mark.parametrize("mode", [0o755, 0o1777, 0])
def test_other_modes_are_set_as_ever(tmp_path: Path, mode: int) -> None:
    said = tried(tmp_path, mode)
    # Programs know how to do without these.
    assert {name for name, number in said.items() if number} <= {"openat2", "chmod of the second table", "fchmodat2"}
    assert (tmp_path / "file").stat().st_mode & 0o7777 == mode


def test_nothing_of_ours_has_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    plain_modes.started_by(lambda: subprocess.run(["true"], check=True))
    (tmp_path / "file").chmod(0o4755)
    assert (tmp_path / "file").stat().st_mode & 0o7777 == 0o4755
    assert "NoNewPrivs:\t0\n" in Path("/proc/self/status").read_text()


def test_what_it_starts_has_it_too(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = plain_modes.started_by(lambda: subprocess.run(["sh", "-c", f"chmod 4755 {tmp_path}/file"], capture_output=True, check=False))
    assert done.returncode != 0
    assert (tmp_path / "file").stat().st_mode & 0o6000 == 0


def test_a_failure_to_start_is_the_callers() -> None:
    with pytest.raises(FileNotFoundError):
        plain_modes.started_by(lambda: subprocess.run(["/nonexistent"], check=True))


@pytest.mark.parametrize("machine", sorted(plain_modes.MACHINES))
def test_there_is_a_filter_for_each_known_processor(machine: str) -> None:
    text = plain_modes.program(machine)
    assert len(text) % 8 == 0
    # All jumps are forward, over at most as many instructions as there are.
    for place in range(0, len(text), 8):
        then, otherwise = text[place + 2], text[place + 3]
        assert place // 8 + 1 + max(then, otherwise) <= len(text) // 8


def test_without_a_filter_nothing_is_written() -> None:
    with pytest.raises(HostError, match="setuid files out of them on vax is not known"):
        plain_modes.program("vax")


def test_root_is_not_exempt(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    assert tried(tmp_path, 0o4755)["fchmod" if platform.machine() == "x86_64" else "openat"] == errno.EPERM

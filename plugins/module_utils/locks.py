# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks between runs on a host: each is waited for within a time, and the error says which process holds it.

Whoever can open a file for reading can hold a lock on it for ever. So locks are on what only root can open: a directory that others may
only pass through, or a file of mode 0600.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time

from .errors import HostError


class LockError(HostError):
    """Another process holds a lock for too long; the text says which."""


def acquire(descriptor: int, patience: float, what: str) -> None:
    """Lock an open file or directory within ``patience`` seconds. Raises LockError, whose text begins with ``what``."""
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise LockError(f"{what}; it is locked by {holder(descriptor)}: try again when that has ended") from None
            time.sleep(0.1)


def open_lock_file(path: str, patience: float, what: str) -> int:
    """Lock a file that only its owner can open, made if need be; returns a descriptor to close. Raises LockError, OSError."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            status = os.fstat(descriptor)
            if stat.S_IMODE(status.st_mode) & 0o077 or status.st_uid != os.geteuid():
                # Others may have opened it, and hold a lock that never ends: that is a lock on the file, not on its name.
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
            else:
                acquire(descriptor, patience, what)
                if is_at(descriptor, path):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def is_at(descriptor: int, path: str) -> bool:
    """Tell whether a path leads to an open file or directory."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def holder(descriptor: int) -> str:
    """Say which process has locked an open file, for people."""
    status = os.fstat(descriptor)
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    found = []
    with open("/proc/locks", encoding="ascii", errors="replace") as file:
        for line in file:
            words = line.split()
            # NUMBER: FLOCK ADVISORY WRITE PID DEVICE:INODE START END; those that wait have an arrow.
            if len(words) >= 6 and words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(status.st_ino):
                found.append((words[5].rpartition(":")[0] != device, words[4]))
    # Some file systems have another device number there.
    return next((_program(pid) for dummy, pid in sorted(found)), "a process that cannot be seen from here")


def _program(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            line = " ".join(file.read(200).replace(b"\0", b" ").decode(errors="replace").split())
    except OSError:
        return f"process {pid}, which cannot be seen from here"
    return f"process {pid} ({''.join(c for c in line if c.isprintable())})"

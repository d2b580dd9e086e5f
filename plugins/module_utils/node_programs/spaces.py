# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node as the kernel has it: its namespaces, how they are entered, and what whoever enters finds in the environment."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Mapping
from typing import Any

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
# In this order a node is entered: the user namespace last, since in it there is no right to the others.
SPACES = {"mnt": CLONE_NEWNS, "uts": CLONE_NEWUTS, "ipc": CLONE_NEWIPC, "net": CLONE_NEWNET, "pid": CLONE_NEWPID, "user": CLONE_NEWUSER}
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "SHELL": "/bin/sh",
    "LANG": "C.UTF-8",
}
LIBC = ctypes.CDLL(None, use_errno=True)


def call(name: str, *words: Any) -> None:
    """Call the kernel through the C library. Raises OSError."""
    if getattr(LIBC, name)(*words) < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")


def write(path: str, text: str) -> None:
    """Write to a file of the kernel."""
    handle = os.open(path, os.O_WRONLY)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)


def die_with_parent(parent: int) -> None:
    """Let the kernel end this child when its parent ends, however that comes."""
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() not in (parent, 0):  # 0: it is outside of our pid namespace
        os._exit(1)


def enter(spaces: Mapping[str, int]) -> None:
    """Go into a node: its namespaces by name, each an open descriptor. Raises OSError."""
    # In the user namespace the node's root has a right to every process; to this one not before it has become another program.
    call("prctl", PR_SET_DUMPABLE, 0)
    for name in SPACES:
        if name in spaces:
            call("setns", spaces[name], SPACES[name])


def be(uid: int, gid: int) -> None:
    """Become an account, for good."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def inhabit(spaces: Mapping[str, int], first: int) -> None:
    """Go into a node as its root; where it has no user namespace, as the account that its root is outside."""
    enter(spaces)
    account = 0 if "user" in spaces else first
    be(account, account)

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A filter of system calls for programs that write files for guests: none of them becomes setuid or setgid.

Such a file would be the account's that the program runs as: any local user who runs it becomes that account. Servers of files do as a guest
says, so the kernel refuses the bits (EPERM). It holds for the program and all it starts, for ever. It needs ``no_new_privs`` and sets it.

A filter belongs to a thread. So a thread of its own takes it, starts the program and ends; nothing else of ours has it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import threading
from typing import Callable, TypeVar

from .errors import HostError

T = TypeVar("T")

SETUID_OR_SETGID = 0o6000
# open with one of these makes a file, and only then its mode means something: O_CREAT, and the bit of O_TMPFILE of its own.
MAKES = os.O_CREAT | 0o20000000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2

# The kernel's numbers: audit architecture, then by name of the call, with the place of flags, if any, and of the mode.
# Calls whose mode lies in memory, where a filter sees nothing, are refused: programs know how to do without them.
GENERIC = {"mknodat": 33, "fchmod": 52, "fchmodat": 53, "openat": 56}
COMMON = {"fchmodat2": 452, "openat2": 437, "io_uring_setup": 425}
MACHINES: dict[str, tuple[int, dict[str, int]]] = {
    "x86_64": (
        0xC000003E,
        {"open": 2, "creat": 85, "chmod": 90, "fchmod": 91, "mknod": 133, "openat": 257, "mknodat": 259, "fchmodat": 268},
    ),
    "aarch64": (0xC00000B7, GENERIC),
    "riscv64": (0xC00000F3, GENERIC),
}
MODE_AT = {"chmod": 1, "fchmod": 1, "creat": 1, "mknod": 1, "fchmodat": 2, "fchmodat2": 2, "mknodat": 2, "open": 2, "openat": 3}
FLAGS_AT = {"open": 1, "openat": 2}
REFUSED = {"openat2": errno.ENOSYS, "io_uring_setup": errno.ENOSYS}
# On x86_64 a second table of calls, with this bit in each number.
X32 = 0x40000000

# Instructions of the kernel's packet filters, and its answers.
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16


def program(machine: str) -> bytes:
    """Return the filter for a kind of processor. Raises HostError for one whose numbers are not known here."""
    if machine not in MACHINES:
        raise HostError(f"guests may not write to directories of this host: how to keep setuid files out of them on {machine} is not known")
    architecture, calls = MACHINES[machine]
    lines = [_line(LOAD, ARCHITECTURE), _line(EQUAL, architecture, 1, 0), _line(RETURN, KILL), _line(LOAD, NUMBER)]
    if machine == "x86_64":
        lines += [_line(AT_LEAST, X32, 0, 1), _line(RETURN, ERRNO | errno.ENOSYS)]
    for name, number in {**calls, **COMMON}.items():
        body = _call(name)
        lines += [_line(EQUAL, number, 0, len(body)), *body]
    return b"".join([*lines, _line(RETURN, ALLOW)])


def _call(name: str) -> list[bytes]:
    """Return what decides of one call: it ends with an answer."""
    if name in REFUSED:
        return [_line(RETURN, ERRNO | REFUSED[name])]
    mode = [_argument(MODE_AT[name]), _line(ANY_BIT, SETUID_OR_SETGID, 0, 1), _line(RETURN, ERRNO | errno.EPERM)]
    flags = [_argument(FLAGS_AT[name]), _line(ANY_BIT, MAKES, 0, len(mode))] if name in FLAGS_AT else []
    return [*flags, *mode, _line(RETURN, ALLOW)]


def _argument(place: int) -> bytes:
    # Its lower half, which comes first: all these processors are little-endian.
    return _line(LOAD, ARGUMENTS + 8 * place)


def _line(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("=HBBI", code, then, otherwise, value)


def _take(text: bytes) -> None:
    """Give this thread the filter. Raises HostError."""
    library = ctypes.CDLL(None, use_errno=True)
    lines = ctypes.create_string_buffer(text, len(text))
    # How many lines there are, and where.
    given = ctypes.create_string_buffer(struct.pack("@HP", len(text) // 8, ctypes.addressof(lines)))
    for words in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(given), 0, 0)):
        # Each is as wide as a register: the kernel looks at all of it.
        if library.prctl(words[0], *map(ctypes.c_ulong, words[1:])) != 0:
            why = os.strerror(ctypes.get_errno())
            raise HostError(f"guests may not write to directories of this host: its kernel takes no filter of system calls: {why}")


def started_by(start: Callable[[], T]) -> T:
    """Return what ``start`` returns, which starts a program that has the filter. Raises what it raises, and HostError."""
    text = program(platform.machine())
    outcome: list[T] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            _take(text)
            outcome.append(start())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]

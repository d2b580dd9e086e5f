# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a program of a node may not do, whoever it is there: limits, no rights from files, and a filter of system calls.

The filter refuses what reaches past a node's namespaces (keys, kernel modules, clocks, performance counters, file handles), parts of the
kernel that are new and large (io_uring, the newer calls for mounts), typing into a terminal (TIOCSTI), and files with the setuid bit,
which would give rights to whoever finds them on the host. It is asked by the kernel once for each call that it allows always.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import struct
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from .node import OTHERS
from .spaces import LIBC, call, write

PR_SET_NO_NEW_PRIVS = 38
SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW = 1, 4
ALLOW, REFUSE = 0x7FFF0000, 0x00050000
LOAD, EQUAL, AT_LEAST, ANY_BIT, END = 0x20, 0x15, 0x35, 0x45, 0x06
# Offsets of the call's number, of the architecture and of the first argument, of which the lower half counts.
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
# O_CREAT and O_TMPFILE.
CREATING, SETUID = 0x400040, 0o4000
X32 = 0x40000000
# The same numbers everywhere: mounts (open_tree to fspick, mount_setattr), io_uring, openat2, quotactl_fd, fchmodat2.
# Programs that know them do without where they are not there.
ABSENT = (*range(425, 434), 428, 429, 437, 442, 443, 452)


class Calls(NamedTuple):
    """The calls of an architecture: those that are refused, by number; that of ioctl; and by number which argument is a mode.

    ``opening`` are calls with flags before the mode, which counts only for a new file.
    """

    architecture: int
    refused: tuple[int, ...]
    ioctl: int
    modes: Mapping[int, int]
    opening: Mapping[int, int]


# In this order: add_key, request_key, keyctl, bpf, perf_event_open, userfaultfd, kexec_load, kexec_file_load, init_module, finit_module,
# delete_module, open_by_handle_at, acct, swapon, swapoff, reboot, settimeofday, clock_settime, quotactl, lookup_dcookie; then iopl, ioperm.
X86_64 = Calls(
    0xC000003E,
    (248, 249, 250, 321, 298, 323, 246, 320, 175, 313, 176, 304, 163, 167, 168, 169, 164, 227, 179, 212, 172, 173),
    16,
    {90: 1, 91: 1, 268: 2, 85: 1, 133: 1, 259: 2},
    {2: 1, 257: 2},
)
# There is no kexec_file_load, and there is clock_settime64 beside clock_settime.
I386 = Calls(
    0x40000003,
    (286, 287, 288, 357, 336, 374, 283, 404, 128, 350, 129, 342, 51, 87, 115, 88, 79, 264, 131, 253, 110, 101),
    54,
    {15: 1, 94: 1, 306: 2, 8: 1, 14: 1, 297: 2},
    {5: 1, 295: 2},
)
AARCH64 = Calls(
    0xC00000B7,
    (217, 218, 219, 280, 241, 282, 104, 294, 105, 273, 106, 265, 89, 224, 225, 142, 170, 112, 60, 18),
    29,
    {52: 1, 53: 2, 33: 2},
    {56: 2},
)
ARCHITECTURES = {"x86_64": (X86_64, I386), "aarch64": (AARCH64,)}


def bound(entry: Mapping[str, Any], limits: Mapping[str, int], groups: Mapping[str, list[str]]) -> None:
    """Let this process, still the host's root, have no more than a program of a node may."""
    for group in groups.get(entry["id"], groups.get(OTHERS, [])):
        write(f"{group}/cgroup.procs", "0")
    processes = max(limits["processes"], int((entry.get("limits") or {}).get("processes") or 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))
    files = min(limits["files"], resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, files), files))
    # Of 1 the kernel makes neither a file nor, as of 0, a call of the host's program for crashes, which is root's.
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


def close_all_but(*kept: int) -> None:
    """Close all descriptors but the first three and some."""
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        if number > 2 and number not in kept:
            # One is that of the listing itself.
            with contextlib.suppress(OSError):
                os.close(number)


def confine() -> None:
    """Let this process, and what comes of it, never have more rights than now, and put it behind the filter."""
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    machine = os.uname().machine
    number = {"x86_64": 317, "aarch64": 277}.get(machine)
    if number is None or sys.maxsize < 1 << 32:
        # Of other machines we have no numbers.
        return
    words = assemble(ARCHITECTURES[machine])
    text = ctypes.create_string_buffer(words, len(words))
    program = struct.pack("HxxxxxxP", len(words) // 8, ctypes.addressof(text))
    arguments = (ctypes.c_long(number), ctypes.c_ulong(SECCOMP_SET_MODE_FILTER), ctypes.c_ulong(SECCOMP_FILTER_FLAG_SPEC_ALLOW), program)
    if LIBC.syscall(*arguments) < 0 and ctypes.get_errno() not in (errno.ENOSYS, errno.EINVAL):
        # A kernel without filters is as good as it is.
        raise OSError(ctypes.get_errno(), "the filter of system calls cannot be set")


class Jump(NamedTuple):
    """An instruction that goes on at one label or the other; an empty one is the next instruction."""

    code: int
    value: int
    yes: str = ""
    no: str = ""


def assemble(architectures: tuple[Calls, ...]) -> bytes:
    """Return the filter as the kernel takes it."""
    lines: list[tuple[str, Jump]] = []
    for index, calls in enumerate(architectures):
        lines += [
            (f"architecture {index}", Jump(LOAD, ARCHITECTURE)),
            ("", Jump(EQUAL, calls.architecture, "", f"architecture {index + 1}")),
        ]
        lines += _section(index, calls)
    lines += [(f"architecture {len(architectures)}", Jump(END, REFUSE | errno.ENOSYS))]
    places = {label: place for place, (label, dummy) in enumerate(lines) if label}
    words = b""
    for place, (dummy, jump) in enumerate(lines):
        distances = [places[label] - place - 1 if label else 0 for label in (jump.yes, jump.no)]
        words += struct.pack("=HBBI", jump.code, *distances, jump.value)
    return words


def _section(index: int, calls: Calls) -> list[tuple[str, Jump]]:
    refuse, absent, allow = f"refuse {index}", f"absent {index}", f"allow {index}"
    lines = [("", Jump(LOAD, NUMBER))]
    if calls is X86_64:
        lines.append(("", Jump(AT_LEAST, X32, absent)))
    lines += [("", Jump(EQUAL, number, refuse)) for number in calls.refused]
    lines += [("", Jump(EQUAL, number, absent)) for number in sorted(set(ABSENT))]
    tests = [(calls.ioctl, f"ioctl {index}")]
    tests += [(number, f"mode {index} {place}") for number, place in calls.modes.items()]
    tests += [(number, f"open {index} {place}") for number, place in calls.opening.items()]
    lines += [("", Jump(EQUAL, number, label)) for number, label in tests]
    lines += [(allow, Jump(END, ALLOW)), (refuse, Jump(END, REFUSE | errno.EPERM)), (absent, Jump(END, REFUSE | errno.ENOSYS))]
    lines += [
        (f"ioctl {index}", Jump(LOAD, ARGUMENTS + 8)),
        ("", Jump(EQUAL, TIOCSTI, f"no {index}")),
        ("", Jump(EQUAL, TIOCLINUX, f"no {index}", f"yes {index}")),
    ]
    for place in sorted(set(calls.opening.values())):
        lines += [
            (f"open {index} {place}", Jump(LOAD, ARGUMENTS + 8 * place)),
            ("", Jump(ANY_BIT, CREATING, "", f"yes {index}")),
            ("", Jump(LOAD, ARGUMENTS + 8 * (place + 1))),
            ("", Jump(ANY_BIT, SETUID, f"no {index}", f"yes {index}")),
        ]
    for place in sorted(set(calls.modes.values())):
        lines += [
            (f"mode {index} {place}", Jump(LOAD, ARGUMENTS + 8 * place)),
            ("", Jump(ANY_BIT, SETUID, f"no {index}", f"yes {index}")),
        ]
    return [*lines, (f"yes {index}", Jump(END, ALLOW)), (f"no {index}", Jump(END, REFUSE | errno.EPERM))]

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mounts of a node: its host's file system to read, and places of its own in it.

Nothing of the host can be written from a node, and nothing there gives rights (no setuid, no devices). What must not be seen is covered:
directories with experiments, temporary directories, devices, and ``/run`` with the sockets of the host's services.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .spaces import LIBC, call

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC, MS_SLAVE = 1, 2, 4, 8, 32, 4096, 8192, 16384, 1 << 19
MNT_DETACH = 2
# System calls that the C library of older hosts has no name for; their numbers are those of every architecture.
OPEN_TREE, MOVE_MOUNT, MOUNT_SETATTR = 428, 429, 442
OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC, AT_FDCWD, AT_RECURSIVE = 1, 0o2000000, -100, 0x8000
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_SYMLINKS, MOVE_MOUNT_T_EMPTY_PATH = 0x04, 0x10, 0x40
# Where file systems are put together: a place that is covered afterwards.
SPARE = "/sys"
# What a node has of its own in memory, all of it in one file system: places and modes.
TEMPORARY = {f"/{path}": 0o1777 for path in ("tmp", "var/tmp", "dev/shm")}
RUN, DEV = "/run", "/dev"
OWN = tuple(f"{place}/" for place in (*TEMPORARY, RUN))
# Files in that file system; each costs the kernel about a kilobyte.
MOST_FILES = 65536
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0), "net/tun": (10, 200)}
LINKS = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}


class Source(NamedTuple):
    """What is mounted in nodes: a mount that has no place yet, and the flags of the one that it was found in."""

    handle: int
    flags: int


def mount(source: str, place: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount something. Raises OSError, which names the place."""
    try:
        call("mount", source.encode(), place.encode(), kind.encode() or None, ctypes.c_ulong(flags), options.encode() or None)
    except OSError as error:
        raise OSError(error.errno, f"cannot mount {source} at {place}: {os.strerror(error.errno or 0)}") from error


def system_call(number: int, *words: Any) -> int:
    """Call the kernel by number. Raises OSError."""
    result = int(LIBC.syscall(ctypes.c_long(number), *words))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def restrict(flags: int) -> None:
    """Take rights from all mounts of this mount namespace: MS_RDONLY, MS_NOSUID, MS_NODEV."""
    # These three have the same numbers for the newer call.
    attributes = (ctypes.c_uint64 * 4)(flags)
    try:
        system_call(MOUNT_SETATTR, AT_FDCWD, b"/", AT_RECURSIVE, attributes, ctypes.c_size_t(ctypes.sizeof(attributes)))
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EINVAL):
            raise
        for place in _places():
            keep = os.statvfs(place).f_flag & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
            mount("none", place, flags=MS_BIND | MS_REMOUNT | keep | flags)


def _places() -> list[str]:
    """Return where something is mounted and can be seen."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        places = [line.split()[4].encode("latin-1", "surrogateescape").decode("unicode_escape") for line in file]
    return [place for place in dict.fromkeys(places) if os.path.ismount(place)]


class Grafts:
    """Places for mounts that the host lacks, made without touching its file system, in a mount namespace.

    The directory above such a place is covered by a small file system in memory, where everything that is in the directory has its
    place again, and the new one too.
    """

    def __init__(self) -> None:
        self.ours: set[int] = set()

    def provide(self, place: str) -> None:
        """Make sure of a directory. Raises OSError."""
        upper = place
        while not os.path.isdir(upper):
            upper = os.path.dirname(upper)
        if upper != place:
            if os.stat(upper).st_dev not in self.ours:
                self.cover(upper)
            os.makedirs(place, 0o755)

    def cover(self, upper: str) -> None:
        """Cover a directory. That of all is made elsewhere, where we have something of our own later, and then put into its place."""
        handle = os.open(upper, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        below = f"/proc/self/fd/{handle}"
        entries = [(entry.name, entry.is_symlink(), entry.is_dir()) for entry in os.scandir(upper)]
        target = upper if upper != "/" else SPARE
        mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, f"size=1m,mode={os.stat(upper).st_mode & 0o7777:o}")
        for name, link, folder in entries:
            path = f"{target}/{name}"
            if link:
                os.symlink(os.readlink(f"{below}/{name}"), path)
                continue
            if folder:
                os.mkdir(path)
            else:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC))
            if path != f"{SPARE}{SPARE}":
                mount(f"{below}/{name}", path, flags=MS_BIND | MS_REC)
        os.close(handle)
        if target != upper:
            os.chdir(target)
            mount(".", "/", flags=MS_MOVE)
            os.chroot(".")
        self.ours.add(os.stat(upper).st_dev)


def layout(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what decides how the mounts of a node begin: nodes that agree in it begin with the same."""
    process = entry["kind"] == "process"
    return (entry["kind"], *(place for dummy, place, dummy in entry["mounts"] if not (process and place.startswith(OWN))))


def prepare(kind: str, places: Iterable[str], covered: Iterable[str]) -> None:
    """Make what the mounts of many nodes begin with, in a mount namespace that each of them then takes a copy of."""
    os.umask(0)
    mount("none", "/", flags=MS_REC | MS_SLAVE)
    process = kind == "process"
    restrict(MS_RDONLY | (MS_NOSUID | MS_NODEV if process else 0))
    # What is mounted from here on can be written. All nodes have one pid namespace; each sees what it has a right to.
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "hidepid=2")
    mount("tmpfs", SPARE, "tmpfs", MS_NOSUID | MS_NODEV, "size=64k,mode=711")
    os.mkdir(f"{SPARE}/nothing", 0o755)
    if process:
        _make_devices(f"{SPARE}/dev")
        mount(f"{SPARE}/dev", DEV, flags=MS_BIND)
        mount("none", DEV, flags=MS_BIND | MS_REMOUNT | MS_NOSUID | MS_NOEXEC | MS_RDONLY)
    for place in covered:
        if os.path.isdir(place):
            mount(f"{SPARE}/nothing", place, flags=MS_BIND)
            mount("none", place, flags=MS_BIND | MS_REMOUNT | MS_NOSUID | MS_NODEV | MS_RDONLY)
    call("umount2", SPARE.encode(), MNT_DETACH)
    grafts = Grafts()
    for place in places:
        grafts.provide(place)
    if not process and not os.path.ismount(SPARE):
        # It gave its place away.
        mount("sysfs", SPARE, "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY)


def _make_devices(place: str) -> None:
    """Make the devices that every program may use, and nothing of the host's hardware."""
    for name in ("", "/net", "/pts", "/shm"):
        os.mkdir(f"{place}{name}", 0o755)
    for name, numbers in DEVICES.items():
        os.mknod(f"{place}/{name}", stat.S_IFCHR | 0o666, os.makedev(*numbers))
    for name, goal in LINKS.items():
        os.symlink(goal, f"{place}/{name}")


def furnish(entry: Mapping[str, Any], found: Iterable[Source], first: int) -> None:
    """Add to a copy of what was prepared what a node has alone. ``first`` is what its root is outside."""
    os.umask(0)
    process = entry["kind"] == "process"
    # One file system for all that is in memory: a thousand nodes have a thousand, not four thousand.
    mount("tmpfs", SPARE, "tmpfs", MS_NOSUID | MS_NODEV, f"size={entry['space']}m,nr_inodes={MOST_FILES},mode=711")
    for place, mode in {**TEMPORARY, **({RUN: 0o755} if process else {})}.items():
        if os.path.isdir(place) and not os.path.islink(place):
            own = f"{SPARE}/{place.strip('/').replace('/', '-')}"
            os.mkdir(own, mode)
            mount(own, place, flags=MS_BIND)
    if process:
        os.mkdir(f"{RUN}/lock", 0o1777)
        os.chown(RUN, first, first)
        # It covers the place where the one in memory began.
        mount("sysfs", SPARE, "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY)
        # Group tty, as it is outside.
        mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, f"newinstance,ptmxmode=0666,mode=0620,gid={first + 5}")
    else:
        # The host's own is right for who is in the host's network.
        call("umount2", SPARE.encode(), MNT_DETACH)
    following = iter(found)
    for dummy, place, writable in entry["mounts"]:
        source = next(following)
        if process and place.startswith(OWN):
            os.makedirs(place, 0o755, exist_ok=True)
        put(source, place)
        mount("none", place, flags=MS_BIND | MS_REMOUNT | MS_NOSUID | MS_NODEV | source.flags | (0 if writable else MS_RDONLY))
    for dummy, place in entry["files"]:
        source = next(following)
        if os.path.exists(place) or _stand_in(place):
            put(source, place)


def put(source: Source, place: str) -> None:
    """Put a mount that has no place yet into one, or to where a link there leads. Raises OSError, which names the place."""
    try:
        system_call(MOVE_MOUNT, source.handle, b"", AT_FDCWD, place.encode(), MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS)
    except OSError as error:
        raise OSError(error.errno, f"cannot mount anything at {place}: {error.strerror}") from error
    os.close(source.handle)


def _stand_in(place: str) -> bool:
    """Make an empty file where a link of the host leads to something that is covered; False when it leads elsewhere."""
    goal = os.path.realpath(place)
    if not os.path.islink(place) or not goal.startswith(f"{RUN}/"):
        return False
    os.makedirs(os.path.dirname(goal), 0o755, exist_ok=True)
    os.close(os.open(goal, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
    return True


def sources(entry: Mapping[str, Any]) -> list[Source]:
    """Take along what is to be mounted in a node, in its order, from where it can be reached."""
    handles = [take_along(path) for path, *dummy in [*entry["mounts"], *entry["files"]]]
    return [Source(handle, os.fstatvfs(handle).f_flag & (MS_RDONLY | MS_NOEXEC)) for handle in handles]


def take_along(path: str) -> int:
    """Return a descriptor of a mount of a file that can be put into another mount namespace."""
    return system_call(OPEN_TREE, AT_FDCWD, path.encode(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)


def exchange(handle: int, place: str, expected: str) -> None:
    """Put a mount that was taken along over a file, in the place of the one that was there.

    ``expected`` is where the place leads on the host. A node that has put a link into the way leads us nowhere.
    """
    for again in (True, False):
        try:
            found = os.open(place, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            path = f"/proc/self/fd/{found}"
            if os.readlink(path) != expected:
                return
            if again:
                try:
                    call("umount2", path.encode(), MNT_DETACH)
                except OSError:
                    continue
            else:
                system_call(MOVE_MOUNT, handle, b"", found, b"", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)
        finally:
            os.close(found)

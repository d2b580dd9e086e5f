# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making a node, and changing it while it runs: its namespaces, mounts, TAPs and network. All of it is a child's work.

Where a child says what went wrong is its end of a socket, ``channel``.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from .spaces import CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWUTS, ENVIRONMENT, SPACES, call, enter, write

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC, MS_SLAVE = 1, 2, 4, 8, 32, 4096, 8192, 16384, 1 << 19
MNT_DETACH = 2
TUNSETIFF, TUNSETPERSIST, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x400454CB, 0x0002, 0x1000
# Where a new root can be put together: a place that is covered afterwards.
SPARE = "/sys"
# What every node's network is like: it forwards, answers for the interface asked and speaks for the address asked for, takes packets
# from wherever they come, and neither gives nor takes hints about shorter ways.
INTERFACE = {
    "ipv4/conf/{}/arp_ignore": "1",
    "ipv4/conf/{}/arp_announce": "2",
    "ipv4/conf/{}/rp_filter": "0",
    "ipv4/conf/{}/send_redirects": "0",
    "ipv4/conf/{}/accept_redirects": "0",
    "ipv6/conf/{}/disable_ipv6": "1",
}


def mount(source: str, place: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount something. Raises OSError, which names the place."""
    try:
        call("mount", source.encode(), place.encode(), kind.encode() or None, ctypes.c_ulong(flags), options.encode() or None)
    except OSError as error:
        raise OSError(error.errno, f"cannot mount {source} at {place}: {os.strerror(error.errno or 0)}") from error


def tune(which: str) -> None:
    """Let an interface, those that there are or those to come, behave as every node's do."""
    for name, value in INTERFACE.items():
        if which == "all" and name.startswith("ipv6"):
            continue  # Whoever talks to itself may do so by either.
        with contextlib.suppress(FileNotFoundError):
            write(f"/proc/sys/net/{name.format(which)}", value)


def become(account: list[int]) -> dict[str, int]:
    """Make the namespaces user, net and uts, owned by an account, and go into the latter two. Returns descriptors of all.

    They are made by a child in the user namespace, so that it owns them, and entered by us, who stay the host's root outside of it.
    """
    uid, gid, first = account
    if uid == 0:
        call("unshare", CLONE_NEWNET | CLONE_NEWUTS)
        return {name: os.open(f"/proc/self/ns/{name}", os.O_RDONLY) for name in ("net", "uts")}
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            call("unshare", CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWUTS)
            os.write(writer, b"+")
            signal.pause()
        finally:
            os._exit(1)
    try:
        os.close(writer)
        if not os.read(reader, 1):
            raise OSError(0, "namespaces cannot be made")
        os.close(reader)
        for what, outside in (("uid", uid), ("gid", gid)):
            write(f"/proc/{child}/{what}_map", f"0 {outside} 1\n1 {first} 65535\n")
        spaces = {name: os.open(f"/proc/{child}/ns/{name}", os.O_RDONLY) for name in ("user", "net", "uts")}
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    for name in ("net", "uts"):
        call("setns", spaces[name], SPACES[name])
    return spaces


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


def furnish(entry: dict[str, Any], account: list[int]) -> None:
    """Make the mounts of a node, in its mount namespace."""
    grafts = Grafts()
    for dummy, place, dummy in entry["mounts"]:
        grafts.provide(place)
    # The host's own is right for who is in the host's network, but where it gave its place away.
    if entry["kind"] == "process" or not os.path.ismount(SPARE):
        mount("sysfs", SPARE, "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY)
    if entry["kind"] == "process":
        uid, dummy, first = account
        # Groups inside are counted from the first further id, which is 1.
        tty = first + 4 if uid else 5
        mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, f"newinstance,ptmxmode=0666,mode=0620,gid={tty}")
    for source, place, writable in entry["mounts"]:
        mount(source, place, flags=MS_BIND)
        if not writable:
            mount("none", place, flags=MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)
    for source, place in entry["files"]:
        if os.path.exists(place):
            mount(source, place, flags=MS_BIND)


def open_taps(entry: dict[str, Any]) -> list[int]:
    """Make the TAPs of a node, in its network namespace."""
    taps = []
    for plug in entry["plugs"]:
        if os.path.exists(f"/proc/sys/net/ipv4/conf/{plug[0]}"):
            raise OSError(0, f"there is an interface {plug[0]} already")
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", plug[0].encode(), IFF_TAP | IFF_NO_PI))
        if entry["kind"] == "process":
            # It stays when it is closed, and goes with the network: the kernel removes many at once in the time that one alone takes.
            fcntl.ioctl(tap, TUNSETPERSIST, 1)
        taps.append(tap)
    return taps


def run_ip(lines: Sequence[str], output: int) -> NoReturn:
    """Become an ``ip`` that carries out these lines."""
    batch = os.memfd_create("batch")
    os.write(batch, "".join(f"{line}\n" for line in lines).encode())
    os.lseek(batch, 0, os.SEEK_SET)
    for handle, number in ((batch, 0), (output, 1), (output, 2)):
        os.dup2(handle, number)
    os.execvpe("ip", ["ip", "-force", "-batch", "-"], ENVIRONMENT)  # noqa: S606


def build(entry: dict[str, Any], account: list[int], channel: socket.socket) -> NoReturn:
    """Make a node, in a child: hand its namespaces and TAPs to the supervisor, and set up its network."""
    call("unshare", CLONE_NEWNS)
    mount("none", "/", flags=MS_REC | MS_SLAVE)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    spaces, lines = {}, []
    if entry["kind"] == "process":
        spaces, lines = become(account), ["link set dev lo up"]
        write("/proc/sys/net/ipv4/ip_forward", "1")
        tune("all")
        tune("default")
        socket.sethostname(entry["name"])
    taps = open_taps(entry)
    for plug in entry["plugs"]:
        tune(plug[0])
    furnish(entry, account)
    spaces["mnt"] = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    socket.send_fds(channel, [" ".join(spaces).encode()], [*spaces.values(), *taps])
    channel.recv(1)
    for device, mac, *dummy in entry["plugs"]:
        lines += [f"link set dev {device} address {mac}", f"link set dev {device} alias {os.environ.get('BENITO_MARK', '-')}"]
    run_ip(lines + [done for dummy, done in entry["network"]], channel.fileno())


def alter(spaces: Mapping[str, int], files: Sequence[list[str]], undo: Sequence[str], lines: Sequence[str], channel: socket.socket) -> None:
    """Change a node that runs, in a child: exchange files, and take back and add to its network by lines for ``ip``."""
    enter({name: handle for name, handle in spaces.items() if name != "user"})
    for source, place in files:
        with contextlib.suppress(OSError):
            call("umount2", place.encode(), MNT_DETACH)
        if os.path.exists(place):
            mount(source, place, flags=MS_BIND)
    if undo:
        # What went with something else need not be an error.
        argv = ["ip", "-force", "-batch", "-"]
        subprocess.run(argv, input="\n".join(undo).encode(), capture_output=True, env=ENVIRONMENT, check=False)
    if lines:
        run_ip(lines, channel.fileno())

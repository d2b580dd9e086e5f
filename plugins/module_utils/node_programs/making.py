# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making a node, and changing it while it runs: its namespaces, TAPs and network; its mounts are in `mounts`. All of it is a child's work.

Where a child says what went wrong is its end of a socket, ``channel``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import signal
import socket
import struct
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from . import mounts
from .node import Wanted
from .spaces import CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWUTS, ENVIRONMENT, SPACES, be, call, enter, write

PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP = 28, 4
# Ids in a node, from 0 on.
IDS = 65536

TUNSETIFF, TUNSETPERSIST, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x400454CB, 0x0002, 0x1000
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


def tune(which: str) -> None:
    """Let an interface, those that there are or those to come, behave as every node's do."""
    for name, value in INTERFACE.items():
        if which == "all" and name.startswith("ipv6"):
            continue  # Whoever talks to itself may do so by either.
        with contextlib.suppress(FileNotFoundError):
            write(f"/proc/sys/net/{name.format(which)}", value)


def become(ids: Sequence[int], most: int) -> dict[str, int]:
    """Make the namespaces user, net, uts and ipc, and go into all but the first. Returns descriptors of all.

    ``ids`` are what the node's root is outside, and whom the user namespace belongs to: what the kernel counts for that account, in all
    nodes together, is the experiment's and not that of the host's root. ``most`` is how many processes that may be.
    They are made by a child in the user namespace, so that it owns them, and entered by us, who stay the host's root outside of it.
    """
    first, owner = ids
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            # With all rights, but as somebody else.
            call("prctl", PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)
            be(owner, owner)
            resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
            call("unshare", CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC)
            os.write(writer, b"+")
            signal.pause()
        finally:
            os._exit(1)
    try:
        os.close(writer)
        if not os.read(reader, 1):
            raise OSError(0, "namespaces cannot be made")
        os.close(reader)
        for what in ("uid", "gid"):
            write(f"/proc/{child}/{what}_map", f"0 {first} {IDS}\n")
        spaces = {name: os.open(f"/proc/{child}/ns/{name}", os.O_RDONLY) for name in ("user", "net", "uts", "ipc")}
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    for name in ("net", "uts", "ipc"):
        call("setns", spaces[name], SPACES[name])
    return spaces


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


def prepare(entry: dict[str, Any], covered: Sequence[str], channel: socket.socket) -> None:
    """Make the mounts that a node begins with, in a child, and hand them to the supervisor."""
    call("unshare", CLONE_NEWNS)
    kind, *places = mounts.layout(entry)
    mounts.prepare(kind, places, covered)
    socket.send_fds(channel, [b"+"], [os.open("/proc/self/ns/mnt", os.O_RDONLY)])


def build(entry: dict[str, Any], wanted: Wanted, prepared: int, channel: socket.socket) -> NoReturn:
    """Make a node, in a child: hand its namespaces and TAPs to the supervisor, and set up its network."""
    host = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    sources = mounts.sources(entry)
    call("setns", prepared, CLONE_NEWNS)
    call("unshare", CLONE_NEWNS)
    spaces, lines = {}, []
    if entry["kind"] == "process":
        spaces, lines = become(wanted.ids, wanted.limits["together"]), ["link set dev lo up"]
        write("/proc/sys/net/ipv4/ip_forward", "1")
        # Programs get no rights from files in a node, so that ping has to do without.
        write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")
        tune("all")
        tune("default")
        socket.sethostname(entry["name"])
    else:
        call("unshare", CLONE_NEWIPC)
        spaces = {"ipc": os.open("/proc/self/ns/ipc", os.O_RDONLY)}
    taps = open_taps(entry)
    for plug in entry["plugs"]:
        tune(plug[0])
    mounts.furnish(entry, sources, wanted.ids[0])
    spaces["mnt"] = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    # No program of what the node has under the host's names is run with the host's rights.
    call("setns", host, CLONE_NEWNS)
    socket.send_fds(channel, [" ".join(spaces).encode()], [*spaces.values(), *taps])
    channel.recv(1)
    for device, mac, *dummy in entry["plugs"]:
        lines += [f"link set dev {device} address {mac}", f"link set dev {device} alias {os.environ.get('BENITO_MARK', '-')}"]
    run_ip(lines + [done for dummy, done in entry["network"]], channel.fileno())


def alter(spaces: Mapping[str, int], files: Sequence[list[str]], undo: Sequence[str], lines: Sequence[str], channel: socket.socket) -> None:
    """Change a node that runs, in a child: exchange files, and take back and add to its network by lines for ``ip``."""
    host = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    taken = [(mounts.take_along(source), place, os.path.realpath(place)) for source, place in files]
    enter({"mnt": spaces["mnt"]})
    for handle, place, expected in taken:
        mounts.exchange(handle, place, expected)
    enter({"mnt": host, **({"net": spaces["net"]} if "net" in spaces else {})})
    if undo:
        # What went with something else need not be an error.
        argv = ["ip", "-force", "-batch", "-"]
        subprocess.run(argv, input="\n".join(undo).encode(), capture_output=True, env=ENVIRONMENT, check=False)
    if lines:
        run_ip(lines, channel.fileno())

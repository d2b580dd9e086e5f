# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that a process node has of its own in the midst of its host's: names, routes, what programs of an experiment read.

Below the experiment's directory:

guests/ID/                 root's
    hostname
    var/                   in the node: /var/benito, and /var/containers as of old
        config/ launch/    what is planned
        log/               of the node's account: what the start command says
    emulab/                in the node: /var/emulab
    root/                  of the node's account; in the node: /root
nodes/hosts/DIGEST         a hosts file; nodes that see the same names share one
nodes/empty                in the node: /etc/resolv.conf
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterable, Mapping, Sequence

from . import hosts_block
from .guest import Guest, Nic
from .guest_config import host_names, hosts_text
from .rundir import RunDir, write_file

ROUTES = """#!/bin/sh
# routes.py CONFIGDIR [HOSTNAME]
#
# Installs the routes of a node: the lines "TO VIA DEVICE" of CONFIGDIR/route/HOSTNAME. The name ends in .py because that is what it
# has always been called.
if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: routes.py CONFIGDIR [HOSTNAME]" >&2
    exit 2
fi
name=${2-}
[ -n "$name" ] || name=$(hostname)
name=${name%%.*}
if [ ! -r "$1/route/$name" ]; then
    echo "routes.py: no routes of $name: $1/route/$name cannot be read" >&2
    exit 1
fi
awk 'NF { print "route replace " $1 " via " $2 " dev " $3 }' "$1/route/$name" | ip -force -batch -
"""
WIDE = 0o755


class Hosts:
    """The hosts files of an experiment on this host, each distinct one once."""

    def __init__(self, rundir: RunDir, table: Sequence[Sequence[object]]) -> None:
        self.rundir = rundir
        self.table = table
        self.directory = f"{rundir.path}/nodes/hosts"
        self._known: dict[tuple[frozenset[tuple[str, str]], bool], tuple[str, bytes]] = {}

    def path(self, guest: Guest, on_host: bool = False) -> str:
        """Return where the hosts file of a node is, or will be; that of a node in the host's own network has also the host's names."""
        return f"{self.directory}/{self._content(guest, on_host)[0]}"

    def host_names(self, guest: Guest) -> str:
        """Return what the host's own hosts file is to say of the experiment, as seen by a node that is the host."""
        return hosts_block.qualified(self.rundir, host_names(guest, self.table))

    def _content(self, guest: Guest, on_host: bool) -> tuple[str, bytes]:
        key = frozenset(guest.plain_names.items()), on_host
        if key not in self._known:
            text = hosts_text(guest, self.rundir, self.table).encode()
            if on_host:
                text = hosts_block.foreign() + text.partition(b"\n")[2]
            self._known[key] = hashlib.sha256(text).hexdigest()[:16], text
        return self._known[key]

    def write(self) -> None:
        """Write the files of all nodes that were asked for."""
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        os.chmod(self.directory, 0o700)
        for name, text in self._known.values():
            settle(f"{self.directory}/{name}", text)

    def tidy(self, wanted: Iterable[str]) -> None:
        """Remove the files that no node has any more."""
        kept = set(wanted)
        with contextlib.suppress(OSError):
            for name in os.listdir(self.directory):
                if f"{self.directory}/{name}" not in kept:
                    os.unlink(f"{self.directory}/{name}")


def _mac(nic: Nic) -> str:
    """Return the MAC of an interface; that of a real one is the host's own, and empty when it is not there."""
    if not nic.real:
        return nic.mac
    try:
        with open(f"/sys/class/net/{nic.device}/address", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def texts(guest: Guest, rundir: RunDir) -> dict[str, str]:
    """Return what a node is told about itself, by path below its directory."""
    short = [f"{nic.device} {nic.address} {_mac(nic).replace(':', '')}" for nic in guest.nics]
    files = {
        "hostname": guest.name,
        "var/pid": rundir.project,
        "var/eid": rundir.experiment,
        "var/config/pid_eid": f"{rundir.project}\n{rundir.experiment}",
        f"var/config/route/{guest.name}": "\n".join(f"{r.to} {r.via} {r.device}" for r in guest.routes),
        "emulab/boot/nickname": f"{guest.name}.{rundir.experiment}.{rundir.project}",
        "emulab/boot/nodeid": guest.name,
        "emulab/boot/realname": guest.name,
        "emulab/boot/mydomain": f"{rundir.experiment}.{rundir.project}",
        "emulab/boot/role": "node",
        "emulab/boot/creator": "root",
        "emulab/boot/controlif": "",
        "emulab/boot/ifmap": "\n".join(short),
    }
    return {name: f"{text}\n" if text else "" for name, text in files.items()}


def furnish(home: str, files: Mapping[str, str], keys: str, owner: int) -> None:
    """Bring the directory of a node to what it must hold; ``owner`` is the id of its root. Raises OSError."""
    os.makedirs(home, exist_ok=True)
    # The node has what is in it elsewhere.
    os.chmod(home, 0o700)
    for name in ("var/config/route", "var/launch", "emulab/boot"):
        os.makedirs(f"{home}/{name}", mode=WIDE, exist_ok=True)
    for name, mode in (("var/log", WIDE), ("root", 0o700)):
        if not os.path.isdir(f"{home}/{name}"):
            os.mkdir(f"{home}/{name}", mode)
        if os.stat(f"{home}/{name}").st_uid != owner:
            give(f"{home}/{name}", owner)
    for name, text in files.items():
        settle(f"{home}/{name}", text.encode())
    for name in os.listdir(f"{home}/var/config/route"):
        if f"var/config/route/{name}" not in files:
            os.unlink(f"{home}/var/config/route/{name}")
    settle(f"{home}/var/launch/routes.py", ROUTES.encode(), WIDE)
    if not os.path.islink(f"{home}/var/config/hosts"):
        os.symlink("/etc/hosts", f"{home}/var/config/hosts")
    plant(f"{home}/root", ".ssh", "authorized_keys", keys.encode(), owner)


def give(path: str, owner: int) -> None:
    """Give a directory with all that is in it to an account; no link is followed."""
    os.chown(path, owner, owner, follow_symlinks=False)
    for dummy, folders, files, handle in os.fwalk(path):
        for name in [*folders, *files]:
            os.chown(name, owner, owner, dir_fd=handle, follow_symlinks=False)


def settle(path: str, content: bytes, mode: int = 0o644) -> None:
    """Write a file of root's if it is not as wanted."""
    try:
        with open(path, "rb") as file:
            if file.read() == content:
                return
    except FileNotFoundError:
        # Where nothing is, nobody can see a half of it that was not half before: what is cut short is not as wanted next time.
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
        return
    write_file(path, content, mode)


def plant(base: str, directory: str, name: str, content: bytes, owner: int) -> None:
    """Write a file into a directory that a node's account owns, which may have put links anywhere: none is followed."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    above = os.open(base, flags)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory, 0o700, dir_fd=above)
            os.chown(directory, owner, owner, dir_fd=above, follow_symlinks=False)
        within = os.open(directory, flags, dir_fd=above)
        try:
            if _holds(within, name, content):
                return
            draft = f".{name}.new"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(draft, dir_fd=within)
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=within)
            with open(handle, "wb") as file:
                os.fchown(handle, owner, owner)
                file.write(content)
            os.rename(draft, name, src_dir_fd=within, dst_dir_fd=within)
        finally:
            os.close(within)
    finally:
        os.close(above)


def _holds(directory: int, name: str, content: bytes) -> bool:
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return False
    with open(handle, "rb") as file:
        return stat.S_ISREG(os.fstat(handle).st_mode) and file.read(len(content) + 1) == content

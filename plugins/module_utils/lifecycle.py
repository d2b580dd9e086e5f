# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""One guest: prepare, launch, reconfigure, plug in again, stop, remove."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import disks, host_key, host_links, qemu
from .boot_state import read
from .guest import Guest
from .guest_config import config_files, pack
from .processes import Process, ProcessError, alive, marked, spawn, stop
from .qmp import Qmp, QmpError
from .rundir import RunDir, own_directory, passage, read_json, remove, write_file, write_json
from .service_ids import service
from .sleeping import load
from .template import Template
from .templates import CACHE
from .unix_sockets import connect

# What a guest writes to its console and state port is its own business, but not how much of the host's disk it takes.
LARGEST_LOG = 64 << 20


@dataclass(frozen=True)
class Surroundings:
    """What the guests of one host share.

    ``control`` is the document's ``control`` or None; ``hosts`` the table of the whole experiment; ``machines`` by name of image;
    ``authorized_keys`` and ``resolver`` are texts of files; ``templates`` is the directory of what guests are woken up from.
    """

    rundir: RunDir
    machines: Mapping[str, qemu.Machine]
    hosts: Sequence[Sequence[object]]
    control: Mapping[str, Any] | None
    authorized_keys: str
    resolver: str
    templates: str = CACHE


def process_of(rundir: RunDir, id_: str) -> Process | None:
    """Return the living process of a guest."""
    process = Process.from_record(read_json(f"{rundir.guest(id_)}/launch.json").get("process"))
    return process if alive(process) else None


def archive(around: Surroundings, guest: Guest) -> tuple[str, bytes]:
    """Return the key and the bytes of a guest's configuration; its host key must be there."""
    key = qemu.files(around.rundir, guest)["key"]
    secrets = {"authorized_keys": around.authorized_keys, "ssh_host_ed25519_key": host_key.private(key)}
    content = config_files(guest, around.rundir, around.hosts, around.control, secrets, around.resolver)
    # The same key for the other server: to convert it would be a good part of what a guest has to do.
    return content["key"].strip(), pack({**content, "dropbear_ed25519_host_key": host_key.dropbear(key)})


def prepare(around: Surroundings, guest: Guest) -> str:
    """Make the guest's directory and host key; return the public key."""
    path = qemu.files(around.rundir, guest)
    passage(path["home"])
    own_directory(path["io"], service(around.rundir))
    host_key.make(path["key"])
    return host_key.public(path["key"])


def launch(around: Surroundings, guest: Guest, template: Template | None = None, remark: str = "") -> Process:
    """Start a guest in place of whatever is left of an earlier run. Raises ProcessError, LinkError, OSError.

    With a template, its QEMU then waits for `wake`. ``remark`` is for people, and stays as long as the guest runs.
    """
    rundir, path = around.rundir, qemu.files(around.rundir, guest)
    for share in guest.shares:
        if not os.path.isdir(share.path):
            raise ProcessError(f"there is no directory {share.path} on this host, which it is to share")
    halt(rundir, guest.id)
    for stray in marked(rundir.mark, f"{path['home']}/"):
        stop(stray, first=signal.SIGKILL)
    machine, record = around.machines[guest.image], read_json(path["record"])
    if never_woken(rundir, guest.id):
        # What is on its disk is its template's, not its own.
        record = {}
    public_key = prepare(around, guest)
    ids = service(rundir, shares=bool(guest.shares))
    disk = disks.lay(path, machine, record, ids, template.disk if template else "")
    for leftover in ("qmp", "agent", "console", "console_log", "state"):
        remove(path[leftover])
    key, content = archive(around, guest)
    write_config(path["config"], content, ids.gid)
    handles = []
    try:
        if guest.control and around.control:
            host_links.add_tap(guest.control.tap, around.control["bridge"], rundir.mark)
            handles.append(host_links.open_tap(guest.control.tap))
        argv = qemu.command(rundir, guest, machine, layered="layer" in disk) + (template.options() if template else [])
        largest = LARGEST_LOG + disks.most_written(machine)
        more: dict[str, Any] = {"handles": handles, "largest": largest, "plain_files": any(share.writable for share in guest.shares)}
        process = spawn(argv, mark=rundir.mark, log=path["log"], user=ids, unit="benito-guest", **more)
    finally:
        for handle in handles:
            os.close(handle)
    record = {
        "name": guest.name,
        "kind": "qemu",
        "process": process.to_record(),
        "config_key": key,
        "ssh_host_key": public_key,
        "tap": guest.control.tap if guest.control else "",
        "plugs": [[nic.switch, nic.port, nic.substrate] for nic in guest.nics],
        "disk": disk,
        "wanted": "started",
        "start": "warm" if template else "cold",
        "woken": not template,
        "remark": remark,
    }
    write_json(path["record"], record)
    return process


def wake(around: Surroundings, guest: Guest, template: Template, process: Process) -> socket.socket:
    """Give a guest that was launched with a template what it is: its state, and its configuration. Raises HostError, OSError.

    The connection that is returned stays until the guest has answered: what it has not read yet would be lost.
    """
    path = qemu.files(around.rundir, guest)
    with open(path["config"], "rb") as file:
        content = file.read()
    connection = load(template.state_for(guest), path, process)
    try:
        connection.sendall(b"config %d %d\n" % (len(content), round(time.time())) + content)
    except OSError:
        connection.close()
        raise
    return connection


def never_woken(rundir: RunDir, id_: str) -> bool:
    """Tell whether a guest was to be woken up, and never said that it was."""
    home = rundir.guest(id_)
    return not read_json(f"{home}/launch.json").get("woken", True) and not read(f"{home}/io/state").boots


def mark_woken(rundir: RunDir, id_: str) -> None:
    """Remember that a guest has woken up: what it says of itself does not go back for ever."""
    path = f"{rundir.guest(id_)}/launch.json"
    if not read_json(path).get("woken", True):
        write_json(path, {**read_json(path), "woken": True})


def write_config(path: str, content: bytes, group: int) -> None:
    """Write the archive so that QEMU, which runs as the ``group``, and nobody else but root can read it: a host key is in it."""
    # Its own in the beginning: nobody reads it before it is theirs to read.
    write_file(path, content, 0o600)
    os.chown(path, 0, group)
    os.chmod(path, 0o640)


def reconfigure(around: Surroundings, guest: Guest, patience: float = 20.0) -> None:
    """Hand a running guest its new configuration through its config port. Raises ProcessError when it does not take it."""
    path = qemu.files(around.rundir, guest)
    # QEMU read the archive of the boot when it was started: that one stays as it is until the next start.
    key, content = archive(around, guest)
    deadline = time.monotonic() + patience
    # What it complained of earlier is not its answer to this.
    faults = read(path["state"]).faults
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(patience)
            connect(connection, path["agent"])
            connection.sendall(b"config %d\n" % len(content) + content)
            # The connection stays until the guest has answered: what it has not read yet would be lost.
            while (said := read(path["state"])).configured != key:
                if said.faults > faults:
                    raise ProcessError(f"it did not take its new configuration: {said.errors[-1]}")
                if time.monotonic() > deadline:
                    raise ProcessError(f"it did not take its new configuration: no answer within {patience:.0f} s")
                time.sleep(0.05)
    except OSError as error:
        raise ProcessError(f"it did not take its new configuration: {error}") from error
    record = read_json(path["record"])
    write_json(path["record"], {**record, "config_key": key})


def halt(rundir: RunDir, id_: str, patience: float = 0.0) -> bool:
    """Stop a guest: with patience, the guest is asked to power off first; then QEMU is told to quit. True when it ran."""
    process = process_of(rundir, id_)
    if not process:
        return False
    home = rundir.guest(id_)
    if patience:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connect(connection, f"{home}/io/config")
            connection.sendall(b"poweroff\n")
            deadline = time.monotonic() + patience
            while alive(process) and time.monotonic() < deadline:
                time.sleep(0.05)
    if alive(process):
        with contextlib.suppress(QmpError), Qmp(f"{home}/io/qmp", patience=1.0) as qmp:
            qmp.execute("quit")
    stop(process, patience=2.0)
    return True


def mark_stopped(rundir: RunDir, id_: str) -> None:
    """Remember that a guest is down because somebody wanted it so."""
    path = f"{rundir.guest(id_)}/launch.json"
    write_json(path, {**read_json(path), "wanted": "stopped"})


def discard(rundir: RunDir, id_: str) -> bool:
    """Stop a guest and remove everything it had. True when there was something."""
    home = rundir.guest(id_)
    tap = str(read_json(f"{home}/launch.json").get("tap") or "")
    found = halt(rundir, id_)
    for stray in marked(rundir.mark, f"{home}/"):
        found = stop(stray, first=signal.SIGKILL) or found
    if tap and host_links.alias(tap) == rundir.mark:
        host_links.delete(tap)
    return remove(home) or found

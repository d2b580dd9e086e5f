# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest that is put to sleep, and its copies that wake up: memory in a file, the state of the devices from QEMU to QEMU."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator, Mapping

from . import disks
from .accounts import account
from .boot_state import read
from .guest import Guest
from .processes import Process, alive, marked, spawn, stop, tail
from .qemu import Machine, files_in, template_command
from .qmp import Qmp, QmpError
from .rundir import ACCOUNT, RunDir, own_directory, passage, write_file
from .template import NoSleep, TemplateError, memory_options, shape

# The parts of a template.
MEMORY, STATE, DISK = "memory", "state", "disk.qcow2"
# What a template says and prints.
LARGEST_LOG = 1 << 20
TICK = 0.005
PIECE = 1 << 16


def make(rundir: RunDir, home: str, draft: str, guest: Guest, machine: Machine, patience: float) -> None:
    """Boot a guest of the shape and put its memory and state into ``draft``. Its sockets are below ``home``."""
    path = files_in(home)
    passage(os.path.dirname(home))
    passage(home)
    own_directory(path["io"], ACCOUNT)
    for stray in marked(rundir.mark, f"{home}/"):
        stop(stray, first=signal.SIGKILL)
    disk = f"{draft}/{DISK}" if machine.disk else ""
    if disk:
        own_file(disk)
        disks.create(disk, machine.disk, machine.disk_format)
    # Not in the file at once: a disk that is full would kill the guest, and one that is slow would slow it down.
    argv = template_command(home, shape(guest, home), machine, disk) + memory_options(guest.memory, type="memfd", share=True)
    largest = max(guest.memory << 20, disks.most_written(machine)) + LARGEST_LOG
    process = spawn(argv, mark=rundir.mark, log=path["log"], user=ACCOUNT, unit="benito-template", largest=largest)
    try:
        deadline = time.monotonic() + patience
        with monitor(path["qmp"], process, path["log"]) as qmp, line_to(path["agent"]):
            while not read(path["state"]).asleep:
                if not alive(process):
                    raise TemplateError(f"its QEMU has ended: {last_words(path)}")
                if time.monotonic() > deadline:
                    raise NoSleep(f"it did not fall asleep within {patience:.0f} s: {last_words(path)}")
                time.sleep(0.05)
            settle(process)
            write_file(f"{draft}/{STATE}", save(qmp))
            copy_memory(process, f"{draft}/{MEMORY}")
            qmp.execute("quit")
    finally:
        stop(process, patience=5.0, first=signal.SIGTERM)
    if disk:
        disks.protect(disk)
    for name in os.listdir(draft):
        with open(f"{draft}/{name}", "rb") as file:
            os.fsync(file.fileno())


def last_words(path: Mapping[str, str]) -> str:
    """Return what a guest or its QEMU printed last."""
    return tail(path["console_log"], 1) or tail(path["log"], 1) or "nothing on its console"


def own_file(path: str) -> None:
    """Make a file that the guests' account may write to, where it may make none."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        os.fchown(descriptor, account(ACCOUNT).pw_uid, account(ACCOUNT).pw_gid)
    finally:
        os.close(descriptor)


def copy_memory(process: Process, path: str) -> None:
    """Copy a stopped guest's memory into a file that guests can use, without its empty pages."""
    source = ""
    for entry in os.scandir(f"/proc/{process.pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            source = entry.path if os.readlink(entry.path).startswith("/memfd:") else source
    if not source:
        raise TemplateError("the memory of its QEMU cannot be found")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(source, "rb", buffering=0) as memory, open(descriptor, "wb", buffering=0) as file:
        os.fchmod(descriptor, 0o600)
        os.fchown(descriptor, account(ACCOUNT).pw_uid, account(ACCOUNT).pw_gid)
        nothing = bytes(PIECE)
        while piece := memory.read(PIECE):
            if piece == nothing[: len(piece)]:
                file.seek(len(piece), os.SEEK_CUR)
            else:
                file.write(piece)
        file.truncate(memory.tell())


def settle(process: Process, patience: float = 3.0) -> None:
    """Wait until a guest that has booted has nothing to do any more."""

    def spent() -> int:
        with open(f"/proc/{process.pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    deadline, last = time.monotonic() + patience, spent()
    while time.monotonic() < deadline:
        time.sleep(0.2)
        now = spent()
        if now - last <= 1:
            return
        last = now


@contextlib.contextmanager
def state_line(qmp: Qmp) -> Iterator[socket.socket]:
    """Give QEMU one end of a line, ``fd:state``, and the caller the other; what goes over it has no memory of the guest's."""
    qmp.execute("migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}])
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(20)
        qmp.hand_over("state", theirs.fileno())
        theirs.close()
        yield ours


def save(qmp: Qmp) -> bytes:
    """Stop a guest and return the state of its devices, without its memory."""
    qmp.execute("stop")
    with state_line(qmp) as ours:
        qmp.execute("migrate", uri="fd:state")
        pieces = []
        while piece := ours.recv(1 << 16):
            pieces.append(piece)
    deadline = time.monotonic() + 20
    while (status := qmp.status("query-migrate")) != "completed":
        if status in ("failed", "cancelled") or time.monotonic() > deadline:
            raise TemplateError(f"its state cannot be saved: {status}")
        time.sleep(TICK)
    return b"".join(pieces)


def load(state: bytes, path: dict[str, str], process: Process) -> socket.socket:
    """Give a clone that waits for it its template's state and let it run; return the line to its agent.

    Whoever speaks there stays until the guest has answered. Raises TemplateError, QmpError, OSError.
    """
    with monitor(path["qmp"], process, path["log"]) as qmp:
        try:
            # The guest comes to its network as new: nobody there has to learn where it went.
            qmp.execute("migrate-set-parameters", **{"announce-rounds": 0})
            with state_line(qmp) as ours:
                qmp.execute("migrate-incoming", uri="fd:state")
                ours.sendall(state)
            deadline = time.monotonic() + 20
            while (status := qmp.status("query-status")) == "inmigrate":
                if time.monotonic() > deadline:
                    raise TemplateError("the state of its template does not load within 20 s")
                time.sleep(TICK)
            if status != "paused":
                raise TemplateError(f"with the state of its template it is {status}")
            # The template had a listener at this end: the agent hears at once.
            line = line_to(path["agent"])
            try:
                qmp.execute("cont")
            except QmpError:
                line.close()
                raise
            return line
        except (QmpError, OSError) as error:
            said = tail(path["log"], 1)
            raise TemplateError(f"the state of its template does not load: {said or error}") from error


def line_to(path: str) -> socket.socket:
    """Return a connection to the agent's port."""
    line = socket.socket(socket.AF_UNIX)
    try:
        line.settimeout(20)
        line.connect(path)
    except OSError:
        line.close()
        raise
    return line


def monitor(path: str, process: Process, log: str, patience: float = 20.0) -> Qmp:
    """Return the monitor of a QEMU that has just been started."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return Qmp(path, patience)
        except QmpError as error:
            if not alive(process):
                raise TemplateError(f"its QEMU has ended: {tail(log, 1) or 'no output'}") from error
            if time.monotonic() > deadline:
                raise
        time.sleep(TICK)

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The disks of guests: each has one of its own, over that of its image, or over that of the template it was woken up from."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Mapping
from typing import Any

from .accounts import Identity
from .processes import ProcessError
from .qemu import Machine
from .rundir import remove


def lay(path: Mapping[str, str], machine: Machine, record: Mapping[str, Any], owner: Identity, template: str = "") -> dict[str, Any]:
    """Give a guest a disk of its own; return what those below are known by. Raises ProcessError, OSError.

    ``path`` are the guest's `files`, ``record`` says over what its disk lies so far. What it wrote earlier is kept as long as that is what
    it was written over, unless it is to lie over the disk of a ``template``. ``owner`` is what its QEMU runs as.
    """
    if not machine.disk:
        forget(path)
        return {}
    if not template and keeps(path, machine, record):
        return dict(record["disk"])
    below = image_disk(machine)
    forget(path)
    if template:
        share(template, path["layer"])
        below["layer"] = facts(path["layer"])
    create(path["disk"], *((path["layer"], "qcow2") if template else (machine.disk, machine.disk_format)), owner)
    return below


def keeps(path: Mapping[str, str], machine: Machine, record: Mapping[str, Any]) -> bool:
    """Tell whether a guest has a disk that it can be started with again. Raises ProcessError."""
    disk = record.get("disk") or {}
    if not machine.disk or {**disk, "layer": None} != {**image_disk(machine), "layer": None} or not os.path.lexists(path["disk"]):
        return False
    there = facts(path["layer"]) if os.path.exists(path["layer"]) else None
    return bool(disk.get("layer") == there)


def forget(path: Mapping[str, str]) -> None:
    """Remove a guest's disk."""
    for part in ("disk", "layer"):
        remove(path[part])


def image_disk(machine: Machine) -> dict[str, Any]:
    """Return what the disk of an image is known by. Raises ProcessError."""
    try:
        size, when = facts(machine.disk)
    except OSError as error:
        raise ProcessError(f"the disk {machine.disk} of its image cannot be used: {error.strerror}") from error
    return {"path": machine.disk, "format": machine.disk_format, "size": size, "time": when}


def facts(path: str) -> list[int]:
    """Return what a disk is known by: its size, and when it was written to. Raises OSError."""
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns]


def share(disk: str, path: str) -> None:
    """Put the disk of a template where its guest keeps it, whatever becomes of the template: the same file, or a copy of it."""
    try:
        os.link(disk, path)
    except OSError:
        # Another file system.
        shutil.copyfile(disk, path)
        protect(path)


def protect(path: str) -> None:
    """Make a disk one that guests of all experiments can read and nobody but root can write to: like an image, it has nothing of theirs."""
    os.chown(path, 0, 0)
    os.chmod(path, 0o444)


def create(path: str, below: str, format: str, owner: Identity) -> None:
    """Make a disk over another one. Raises ProcessError.

    QEMU's own tool makes it, as the ids that own the place: what may lie there is not root's business.
    """
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", format, "-b", below, path]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd="/", **owner.popen)
    except OSError as error:
        raise ProcessError(f"qemu-img cannot be run: {error.strerror}; the package qemu-utils has it") from error
    if done.returncode:
        raise ProcessError(f"its disk cannot be made: {' '.join(done.stderr.split())}")


def most_written(machine: Machine) -> int:
    """Return how large a guest's own disk can get, in bytes: all of what it sees, and the tables to find it."""
    if not machine.disk:
        return 0
    size = os.stat(machine.disk).st_size
    if machine.disk_format == "qcow2":
        with open(machine.disk, "rb") as file:
            header = file.read(32)
        size = struct.unpack(">Q", header[24:32])[0] if len(header) == 32 and header.startswith(b"QFI\xfb") else 0
    return size + size // 64

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Templates: guests that were booted once, without an identity, and put to sleep, for others of the same shape to be woken up from.

A template is a directory KEY with ``memory``, which clones map copy-on-write, ``state``, of the devices, ``manifest.json``, and for an
image with a disk ``disk.qcow2``, which has what the template wrote there, and over which clones write. KEY is a hash of everything that a
sleeping guest knows: the content of the files it was booted from and of QEMU, the processor, the machine with its number and kind of
devices. It is made in a directory .KEY beside its place, which is also the lock, and renamed when it is whole; one that is not as its
manifest says, or that does not load, is thrown away. It has nothing of an experiment: no name, no key, no network.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from . import disks
from .digests import digests
from .errors import HostError
from .guest import Guest
from .locks import acquire, is_at
from .qemu import Machine, template_command
from .rundir import PASSAGE, RunDir, passage, read_json, remove, write_file, write_json
from .sleeping import DISK, MEMORY, STATE, make
from .template import NoSleep, Template, TemplateError, memory_options, shape

CACHE = "/var/cache/benito/templates"
# Raise this when the same inputs would give another template.
RECIPE = 2
# How many are kept.
MOST = 16
# MB beside the memory, and beside that for what is written to a disk.
SLACK, DISK_SLACK = 32, 256
# For how long, in seconds, nobody tries again by himself to make one that could not be made.
REMEMBERED = 24 * 3600
# Seconds to wait for another run that makes the same template.
PATIENCE = 900.0


def checked(directory: str) -> str:
    """Check the directory of templates, which becomes part of QEMU's options. Raises TemplateError."""
    if not re.match(r"(/[A-Za-z0-9._-]+)+\Z", directory) or ".." in directory:
        raise TemplateError(f"templates must be a plain absolute path, not {directory[:80]!r}")
    return directory


def inputs(machine: Machine, directory: str) -> dict[str, Any]:
    """Return what a template is made with, beside its shape: files, each with its digest, and the host's processor.

    Digests are remembered in the ``directory`` of templates. Raises TemplateError.
    """
    program = shutil.which("qemu-system-x86_64")
    if not program:
        raise TemplateError("there is no qemu-system-x86_64 on this host: the package qemu-system-x86 has it")
    paths = [path for path in (machine.kernel, machine.initrd, machine.disk, os.path.realpath(program)) if path]
    found = digests(directory, paths)
    missing = [path for path in paths if path not in found]
    if missing:
        raise TemplateError(f"{missing[0]} cannot be read")
    return {"files": [[path, found[path]] for path in paths], "processor": processor()}


def processor() -> str:
    """Return the host's processor: its name, and what it can do."""
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        lines = file.read().split("\n\n", 1)[0].splitlines()
    return "\n".join(line for line in lines if line.startswith(("vendor_id", "cpu family", "model", "stepping", "microcode", "flags")))


def key_of(guest: Guest, machine: Machine, made_with: Mapping[str, Any]) -> str:
    """Return the key of the template for a guest. ``made_with`` are the machine's `inputs`."""
    # Where the files lie does not matter, only what is in them; but the template's disk says over which it lies.
    nowhere = replace(machine, kernel="", initrd="")
    argv = template_command("", shape(guest, ""), nowhere, "own")
    content = [digest for dummy, digest in made_with["files"]]
    whole = [RECIPE, argv, memory_options(guest.memory, type="memfd", share=True), content, made_with["processor"]]
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:16]


def find(directory: str, key: str) -> Template | None:
    """Return a template that is there, whole and untouched; one that is not is thrown away."""
    path = f"{directory}/{key}"
    if not os.path.isdir(path):
        return None
    try:
        manifest = read_json(f"{path}/manifest.json")
        if manifest.get("parts") == parts(path):
            disk = f"{path}/{DISK}" if DISK in manifest["parts"] else ""
            with open(f"{path}/{STATE}", "rb") as file:
                found = Template(path, int(manifest["memory"]), file.read(), disk)
            os.utime(path)
            return found
    except (OSError, KeyError, ValueError):
        pass
    discard(path)
    return None


def parts(path: str) -> dict[str, list[int]]:
    """Return what the files of a template are known by. Whoever writes to them, as guests' account may to the memory, changes it."""
    found = {}
    for name in (MEMORY, STATE):
        status = os.stat(f"{path}/{name}")
        found[name] = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    if os.path.exists(f"{path}/{DISK}"):
        # Its inode changes with each guest that takes it as its own.
        found[DISK] = disks.facts(f"{path}/{DISK}")
    return found


def discard(path: str) -> None:
    """Throw a template away; it is never seen half removed. Clones that run keep what they have of it."""
    aside = f"{os.path.dirname(path)}/.old-{os.path.basename(path)}-{os.urandom(4).hex()}"
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, aside)
    remove(aside)


@contextlib.contextmanager
def drafting(directory: str, key: str) -> Iterator[str]:
    """Give an empty directory to make a template in, to one at a time. It is gone afterwards if it was not renamed."""
    passage(directory)
    draft = f"{directory}/.{key}"
    while True:
        with contextlib.suppress(FileExistsError):
            # Not for others to open: they could lock it for ever.
            os.mkdir(draft, 0o700)
        try:
            descriptor = os.open(draft, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # whoever was before us has just put it in its place
        try:
            acquire(descriptor, PATIENCE, f"another run is making the template {key}")
        except HostError:
            os.close(descriptor)
            raise
        if is_at(descriptor, draft):
            break
        os.close(descriptor)
    try:
        for leftover in os.listdir(draft):
            remove(f"{draft}/{leftover}")
        os.chmod(draft, PASSAGE)
        yield draft
    finally:
        if is_at(descriptor, draft):
            remove(draft)
        os.close(descriptor)


def failure(directory: str, key: str) -> str:
    """Return the path of what is remembered of a template that could not be made."""
    return f"{directory}/{key}.failed"


def failed(directory: str, key: str) -> str:
    """Return why a template could not be made, if it was tried lately; else nothing."""
    path = failure(directory, key)
    with contextlib.suppress(OSError):
        if abs(time.time() - os.stat(path).st_mtime) < REMEMBERED:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
        os.unlink(path)
    return ""


def ensure(rundir: RunDir, directory: str, guest: Guest, machine: Machine, patience: float) -> Template:
    """Return the template for a guest, made if need be. Raises TemplateError, ProcessError, QmpError, OSError."""
    made_with = inputs(machine, directory)
    key = key_of(guest, machine, made_with)
    found = find(directory, key)
    if found:
        return found
    with drafting(directory, key) as draft:
        found = find(directory, key)  # perhaps made by another while this one waited
        if found:
            return found
        space = os.statvfs(directory)
        free = space.f_bavail * space.f_frsize >> 20
        wanted = guest.memory + SLACK + (DISK_SLACK if machine.disk else 0)
        if free < wanted:
            raise TemplateError(f"{directory} has {free} MB free, and a template takes up to {wanted} MB")
        home = f"{rundir.path}/templates/{key}"
        try:
            make(rundir, home, draft, guest, machine, patience)
        except NoSleep as error:
            write_file(failure(directory, key), str(error).encode())
            raise
        finally:
            remove(home)
        if inputs(machine, directory) != made_with:
            raise TemplateError("what it is made with changed meanwhile")
        write_json(f"{draft}/manifest.json", {"memory": guest.memory, "parts": parts(draft), **made_with})
        os.rename(draft, f"{directory}/{key}")
    tidy(directory, key)
    made = find(directory, key)
    if not made:
        raise TemplateError(f"{directory}/{key} is not what was just put there: something else works in {directory}")
    return made


def tidy(directory: str, keep: str) -> None:
    """Throw away templates whose files have changed, those not used for longest if there are many, and what a crash has left."""
    old: list[tuple[float, str]] = []
    for entry in os.scandir(directory):
        if entry.name.endswith(".failed"):
            failed(directory, entry.name[: -len(".failed")])
        if not entry.is_dir(follow_symlinks=False) or entry.name == keep:
            continue
        if entry.name.startswith("."):
            abandon(entry.path)
        elif unchanged(directory, read_json(f"{entry.path}/manifest.json").get("files")):
            with contextlib.suppress(FileNotFoundError):
                old.append((os.stat(entry.path).st_mtime, entry.path))
        else:
            discard(entry.path)
    for dummy, path in sorted(old, reverse=True)[MOST - 1 :]:
        discard(path)


def unchanged(directory: str, files: Any) -> bool:
    """Tell whether the files of a manifest are still the same."""
    try:
        wanted = {str(path): digest for path, digest in files}
    except (TypeError, ValueError):
        return False
    return bool(wanted) and digests(directory, wanted) == wanted


def abandon(path: str) -> None:
    """Remove a draft that nobody works in."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(path)
        finally:
            os.close(descriptor)

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an experiment's records, sockets and logs live on a pnode.

    ROOT/ID/                          root's; the lock of the experiment is a lock on this directory
        experiment.json               project, experiment
        switches/ID/                  root's: launch.json, switch.log
            io/                       of the service account, which the switch runs as: ctl/, mgmt
        guests/ID/                    root's: launch.json, config.tar.gz, ssh_host_ed25519_key, qemu.log
            io/                       of the service account: qmp, config, console, state, console.log

Paths of UNIX sockets end at 107 bytes and VDE appends up to 15 to the path of a switch; with ids of at most 24 and 20 characters
no path under a root of LONGEST_ROOT gets longer.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from . import locks
from .accounts import account
from .errors import HostError
from .untrusted import UntrustedError, read_object

ROOT = "/var/lib/benito"
ACCOUNT = "benito"
# The service account passes through to what is its own, and sees nothing else.
PASSAGE = 0o711
LONGEST_ROOT, LONGEST_ID, LONGEST_PART = 30, 24, 20
LARGEST_RECORD = 64 << 20
# What fields of records are, whichever record it is.
FIELDS: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("name", "kind", "project", "experiment", "id", "node", "interface", "substrate", "remark", "reason"), str),
    **dict.fromkeys(("tap", "config_key", "ssh_host_key", "start", "listen", "listing", "rules", "table", "table_name"), str),
    **dict.fromkeys(("mark", "cable", "device", "disable_ipv6", "boot", "config", "digest"), (str, int)),
    **dict.fromkeys(("process", "processes", "down", "disk", "claim", "cables", "before", "after", "watchdog", "parts"), dict),
    **dict.fromkeys(("shares", "files", "addresses", "routes"), list),
    **dict.fromkeys(("woken", "whole", "up", "promisc", "settled"), (bool, type(None))),
    **dict.fromkeys(("pid", "left", "inside", "number", "memory", "turn", "since"), (int, float)),
    "account": (str, list),
    "plugs": (list, dict),
    "nodes": (list, dict),
    "wanted": (str, dict),
}
SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


class RunDirError(HostError):
    """The experiment's directory cannot be used; the text says why."""


def mark_of(project: str, experiment: str, root: str) -> str:
    """Return what every process, interface and table of an experiment carries."""
    return f"{root}:{project}/{experiment}"


@dataclass(frozen=True)
class RunDir:
    """The directory of one experiment on this host."""

    project: str
    experiment: str
    id: str
    root: str = ROOT

    @classmethod
    def from_options(cls, experiment: Mapping[str, Any], root: str = ROOT) -> RunDir:
        """Check the names, which become paths, and the root, which becomes part of QEMU options."""
        for key, longest in (("project", 64), ("experiment", 64), ("id", LONGEST_ID)):
            word = str(experiment.get(key, ""))
            if not SAFE.match(word) or len(word) > longest:
                raise RunDirError(f"experiment.{key} must be 1 to {longest} letters, digits, '.', '_' or '-', not {word[:80]!r}")
        if not re.match(r"/[A-Za-z0-9._/-]+\Z", root) or ".." in root or len(root) > LONGEST_ROOT:
            raise RunDirError(f"root must be a plain absolute path of at most {LONGEST_ROOT} characters, not {root[:80]!r}")
        return cls(str(experiment["project"]), str(experiment["experiment"]), str(experiment["id"]), root.rstrip("/"))

    @property
    def mark(self) -> str:
        """What every process, interface and table of this experiment carries."""
        return mark_of(self.project, self.experiment, self.root)

    @property
    def path(self) -> str:
        """The experiment's own directory."""
        return f"{self.root}/{self.id}"

    def switch(self, id_: str) -> str:
        """Directory of a switch."""
        return f"{self.path}/switches/{id_}"

    def guest(self, id_: str) -> str:
        """Directory of a guest."""
        return f"{self.path}/guests/{id_}"

    def create(self) -> None:
        """Make the directory and say whose it is. Raises RunDirError when it is another experiment's."""
        owner = read_json(f"{self.path}/experiment.json")
        if owner and (owner.get("project"), owner.get("experiment")) != (self.project, self.experiment):
            raise RunDirError(
                f"{self.path} belongs to {owner.get('project')}/{owner.get('experiment')}: "
                f"swap that experiment out, or give {self.project}/{self.experiment} another name"
            )
        for path in (self.root, self.path, f"{self.path}/switches", f"{self.path}/guests"):
            passage(path)
        if not owner:
            remove(f"{self.path}/experiment.json")
            write_json(f"{self.path}/experiment.json", {"project": self.project, "experiment": self.experiment, "id": self.id})

    @contextlib.contextmanager
    def locked(self, patience: float = 30.0) -> Iterator[None]:
        """Hold the experiment's lock; RunDirError when another run holds it for longer than ``patience`` seconds."""
        what = f"another run is working on {self.project}/{self.experiment} on this host"
        while True:
            self.create()
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                locks.acquire(descriptor, patience, what)
                # A swap-out may have removed the directory between our open and our lock.
                if locks.is_at(descriptor, self.path):
                    break
            except locks.LockError as error:
                os.close(descriptor)
                raise RunDirError(str(error)) from None
            os.close(descriptor)
        try:
            yield
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def host_lock(root: str, patience: float = 120.0) -> Iterator[None]:
    """Hold the lock on what all experiments of a host share; held for moments only. Raises LockError."""
    passage(root)
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        locks.acquire(descriptor, patience, f"another run is changing what all experiments of this host share, in {root}")
        yield
    finally:
        os.close(descriptor)


def natural_id(project: str, experiment: str) -> str:
    """Return the short name that the plan gives to an experiment, and so its directory."""
    name = f"{project}.{experiment}"
    return name if len(name) <= LONGEST_ID else f"{name[: LONGEST_ID - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def existing(root: str = ROOT) -> list[RunDir]:
    """Return the experiments that have a directory on this host."""
    found = []
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(root)):
            owner = read_json(f"{root}/{name}/experiment.json")
            if owner:
                found.append(RunDir(str(owner.get("project")), str(owner.get("experiment")), name, root))
    return found


def passage(path: str) -> None:
    """Make a directory of root's, whatever the umask, that the service account may pass through."""
    # Never readable by others, not for a moment: they could lock it for ever.
    os.makedirs(path, PASSAGE, exist_ok=True)
    os.chmod(path, PASSAGE)


def part_id(value: object) -> str:
    """Check the short name of a guest or a switch, which becomes a directory. Raises RunDirError."""
    word = str(value)
    if not SAFE.match(word) or len(word) > LONGEST_PART:
        raise RunDirError(
            f"an id must be 1 to {LONGEST_PART} letters, digits, '.', '_' or '-', and begin with one of the first two, not {word[:80]!r}"
        )
    return word


def own_directory(path: str, name: str) -> None:
    """Make a directory that only the service account and root can enter."""
    os.makedirs(path, 0o700, exist_ok=True)
    os.chown(path, account(name).pw_uid, account(name).pw_gid)
    os.chmod(path, 0o700)


def read_json(path: str) -> dict[str, Any]:
    """Read a record; an absent or damaged one is empty, and so is each field that has another type than records have there."""
    try:
        content = read_object(path, LARGEST_RECORD)
    except UntrustedError:
        return {}
    return {key: value for key, value in content.items() if isinstance(value, FIELDS.get(key, object)) and not _has_nul(value)}


def _has_nul(value: object) -> bool:
    """Tell whether a text can be no path, name or word of a command."""
    return isinstance(value, str) and "\0" in value


def write_json(path: str, content: Mapping[str, Any]) -> None:
    """Write a record for root's eyes, whole or not at all."""
    write_file(path, json.dumps(content, indent=1, sort_keys=True).encode())


def write_file(path: str, content: bytes, mode: int = 0o600) -> None:
    """Write a file, whole or not at all."""
    draft = f"{path}.{os.getpid()}.new"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with open(descriptor, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)
    os.replace(draft, path)


def remove(path: str) -> bool:
    """Remove a file or a tree. True when there was something."""
    if os.path.islink(path) or os.path.isfile(path):
        os.unlink(path)
        return True
    if os.path.isdir(path):
        shutil.rmtree(path)
        return True
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
        return True
    return False

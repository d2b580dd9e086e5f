# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an experiment's records, sockets and logs live on a pnode.

    ROOT/ID/                          root's; the lock of the experiment is a lock on this directory
        experiment.json               project, experiment
        switches/ID/                  root's: launch.json, switch.log
            io/                       of the ids of the experiment, which the switch runs as: ctl/, mgmt
        guests/ID/                    root's: launch.json, config.tar.gz, ssh_host_ed25519_key, qemu.log
            io/                       of the ids of the experiment: qmp, config, console, state, console.log

Paths of UNIX sockets end at 107 bytes and VDE appends up to 15 to the path of a switch; with ids of at most 24 and 20 characters
no path under a root of LONGEST_ROOT gets longer.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .accounts import Identity, identity
from .errors import HostError

ROOT = "/var/lib/benito"
ACCOUNT = "benito"
# Everybody passes through to what is his own, and sees nothing else.
PASSAGE = 0o711
# A directory with sockets that a group may use.
VISITED = 0o710
LONGEST_ROOT, LONGEST_ID, LONGEST_PART = 30, 24, 20
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
            write_json(f"{self.path}/experiment.json", {"project": self.project, "experiment": self.experiment, "id": self.id})

    @contextlib.contextmanager
    def locked(self, patience: float = 30.0) -> Iterator[None]:
        """Hold the experiment's lock; RunDirError when another run holds it for longer than ``patience`` seconds."""
        deadline = time.monotonic() + patience
        while True:
            self.create()
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # A swap-out may have removed the directory between our open and our lock.
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(descriptor), os.stat(self.path)):
                        break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(descriptor)
                    raise RunDirError(
                        f"another run is working on {self.project}/{self.experiment} on this host; try again when it is done"
                    ) from None
                time.sleep(0.1)
            os.close(descriptor)
        try:
            yield
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def host_lock(root: str) -> Iterator[None]:
    """Hold the lock on what all experiments of a host share; held for moments only."""
    passage(root)
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


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
    """Make a directory of root's, whatever the umask, that all ids of ours may pass through."""
    os.makedirs(path, exist_ok=True)
    os.chmod(path, PASSAGE)


def part_id(value: object) -> str:
    """Check the short name of a guest or a switch, which becomes a directory. Raises RunDirError."""
    word = str(value)
    if not SAFE.match(word) or len(word) > LONGEST_PART:
        raise RunDirError(
            f"an id must be 1 to {LONGEST_PART} letters, digits, '.', '_' or '-', and begin with one of the first two, not {word[:80]!r}"
        )
    return word


def own_directory(path: str, owner: str | Identity, visitors: int | None = None) -> None:
    """Make a directory that only its owner and root can enter, and the group ``visitors``, who can pass through it."""
    ids = identity(owner) if isinstance(owner, str) else owner
    os.makedirs(path, exist_ok=True)
    # Closed first, so that neither owner nor visitors come in by what an earlier one had set.
    os.chmod(path, 0o700)
    os.chown(path, ids.uid, ids.gid if visitors is None else visitors)
    if visitors is not None:
        os.chmod(path, VISITED)


def read_json(path: str) -> dict[str, Any]:
    """Read a record; an absent or damaged one is empty."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


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

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of nodes that are wanted, ``nodes.json``, and a node as the supervisor keeps it.

ids                          what the nodes' root is outside, the first of 65536, and who the nodes' user namespaces belong to
limits                       of each process: processes (of its account in its node), files; of all nodes: together (processes)
covered                      directories of the host that no node may see
plug_user                    uid and gid of the service account
groups                       by short name of a node, directories of the control groups that its processes join; by OTHERS those of
                             all nodes that are not named
mark                         what each process has in its environment
nodes                        entries:

    id, name, kind, home     its short name, its name, process or physical, its directory
    boot                     a number: the node boots again when it differs
    plugs                    [DEVICE, MAC, DIRECTORY of a switch, PORT, LABEL]
    network                  [UNDO, DO] pairs of lines for ``ip -batch``; those that are gone are undone, those that are new done
    mounts                   [SOURCE, PLACE, WRITABLE]
    space                    how much its temporary files may be together, in MB
    limits                   its own ones: memory, cpus, processes
    files                    [SOURCE, PLACE]: single files, exchanged while the node runs
    command                  what its shell runs at each boot
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from typing import Any, NamedTuple

# No node has such a name.
OTHERS = "_others"


class Wanted(NamedTuple):
    """The list as it was read. ``digest`` is by what the state says which list it is about; ``entries`` are by short name."""

    digest: str
    entries: dict[str, dict[str, Any]]
    ids: list[int]
    limits: dict[str, int]
    covered: list[str]
    plug_user: list[int]
    groups: dict[str, list[str]]

    @classmethod
    def read(cls, path: str) -> Wanted:
        """Read the list. Raises OSError, ValueError, KeyError, TypeError."""
        with open(path, "rb") as file:
            text = file.read()
        told = json.loads(text)
        entries = {entry["id"]: entry for entry in told["nodes"]}
        return cls(digest(text), entries, *(told[key] for key in ("ids", "limits", "covered", "plug_user", "groups")))


def digest(text: bytes) -> str:
    """Return by what the state says which configuration it is about."""
    return hashlib.sha256(text).hexdigest()[:16]


def key_of(entry: dict[str, Any]) -> str:
    """Return by what the state says which entry a node is made by."""
    return digest(json.dumps(entry, sort_keys=True).encode())


def differs(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tell whether a node must be made anew to become as the other entry: what is not listed here can change while it runs."""
    soft = ("network", "files", "command", "told")
    return {k: v for k, v in one.items() if k not in soft} != {k: v for k, v in other.items() if k not in soft}


class Node:
    """A node as the supervisor keeps it. ``state``: making, booted, failed, ending."""

    def __init__(self, entry: dict[str, Any]) -> None:
        self.entry = entry
        self.key = key_of(entry)
        self.state = "making"
        self.error = ""
        self.began = time.monotonic()
        self.took: float | None = None
        self.booted = 0.0
        self.spaces: dict[str, int] = {}
        self.taps: list[int] = []
        self.command = 0
        self.status: int | str | None = None
        self.plugs: dict[str, str] = {f"{entry['id']}:{plug[0]}": "not yet" for plug in entry["plugs"]}
        # When it ends: until when it may do so by itself, and whether it was asked to.
        self.deadline = 0.0
        self.asked = False

    def facts(self) -> dict[str, Any]:
        """Return what the state says of it."""
        return {
            "entry": self.key,
            "state": self.state,
            "error": self.error,
            "took": self.took,
            "since": self.booted,
            "spaces": self.spaces,
            "command": self.command,
            "exit_status": self.status,
            "unplugged": {key.split(":", 1)[1]: why for key, why in self.plugs.items() if why},
        }

    def take(self, names: list[str], handles: list[int]) -> None:
        """Take over the descriptors of its namespaces, in the order of their names, and of its TAPs."""
        for handle in handles:
            os.set_inheritable(handle, False)
        self.spaces = dict(zip(names, handles))
        self.taps = handles[len(names) :]

    def close(self) -> None:
        """Let go of everything: with the last descriptor the kernel takes the node apart."""
        for handle in [*self.spaces.values(), *self.taps]:
            os.close(handle)
        self.spaces, self.taps = {}, []

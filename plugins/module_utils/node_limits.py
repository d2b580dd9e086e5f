# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hard limits of process nodes, through the host's control groups, of version 2 or of version 1, whichever has the controller.

Version 1: directories of our own below the group that the supervisor is in. Version 2 lets only groups without processes have limited
groups below them; there it takes the supervisor's own scope, which systemd gives it, and moves the supervisor into a group of that.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import HostError
from .node_programs.node import OTHERS

CONTROLLERS = ("memory", "cpu", "pids")
MEMORY = "/proc/meminfo"
# Microseconds in which a node may use its share.
PERIOD = 100_000
MOUNTS = "/proc/self/mountinfo"


def name_of(mark: str) -> str:
    """Return the name of an experiment's group, or of the part of its scope's name that says whose it is."""
    return f"benito-nodes-{hashlib.sha256(mark.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class Limits:
    """What holds for nodes that are not given more; the fields' meaning is that of the module's option ``limits``."""

    memory: int = 0
    processes: int = 4096
    files: int = 16384
    space: int = 256

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Limits:
        """Take the option. Raises HostError."""
        made = cls(**{name: int(value) for name, value in options.items() if value is not None})
        for name, least in (("memory", 0), ("processes", 1), ("files", 64), ("space", 1)):
            if getattr(made, name) < least:
                raise HostError(f"limits.{name} must be at least {least}, not {getattr(made, name)}")
        return made

    def for_programs(self) -> dict[str, int]:
        """Return what each program of a node is bound by, and how many processes all nodes may have together."""
        return {"processes": self.processes, "files": self.files, "together": max(self.processes, _most_processes() // 2)}

    def for_all(self) -> dict[str, int]:
        """Return the limits of all nodes together that have none of their own."""
        return {"memory": self.memory or _memory() * 3 // 4}


def _memory() -> int:
    """Return how much memory the host has, in MB."""
    with open(MEMORY, encoding="ascii") as file:
        return int(file.readline().split()[1]) >> 10


def _most_processes() -> int:
    """Return how many processes the host can have."""
    found = []
    for name in ("pid_max", "threads-max"):
        with open(f"/proc/sys/kernel/{name}", encoding="ascii") as file:
            found.append(int(file.read()))
    return min(found)


def wanted(limits: Mapping[str, Any]) -> dict[str, str]:
    """Return the controllers that limits ask for, each with the value of its file."""
    found = {}
    if limits.get("memory"):
        found["memory"] = str(int(limits["memory"]) << 20)
    if limits.get("cpus"):
        found["cpu"] = str(max(1000, int(float(limits["cpus"]) * PERIOD)))
    if limits.get("processes"):
        found["pids"] = str(int(limits["processes"]))
    return found


def hierarchies(mounts: str = MOUNTS) -> dict[str, str]:
    """Return where each controller of version 1 is mounted, and, as "", version 2."""
    found = {}
    with contextlib.suppress(OSError), open(mounts, encoding="utf-8") as file:
        for line in file:
            words = line.split()
            kind, options = words[words.index("-") + 1], words[-1].split(",")
            if words[3] != "/" or not os.path.isdir(words[4]):
                continue
            if kind == "cgroup2":
                found[""] = words[4]
            elif kind == "cgroup":
                found.update({name: words[4] for name in CONTROLLERS if name in options})
    # What is mounted over is not to be seen, though the kernel lists it.
    return {name: path for name, path in found.items() if os.path.exists(f"{path}/cgroup.procs")}


def groups_of(pid: int) -> dict[str, str]:
    """Return the groups of a process: of each controller of version 1, and, as "", of version 2."""
    found = {}
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
        for line in file:
            dummy, names, path = line.rstrip("\n").split(":", 2)
            found.update(dict.fromkeys(names.split(","), path))
    return found


def prepare(
    pid: int, mark: str, nodes: Mapping[str, Mapping[str, Any]], others: Mapping[str, Any] | None = None
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Make the groups of nodes, by short name, that have limits, and that of all others. ``pid`` is the supervisor's.

    Returns the directories that the processes of each shall join, and for nodes without what they ask for a remark. Where the host has
    no groups for what nobody asked for, it is left alone.
    """
    groups: dict[str, list[str]] = {}
    remarks: dict[str, str] = {}
    there, own = hierarchies(), groups_of(pid)
    for id_, limits in [*nodes.items(), (OTHERS, {})]:
        missing = []
        for controller, value in {**wanted(others or {}), **wanted(limits)}.items():
            try:
                path = _make(controller, value, id_, pid, mark, there, own)
                if path not in groups.setdefault(id_, []):
                    groups[id_].append(path)
            except OSError:
                missing += [controller] if controller in wanted(limits) else []
        if missing:
            remarks[id_] = f"without its limits: this host has no control group for {', '.join(missing)} that we may use"
    return groups, remarks


def _make(controller: str, value: str, id_: str, pid: int, mark: str, there: Mapping[str, str], own: Mapping[str, str]) -> str:
    """Make the group of a node for a controller, and set the limit. Raises OSError."""
    if controller in there:
        limit = {"memory": "memory.limit_in_bytes", "cpu": "cpu.cfs_quota_us", "pids": "pids.max"}[controller]
        path = f"{there[controller]}{own.get(controller, '/').rstrip('/')}/{name_of(mark)}/{id_}"
        os.makedirs(path, 0o755, exist_ok=True)
        if controller == "cpu":
            _write(f"{path}/cpu.cfs_period_us", str(PERIOD))
        _write(f"{path}/{limit}", value)
        return path
    scope = f"{there.get('', '')}{own.get('', '')}".removesuffix("/keeper")
    if "" not in there or not os.path.basename(scope).startswith("benito-nodes"):
        raise FileNotFoundError(controller)
    os.makedirs(f"{scope}/keeper", exist_ok=True)
    with open(f"{scope}/cgroup.procs", encoding="ascii") as file:
        for inhabitant in file.read().split():
            _write(f"{scope}/keeper/cgroup.procs", inhabitant)
    _write(f"{scope}/cgroup.subtree_control", f"+{controller}")
    path = f"{scope}/node-{id_}"
    os.makedirs(path, exist_ok=True)
    _write(f"{path}/{controller}.max", f"{value} {PERIOD}" if controller == "cpu" else value)
    return path


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def left(mark: str) -> list[str]:
    """Return the groups of version 1 that an experiment has, wherever its supervisor was."""
    found = set()
    for base in {path for name, path in hierarchies().items() if name}:
        for path, names, dummy in os.walk(base):
            if name_of(mark) in names:
                found.add(f"{path}/{name_of(mark)}")
                names.remove(name_of(mark))
    return sorted(found)


def usable() -> bool:
    """Tell whether this host may have groups."""
    return bool(hierarchies())


def tidy(mark: str, kept: Mapping[str, Any]) -> None:
    """Remove the groups of an experiment's nodes but for those that are kept, as far as nobody is in them."""
    for base in left(mark):
        for id_ in [name for name in os.listdir(base) if os.path.isdir(f"{base}/{name}") and name not in kept]:
            _remove(f"{base}/{id_}")
        if not kept:
            _remove(base)


def _remove(path: str) -> None:
    """Remove a group; those who were in it may take a moment to be gone."""
    until = time.monotonic() + 5
    while True:
        try:
            os.rmdir(path)
            return
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor of an experiment's process nodes, seen from outside: started, given its list, waited for, and ended."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from . import host_key, hosts_block, node_limits
from .id_ranges import id_range
from .node_programs import (
    children,
    commands,
    confinement,
    enter,
    inhabitants,
    making,
    mounts,
    node,
    plug,
    spaces,
    start,
    state,
    streams,
    wiring,
)
from .node_programs import keeper as keeper_program
from .processes import MARK, Process, ProcessError, alive, marked, spawn, stop, tail
from .real_interfaces import keep, taken
from .rundir import ROOT, RunDir, passage, read_json, remove, write_file, write_json
from .service_ids import service
from .untrusted import UntrustedError, read_bytes

PROCESS, PHYSICAL = KINDS = ("process", "physical")
# For root to write, and for everybody to read and run.
READABLE = 0o755
# What the programs in the experiment's directory consist of; that Ansible sends them here is because they are imported.
PROGRAMS = (
    children,
    commands,
    confinement,
    enter,
    inhabitants,
    keeper_program,
    making,
    mounts,
    node,
    plug,
    spaces,
    state,
    streams,
    wiring,
)
# Directories of the host with something of experiments, beside the roots.
CACHES = ("/var/cache/benito",)


@dataclass(frozen=True)
class Pace:
    """How a batch is driven; in seconds."""

    boot_timeout: float = 120.0
    command_wait: float = 10.0
    plug_wait: float = 5.0
    progress: Callable[[str], None] = lambda text: None


def directory(rundir: RunDir) -> str:
    """Where the supervisor has its files."""
    return f"{rundir.path}/nodes"


def python() -> str:
    """Return the interpreter of our programs: the host's own."""
    return next((path for path in ("/usr/bin/python3", "/usr/libexec/platform-python") if os.access(path, os.X_OK)), sys.executable)


def keeper(rundir: RunDir) -> Process | None:
    """Return the living supervisor."""
    process = Process.from_record(read_json(f"{directory(rundir)}/launch.json").get("process"))
    return process if alive(process) else None


def processes(rundir: RunDir) -> list[Process]:
    """Return the processes that keep the nodes: the supervisor and the plug. Those in nodes end with the supervisor."""
    return list(marked(rundir.mark, f"{directory(rundir)}/"))


def said(rundir: RunDir) -> tuple[Process | None, dict[str, Any]]:
    """Return the living supervisor and its latest state; the state of an earlier one is nothing."""
    process = keeper(rundir)
    state = read_json(f"{directory(rundir)}/state.json")
    return process, state if process and state.get("pid") == process.pid else {}


def current(rundir: RunDir) -> bool:
    """Tell whether our programs are there as they are now."""
    home = directory(rundir)
    return all(_read(f"{home}/{name}") == text for name, (text, dummy) in _files(home).items())


def command(home: str, program: str, *words: str) -> list[str]:
    """Return the argument vector of one of our programs. No bytecode is written: what is there is what we put there."""
    return [python(), "-I", "-B", f"{home}/programs", program, *words]


def install(home: str) -> None:
    """Put our programs into the directory of the nodes, in the place of whatever is there."""
    remove(f"{home}/programs")
    for folder in (f"{home}/programs", f"{home}/programs/node_programs"):
        os.mkdir(folder)
        os.chmod(folder, READABLE)
    for name, (text, mode) in _files(home).items():
        write_file(f"{home}/{name}", text, mode)


def _files(home: str) -> dict[str, tuple[bytes, int]]:
    """Return the files of our programs: content and mode by name."""
    return {
        "programs/__main__.py": (_source(start), 0o644),
        "programs/node_programs/__init__.py": (b"", 0o644),
        **{f"programs/node_programs/{part.__name__.rpartition('.')[2]}.py": (_source(part), 0o644) for part in PROGRAMS},
        "enter": (f'#!/bin/sh\nexec {shlex.join(command(home, "enter"))} "$@"\n'.encode(), READABLE),
    }


def _source(module: ModuleType) -> bytes:
    """Return the text of a part of our programs, wherever Ansible put it."""
    return inspect.getsource(module).encode()


def _read(path: str) -> bytes | None:
    try:
        return read_bytes(path)
    except UntrustedError:
        return None


def _host_key(rundir: RunDir) -> str:
    """Make the host key of the nodes, one for the experiment on this host, in the form dropbear has it. Returns the public half."""
    home = directory(rundir)
    path = f"{home}/ssh_host_ed25519_key"
    host_key.make(path)
    wanted = host_key.dropbear(path)
    if _read(f"{home}/host_key") != wanted:
        write_file(f"{home}/host_key", wanted)
    return public_key(rundir)


def public_key(rundir: RunDir) -> str:
    """Return the public host key of the nodes; empty when there is none yet."""
    return (_read(f"{directory(rundir)}/ssh_host_ed25519_key.pub") or b"").decode(errors="replace").strip()


def serve(
    rundir: RunDir, limits: node_limits.Limits, entries: Mapping[str, dict[str, Any]], pace: Pace, anew: bool = False
) -> dict[str, str]:
    """Give the supervisor its list, and wait until it has done what it says. Raises HostError.

    ``limits`` are those of nodes without more; with ``anew`` the supervisor is replaced. Returns remarks, by short name of a node.
    """
    home = directory(rundir)
    process = keeper(rundir)
    if process and (anew or not entries):
        stop(process, first=signal.SIGKILL)
        process = None
    if not entries:
        return {}
    passage(home)
    _host_key(rundir)
    limited = {id_: told["limits"] for id_, told in entries.items() if node_limits.wanted(told["limits"])}
    if not process and (limited or node_limits.usable()):
        # Its control groups are where the supervisor is.
        process = _start(rundir, _told(rundir, limits, [], {}), pace)
    groups, remarks = node_limits.prepare(process.pid, rundir.mark, limited, limits.for_all()) if process else ({}, {})
    text = _told(rundir, limits, list(entries.values()), groups)
    if process:
        write_file(f"{home}/nodes.json", text)
        _nudge(process)
        wait(rundir, process, node.digest(text), len(entries), pace)
    else:
        process = _start(rundir, text, pace)
    node_limits.tidy(rundir.mark, {**limited, node.OTHERS: {}})
    return remarks


def _told(rundir: RunDir, limits: node_limits.Limits, entries: list[dict[str, Any]], groups: Mapping[str, list[str]]) -> bytes:
    """Return the list as the supervisor reads it."""
    ids, plug_user = id_range(rundir), service(rundir)
    content = {
        "mark": rundir.mark,
        "ids": [ids.node_first, ids.owner],
        "limits": limits.for_programs(),
        "covered": covered(rundir),
        "plug_user": [plug_user.uid, plug_user.gid],
        "nodes": entries,
        "groups": groups,
        # So that the state can say which of two equal lists it is about.
        "turn": time.time_ns(),
    }
    return json.dumps(content, sort_keys=True).encode()


def covered(rundir: RunDir) -> list[str]:
    """Return the directories of experiments on this host: the usual root, this one's, and those of whatever of ours runs."""
    roots = {ROOT, rundir.root, *CACHES}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and os.access(f"/proc/{entry}/environ", os.R_OK):
            marks = [word for word in (_read(f"/proc/{entry}/environ") or b"").split(b"\0") if word.startswith(f"{MARK}=/".encode())]
            roots.update(os.fsdecode(mark).partition("=")[2].partition(":")[0] for mark in marks)
    # A mark is what a process says of itself, also one that is not ours: it covers no more than what looks like a root.
    return sorted(path for path in roots if path in {ROOT, rundir.root, *CACHES} or _is_root(path))


def _is_root(path: str) -> bool:
    """Tell whether experiments live in a directory."""
    with contextlib.suppress(OSError):
        return any(os.path.isfile(f"{entry.path}/experiment.json") for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False))
    return False


def _start(rundir: RunDir, text: bytes, pace: Pace) -> Process:
    """Start the supervisor with a list, and wait until it has done what it says."""
    home = directory(rundir)
    # Only now: beside a supervisor that runs lie the programs that it is made of.
    if not current(rundir):
        install(home)
    write_file(f"{home}/nodes.json", text)
    remove(f"{home}/state.json")
    process = spawn(command(home, "keeper"), mark=rundir.mark, log=f"{home}/keeper.log", unit="benito-nodes", delegate=True)
    write_json(f"{home}/launch.json", {"process": process.to_record()})
    wait(rundir, process, node.digest(text), len(json.loads(text)["nodes"]), pace)
    return process


def _nudge(process: Process) -> None:
    """Let the supervisor read its list again."""
    handle = os.pidfd_open(process.pid)
    try:
        if alive(process):
            signal.pidfd_send_signal(handle, signal.SIGHUP)
    finally:
        os.close(handle)


def wait(rundir: RunDir, process: Process, wanted: str, count: int, pace: Pace) -> None:
    """Wait until the supervisor has taken its list over and done all of it. Raises ProcessError."""
    left, until = -1, time.monotonic() + pace.boot_timeout
    seen = -1
    while time.monotonic() < until:
        written = changed_at(rundir)
        if written == seen:
            # With many nodes it is much to read.
            if not alive(process):
                break
            time.sleep(0.02)
            continue
        seen = written
        said = read_json(f"{directory(rundir)}/state.json")
        if (said.get("pid"), said.get("config")) == (process.pid, wanted):
            if said.get("settled"):
                return
            if said.get("left") != left:
                left, until = int(said.get("left", 0)), time.monotonic() + pace.boot_timeout
                pace.progress(f"{max(0, count - left)} of {count} process nodes up")
    raise ProcessError(f"the supervisor of the process nodes did not do its work: {tail(f'{directory(rundir)}/keeper.log') or 'no output'}")


def changed_at(rundir: RunDir) -> int:
    """Return when the supervisor wrote its state, in some unit; 0 when it has not."""
    try:
        return os.stat(f"{directory(rundir)}/state.json").st_mtime_ns
    except OSError:
        return 0


def halt(rundir: RunDir) -> None:
    """Stop all process nodes of an experiment at once: the kernel takes away what they have outside its directory. Raises HostError."""
    process = keeper(rundir)
    if process:
        stop(process, first=signal.SIGKILL)
    let_go(rundir.root, rundir.mark)


def traces(mark: str) -> list[str]:
    """Say what process nodes have of the host that does not end with their supervisor."""
    names = [f"names in {hosts_block.HOSTS}"] if hosts_block.text(mark) is not None else []
    return [*names, *(f"interface {name} of a node, which goes back to the host" for name in taken(mark)), *node_limits.left(mark)]


def let_go(root: str, mark: str) -> None:
    """Give the host back what `traces` speaks of."""
    hosts_block.drop(root, mark)
    keep(mark, ())
    node_limits.tidy(mark, {})

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take an experiment off a host, whatever state it is in: found by its mark, not by what records or a topology say."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from . import (
    cable_status,
    cables,
    control_bridge,
    control_net,
    guest_status,
    host_links,
    lifecycle,
    node_supervisor,
    shapers,
    shares,
    ssh_access,
    tun_node,
    tunnels,
    vde,
)
from .errors import HostError
from .processes import Process, end_slice, marked, stop
from .rundir import RunDir, existing, mark_of, natural_id, read_json, remove


@dataclass(frozen=True)
class Remains:
    """What there is of an experiment on this host. ``strays`` are processes of its that no record knows of."""

    directories: tuple[RunDir, ...]
    guests: tuple[tuple[RunDir, str], ...]
    switches: tuple[tuple[RunDir, str], ...]
    strays: tuple[Process, ...]
    tables: tuple[str, ...]
    links: tuple[str, ...]
    servers: tuple[RunDir, ...] = ()
    cables: tuple[tuple[RunDir, str], ...] = ()
    doors: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    uplink: str = ""
    shapers: tuple[tuple[RunDir, str], ...] = ()
    mark: str = ""
    nodes: tuple[RunDir, ...] = ()
    traces: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Say it in words, one line each."""
        return [
            *(f"guest {name}" for dummy, name in self.guests),
            *(f"switch {name}" for dummy, name in self.switches),
            *(f"shaper {name}" for dummy, name in self.shapers),
            *("supervisor of process nodes" for dummy in self.nodes),
            *self.traces,
            *("server of shared directories" for dummy in self.servers),
            *(f"cable {name}" for dummy, name in self.cables),
            *("key that is let in for cables" for dummy in self.doors),
            *(f"process {process.pid} ({process.argv[0]})" for process in self.strays),
            *(f"nftables table {name}" for name in self.tables),
            *(f"interface {name}" for name in self.links),
            *(f"interface {name}, which goes back to the host" for name in self.interfaces),
            *([f"bridge {control_bridge.BRIDGE}: {self.uplink} gets back what it had"] if self.uplink else []),
            *(f"directory {rundir.path}" for rundir in self.directories),
        ]


def find(project: str, experiment: str, root: str) -> Remains:
    """Look for everything of an experiment on this host."""
    mark = mark_of(project, experiment, root)
    directories = tuple(d for d in existing(root) if (d.project, d.experiment) == (project, experiment)) or _nameless(
        project, experiment, root
    )
    guests = tuple((d, name) for d in directories for name in guest_status.known(d))
    switches = tuple((d, name) for d in directories for name in vde.known(d))
    servers = tuple(d for d in directories if shares.running(d))
    recorded = {shares.running(d) for d in servers}
    recorded |= {lifecycle.process_of(d, name) for d, name in guests} | {vde.running(d, name) for d, name in switches}
    shaping = tuple((d, name) for d in directories for name in shapers.known(d))
    recorded |= {process for d, name in shaping for process in shapers.running(d, name).values()}
    wires = tuple((d, name) for d in directories for name in cable_status.known(d))
    recorded |= {process for d in directories for process in cable_status.processes(d)} | {control_bridge.watchdog(root)}
    nodes = tuple(d for d in directories if node_supervisor.keeper(d))
    recorded |= {process for d in nodes for process in node_supervisor.processes(d)}
    doors = (mark,) if ssh_access.lines(root, mark) else ()
    strays = tuple(sorted((p for p in marked(mark, f"{root}/") if p not in recorded), key=lambda p: p.pid))
    net = tuple(control_net.tables(mark)), tuple(host_links.marked(mark))
    traces = tuple(node_supervisor.traces(mark))
    back = tuple(tunnels.taken_by(root, mark))
    return Remains(
        directories,
        guests,
        switches,
        strays,
        *net,
        servers,
        wires,
        doors,
        back,
        control_bridge.unused(root, mark),
        shaping,
        mark,
        nodes,
        traces,
    )


def _nameless(project: str, experiment: str, root: str) -> tuple[RunDir, ...]:
    """Return the directory that the experiment would have, if it is there and its record of whose it is was lost."""
    found = RunDir(project, experiment, natural_id(project, experiment), root)
    lost = os.path.isdir(f"{found.path}/guests") and not read_json(f"{found.path}/experiment.json")
    return (found,) if lost else ()


def sweep(remains: Remains, root: str) -> None:
    """Remove all of it, as far as it goes. Raises HostError with everything that could not be removed."""
    steps: list[Callable[[], object]] = [
        *(partial(node_supervisor.halt, rundir) for rundir in remains.nodes),
        *(partial(discard, rundir, name) for rundir, name in remains.guests),
        # First those who would make again what is removed: a supervisor its cables, a peer that is let in the same.
        *(partial(ssh_access.let_in, root, mark, []) for mark in remains.doors),
        *(partial(cables.halt, rundir) for rundir in dict.fromkeys(rundir for rundir, dummy in remains.cables)),
        *(partial(tunnels.give_back, root, name) for name in remains.interfaces),
        *(partial(stop, process, first=signal.SIGKILL) for process in remains.strays),
        *(partial(shapers.halt, rundir, name) for rundir, name in remains.shapers),
        *(partial(vde.halt, rundir, name) for rundir, name in remains.switches),
        *(partial(shares.halt, rundir) for rundir in remains.servers),
        *(partial(control_net.delete_table, name) for name in remains.tables),
        *(partial(host_links.delete, name) for name in remains.links),
        *([partial(node_supervisor.let_go, root, remains.mark)] if remains.traces else []),
    ]
    # The records go last, and only when nothing is left that they would be needed for.
    last: list[Callable[[], object]] = [
        *([partial(end_slice, remains.mark)] if remains.mark else []),
        *(partial(remove, rundir.path) for rundir in remains.directories),
        partial(control_net.restore_forwarding, root),
        partial(control_bridge.release, root),
        partial(tun_node.restore, root),
    ]
    failed = attempt(steps)
    failed = failed or attempt(last)
    if failed:
        raise HostError("\n".join(failed))


def discard(rundir: RunDir, name: str) -> None:
    """Remove a guest with everything it has. With their supervisor nothing is left of process nodes but files, and there may be many."""
    if guest_status.kind_of(rundir, name) in node_supervisor.KINDS:
        remove(rundir.guest(name))
    else:
        lifecycle.discard(rundir, name)


def attempt(steps: Sequence[Callable[[], object]]) -> list[str]:
    """Take all the steps, whatever becomes of each; return what went wrong."""
    failed = []
    for step in steps:
        try:
            step()
        except (HostError, OSError) as error:
            failed.append(str(error))
    return failed

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process nodes of an experiment on one host, as one batch: what is wanted, what is there, and how the one becomes the other.

All of them are kept by one supervisor (see `node_programs`): here its list is written, and what it says is read.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import host_forwarding, host_links, hosts_block, physical_nodes, process_files, vde
from .errors import HostError
from .guest import Guest, GuestError
from .guest_status import install_console, kind_of, known
from .id_ranges import id_range, recorded
from .node_limits import Limits
from .node_programs.node import differs, key_of
from .node_supervisor import KINDS, PHYSICAL, PROCESS, Pace, changed_at, current, directory, halt, let_go, public_key, said, serve, wait
from .processes import Process, tail
from .rundir import RunDir, passage, read_json, remove, write_json

FATAL = "fatal"


@dataclass(frozen=True)
class Node:
    """A process node: the guest it is, and hard limits: memory in MB, processors, number of processes; None for none."""

    guest: Guest
    kind: str = PROCESS
    memory: int | None = None
    cpus: float | None = None
    processes: int | None = None

    @property
    def limits(self) -> dict[str, float | None]:
        """The limits by name."""
        return {"memory": self.memory, "cpus": self.cpus, "processes": self.processes}

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Node:
        """Take one entry of the document's ``guests``. Raises GuestError."""
        guest = Guest.from_options(
            {**options, "image": None, "memory": None, "cpus": None, "control": None, "shares": None, "unreachable": None}
        )
        for what in ("mounts", "dhcp"):
            if options.get(what):
                raise GuestError(f"guest {guest.name!r}: a process node has no {what}")
        limits = options.get("limits") or {}
        for what, value in limits.items():
            if value is not None and not (isinstance(value, (int, float)) and value > 0):
                raise GuestError(f"guest {guest.name!r}: limits.{what} must be a number above 0, not {str(value)[:64]!r}")
        kind = str(options.get("kind") or PROCESS)
        if kind not in KINDS:
            raise GuestError(f"guest {guest.name!r}: kind must be {' or '.join(KINDS)}, not {kind[:64]!r}")
        if kind != PHYSICAL and any(nic.real for nic in guest.nics):
            raise GuestError(f"guest {guest.name!r}: an interface of the host can be that of a {PHYSICAL} node only, not of a {kind} one")
        return cls(guest, kind, limits.get("memory"), limits.get("cpus"), limits.get("processes"))


@dataclass(frozen=True)
class Around:
    """What the nodes of one host share. ``shares`` are name, path and writable."""

    rundir: RunDir
    hosts: Sequence[Sequence[object]] = ()
    authorized_keys: str = ""
    shares: Sequence[tuple[str, str, bool]] = ()
    limits: Limits = field(default_factory=Limits)

    @functools.cached_property
    def node_first(self) -> int:
        """What id 0 of the nodes is on the host; 0 in a check run where the experiment has no ids yet."""
        ids = recorded(self.rundir)
        return ids.node_first if ids else 0


# What the supervisor says of a node, by type.
FACTS: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("entry", "state", "error"), str),
    **dict.fromkeys(("took", "since"), (int, float, type(None))),
    **dict.fromkeys(("spaces", "unplugged"), dict),
    "command": int,
    "exit_status": (int, str, type(None)),
}


@dataclass
class View:
    """What there is: the supervisor, the list it was given, what it says, and what is written down of each node."""

    keeper: Process | None
    said: dict[str, Any]
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)

    def facts(self, id_: str) -> dict[str, Any]:
        """Return what the supervisor says of a node; empty when it does not know it, or is gone."""
        nodes = self.said.get("nodes") if self.keeper else None
        found = nodes.get(id_) if isinstance(nodes, dict) else None
        return {key: value for key, value in found.items() if isinstance(value, FACTS.get(key, object))} if isinstance(found, dict) else {}


@dataclass
class Job:
    """One node of the batch: what must be done, why, and how it ended."""

    node: Node
    entry: dict[str, Any]
    action: str = "none"
    reason: str = ""
    failure: str = ""


def distinct(nodes: Sequence[Node]) -> list[Node]:
    """Return the nodes of a batch. Raises HostError when two would take each other's place."""
    ids = [node.guest.id for node in nodes]
    twice = sorted({id_ for id_ in ids if ids.count(id_) > 1}) if len(set(ids)) < len(ids) else []
    if twice:
        raise HostError(f"more than one node has the id {', '.join(twice)}: each needs its own")
    return list(nodes)


def mine(rundir: RunDir) -> list[str]:
    """Return the ids of the guests that are process nodes."""
    return known(rundir, *KINDS)


def view(rundir: RunDir) -> View:
    """Look at what there is."""
    home = directory(rundir)
    nodes = read_json(f"{home}/nodes.json").get("nodes", [])
    entries = {entry["id"]: entry for entry in nodes if sound(entry)} if isinstance(nodes, list) else {}
    records = {id_: read_json(f"{rundir.guest(id_)}/launch.json") for id_ in known(rundir)}
    records = {id_: record for id_, record in records.items() if record.get("kind") in KINDS}
    return View(*said(rundir), entries, records)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def sound(entry: object) -> bool:
    """Tell whether an entry of the list is what `entry` makes; one that is not is as if it were not there."""
    if not isinstance(entry, dict):
        return False
    rows = [(row, count) for key, count in (("plugs", 5), ("network", 2), ("mounts", 3), ("files", 2)) for row in _list(entry.get(key))]
    devices = entry.get("devices", [])
    return (
        all(isinstance(entry.get(key), str) for key in ("id", "name", "kind", "home", "command"))
        and all(isinstance(entry.get(key), list) for key in ("plugs", "network", "mounts", "files"))
        and all(isinstance(row, list) and len(row) == count for row, count in rows)
        and all(isinstance(plug[0], str) and isinstance(plug[2], str) and plug[2].count("/") > 2 for plug in entry["plugs"])
        and isinstance(devices, list)
        and all(isinstance(device, str) for device in devices)
    )


# What is wanted


def entry(around: Around, node: Node, hosts: process_files.Hosts, boot: int) -> dict[str, Any]:
    """Return what the supervisor is told about a node."""
    guest, home = node.guest, around.rundir.guest(node.guest.id)
    own = [[f"{home}/var", "/var/benito", True], [f"{home}/var", "/var/containers", True], [f"{home}/emulab", "/var/emulab", False]]
    known = hosts.path(guest, on_host=node.kind == PHYSICAL)
    told = repr([sorted(process_files.texts(guest, around.rundir).items()), around.authorized_keys, known])
    network: list[list[str]] = []
    for nic in guest.nics:
        if node.kind == PHYSICAL:
            network.append(["", f"link set dev {nic.device} group {host_links.node_group(around.rundir.mark)}"])
        address = f"{nic.address}/{nic.prefix} dev {nic.device}"
        network += [[f"address del {address}", f"address replace {address} brd +"], ["", f"link set dev {nic.device} up"]]
    network += [[f"route del {r.to} via {r.via} dev {r.device}", f"route replace {r.to} via {r.via} dev {r.device}"] for r in guest.routes]
    files = [
        [known, "/etc/hosts"],
        [f"{home}/hostname", "/etc/hostname"],
        [f"{directory(around.rundir)}/empty", "/etc/resolv.conf"],
    ]
    return {
        "id": guest.id,
        "name": guest.name,
        "kind": node.kind,
        "home": home,
        "boot": boot,
        "plugs": [
            [nic.device, nic.mac, vde.control_directory(around.rundir, nic.switch), nic.port, f"{guest.name}:{nic.device}"]
            for nic in guest.nics
            if not nic.real
        ],
        # Only where there are some: what an entry says besides makes a node anew.
        **({"devices": real} if (real := [nic.device for nic in guest.nics if nic.real]) else {}),
        "network": network,
        "mounts": [*own, [f"{home}/root", "/root", True], *([path, name, writable] for name, path, writable in around.shares)],
        "files": files if node.kind == PROCESS else files[:1],
        "command": guest.start_command,
        "limits": node.limits,
        "ids": around.node_first,
        "space": around.limits.space,
        "told": hashlib.sha256(told.encode()).hexdigest()[:16],
    }


def compare(there: View, wanted: dict[str, Any]) -> tuple[str, str]:
    """Say what separates a node from being started as wanted: an action and the reason."""
    id_ = wanted["id"]
    old, facts, record = there.entries.get(id_), there.facts(id_), there.records.get(id_, {})
    if not record:
        return "start", "not there"
    if record.get("wanted") == "stopped":
        return "start", "stopped"
    if not old or not facts:
        return "start", "dead"
    if facts.get("state") == "failed":
        return "start", "it failed"
    if differs(old, wanted):
        return "start", "changed"
    if old != wanted:
        return "reconfigure", "configuration changed"
    if facts.get("entry") != key_of(wanted):
        return "reconfigure", "it was not told"
    if facts.get("state") == "booted" and facts.get("error"):
        return "reconfigure", "it could not take its configuration"
    loose = loose_ends(old, facts)
    return ("replug", f"unplugged from {', '.join(loose)}") if loose else ("none", "")


def loose_ends(told: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """Return the switches that a node is not plugged into."""
    loose = facts.get("unplugged") or {}
    return [str(plug[2]).split("/")[-3] for plug in told["plugs"] if plug[0] in loose]


def started(around: Around, nodes: Sequence[Node], pace: Pace, purge: bool, check: bool, restart: bool = False) -> list[dict[str, Any]]:
    """Bring the nodes up. Returns one result per node, whatever happened to the others."""
    rundir = around.rundir
    if not check:
        id_range(rundir)
    there = view(rundir)
    stale = there.keeper is not None and not current(rundir)
    hosts = process_files.Hosts(rundir, around.hosts)
    wanted_ids = {node.guest.id for node in nodes}
    gone = [id_ for id_ in there.records if id_ not in wanted_ids] if purge else []
    jobs = []
    for node in nodes:
        old = there.entries.get(node.guest.id) or {}
        boot = old.get("boot") or there.records.get(node.guest.id, {}).get("boot")
        boot = boot if isinstance(boot, int) else 0
        job = Job(node, entry(around, node, hosts, boot))
        job.action, job.reason = compare(there, job.entry)
        if stale and job.action != "start":
            job.action, job.reason = "start", "its supervisor is of another version"
        if restart and job.action != "start":
            job.action, job.reason = "start", "restart asked for"
        if job.action == "start":
            job.entry["boot"] = boot + 1
        if node.kind == PHYSICAL:
            _look_at_host(around, job, hosts)
        jobs.append(job)
    results = [_gone(rundir, there, id_) for id_ in gone]
    if check:
        return results + [_result(rundir, there, job) for job in jobs]
    if any(job.action != "none" for job in jobs) or gone:
        _prepare(around, jobs, hosts)
        failed = [job.entry["id"] for job in jobs if job.failure]
        # What cannot become as wanted stays as it is.
        kept = {id_: old for id_, old in there.entries.items() if id_ not in gone and (id_ not in wanted_ids or id_ in failed)}
        kept.update({job.entry["id"]: job.entry for job in jobs if not job.failure})
        _tell_host(around, kept, jobs, hosts)
        remarks = serve(rundir, around.limits, kept, pace, stale)
        _mend_host(rundir, jobs)
        for id_, remark in remarks.items():
            record = f"{rundir.guest(id_)}/launch.json"
            write_json(record, {**read_json(record), "remark": remark})
        hosts.tidy(source for told in kept.values() for source, place in told["files"])
    elif there.keeper and not there.said.get("settled"):
        # An earlier run was interrupted, or gave up.
        wait(rundir, there.keeper, str(there.said.get("config")), len(jobs), pace)
    for result, id_ in zip(results, gone):
        with _failing(result):
            _discard(rundir, id_)
    if not any(kind_of(rundir, id_) in KINDS for id_ in known(rundir)):
        clear(rundir)
    _settle_down(rundir, jobs, pace)
    after = view(rundir)
    return results + [_result(rundir, after, job) for job in jobs]


def _prepare(around: Around, jobs: Sequence[Job], hosts: process_files.Hosts) -> None:
    """Write the files that the nodes of a batch have of their own."""
    rundir, owner = around.rundir, id_range(around.rundir).node_first
    passage(directory(rundir))
    install_console(rundir)
    process_files.settle(f"{directory(rundir)}/empty", b"")
    hosts.write()
    for job in [job for job in jobs if not job.failure]:
        guest = job.node.guest
        try:
            home = rundir.guest(guest.id)
            for nic in guest.nics:
                if not nic.real and not os.path.isdir(rundir.switch(nic.switch)):
                    raise HostError(f"there is no switch {nic.switch} on this host: set up the switches first")
            physical_nodes.take(rundir, guest, job.action == "start")
            process_files.furnish(home, process_files.texts(guest, rundir), around.authorized_keys, owner)
            record = {"name": guest.name, "kind": job.node.kind, "wanted": "started", "boot": job.entry["boot"]}
            if {**read_json(f"{home}/launch.json"), **record} != read_json(f"{home}/launch.json"):
                write_json(f"{home}/launch.json", record)
        except (HostError, OSError) as error:
            job.failure = str(error)
    mounts = [pair for job in jobs for pair in job.entry["mounts"]]
    for path in sorted({str(mount[0]) for mount in mounts}):
        if not os.path.isdir(path):
            for job in jobs:
                if path in [mount[0] for mount in job.entry["mounts"]]:
                    job.failure = job.failure or f"there is no directory {path} on this host, which it is to share"


def _look_at_host(around: Around, job: Job, hosts: process_files.Hosts) -> None:
    """See whether a node can be this host, and whether the host knows its names."""
    rundir = around.rundir
    if job.action == "none" and hosts_block.text(rundir.mark) != hosts.host_names(job.node.guest):
        job.action, job.reason = "reconfigure", "its names are not in the host's hosts file"
    if job.action == "none" and host_forwarding.lacking(rundir.root):
        job.action, job.reason = "reconfigure", "the host does not forward packets"
    try:
        lack = physical_nodes.missing(rundir.mark, job.node.guest)
        if job.action == "none" and lack:
            job.action, job.reason = "reconfigure", lack
        if job.action in ("start", "reconfigure"):
            job.failure = physical_nodes.conflict(rundir, job.node.guest, physical_nodes.used(rundir.mark))
            job.failure = job.failure or hosts_block.known_otherwise(rundir.mark, hosts.host_names(job.node.guest))
    except HostError as error:
        job.failure = str(error)


def _tell_host(around: Around, kept: Mapping[str, Mapping[str, Any]], jobs: Sequence[Job], hosts: process_files.Hosts) -> None:
    """Let the host know names and forward packets while it is a node, and no longer."""
    rundir = around.rundir
    if not any(told["kind"] == PHYSICAL for told in kept.values()):
        hosts_block.drop(rundir.root, rundir.mark)
    physical_nodes.let_go(rundir.mark, kept.values())
    for job in jobs:
        if job.node.kind == PHYSICAL and not job.failure:
            hosts_block.put(rundir.root, rundir.mark, hosts.host_names(job.node.guest))
            physical_nodes.enclose(rundir)
            host_forwarding.forward(rundir.root)


def _mend_host(rundir: RunDir, jobs: Sequence[Job]) -> None:
    """Put right what somebody undid of a node's real interfaces: its supervisor, which was told nothing new, does nothing about it."""
    for job in jobs:
        if job.node.kind == PHYSICAL and not job.failure:
            try:
                physical_nodes.mend(rundir.mark, job.node.guest, job.entry)
            except HostError as error:
                job.failure = str(error)


def _settle_down(rundir: RunDir, jobs: Sequence[Job], pace: Pace) -> None:
    """Give plugs a moment to find their switches, and start commands one to end, so that it can be said how that went."""
    began = time.monotonic()
    touched = [job for job in jobs if job.action in ("start", "replug") and not job.failure]
    told, seen, there = "", -1, View(None, {})
    while touched and time.monotonic() < began + max(pace.command_wait, pace.plug_wait):
        if changed_at(rundir) != seen:
            seen, there = changed_at(rundir), View(*said(rundir))
        waited = time.monotonic() - began
        pending = []
        for job in touched:
            facts = there.facts(job.entry["id"])
            running = facts.get("exit_status") == "running" and job.action == "start" and waited < pace.command_wait
            loose = bool(facts.get("unplugged")) and facts.get("state") == "booted" and waited < pace.plug_wait
            if running or loose:
                pending.append(job)
        touched = pending
        if touched:
            text = f"waiting for {len(touched)} start commands"
            if text != told:
                pace.progress(text)
                told = text
            time.sleep(0.05)


# What there is to say


def describe(rundir: RunDir, there: View, id_: str) -> dict[str, Any]:
    """Return the facts about one node, in the words of `guest_status.describe`. ``pid`` is that of its start command while it runs."""
    record, facts, told = there.records.get(id_, {}), there.facts(id_), there.entries.get(id_)
    state, detail = "dead", ""
    if not record:
        state = "absent"
    elif record.get("wanted") == "stopped":
        state = "stopped"
    elif facts.get("state") == "booted":
        state = "booted"
        loose = loose_ends(told, facts) if told else []
        detail = str(facts.get("error") or record.get("remark") or (physical_nodes.fault(rundir.mark, told) if told else ""))
        if loose and not detail:
            detail = f"not plugged into {', '.join(loose)}: {next(iter(facts['unplugged'].values()))}"
    elif facts.get("state") == "making":
        state = "running"
    else:
        detail = str(facts.get("error") or "") if facts else "the supervisor of the process nodes is gone" if not there.keeper else ""
    status = facts.get("exit_status")
    if state == "booted" and isinstance(status, int) and status and not detail:
        said = tail(f"{rundir.guest(id_)}/var/log/start_command.err", lines=1)
        detail = f"its start command failed{f': {said[:200]}' if said else ''}"
    return {
        "name": record.get("name", id_),
        "state": state,
        "pid": facts.get("command") or None,
        "exit_status": status,
        "uptime": facts.get("took"),
        "detail": detail,
        "ssh_host_key": public_key(rundir) if record.get("kind") == PROCESS else "",
        "entry": f"{directory(rundir)}/enter" if record.get("kind") == PROCESS else "",
    }


def _result(rundir: RunDir, there: View, job: Job) -> dict[str, Any]:
    """Report one node."""
    report = {
        **describe(rundir, there, job.entry["id"]),
        "name": job.node.guest.name,
        "action": job.action,
        "reason": job.reason,
        "changed": job.action != "none",
    }
    failure = job.failure or (there.facts(job.entry["id"]).get("error") if job.action != "none" else "")
    if failure:
        report.update(failed=job.node.guest.failure_action == FATAL, msg=failure, detail=str(failure).splitlines()[0])
    return report


def infos(rundir: RunDir) -> list[dict[str, Any]]:
    """Return the facts about all process nodes."""
    there = view(rundir)
    return [describe(rundir, there, id_) for id_ in there.records]


# The end of nodes


def stopped(around: Around, nodes: Sequence[Node], pace: Pace, check: bool) -> list[dict[str, Any]]:
    """Stop nodes: whoever runs in them is asked to end, and then ended."""
    rundir = around.rundir
    there = view(rundir)
    ids = [node.guest.id for node in nodes]
    results = []
    for node in nodes:
        running = bool(there.facts(node.guest.id))
        results.append({"name": node.guest.name, "action": "stop" if running else "none", "reason": "", "changed": running})
    if not check:
        for id_ in ids:
            record = there.records.get(id_)
            if record and record.get("wanted") != "stopped":
                write_json(f"{rundir.guest(id_)}/launch.json", {**record, "wanted": "stopped"})
        if any(id_ in there.entries for id_ in ids):
            _serve_rest(around, there, ids, pace)
    after = view(rundir)
    return [{**describe(rundir, after, id_), **result} for id_, result in zip(ids, results)]


def _serve_rest(around: Around, there: View, without: Iterable[str], pace: Pace) -> None:
    """Give the supervisor its list without some."""
    kept = {id_: told for id_, told in there.entries.items() if id_ not in set(without)}
    if not any(told["kind"] == PHYSICAL for told in kept.values()):
        hosts_block.drop(around.rundir.root, around.rundir.mark)
    physical_nodes.let_go(around.rundir.mark, kept.values())
    if there.keeper or not kept:
        serve(around.rundir, around.limits, kept, pace)
    if not kept:
        let_go(around.rundir.root, around.rundir.mark)
        remove(f"{directory(around.rundir)}/nodes.json")
        remove(f"{directory(around.rundir)}/state.json")


def absent(around: Around, ids: Sequence[str], pace: Pace, check: bool) -> list[dict[str, Any]]:
    """Remove nodes with everything they had."""
    rundir = around.rundir
    there = view(rundir)
    results = [_gone(rundir, there, id_) for id_ in ids]
    if check or not any(result["changed"] for result in results):
        return results
    _serve_rest(around, there, ids, pace)
    for id_, result in zip(ids, results):
        with _failing(result):
            _discard(rundir, id_)
    if not any(kind_of(rundir, id_) in KINDS for id_ in known(rundir)):
        clear(rundir)
    return results


def _gone(rundir: RunDir, there: View, id_: str) -> dict[str, Any]:
    """Report a node that is to go."""
    found = id_ in there.records
    name = there.records.get(id_, {}).get("name", id_)
    return {"name": name, "state": "absent", "action": "remove" if found else "none", "reason": "", "changed": found, "detail": ""}


@contextlib.contextmanager
def _failing(result: dict[str, Any]) -> Any:
    """Let what fails be one node's failure."""
    try:
        yield
    except (HostError, OSError) as error:
        result.update(failed=True, msg=str(error), state="unknown")


def _discard(rundir: RunDir, id_: str) -> None:
    remove(rundir.guest(id_))


def clear(rundir: RunDir) -> None:
    """Remove what process nodes share."""
    halt(rundir)
    remove(directory(rundir))

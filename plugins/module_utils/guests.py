# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guests of an experiment on one host, as one batch: compare with what runs, change the difference, wait until it is up.

One guest's failure never hides the others: each has a result of its own.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Callable

from . import disks, host_links, qemu
from .boot_state import read
from .control_net import check_in_force
from .errors import HostError
from .guest import Guest
from .guest_status import describe, diagnose, install_console, known, panic, plugged, unplugged
from .lifecycle import Surroundings, archive, discard, halt, launch, mark_stopped, mark_woken, never_woken, process_of, reconfigure, wake
from .options import remove_each
from .processes import Process, ProcessError
from .rundir import RunDir, read_json
from .stock import Stock
from .template import cold_part

TICK = 0.05
# Seconds after which a guest that was woken up and has not said anything is taken for one that never will.
SILENCE = 30.0
# Why a guest is booted although it could be woken up.
OWN_DISK = "it has a disk of its own from an earlier start"


@dataclass(frozen=True)
class Pace:
    """How a batch is driven. ``window``: guests that may be booting at a time; ``start``: see `Stock`; the rest in seconds."""

    window: int
    boot_timeout: float = 120.0
    command_wait: float = 10.0
    address_wait: float = 20.0
    stop_timeout: float = 15.0
    start: str = "cold"
    progress: Callable[[str], None] = lambda text: None


@dataclass
class Job:
    """One guest of the batch on its way: what must be done, why, and how it ended."""

    guest: Guest
    action: str = "none"
    reason: str = ""
    failure: str = ""
    process: Process | None = None
    since: float = 0.0
    line: socket.socket | None = None
    loose: list[int] = field(default_factory=list)


def distinct(guests: Sequence[Guest]) -> list[Guest]:
    """Return the guests of a batch. Raises HostError when two would take each other's place."""
    for what, words in (("id", [g.id for g in guests]), ("TAP", [g.control.tap for g in guests if g.control])):
        twice = sorted({word for word in words if words.count(word) > 1}) if len(set(words)) < len(words) else []
        if twice:
            raise HostError(f"more than one guest has the {what} {', '.join(twice)}: each needs its own")
    return list(guests)


def default_window() -> int:
    """Guests that may boot at a time: more than twice the cores only makes each of them slower."""
    return max(2, 2 * (os.cpu_count() or 1))


def compare(around: Surroundings, guest: Guest, ports: Mapping[str, Mapping[int, int]]) -> Job:
    """Say what separates a guest from being started as wanted."""
    path = qemu.files(around.rundir, guest)
    record = read_json(path["record"])
    process = process_of(around.rundir, guest.id)
    if not record:
        return Job(guest, "start", "not there")
    if not process:
        return Job(guest, "start", "stopped" if record.get("wanted") == "stopped" else "dead")
    layered = "layer" in (record.get("disk") or {})
    if cold_part(process.argv) != qemu.command(around.rundir, guest, around.machines[guest.image], layered):
        return Job(guest, "start", "changed", process=process)
    if guest.control and not host_links.exists(guest.control.tap):
        return Job(guest, "start", "its control interface is gone", process=process)
    job = Job(guest, process=process, loose=unplugged(record, process.pid, ports))
    said = read(path["state"])
    if not os.path.exists(path["key"]):
        return Job(guest, "start", "its host key is gone", process=process)
    if never_woken(around.rundir, guest.id):
        return Job(guest, "start", "it was never woken up", process=process)
    key = archive(around, guest)[0]
    if said.booted and said.configured != key:
        job.action, job.reason = "reconfigure", "configuration changed"
        if record.get("config_key") == key:
            job.reason = "it rebooted with an older configuration" if said.configured else "it could not apply its configuration"
    elif record.get("config_key") != key:
        return Job(guest, "start", "changed while booting", process=process)
    elif job.loose:
        job.action, job.reason = "replug", "unplugged from " + ", ".join(guest.nics[index].substrate for index in job.loose)
    elif guest.control and around.control and not host_links.is_attached(guest.control.tap, around.control["bridge"]):
        job.action, job.reason = "reattach", "its control interface is not where it should be"
    return job


def started(around: Surroundings, guests: Sequence[Guest], pace: Pace, check: bool, restart: bool = False) -> list[dict[str, Any]]:
    """Bring the guests up and wait until they have booted. Returns one result per guest."""
    ports = plugged(around.rundir)
    jobs = [compare(around, guest, ports) for guest in guests]
    if restart:
        for job in jobs:
            job.action, job.reason = "start", job.reason or "restart asked for"
    if check:
        return [result(around.rundir, job, ports) for job in jobs]
    if around.control:
        check_in_force(around.rundir, [job.guest for job in jobs if job.action in ("start", "reattach")])
    refuse_too_much(jobs)
    install_console(around.rundir)
    ended = [job for job in jobs if job.process and (restart or (job.action == "start" and keeps_files(around.rundir, job)))]
    with ThreadPoolExecutor(pace.window) as pool:
        list(pool.map(lambda job: halt(around.rundir, job.guest.id, pace.stop_timeout), ended))
        list(pool.map(lambda job: repair(around, job), jobs))
    waiting = [job for job in jobs if job.action == "start"]
    # Running since an earlier run, but not up yet: that run was interrupted, or gave up.
    early = [job for job in jobs if job.process and job.action != "start" and not job.failure]
    booting = [job for job in early if not read(qemu.files(around.rundir, job.guest)["state"]).booted]
    for job in booting:
        job.since = time.monotonic()
    with Stock(around.rundir, around.templates, around.machines, pace.start, pace.boot_timeout) as stock:
        stock.order([job.guest for job in waiting], {job.guest.id: OWN_DISK for job in waiting if has_own_disk(around, job.guest)})
        boot(around, waiting, booting, jobs, pace, stock)
    await_addresses(around.rundir, [job for job in jobs if job.action == "start" and not job.failure], pace)
    await_commands(around.rundir, [job for job in jobs if job.action == "start" and not job.failure], pace)
    for job in jobs:
        if not job.failure and not process_of(around.rundir, job.guest.id):
            job.failure = "it was up, and its process is gone"
    ports = plugged(around.rundir)
    return [result(around.rundir, job, ports) for job in jobs]


def has_own_disk(around: Surroundings, guest: Guest) -> bool:
    """Tell whether a guest has a disk from an earlier start, which is not its template's."""
    path = qemu.files(around.rundir, guest)
    with contextlib.suppress(HostError):
        return not never_woken(around.rundir, guest.id) and disks.keeps(path, around.machines[guest.image], read_json(path["record"]))
    return False


def keeps_files(rundir: RunDir, job: Job) -> bool:
    """Tell whether a guest has a disk of its own, and should write down what it holds in memory before it is started anew."""
    return os.path.lexists(qemu.files(rundir, job.guest)["disk"])


def refuse_too_much(jobs: Sequence[Job]) -> None:
    """Refuse a batch that does not fit into the host's memory. Raises ProcessError with the numbers."""
    wanted = sum(job.guest.memory - held(job.process) for job in jobs if job.action == "start")
    with open("/proc/meminfo", encoding="ascii") as file:
        free = next((int(line.split()[1]) // 1024 for line in file if line.startswith("MemAvailable")), wanted)
    if wanted > free:
        raise ProcessError(
            f"the guests to start need {wanted} MB of memory and this host has {free} MB free: give them less, or use fewer per host"
        )


def held(process: Process | None) -> int:
    """Return the memory, in MB, that a guest to be started again gives back first."""
    return int(process.argv[process.argv.index("-m") + 1]) if process and "-m" in process.argv else 0


def repair(around: Surroundings, job: Job) -> None:
    """Do what can be done to a guest without restarting it."""
    try:
        if job.action == "reconfigure":
            reconfigure(around, job.guest)
        if job.action in ("replug", "reconfigure"):
            for index in job.loose:
                qemu.replug(around.rundir, job.guest, index)
        if job.action in ("reconfigure", "replug", "reattach") and job.guest.control and around.control:
            host_links.add_tap(job.guest.control.tap, around.control["bridge"], around.rundir.mark)
    except (HostError, OSError) as error:
        job.failure = str(error)


def boot(around: Surroundings, waiting: list[Job], booting: list[Job], jobs: Sequence[Job], pace: Pace, stock: Stock) -> None:
    """Launch what is waiting, a window at a time, and wait for each to say that it is up."""
    while waiting or booting:
        for job in [job for job in waiting if stock.ready(job.guest)][: max(0, pace.window - len(booting))]:
            waiting.remove(job)
            try:
                start(around, job, stock)
                booting.append(job)
            except (HostError, OSError) as error:
                job.failure = f"never started: {error}"
        for job in [job for job in booting if job.line and not read(qemu.files(around.rundir, job.guest)["state"]).boots]:
            gone = not process_of(around.rundir, job.guest.id)
            if gone or time.monotonic() - job.since > SILENCE:
                hang_up(job)
                stock.refuse(job.guest, "its QEMU has ended" if gone else f"it did not wake up within {SILENCE:.0f} s")
                try:
                    start(around, job, stock)
                except (HostError, OSError) as error:
                    job.failure = f"never started: {error}"
        for job in [job for job in booting if settled(around.rundir, job, pace)]:
            booting.remove(job)
            hang_up(job)
        up = sum(1 for job in jobs if not job.failure) - len(waiting) - len(booting)
        names = ", ".join(job.guest.name for job in booting[:4])
        pace.progress(
            f"{up} of {len(jobs)} up" + (f", booting {names}" if names else "") + (f", {len(waiting)} to start" if waiting else "")
        )
        time.sleep(TICK)


def start(around: Surroundings, job: Job, stock: Stock) -> None:
    """Start a guest: from a template if there is one for it, and booted if not, or if it does not wake up."""
    template, why = stock.take(job.guest)
    if template:
        try:
            job.process = launch(around, job.guest, template)
            job.line = wake(around, job.guest, template, job.process)
            job.since = time.monotonic()
            return
        except (HostError, OSError) as error:
            why = str(error)
            stock.refuse(job.guest, why)
    job.process = launch(around, job.guest, remark=f"booted, not woken up: {why}" if why else "")
    job.since = time.monotonic()


def hang_up(job: Job) -> None:
    """Close the connection to a guest that was woken up."""
    if job.line:
        job.line.close()
        job.line = None


def settled(rundir: RunDir, job: Job, pace: Pace) -> bool:
    """Tell whether a guest has booted or failed for good."""
    path = qemu.files(rundir, job.guest)
    said = read(path["state"])
    if said.boots:
        mark_woken(rundir, job.guest.id)
    if said.booted:
        # A guest says so whatever became of its configuration: without one it is of no use to the experiment.
        if not said.configured and job.process:
            job.failure = diagnose(path["home"], job.process, said, pace.boot_timeout)
        return True
    gone = job.process is not None and not process_of(rundir, job.guest.id)
    crashed = said.boots > 2 or (not said.boots and panic(path["home"]))
    if gone or crashed or time.monotonic() - job.since > pace.boot_timeout:
        # Looked at once more: it may have said so with its last breath.
        if job.process and not read(path["state"]).booted:
            job.failure = diagnose(path["home"], job.process, read(path["state"]), pace.boot_timeout)
        return True
    return False


def await_addresses(rundir: RunDir, jobs: Sequence[Job], pace: Pace) -> None:
    """Give guests a moment to get an address of the lab's DHCP server, so that it can be said; one that gets none has booted as well."""
    deadline = time.monotonic() + pace.address_wait
    pending = [job for job in jobs if job.guest.control and not job.guest.control.address]
    while pending and time.monotonic() < deadline:
        pending = [job for job in pending if not read(qemu.files(rundir, job.guest)["state"]).control_address]
        pending = [job for job in pending if process_of(rundir, job.guest.id)]
        if pending:
            pace.progress(f"waiting for {len(pending)} addresses")
            time.sleep(TICK)


def await_commands(rundir: RunDir, jobs: Sequence[Job], pace: Pace) -> None:
    """Give start commands a moment to end, so that their exit status can be shown; one that runs for ever is fine."""
    deadline = time.monotonic() + pace.command_wait
    pending = [job for job in jobs if job.guest.start_command]
    while pending and time.monotonic() < deadline:
        pending = [
            job
            for job in pending
            if not isinstance(read(qemu.files(rundir, job.guest)["state"]).start_command, int) and process_of(rundir, job.guest.id)
        ]
        if pending:
            pace.progress(f"waiting for {len(pending)} start commands")
            time.sleep(TICK)


def result(rundir: RunDir, job: Job, ports: Mapping[str, Mapping[int, int]]) -> dict[str, Any]:
    """Report one guest."""
    report = {
        **describe(rundir, job.guest.id, ports),
        "name": job.guest.name,
        "action": job.action,
        "reason": job.reason,
        "changed": job.action != "none",
    }
    if job.failure:
        report.update(failed=job.guest.failure_action == "fatal", msg=job.failure, detail=job.failure.splitlines()[0])
    return report


def stopped(rundir: RunDir, guests: Sequence[Guest], pace: Pace, check: bool) -> list[dict[str, Any]]:
    """Stop guests, letting each power off by itself first."""

    def end(guest: Guest) -> dict[str, Any]:
        running = process_of(rundir, guest.id) is not None
        report: dict[str, Any] = {"name": guest.name, "action": "stop" if running else "none", "reason": "", "changed": running}
        if not check:
            try:
                halt(rundir, guest.id, pace.stop_timeout)
                if read_json(qemu.files(rundir, guest)["record"]):
                    mark_stopped(rundir, guest.id)
            except (HostError, OSError) as error:
                report.update(failed=True, msg=str(error))
        return {**describe(rundir, guest.id, plugged(rundir)), **report}

    with ThreadPoolExecutor(pace.window) as pool:
        return list(pool.map(end, guests))


def absent(rundir: RunDir, ids: Sequence[str], check: bool) -> list[dict[str, Any]]:
    """Remove guests with everything they had."""

    def name(id_: str) -> str:
        return str(read_json(f"{rundir.guest(id_)}/launch.json").get("name", id_))

    results = remove_each(ids, known(rundir), name, partial(discard, rundir), check)
    for result in results:
        del result["id"]
        result.update(state="unknown" if result.get("failed") else "absent", reason="", detail="")
    return results

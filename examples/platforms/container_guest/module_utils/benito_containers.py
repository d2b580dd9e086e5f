# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The containers of an experiment on one host, as one batch: compare with what runs, change the difference, wait until it is up.

A container is one `systemd-nspawn` over a root directory that all share, in a network namespace of its own; what it writes is gone when
it is started anew. In the namespace it has a TAP for each of its interfaces, plugged into a port of a VDE switch by a `vde_plug2tap`, and
one end of a veth whose other end is in the bridge of the control net.

    ROOT/ID/guests/GUEST/       launch.json container.log ssh_host_ed25519_key
        config/                 what it is told, read-only inside at /run/benito/config; init is what it runs
        io/                     state: what it has to say, at /run/benito/io inside
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.benito.testbed.plugins.module_utils import host_key, host_links, tun_node, vde
from ansible_collections.benito.testbed.plugins.module_utils.boot_state import read
from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.guest import PLACE, Guest, Nic
from ansible_collections.benito.testbed.plugins.module_utils.guest_config import config_files
from ansible_collections.benito.testbed.plugins.module_utils.guest_status import known, plugged
from ansible_collections.benito.testbed.plugins.module_utils.guests import TICK, Job, Pace, await_commands
from ansible_collections.benito.testbed.plugins.module_utils.lifecycle import process_of
from ansible_collections.benito.testbed.plugins.module_utils.options import remove_each
from ansible_collections.benito.testbed.plugins.module_utils.process_files import ROUTES
from ansible_collections.benito.testbed.plugins.module_utils.processes import Process, ProcessError, alive, marked, spawn, stop, tail
from ansible_collections.benito.testbed.plugins.module_utils.rundir import (
    RunDir,
    passage,
    read_json,
    remove,
    write_file,
    write_json,
)
from ansible_collections.benito.testbed.plugins.module_utils.service_ids import service

KIND = "container"
# Seconds that a container may take for another configuration.
PATIENCE = 30.0
PLUG = "vde_plug2tap"
Ports = Mapping[str, Mapping[int, int]]


@dataclass(frozen=True)
class Ground:
    """What the containers of one host share.

    ``base`` is the root directory, ``programs`` where container-run and container-init are; ``hosts`` the table of the whole
    experiment, ``control`` the document's or None, ``shares`` its shared directories.
    """

    rundir: RunDir
    base: str
    programs: str
    hosts: Sequence[Sequence[object]]
    control: Mapping[str, Any] | None
    shares: Sequence[Mapping[str, Any]]
    authorized_keys: str
    resolver: str


def container(options: Mapping[str, Any]) -> Guest:
    """Take one entry of the document's ``guests``. Raises HostError for what a container cannot do."""
    guest = Guest.from_options({**options, "memory": 128})
    if any(nic.shaped for nic in guest.nics):
        raise HostError(f"container {guest.name}: its links cannot be shaped at the end node, let a shaper do it")
    if guest.control and not guest.control.address:
        raise HostError(f"container {guest.name}: it cannot ask for its control address by DHCP, give it one")
    # It knows its addresses, and asks nobody; directories are bound into it, and not mounted over the control net.
    return replace(guest, nics=tuple(replace(nic, dhcp="") for nic in guest.nics), dhcp=(), mounts=())


def record_of(rundir: RunDir, id_: str) -> dict[str, Any]:
    """Return the launch record of a container; empty when there is none."""
    return read_json(f"{rundir.guest(id_)}/launch.json")


def command(ground: Ground, guest: Guest) -> list[str]:
    """Return the argument vector of a container."""
    home = ground.rundir.guest(guest.id)
    for share in ground.shares:
        for word in (share["name"], share["path"]):
            if not PLACE.match(str(word)):
                raise HostError(f"a share must be an absolute path of plain characters, not {str(word)[:64]!r}")
    return [
        *("/bin/sh", f"{ground.programs}/container-run", "watch"),
        *("--quiet", "--register=no", "--keep-unit", "--settings=no", "--console=pipe", f"--machine={guest.id}"),
        *("--link-journal=no", "--resolv-conf=off", "--timezone=off"),
        *(f"--directory={ground.base}", "--volatile=overlay"),
        *("--network-namespace-path=/proc/self/ns/net", "--capability=CAP_NET_ADMIN"),
        *(f"--bind-ro={home}/config:/run/benito/config", f"--bind={home}/io:/run/benito/io"),
        *(f"--bind{'' if share.get('writable') else '-ro'}={share['path']}:{share['name']}" for share in ground.shares),
        *("--as-pid2", "/run/benito/config/init", "boot"),
    ]


def plug_command(rundir: RunDir, nic: Nic) -> list[str]:
    """Return the argument vector of what joins a TAP of the container to its port."""
    return [PLUG, "-s", vde.control_directory(rundir, nic.switch), "-p", str(nic.port), nic.device]


def shape(guest: Guest) -> list[str]:
    """Return the devices of a container: others need another container."""
    return [*([guest.control.tap] if guest.control else []), *(nic.device for nic in guest.nics)]


def configuration(ground: Ground, guest: Guest) -> dict[str, str]:
    """Return the files that tell a container what it is; its host key must be there."""
    files = {}
    for name, path in (
        ("ssh_host_ed25519_key", f"{ground.rundir.guest(guest.id)}/ssh_host_ed25519_key"),
        ("init", f"{ground.programs}/container-init"),
    ):
        with open(path, encoding="utf-8") as file:
            files[name] = file.read()
    files.update({"authorized_keys": ground.authorized_keys, "routes.py": ROUTES})
    return config_files(guest, ground.rundir, ground.hosts, ground.control, files, ground.resolver)


def configure(ground: Ground, guest: Guest) -> str:
    """Write what the container is told; return the key of it."""
    place = f"{ground.rundir.guest(guest.id)}/config"
    files = configuration(ground, guest)
    os.makedirs(place, mode=0o700, exist_ok=True)
    for name in set(os.listdir(place)) - set(files):
        remove(f"{place}/{name}")
    for name, text in files.items():
        write_file(f"{place}/{name}", text.encode(), 0o700 if name == "init" else 0o600)
    return files["key"].strip()


def plug(rundir: RunDir, id_: str, process: Process, nic: Nic) -> Process:
    """Plug an interface of a running container into its port, in the place of whatever is there of ours. Raises ProcessError."""
    argv = plug_command(rundir, nic)
    for stray in marked(rundir.mark, rundir.path):
        if list(stray.argv[:-1]) == argv[:-1]:
            stop(stray)
    # It runs as ids without rights in the namespace where the TAP is, which belongs to them, as the switch does.
    inside = ["nsenter", f"--target={process.pid}", "--net", "--"]
    ids = replace(service(rundir), groups=tun_node.groups())
    log = f"{rundir.guest(id_)}/plug-{nic.device}.log"
    return spawn(argv, mark=rundir.mark, log=log, unit="benito-plug", within=[*inside, *ids.words])


def plugs(rundir: RunDir, id_: str, process: Process, nics: Sequence[Nic], kept: Sequence[Any] = ()) -> list[list[Any]]:
    """Plug interfaces in; return what the record says of all of them: switch, port, substrate, process."""
    made = [[nic.switch, nic.port, nic.substrate, plug(rundir, id_, process, nic).to_record()] for nic in nics]
    return [*(entry for entry in kept if [entry[0], entry[1]] not in [[m[0], m[1]] for m in made]), *made]


def start(ground: Ground, guest: Guest) -> Process:
    """Start a container in place of whatever is left of an earlier one. Raises ProcessError, LinkError, OSError."""
    rundir, home = ground.rundir, ground.rundir.guest(guest.id)
    for share in ground.shares:
        if not os.path.isdir(str(share["path"])):
            raise ProcessError(f"there is no directory {share['path']} on this host, which it is to share")
    halt(rundir, guest.id)
    passage(home)
    key_file = f"{home}/ssh_host_ed25519_key"
    host_key.make(key_file)
    remove(f"{home}/io")
    os.mkdir(f"{home}/io", 0o700)
    record: dict[str, Any] = {
        "kind": KIND,
        "name": guest.name,
        "config_key": configure(ground, guest),
        "ssh_host_key": host_key.public(key_file),
        "tap": guest.control.tap if guest.control else "",
        "shape": shape(guest),
        "wanted": "started",
    }
    within = ["unshare", "--mount", "--net", "--pid", "--"]
    process = spawn(command(ground, guest), mark=rundir.mark, log=f"{home}/container.log", unit="benito-container", within=within)
    record["process"] = process.to_record()
    write_json(f"{home}/launch.json", record)
    try:
        wire(ground, guest, process)
        record["plugs"] = plugs(rundir, guest.id, process, guest.nics)
    except (HostError, OSError):
        halt(rundir, guest.id)
        raise
    write_json(f"{home}/launch.json", record)
    return process


def wire(ground: Ground, guest: Guest, process: Process) -> None:
    """Make the interfaces of a container: it waits for them."""
    owner = service(ground.rundir).uid
    lines = [f"tuntap add dev {nic.device} mode tap user {owner}" for nic in guest.nics]
    host_links.run(["nsenter", f"--target={process.pid}", "--net", "--", "ip", "-batch", "-"], "".join(f"{line}\n" for line in lines))
    if guest.control and ground.control:
        tap, mark = guest.control.tap, ground.rundir.mark
        if host_links.alias(tap) == mark:
            host_links.delete(tap)
        if not host_links.exists(tap):
            host_links.run(["ip", "link", "add", "name", tap, "type", "veth", "peer", "name", "eth0", "netns", str(process.pid)])
            host_links.run(["ip", "link", "set", "dev", tap, "alias", mark])
        host_links.add_tap(tap, str(ground.control["bridge"]), mark)


def reconfigure(ground: Ground, guest: Guest, process: Process) -> None:
    """Tell a running container what has changed. Raises ProcessError when it cannot be done."""
    home = ground.rundir.guest(guest.id)
    key = configure(ground, guest)
    faults = read(f"{home}/io/state").faults
    os.kill(init(process), signal.SIGHUP)
    until = time.monotonic() + PATIENCE
    said = read(f"{home}/io/state")
    while said.configured != key and said.faults == faults and time.monotonic() < until:
        time.sleep(0.05)
        said = read(f"{home}/io/state")
    if said.configured != key:
        raise ProcessError(f"it did not take its new configuration: {said.errors[-1] if said.faults > faults else 'no answer'}")
    write_json(f"{home}/launch.json", {**record_of(ground.rundir, guest.id), "config_key": key})


def init(process: Process) -> int:
    """Return the process that runs the container's init: the second one as the container sees it, a grandchild of systemd-nspawn."""
    pid = process.pid
    for dummy in range(3):
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            pids = file.read().split()
        if not pids:
            raise ProcessError("it is not up yet, or any more")
        pid = int(pids[0])
    return pid


def halt(rundir: RunDir, id_: str) -> bool:
    """Stop a container, what plugs it in, and its end of the control net. True when it ran."""
    home, record = rundir.guest(id_), record_of(rundir, id_)
    ran = stop(process_of(rundir, id_))
    for stray in marked(rundir.mark, f"{home}/"):
        stop(stray)
    for entry in record.get("plugs", []):
        stop(Process.from_record(entry[3]))
    tap = str(record.get("tap") or "")
    if tap and host_links.alias(tap) == rundir.mark:
        host_links.delete(tap)
    return ran


def loose_ends(record: Mapping[str, Any], guest: Guest, ports: Ports) -> list[int]:
    """Return the indices of the interfaces that are not in their ports."""
    holders = {(entry[0], entry[1]): entry[3]["pid"] for entry in record.get("plugs", [])}
    return [
        index
        for index, nic in enumerate(guest.nics)
        if (nic.switch, nic.port) not in holders or ports.get(nic.switch, {}).get(nic.port) != holders[nic.switch, nic.port]
    ]


def compare(ground: Ground, guest: Guest, ports: Ports) -> Job:
    """Say what separates a container from being started as wanted."""
    rundir, home = ground.rundir, ground.rundir.guest(guest.id)
    record = record_of(rundir, guest.id)
    process = process_of(rundir, guest.id)
    if record.get("kind") != KIND:
        return Job(guest, "start", "not there")
    if not process:
        return Job(guest, "start", "stopped" if record.get("wanted") == "stopped" else "dead")
    if list(process.argv) != command(ground, guest) or record.get("shape") != shape(guest):
        return Job(guest, "start", "changed", process=process)
    if guest.control and not host_links.exists(guest.control.tap):
        return Job(guest, "start", "its control interface is gone", process=process)
    if not os.path.exists(f"{home}/ssh_host_ed25519_key"):
        return Job(guest, "start", "its host key is gone", process=process)
    job = Job(guest, process=process, loose=loose_ends(record, guest, ports))
    said = read(f"{home}/io/state")
    if configuration(ground, guest)["key"].strip() != said.configured:
        job.action, job.reason = ("reconfigure", "configuration changed") if said.booted else ("start", "it has not booted")
    elif job.loose:
        job.action, job.reason = "replug", "unplugged from " + ", ".join(guest.nics[index].substrate for index in job.loose)
    elif guest.control and ground.control and not host_links.is_attached(guest.control.tap, str(ground.control["bridge"])):
        job.action, job.reason = "reattach", "its control interface is not where it should be"
    return job


def started(ground: Ground, guests: Sequence[Guest], pace: Pace, check: bool, restart: bool = False) -> list[dict[str, Any]]:
    """Bring the containers up and wait until they have booted. Returns one result per container."""
    ports = plugged(ground.rundir)
    jobs = [compare(ground, guest, ports) for guest in guests]
    for job in jobs if restart else ():
        job.action, job.reason = "start", job.reason or "restart asked for"
    if not check:
        if any(job.action in ("start", "replug") for job in jobs):
            tun_node.admit(ground.rundir.root)
        with ThreadPoolExecutor(pace.window) as pool:
            for number, dummy in enumerate(pool.map(lambda job: bring(ground, job, pace), jobs), 1):
                pace.progress(f"{number} of {len(jobs)} containers looked after")
        await_commands(ground.rundir, [job for job in jobs if job.action == "start" and not job.failure], pace)
        ports = plugged(ground.rundir)
    return [result(ground.rundir, job, ports) for job in jobs]


def bring(ground: Ground, job: Job, pace: Pace) -> None:
    """Do what must be done to one container."""
    rundir, guest = ground.rundir, job.guest
    try:
        if job.action == "start":
            job.process = start(ground, guest)
            await_boot(rundir, job, pace)
            return
        if job.action == "reconfigure" and job.process:
            reconfigure(ground, guest, job.process)
        if job.loose and job.process:
            record = record_of(rundir, guest.id)
            nics = [guest.nics[index] for index in job.loose]
            record["plugs"] = plugs(rundir, guest.id, job.process, nics, record.get("plugs", []))
            write_json(f"{rundir.guest(guest.id)}/launch.json", record)
        if job.action != "none" and guest.control and ground.control:
            host_links.add_tap(guest.control.tap, str(ground.control["bridge"]), rundir.mark)
    except (HostError, OSError) as error:
        job.failure = str(error)


def await_boot(rundir: RunDir, job: Job, pace: Pace) -> None:
    """Wait until a container says that it is up; say why it does not."""
    home = rundir.guest(job.guest.id)
    deadline = time.monotonic() + pace.boot_timeout
    while not (said := read(f"{home}/io/state")).booted:
        if not alive(job.process):
            job.failure = f"its process has ended: {tail(f'{home}/container.log') or 'no output'}"
            return
        if time.monotonic() > deadline:
            job.failure = f"it has not booted within {pace.boot_timeout:.0f} s: {tail(f'{home}/container.log') or 'no output'}"
            return
        time.sleep(TICK)
    if not said.configured:
        job.failure = f"misconfigured: {said.errors[-1] if said.errors else 'it does not say why'}"


def result(rundir: RunDir, job: Job, ports: Ports) -> dict[str, Any]:
    """Report one container."""
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


def describe(rundir: RunDir, id_: str, ports: Ports) -> dict[str, Any]:
    """Return the facts about one container, as the contract of a platform names them."""
    home, record = rundir.guest(id_), record_of(rundir, id_)
    info: dict[str, Any] = {
        "name": record.get("name", id_),
        "state": "absent",
        "pid": None,
        "exit_status": None,
        "uptime": None,
        "detail": "",
    }
    if not record:
        return info
    said = read(f"{home}/io/state")
    info.update(exit_status=said.start_command, ssh_host_key=record.get("ssh_host_key", ""))
    process = process_of(rundir, id_)
    if not process:
        info["state"] = "stopped" if record.get("wanted") == "stopped" else "dead"
        info["exit_status"] = None if said.start_command == "running" else said.start_command
        info["detail"] = "" if info["state"] == "stopped" else tail(f"{home}/container.log", lines=1) or "its process is gone"
        return info
    info.update(state="booted" if said.booted else "running", pid=process.pid, uptime=said.uptime)
    loose = [str(entry[2]) for entry in record.get("plugs", []) if ports.get(entry[0], {}).get(entry[1]) != entry[3]["pid"]]
    remarks = [*said.errors, *(["unplugged from " + ", ".join(loose)] if loose else [])]
    if said.booted and said.configured != record.get("config_key"):
        remarks.append("runs an older configuration" if said.configured else "has applied no configuration")
    info["detail"] = "; ".join(remarks)
    return info


def stopped(rundir: RunDir, guests: Sequence[Guest], check: bool) -> list[dict[str, Any]]:
    """Stop containers."""
    results = []
    for guest in guests:
        running = process_of(rundir, guest.id) is not None
        report: dict[str, Any] = {"name": guest.name, "action": "stop" if running else "none", "reason": "", "changed": running}
        if running and not check:
            try:
                halt(rundir, guest.id)
                write_json(f"{rundir.guest(guest.id)}/launch.json", {**record_of(rundir, guest.id), "wanted": "stopped", "plugs": []})
            except (HostError, OSError) as error:
                report.update(failed=True, msg=str(error))
        results.append({**describe(rundir, guest.id, {}), **report})
    return results


def absent(rundir: RunDir, ids: Sequence[str], check: bool) -> list[dict[str, Any]]:
    """Remove containers with everything they had."""

    def discard(id_: str) -> None:
        halt(rundir, id_)
        remove(rundir.guest(id_))

    results = remove_each(ids, known(rundir), lambda id_: str(record_of(rundir, id_).get("name", id_)), discard, check)
    for result in results:
        del result["id"]
        result.update(state="unknown" if result.get("failed") else "absent", reason="", detail="")
    return results

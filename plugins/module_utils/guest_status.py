# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be said of a guest by looking at it from outside: its process, its state port, its plugs, its console."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
from collections.abc import Mapping
from typing import Any

from . import console
from .boot_state import BootState, read
from .processes import Process, alive, tail
from .rundir import RunDir, read_json, write_file
from .untrusted import UntrustedError, read_bytes
from .vde import endpoints

QEMU = "qemu"


def install_console(rundir: RunDir) -> None:
    """Put the program that shows what nodes wrote into the experiment's directory, unless it is there."""
    path = f"{rundir.path}/console"
    python = next((path for path in ("/usr/bin/python3", "/usr/libexec/platform-python") if os.access(path, os.X_OK)), sys.executable)
    wanted = f"#!{python} -IB\n{inspect.getsource(console)}".encode()
    with contextlib.suppress(UntrustedError):
        if read_bytes(path) == wanted:
            return
    write_file(path, wanted, 0o755)


def known(rundir: RunDir, *wanted: str) -> list[str]:
    """Return the ids of the guests that have a directory, all or those of some kinds."""
    with contextlib.suppress(OSError):
        ids = sorted(os.listdir(f"{rundir.path}/guests"))
        return [id_ for id_ in ids if not wanted or kind_of(rundir, id_) in wanted]
    return []


def kind_of(rundir: RunDir, id_: str) -> str:
    """Return the kind of a guest, as its platform has written it down; a record that does not say is of a machine."""
    return str(read_json(f"{rundir.guest(id_)}/launch.json").get("kind") or QEMU)


def kinds(rundir: RunDir) -> list[str]:
    """Return the kinds of the guests that have a directory."""
    return sorted({kind_of(rundir, id_) for id_ in known(rundir)})


def plugged(rundir: RunDir) -> dict[str, dict[int, int]]:
    """Ask every switch of the experiment who is plugged in: switch id -> port -> pid."""
    with contextlib.suppress(OSError):
        return {name: endpoints(rundir, name) for name in os.listdir(f"{rundir.path}/switches")}
    return {}


def unplugged(record: Mapping[str, Any], pid: int, ports: Mapping[str, Mapping[int, int]]) -> list[int]:
    """Return the indices of interfaces whose port in the switch is not held by the guest's process."""
    return [index for index, (switch, port, dummy) in enumerate(plugs_of(record)) if ports.get(switch, {}).get(port) != pid]


def plugs_of(record: Mapping[str, Any]) -> list[tuple[str, int, str]]:
    """Return the plugs of a launch record, switch, port and substrate; none when they are damaged."""
    plugs = record.get("plugs")
    sound = isinstance(plugs, list) and all(isinstance(p, list) and [type(word) for word in p] == [str, int, str] for p in plugs)
    return [tuple(plug) for plug in plugs] if sound and plugs else []


def describe(rundir: RunDir, id_: str, ports: Mapping[str, Mapping[int, int]]) -> dict[str, Any]:
    """Return the facts about one guest.

    ``state`` is ``absent``, ``stopped`` (on request), ``dead`` (its process is gone), ``running`` (started) or ``booted`` (it said so).
    ``exit_status`` is the start command's: a number, ``running`` or None. ``detail`` is a remark for people, empty when all is well.
    """
    home = rundir.guest(id_)
    record = read_json(f"{home}/launch.json")
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
    process = Process.from_record(record.get("process"))
    said = read(f"{home}/io/state")
    info["exit_status"] = said.start_command
    if said.control_address:
        info["control_address"] = said.control_address
    info["ssh_host_key"] = record.get("ssh_host_key", "")
    info["console"] = f"{home}/io/console"
    if not process or not alive(process):
        info["state"] = "stopped" if record.get("wanted") == "stopped" else "dead"
        if info["state"] == "dead":
            info["exit_status"] = None if said.start_command == "running" else said.start_command
            info["detail"] = panic(home) or tail(f"{home}/qemu.log", lines=1) or "its process is gone"
        return info
    info.update(state="booted" if said.booted else "running", pid=process.pid, uptime=said.uptime)
    loose = unplugged(record, process.pid, ports)
    info["start"] = record.get("start", "cold")
    remarks = list(said.errors)
    if record.get("remark"):
        remarks.append(str(record["remark"]))
    if loose:
        remarks.append("unplugged from " + ", ".join(plugs_of(record)[index][2] for index in loose))
    if record.get("down"):
        remarks.append("taken down: " + ", ".join(record["down"]))
    if said.booted and said.configured != record.get("config_key"):
        remarks.append("runs an older configuration" if said.configured else "has applied no configuration")
    info["detail"] = "; ".join(remarks)
    return info


def last_words(home: str) -> str:
    """Return the last lines of a guest's console, or what QEMU itself had to say."""
    return tail(f"{home}/io/console.log", lines=8) or tail(f"{home}/qemu.log")


def panic(home: str) -> str:
    """Return what the kernel said when it panicked; empty when it did not."""
    lines = tail(f"{home}/io/console.log", lines=2000, limit=1 << 16).splitlines()
    return next((line[line.index("Kernel panic") :] for line in reversed(lines) if "Kernel panic" in line), "")


def diagnose(home: str, process: Process, said: BootState, seconds: float) -> str:
    """Say what went wrong with a guest that is not booted, with the last lines it printed."""
    words = last_words(home)
    shown = "\n".join(f"    | {line}" for line in words.splitlines()) if words else "    | (nothing on its console)"
    if said.errors:
        cause = f"misconfigured: {said.errors[-1]}"
    elif not alive(process):
        cause = "crashed: its QEMU has ended"
    elif panic(home):
        cause = f"crashed: {panic(home)}"
    elif said.boots > 1:
        cause = f"crashed: it rebooted {said.boots - 1} times"
    elif said.boots:
        cause = f"its agent started but did not finish within {seconds:.0f} s"
    else:
        cause = f"silent: its agent did not start within {seconds:.0f} s"
    return f"{cause}\n{shown}"

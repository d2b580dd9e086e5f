# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The VDE switches of an experiment on this host: one `vde_switch` per substrate, its ports pinned by the plan."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from .accounts import Identity, account
from .errors import HostError
from .options import remove_each
from .processes import Process, ProcessError, alive, marked, spawn, stop, tail
from .rundir import ACCOUNT, RunDir, own_directory, part_id, passage, read_json, remove, write_json
from .service_ids import service
from .unix_sockets import connect

PROGRAM = "vde_switch"
# How many come up at a time: most of that is waiting for their sockets.
AT_ONCE = 8
PROMPT = b"\nvde$ "
ENDPOINT = re.compile(r"-- endpoint ID \d+ module \S+ *prog *: (?P<description>.*)")
PORT = re.compile(r"Port ([0-9]{1,9})\b")
PID = re.compile(r"\bpid=([0-9]{1,9})(?![0-9])")
# Bytes of an answer: a switch with all its ports plugged in has less.
LARGEST_ANSWER = 16 << 20


@dataclass(frozen=True)
class Switch:
    """One switch: the substrate it carries, its short id for paths, how many ports it has."""

    name: str
    id: str
    ports: int

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Switch:
        """Take one entry of the document's ``switches``."""
        return cls(str(options["name"]), part_id(options["id"]), int(options["ports"]))


def control_directory(rundir: RunDir, id_: str) -> str:
    """What a VDE plug is given to reach the switch."""
    return f"{rundir.switch(id_)}/io/ctl"


def command(rundir: RunDir, switch: Switch) -> list[str]:
    """Return the argument vector of a switch."""
    home = f"{rundir.switch(switch.id)}/io"
    return [
        PROGRAM,
        # Who may come this far is said by the directory around them: the experiment's own ids, and the account of the cables.
        *("--sock", f"{home}/ctl", "--mode", "0666", "--dirmode", "0777"),
        *("--mgmt", f"{home}/mgmt", "--mgmtmode", "0600"),
        *("--numports", str(switch.ports)),
    ]


def earlier_command(rundir: RunDir, switch: Switch) -> list[str]:
    """Return the argument vector that switches had when all ran as one account: they serve as well."""
    modes = {"0666": "0600", "0777": "0700"}
    return [modes.get(word, word) for word in command(rundir, switch)]


def record_path(rundir: RunDir, id_: str) -> str:
    """Where the launch record of a switch is."""
    return f"{rundir.switch(id_)}/launch.json"


def known(rundir: RunDir) -> list[str]:
    """Return the ids of the switches that have a directory."""
    with contextlib.suppress(OSError):
        return sorted(os.listdir(f"{rundir.path}/switches"))
    return []


def running(rundir: RunDir, id_: str) -> Process | None:
    """Return the living process of a switch."""
    process = Process.from_record(read_json(record_path(rundir, id_)).get("process"))
    return process if alive(process) else None


def state(rundir: RunDir, id_: str) -> dict[str, Any]:
    """Describe one switch: running or dead, and the ports that are plugged in."""
    record = read_json(record_path(rundir, id_))
    process = running(rundir, id_)
    return {
        "name": record.get("name", id_),
        "id": id_,
        "state": "running" if process else "dead",
        "pid": process.pid if process else None,
        "plugged": sorted(endpoints(rundir, id_)) if process else [],
    }


def needs(rundir: RunDir, switch: Switch) -> str | None:
    """Say why a switch must be (re)started; None when it is right and running."""
    record = read_json(record_path(rundir, switch.id))
    if not record:
        return "not there"
    if not running(rundir, switch.id):
        return "dead"
    if record["process"]["argv"] not in (command(rundir, switch), earlier_command(rundir, switch)):
        return "changed"
    return None


def strays(rundir: RunDir, id_: str = "") -> list[Process]:
    """Find switches by what the kernel says of them, whatever is written down: one, or all. It looks at every process of the host."""
    # The guests that are plugged in name the switch on their command lines too: those stay.
    return [p for p in marked(rundir.mark, f"{rundir.switch(id_)}/" if id_ else f"{rundir.path}/switches/") if p.argv[0] == PROGRAM]


def start(rundir: RunDir, switch: Switch, around: Sequence[Process] | None = None) -> None:
    """Start a switch in place of whatever is left of an earlier one. Raises ProcessError. For ``around`` see `halt`."""
    # Asked first: what is there may say that it is to stay as it was.
    ids = service(rundir)
    home = rundir.switch(switch.id)
    visitors = None
    with contextlib.suppress(FileNotFoundError):
        # Cables of the switch before come back to this one by themselves.
        visitors = os.stat(f"{home}/io").st_gid
    halt(rundir, switch.id, around)
    passage(home)
    own_directory(f"{home}/io", ids, visitors if visitors == account(ACCOUNT).pw_gid != ids.gid else None)
    process = spawn(command(rundir, switch), mark=rundir.mark, log=f"{home}/switch.log", user=ids, unit="benito-switch", console=True)
    deadline = time.monotonic() + 5
    # A socket has its path a moment before it can be connected to.
    while not (_listens(f"{home}/io/ctl/ctl") and _listens(f"{home}/io/mgmt")):
        if not alive(process) or time.monotonic() > deadline:
            stop(process)
            raise ProcessError(f"the switch of {switch.name} did not come up: {tail(f'{home}/switch.log') or 'no output'}")
        time.sleep(0.005)
    write_json(record_path(rundir, switch.id), {"name": switch.name, "process": process.to_record()})


def _listens(path: str) -> bool:
    """Tell whether connections to a socket are taken."""
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.settimeout(1)
        connect(probe, path)
        return True
    return False


def let_cables_in(rundir: RunDir, ids: Collection[str]) -> None:
    """Let the account of the cables come to the sockets of these switches, and not to those of the others."""
    for id_ in known(rundir):
        io = f"{rundir.switch(id_)}/io"
        with contextlib.suppress(FileNotFoundError):
            facts = os.stat(io)
            owner = Identity(facts.st_uid, facts.st_uid)
            if facts.st_uid == account(ACCOUNT).pw_uid:
                continue  # it is the account's own, from an earlier release
            if id_ in ids and facts.st_gid != account(ACCOUNT).pw_gid:
                own_directory(io, owner, account(ACCOUNT).pw_gid)
            elif id_ not in ids and facts.st_gid != owner.gid:
                own_directory(io, owner)


def halt(rundir: RunDir, id_: str, around: Sequence[Process] | None = None) -> bool:
    """Stop a switch and remove what it leaves; also one whose record was lost. True when something was there.

    ``around`` are the experiment's switches, for who has looked for them already.
    """
    home = f"{rundir.switch(id_)}/"
    process = running(rundir, id_)
    if process:
        found = [process]
    elif around is None:
        found = strays(rundir, id_)
    else:
        found = [p for p in around if any(home in word for word in p.argv)]
    halted = [stop(p, patience=2.0) for p in found]
    return any([*halted, remove(rundir.switch(id_))])


def ask(path: str, question: str, patience: float = 3.0, prompt: bytes = PROMPT) -> str:
    """Put one command to a management socket, a switch's or that of a program with another prompt, and return the answer.

    Raises OSError, also when the answer is not whole after ``patience`` seconds.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(patience)
        _connect(connection, path)
        deadline = time.monotonic() + patience
        _until(prompt, connection, deadline)
        connection.sendall(f"{question}\n".encode())
        answer = _until(prompt, connection, deadline)
    return answer


def _connect(connection: socket.socket, path: str) -> None:
    """Connect; who has only just made the socket is given a moment until it listens there."""
    deadline = time.monotonic() + 0.5
    while True:
        try:
            return connect(connection, path)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _until(prompt: bytes, connection: socket.socket, deadline: float) -> str:
    """Return what is said up to a prompt, within bounds: who speaks may have been taken over by a guest. Raises OSError."""
    heard = bytearray()
    while not heard.endswith(prompt):
        left = deadline - time.monotonic()
        if left <= 0 or len(heard) > LARGEST_ANSWER:
            raise TimeoutError("no end of its answer")
        connection.settimeout(left)
        piece = connection.recv(65536)
        if not piece:
            break
        heard += piece
    return heard.decode(errors="replace")


def endpoints(rundir: RunDir, id_: str) -> dict[int, int]:
    """Ask the switch itself which process is plugged into which port: port -> pid."""
    try:
        answer = ask(f"{rundir.switch(id_)}/io/mgmt", "port/print")
    except OSError:
        return {}
    plugged: dict[int, int] = {}
    port = 0
    for line in answer.splitlines():
        if found := PORT.match(line):
            port = int(found[1])
        found = ENDPOINT.search(line)
        pid = PID.search(found.group("description")) if found else None
        if pid:
            plugged[port] = int(pid.group(1))
    return plugged


def present(rundir: RunDir, switches: Sequence[Switch], purge: bool, check: bool) -> list[dict[str, Any]]:
    """Bring the switches of an experiment to what is wanted. Returns one result per switch, whatever happened to the others."""
    ids = [switch.id for switch in switches]
    twice = sorted({id_ for id_ in ids if ids.count(id_) > 1})
    if twice:
        raise HostError(f"the switch {twice[0]} is listed twice: ids must differ")
    results = absent(rundir, [id_ for id_ in known(rundir) if id_ not in ids], check) if purge else []
    reasons = [needs(rundir, switch) for switch in switches]
    # Once for all of them: with hundreds, looking at every process of the host takes longer than anything else.
    around = strays(rundir) if any(reasons) and not check else []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return results + list(pool.map(partial(_bring, rundir, check, around), switches, reasons))


def _bring(rundir: RunDir, check: bool, around: Sequence[Process], switch: Switch, reason: str | None) -> dict[str, Any]:
    """Bring one switch to what is wanted, if there is a reason to."""
    result: dict[str, Any] = {
        "name": switch.name,
        "id": switch.id,
        "changed": bool(reason),
        "action": "start" if reason else "none",
        "reason": reason or "",
    }
    if reason and not check:
        try:
            start(rundir, switch, around)
        except (HostError, OSError) as error:
            result.update(failed=True, msg=str(error))
    return result


def absent(rundir: RunDir, ids: Sequence[str], check: bool) -> list[dict[str, Any]]:
    """Stop switches and remove what they leave."""
    return remove_each(ids, known(rundir), partial(_name, rundir), partial(halt, rundir), check)


def _name(rundir: RunDir, id_: str) -> str:
    return str(read_json(record_path(rundir, id_)).get("name", id_))

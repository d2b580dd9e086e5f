# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cables of an experiment on this host as they are: what was written down, which processes run, what can be seen of each.

What the service account wrote is not believed: it is read as data, and its pids are looked at before they count.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from typing import Any

from . import cable_keeper, host_links, tunnels
from .cable import Cable, address_of, home, tunnel_of
from .errors import HostError
from .processes import LARGEST_PID, Process, alive, boot_id, look, marked
from .rundir import RunDir, part_id, read_json
from .untrusted import UntrustedError, read_object

# A peer of whom nothing was heard for so long is gone: its keepalives come three times as often.
SILENCE = cable_keeper.SILENCE + 5
LARGEST_REPORT = 1 << 24


def record(rundir: RunDir) -> dict[str, Any]:
    """Return what was written down: ``cables``, by id with ``cable``, ``made`` and ``done``; ``listing`` of the rules."""
    found = read_json(f"{home(rundir)}/cables.json")
    cables: dict[str, Any] = {}
    for id_, facts in (found.get("cables") or {}).items():
        with contextlib.suppress(HostError, TypeError, KeyError, ValueError, AttributeError, OverflowError):
            part_id(id_)
            cables[id_] = {"cable": Cable.from_record(facts["cable"]), "made": int(facts["made"]), "done": bool(facts["done"])}
    return {"cables": cables, "listing": str(found.get("listing", ""))}


def known(rundir: RunDir) -> list[str]:
    """Return the ids of the cables that were made or begun."""
    return sorted(record(rundir)["cables"])


def keeper(rundir: RunDir) -> Process | None:
    """Return the living supervisor."""
    process = Process.from_record(read_json(f"{home(rundir)}/launch.json").get("process"))
    return process if alive(process) else None


def processes(rundir: RunDir) -> list[Process]:
    """Return all living processes of the cables: the supervisor, what it started, and what the gate let in."""
    supervisor = keeper(rundir)
    children = [p for p in marked(rundir.mark, f"{rundir.path}/") if _parent(p.pid) == supervisor.pid] if supervisor else []
    plugs = [gate_process(rundir, id_) for id_ in known(rundir)]
    return [*([supervisor] if supervisor else []), *children, *(p for p in plugs if p)]


def _parent(pid: int) -> int:
    """Return the process that started this one; 0 when it is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        return int(file.read().rpartition(")")[2].split()[1])
    return 0


def _report(rundir: RunDir) -> dict[str, dict[str, Any]]:
    """Return what the supervisor says of its cables. It is the service account's word, so nothing is taken for granted."""
    with contextlib.suppress(UntrustedError):
        cables = read_object(f"{home(rundir)}/io/state.json", LARGEST_REPORT).get("cables")
        return {id_: facts for id_, facts in cables.items() if isinstance(facts, dict)} if isinstance(cables, dict) else {}
    return {}


def _gate_record(rundir: RunDir, id_: str) -> dict[str, Any]:
    with contextlib.suppress(UntrustedError):
        return read_object(f"{home(rundir)}/io/gate-{id_}.json", 1 << 16)
    return {}


def gate_process(rundir: RunDir, id_: str) -> Process | None:
    """Return the living plug that the gate let in for a cable."""
    found = _gate_record(rundir, id_)
    pid = next(iter(_numbers([found.get("pid")])), 0)
    process = look(pid) if pid else None
    ours = process and found.get("boot") == boot_id() and found.get("started") == process.started
    return process if process and ours and any(f"{rundir.path}/" in word for word in process.argv) else None


def _numbers(values: Any) -> Iterator[int]:
    for value in values if isinstance(values, list) else []:
        if isinstance(value, int) and not isinstance(value, bool) and 1 < value < LARGEST_PID:
            yield value


def state(rundir: RunDir) -> list[dict[str, Any]]:
    """Describe each cable: ``connected``, ``connecting`` (never was yet) or ``broken``, how often it was made again, and why not."""
    supervisor, report = keeper(rundir), _report(rundir)
    found = []
    for id_, facts in record(rundir)["cables"].items():
        cable: Cable = facts["cable"]
        if not cable.kept:
            said = _let_in(rundir, cable)
        elif supervisor:
            said = report.get(id_, {})
        else:
            said = {**report.get(id_, {}), "state": "broken", "detail": "its supervisor is not running", "pids": []}
        tunnel = tunnel_of(rundir, cable)
        if tunnel and facts["done"]:
            with contextlib.suppress(HostError):
                trouble = tunnels.missing(rundir, tunnel, address_of(cable) if cable.peer_address else "")
                said = {**said, "state": "broken", "detail": trouble} if trouble else said
        since, connections = said.get("since"), said.get("connections")
        found.append(
            {
                "name": cable.name,
                "id": cable.id,
                "peer": cable.peer,
                "transport": cable.transport,
                "state": said["state"] if said.get("state") in ("connected", "connecting", "broken") else "connecting",
                "remakes": max(0, connections - 1) if isinstance(connections, int) and connections < 1 << 31 else 0,
                "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since)) if isinstance(since, int) and 0 < since < 1 << 40 else "",
                "detail": "".join(c for c in str(said.get("detail", "")) if c.isprintable())[:300],
                "pids": list(_numbers(said.get("pids"))),
            }
        )
    return found


def _let_in(rundir: RunDir, cable: Cable) -> dict[str, Any]:
    """Return what is known of a cable that the peer makes to us."""
    told = _gate_record(rundir, cable.id)
    process = gate_process(rundir, cable.id)
    facts = {**told, "pids": [process.pid] if process else []}
    if not process:
        waiting = (
            {"state": "broken", "detail": "the peer's connection ended"}
            if told
            else {"state": "connecting", "detail": "the peer has not come"}
        )
        return {**facts, **waiting}
    silent = _silent(str(told.get("connection", "")))
    if silent > SILENCE:
        return {**facts, "state": "broken", "detail": f"nothing was heard of the peer for {silent:.0f} s"}
    return {**facts, "state": "connected", "detail": ""}


def _silent(connection: str) -> float:
    """Return for how many seconds nothing came by a TCP connection, given as sshd gives it to its children; 0 where that is not known."""
    words = connection.split()
    if len(words) != 4 or not all(re.match(r"[0-9A-Fa-f:.]+\Z", word) for word in words):
        return 0.0
    with contextlib.suppress(HostError):
        wanted = f"src {words[2]} and sport = :{words[3]} and dst {words[0]} and dport = :{words[1]}"
        shown = host_links.run(["ss", "-Htni", *wanted.split()])
        heard = [int(value) for value in re.findall(r"\blast(?:rcv|ack):(\d+)", shown)]
        return min(heard) / 1000 if heard else float(SILENCE + 1)
    return 0.0

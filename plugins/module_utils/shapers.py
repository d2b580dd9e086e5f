# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shapers of an experiment on this host: what stands between an interface's own switch and the switch of its substrate.

A shaper is two `wirefilter` processes back to back, one for each direction, because a single one keeps the order of packets over both
directions together: what waits in one would hold up the other. Each half is plugged into one switch and shapes
what comes from there; a point-to-point plug joins them.

    ROOT/ID/shapers/ID/               root's: launch.json, out.rc, in.rc, out.log, in.log
        io/                           of the service account: out and in (management sockets), link and link+ (between the halves)

A wirefilter does not notice that its switch died, it spins. So its standard input, whose end makes it leave, is a connection
to the switch's management socket: no switch, no wirefilter.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from .errors import HostError
from .guest_status import plugged
from .options import remove_each
from .processes import Process, ProcessError, alive, marked, spawn, stop, tail
from .rundir import ACCOUNT, RunDir, own_directory, part_id, passage, read_json, remove, write_file, write_json
from .vde import ask, control_directory

PROGRAM = "wirefilter"
PROMPT = b"\nVDEwf$ "
HALVES = ("out", "in")
LARGEST_LOG = 1 << 20
# What wirefilter counts for a frame of 1500 bytes of data: the frame and two bytes of its own.
FULL_FRAME = 1516
# Frames that may wait for their turn where capacity is limited, as many as in the queues of Emulab's delay nodes.
QUEUE = 50
# Bytes that may be under way where only latency is.
MOST_UNDER_WAY = 64 << 20
# ms that a packet takes through half a shaper besides its latency: waking up at the right time, and passing sockets.
ON_THE_WAY = 0.25
# wirefilter knows whole milliseconds and cuts off the rest after it has thrown its dice; with this much to both sides the mean is right.
DICE = 0.5
# What waits for a processor delays packets.
NICENESS = -10
# What wirefilter computes with is an unsigned integer.
FASTEST = (1 << 32) - 1
# wirefilter's names of what can be set, as commands and as `showinfo` reports them.
REPORTED = {"loss": "Loss", "lostburst": "Lburst", "delay": "Delay", "dup": "Dup", "bandwidth": "Bandw", "chanbufsize": "Cap."}
NUMBER = r"-?[0-9.]+(?:e[+-][0-9]+)?"
REPORT = re.compile(rf"(?P<name>\S+) +L->R (?P<value>{NUMBER})\+(?P<plus>{NUMBER})[UN] ")
WAITING = re.compile(r"Current Delay Queue size: +L->R ([0-9]{1,15})(?![0-9])")
UNITS = {"capacity": " kb/s", "latency": " ms", "jitter": " ms"}


@dataclass(frozen=True)
class Direction:
    """What happens to packets one way; None is nothing.

    ``capacity`` in kb/s, of which each frame finds up to the fraction ``spread`` more or less; ``latency`` and ``jitter`` (up to so much
    more or less) in ms; ``loss`` and ``duplication`` are fractions; ``burst`` is the mean length of a run of lost packets.
    """

    capacity: float | None = None
    spread: float | None = None
    latency: float | None = None
    jitter: float | None = None
    loss: float | None = None
    duplication: float | None = None
    burst: float | None = None

    @classmethod
    def from_options(cls, name: str, options: Mapping[str, Any] | None) -> Direction:
        """Take ``out`` or ``in`` of an entry of the document's ``shapers``; zero is nothing. Raises HostError."""
        options = options or {}
        values = {f.name: float(options[f.name]) if options.get(f.name) is not None else None for f in fields(cls)}
        made = cls(**{key: value or None for key, value in values.items()})
        for key, least, most, right in LIMITS:
            value = getattr(made, key)
            if value is not None and not least <= value <= most:
                raise HostError(f"{name}: {key} must be {right}, not {value:g}")
        if (made.jitter or 0) > (made.latency or 0):
            raise HostError(f"{name}: jitter must be at most the latency, {made.latency or 0:g} ms, not {made.jitter:g} ms")
        if made.burst and made.loss and made.loss < 1 and made.loss / (1 - made.loss) > made.burst:
            raise HostError(f"{name}: with a loss of {made.loss:g} the mean burst must be at least {made.loss / (1 - made.loss):g}")
        return made

    def __str__(self) -> str:
        """Name what is shaped, with units; "nothing" for nothing."""
        known = ((f.name, getattr(self, f.name)) for f in fields(self))
        return ", ".join(f"{name} {value:g}{UNITS.get(name, '')}" for name, value in known if value is not None) or "nothing"

    def settings(self) -> dict[str, tuple[float, float]]:
        """Return wirefilter's own values: mean, and how far to both sides."""
        capacity = (self.capacity or 0) * 125
        latency, jitter = self.latency or 0, self.jitter or 0
        queue = QUEUE * FULL_FRAME + capacity * (latency + jitter) / 1000 if capacity else MOST_UNDER_WAY if latency else 0
        bandwidth = capacity * _slower(self.spread or 0)
        if bandwidth * (1 + (self.spread or 0)) > FASTEST:
            bandwidth = 0
        return {
            "loss": ((self.loss or 0) * 100, 0),
            "lostburst": ((self.burst or 0) if 0 < (self.loss or 0) < 1 else 0, 0),
            "delay": (max(latency - ON_THE_WAY, 0) + DICE, max(jitter, DICE)) if latency else (0, 0),
            "dup": ((self.duplication or 0) * 100, 0),
            "bandwidth": (bandwidth, bandwidth * (self.spread or 0)),
            "chanbufsize": (queue, 0),
        }


LIMITS = (
    ("capacity", 1e-3, 1e9, "a positive number of kb/s"),
    ("spread", 0, 0.9, "a fraction from 0 to 0.9"),
    ("latency", 0, 600_000, "from 0 to 600000 ms"),
    ("jitter", 0, 600_000, "from 0 to 600000 ms"),
    ("loss", 0, 1, "a fraction from 0 to 1"),
    ("duplication", 0, 0.9, "a fraction from 0 to 0.9"),
    ("burst", 1, 1e6, "from 1 to 1000000 packets"),
)


def _slower(spread: float) -> float:
    """Return by what the mean rate is to be raised so that the mean time a frame takes is that of the capacity."""
    return math.log((1 + spread) / (1 - spread)) / (2 * spread) if spread else 1.0


@dataclass(frozen=True)
class Shaper:
    """One shaper: the switch ports at both ends, and what it does to packets from the node (``out``) and to it (``into``)."""

    name: str
    id: str
    node: str
    interface: str
    substrate: str
    edge: str
    edge_port: int
    switch: str
    port: int
    out: Direction
    into: Direction

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Shaper:
        """Take one entry of the document's ``shapers``. Raises HostError."""
        name = str(options["name"])
        return cls(
            name=name,
            id=part_id(options["id"]),
            node=str(options.get("node") or ""),
            interface=str(options.get("interface") or ""),
            substrate=str(options.get("substrate") or ""),
            edge=part_id(options["edge"]),
            edge_port=int(options["edge_port"]),
            switch=part_id(options["switch"]),
            port=int(options["port"]),
            out=Direction.from_options(f"{name} out", options.get("out")),
            into=Direction.from_options(f"{name} in", options.get("in")),
        )

    def plug(self, half: str) -> tuple[str, int]:
        """Return the switch and the port a half is plugged into."""
        return (self.edge, self.edge_port) if half == "out" else (self.switch, self.port)

    def direction(self, half: str) -> Direction:
        """Return what a half does."""
        return self.out if half == "out" else self.into


def home(rundir: RunDir, id_: str) -> str:
    """Directory of a shaper."""
    return f"{rundir.path}/shapers/{id_}"


def record_path(rundir: RunDir, id_: str) -> str:
    """Where the launch record of a shaper is."""
    return f"{home(rundir, id_)}/launch.json"


def known(rundir: RunDir) -> list[str]:
    """Return the ids of the shapers that have a directory."""
    with contextlib.suppress(OSError):
        return sorted(os.listdir(f"{rundir.path}/shapers"))
    return []


def command(rundir: RunDir, shaper: Shaper, half: str) -> list[str]:
    """Return the argument vector of a half. Its values are not in it: they change while it runs."""
    switch, port = shaper.plug(half)
    where = home(rundir, shaper.id)
    return [
        PROGRAM,
        *("--rcfile", f"{where}/{half}.rc"),
        *("--vde-plug", f"{control_directory(rundir, switch)}[{port}]:ptp://{where}/io/link"),
        *("--mgmt", f"{where}/io/{half}", "--mgmtmode", "0600"),
    ]


def script(direction: Direction) -> str:
    """Return the commands that make a wirefilter do this, and nothing else, with what comes from its switch."""
    return "".join(f"{name} LR{_decimal(value)}+{_decimal(plus)}U\n" for name, (value, plus) in direction.settings().items())


def _decimal(value: float) -> str:
    """Write a number without an exponent and without letters that wirefilter takes for a unit."""
    return f"{value:.9f}".rstrip("0").rstrip(".")


def running(rundir: RunDir, id_: str) -> dict[str, Process]:
    """Return the living halves of a shaper."""
    recorded = read_json(record_path(rundir, id_)).get("processes", {})
    found = {half: Process.from_record(recorded.get(half)) for half in HALVES}
    return {half: process for half, process in found.items() if process and alive(process)}


def report(rundir: RunDir, id_: str, half: str) -> str:
    """Ask a half what it does. Raises OSError, HostError."""
    answer = ask(f"{home(rundir, id_)}/io/{half}", "showinfo", prompt=PROMPT)
    if "1000 Success" not in answer:
        raise HostError("a wirefilter does not say what it does")
    return answer


def reported(answer: str) -> dict[str, tuple[str, str]]:
    """Read wirefilter's own values, as it writes them, from its report."""
    found = {match["name"]: (match["value"], match["plus"]) for match in REPORT.finditer(answer)}
    return {name: found[word] for name, word in REPORTED.items() if word in found}


def as_reported(direction: Direction) -> dict[str, tuple[str, str]]:
    """Return what wirefilter reports when it does this: six digits."""
    return {name: (f"{float(_decimal(v)):g}", f"{float(_decimal(p)):g}") for name, (v, p) in direction.settings().items()}


def live(answer: str) -> Direction:
    """Return what a half does, in the words of the document, from its report."""
    values = {name: (float(value), float(plus)) for name, (value, plus) in reported(answer).items()}

    def value(name: str) -> tuple[float, float]:
        return values.get(name, (0.0, 0.0))

    bandwidth, more = value("bandwidth")
    spread = round(more / bandwidth, 5) if bandwidth else 0
    delay, dice = value("delay")
    latency = float(f"{delay - DICE + ON_THE_WAY:.5g}") if delay else 0
    jitter = dice if dice > DICE else 0
    return Direction(
        capacity=float(f"{bandwidth / _slower(spread) / 125:.5g}") or None,
        spread=spread or None,
        latency=latency or None,
        jitter=jitter or None,
        loss=round(value("loss")[0] / 100, 9) or None,
        duplication=round(value("dup")[0] / 100, 9) or None,
        burst=value("lostburst")[0] or None,
    )


def state(rundir: RunDir, id_: str, ports: Mapping[str, Mapping[int, int]], down: Sequence[str] = ()) -> dict[str, Any]:
    """Describe one shaper.

    ``ports`` is what the switches say of who is plugged in; ``state`` is ``running`` when both halves live and are plugged in, else
    ``dead``; ``out`` and ``in`` are what the halves themselves say, None where one cannot say anything; ``queued`` are bytes under way.
    ``down`` names the interfaces that were taken down, as node and interface.
    """
    record = read_json(record_path(rundir, id_))
    processes = running(rundir, id_)
    whole = all(half in processes and _is_plugged(record, half, processes[half], ports) for half in HALVES)
    described: dict[str, Any] = {
        "name": record.get("name", id_),
        "id": id_,
        **{key: record.get(key, "") for key in ("node", "interface", "substrate")},
        "state": "running" if whole else "dead",
        "pid": processes["out"].pid if "out" in processes else None,
        "pids": {half: processes[half].pid if half in processes else None for half in HALVES},
        "queued": {},
        "down": f"{record.get('node', '')}:{record.get('interface', '')}" in down,
    }
    for half in HALVES:
        described[half] = None
        with contextlib.suppress(OSError, HostError):
            answer = report(rundir, id_, half) if half in processes else ""
            if answer:
                described[half] = {f.name: getattr(live(answer), f.name) for f in fields(Direction)}
                described["queued"][half] = int(match[1]) if (match := WAITING.search(answer)) else 0
    return described


def _is_plugged(record: Mapping[str, Any], half: str, process: Process, ports: Mapping[str, Mapping[int, int]]) -> bool:
    plugs = record.get("plugs")
    plug = plugs.get(half) if isinstance(plugs, dict) else None
    if not isinstance(plug, list) or [type(word) for word in plug] != [str, int]:
        return False
    return ports.get(plug[0], {}).get(plug[1]) == process.pid


@dataclass(frozen=True)
class Need:
    """What is to be done about a shaper: start it, or retune some halves, and why; texts of before and after for people."""

    start: bool = False
    retune: tuple[str, ...] = ()
    reason: str = ""
    before: str = ""
    after: str = ""

    @property
    def action(self) -> str:
        """The word for it: none, start or retune."""
        return "start" if self.start else "retune" if self.retune else "none"


def needs(rundir: RunDir, shaper: Shaper, ports: Mapping[str, Mapping[int, int]]) -> Need:
    """Compare a shaper with what is wanted. What a half does is what it says itself, whatever was once written down."""
    record = read_json(record_path(rundir, shaper.id))
    wanted = {half: str(shaper.direction(half)) for half in HALVES}
    if not record:
        return Need(start=True, reason="not there", before="not there", after="; ".join(f"{half}: {wanted[half]}" for half in HALVES))
    processes = running(rundir, shaper.id)
    start: dict[str, str] = {}
    retune: dict[str, tuple[str, str]] = {}
    for half in HALVES:
        process = processes.get(half)
        if not process:
            start[half] = "dead"
        elif list(process.argv) != command(rundir, shaper, half):
            start[half] = "plugged in elsewhere"
        elif not _is_plugged(record, half, process, ports):
            start[half] = "unplugged"
        else:
            try:
                answer = report(rundir, shaper.id, half)
            except (OSError, HostError):
                start[half] = "silent"
                continue
            if reported(answer) != as_reported(shaper.direction(half)):
                retune[half] = str(live(answer)), wanted[half]
    if start:
        why = "; ".join(f"{half} {reason}" for half, reason in start.items())
        return Need(start=True, reason=why, before=why, after="; ".join(f"{half}: {wanted[half]}" for half in HALVES))
    return Need(
        retune=tuple(retune),
        reason="; ".join(f"{half}: {old} -> {new}" for half, (old, new) in retune.items()),
        before="; ".join(f"{half}: {old}" for half, (old, dummy) in retune.items()),
        after="; ".join(f"{half}: {new}" for half, (dummy, new) in retune.items()),
    )


def start(rundir: RunDir, shaper: Shaper) -> None:
    """Start both halves of a shaper in place of whatever is left of them: one alone cannot join the other's plug again.

    Raises HostError, OSError.
    """
    where = home(rundir, shaper.id)
    _stop(rundir, shaper.id)
    remove(f"{where}/io")
    passage(os.path.dirname(where))
    passage(where)
    own_directory(f"{where}/io", ACCOUNT)
    started: dict[str, Process] = {}
    try:
        for half in HALVES:
            write_file(f"{where}/{half}.rc", script(shaper.direction(half)).encode(), 0o644)
            started[half] = _spawn(rundir, shaper, half)
        for half, process in started.items():
            _await(f"{where}/io/{half}", process, f"{where}/{half}.log")
    except (HostError, OSError):
        for process in started.values():
            stop(process, patience=2.0)
        raise
    described = {key: getattr(shaper, key) for key in ("name", "node", "interface", "substrate")}
    plugs = {half: list(shaper.plug(half)) for half in HALVES}
    processes = {half: process.to_record() for half, process in started.items()}
    write_json(record_path(rundir, shaper.id), {**described, "plugs": plugs, "processes": processes})


def _spawn(rundir: RunDir, shaper: Shaper, half: str) -> Process:
    switch = shaper.plug(half)[0]
    log = f"{home(rundir, shaper.id)}/{half}.log"
    with socket.socket(socket.AF_UNIX) as lifeline:
        try:
            lifeline.connect(f"{rundir.switch(switch)}/io/mgmt")
        except OSError as error:
            raise ProcessError(f"the switch {switch} it is plugged into does not run: {error.strerror or error}") from error
        argv = command(rundir, shaper, half)
        more: dict[str, Any] = {"unit": "benito-shaper", "stdin": lifeline.fileno(), "largest": LARGEST_LOG}
        process = spawn(argv, mark=rundir.mark, log=log, user=ACCOUNT, **more)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
        # Where sessions share the processors, niceness counts among sessions only when it is said here.
        with open(f"/proc/{process.pid}/autogroup", "w", encoding="ascii") as file:
            file.write(str(NICENESS))
    return process


def _await(path: str, process: Process, log: str, patience: float = 5.0) -> None:
    """Wait until a wirefilter is plugged in: only then it makes its management socket."""
    deadline = time.monotonic() + patience
    while not os.path.exists(path):
        if not alive(process) or time.monotonic() > deadline:
            said = [line for line in tail(log, lines=40).splitlines() if line.startswith("vdeplug")]
            raise ProcessError(f"its wirefilter did not come up: {' '.join(said) or 'no output'}")
        time.sleep(0.005)


def retune(rundir: RunDir, id_: str, half: str, direction: Direction) -> None:
    """Give a running half new values, all of them between two packets. Raises HostError, OSError."""
    path = f"{home(rundir, id_)}/{half}.rc"
    write_file(path, script(direction).encode(), 0o644)
    ask(f"{home(rundir, id_)}/io/{half}", f"load {path}", prompt=PROMPT)
    if reported(report(rundir, id_, half)) != as_reported(direction):
        raise HostError(f"its wirefilter did not take {half}: {direction}")


def _stop(rundir: RunDir, id_: str) -> bool:
    """Stop the processes of a shaper, also those that no record knows of. True when there was one."""
    found = running(rundir, id_)
    processes = found.values() if set(found) == set(HALVES) else marked(rundir.mark, f"{home(rundir, id_)}/")
    stopped = [stop(process, patience=2.0) for process in processes if process.argv[0] == PROGRAM]
    return any(stopped)


def halt(rundir: RunDir, id_: str) -> bool:
    """Stop a shaper and remove what it leaves. True when something was there."""
    return any([_stop(rundir, id_), remove(home(rundir, id_))])


def present(rundir: RunDir, shapers: Sequence[Shaper], purge: bool, check: bool) -> list[dict[str, Any]]:
    """Bring the shapers of an experiment to what is wanted. Returns one result per shaper, whatever happened to the others."""
    wanted = {shaper.id for shaper in shapers}
    results = absent(rundir, [id_ for id_ in known(rundir) if id_ not in wanted], check) if purge else []
    ports = plugged(rundir) if shapers else {}
    for shaper in shapers:
        need = needs(rundir, shaper, ports)
        result: dict[str, Any] = {
            "name": shaper.name,
            "id": shaper.id,
            "changed": need.action != "none",
            "action": need.action,
            "reason": need.reason,
            "before": need.before,
            "after": need.after,
        }
        if need.action != "none" and not check:
            try:
                if need.start:
                    start(rundir, shaper)
                for half in need.retune:
                    retune(rundir, shaper.id, half, shaper.direction(half))
            except (HostError, OSError) as error:
                result.update(failed=True, msg=str(error))
        results.append(result)
    return results


def absent(rundir: RunDir, ids: Sequence[str], check: bool) -> list[dict[str, Any]]:
    """Stop shapers and remove what they leave."""
    results = remove_each(ids, known(rundir), partial(_name, rundir), partial(halt, rundir), check)
    return [{**result, "before": "there" if result["changed"] else "not there", "after": "not there"} for result in results]


def _name(rundir: RunDir, id_: str) -> str:
    return str(read_json(record_path(rundir, id_)).get("name", id_))


def difference(results: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Say in lines what changes, for ``--diff``: old and new values of each object that is touched."""
    touched = [result for result in results if result.get("changed")]
    return {key: "".join(f"{result['name']}: {result[key]}\n" for result in touched) for key in ("before", "after")}

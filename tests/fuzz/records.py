# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Readers on the hosts: what guests, switches, monitors and the service account wrote, and the records of an experiment."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from ansible_collections.benito.testbed.plugins.module_utils import (
    boot_state,
    cable_status,
    console,
    control_net,
    guest_status,
    host_links,
    link_changes,
    process_nodes,
    rundir,
    shapers,
    shares,
    ssh_gate,
    tunnels,
    untrusted,
    vde,
)
from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.id_ranges import recorded
from ansible_collections.benito.testbed.plugins.module_utils.node_programs import enter
from ansible_collections.benito.testbed.plugins.module_utils.processes import Process, boot_id, look
from ansible_collections.benito.testbed.plugins.module_utils.qmp import Qmp

from .target import Target


@cache
def _home() -> rundir.RunDir:
    """Return the directory of an experiment, with a directory for one thing of each kind."""
    root = Path(tempfile.mkdtemp(prefix="bz-"))
    found = rundir.RunDir("p", "e", "x", str(root))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    for place in ("guests/g/io", "switches/s/io", "shapers/h/io", "cables/io", "nodes", "shares"):
        (root / "x" / place).mkdir(parents=True)
    return found


def _apart(target: Target) -> Target:
    """Return a target whose reader starts no programs: what a record can make us start is not what is tested here."""

    def read(data: bytes) -> None:
        before = host_links.run
        host_links.run = _nothing  # type: ignore[assignment]
        try:
            target.read(data)
        finally:
            host_links.run = before

    return replace(target, read=read)


def _nothing(words: list[str], *more: object, **options: object) -> str:
    raise HostError(f"{words[0]} is not run")


@contextmanager
def _written(place: str, data: bytes) -> Iterator[rundir.RunDir]:
    """Write a file of the experiment while something reads it."""
    path = Path(_home().path) / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_with_process(data))
    try:
        yield _home()
    finally:
        path.unlink(missing_ok=True)


# Stands in inputs for the record of a process that lives: the inputs shall be the same on every machine.
_LIVING = "a process that lives"
_LAUNCHED = {"process": _LIVING}


def _with_process(data: bytes) -> bytes:
    return data.replace(f'"{_LIVING}"'.encode(), _record_of_init())


@cache
def _record_of_init() -> bytes:
    process = look(1) or Process(1, 1, boot_id(), ("init",))
    return json.dumps(process.to_record()).encode()


def _printed(found: object) -> None:
    """Do with a result what a module does: write it as JSON that is UTF-8."""
    json.dumps(found, ensure_ascii=False, default=str).encode("utf-8", "surrogateescape")


def _guest_message(data: bytes) -> None:
    with _written("guests/g/io/state", data) as home:
        state = boot_state.read(f"{home.guest('g')}/io/state")
        _printed(state.errors)
        with _written("guests/g/launch.json", json.dumps(_guest_record()).encode()):
            _printed(guest_status.describe(home, "g", {"s": {1: 1}}))


def _console(data: bytes) -> None:
    with _written("guests/g/io/console.log", data) as home:
        _printed(guest_status.panic(home.guest("g")))
        _printed(guest_status.last_words(home.guest("g")))


def _shown(data: bytes) -> None:
    """Show what a node wrote, in pieces, to a terminal."""
    plain, moving = console.Sieve(), console.Sieve(moving=True)
    pieces = data.split(b"|")
    assert all(c.isprintable() or c in "\n\t" for piece in pieces for c in plain.pass_on(piece))
    text = console.HARMLESS.sub("", "".join(moving.pass_on(piece) for piece in pieces))
    assert all(c.isprintable() or c in "\n\t\r\b\x07" for c in text), "what a terminal obeys is shown"


def _guest_launch(data: bytes) -> None:
    with _written("guests/g/launch.json", data) as home:
        _printed(guest_status.describe(home, "g", {"s": {1: 1}}))
        _printed(guest_status.kinds(home))
        _printed(str(link_changes.down(home)))


def _switch_launch(data: bytes) -> None:
    with _written("switches/s/launch.json", data) as home:
        _printed(vde.state(home, "s"))
        _printed(vde.needs(home, vde.Switch("s", "s", 8)))


def _shaper_launch(data: bytes) -> None:
    with _written("shapers/h/launch.json", data) as home:
        _printed(shapers.state(home, "h", {"s": {1: 1}}))


def _shares_launch(data: bytes) -> None:
    with _written("shares/launch.json", data) as home:
        _printed(shares.state(home))


def _cable_records(data: bytes) -> None:
    with _written("cables/cables.json", data) as home:
        _printed(cable_status.state(home))


def _cable_reports(data: bytes) -> None:
    with _written("cables/cables.json", json.dumps(_CABLES).encode()) as home:
        for place in ("cables/io/state.json", "cables/io/gate-c.json", "cables/launch.json"):
            with _written(place, data):
                _printed(cable_status.state(home))


def _gate(data: bytes) -> None:
    with _written("cables/io/gate-c.json", data) as home:
        ssh_gate.replace(f"{home.path}/cables/io/gate-c.json")
    content = loaded_object(data)
    # The program says either as one line.
    with suppress(ssh_gate.Refused, KeyError):
        ssh_gate.choose(content, "c")


def loaded_object(data: bytes) -> dict[str, Any]:
    """Return what root wrote: an object."""
    with suppress(ValueError, RecursionError):
        content = json.loads(data)
        return content if isinstance(content, dict) else {}
    return {}


def _supervisor(data: bytes) -> None:
    with _written("nodes/state.json", data) as home, _written("nodes/launch.json", json.dumps(_LAUNCHED).encode()):
        with _written("nodes/nodes.json", json.dumps({"nodes": [{"id": "g", "name": "g", "kind": "process", "plugs": []}]}).encode()):
            there = process_nodes.view(home)
            _printed(str(there.facts("g")))
        with suppress(enter.NoWay):
            enter.find(f"{home.path}/nodes", "g")


def _nodes(data: bytes) -> None:
    with _written("nodes/nodes.json", data) as home:
        _printed(str(process_nodes.view(home)))
        with suppress(enter.NoWay):
            enter.find(f"{home.path}/nodes", "g")


def _control(data: bytes) -> None:
    with _written("control.json", data) as home:
        _printed(control_net.described(home))


def _experiment(data: bytes) -> None:
    with _written("experiment.json", data) as home, _written("ids.json", data):
        _printed([str(other) for other in rundir.existing(home.root)])
        home.create()
        recorded(home)


def _interfaces(data: bytes) -> None:
    directory = Path(_home().root) / ".interfaces"
    directory.mkdir(exist_ok=True)
    (directory / "eth9.json").write_bytes(data)
    _printed(tunnels.records(_home().root) if hasattr(tunnels, "records") else [])


class _Scripted(socket.socket):
    """A socket that is connected to a pair of its own, from which the answer has been sent already."""

    answer = b""

    def connect(self, address: Any) -> None:
        here, there = socket.socketpair()
        there.setblocking(False)
        with suppress(BlockingIOError):
            there.send(self.answer)
        there.shutdown(socket.SHUT_WR)
        os.dup2(here.fileno(), self.fileno())
        here.close()
        self.there = there

    def close(self) -> None:
        if hasattr(self, "there"):
            self.there.close()
        super().close()


def _scripted(use: Callable[[], object]) -> Callable[[bytes], None]:
    """Return a target that lets ``use`` speak with something that answers with the input."""

    def read(data: bytes) -> None:
        real = socket.socket
        _Scripted.answer = data[:100_000]
        socket.socket = _Scripted  # type: ignore[misc]
        try:
            _printed(use())
        finally:
            socket.socket = real  # type: ignore[misc]

    return read


def _monitor() -> object:
    with Qmp("/nonexistent", patience=2) as monitor:
        return [monitor.execute("query-status") for dummy in range(2)]


def _switch_answer() -> object:
    return vde.endpoints(_home(), "s")


def _wirefilter_answer() -> object:
    answer = shapers.report(_home(), "h", "out")
    return str(shapers.live(answer))


def _untrusted(data: bytes) -> None:
    json.dumps(untrusted.loads(data), ensure_ascii=False).encode()


def _guest_record() -> dict[str, Any]:
    return {
        **_LAUNCHED,
        "name": "g",
        "kind": "qemu",
        "plugs": [["s", 1, "e0"]],
        "down": {"e0": 0},
        "remark": "r",
        "config_key": "k",
        "start": "cold",
    }


def _encoded(*contents: Any) -> tuple[bytes, ...]:
    return tuple(json.dumps(content).encode() for content in contents)


_CABLE = {
    "name": "c",
    "id": "c",
    "substrate": "s",
    "switch": "s",
    "port": 1,
    "peer": "pnode-0001",
    "transport": "ssh",
    "role": "listen",
    "peer_address": "",
    "peer_ssh_port": 22,
    "peer_host_keys": [],
    "number": 0,
    "socket": 0,
    "device": "",
    "vlan": 0,
}
_CABLES = {
    "cables": {
        "c": {"cable": _CABLE, "made": 1, "done": True},
        "d": {"cable": {**_CABLE, "id": "d", "transport": "udp", "role": "dial", "number": 7, "socket": 20000}, "made": 1, "done": True},
    },
    "listing": "",
}
_REPORT = {"cables": {"d": {"state": "connected", "since": 1700000000, "connections": 2, "detail": "x", "pids": [1]}}}
_GATE = {"pid": 1, "started": 1, "boot": "b", "connections": 2, "since": 1700000000, "connection": "192.0.2.1 22 192.0.2.2 22"}
_STATE = {
    "pid": 1,
    "digest": "d",
    "nodes": {"g": {"state": "running", "pid": 7, "spaces": {"net": 1}, "plugs": {"e0": True}, "command": 0}},
}
_CLAIM = {
    "claim": {"mode": "nat", "bridge": "b0", "table": "t", "address": "172.20.1.1", "prefix": 24, "subnet": "172.20.1.0/24", "guests": []},
    "rules": "",
}


def _lines(*lines: str) -> tuple[bytes, ...]:
    return ("\n".join(lines).encode(),)


_MESSAGES = _lines(
    "boot 6.1",
    "configured abc",
    "booted 3.5",
    "start-command running",
    "start-command exit 3",
    "error eth0: no",
    "mended eth0",
    "control-address 10.0.0.2",
    "asleep",
    "",
)
_CONSOLES = _lines("[ 0.0] Linux", "\x1b[2JKernel panic - not syncing: x", "login: ")
_QMP = _lines(
    '{"QMP": {"version": {}}}',
    '{"return": {}}',
    '{"event": "STOP"}',
    '{"return": {"status": "running"}}',
    '{"error": {"class": "x", "desc": "no"}}',
    "",
)
_SWITCH = _lines(
    "VDE switch",
    "",
    "vde$ 0000 DATA END WITH '.'",
    "Port 0001 untagged_vlan=0000",
    "  -- endpoint ID 0007 module unix prog   : qemu user=b pid=7",
    ".",
    "1000 Success",
    "",
    "vde$ ",
)
_FILTER = _lines(
    "VDEwf$ 0000 DATA END WITH '.'",
    "Loss   L->R 1   R->L 0",
    "Delay  L->R 5+0.1 ",
    "Bandwidth L->R 1000 ",
    ".",
    "1000 Success",
    "VDEwf$ ",
)


def targets() -> list[Target]:
    """Return the readers on the hosts."""
    launch = (*_encoded(_guest_record(), {"kind": "process", "woken": False}),)
    halves = {"out": _LIVING, "in": _LIVING}
    shaper = {"name": "h", "node": "a", "interface": "e0", "processes": halves, "plugs": {"out": ["s", 1], "in": ["s", 2]}}
    words = ("name", "state", "pid", "cables", "nodes", "process", "plugs", "claim", "g", "c", "d")
    refused = (HostError, OSError)
    found = [
        Target(
            "guest-message",
            _guest_message,
            _MESSAGES,
            words=("boot", "booted", "configured", "error", "mended", "exit", "asleep"),
            form="words",
            share=20,
        ),
        Target("console", _console, _CONSOLES, words=("Kernel panic",), form="words", share=20),
        Target(
            "shown",
            _shown,
            _CONSOLES,
            words=("\x1b[", "\x1b]0;", "\x1bP", "\x1b\\", "\x9b", "|", "m", "?1049h", "6n"),
            form="words",
            share=20,
        ),
        Target("untrusted", _untrusted, _encoded(_REPORT, _GATE, _STATE), refused, words, share=60),
        Target("launch-guest", _guest_launch, launch, refused, words, share=20),
        Target("launch-switch", _switch_launch, _encoded(_LAUNCHED), refused, words, share=20),
        Target("launch-shaper", _shaper_launch, _encoded(shaper), refused, words, share=20),
        Target("launch-shares", _shares_launch, _encoded({**_LAUNCHED, "shares": []}), refused, words, share=20),
        Target("cables", _cable_records, _encoded(_CABLES), refused, words, share=20),
        Target("cable-reports", _cable_reports, _encoded(_REPORT, _GATE, _LAUNCHED), refused, words, share=15),
        Target("gate", _gate, _encoded(_GATE, {"cables": {"c": {"plug": "p", "control": "q"}}, "path": "/bin"}), refused, words, share=20),
        Target("supervisor", _supervisor, _encoded(_STATE), refused, words, share=15),
        Target(
            "nodes",
            _nodes,
            _encoded({"nodes": [{"id": "g", "name": "g", "kind": "process", "plugs": [["e0", "m", "p", 1, "g:e0"]]}]}),
            refused,
            words,
            share=20,
        ),
        Target("control", _control, _encoded(_CLAIM), refused, words, share=15),
        Target(
            "experiment", _experiment, _encoded({"project": "p", "experiment": "e", "id": "x"}, {"number": 3}), refused, words, share=15
        ),
        Target("interfaces", _interfaces, _encoded({"name": "eth9", "mark": "m", "cable": "c", "whole": True}), refused, words, share=10),
        Target("qmp", _scripted(_monitor), _QMP, refused, ('{"return": {}}', '{"event": 1}', '{"error": 1}', "\n", "[]"), "words", 20),
        Target("vde-answer", _scripted(_switch_answer), _SWITCH, refused, ("Port", "endpoint", "pid=", "prog", ":"), "words", 20),
        Target("wirefilter-answer", _scripted(_wirefilter_answer), _FILTER, refused, ("L->R", "Delay", "Bandwidth", "+"), "words", 20),
    ]
    return [_apart(target) for target in found]

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever stands in the files of an experiment, its status can be asked, and swap-out removes everything.

Some are written by the service account, which a guest may have taken over; all can be damaged. The table of contents meets each file,
and each value within it.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import (
    cable_status,
    control_bridge,
    control_net,
    guest_status,
    host_forwarding,
    host_links,
    link_changes,
    process_nodes,
    processes,
    shapers,
    shares,
    sweep,
    vde,
)
from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.qmp import Qmp, QmpError
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir, read_json, remove

Run = Callable[[Callable[[], None]], None]
DEEP = 100_000
BRIDGED = "../.control0/state.json"

CONTENTS: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(b'{"name": "n-0", "process": {"pid": 1,'),
    "binary": lambda path: path.write_bytes(bytes(range(256)) * 64),
    "zeros": lambda path: path.write_bytes(bytes(4096)),
    "lists": lambda path: path.write_bytes(b"[" * DEEP),
    "whole lists": lambda path: path.write_bytes(b"[" * DEEP + b"]" * DEEP),
    "dicts": lambda path: path.write_bytes(b'{"cables":' * DEEP),
    "lists in it": lambda path: path.write_bytes(b'{"cables": {"lan0-1": ' + b"[" * 900 + b"]" * 900 + b"}}"),
    "number": lambda path: path.write_bytes(b'{"pid": ' + b"9" * 1_000_000 + b"}"),
    "nan": lambda path: path.write_bytes(b'{"pid": NaN, "since": Infinity}'),
    "surrogate": lambda path: path.write_bytes(rb'{"name": "\ud800", "detail": "\udfff"}'),
    "a list": lambda path: path.write_bytes(b"[1, 2]"),
    "a text": lambda path: path.write_bytes(b'"x"'),
    "null": lambda path: path.write_bytes(b"null"),
    "large": lambda path: os.truncate(path, 1 << 40),
    "fifo": lambda path: (path.unlink(), os.mkfifo(path)),
    "endless": lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
    "a loop": lambda path: (path.unlink(), path.symlink_to(path)),
    "socket": lambda path: (path.unlink(), socket.socket(socket.AF_UNIX).bind(str(path))),
    "directory": lambda path: (path.unlink(), path.mkdir(), (path / "x").touch()),
    "gone": lambda path: path.unlink(),
}
VALUES = (None, True, 10**30, float("1e300"), "\x1b[31m\0", "../../../etc/passwd", [[]], {"x": {}}, [1, "2"])


def nested(depth: int) -> Any:
    value: Any = []
    for dummy in range(depth):
        value = [value]
    return value


def process(number: int = 2**22 + 7) -> dict[str, Any]:
    return {"pid": number, "started": 5, "boot": processes.boot_id(), "argv": ["x", "-y"]}


def records(rundir: RunDir) -> dict[str, Any]:
    """A sound record for each file, by its path."""
    here = process(os.getpid())
    cable = {"name": "lan0 pnode-0001", "id": "lan0-1", "substrate": "lan0", "switch": "lan0", "port": 9, "peer": "pnode-0001",
             "transport": "ssh", "role": "listen"}  # fmt: skip
    other = {**cable, "id": "lan1-1", "transport": "ethernet", "role": "peer", "device": "eth9", "vlan": 5}
    entry = {"id": "p1", "name": "p1", "kind": "process", "home": rundir.guest("p1"), "boot": 0, "network": [["", "link set dev eth1 up"]],
             "plugs": [["eth1", "02:00:00:00:00:01", f"{rundir.switch('lan0')}/io/ctl", 3, "p1:eth1"]], "files": [["/a", "/b"]],
             "mounts": [["/a", "/b", True]], "command": "", "limits": {}, "account": "benito-node", "told": "x", "devices": []}  # fmt: skip
    facts = {"entry": "x", "state": "booted", "error": "", "took": 0.1, "since": 1.5, "spaces": {"net": 3}, "command": 77, "exit_status": 1,
             "unplugged": {"eth1": "why"}}  # fmt: skip
    address = {"family": "inet", "local": "192.0.2.5", "prefixlen": 24, "valid_life_time": 100}
    route = {"dst": "default", "gateway": "192.0.2.1", "family": "inet", "flags": [], "metrics": [{"mtu": 1400}], "expires": 9}
    guest = {"name": "n-0", "kind": "qemu", "process": here, "config_key": "k", "ssh_host_key": "ssh-ed25519 A", "tap": "bntap0",
             "plugs": [["lan0", 1, "lan0"]], "disk": {"path": "/d", "layer": [1, 2]}, "wanted": "started", "woken": True, "remark": "r",
             "down": {"inf000": 0}}  # fmt: skip
    control = {"mode": "nat", "bridge": "bn0", "table": "", "address": "172.20.1.1", "prefix": 24, "interface": "", "deadline": 30,
               "ports": [], "guests": [{"name": "n-0", "tap": "bntap0", "mac": "02:00:00:00:00:01", "address": "172.20.1.2"}]}  # fmt: skip
    shaper = {"name": "n-0:i", "node": "n-0", "interface": "i", "substrate": "lan0", "plugs": {"out": ["lan0", 1], "in": ["lan0", 2]},
              "processes": {"out": here, "in": here}}  # fmt: skip
    share = {"process": here, "wanted": {}, "listen": "172.20.1.1:5640", "account": "benito", "rules": "", "table": "", "table_name": "bns",
             "shares": [{"name": "/users", "path": "/srv", "writable": True}]}  # fmt: skip
    taken = {"name": "eth9", "mark": rundir.mark, "cable": "lan1-1", "whole": True, "device": "eth9", "up": True, "promisc": False,
             "disable_ipv6": "0"}  # fmt: skip
    gate = {
        "pid": os.getpid(),
        "started": 1,
        "boot": processes.boot_id(),
        "connections": 2,
        "since": 5,
        "connection": "192.0.2.1 1 192.0.2.2 22",
    }
    bridged = {"interface": "eth9", "mac": "02:00:00:00:00:09", "mtu": 1500, "addresses": [address], "routes": [route], "since": 5.5,
               "boot": processes.boot_id(), "watchdog": here}  # fmt: skip
    return {
        "experiment.json": {"project": "lab", "experiment": "demo", "id": "lab.demo"},
        "control.json": {"claim": control, "rules": "x", "listing": "y"},
        "ids.json": {"number": 3},
        "switches/lan0/launch.json": {"name": "lan0", "process": here},
        "shapers/s0/launch.json": shaper,
        "guests/n-0/launch.json": guest,
        "guests/p1/launch.json": {"name": "p1", "kind": "process", "wanted": "started", "boot": 0, "remark": "r"},
        "cables/cables.json": {"cables": {id_: {"cable": c, "made": 0, "done": True} for id_, c in (("lan0-1", cable), ("lan1-1", other))}},
        "cables/launch.json": {"process": here},
        "cables/io/state.json": {
            "pid": 5,
            "config": "c",
            "cables": {"lan1-1": {"state": "broken", "detail": "d", "pids": [5], "since": 5, "connections": 2}},
        },
        "cables/io/gate-lan0-1.json": gate,
        "shares/launch.json": share,
        "nodes/launch.json": {"process": here},
        "nodes/nodes.json": {"mark": rundir.mark, "account": [1, 2, 3], "plug_user": [1, 2], "nodes": [entry], "groups": {"p1": ["/x"]}},
        "nodes/state.json": {"pid": os.getpid(), "config": "c", "settled": True, "left": 0, "inside": 4, "nodes": {"p1": facts}},
        "../.control0/state.json": bridged,
        "../.interfaces/eth9.json": taken,
        "../tun.json": {"before": {"group": 0, "mode": 0o600}, "after": {"group": 0, "mode": 0o660}},
        "../accelerator.json": {"circumstances": [], "kernels": {"/k": {"accelerator": "tcg", "why": ""}}},
    }


FILES = sorted(records(RunDir("lab", "demo", "lab.demo", "/tmp")))


def furnish(rundir: RunDir, damaged: str) -> dict[str, Any]:
    """Write all records; the one of a bridged interface, which would really be given back, only where it is to be damaged."""
    sound = records(rundir)
    remove(f"{rundir.root}/.control0")
    for name, content in sound.items():
        if name == BRIDGED and damaged != name:
            continue
        path = Path(rundir.path, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(str(path))
        path.write_text(json.dumps(content))
    Path(rundir.root, "ip_forward").write_text("0")
    return sound


def look(rundir: RunDir) -> str:
    """Do what status does on a host. Only HostError may be raised, which is a message; what is returned can be written as JSON."""
    found: list[Any] = []
    for step in (
        lambda: [guest_status.describe(rundir, id_, guest_status.plugged(rundir)) for id_ in guest_status.known(rundir, "qemu")],
        lambda: process_nodes.infos(rundir),
        lambda: control_net.described(rundir),
        lambda: [vde.state(rundir, id_) for id_ in vde.known(rundir)],
        lambda: [shapers.state(rundir, id_, {"lan0": {1: 5}}, []) for id_ in shapers.known(rundir)],
        lambda: sorted(":".join(end) for end in link_changes.down(rundir)),
        lambda: cable_status.state(rundir),
        lambda: shares.state(rundir),
    ):
        try:
            found.append(step())
        except HostError as error:
            found.append(str(error))
    text = json.dumps(found, allow_nan=True)
    text.encode()
    return text


def swap_out(rundir: RunDir) -> None:
    """Do what the module experiment does, and check from outside that nothing is left."""
    remains = sweep.find("lab", "demo", rundir.root)
    for directory in remains.directories:
        with directory.locked(patience=0):
            remains = sweep.find("lab", "demo", rundir.root)
            assert all(isinstance(line, str) for line in remains.lines())
            sweep.sweep(remains, rundir.root)
    # What is known of the host's accelerator stays. Of records about interfaces, those that say nothing have nothing to give back.
    assert sorted(set(os.listdir(rundir.root)) - {"accelerator.json", ".interfaces", ".control0"}) == []
    assert sweep.find("lab", "demo", rundir.root).lines() == []


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tun: Path) -> None:
    """No process but this one exists, and it is nobody's: these tests are about records."""
    monkeypatch.setattr(processes, "alive", lambda process: False)
    for module in (vde, shapers, shares, cable_status, process_nodes.node_supervisor if hasattr(process_nodes, "node_supervisor") else vde):
        monkeypatch.setattr(module, "alive", lambda process: False, raising=False)
    for module in (sweep, sweep.cable_status, sweep.lifecycle, sweep.node_supervisor, shapers, shares, vde, processes):
        monkeypatch.setattr(module, "marked", lambda mark, directory: iter(()), raising=False)


def meet(rundir: RunDir, names: list[str], what: str) -> None:
    """Let some files have other contents, ask how all is, and swap out."""
    for name in names:
        furnish(rundir, name)
    for name in names:
        CONTENTS[what](Path(rundir.path, name))
    try:
        look(rundir)
        swap_out(rundir)
    except BaseException as error:
        raise AssertionError(f"{names}: {what}") from error


@pytest.mark.parametrize("name", FILES)
def test_contents_of_a_file(rundir: RunDir, quick: None, own_network: Run, name: str) -> None:
    def inside() -> None:
        host_links.run(["ip", "link", "add", "eth9", "type", "veth", "peer", "name", "lab9"])
        for what in ("whole lists", "a list", "zeros", "endless", "directory"):
            meet(rundir, [name], what)

    own_network(inside)


def test_contents_of_all_files(rundir: RunDir, quick: None, own_network: Run) -> None:
    def inside() -> None:
        for what in CONTENTS:
            meet(rundir, [name for name in FILES if name != BRIDGED], what)

    own_network(inside)


def mutations(value: Any) -> Iterator[Any]:
    """Return the value with each part of it in turn replaced by each of the values, or gone."""
    places: list[list[Any]] = []

    def walk(inner: Any, path: list[Any]) -> None:
        for key, below in inner.items() if isinstance(inner, dict) else enumerate(inner) if isinstance(inner, list) else ():
            places.append([*path, key])
            walk(below, [*path, key])

    walk(value, [])
    for path in places:
        for new in (*VALUES, nested(20), ...):
            mutated = copy.deepcopy(value)
            inner = mutated
            for key in path[:-1]:
                inner = inner[key]
            if new is ...:
                del inner[path[-1]]
            else:
                inner[path[-1]] = new
            yield mutated


@pytest.fixture
def silent(tun: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Let programs of the host say nothing, and touch no process: there are thousands of cases. Recorded processes live, or do not."""

    def silence(living: bool) -> None:
        stand_ins: dict[str, Callable[..., Any]] = {
            "run": lambda argv, *dummy: "[]" if "-json" in argv else "",
            "alive": lambda process: living and process is not None,
            "marked": lambda *dummy: iter(()),
            "stop": lambda process, *dummy, **more: process is not None,
            "end_slice": lambda mark: None,
            "look": lambda pid: None,
        }
        for module in (sweep, guest_status, link_changes, process_nodes, *vars(sweep).values()):
            for word, stand_in in stand_ins.items():
                if hasattr(module, word) and str(getattr(module, "__name__", "")).startswith("ansible_collections"):
                    monkeypatch.setattr(module, word, stand_in)
        monkeypatch.setattr(host_forwarding, "FORWARDING", str(tun))
        monkeypatch.setattr(control_bridge, "_batch", lambda lines, force=False: None)
        monkeypatch.setattr(control_bridge, "captured", lambda interface: {"interface": interface, "addresses": [], "routes": [], "mtu": 1})
        monkeypatch.setattr(
            process_nodes, "said", lambda there: (object(), read_json(f"{there.path}/nodes/state.json")) if living else (None, {})
        )

    return silence


@pytest.mark.parametrize("name", FILES)
def test_values(rundir: RunDir, silent: Callable[[bool], None], name: str) -> None:
    silent(True)
    path = Path(rundir.path, name)
    failures = []
    for mutated in mutations(furnish(rundir, name)[name]):
        path.write_text(json.dumps(mutated))
        try:
            look(rundir)
            remains = sweep.find("lab", "demo", rundir.root)
            assert all(isinstance(line, str) for line in remains.lines())
            if name.startswith(".."):
                # An interface that does not get back what its record says is an error with a message; here none gets anything.
                with contextlib.suppress(HostError) if name == BRIDGED else contextlib.nullcontext():
                    sweep.sweep(remains, rundir.root)
        except BaseException as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            failures.append(f"{place.name}:{place.lineno} {error!r}: {json.dumps(mutated)}")
        if name.startswith(".."):
            furnish(rundir, name)
    assert failures == []


class Speaker(threading.Thread):
    """Who answers at a socket as a program would that a guest has taken over."""

    def __init__(self, path: str, pieces: Callable[[], Iterator[bytes]]) -> None:
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(path)
        self.socket.listen(8)
        self.pieces = pieces
        self.over = threading.Event()
        self.start()

    def run(self) -> None:
        while not self.over.is_set():
            try:
                connection = self.socket.accept()[0]
            except OSError:
                return
            with connection:
                try:
                    for piece in self.pieces():
                        if self.over.is_set():
                            return
                        connection.sendall(piece)
                    self.over.wait(20)
                except OSError:
                    continue

    def end(self) -> None:
        self.over.set()
        self.socket.close()


def slowly(text: bytes) -> Iterator[bytes]:
    """Say one byte at a time, for ever: each comes in time."""
    while True:
        for number in range(len(text)):
            threading.Event().wait(0.05)
            yield text[number : number + 1]


def endless(text: bytes) -> Iterator[bytes]:
    while True:
        yield text * 1000


SPEECHES: dict[str, Callable[[], Iterator[bytes]]] = {
    "nothing": lambda: iter(()),
    "no end": lambda: endless(b"x" * 1000),
    "slow": lambda: slowly(b"vde$"),
    "lines": lambda: endless(b"Port 1\n"),
    "events": lambda: endless(b'{"event": "X"}\n'),
    "slow events": lambda: slowly(b'{"event": 1}\n'),
    "deep": lambda: iter([b"[" * DEEP + b"\n"] * 3),
    "deep answer": lambda: iter([b'{"QMP": {}}\n', b'{"return": ' + b"[" * DEEP + b"]" * DEEP + b"}\n"]),
    "number": lambda: iter([b'{"QMP": ' + b"1" * 100_000 + b"}\n"]),
    "shapes": lambda: iter([b'{"QMP": {}}\n', b'{"error": [1]}\n', b'{"error": {"desc": ["\\u001b[31m"]}}\n']),
    "ports": lambda: iter(
        [b"\nvde$ ", b"Port " + b"9" * 10_000 + b" x\n  -- endpoint ID 1 module a prog : b pid=" + b"9" * 10_000, b"\nvde$ "]
    ),
    "wirefilter": lambda: iter([b"VDEwf$ ", b"delay L->R " + b"9" * 5000 + b"+1N \n1000 Success\nVDEwf$ "]),
}


@pytest.mark.parametrize("speech", SPEECHES)
def test_answers(rundir: RunDir, speech: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"{rundir.root}/speaker"
    speaker = Speaker(path, SPEECHES[speech])
    try:
        with pytest.raises(QmpError) as caught, Qmp(path, patience=0.4) as qmp:
            qmp.execute("quit")
        assert str(caught.value).isprintable()
        for half in (vde.PROMPT, shapers.PROMPT):
            try:
                answer = vde.ask(path, "x", patience=0.4, prompt=half)
            except OSError:
                continue
            monkeypatch.setattr(vde, "ask", lambda *dummy, answer=answer, **more: answer)
            monkeypatch.setattr(shapers, "ask", lambda *dummy, answer=answer, **more: answer)
            assert all(port < 1 << 31 and pid < 1 << 31 for port, pid in vde.endpoints(rundir, "lan0").items())
            json.dumps([str(shapers.live(answer)), shapers.reported(answer)])
            monkeypatch.undo()
    finally:
        speaker.end()

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plug of process nodes, between real switches and sockets that stand in for TAPs: each message is a frame there too."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import node_supervisor, vde
from ansible_collections.benito.testbed.plugins.module_utils.id_ranges import id_range
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir

BROADCAST = b"\xff" * 6


def frame(source: int, text: bytes, goal: bytes = BROADCAST) -> bytes:
    """Return an Ethernet frame from a host with this number."""
    return goal + b"\x02\0\0\0\0" + bytes([source]) + b"\x88\xb5" + text.ljust(50, b"\0")


class Plugged:
    """A running plug, and what it says."""

    def __init__(self, rundir: RunDir, home: str) -> None:
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        argv = node_supervisor.command(home, "plug", str(theirs.fileno()))
        # As whom the switch runs as: each must reach the other's sockets.
        user = id_range(rundir).service if os.geteuid() == 0 else None
        self.process = subprocess.Popen(argv, pass_fds=[theirs.fileno()], user=user, cwd="/")
        theirs.close()
        self.ours.settimeout(15)
        self.said: dict[str, str] = {}
        self.taps: dict[str, socket.socket] = {}

    def add(self, key: str, switch: str, port: int) -> socket.socket:
        """Hand it what stands in for a TAP; returns the node's end."""
        # Messages with no limit to their number: ten unread datagrams would fill a node that is slow to listen, and lose what comes next.
        node, tap = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        node.settimeout(15)
        order = {"add": key, "switch": switch, "port": port, "label": key}
        socket.send_fds(self.ours, [json.dumps(order).encode()], [tap.fileno()])
        tap.close()
        self.taps[key] = node
        return node

    def until(self, condition: Callable[[dict[str, str]], bool]) -> dict[str, str]:
        """Listen until what was said so far is so."""
        while not condition(self.said):
            self.said.update(json.loads(self.ours.recv(65536)))
        return self.said

    def close(self) -> None:
        self.ours.close()
        self.process.wait(15)
        for node in self.taps.values():
            node.close()


@pytest.fixture
def plug(root: str, rundir: RunDir) -> Iterator[Plugged]:
    node_supervisor.install(root)
    made = Plugged(rundir, root)
    yield made
    with contextlib.suppress(OSError):
        made.close()
    if made.process.poll() is None:
        made.process.kill()
        made.process.wait()


@pytest.fixture
def switch(rundir: RunDir, account: str, unprivileged: None) -> str:
    vde.start(rundir, vde.Switch("lan0", "lan0", 32))
    return vde.control_directory(rundir, "lan0")


def hear(node: socket.socket, text: bytes) -> bytes:
    """Return the next frame with this text."""
    while True:
        found = node.recv(4096)
        if text in found:
            return found


def test_frames_go_both_ways_at_the_ports_that_are_named(rundir: RunDir, switch: str, plug: Plugged) -> None:
    a, b = plug.add("a:eth1", switch, 3), plug.add("b:eth1", switch, 7)
    assert plug.until(lambda said: len(said) == 2) == {"a:eth1": "", "b:eth1": ""}
    a.send(frame(1, b"hello"))
    assert hear(b, b"hello") == frame(1, b"hello")
    b.send(frame(2, b"answer" * 250, b"\x02\0\0\0\0\x01"))
    assert hear(a, b"answer") == frame(2, b"answer" * 250, b"\x02\0\0\0\0\x01")
    assert vde.endpoints(rundir, "lan0") == {3: plug.process.pid, 7: plug.process.pid}


def test_a_switch_that_was_replaced_is_found_again(rundir: RunDir, switch: str, plug: Plugged) -> None:
    a, b = plug.add("a", switch, 1), plug.add("b", switch, 2)
    plug.until(lambda said: list(said.values()) == ["", ""])
    vde.halt(rundir, "lan0")
    assert "switch" in plug.until(lambda said: all(said.values()))["a"]
    # What a node says meanwhile is not said later.
    a.send(frame(1, b"stale"))
    vde.start(rundir, vde.Switch("lan0", "lan0", 32))
    plug.until(lambda said: not any(said.values()))
    a.send(frame(1, b"fresh"))
    assert b"stale" not in b.recv(4096)


def test_a_switch_that_is_not_there_is_waited_for(rundir: RunDir, account: str, unprivileged: None, plug: Plugged) -> None:
    plug.add("a", vde.control_directory(rundir, "lan0"), 1)
    assert "cannot be reached" in plug.until(bool)["a"]
    vde.start(rundir, vde.Switch("lan0", "lan0", 32))
    plug.until(lambda said: said == {"a": ""})


def test_a_switch_that_sleeps_loses_no_frame_and_holds_up_no_other(rundir: RunDir, switch: str, plug: Plugged) -> None:
    vde.start(rundir, vde.Switch("lan1", "lan1", 32))
    other = vde.control_directory(rundir, "lan1")
    a, b = plug.add("a", switch, 1), plug.add("b", switch, 2)
    c, d = plug.add("c", other, 1), plug.add("d", other, 2)
    plug.until(lambda said: len(said) == 4 and not any(said.values()))
    sleeper = vde.running(rundir, "lan0")
    assert sleeper
    os.kill(sleeper.pid, signal.SIGSTOP)
    a.setblocking(False)
    a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    sent = 0
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            a.send(frame(1, b"%d" % sent))
            sent += 1
        except BlockingIOError:
            time.sleep(0.05)
            if sent > 10:
                break
    c.send(frame(3, b"meanwhile"))
    hear(d, b"meanwhile")
    os.kill(sleeper.pid, signal.SIGCONT)
    heard = [b.recv(4096)[14:].rstrip(b"\0") for dummy in range(sent)]
    assert heard == [b"%d" % number for number in range(sent)]


def test_what_is_dropped_is_gone_and_the_others_stay(rundir: RunDir, switch: str, plug: Plugged) -> None:
    plug.add("a", switch, 1)
    plug.add("b", switch, 2)
    plug.until(lambda said: len(said) == 2)
    plug.ours.send(json.dumps({"drop": "a"}).encode())
    until = time.monotonic() + 10
    while set(vde.endpoints(rundir, "lan0")) != {2} and time.monotonic() < until:
        time.sleep(0.05)
    assert set(vde.endpoints(rundir, "lan0")) == {2}
    assert len([name for name in os.listdir(switch) if name.startswith(".")]) == 1


def test_it_ends_with_its_supervisor(switch: str, plug: Plugged) -> None:
    plug.add("a", switch, 1)
    plug.until(bool)
    plug.ours.close()
    assert plug.process.wait(15) == 0

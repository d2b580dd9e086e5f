# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plug of an experiment's process nodes: one process between all their TAPs and the VDE switches of a host.

A program of its own, with nothing but the standard library, started by the supervisor as the service account: ``plug FD``. It gets its
TAPs through that socket, since it may open none, and says through it which are plugged in:

    to it      {"add": KEY, "switch": DIRECTORY, "port": N, "label": TEXT} with the descriptor of a TAP; {"drop": KEY}
    from it    {"KEY": ""} for a plugged one, {"KEY": "why not"} for one that is not

It speaks VDE's own protocol (version 3) with the switches: a request through the stream socket ``ctl`` names a port and the datagram
socket where we want our frames, the answer is the datagram socket that takes ours. A switch that goes away is asked again for ever.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import time
from typing import Any

MAGIC, VERSION, NEW_CONTROL = 0xFEEDFACE, 3, 0
ADDRESS = struct.Struct("=H108s")
REQUEST = struct.Struct("=III110s")
LONGEST_LABEL = 100
# Largest frame of a switch, with a VLAN's tag.
FRAME = 2048
# Frames that one side may send before the others get their turn.
TURN = 32
AGAIN = 0.3
ENDED = select.EPOLLHUP | select.EPOLLERR


class Port:
    """One TAP and its port in a switch. ``waiting`` is a frame that the switch has no room for yet."""

    def __init__(self, key: str, tap: int, switch: str, port: int, label: str) -> None:
        self.key = key
        self.tap = tap
        self.switch = switch
        self.number = port
        self.label = label
        self.asked: socket.socket | None = None
        self.wire: socket.socket | None = None
        self.path = ""
        self.plugged = False
        self.waiting = b""


class Plug:
    """All TAPs of the host."""

    def __init__(self, master: socket.socket) -> None:
        self.master = master
        self.poll = select.epoll()
        self.ports: dict[str, Port] = {}
        # By descriptor: what to do when there is something.
        self.taps: dict[int, Port] = {}
        self.wires: dict[int, Port] = {}
        self.asked: dict[int, Port] = {}
        self.news: dict[str, str] = {}
        self.told: dict[str, str] = {}
        self.count = 0
        self.next_try = 0.0
        master.setblocking(False)
        self.poll.register(master.fileno(), select.EPOLLIN)

    def run(self) -> None:
        """Carry frames until the supervisor is gone."""
        while True:
            loose = any(port.asked is None for port in self.ports.values()) if self.next_try else False
            timeout = max(0.0, self.next_try - time.monotonic()) if loose else -1
            for handle, events in self.poll.poll(timeout):
                if handle in self.taps:
                    self._from_tap(self.taps[handle])
                elif handle in self.wires:
                    self._wire(self.wires[handle], events)
                elif handle in self.asked:
                    self._answer(self.asked[handle])
                elif handle == self.master.fileno():
                    if events & select.EPOLLIN and not self._orders():
                        return
                    if events & ENDED and not events & select.EPOLLIN:
                        return
            if self.next_try and time.monotonic() >= self.next_try:
                self.next_try = 0.0
                for port in [port for port in self.ports.values() if port.asked is None]:
                    self._ask(port)
            self._report()

    def _orders(self) -> bool:
        """Take what the supervisor wants; False when it is gone."""
        while True:
            try:
                text, handles, dummy, dummy = socket.recv_fds(self.master, 4096, 1)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not text:
                return False
            order = json.loads(text)
            key = order.get("add") or order.get("drop")
            if key in self.ports:
                self._forget(self.ports.pop(key))
            if "add" in order and handles:
                port = Port(key, handles[0], order["switch"], order["port"], order["label"])
                os.set_blocking(port.tap, False)
                self.ports[key] = port
                self._ask(port)

    def _ask(self, port: Port) -> None:
        """Ask a switch for the port."""
        self.count += 1
        port.path = f"{port.switch}/.{os.getpid()}-{self.count}"
        asked = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        wire = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        port.asked, port.wire = asked, wire
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(port.path)
            wire.bind(port.path)
            asked.connect(f"{port.switch}/ctl")
            address = ADDRESS.pack(socket.AF_UNIX, os.fsencode(port.path))
            label = f"{port.label} pid={os.getpid()}".encode("ascii", "replace")[-LONGEST_LABEL:]
            asked.send(REQUEST.pack(MAGIC, VERSION, NEW_CONTROL + (port.number << 8), address) + label + b"\0")
        except OSError as error:
            self._lose(port, f"the switch cannot be reached: {error.strerror}")
            return
        self.asked[asked.fileno()] = port
        self.poll.register(asked.fileno(), select.EPOLLIN)

    def _answer(self, port: Port) -> None:
        """Take a switch's answer, or the end of the connection, which is the switch's end."""
        try:
            text = port.asked.recv(ADDRESS.size) if port.asked else b""
        except BlockingIOError:
            return
        except OSError:
            text = b""
        if port.plugged:
            if not text:
                self._lose(port, "the switch is gone")
            return
        if len(text) < ADDRESS.size or port.wire is None:
            self._lose(port, f"the switch refuses port {port.number}")
            return
        path = ADDRESS.unpack(text)[1].partition(b"\0")[0]
        try:
            port.wire.connect(path)
        except OSError as error:
            self._lose(port, f"the switch does not take frames: {error.strerror}")
            return
        # Whatever has gathered meanwhile is old.
        with contextlib.suppress(OSError):
            while os.read(port.tap, FRAME):
                pass
        port.plugged = True
        self.taps[port.tap] = port
        self.wires[port.wire.fileno()] = port
        self.poll.register(port.tap, select.EPOLLIN)
        self.poll.register(port.wire.fileno(), select.EPOLLIN)
        self._note(port.key, "")

    def _from_tap(self, port: Port) -> None:
        """Carry frames of a node to its switch, until the switch has no room."""
        if port.wire is None:
            return
        tap, send = port.tap, port.wire.send
        try:
            for dummy in range(TURN):
                frame = os.read(tap, FRAME)
                try:
                    send(frame)
                except BlockingIOError:
                    # The node waits too: what it sends stays in the TAP's own queue.
                    port.waiting = frame
                    self.poll.modify(tap, 0)
                    self.poll.modify(port.wire.fileno(), select.EPOLLIN | select.EPOLLOUT)
                    return
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(port, f"frames are not taken: {error.strerror}")

    def _wire(self, port: Port, events: int) -> None:
        """Carry frames of a switch to a node, and the one that waited the other way."""
        if port.wire is None:
            return
        wire, tap = port.wire.fileno(), port.tap
        if events & select.EPOLLOUT and port.waiting:
            try:
                os.write(wire, port.waiting)
            except BlockingIOError:
                pass
            except OSError as error:
                self._lose(port, f"frames are not taken: {error.strerror}")
                return
            else:
                port.waiting = b""
                self.poll.modify(wire, select.EPOLLIN)
                self.poll.modify(tap, select.EPOLLIN)
        if events & select.EPOLLIN:
            try:
                for dummy in range(TURN):
                    frame = os.read(wire, FRAME)
                    # An interface that is down takes nothing, which is how an interface is that is down.
                    with contextlib.suppress(OSError):
                        os.write(tap, frame)
            except BlockingIOError:
                return
            except OSError as error:
                self._lose(port, f"frames do not come: {error.strerror}")
        elif events & ENDED:
            self._lose(port, "the switch is gone")

    def _lose(self, port: Port, why: str) -> None:
        self._unplug(port)
        self._note(port.key, why)
        self.next_try = self.next_try or time.monotonic() + AGAIN

    def _unplug(self, port: Port) -> None:
        if port.plugged:
            for handle in (port.tap, port.wire.fileno() if port.wire else -1):
                with contextlib.suppress(OSError, ValueError):
                    self.poll.unregister(handle)
            self.taps.pop(port.tap, None)
        for end, table in ((port.asked, self.asked), (port.wire, self.wires)):
            if end:
                table.pop(end.fileno(), None)
                with contextlib.suppress(OSError, ValueError):
                    self.poll.unregister(end.fileno())
                end.close()
        with contextlib.suppress(OSError):
            os.unlink(port.path)
        port.plugged, port.asked, port.wire, port.waiting = False, None, None, b""

    def _forget(self, port: Port) -> None:
        self._unplug(port)
        os.close(port.tap)
        self.news.pop(port.key, None)
        self.told.pop(port.key, None)

    def _note(self, key: str, text: str) -> None:
        if self.told.get(key) != text:
            self.told[key] = self.news[key] = text

    def _report(self) -> None:
        """Say what is new, as far as the supervisor listens."""
        if not self.news:
            return
        some = dict(list(self.news.items())[:50])
        try:
            self.master.send(json.dumps(some).encode())
        except BlockingIOError:
            self.poll.modify(self.master.fileno(), select.EPOLLIN | select.EPOLLOUT)
            return
        for key in some:
            del self.news[key]
        self.poll.modify(self.master.fileno(), select.EPOLLIN | (select.EPOLLOUT if self.news else 0))


def main(home: str, words: list[str]) -> int:
    """Run the plug."""
    handle: Any = int(words[0])
    with contextlib.suppress(KeyboardInterrupt):
        Plug(socket.socket(fileno=handle)).run()
    return 0

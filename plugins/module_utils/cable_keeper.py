# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor of an experiment's cables on one host: a program of its own, with nothing but the standard library.

It is copied into the experiment's directory and runs as the service account: ``python3 -I .../cables/keeper.py``. Beside it lie
``keeper.json``, what is wanted (read again on SIGHUP; only cables whose entry differs are touched), and ``io/state.json``, what is. It
keeps every cable for ever: one that breaks is made again, after a pause that grows from FIRST to LONGEST seconds.

An entry has a ``how``:

    pipe      ``plug`` and ``far``, two argument vectors wired back to back; ``far`` says CONNECTED on its standard error once it is through
    listen    ``plug`` gets a connection to the TCP port ``socket`` that comes from ``address`` and begins with the ``greeting``
    dial      ``plug`` gets a connection to ``address`` and ``socket``, which must answer the ``greeting`` with the same
    datagram  ``plug`` gets a UDP socket between the ports ``socket`` here and at ``address``; another at that port answers the
              ``greeting`` of the peer's supervisor, and says whether our end is plugged in
    plug      ``plug`` is all of it; where ``socket`` is given, the UDP port of ``address`` is asked for signs that nobody is there
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import hashlib
import json
import os
import signal
import socket
import stat
import sys
import time
from typing import Any, NoReturn

FIRST, LONGEST = 0.2, 5.0
# A cable that held for so many seconds begins with the short pause again.
LASTING = 10.0
# Processes that still run after so many seconds have found what they wanted.
SETTLE = 0.3
# A peer that does not answer for so many seconds is gone.
SILENCE = 15
CONNECTED = "benito: plugged in"
# Bytes of the state that are read when the supervisor starts.
LARGEST_RECORD = 16 << 20
PR_SET_PDEATHSIG = 1
IP_RECVERR = 11
LIBC = ctypes.CDLL(None)


class Lost(Exception):
    """A cable is not connected; the text says why."""


def next_pause(pause: float, lasted: float) -> float:
    """Return how long to wait before a cable is made again, which held for ``lasted`` seconds and had ``pause`` before that."""
    return FIRST if lasted >= LASTING or not pause else min(pause * 2, LONGEST)


def digest(text: bytes) -> str:
    """Return by what the state says which configuration it is about."""
    return hashlib.sha256(text).hexdigest()[:16]


def read(path: str) -> bytes:
    """Return a record that this account wrote: no link is followed, no FIFO waited for. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(handle, "rb") as file:
        return file.read(LARGEST_RECORD) if stat.S_ISREG(os.fstat(handle).st_mode) else b""


def die_with_parent() -> None:
    """Let the kernel end this child when the supervisor ends, however that comes."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:
        os._exit(1)


class Board:
    """What is known of each cable, kept in a file for others to read. Counts survive the supervisor."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.config = ""
        self.cables: dict[str, dict[str, Any]] = {}
        self._past: dict[str, int] = {}
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError, KeyError, OverflowError, RecursionError):
            cables = json.loads(read(path))["cables"]
            self._past = {id_: min(max(0, int(facts["connections"])), 1 << 31) for id_, facts in cables.items()}

    def add(self, id_: str) -> None:
        """Begin with a cable."""
        self.cables[id_] = {"state": "", "pids": [], "connections": self._past.pop(id_, 0), "since": 0, "detail": ""}
        self.note(id_, "connecting")

    def drop(self, id_: str) -> None:
        """Forget a cable."""
        self.cables.pop(id_, None)
        self.write()

    def note(self, id_: str, state: str, detail: str = "", pids: list[int] | None = None) -> None:
        """Say how a cable is, and write it down if that is news."""
        facts = self.cables[id_]
        news = {"state": state, "detail": detail, "pids": pids or []}
        if news.items() <= facts.items():
            return
        if state != facts["state"]:
            facts["since"] = int(time.time())
            facts["connections"] += state == "connected"
        facts.update(news)
        self.write()

    def write(self) -> None:
        """Write the file, whole or not at all."""
        draft = f"{self.path}.new"
        with open(draft, "w", encoding="utf-8") as file:
            json.dump({"pid": os.getpid(), "config": self.config, "cables": self.cables}, file)
        os.replace(draft, self.path)


class Crew:
    """The processes of one connection: they start together and end together."""

    def __init__(self) -> None:
        self.processes: list[asyncio.subprocess.Process] = []
        self.greeted = asyncio.Event()
        self.last = ""
        self._readers: list[asyncio.Task[None]] = []

    async def start(self, argv: list[str], stdin: int = asyncio.subprocess.DEVNULL, stdout: int = asyncio.subprocess.DEVNULL) -> None:
        """Start a process. Raises Lost."""
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=stdin, stdout=stdout, stderr=asyncio.subprocess.PIPE, cwd="/", preexec_fn=die_with_parent
            )
        except OSError as error:
            raise Lost(f"{argv[0]}: {error.strerror}") from error
        self.processes.append(process)
        self._readers.append(asyncio.ensure_future(self._listen(process)))

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        while process.stderr:
            try:
                line = await process.stderr.readline()
            except ValueError:  # a line without an end
                continue
            if not line:
                return
            text = "".join(c for c in line.decode(errors="replace").strip() if c.isprintable())[:300]
            if text == CONNECTED:
                self.greeted.set()
            elif text:
                self.last = text

    @property
    def pids(self) -> list[int]:
        """The processes."""
        return [process.pid for process in self.processes]

    async def ended(self) -> None:
        """Wait until one of the processes ends, which is the end of the connection. Raises Lost."""
        waits = [asyncio.ensure_future(process.wait()) for process in self.processes]
        try:
            done, dummy = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        # What it said on its way out may still be in the pipe.
        await asyncio.wait(self._readers, timeout=0.2, return_when=asyncio.FIRST_COMPLETED)
        code = next(iter(done)).result()
        raise Lost(
            self.last or ("the connection was closed" if code == 0 else f"ended by signal {-code}" if code < 0 else f"exit status {code}")
        )

    async def until(self, event: asyncio.Event, seconds: float) -> None:
        """Wait for an event while all processes run. Raises Lost."""
        await first(self.ended(), event.wait(), timeout=seconds)
        if not event.is_set():
            raise Lost(self.last or f"no answer within {seconds:.0f} s")

    async def settle(self) -> None:
        """Give the processes time to fail. Raises Lost."""
        await first(self.ended(), timeout=SETTLE)

    async def stop(self) -> None:
        """End all processes, and wait until they are gone."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        for process in self.processes:
            await process.wait()
        for reader in self._readers:
            reader.cancel()


async def first(*waits: Any, timeout: float | None = None) -> None:
    """Wait for the first of these or the end of the time; what it raises is raised, and the others are given up."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, dummy = await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    for task in done:
        task.result()


async def resolve(address: str) -> list[str]:
    """Return the IPv4 addresses of a name. Raises Lost."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(address, None, family=socket.AF_INET, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Lost(f"{address}: {error.strerror or error}") from error
    return [str(entry[4][0]) for entry in found]


def tune(connection: socket.socket) -> None:
    """Let a connection notice that its peer is gone, and not wait to fill packets."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, SILENCE // 3)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, SILENCE // 3)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE * 1000)


async def exactly(connection: socket.socket, count: int) -> bytes:
    """Read so many bytes and not one more; fewer when the connection ends."""
    heard = b""
    while len(heard) < count:
        piece = await asyncio.get_running_loop().sock_recv(connection, count - len(heard))
        if not piece:
            break
        heard += piece
    return heard


class Porter(asyncio.DatagramProtocol):
    """Answers the supervisor at the other end of a cable."""

    def __init__(self, greeting: bytes, heard: asyncio.Event) -> None:
        self.greeting = greeting
        self.heard = heard
        self.plugged = False
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: Any) -> None:
        """Keep what answers go out by."""
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Say whether our end is plugged in."""
        if self.transport and data == self.greeting:
            self.heard.set()
            self.transport.sendto(self.greeting + (b"+" if self.plugged else b"-"), addr)


class Line:
    """One cable: made, watched, and made again."""

    def __init__(self, entry: dict[str, Any], board: Board) -> None:
        self.entry = entry
        self.board = board
        self.arrived: asyncio.Queue[socket.socket] = asyncio.Queue()
        self.porter: Porter | None = None
        # The peer was heard: no reason to wait any longer.
        self.heard = asyncio.Event()

    def note(self, state: str, detail: str = "", crew: Crew | None = None) -> None:
        """Say how the cable is."""
        self.board.note(self.entry["id"], state, detail, crew.pids if crew else [])

    async def keep(self) -> None:
        """Keep the cable until cancelled."""
        pause = 0.0
        listening: asyncio.Future[NoReturn] | None = None
        try:
            while True:
                began = time.monotonic()
                crew = Crew()
                try:
                    if self.entry["how"] == "listen":
                        if listening is None or listening.done():
                            listening = asyncio.ensure_future(self._listen(self._bind()))
                        await self._serve(crew)
                    else:
                        await getattr(self, f"_{self.entry['how']}")(crew)
                except Lost as lost:
                    self.note("broken", str(lost))
                except OSError as error:
                    self.note("broken", os.strerror(error.errno) if error.errno else str(error))
                except Exception as error:  # whatever it was: a cable is kept for ever
                    self.note("broken", repr(error)[:300])
                finally:
                    await crew.stop()
                pause = next_pause(pause, time.monotonic() - began)
                # One that listens waits for its peer, which takes a pause itself.
                if not (listening and not listening.done()):
                    self.heard.clear()
                    await asyncio.sleep(FIRST)
                    await first(self.heard.wait(), timeout=max(0.0, pause - FIRST))
        finally:
            if listening:
                listening.cancel()
                await asyncio.wait([listening])
            if self.porter and self.porter.transport:
                self.porter.transport.close()
            while not self.arrived.empty():
                self.arrived.get_nowait().close()

    async def _pipe(self, crew: Crew) -> None:
        ends = [*os.pipe(), *os.pipe()]
        try:
            await crew.start(self.entry["plug"], ends[2], ends[1])
            await crew.start(self.entry["far"], ends[0], ends[3])
        finally:
            for end in ends:
                os.close(end)
        await crew.until(crew.greeted, 3.0 * SILENCE)
        await crew.settle()
        self.note("connected", crew=crew)
        await crew.ended()

    async def _dial(self, crew: Crew) -> None:
        loop = asyncio.get_running_loop()
        address = (await resolve(self.entry["address"]))[0]
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
            connection.setblocking(False)
            try:
                await asyncio.wait_for(loop.sock_connect(connection, (address, self.entry["socket"])), SILENCE)
                tune(connection)
                greeting = self.entry["greeting"].encode()
                await loop.sock_sendall(connection, greeting)
                answer = await asyncio.wait_for(exactly(connection, len(greeting)), SILENCE)
            except asyncio.TimeoutError:
                raise Lost(f"{address} port {self.entry['socket']} does not answer") from None
            except OSError as error:
                raise Lost(f"{address} port {self.entry['socket']}: {os.strerror(error.errno or 0)}") from error
            if answer != greeting:
                raise Lost(
                    f"{address} port {self.entry['socket']}: " + ("it is not the other end of this cable" if answer else "turned away")
                )
            await self._hand_over(crew, connection)
        await crew.settle()
        self.note("connected", crew=crew)
        await crew.ended()

    def _bind(self) -> socket.socket:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("", self.entry["socket"]))
            listener.listen(4)
            listener.setblocking(False)
        except OSError as error:
            listener.close()
            raise Lost(f"port {self.entry['socket']}: {error.strerror}") from error
        return listener

    async def _listen(self, listener: socket.socket) -> NoReturn:
        loop = asyncio.get_running_loop()
        greeting = self.entry["greeting"].encode()
        with listener:
            while True:
                connection, sender = await loop.sock_accept(listener)
                try:
                    if sender[0] not in await resolve(self.entry["address"]):
                        raise Lost("not the peer")
                    connection.setblocking(False)
                    tune(connection)
                    if await asyncio.wait_for(exactly(connection, len(greeting)), SILENCE / 3) != greeting:
                        raise Lost("not this cable")
                    await loop.sock_sendall(connection, greeting)
                except (Lost, OSError, asyncio.TimeoutError):
                    connection.close()
                else:
                    self.arrived.put_nowait(connection)

    async def _serve(self, crew: Crew) -> None:
        with await self.arrived.get() as connection:
            await self._hand_over(crew, connection)
        await crew.settle()
        self.note("connected", crew=crew)
        # The peer knows best when its old connection is dead: a new one takes its place.
        await first(crew.ended(), self._another())
        raise Lost("replaced by a new connection of the peer")

    async def _another(self) -> None:
        connection = await self.arrived.get()
        self.arrived.put_nowait(connection)

    async def _hand_over(self, crew: Crew, connection: socket.socket) -> None:
        connection.setblocking(True)
        await crew.start(self.entry["plug"], connection.fileno(), connection.fileno())

    def _datagrams(self) -> socket.socket:
        """Return a UDP socket at the cable's port; what comes from a peer that one of them is connected to goes there."""
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(("", self.entry["socket"]))
        return made

    async def _datagram(self, crew: Crew) -> None:
        loop = asyncio.get_running_loop()
        if not self.porter:
            porter = Porter(self.entry["greeting"].encode(), self.heard)
            await loop.create_datagram_endpoint(lambda: porter, sock=self._datagrams())
            self.porter = porter
        address, dummy = await self._knock()
        with self._datagrams() as connection:
            connection.connect((address, self.entry["socket"]))
            await self._hand_over(crew, connection)
        self.porter.plugged = True
        try:
            await crew.settle()
            await first(crew.ended(), self._ask(crew, address))
        finally:
            self.porter.plugged = False

    async def _ask(self, crew: Crew, known: str) -> None:
        """Ask the other end again and again how it is, as long as it has the same address. Raises Lost."""
        while True:
            try:
                address, plugged = await self._knock()
            except Lost as lost:
                self.note("broken", str(lost), crew)
            else:
                if address != known:
                    raise Lost(f"the peer's address changed from {known} to {address}")
                if plugged:
                    self.note("connected", "", crew)
                else:
                    self.note("broken", "the other end is not plugged in", crew)
            await asyncio.sleep(2.0 if self.board.cables[self.entry["id"]]["state"] == "connected" else 0.5)

    async def _knock(self) -> tuple[str, bool]:
        """Return the address of the other end, and whether it is plugged in. Raises Lost."""
        loop = asyncio.get_running_loop()
        address = (await resolve(self.entry["address"]))[0]
        greeting = self.entry["greeting"].encode()
        where = f"{address} port {self.entry['socket']}"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as knock:
            knock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            knock.setblocking(False)
            for dummy in range(3):
                try:
                    knock.connect((address, self.entry["socket"]))
                    await loop.sock_sendall(knock, greeting)
                    answer = await asyncio.wait_for(loop.sock_recv(knock, 256), 1.5)
                except asyncio.TimeoutError:
                    continue
                except OSError as error:
                    raise Lost(f"{where}: {error.strerror}") from error
                if answer[:-1] != greeting:
                    raise Lost(f"{where}: it is not the other end of this cable")
                return address, answer[-1:] == b"+"
        raise Lost(f"{where} does not answer")

    async def _plug(self, crew: Crew) -> None:
        await crew.start(self.entry["plug"])
        await crew.settle()
        if not self.entry.get("socket"):
            self.note("connected", crew=crew)
            await crew.ended()
        await first(crew.ended(), self._watch(crew))

    async def _watch(self, crew: Crew) -> None:
        """Look again and again for what tells that nobody is at the other end: the kernel's tunnels know no connection."""
        patience = 0.5
        while True:
            trouble = await self._probe(patience)
            self.note("broken" if trouble else "connected", trouble, crew)
            # So long it takes until a silent neighbour is given up.
            patience = 3.5

    async def _probe(self, patience: float) -> str:
        try:
            address = (await resolve(self.entry["address"]))[0]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
                probe.connect((address, self.entry["socket"]))
                # Too short for a frame: whoever takes frames there drops it, and a port that nobody has is answered.
                probe.send(b"\0")
                until = time.monotonic() + patience
                while time.monotonic() < until:
                    await asyncio.sleep(0.25)
                    error = probe.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if error:
                        # Not at once again where the answer is quick.
                        await asyncio.sleep(max(0.0, min(1.0, until - time.monotonic())))
                        return f"{address} port {self.entry['socket']}: {os.strerror(error)}"
        except Lost as lost:
            await asyncio.sleep(patience)
            return str(lost)
        except OSError as error:
            await asyncio.sleep(patience)
            return f"{self.entry['address']}: {error.strerror or error}"
        return ""


class Keeper:
    """All cables of the experiment on this host."""

    def __init__(self, home: str) -> None:
        self.home = home
        self.board = Board(f"{home}/io/state.json")
        self.lines: dict[str, tuple[dict[str, Any], asyncio.Task[None]]] = {}

    async def reload(self) -> None:
        """Take the configuration over: what is in it as before is not touched."""
        try:
            with open(f"{self.home}/keeper.json", "rb") as file:
                text = file.read()
            wanted = {entry["id"]: entry for entry in json.loads(text)["cables"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            sys.stderr.write(f"keeper.json: {error}\n")
            sys.stderr.flush()
            return
        gone = [id_ for id_, (entry, dummy) in self.lines.items() if wanted.get(id_) != entry]
        await self.end(gone)
        self.board.config = digest(text)
        for id_, entry in wanted.items():
            if id_ not in self.lines:
                self.board.add(id_)
                self.lines[id_] = entry, asyncio.ensure_future(Line(entry, self.board).keep())
        self.board.write()

    async def end(self, ids: list[str]) -> None:
        """End cables."""
        tasks = [self.lines.pop(id_)[1] for id_ in ids]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for id_ in ids:
            self.board.drop(id_)


async def main(home: str) -> None:
    """Keep the cables until told to stop."""
    loop = asyncio.get_running_loop()
    news, stop = asyncio.Event(), asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, news.set)
    for ending in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(ending, stop.set)
    keeper = Keeper(home)
    news.set()
    while not stop.is_set():
        if news.is_set():
            news.clear()
            await keeper.reload()
        await first(news.wait(), stop.wait())
    await keeper.end(list(keeper.lines))


if __name__ == "__main__":
    asyncio.run(main(os.path.dirname(os.path.abspath(__file__))))

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor of the cables, run as the program it is, with commands that stand in for plugs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import cable_keeper
from ansible_collections.benito.testbed.plugins.module_utils.cable_keeper import FIRST, LASTING, LONGEST, Board, next_pause

GREETING = "0" * 64 + "\n"
SLEEP = ["sleep", "300"]
THROUGH = ["sh", "-c", f"echo '{cable_keeper.CONNECTED}' >&2; exec sleep 300"]


def wait_for(condition: Callable[[], object], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


class Keeper:
    """A supervisor with a directory of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "io").mkdir(exist_ok=True)
        (home / "keeper.py").write_bytes(Path(cable_keeper.__file__).read_bytes())
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *entries: dict[str, Any]) -> None:
        self.want(*entries)
        self.process = subprocess.Popen([sys.executable, "-I", str(self.home / "keeper.py")], stdin=subprocess.DEVNULL)
        assert wait_for(lambda: self.told().get("pid") == self.process.pid)

    def want(self, *entries: dict[str, Any]) -> None:
        text = json.dumps({"cables": entries}).encode()
        (self.home / "keeper.json").write_bytes(text)
        if self.process:
            self.process.send_signal(signal.SIGHUP)
            assert wait_for(lambda: self.told()["config"] == cable_keeper.digest(text))

    def told(self) -> dict[str, Any]:
        try:
            return json.loads((self.home / "io/state.json").read_text())
        except FileNotFoundError:
            return {}

    def cable(self, id_: str = "a") -> dict[str, Any]:
        return self.told()["cables"].get(id_, {})

    def is_(self, state: str, id_: str = "a") -> bool:
        return wait_for(lambda: self.cable(id_).get("state") == state)

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self.process:
            self.process.send_signal(how)
            self.process.wait(10)
            self.process = None


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    made = Keeper(tmp_path)
    yield made
    made.stop(signal.SIGKILL)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_pauses_grow_to_a_bound_and_begin_again_after_a_cable_that_held() -> None:
    pauses = [0.0]
    for dummy in range(12):
        pauses.append(next_pause(pauses[-1], 0.0))
    assert pauses[1] == FIRST
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST
    assert next_pause(LONGEST, LASTING) == FIRST


def test_the_board_counts_connections_and_remembers_them(tmp_path: Path) -> None:
    path = str(tmp_path / "state.json")
    board = Board(path)
    board.add("a")
    for state in ("connected", "connected", "broken", "connected"):
        board.note("a", state)
    assert board.cables["a"]["connections"] == 2
    again = Board(path)
    again.add("a")
    again.note("a", "connected")
    assert again.cables["a"]["connections"] == 3
    again.drop("a")
    assert json.loads(Path(path).read_text())["cables"] == {}
    Path(path).write_text("[]")
    Board(path).add("a")


def test_a_cable_that_breaks_is_made_again_and_counted(keeper: Keeper) -> None:
    keeper.start({"id": "a", "how": "pipe", "plug": SLEEP, "far": THROUGH})
    assert keeper.is_("connected")
    for times in (2, 3):
        pids = keeper.cable()["pids"]
        os.kill(pids[times % 2], signal.SIGKILL)
        assert wait_for(lambda times=times: keeper.cable()["connections"] == times)
        assert all(map(gone, pids)), "the other half goes with it"


def test_what_it_said_last_is_why(keeper: Keeper) -> None:
    keeper.start(
        {"id": "a", "how": "plug", "plug": ["sh", "-c", "echo first >&2; printf 'no \\033such switch' >&2; exit 3"]},
        {"id": "b", "how": "plug", "plug": ["/nonexistent/program"]},
        {"id": "c", "how": "pipe", "plug": SLEEP, "far": ["sh", "-c", "exit 7"]},
    )
    assert keeper.is_("broken")
    assert keeper.cable()["detail"] == "no such switch"
    assert keeper.is_("broken", "b")
    assert "No such file" in keeper.cable("b")["detail"]
    assert keeper.is_("broken", "c")
    assert "7" in keeper.cable("c")["detail"]
    assert {keeper.cable(id_)["connections"] for id_ in "abc"} == {0}


def test_news_touch_only_what_differs(keeper: Keeper) -> None:
    one, two = ({"id": id_, "how": "plug", "plug": SLEEP} for id_ in "ab")
    keeper.start(one, two)
    assert keeper.is_("connected", "a")
    assert keeper.is_("connected", "b")
    first, second = keeper.cable("a")["pids"], keeper.cable("b")["pids"]
    keeper.want(one, {**two, "made": 1}, {**one, "id": "c"})
    assert keeper.is_("connected", "c")
    assert wait_for(lambda: keeper.cable("b")["pids"] not in ([], second))
    assert keeper.cable("a")["pids"] == first
    assert gone(second[0])
    keeper.want(one)
    assert set(keeper.told()["cables"]) == {"a"}
    assert keeper.cable("a")["pids"] == first
    # A list that cannot be read is none: what runs goes on.
    (keeper.home / "keeper.json").write_text("{")
    keeper.process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert keeper.cable("a")["pids"] == first
    assert not gone(first[0])


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_it(keeper: Keeper, how: int) -> None:
    keeper.start({"id": "a", "how": "pipe", "plug": SLEEP, "far": THROUGH}, {"id": "b", "how": "plug", "plug": SLEEP})
    assert keeper.is_("connected")
    assert keeper.is_("connected", "b")
    pids = keeper.cable("a")["pids"] + keeper.cable("b")["pids"]
    assert len(pids) == 3
    keeper.stop(how)
    assert wait_for(lambda: all(map(gone, pids)), 5)


def tcp(port: int, **more: Any) -> dict[str, Any]:
    plug = ["sh", "-c", "echo hello; exec cat"]
    return {"id": "a", "how": "listen", "plug": plug, "address": "127.0.0.1", "socket": port, "greeting": GREETING, **more}


def test_only_the_other_end_of_the_cable_is_taken(keeper: Keeper) -> None:
    port = free_port()
    keeper.start(tcp(port), tcp(port + 1, id="b", address="127.0.0.9"))

    def come(number: int, greeting: str) -> bytes:
        with socket.create_connection(("127.0.0.1", number), timeout=10) as connection:
            connection.sendall(greeting.encode())
            heard = b""
            while len(heard) < len(GREETING) + 6:
                piece = connection.recv(100)
                if not piece:
                    break
                heard += piece
            return heard

    assert wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
    assert come(port, "1" * 64 + "\n") == b""
    with contextlib.suppress(ConnectionError):
        assert come(port + 1, GREETING) == b"", "from an address that is not the peer's"
    assert come(port, GREETING) == f"{GREETING}hello\n".encode()
    assert keeper.is_("broken")


def test_a_new_connection_takes_the_place_of_a_dead_one(keeper: Keeper) -> None:
    port = free_port()
    keeper.start(tcp(port))
    assert wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
    connections = []
    try:
        for times in (1, 2):
            connections.append(socket.create_connection(("127.0.0.1", port), timeout=10))
            connections[-1].sendall(GREETING.encode())
            assert wait_for(lambda times=times: (keeper.cable()["connections"], keeper.cable()["state"]) == (times, "connected"))
        connections[0].settimeout(10)
        heard = b""
        while piece := connections[0].recv(1000):
            heard += piece
        assert heard.endswith(b"hello\n"), "the first one was closed"
    finally:
        for connection in connections:
            connection.close()


def test_a_dialling_end_finds_its_peer_and_loses_it(keeper: Keeper, tmp_path: Path) -> None:
    port = free_port()
    keeper.start(tcp(port, how="dial"))
    assert keeper.is_("broken")
    assert "refused" in keeper.cable()["detail"]
    (tmp_path / "peer").mkdir()
    peer = Keeper(tmp_path / "peer")
    try:
        peer.start(tcp(port))
        assert keeper.is_("connected")
        assert peer.is_("connected")
        peer.stop(signal.SIGKILL)
        assert keeper.is_("broken")
        peer.start(tcp(port, greeting="2" * 64 + "\n"))
        assert wait_for(lambda: keeper.cable()["detail"].endswith("turned away")), keeper.cable()
        assert peer.cable()["connections"] == 1, "that of before"
    finally:
        peer.stop(signal.SIGKILL)


def test_a_port_that_is_taken_is_said(keeper: Keeper) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        keeper.start(tcp(taken.getsockname()[1]))
        assert keeper.is_("broken")
        assert "in use" in keeper.cable()["detail"]


def test_datagrams_are_exchanged_only_with_the_other_end_of_the_cable(keeper: Keeper, tmp_path: Path) -> None:
    port = free_port(socket.SOCK_DGRAM)
    entry = {"id": "a", "how": "datagram", "plug": SLEEP, "address": "127.0.0.1", "socket": port, "greeting": GREETING}
    keeper.start(entry)
    # There is but one host here: the other end is itself.
    assert keeper.is_("connected")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.settimeout(0.5)
        stranger.connect(("127.0.0.1", port))
        stranger.send(b"1" * 65)
        with pytest.raises(TimeoutError):
            stranger.recv(100)
        stranger.send(GREETING.encode())
        assert stranger.recv(100) == f"{GREETING}+".encode()
    keeper.want({**entry, "address": "192.0.2.1.invalid"})
    assert keeper.is_("broken")
    assert "192.0.2.1.invalid" in keeper.cable()["detail"]


def test_a_tunnel_to_nobody_is_broken(keeper: Keeper) -> None:
    port = free_port(socket.SOCK_DGRAM)
    keeper.start({"id": "a", "how": "plug", "plug": SLEEP, "address": "127.0.0.1", "socket": port})
    assert keeper.is_("broken")
    assert "refused" in keeper.cable()["detail"]
    assert keeper.cable()["pids"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.bind(("127.0.0.1", port))
        assert keeper.is_("connected")

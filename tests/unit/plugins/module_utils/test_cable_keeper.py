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
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.module_utils import cable_greeting, cable_keeper
from ansible_collections.benito.testbed.plugins.module_utils.cable_keeper import FIRST, LASTING, LONGEST, Board, next_pause

SECRET = "5e" * 32
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
        for name, module in (("keeper", cable_keeper), ("cable_greeting", cable_greeting)):
            (home / f"{name}.py").write_bytes(Path(module.__file__).read_bytes())
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
    return {"id": "a", "how": "listen", "plug": plug, "address": "127.0.0.1", "socket": port, "secret": SECRET, **more}


def heard(connection: socket.socket, count: int) -> bytes:
    text = b""
    with contextlib.suppress(ConnectionError):
        while len(text) < count:
            piece = connection.recv(count - len(text))
            if not piece:
                break
            text += piece
    return text


def greet(connection: socket.socket, secret: str = SECRET) -> tuple[bytes, bytes, bytes]:
    """Dial as the other end does; return the challenge, what we said, and what was answered."""
    challenge = heard(connection, cable_greeting.NONCE)
    nonce = os.urandom(cable_greeting.NONCE)
    said = nonce + cable_greeting.proof(bytes.fromhex(secret), b"dial", challenge, nonce)
    with contextlib.suppress(ConnectionError):
        connection.sendall(said)
    return challenge, said, heard(connection, cable_greeting.PROOF)


def come(port: int) -> socket.socket:
    assert wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def test_only_the_other_end_of_the_cable_is_taken(keeper: Keeper) -> None:
    port = free_port()
    keeper.start(tcp(port), tcp(port + 1, id="b", address="127.0.0.9"), tcp(port + 2, id="c", secret=""))
    with come(port) as wrong:
        assert greet(wrong, "5f" * 32)[2] == b""
    with come(port + 1) as elsewhere:
        assert greet(elsewhere)[0] == b"", "from an address that is not the peer's"
    assert keeper.is_("broken", "c")
    assert "no secret" in keeper.cable("c")["detail"]
    with come(port) as right:
        challenge, said, answered = greet(right)
        nonce = said[: cable_greeting.NONCE]
        assert answered == cable_greeting.proof(bytes.fromhex(SECRET), b"listen", challenge, nonce)
        assert heard(right, 6) == b"hello\n"
    assert keeper.is_("broken")


def test_what_was_overheard_opens_nothing(keeper: Keeper) -> None:
    port = free_port()
    keeper.start(tcp(port))
    with come(port) as right:
        challenge, said, answered = greet(right)
        assert keeper.is_("connected")
        for replay in (said, answered, challenge + answered, said + b"frame", b"0" * 64 + b"\n"):
            with come(port) as stranger:
                heard(stranger, cable_greeting.NONCE)
                stranger.sendall(replay)
                stranger.shutdown(socket.SHUT_WR)
                assert heard(stranger, 6) == b"", replay
        assert heard(right, 6) == b"hello\n"
        assert (keeper.cable()["state"], keeper.cable()["connections"]) == ("connected", 1)


def test_one_that_says_nothing_holds_up_nobody(keeper: Keeper) -> None:
    port = free_port()
    keeper.start(tcp(port))
    silent = [come(port) for dummy in range(3)]
    try:
        with come(port) as right:
            assert greet(right)[2]
            assert heard(right, 6) == b"hello\n"
    finally:
        for connection in silent:
            connection.close()


@pytest.mark.parametrize("answer", [b"", b"\0" * 32, b"\0" * 300], ids=["nothing", "zeros", "more zeros"])
def test_one_that_listens_at_the_peers_port_gets_no_cable(keeper: Keeper, answer: bytes) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(10)
        keeper.start(tcp(listener.getsockname()[1], how="dial"))
        with listener.accept()[0] as connection:
            connection.settimeout(10)
            connection.sendall(b"\1" * cable_greeting.NONCE)
            said = heard(connection, cable_greeting.NONCE + cable_greeting.PROOF)
            # Also what it said itself is no proof of the other end.
            connection.sendall(answer or said[cable_greeting.NONCE :])
            assert heard(connection, 6) == b""
        assert wait_for(lambda: keeper.cable()["state"] == "broken")
        assert "not the other end" in keeper.cable()["detail"]


def test_a_new_connection_takes_the_place_of_a_dead_one(keeper: Keeper) -> None:
    port = free_port()
    keeper.start(tcp(port))
    assert wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
    connections = []
    try:
        for times in (1, 2):
            connections.append(socket.create_connection(("127.0.0.1", port), timeout=10))
            assert greet(connections[-1])[2]
            assert wait_for(lambda times=times: (keeper.cable()["connections"], keeper.cable()["state"]) == (times, "connected"))
        connections[0].settimeout(10)
        assert heard(connections[0], 1000) == b"hello\n", "the first one was closed"
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
        peer.start(tcp(port, secret="5f" * 32))
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


class FarEnd:
    """The other end of a cable by UDP, at another address of this host and the same port."""

    def __init__(self, port: int, secret: str = SECRET) -> None:
        self.secret = bytes.fromhex(secret)
        self.session = os.urandom(cable_greeting.SESSION)
        self.plugged = True
        self.replayed = b""
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.socket.bind(("127.0.0.2", port))
        self.last = b""
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                datagram, sender = self.socket.recvfrom(2000)
                question = cable_greeting.asked(self.secret, datagram)
                if question:
                    self.last = cable_greeting.answer(self.secret, question, self.session, self.plugged)
                    self.socket.sendto(self.replayed or self.last, sender)

    def close(self) -> None:
        self.socket.close()


def datagram_cable(port: int, **more: Any) -> dict[str, Any]:
    return {"id": "a", "how": "datagram", "plug": SLEEP, "address": "127.0.0.2", "socket": port, "secret": SECRET, **more}


def test_datagrams_are_exchanged_only_with_the_other_end_of_the_cable(keeper: Keeper) -> None:
    port = free_port(socket.SOCK_DGRAM)
    far = FarEnd(port)
    keeper.start(datagram_cable(port))
    assert keeper.is_("connected")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.settimeout(0.5)
        other.connect(("127.0.0.1", port))
        session = os.urandom(cable_greeting.SESSION)
        for wrong in (b"1" * 65, b"", cable_greeting.ask(bytes.fromhex("5f" * 32), session)[1]):
            other.send(wrong)
            with pytest.raises(TimeoutError):
                other.recv(300)
        nonce, question = cable_greeting.ask(far.secret, session)
        other.send(question)
        assert cable_greeting.answered(far.secret, (nonce, session), other.recv(300))[1] is True
    keeper.want(datagram_cable(port, address="192.0.2.1.invalid"))
    assert keeper.is_("broken")
    assert "192.0.2.1.invalid" in keeper.cable()["detail"]
    far.close()


def test_an_answer_of_before_is_none(keeper: Keeper) -> None:
    port = free_port(socket.SOCK_DGRAM)
    far = FarEnd(port)
    keeper.start(datagram_cable(port))
    assert keeper.is_("connected")
    (plug,) = keeper.cable()["pids"]
    far.replayed = far.last
    assert keeper.is_("broken")
    # Whatever comes from that address and port by now is not the cable's any more.
    assert wait_for(lambda: gone(plug), 30)
    far.replayed = b""
    assert keeper.is_("connected")
    far.close()


def test_without_the_secret_there_is_no_plug(keeper: Keeper) -> None:
    port = free_port(socket.SOCK_DGRAM)
    far = FarEnd(port, "5f" * 32)
    keeper.start(datagram_cable(port), datagram_cable(port + 1, id="b", secret=""))
    assert keeper.is_("broken")
    assert keeper.is_("broken", "b")
    assert [keeper.cable(id_)["connections"] for id_ in "ab"] == [0, 0]
    assert keeper.cable()["pids"] == []
    assert "no secret" in keeper.cable("b")["detail"]
    far.close()


def test_an_end_does_not_take_its_own_answer_for_the_others() -> None:
    secret, session = bytes.fromhex(SECRET), os.urandom(cable_greeting.SESSION)
    nonce, datagram = cable_greeting.ask(secret, session)
    question = cable_greeting.asked(secret, datagram)
    assert question == (nonce, session)
    with pytest.raises(cable_greeting.Stranger):
        cable_greeting.answered(secret, question, cable_greeting.answer(secret, question, session, plugged=True))
    other = os.urandom(cable_greeting.SESSION)
    answer = cable_greeting.answer(secret, question, other, plugged=False)
    assert cable_greeting.answered(secret, question, answer) == (other, False)
    with pytest.raises(cable_greeting.Stranger):
        cable_greeting.answered(secret, question, b"+" + answer[1:])


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_no_other_words_are_a_greeting(one: bytes, other: bytes) -> None:
    secret = bytes.fromhex(SECRET)
    assert cable_greeting.asked(secret, one) is None
    with pytest.raises(cable_greeting.Stranger):
        cable_greeting.answered(secret, (one, other), other)


def test_a_tunnel_to_nobody_is_broken(keeper: Keeper) -> None:
    port = free_port(socket.SOCK_DGRAM)
    keeper.start({"id": "a", "how": "plug", "plug": SLEEP, "address": "127.0.0.1", "socket": port})
    assert keeper.is_("broken")
    assert "refused" in keeper.cable()["detail"]
    assert keeper.cable()["pids"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.bind(("127.0.0.1", port))
        assert keeper.is_("connected")

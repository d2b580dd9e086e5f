# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node prints what a terminal would obey, and the program that shows its logs passes on text."""

from __future__ import annotations

import json
import os
import pty
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.module_utils import console, guest_status
from ansible_collections.benito.testbed.plugins.module_utils.console import HARMLESS, Sieve
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir

ATTACKS = {
    "title": b"\x1b]0;owned\x07",
    "title, other end": b"\x1b]2;owned\x1b\\",
    "title without an end": b"\x1b]0;owned",
    "answer": b"\x1b[c\x1b[6n\x1b[5n\x05",
    "report of the title": b"\x1b[21t",
    "clipboard": b"\x1b]52;c;cm0gLXJmIH4=\x07",
    "programmable key": b"\x1bP1;1|17/726d0d\x1b\\",
    "reset": b"\x1bc",
    "mode": b"\x1b[?1000h\x1b[?1049h\x1b[20h",
    "8 bits": b"\xc2\x9b21t\xc2\x9d0;owned\xc2\x9c",
    "raw 8 bits": b"\x9b21t",
    "character set": b"\x1b(0\x0e",
    "sideways": "\u202egnp\u2066".encode(),
    "half": b"\x1b[",
    "long": b"\x1b[" + b"1;" * 100_000 + b"m",
}


@pytest.fixture
def home(rundir: RunDir) -> Path:
    """The directory of a guest called a, with its console."""
    found = Path(rundir.guest("a"))
    (found / "io").mkdir(parents=True)
    (found / "launch.json").write_text(json.dumps({"name": "alpha"}))
    guest_status.install_console(rundir)
    return found


def run(home: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([home.parents[1] / "console", *words], capture_output=True, stdin=subprocess.DEVNULL, timeout=30, check=False)


def harmless(text: str) -> bool:
    return all(c.isprintable() or c in "\n\t" for c in text)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_what_a_terminal_would_obey(home: Path, attack: bytes) -> None:
    (home / "io/console.log").write_bytes(b"before\r\n" + attack + b"\nafter \xc3\xa4\n")
    done = run(home, "alpha")
    assert done.returncode == 0, done.stderr
    out = done.stdout.decode()
    assert harmless(out), out
    assert out.startswith("before\n")
    assert "after \xe4" in out or b"\x1b]" in attack or attack.endswith(b"[")


@given(st.lists(st.binary(max_size=40) | st.sampled_from(list(ATTACKS.values())[:-1]), max_size=8), st.booleans())
def test_whatever_comes_in_whatever_pieces(pieces: list[bytes], moving: bool) -> None:
    sieve = Sieve(moving)
    shown = "".join(sieve.pass_on(piece) for piece in pieces)
    rest = HARMLESS.sub("", shown) if moving else shown
    assert all(c.isprintable() or c in ("\n\t\r\b\x07" if moving else "\n\t") for c in rest)


def test_a_sequence_in_pieces_and_colours_where_they_may_pass() -> None:
    sieve = Sieve(moving=True)
    said = b"a\x1b[1;31mb\x1b[6nc\x1b]0;x\x07d\x1b[2K\xc3\xa4"
    assert "".join(sieve.pass_on(bytes([byte])) for byte in said) == "a\x1b[1;31mbcd\x1b[2K\xe4"
    plain = Sieve()
    assert "".join(plain.pass_on(bytes([byte])) for byte in b"a\x1b[1;31mb\x00\rc") == "ab\\x00c"


def test_the_last_lines_and_other_logs(home: Path) -> None:
    (home / "io/console.log").write_text("".join(f"line {i}\n" for i in range(100)))
    (home / "qemu.log").write_text("no memory\x1b[31m\n")
    assert run(home, "alpha").stdout.decode().splitlines() == [f"line {i}" for i in range(60, 100)]
    assert run(home, "a", "-n", "1").stdout == b"line 99\n"
    assert run(home, "alpha", "qemu").stdout == b"no memory\n"


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "device"])
def test_what_is_no_file_of_the_node(home: Path, kind: str) -> None:
    path = home / "io/console.log"
    if kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        (os.mkfifo if kind == "fifo" else os.mkdir)(path)
    done = run(home, "alpha")
    assert (done.returncode, done.stdout) == (1, b"")
    assert harmless(done.stderr.decode())


def test_unknown_nodes_and_damaged_records(home: Path) -> None:
    (home / "launch.json").write_text("[" * 100_000)
    assert b"there is no node 'alpha'" in run(home, "alpha").stderr
    done = run(home, "\x1b[31m")
    assert done.returncode == 1 and harmless(done.stderr.decode())


def test_it_follows(home: Path) -> None:
    path = home / "io/console.log"
    path.write_text("one\n")
    child = subprocess.Popen([home.parents[1] / "console", "-f", "alpha"], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "one\n"
        with path.open("a") as file:
            file.write("two\x1b]0;x\x07\n")
        assert child.stdout.readline() == "two\n"
        path.unlink()
        path.write_text("anew\n")
        assert child.stdout.readline() == "anew\n"
    finally:
        child.kill()
        child.communicate()


def test_the_console_itself(home: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(home / "io/console"))
        listener.listen()
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(sys.executable, [sys.executable, str(home.parents[1] / "console"), "-i", "alpha"])
        line = listener.accept()[0]
        line.sendall(b"login: \x1b]0;owned\x07\x1b[32mroot\x1b[6n")
        seen = b""
        until = time.monotonic() + 20
        while b"root" not in seen and time.monotonic() < until and select.select([terminal], [], [], 20)[0]:
            seen += os.read(terminal, 4096)
        assert seen.endswith(b"login: \x1b[32mroot"), seen
        os.write(terminal, b"ls\r")
        assert line.recv(100) == b"ls\r"
        os.write(terminal, b"\x1d")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        line.close()
        os.close(terminal)


@pytest.mark.usefixtures("root_user")
def test_nothing_is_typed_into_the_console_of_another_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of one experiment put a link to the console of another into the place of its own."""
    own, other = tmp_path / "own", tmp_path / "other"
    for place in (own, other):
        place.mkdir()
    os.chown(own, 65533, 65533)
    (own / "console").symlink_to(other / "console")
    monkeypatch.setattr(os, "isatty", lambda number: True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(other / "console"))
        listener.listen()
        with pytest.raises(console.Wrong, match="the id 0 listens there, and not the owner of the directory, 65533"):
            console.log_in(str(own / "console"))


def test_a_log_without_a_word_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log").touch()
    console.show(str(tmp_path / "log"), 10, follow=False)
    assert "nothing so far" in capsys.readouterr().err

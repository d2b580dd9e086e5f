# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show what a node wrote without letting it command the terminal. A program of its own.

It is copied into the experiment's directory, for root: ``console NODE`` shows the last lines of its console, ``-f`` follows, ``-i`` logs in
there. What a node prints may hold sequences that a terminal obeys: that rename windows, hide lines, or answer as if somebody had typed.
Here only text passes, and with ``-i`` also the few sequences that move the cursor, erase and colour.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import json
import os
import re
import select
import socket
import stat
import struct
import sys
import termios
import time
import tty

LAST, PIECE, PAUSE = 1 << 18, 1 << 16, 0.3
# Ctrl-]
LEAVE = b"\x1d"
FILES = {
    "console": "io/console.log",
    "qemu": "qemu.log",
    "state": "io/state",
    "log": "var/log/start_command.log",
    "out": "var/log/start_command.out",
    "err": "var/log/start_command.err",
}
# Cursor, erasing and colours: no queries, which a terminal answers as if somebody typed, no modes, no titles.
HARMLESS = re.compile(r"\x1b\[[0-9;]{0,40}[ABCDEFGHJKLMPXf@dm]")
# Other sequences, whole or up to the longest that is waited for.
SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-OQ-WYZ\\`-~])")
BEGUN = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)?\Z")
LONGEST_SEQUENCE = 4096


class Wrong(Exception):
    """It cannot be shown; the text says why."""


class Sieve:
    """Text for a terminal, of bytes that come in pieces. With ``moving`` the harmless sequences pass; other ones never do."""

    def __init__(self, moving: bool = False) -> None:
        self.moving = moving
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest = ""

    def pass_on(self, piece: bytes) -> str:
        """Return what may be shown of the next piece."""
        text, shown, place = self._rest + self._decoder.decode(piece), [], 0
        self._rest = ""
        while place < len(text):
            end = text.find("\x1b", place)
            shown.append(self._plain(text[place : end if end >= 0 else len(text)]))
            if end < 0:
                break
            found = SEQUENCE.match(text, end)
            if found:
                shown.append(found[0] if self.moving and HARMLESS.fullmatch(found[0]) else "")
                place = found.end()
            elif len(text) - end < LONGEST_SEQUENCE and BEGUN.match(text, end):
                self._rest = text[end:]
                break
            else:
                place = end + 1
        return "".join(shown)

    def _plain(self, text: str) -> str:
        kept = "\n\t\r\b\x07" if self.moving else "\n\t"
        return "".join(c if c.isprintable() or c in kept else "" if c == "\r" else f"\\x{ord(c):02x}" for c in text)


def home_of(directory: str, name: str) -> str:
    """Return the directory of a node, by its name or its short name. Raises Wrong."""
    known = []
    with contextlib.suppress(OSError):
        known = sorted(os.listdir(f"{directory}/guests"))
    names = {}
    for id_ in known:
        record = f"{directory}/guests/{id_}/launch.json"
        damage = (OSError, ValueError, RecursionError, AttributeError, TypeError)
        with contextlib.suppress(*damage), open(record, encoding="utf-8") as file:
            names[json.load(file).get("name")] = id_
    id_ = names.get(name, name if name in known else "")
    if not id_:
        raise Wrong(f"there is no node {name!a} on this host; there are {', '.join(map(str, names)) or 'none'}")
    return f"{directory}/guests/{id_}"


def opened(path: str) -> int:
    """Open a file that the node may own: no link is followed, nothing is waited for. Raises Wrong."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Wrong(f"{path}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Wrong(f"{path} is not a file")
    return handle


def show(path: str, lines: int, follow: bool) -> None:
    """Print the last lines of a file, and what is added to it. Raises Wrong."""
    handle, sieve = opened(path), Sieve()
    size = os.fstat(handle).st_size
    start = max(0, size - LAST)
    text = sieve.pass_on(os.pread(handle, size - start, start))
    sys.stdout.write("".join(text.splitlines(keepends=True)[-lines:] if lines else []))
    sys.stdout.flush()
    if not size:
        sys.stderr.write("console: nothing so far; a machine that was woken up as a copy of a booted one did not print while it booted\n")
    place = size
    while follow:
        piece = os.pread(handle, PIECE, place)
        if piece:
            place += len(piece)
            sys.stdout.write(sieve.pass_on(piece))
            sys.stdout.flush()
            continue
        time.sleep(PAUSE)
        with contextlib.suppress(OSError, Wrong):
            there = os.stat(path, follow_symlinks=False)
            if not os.path.samestat(there, os.fstat(handle)) or there.st_size < place:
                # The node was started anew.
                fresh = opened(path)
                os.close(handle)
                handle, place, sieve = fresh, 0, Sieve()


def log_in(path: str) -> None:
    """Connect the terminal with a console, until Ctrl-] or its end. Raises Wrong."""
    if not os.isatty(0):
        raise Wrong("-i needs a terminal")
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.settimeout(5)
            line.connect(path)
            line.settimeout(None)
            listener = struct.unpack("=iII", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
            owner = os.stat(os.path.dirname(path)).st_uid
        except OSError as error:
            raise Wrong(f"{path}: {error.strerror or error}; does the node run?") from None
        if listener != owner:
            # A link in the place of the socket can lead to another experiment.
            raise Wrong(f"{path}: the id {listener} listens there, and not the owner of the directory, {owner}")
        before, sieve = termios.tcgetattr(0), Sieve(moving=True)
        sys.stdout.write("Press Enter for a prompt, Ctrl-] to leave.\r\n")
        sys.stdout.flush()
        try:
            tty.setraw(0)
            while True:
                ready = select.select([0, line.fileno()], [], [])[0]
                if line.fileno() in ready:
                    piece = line.recv(PIECE)
                    if not piece:
                        break
                    os.write(1, sieve.pass_on(piece).encode())
                if 0 in ready:
                    typed = os.read(0, 4096)
                    if not typed or LEAVE in typed:
                        break
                    line.sendall(typed)
        finally:
            termios.tcsetattr(0, termios.TCSADRAIN, before)
            sys.stdout.write("\x1b[m\r\n")


def main(directory: str, words: list[str]) -> int:
    """Show what was asked for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="console", description="Show what a node of the experiment wrote, safely for the terminal.")
    parser.add_argument("node", help="name of the node")
    parser.add_argument(
        "of", nargs="?", choices=sorted(FILES), default="console", help="which of its logs; out, err and log are the start command's"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is added")
    parser.add_argument("-n", "--lines", type=int, default=40, help="how many of the last lines (40)")
    parser.add_argument("-i", "--interactive", action="store_true", help="log in on the console; Ctrl-] leaves")
    asked = parser.parse_args(words)
    try:
        home = home_of(directory, asked.node)
        if asked.interactive:
            log_in(f"{home}/io/console")
        else:
            show(f"{home}/{FILES[asked.of]}", max(0, asked.lines), asked.follow)
    except Wrong as wrong:
        sys.stderr.write(f"console: {wrong}\n")
        return 1
    except (KeyboardInterrupt, BrokenPipeError):
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main(os.path.dirname(os.path.abspath(__file__)), sys.argv[1:]))

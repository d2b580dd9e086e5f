#!/usr/bin/env python3
# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bot: it joins a channel, and does there what it is told.

    irc_bot.py SERVER NICK                       "!who" is answered with its host's name, "!fetch URL" with what it found there
    irc_bot.py SERVER NICK --lead BOTS URL       waits until so many bots are there, has each of them fetch the URL, and ends when all have
                                                 answered: with exit status 0, or 1 when they do not within ten minutes

Everything it hears and says is printed.
"""

from __future__ import annotations

import argparse
import re
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator

CHANNEL = "#catch"
PATIENCE = 600.0
SPOKEN = re.compile(r":(?P<nick>[^!\s]+)\S* PRIVMSG \S+ :(?P<text>.*)")
JOINED = re.compile(r":(?P<nick>[^!\s]+)\S* JOIN :?#")
PRESENT = re.compile(r":\S+ 353 .*?:(?P<nicks>.*)")


class Irc:
    """A connection to the channel."""

    def __init__(self, server: str, nick: str, deadline: float) -> None:
        self.socket = connect(server, deadline)
        self.nick = nick
        self.send(f"NICK {nick}")
        self.send(f"USER {nick} 0 * :{socket.gethostname()}")

    def send(self, line: str) -> None:
        """Send one line."""
        print(f"> {line}", flush=True)
        self.socket.sendall(f"{line}\r\n".encode())

    def say(self, text: str) -> None:
        """Say something in the channel."""
        self.send(f"PRIVMSG {CHANNEL} :{text}")

    def lines(self) -> Iterator[str]:
        """Yield what the server sends, and do what it expects of everybody. Raises TimeoutError when it is silent for too long."""
        for raw in self.socket.makefile("rb"):
            line = raw.decode(errors="replace").strip()
            print(line, flush=True)
            if line.startswith("PING"):
                self.send(f"PONG{line[4:]}")
            elif f" 001 {self.nick} " in line:
                self.send(f"JOIN {CHANNEL}")
            yield line


def connect(server: str, deadline: float) -> socket.socket:
    """Connect to the server, which may come up after us."""
    while True:
        try:
            return socket.create_connection((server, 6667), timeout=10)
        except OSError as error:
            print(f"{server}: {error}", flush=True)
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def fetch(url: str) -> str:
    """Say what is to be found at a URL, in one line."""
    if not url.startswith("http://"):
        return f"{url[:100]}: no web page"
    found = ""
    for pause in (1, 2, 4, 8, 0):
        try:
            with urllib.request.urlopen(url, timeout=10) as page:  # noqa: S310
                return f"{page.status} {' '.join(page.read(1000).decode(errors='replace').split())[:200]}"
        except (OSError, ValueError) as error:
            found = f"{url[:100]}: {error}"
        time.sleep(pause)
    return found


def obey(irc: Irc) -> None:
    """Do what is said in the channel until the server goes away."""
    irc.socket.settimeout(None)
    for line in irc.lines():
        said = SPOKEN.match(line)
        word, dummy, rest = said["text"].partition(" ") if said else ("", "", "")
        if word == "!who":
            irc.say(f"I am {socket.gethostname()}")
        elif word == "!fetch":
            irc.say(f"{socket.gethostname()} got {fetch(rest.strip())}")


def lead(irc: Irc, bots: int, url: str, deadline: float) -> bool:
    """Have the bots fetch a URL. True when all of them have got it."""
    present: set[str] = set()
    answers: dict[str, str] = {}
    asked = False
    for line in irc.lines():
        irc.socket.settimeout(max(0.1, deadline - time.monotonic()))
        if found := PRESENT.match(line):
            present |= {nick.lstrip("@+") for nick in found["nicks"].split()} - {irc.nick}
        elif found := JOINED.match(line):
            present |= {found["nick"]} - {irc.nick}
        elif found := SPOKEN.match(line):
            answers[found["nick"]] = found["text"]
        if len(present) >= bots and not asked:
            asked = True
            irc.say("!who")
            irc.say(f"!fetch {url}")
        got = [nick for nick in present if " got 200 " in answers.get(nick, "")]
        if asked and len(got) >= bots:
            irc.say(f"{len(got)} of {bots} have been there")
            irc.send("QUIT")
            return True
    return False


def main() -> int:
    """Be a bot."""
    parser = argparse.ArgumentParser()
    parser.add_argument("server")
    parser.add_argument("nick")
    parser.add_argument("--lead", nargs=2, metavar=("BOTS", "URL"))
    arguments = parser.parse_args()
    deadline = time.monotonic() + PATIENCE
    irc = Irc(arguments.server, arguments.nick, deadline)
    if not arguments.lead:
        obey(irc)
        return 0
    try:
        return 0 if lead(irc, int(arguments.lead[0]), arguments.lead[1], deadline) else 1
    except OSError as error:
        print(f"not all have answered: {error}", flush=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""An IRC server of one channel's worth: what RFC 1459 asks of a client that joins, talks and leaves, and no more.

It is part of the demo so that a node needs nothing but Python: Debian's ngircd, which the bots talk to just as well, would begin to
serve the host itself as soon as it is installed, and is in no image of guests.

    irc_server.py [PORT]
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import sys

NAME = socket.gethostname()
NICK = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,29}")
CHANNEL = re.compile(r"#[A-Za-z0-9_-]{1,49}")
LONGEST = 512


class Client:
    """One connection: who it is and where it has joined."""

    def __init__(self, server: Server, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.writer = writer
        self.nick = ""
        self.user = ""
        self.channels: set[str] = set()

    @property
    def prefix(self) -> str:
        """How others see it."""
        return f"{self.nick}!{self.user}@{self.writer.get_extra_info('peername')[0]}"

    def send(self, line: str) -> None:
        """Send one line."""
        self.writer.write(f"{line}\r\n".encode())

    def reply(self, number: int, text: str) -> None:
        """Send a numeric reply of the server."""
        self.send(f":{NAME} {number:03d} {self.nick or '*'} {text}")

    def handle(self, line: str) -> bool:
        """Do what one line asks for; False when the client takes its leave."""
        head, colon, rest = line.partition(" :")
        words = head.split()
        if not words:
            return True
        word, arguments = words[0].upper(), words[1:] + ([rest] if colon else [])
        act = getattr(self, f"on_{word.lower()}", None)
        if word == "QUIT":
            return False
        if word == "PING":
            self.send(f":{NAME} PONG {NAME} :{arguments[0] if arguments else ''}")
        elif word == "PONG":
            pass
        elif word not in ("NICK", "USER") and not (self.nick and self.user):
            self.reply(451, ":You have not registered")
        elif act and arguments:
            act(arguments)
        elif act:
            self.reply(461, f"{word} :Not enough parameters")
        else:
            self.reply(421, f"{word} :Unknown command")
        return True

    def on_nick(self, arguments: list[str]) -> None:
        """Take a name nobody has."""
        nick = arguments[0]
        if not NICK.fullmatch(nick):
            self.reply(432, f"{nick[:30]} :Erroneous nickname")
        elif self.server.clients.get(nick.lower(), self) is not self:
            self.reply(433, f"{nick} :Nickname is already in use")
        else:
            self.server.clients.pop(self.nick.lower(), None)
            self.server.clients[nick.lower()] = self
            self.nick = nick
            self.welcome()

    def on_user(self, arguments: list[str]) -> None:
        """Say who is behind the name."""
        self.user = re.sub(r"[^A-Za-z0-9_-]", "", arguments[0])[:20] or "nobody"
        self.welcome()

    def welcome(self) -> None:
        """Greet a client when it has said both."""
        if self.nick and self.user:
            self.reply(1, f":Welcome to {NAME}, {self.nick}")
            self.reply(422, ":MOTD File is missing")

    def on_join(self, arguments: list[str]) -> None:
        """Enter channels."""
        for name in arguments[0].lower().split(","):
            if not CHANNEL.fullmatch(name):
                self.reply(403, f"{name[:50]} :No such channel")
                continue
            self.channels.add(name)
            members = self.server.members(name)
            for member in members:
                member.send(f":{self.prefix} JOIN {name}")
            self.reply(353, f"= {name} :{' '.join(member.nick for member in members)}")
            self.reply(366, f"{name} :End of /NAMES list")

    def on_part(self, arguments: list[str]) -> None:
        """Leave a channel."""
        name = arguments[0].lower()
        if name in self.channels:
            for member in self.server.members(name):
                member.send(f":{self.prefix} PART {name}")
            self.channels.discard(name)

    def on_privmsg(self, arguments: list[str]) -> None:
        """Say something to a channel or to one other."""
        if len(arguments) < 2:
            self.reply(412, ":No text to send")
            return
        target, text = arguments[0].lower(), arguments[1]
        known = self.server.clients.get(target)
        hearers = self.server.members(target) if target in self.channels else [known] if known else []
        if not hearers:
            self.reply(401, f"{arguments[0]} :No such nick or channel")
        for hearer in hearers:
            if hearer is not self:
                hearer.send(f":{self.prefix} PRIVMSG {arguments[0]} :{text}")


class Server:
    """All connections, by name."""

    def __init__(self) -> None:
        self.clients: dict[str, Client] = {}

    def members(self, channel: str) -> list[Client]:
        """Return who is in a channel."""
        return [client for client in self.clients.values() if channel in client.channels]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Attend to one connection until it ends."""
        client = Client(self, writer)
        with contextlib.suppress(OSError, ValueError):
            while line := await reader.readline():
                print(f"{client.nick or '?'}: {line.decode(errors='replace').rstrip()}", flush=True)
                if not client.handle(line.decode(errors="replace").strip()):
                    break
                await writer.drain()
        self.clients.pop(client.nick.lower(), None)
        for other in {member for channel in client.channels for member in self.members(channel)}:
            other.send(f":{client.prefix} QUIT :gone")
        writer.close()


async def main() -> None:
    """Serve on all addresses of the node."""
    server = await asyncio.start_server(Server().serve, "0.0.0.0", int((sys.argv[1:] or ["6667"])[0]), limit=LONGEST)  # noqa: S104
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A 9P2000.L client of a few messages: what a guest's root can say to a server of files if it does not care for its kernel's manners."""

from __future__ import annotations

import itertools
import os
import socket
import struct
from types import TracebackType

ERROR, STATFS, OPEN, CREATE, SYMLINK, MKNOD, SETATTR, VERSION, ATTACH, WALK, READ, WRITE, CLUNK, MKDIR = (
    7,
    8,
    12,
    14,
    16,
    18,
    26,
    100,
    104,
    110,
    116,
    118,
    120,
    72,
)
NOBODY = 0xFFFFFFFF
SIZE = 8192


def text(word: str) -> bytes:
    """Encode a string."""
    return struct.pack("<H", len(word.encode())) + word.encode()


class Client:
    """A connection. Fid 0 is the root of what was attached. Errors of the server are OSErrors with its number."""

    def __init__(self, address: str, port: int, aname: str, uid: int = 0, source: str = "") -> None:
        self._socket = socket.create_connection((address, port), timeout=3, source_address=(source, 0) if source else None)
        self._fids = itertools.count(1)
        self._ask(VERSION, struct.pack("<I", SIZE) + text("9P2000.L"))
        self._ask(ATTACH, struct.pack("<II", 0, NOBODY) + text("nobody") + text(aname) + struct.pack("<I", uid))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def _ask(self, kind: int, body: bytes) -> bytes:
        self._socket.sendall(struct.pack("<IBH", 7 + len(body), kind, 0) + body)
        head = self._receive(7)
        length, answer, dummy = struct.unpack("<IBH", head)
        content = self._receive(length - 7)
        if answer == ERROR:
            number = struct.unpack("<I", content[:4])[0]
            raise OSError(number, os.strerror(number))
        return content

    def _receive(self, length: int) -> bytes:
        heard = b""
        while len(heard) < length:
            piece = self._socket.recv(length - len(heard))
            if not piece:
                raise ConnectionError("the server hung up")
            heard += piece
        return heard

    def walk(self, *names: str) -> int:
        """Return a fid of the path below the root, which is not followed where it is a symbolic link."""
        fid = next(self._fids)
        self._ask(WALK, struct.pack("<IIH", 0, fid, len(names)) + b"".join(text(name) for name in names))
        return fid

    def read(self, *names: str) -> bytes:
        """Open and read the beginning of a file, whatever kind of file it is."""
        fid = self.walk(*names)
        self._ask(OPEN, struct.pack("<II", fid, os.O_RDONLY))
        return self._ask(READ, struct.pack("<IQI", fid, 0, 4096))[4:]

    def write(self, content: bytes, name: str, mode: int = 0o644) -> None:
        """Make a file in the root."""
        fid = self.walk()
        self._ask(CREATE, struct.pack("<I", fid) + text(name) + struct.pack("<III", os.O_CREAT | os.O_WRONLY, mode, 0))
        self._ask(WRITE, struct.pack("<IQI", fid, 0, len(content)) + content)
        self._ask(CLUNK, struct.pack("<I", fid))

    def link(self, name: str, target: str) -> None:
        """Make a symbolic link in the root."""
        self._ask(SYMLINK, struct.pack("<I", 0) + text(name) + text(target) + struct.pack("<I", 0))

    def chmod(self, mode: int, *names: str) -> None:
        """Change the mode of a file below the root."""
        self._ask(SETATTR, struct.pack("<IIIIIQQQQQ", self.walk(*names), 1, mode, 0, 0, 0, 0, 0, 0, 0))

    def mknod(self, name: str, mode: int) -> None:
        """Make an empty file, or another kind of node, in the root."""
        self._ask(MKNOD, struct.pack("<I", 0) + text(name) + struct.pack("<IIII", mode, 0, 0, 0))

    def mkdir(self, name: str, mode: int) -> None:
        """Make a directory in the root."""
        self._ask(MKDIR, struct.pack("<I", 0) + text(name) + struct.pack("<II", mode, 0))

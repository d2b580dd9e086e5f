# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The key by which a node's ssh server is known: ed25519, as ssh-keygen makes it and as dropbear wants it."""

from __future__ import annotations

import base64
import contextlib
import os
import struct

from . import host_links
from .errors import HostError
from .rundir import remove

MAGIC = b"openssh-key-v1\0"
TYPE = b"ssh-ed25519"


def make(path: str) -> None:
    """Make a key in OpenSSH's format, and ``PATH.pub`` beside it, unless they are there. Raises LinkError.

    A machine that is switched off soon after can leave both files empty: such a key is made anew.
    """
    with contextlib.suppress(FileNotFoundError):
        if os.path.getsize(path) and os.path.getsize(f"{path}.pub"):
            return
    for leftover in (path, f"{path}.pub"):
        remove(leftover)
    host_links.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path])


def public(path: str) -> str:
    """Return the public half, type and body. Raises OSError."""
    with open(f"{path}.pub", encoding="ascii") as file:
        return file.read().strip()


def private(path: str) -> str:
    """Return all of it, in OpenSSH's format. Raises OSError."""
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read()


def dropbear(path: str) -> bytes:
    """Return it in dropbear's format: its type, and the private and the public half as one string.

    OpenSSH's is described in its PROTOCOL.key. Raises HostError, OSError.
    """
    text = private(path)
    try:
        blob = base64.b64decode("".join(text.split("-----")[2].split()), validate=True)
        if not blob.startswith(MAGIC + _string(b"none")):
            raise ValueError
        rest = blob[len(MAGIC) :]
        # Cipher, derivation of its key and what that needs; then a number of keys, which is one; the public half, and all of it.
        for dummy in range(3):
            rest = _first(rest)[1]
        own = _first(_first(rest[4:])[1])[0]
        # Two numbers that are the same show that it was deciphered.
        type_, rest = _first(own[8:])
        halves = _first(_first(rest)[1])[0]
        if type_ != TYPE or len(halves) != 64:
            raise ValueError
    except (IndexError, ValueError, struct.error) as error:
        wanted = "an ed25519 key in OpenSSH's format without a passphrase"
        raise HostError(f"{path} is not {wanted}: remove it, and another is made") from error
    return _string(TYPE) + _string(halves)


def _string(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def _first(content: bytes) -> tuple[bytes, bytes]:
    """Return the string that comes first, and what follows it."""
    size = struct.unpack(">I", content[:4])[0]
    return content[4 : 4 + size], content[4 + size :]

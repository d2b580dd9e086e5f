# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections of root's to sockets that programs of an experiment made, in directories of their own.

Such a program can put a link in the place of its socket, to that of another experiment. What root says there would be heard by the wrong
one: a configuration with keys, commands for a switch. So whoever listens must have the id that the directory belongs to.
"""

from __future__ import annotations

import errno
import os
import socket
import struct

CREDENTIALS = struct.Struct("=iII")


def connect(connection: socket.socket, path: str) -> None:
    """Connect to a socket. Raises OSError, also when it is not that of its directory's owner."""
    owner = os.stat(os.path.dirname(path)).st_uid
    connection.connect(path)
    dummy, uid, dummy = CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
    if uid != owner:
        connection.close()
        raise OSError(errno.EPERM, f"what listens at {path} runs as the id {uid}, and not as its owner {owner}")

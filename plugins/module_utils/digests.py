# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files known by their content: digests, remembered, so that hundreds of MB are not read each time somebody asks."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterable

from .rundir import host_lock, read_json, write_json

PIECE = 1 << 20
# A file that was written to this short a time ago may be written to again without another time to show for it; nanoseconds.
FRESH = 2 * 10**9


def digests(directory: str, paths: Iterable[str]) -> dict[str, str]:
    """Return the digest of each file, as far as they are there and can be read.

    They are remembered in ``directory``, beside all that changes when a file does; whoever asks at the same time waits.
    """
    found: dict[str, str] = {}
    # Whoever reads a disk for the first time takes a while.
    with host_lock(directory, 900.0):
        record = f"{directory}/digests.json"
        known = read_json(record)
        before = dict(known)
        for path in paths:
            with contextlib.suppress(OSError):
                found[path] = _digest(path, known)
        if known != before:
            write_json(record, {path: entry for path, entry in known.items() if os.path.exists(path)})
    return found


def _digest(path: str, known: dict[str, object]) -> str:
    """Return the digest of a file, and remember it in ``known``. Raises OSError."""
    with open(path, "rb") as file:
        facts = _facts(os.fstat(file.fileno()))
        entry = known.get(path)
        if isinstance(entry, dict) and entry.get("facts") == facts and isinstance(entry.get("digest"), str):
            return str(entry["digest"])
        digest = _read(file.fileno())
        if _facts(os.fstat(file.fileno())) == facts and time.time_ns() - max(facts[-2:]) > FRESH:
            known[path] = {"facts": facts, "digest": digest}
        return digest


def _facts(status: os.stat_result) -> list[int]:
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _read(descriptor: int) -> str:
    """Return the digest of a file's size and of all of it that is not zero: disks are mostly holes, which need not be read."""
    size = os.fstat(descriptor).st_size
    whole = hashlib.sha256(f"{size}\n".encode())
    nothing = bytes(PIECE)
    offset = 0
    while offset < size:
        try:
            # Pieces begin at multiples of their size: the same content gives the same pieces wherever its holes are.
            offset = os.lseek(descriptor, offset, os.SEEK_DATA) // PIECE * PIECE
        except OSError:
            break  # nothing but a hole up to the end
        piece = os.pread(descriptor, PIECE, offset)
        if piece and piece != nothing[: len(piece)]:
            whole.update(f"{offset}\n".encode())
            whole.update(piece)
        offset += PIECE
    return whole.hexdigest()

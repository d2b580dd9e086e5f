# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of an experiment in the host's own hosts file, as a block between two lines that say whose it is.

What else is in the file stays as it is, to the byte, also when the block has gone.
"""

from __future__ import annotations

import contextlib
import os

from .rundir import host_lock

HOSTS = "/etc/hosts"
# OPEN is said of a file that did not end with a line's end, which it needs before the block.
BEGIN = b"# begin of "
OPEN = " (the file ended here without a newline)"


def put(root: str, mark: str, text: str, path: str = HOSTS) -> bool:
    """Make sure of a block with this text. True when the file was changed."""
    with host_lock(root):
        before = _read(path)
        found = _find(before, mark)
        above, below = (found[0], _without(found[2], mark)) if found else (before, b"")
        return _write(path, before, _joined(above, [*_lines(mark)], text.encode(), below))


def drop(root: str, mark: str, path: str = HOSTS) -> bool:
    """Take the block away. True when there was one."""
    with host_lock(root):
        before = _read(path)
        return _write(path, before, _without(before, mark))


def text(mark: str, path: str = HOSTS) -> str | None:
    """Return the text of the block; None when there is none."""
    found = _find(_read(path), mark)
    return found[1].decode(errors="replace") if found else None


def _lines(mark: str) -> tuple[bytes, bytes]:
    return BEGIN + mark.encode(), f"# end of {mark}".encode()


def _find(content: bytes, mark: str) -> tuple[bytes, bytes, bytes] | None:
    """Return what is before the block, in it and after it."""
    begin, end = _lines(mark)
    lines = content.splitlines(keepends=True)
    first = next((i for i, line in enumerate(lines) if line.rstrip(b"\n") in (begin, begin + OPEN.encode())), None)
    if first is None:
        return None
    # A block whose end was lost is its first line alone: nothing tells our lines from those that follow.
    last = next((i for i, line in enumerate(lines) if i > first and line.rstrip(b"\n") == end), None)
    if last is None:
        last = first
    before = b"".join(lines[:first])
    if lines[first].rstrip(b"\n").endswith(OPEN.encode()):
        before = before[:-1]
    return before, b"".join(lines[first + 1 : last]), b"".join(lines[last + 1 :])


def _joined(above: bytes, lines: list[bytes], text: bytes, below: bytes) -> bytes:
    is_open = bool(above) and not above.endswith(b"\n")
    head = (b"\n" if is_open else b"") + lines[0] + (OPEN.encode() if is_open else b"") + b"\n"
    return above + head + text + lines[1] + b"\n" + below


def _without(content: bytes, mark: str) -> bytes:
    while True:
        found = _find(content, mark)
        if not found:
            return content
        above, dummy, below = found
        if not above or above.endswith(b"\n") or not below:
            content = above + below
            continue
        # The next block, if one is next, remembers how the file ended; other lines need the newline.
        line, dummy, rest = below.partition(b"\n")
        content = above + b"\n" + line + (OPEN.encode() if line.startswith(BEGIN) else b"") + b"\n" + rest


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def _write(path: str, before: bytes, after: bytes) -> bool:
    """Exchange the content of the file. It keeps its owner and mode, and, where it is a mount of its own, its place."""
    if before == after:
        return False
    draft = f"{path}.benito"
    try:
        facts = os.stat(path) if os.path.exists(path) else None
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with open(handle, "wb") as file:
            file.write(after)
            os.fchmod(handle, facts.st_mode & 0o7777 if facts else 0o644)
            os.fchown(handle, *((facts.st_uid, facts.st_gid) if facts else (0, 0)))
        os.replace(draft, os.path.realpath(path))
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)
        with open(path, "wb") as file:
            file.write(after)
    return True

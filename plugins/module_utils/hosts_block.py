# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of an experiment in the host's own hosts file, as a block between two lines that say whose it is.

What else is in the file stays as it is, to the byte, also when the block has gone. A name there is a name for every program of the host:
so each is NODE.EXPERIMENT.PROJECT, without further dots, and none is one that the host knows already.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import socket
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from .errors import HostError
from .rundir import RunDir, host_lock

HOSTS = "/etc/hosts"
# OPEN is said of a file that did not end with a line's end, which it needs before the block.
BEGIN = b"# begin of "
END = b"# end of "
PART = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?\Z")
LONGEST = 253
# Name servers that do not answer must not hold up more than this.
PATIENT = "timeout:1 attempts:1"
OPEN = " (the file ended here without a newline)"


def qualified(rundir: RunDir, names_by_address: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Return the text of an experiment's block. Names that no host name can be are left out. Raises HostError."""
    domain = f"{rundir.experiment}.{rundir.project}"
    if not (PART.match(rundir.experiment) and PART.match(rundir.project)):
        return ""
    lines = []
    for address, names in names_by_address:
        full = [f"{name}.{domain}" for name in names if PART.match(name) and len(name) + len(domain) < LONGEST]
        if full:
            try:
                lines.append(f"{ipaddress.IPv4Address(address)}\t{' '.join(full)}\n")
            except ValueError as error:
                raise HostError(f"names of {full[0]}: {error}") from error
    return "".join(lines)


def known_otherwise(mark: str, wanted: str, path: str = HOSTS) -> str:
    """Say which name of a block is that of something else for this host; empty when none is."""
    ours = {name for line in (text(mark, path) or "").splitlines() for name in line.split()[1:]}
    others = {}
    for line in _without(_read(path), mark).decode(errors="replace").splitlines():
        words = line.partition("#")[0].split()
        others.update({name.lower().rstrip("."): words[0] for name in words[1:]})
    names = {name: line.split()[0] for line in wanted.splitlines() for name in line.split()[1:]}
    for name in names:
        if name.lower() in others:
            return f"the name {name} is that of {others[name.lower()]} in {path}: rename the node, the experiment or the project"
    for name, address in _looked_up([name for name in names if name not in ours]):
        if address != names[name]:
            return f"the name {name} is that of {address} for this host: rename the node, the experiment or the project"
    return ""


def _looked_up(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the names that name servers know, each with an address."""
    before = os.environ.get("RES_OPTIONS")
    os.environ["RES_OPTIONS"] = PATIENT
    try:
        if not names or _address(names[0]) is None:
            # Where no name server answers, none knows a name.
            return []
        with ThreadPoolExecutor(16) as pool:
            return [(name, address) for name, address in zip(names, pool.map(_address, names)) if address]
    finally:
        del os.environ["RES_OPTIONS"]
        if before is not None:
            os.environ["RES_OPTIONS"] = before


def _address(name: str) -> str | None:
    """Look up a name as it stands; empty when it is unknown, None when no name server says so."""
    try:
        return str(socket.getaddrinfo(f"{name}.", None, type=socket.SOCK_STREAM)[0][4][0])
    except socket.gaierror as error:
        return None if error.errno == socket.EAI_AGAIN else ""
    except UnicodeError:
        return ""


def foreign(path: str = HOSTS) -> bytes:
    """Return what is in the file besides the blocks of experiments."""
    kept, ours = [], False
    for line in _read(path).splitlines(keepends=True):
        ours = ours or line.startswith(BEGIN)
        if not ours:
            kept.append(line)
        ours = ours and not line.startswith(END)
    content = b"".join(kept)
    return content if not content or content.endswith(b"\n") else content + b"\n"


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
    return BEGIN + mark.encode(), END + mark.encode()


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
    """Change the content of the file, in its place: another file there would take away what nodes have mounted over it."""
    if before == after:
        return False
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    with open(handle, "r+b", buffering=0) as file:
        try:
            _fill(file.fileno(), after)
        except OSError:
            with contextlib.suppress(OSError):
                _fill(file.fileno(), before)
            raise
    return True


def _fill(handle: int, content: bytes) -> None:
    os.lseek(handle, 0, os.SEEK_SET)
    left = content
    while left:
        left = left[os.write(handle, left) :]
    os.ftruncate(handle, len(content))

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a topology file, whatever format it is in."""

from __future__ import annotations

import os
import stat

from ..diagnostics import Location, Notice, TopologyError
from ..topology import Topology
from .ns import read_ns
from .topdl import read_topdl
from .xml_tags import LIMIT

_EXPECTED = "a topology is TopDL, which starts with <experiment>, or an NS file, whose name ends in .tcl or .ns"


def read_topology(path: str) -> tuple[Topology, tuple[Notice, ...]]:
    """Return the topology in a file, and what its author should know.

    A name that ends in ``.tcl`` or ``.ns`` is an NS file's; else the content must look like TopDL. Raises TopologyError.
    """
    data = _content(path)
    if path.lower().endswith((".tcl", ".ns")):
        return read_ns(_text(data, path), path)
    start = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start and not start.startswith(b"<"):
        raise TopologyError(f"this is not a topology: {_EXPECTED}", Location(path, 1, 1))
    return read_topdl(data, path)


def _content(path: str) -> bytes:
    """Return the bytes of a regular file of at most ``LIMIT`` bytes."""
    where = Location(path)
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            what = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
            raise TopologyError(f"this is {what}: name a topology file", where)
        with open(path, "rb") as file:
            data = file.read(LIMIT + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "this is no file name"
        raise TopologyError(f"the topology file cannot be read: {reason}", where) from None
    if len(data) > LIMIT:
        raise TopologyError(f"the file has more than {LIMIT // 1024 // 1024} MB: no topology is that large", where)
    return data


def _text(data: bytes, path: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TopologyError("this is not text in UTF-8, so no topology", Location(path, line)) from None

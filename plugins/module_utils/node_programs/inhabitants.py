# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is in a node: the processes in its namespaces, whoever started them."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable

from .node import Node

NS_GET_PARENT = 0xB702


def inhabitants(nodes: Iterable[Node]) -> dict[int, list[int]]:
    """Find the processes in nodes: those in one of their namespaces, or in a user namespace below."""
    whose = {}
    for node in nodes:
        for name, handle in node.spaces.items():
            whose[name, os.fstat(handle).st_ino] = id(node)
    found: dict[int, list[int]] = {}
    ours = os.stat("/proc/self/ns/pid").st_ino
    mine = os.stat("/proc/self/ns/user").st_ino
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError):
            spaces = f"/proc/{entry}/ns"
            if os.stat(f"{spaces}/pid").st_ino == ours:
                continue
            where = [(name, os.stat(f"{spaces}/{name}").st_ino) for name in ("net", "mnt", "uts")]
            owner = next((whose[space] for space in where if space in whose), 0) or above(f"{spaces}/user", whose, mine)
            if owner:
                found.setdefault(owner, []).append(int(entry))
    return found


def above(path: str, whose: dict[tuple[str, int], int], mine: int) -> int:
    """Return whose user namespace this is or is below of; 0 for nobody's."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while True:
            inode = os.fstat(handle).st_ino
            if inode == mine or ("user", inode) in whose:
                return whose.get(("user", inode), 0)
            upper = fcntl.ioctl(handle, NS_GET_PARENT)
            os.close(handle)
            handle = upper
    finally:
        os.close(handle)

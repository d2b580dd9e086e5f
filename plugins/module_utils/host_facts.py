# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What placement must know of a host: how much it can carry, how much of that is taken, and by which keys others know it."""

from __future__ import annotations

import glob
import os
import re

from . import guest_status, guests, lifecycle
from .rundir import existing

# Where sshd has its keys, unless it was told otherwise.
HOST_KEYS = "/etc/ssh/ssh_host_*_key.pub"
PUBLIC_KEY = re.compile(r"((?:ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,3})(?: .*)?\Z")


def cores() -> int:
    """Return the processors this process may use."""
    return len(os.sched_getaffinity(0)) or 1


def memory(path: str = "/proc/meminfo") -> int:
    """Return the memory of the host in MB."""
    with open(path, encoding="ascii") as file:
        return next((int(line.split()[1]) // 1024 for line in file if line.startswith("MemTotal")), 0)


def held(project: str, experiment: str, root: str) -> int:
    """Return the memory, in MB, of the guests that run here for other experiments than this one."""
    others = [d for d in existing(root) if (d.project, d.experiment) != (project, experiment)]
    return sum(guests.held(lifecycle.process_of(d, name)) for d in others for name in guest_status.known(d))


def host_keys(pattern: str = HOST_KEYS) -> list[str]:
    """Return the host's public SSH keys, type and key without remark."""
    found = []
    for path in sorted(glob.glob(pattern)):
        with open(path, encoding="utf-8", errors="replace") as file:
            key = PUBLIC_KEY.match(file.read(16384).strip())
        if key:
            found.append(key.group(1))
    return found

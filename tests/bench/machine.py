# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine that figures are from."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import subprocess
from pathlib import Path

ACCELERATOR = Path("/var/lib/benito/accelerator.json")


def first(pattern: str, text: str, default: str = "?") -> str:
    """Return what the pattern's group finds."""
    match = re.search(pattern, text, re.MULTILINE)
    return match[1].strip() if match else default


def describe() -> dict[str, str]:
    """Return what to know of this machine and of the day, in the order in which it is said."""
    qemu = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=False).stdout
    memory = int(first(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(), "0")) / (1 << 20)
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "": first(r"^model name\s*:(.*)", Path("/proc/cpuinfo").read_text()),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory:.0f} GiB",
        "kernel": platform.release(),
        "QEMU": first(r"version (\S+)", qemu),
        "accelerator": accelerator(),
        "Python": platform.python_version(),
        "load when it began": f"{os.getloadavg()[0]:.1f}",
    }


def accelerator() -> str:
    """Return the accelerator that guests have here, where it is known."""
    try:
        kernels = json.loads(ACCELERATOR.read_text())["kernels"]
        return "/".join(sorted({kernel["accelerator"] for kernel in kernels.values()})) or "unknown"
    except (OSError, ValueError, KeyError):
        return "unknown"

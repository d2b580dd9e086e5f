# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest says of itself, read from the file behind its state port. Whatever it writes is data and is not trusted.

boot KERNEL                   the agent has started; everything before it belongs to an earlier boot
configured KEY                the configuration with this key is applied
asleep                        it has nothing to do yet, and waits to be woken up
booted UPTIME                 the guest is up, seconds after its kernel's start
control-address A.B.C.D       what the lab's DHCP server gave it
start-command running
start-command exit N
error TEXT                    something is not as it was configured
mended SUBJECT                what errors "SUBJECT: ..." complained of is over
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .processes import end_of

LIMIT = 1 << 18
SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
ADDRESS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}")
STATUS = re.compile(r"exit ([0-9]{1,3})")


@dataclass(frozen=True)
class BootState:
    """The latest boot of a guest. ``start_command`` is None, "running" or its exit status; ``faults`` counts its errors so far."""

    boots: int = 0
    booted: bool = False
    configured: str = ""
    uptime: float | None = None
    start_command: str | int | None = None
    errors: tuple[str, ...] = ()
    faults: int = 0
    control_address: str = ""
    asleep: bool = False


def parse(text: str) -> BootState:
    """Understand the lines of a state file; what is not understood is passed over."""
    boots = 0
    booted = False
    configured = ""
    uptime: float | None = None
    command: str | int | None = None
    errors: list[str] = []
    faults = 0
    address = ""
    asleep = False
    for line in text.splitlines():
        words = "".join(c if c.isprintable() else "?" for c in line).split(" ", 1)
        word, rest = words[0], "".join(words[1:])
        if word == "boot":
            boots, booted, configured, uptime, command, errors = boots + 1, False, "", None, None, []
            address, asleep = "", False
        elif word == "asleep":
            asleep = True
        elif word == "configured":
            configured, errors = rest[:64], []
        elif word == "booted":
            booted = True
            uptime = float(rest) if SECONDS.fullmatch(rest) else None
        elif word == "control-address" and ADDRESS.fullmatch(rest):
            address = rest
        elif word == "start-command" and rest == "running":
            command = "running"
        elif word == "start-command" and (status := STATUS.fullmatch(rest)):
            command = int(status.group(1))
        elif word == "error":
            errors.append(rest[:200])
            faults += 1
        elif word == "mended":
            errors = [error for error in errors if not error.startswith(f"{rest}:")]
    return BootState(boots, booted, configured, uptime, command, tuple(errors[-5:]), faults, address, asleep)


def read(path: str) -> BootState:
    """Read the state file of a guest, which that guest's QEMU owns."""
    return parse(end_of(path, LIMIT).decode("ascii", errors="replace"))

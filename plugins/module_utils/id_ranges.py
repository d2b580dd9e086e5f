# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""User and group ids of an experiment on a host: a range of its own, so that no process of one experiment has an id of another.

The ranges of nodes lie above those of container managers and below 2^31, where ids of accounts never are. Those of machines and switches
have five digits: vde_switch has room for no more where it prints an id without a name, and ends otherwise. They lie where neither systems
nor container managers give any, and an account that has one all the same keeps it. A range is chosen by the experiment's mark, the next
free one where that is taken, and kept in ``ROOT/ID/ids.json`` until swap-out.
"""

from __future__ import annotations

import contextlib
import grp
import hashlib
import pwd
from dataclasses import dataclass

from .errors import HostError
from .rundir import RunDir, existing, host_lock, read_json, write_json

FIRST, SIZE, COUNT = 0x70000000, 0x20000, 2048
# The first of the ids of five digits, and how many an experiment has: for what runs, for process nodes, for what makes templates.
FIRST_SERVICE, SERVICES = 90000, 3


@dataclass(frozen=True)
class IdRange:
    """A range. ``number`` is from 0 to COUNT - 1; the ids of users and of groups are the same."""

    number: int

    @property
    def node_first(self) -> int:
        """What id 0 of a process node is on the host; the 65,536 ids from here on are those of its nodes."""
        return FIRST + self.number * SIZE

    @property
    def service(self) -> int:
        """The id that machines and switches of the experiment run as."""
        return FIRST_SERVICE + SERVICES * self.number

    @property
    def template_maker(self) -> int:
        """The id of a machine that becomes a template, which other experiments will use: no other machine may reach it."""
        return self.service + 2

    @property
    def owner(self) -> int:
        """The id that the user namespaces of process nodes belong to. No program runs as it."""
        return self.service + 1


def id_range(rundir: RunDir) -> IdRange:
    """Return the range of an experiment, chosen when it has none yet; its directory must exist. Raises HostError when none is free."""
    found = recorded(rundir)
    if found:
        return found
    with host_lock(rundir.root):
        # Another thread of ours may have chosen one while this one waited.
        found = recorded(rundir)
        if found:
            return found
        taken = {other.number for other in map(recorded, existing(rundir.root)) if other}
        start = int.from_bytes(hashlib.sha256(rundir.mark.encode()).digest()[:4], "big")
        free = next((n for n in ((start + step) % COUNT for step in range(COUNT)) if n not in taken and not _has_names(n)), None)
        if free is None:
            raise HostError(f"all {COUNT} ranges of ids are taken on this host: swap out an experiment that is not needed any more")
        write_json(f"{rundir.path}/ids.json", {"number": free})
    return IdRange(free)


def _has_names(number: int) -> bool:
    """Tell whether the host has an account or a group with one of the ids of five digits."""
    first = IdRange(number).service
    for id_ in range(first, first + SERVICES):
        for look in (pwd.getpwuid, grp.getgrgid):
            with contextlib.suppress(KeyError):
                look(id_)
                return True
    return False


def recorded(rundir: RunDir) -> IdRange | None:
    """Return the range that an experiment has; None when it has none yet, or its record is damaged."""
    number = read_json(f"{rundir.path}/ids.json").get("number")
    return IdRange(number) if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < COUNT else None

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""User and group ids of an experiment on a host: a range of its own, so that no process of one experiment has an id of another.

The ranges lie above those of container managers and below 2^31, where ids of accounts never are. A range is chosen by the experiment's
mark, the next free one where that is taken, and kept in ``ROOT/ID/ids.json`` until swap-out.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from .errors import HostError
from .rundir import RunDir, existing, host_lock, read_json, write_json

FIRST, SIZE, COUNT = 0x70000000, 0x20000, 2048


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
        return self.node_first + 0x10000

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
        taken = {other.number for other in map(recorded, existing(rundir.root)) if other}
        start = int.from_bytes(hashlib.sha256(rundir.mark.encode()).digest()[:4], "big")
        free = next((n for n in ((start + step) % COUNT for step in range(COUNT)) if n not in taken), None)
        if free is None:
            raise HostError(f"all {COUNT} ranges of ids are taken on this host: swap out an experiment that is not needed any more")
        write_json(f"{rundir.path}/ids.json", {"number": free})
    return IdRange(free)


def recorded(rundir: RunDir) -> IdRange | None:
    """Return the range that an experiment has; None when it has none yet, or its record is damaged."""
    number = read_json(f"{rundir.path}/ids.json").get("number")
    return IdRange(number) if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < COUNT else None

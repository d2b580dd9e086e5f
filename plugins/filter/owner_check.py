# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare what a host has recorded of experiments with the owner who wants to change one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..module_utils.errors import HostError
from ..module_utils.owner import Owner
from ..module_utils.rundir import RunDir
from ..module_utils.untrusted import UntrustedError, loads


def owner_check(records: Mapping[str, str], experiment: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return why the owner may not change the experiment (``refusals``, one for each host), and who loses it (``former``).

    ``records`` are the files experiment.json of each host, one a line. ``experiment`` is what modules are given. Without an id only records
    of its name count; with one, the record of that directory too.
    """
    refusals, former = [], set()
    for host, lines in records.items():
        try:
            former |= _losing(lines, experiment)
        except HostError as error:
            refusals.append(f"{host}: {error}")
    return {"refusals": refusals, "former": sorted(former)}


def _losing(lines: str, experiment: Mapping[str, Any]) -> set[str]:
    """Return the owners that lose the experiment. Raises HostError where it may not be changed."""
    asking = RunDir.from_options({**experiment, "id": experiment.get("id") or "none"})
    found = set()
    for record in _read(lines):
        same_name = (record.get("project"), record.get("experiment")) == (asking.project, asking.experiment)
        if same_name or record.get("id") == experiment.get("id", ""):
            asking.check_record(record)
            recorded = Owner.from_record(record)
            if recorded and asking.owner and not asking.owner.holds(recorded):
                found.add(str(recorded))
    return found


def _read(lines: str) -> Iterator[Mapping[str, Any]]:
    for line in filter(str.strip, lines.splitlines()):
        # A damaged record is none to the host, too.
        with contextlib.suppress(UntrustedError):
            record = loads(line)
            if isinstance(record, Mapping):
                yield record


class FilterModule:
    """The door of the filter."""

    def filters(self) -> dict[str, Callable[..., dict[str, list[str]]]]:
        """Return the filter by its name."""
        return {"owner_check": owner_check}

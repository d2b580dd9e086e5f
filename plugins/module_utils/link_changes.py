# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of links while the experiment runs: interfaces down and up, other values for their shapers.

They last until the next swap-in brings back what the file says. An interface that is down is written down in its guest's launch
record, as ``down``: name of the interface -> its number in the machine. A guest that is started anew has a new record and all its links.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .errors import HostError
from .guest_status import known
from .lifecycle import process_of
from .qmp import Qmp
from .rundir import RunDir, part_id, read_json, write_json
from .shapers import HALVES, Direction, Shaper, live, report, retune, running


@dataclass(frozen=True)
class Interface:
    """A guest's interface: ``number`` is its place in the machine, ``shaper`` what shapes it, if anything does."""

    node: str
    name: str
    substrate: str
    guest: str
    number: int
    shaper: Shaper | None

    @property
    def title(self) -> str:
        """How it is called in results: node and interface."""
        return f"{self.node}:{self.name}"


def interfaces(guests: Sequence[Mapping[str, Any]], shapers: Sequence[Mapping[str, Any]]) -> list[Interface]:
    """Return the interfaces of the guests of the document, with their shapers. Raises HostError."""
    by_end = {(s.node, s.interface): s for s in (Shaper.from_options(entry) for entry in shapers)}
    found = []
    for guest in guests:
        node = str(guest.get("name", ""))
        for number, nic in enumerate(guest.get("interfaces") or []):
            name = str(nic.get("name", ""))
            id_ = part_id(guest.get("id") or node)
            found.append(Interface(node, name, str(nic.get("substrate", "")), id_, number, by_end.get((node, name))))
    return found


def select(found: Sequence[Interface], link: str | None, node: str | None, interface: str | None) -> list[Interface]:
    """Return the interfaces of a link, of a node, or of both, by their names."""
    wanted = {"substrate": link, "node": node, "name": interface}
    return [i for i in found if all(name in (None, getattr(i, part)) for part, name in wanted.items())]


def record_path(rundir: RunDir, guest: str) -> str:
    """Where the launch record of a guest is."""
    return f"{rundir.guest(guest)}/launch.json"


def down(rundir: RunDir) -> dict[tuple[str, str], tuple[str, int]]:
    """Return the interfaces that were taken down: node and interface -> id of the guest and number in its machine."""
    found = {}
    for id_ in known(rundir):
        record = read_json(record_path(rundir, id_))
        for name, number in (record.get("down") or {}).items():
            if isinstance(number, int) and process_of(rundir, id_):
                found[str(record.get("name", id_)), str(name)] = id_, number
    return found


def plug_link(rundir: RunDir, guest: str, name: str, number: int, up: bool) -> None:
    """Give an interface of a running guest its carrier, or take it away. Raises HostError."""
    if not process_of(rundir, guest):
        raise HostError("its guest does not run: swap in again first")
    with Qmp(f"{rundir.guest(guest)}/io/qmp") as qmp:
        qmp.execute("set_link", name=f"nic{number}", up=up)
    record = read_json(record_path(rundir, guest))
    there = {key: value for key, value in (record.get("down") or {}).items() if key != name}
    write_json(record_path(rundir, guest), {**record, "down": there if up else {**there, name: number}})


def restore(rundir: RunDir, check: bool) -> list[dict[str, Any]]:
    """Take up again every interface that was taken down. Returns one result for each."""
    results = []
    for (node, name), (guest, number) in down(rundir).items():
        result = _result(f"{node}:{name}", "up", "taken down earlier", "down", "up")
        _attempt(result, check, plug_link, rundir, guest, name, number, True)
        results.append(result)
    return results


def change(
    rundir: RunDir, wanted: Sequence[Interface], state: str | None, values: Mapping[str, float], directions: Sequence[str], check: bool
) -> list[dict[str, Any]]:
    """Change interfaces: ``state`` up, down or None; new values in the given directions. ``up`` also brings back the file's values.

    Returns one result for each interface, whatever happened to the others.
    """
    there = down(rundir)
    results = []
    for interface in wanted:
        is_down = (interface.node, interface.name) in there
        result = _result(interface.title, "none", "", "", "")
        if state and is_down != (state == "down"):
            result = _result(interface.title, state, "asked for", "down" if is_down else "up", state)
            _attempt(result, check, plug_link, rundir, interface.guest, interface.name, interface.number, state == "up")
        if values or (state == "up" and interface.shaper):
            _attempt(result, False, _retune, rundir, interface, values, directions, check, result)
        results.append(result)
    return results


def _retune(
    rundir: RunDir, interface: Interface, values: Mapping[str, float], directions: Sequence[str], check: bool, result: dict[str, Any]
) -> None:
    shaper = interface.shaper
    if not shaper:
        raise HostError(
            f"nothing shapes it: give {interface.substrate} a capacity, latency or loss in the file, or every guest its own switches, "
            "and swap in again"
        )
    processes = running(rundir, shaper.id)
    for half in HALVES if not values else directions:
        if half not in processes:
            raise HostError("its shaper does not run: swap in again first")
        old = live(report(rundir, shaper.id, half))
        new = _changed(f"{interface.title} {half}", old, values) if values else shaper.direction(half)
        if str(new) == str(old):
            continue
        texts = {"before": f"{half}: {old}", "after": f"{half}: {new}"}
        result.update(changed=True, action=result["action"] if result["action"] != "none" else "retune")
        result.update({key: "; ".join(filter(None, [result[key], text])) for key, text in texts.items()})
        result["reason"] = result["reason"] or "asked for"
        if not check:
            retune(rundir, shaper.id, half, new)


def _changed(name: str, old: Direction, values: Mapping[str, float]) -> Direction:
    new = replace(old, **dict(values))
    return Direction.from_options(name, vars(new))


def _result(name: str, action: str, reason: str, before: str, after: str) -> dict[str, Any]:
    return {"name": name, "action": action, "changed": action != "none", "reason": reason, "before": before, "after": after}


def _attempt(result: dict[str, Any], check: bool, step: Any, *arguments: Any) -> None:
    if check:
        return
    try:
        step(*arguments)
    except (HostError, OSError) as error:
        result.update(failed=True, msg=str(error))

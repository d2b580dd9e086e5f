# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one reader of results: the answers of hosts go in, checked records come out.

A host may be a machine of the experiment that carries process nodes, and root of that machine decides every byte of its answers.
So a host is believed only about its own nodes, which the plan knows; a field that the schema does not know is dropped; a value that
a field cannot have is as if nothing had been said; and each text is bounded and printable. The schema is the records below: each field
names its check. Paths of programs are no part of it: the controller knows them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Address
from typing import Any, TypeVar

MOST_ENTRIES = 20_000
_PUBLIC_KEY = re.compile(r"((?:ssh|ecdsa|sk)-[a-z0-9@.-]{1,60} [A-Za-z0-9+/]{4,2000}={0,3})(?: [^\n]*)?\n?")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_WORD = re.compile(r"[A-Za-z0-9_-]{1,40}")

_Check = Callable[[object], Any]
_Record = TypeVar("_Record")


def printable(value: object, longest: int = 1 << 20) -> str:
    """Return text that stays on its line and does nothing to a terminal."""
    text = str(value)
    return "".join(c if c.isprintable() else "?" for c in (text if len(text) <= longest else f"{text[: longest - 3]}..."))


def block(text: str, lines: int = 20, longest: int = 4000) -> str:
    """Return text of several lines that does nothing to a terminal."""
    kept = text[:longest].splitlines()[:lines]
    return "\n".join(printable(line) for line in kept)


def _text(longest: int) -> _Check:
    return lambda value: printable(value, longest) if isinstance(value, str) else ""


def _lines(value: object) -> str:
    return block(value) if isinstance(value, str) else ""


def _one_of(first: str, *others: str) -> _Check:
    """Return a check for one of these words; what is none of them counts as the first."""
    words = (first, *others)
    return lambda value: next((word for word in words if isinstance(value, str) and word == value), first)


def _matches(pattern: re.Pattern[str]) -> _Check:
    return lambda value: str(value) if isinstance(value, str) and pattern.fullmatch(value) else ""


def _whole(low: int, high: int) -> _Check:
    return lambda value: value if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high else None


def _count(value: object) -> int:
    return _PID_OR_COUNT(value) or 0


def _real(value: object) -> float | None:
    """Return a finite number of 0 to 10^12."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 10**12 and math.isfinite(value)
    return value if good else None  # type: ignore[return-value]


def _flag(value: object) -> bool:
    return value is True


def _status(value: object) -> int | str | None:
    return "running" if isinstance(value, str) and value == "running" else _EXIT(value)


def public_key(value: object) -> str:
    """Return a public SSH key, type and key without remark; empty for what is none."""
    found = _PUBLIC_KEY.fullmatch(value) if isinstance(value, str) and len(value) < 8192 else None
    return found[1] if found else ""


def _address(value: object) -> str:
    """Return an IPv4 address that a node may have; empty for what is none."""
    try:
        found = IPv4Address(value) if isinstance(value, str) else IPv4Address(0)
    except ValueError:
        return ""
    return "" if found.is_unspecified or found.is_loopback or found.is_multicast or found.is_reserved else str(found)


def _list(check: _Check) -> _Check:
    """Return a check for a list, of which the entries that pass are kept."""

    def each(value: object) -> tuple[Any, ...]:
        entries = value[:MOST_ENTRIES] if isinstance(value, (list, tuple)) else ()
        return tuple(found for entry in entries if (found := check(entry)) not in (None, ""))

    return each


def _table(checks: Mapping[str, _Check]) -> _Check:
    """Return a check for a mapping with these names, None for what is no mapping."""
    return lambda value: {name: check(value.get(name)) for name, check in checks.items()} if isinstance(value, Mapping) else None


_EXIT, _PID, _PID_OR_COUNT = _whole(-255, 255), _whole(1, 1 << 30), _whole(0, 1 << 62)
_HALVES = ("out", "in")
_DIRECTION = ("capacity", "spread", "latency", "jitter", "loss", "duplication", "burst")


def _by(check: _Check, name: str = "") -> dict[str, Any]:
    """Return what the schema says of a field: its check, and its name in answers where that is no name in Python."""
    return {"check": check, "name": name}


def _record(kind: type[_Record]) -> _Check:
    return lambda value: _read(kind, value) if isinstance(value, Mapping) else None


def _read(kind: type[_Record], said: object) -> _Record:
    """Return a record of what was said, whatever that is."""
    found = said if isinstance(said, Mapping) else {}
    values = {f.name: f.metadata["check"](found.get(f.metadata["name"] or f.name)) for f in fields(kind)}  # type: ignore[arg-type]
    return kind(**values)


def plain(record: object) -> dict[str, Any]:
    """Return a record as mappings and lists, under the names that answers have."""

    def value(found: Any) -> Any:
        if isinstance(found, tuple):
            return [value(entry) for entry in found]
        return plain(found) if hasattr(found, "__dataclass_fields__") else found

    return {f.metadata["name"] or f.name: value(getattr(record, f.name)) for f in fields(record)}  # type: ignore[arg-type]


@dataclass(frozen=True)
class GuestReport:
    """What a host says of one of its nodes."""

    name: str = field(metadata=_by(_text(64)))
    state: str = field(metadata=_by(_one_of("unknown", "absent", "stopped", "dead", "running", "booted")))
    action: str = field(metadata=_by(_matches(_WORD)))
    changed: bool = field(metadata=_by(_flag))
    failed: bool = field(metadata=_by(_flag))
    reason: str = field(metadata=_by(_text(300)))
    msg: str = field(metadata=_by(_lines))
    detail: str = field(metadata=_by(_text(500)))
    exit_status: int | str | None = field(metadata=_by(_status))
    uptime: float | None = field(metadata=_by(_real))
    pid: int | None = field(metadata=_by(_PID))
    start: str = field(metadata=_by(_one_of("", "cold", "warm")))
    control_address: str = field(metadata=_by(_address))
    ssh_host_key: str = field(metadata=_by(public_key))
    # Only that there is a way into it by a program of its host: which program that is follows from its kind.
    entered: bool = field(metadata=_by(lambda value: value is True or (isinstance(value, str) and bool(value)), "entry"))


@dataclass(frozen=True)
class SwitchReport:
    """What a host says of a switch."""

    name: str = field(metadata=_by(_text(64)))
    id: str = field(metadata=_by(_text(64)))
    state: str = field(metadata=_by(_one_of("dead", "running")))
    pid: int | None = field(metadata=_by(_PID))
    plugged: tuple[int, ...] = field(metadata=_by(_list(_PID_OR_COUNT)))


@dataclass(frozen=True)
class ShaperReport:
    """What a host says of a shaper."""

    name: str = field(metadata=_by(_text(130)))
    id: str = field(metadata=_by(_text(64)))
    node: str = field(metadata=_by(_text(64)))
    interface: str = field(metadata=_by(_text(64)))
    substrate: str = field(metadata=_by(_text(64)))
    state: str = field(metadata=_by(_one_of("dead", "running")))
    pid: int | None = field(metadata=_by(_PID))
    pids: dict[str, int | None] | None = field(metadata=_by(_table(dict.fromkeys(_HALVES, _PID))))
    out: dict[str, float | None] | None = field(metadata=_by(_table(dict.fromkeys(_DIRECTION, _real))))
    inward: dict[str, float | None] | None = field(metadata=_by(_table(dict.fromkeys(_DIRECTION, _real)), "in"))
    queued: dict[str, int] | None = field(metadata=_by(_table(dict.fromkeys(_HALVES, _count))))
    down: bool = field(metadata=_by(_flag))


@dataclass(frozen=True)
class CableReport:
    """What a host says of a cable."""

    name: str = field(metadata=_by(_text(130)))
    id: str = field(metadata=_by(_text(64)))
    peer: str = field(metadata=_by(_text(64)))
    transport: str = field(metadata=_by(_matches(_WORD)))
    state: str = field(metadata=_by(_one_of("connecting", "connected", "broken")))
    remakes: int = field(metadata=_by(_count))
    since: str = field(metadata=_by(_matches(_MOMENT)))
    detail: str = field(metadata=_by(_text(300)))
    pids: tuple[int, ...] = field(metadata=_by(_list(_PID)))


@dataclass(frozen=True)
class ServerReport:
    """What a host says of the server of shared directories."""

    state: str = field(metadata=_by(_one_of("absent", "running", "dead")))
    pid: int | None = field(metadata=_by(_PID))
    listen: str = field(metadata=_by(_text(64)))
    account: str = field(metadata=_by(_text(64)))


@dataclass(frozen=True)
class ControlReport:
    """What a host says of the control net."""

    state: str = field(metadata=_by(_one_of("", "absent", "up", "broken")))
    mode: str = field(metadata=_by(_one_of("", "nat", "bridge", "ports", "none")))
    name: str = field(metadata=_by(_text(64)))
    interface: str = field(metadata=_by(_text(64)))
    detail: str = field(metadata=_by(_text(500)))


@dataclass(frozen=True)
class OwnerReport:
    """The owner of the experiment that a host has recorded; ``text`` is all of it as one line."""

    user: str = field(metadata=_by(_text(255)))
    controller: str = field(metadata=_by(_text(255)))
    fingerprint: str = field(metadata=_by(_text(64)))
    since: str = field(metadata=_by(_text(64)))
    text: str = field(metadata=_by(_text(700)))


@dataclass(frozen=True)
class HostReport:
    """What a host says of all but its nodes. ``pnode`` and ``host`` are the controller's words for it."""

    pnode: str = field(metadata=_by(_text(64)))
    host: str = field(metadata=_by(_text(255)))
    control: ControlReport | None = field(metadata=_by(_record(ControlReport)))
    switches: tuple[SwitchReport, ...] = field(metadata=_by(_list(_record(SwitchReport))))
    shapers: tuple[ShaperReport, ...] = field(metadata=_by(_list(_record(ShaperReport))))
    down: tuple[str, ...] = field(metadata=_by(_list(_text(130))))
    cables: tuple[CableReport, ...] = field(metadata=_by(_list(_record(CableReport))))
    server: ServerReport | None = field(metadata=_by(_record(ServerReport)))
    owner: OwnerReport | None = field(metadata=_by(_record(OwnerReport)))


@dataclass(frozen=True)
class HostFacts:
    """What a host of the pool has: memory in MB, processors, memory that other experiments hold, and public SSH keys."""

    cores: int | None = field(metadata=_by(_whole(1, 1 << 16)))
    memory: int | None = field(metadata=_by(_whole(1, 1 << 40)))
    held: int = field(metadata=_by(_count))
    host_keys: tuple[str, ...] = field(metadata=_by(_list(public_key)))


def host_of(node: Mapping[str, Any]) -> str:
    """Return the host that may speak of a node: the machine that carries it, else its pnode."""
    return str(node.get("carrier") or node.get("pnode"))


def guest_reports(nodes: Iterable[Mapping[str, Any]], answers: Mapping[str, object]) -> dict[str, GuestReport]:
    """Return what hosts say of their nodes, by name of a node.

    ``nodes`` have ``name``, ``pnode`` and ``carrier`` as `benito_node` has; ``answers`` has for each host the list that it returned.
    What a host says of a node that it does not have is dropped.
    """
    if not isinstance(answers, Mapping):
        raise TypeError("what hosts said must be a mapping of hosts to their lists of guests")
    hosts = {str(node["name"]): host_of(node) for node in nodes}
    found: dict[str, GuestReport] = {}
    for host, entries in answers.items():
        for entry in entries[:MOST_ENTRIES] if isinstance(entries, (list, tuple)) else ():
            name = entry.get("name") if isinstance(entry, Mapping) else None
            if isinstance(name, str) and hosts.get(name) == host:
                found[str(name)] = _read(GuestReport, entry)
    return found


def host_report(pnode: str, host: str, said: object) -> HostReport:
    """Return what a host says of its switches, shapers, cables, server and control net."""
    found = said if isinstance(said, Mapping) else {}
    return _read(HostReport, {**found, "pnode": pnode, "host": host})


def host_facts(said: object) -> HostFacts:
    """Return what a host of the pool says that it has."""
    return _read(HostFacts, said)


def failure_text(failures: Mapping[str, object]) -> str:
    """Return what went wrong on each host, for people: ``failures`` has a text, or a list of texts, for each host."""
    told = []
    for host, said in failures.items():
        texts = said[:20] if isinstance(said, (list, tuple)) else [said]
        told.append(f"{printable(host)}: " + "\n".join(block(text) if isinstance(text, str) else "failed" for text in texts))
    return "\n".join(told)

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose word a setting or an attribute is, and the bounds within which a topology file may choose.

A topology may come from a stranger. What concerns nothing but its own experiment is the file's word. What touches the hosts, their
networks, names and accounts, or other experiments, is the lab's word: options, the environment, extra variables. Where both have a say, the
file chooses within bounds, and settings that are the lab's draw them. The tables of settings and attributes have a `Word` in each row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

from .diagnostics import Location, TopologyError, one_line
from .platforms import kind_of
from .setting_values import IMAGES, parse_words

FILE, LAB, BOTH = "file", "lab", "both within bounds"

# What a file may make networks of: RFC 1918, and what RFC 6598 keeps for networks behind a translator.
_PRIVATE = tuple(IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"))
# Modes of the control net that open no port of a host and bridge none of its interfaces.
_MODES = ("nat", "none")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/-]{0,254}")


@dataclass(frozen=True)
class Word:
    """Whose word a row of a table is.

    ``bound`` is handed a value of a file and the lab's settings by name, and says why the file may not have it; empty when it may.
    Where that follows from the plan alone (which host, which network), there is none here, and the plan checks. ``settings`` are those by
    which the lab allows more.
    """

    whose: str
    bound: Callable[[Any, Mapping[str, Any]], str] | None = None
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Allowed:
    """What the lab allows by name: ``all`` there is, or these ``names``."""

    all: bool = False
    names: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        """Whether it allows anything."""
        return self.all or bool(self.names)

    def has(self, *names: str) -> bool:
        """Whether it allows something that goes by any of these names."""
        return self.all or not self.names.isdisjoint(names)


def parse_allowed(value: Any) -> Allowed:
    """Return what ``true``, ``none`` or names allow. Raises ValueError."""
    if isinstance(value, Allowed):
        return value
    words = ("true" if value else "none",) if isinstance(value, bool) else parse_words(value)
    if [word.lower() for word in words] in (["true"], ["none"], ["false"]):
        return Allowed(all=words[0].lower() == "true")
    if not all(_NAME.fullmatch(word) for word in words):
        raise ValueError
    return Allowed(names=frozenset(words))


FILES_WORD = Word(FILE)
LABS_WORD = Word(LAB)


def within(bound: Callable[[Any, Mapping[str, Any]], str] | None, *settings: str) -> Word:
    """Return the word of a row that both have a say in."""
    return Word(BOTH, bound, settings)


def variable(setting: str) -> str:
    """Return the environment variable that makes a setting."""
    return f"BENITO_{setting.upper()}"


def refusal(what: str, why: str, settings: Iterable[str], where: Location) -> TopologyError:
    """Return the error for a file that chose out of bounds: what it may not, why, and which settings of the lab allow it."""
    names = " or ".join(map(variable, settings))
    return TopologyError(f"{what}: {why}; the lab allows it by {names}, or in a wrapper", where)


def check(name: str, value: Any, word: Word, lab: Mapping[str, Any], where: Location) -> None:
    """Check a value of a file, which the file calls ``name``. Raises TopologyError."""
    why = word.bound(value, lab) if word.bound else ""
    if why:
        raise refusal(f"{name} may not be {one_line(written(value))} in a topology file", why, word.settings, where)


def written(value: Any) -> str:
    """Return a setting's value as it is written in a topology file."""
    if isinstance(value, Mapping):
        return ",".join(f"{k}:{v}" for k, v in value.items())
    if isinstance(value, frozenset):
        return ",".join(str(v) for v in sorted(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def same(setting: str) -> Word:
    """Return the word of a name that a file may repeat, and not choose: it is how swap-in and swap-out find what is running."""

    def bound(value: Any, lab: Mapping[str, Any]) -> str:
        return (
            "" if value == lab[setting] else f"it is {lab[setting]} here, and by another name a file could change an experiment that runs"
        )

    return within(bound, setting)


def at_most(setting: str) -> Word:
    """Return the word of a number that has an upper bound, which is a setting."""

    def bound(value: Any, lab: Mapping[str, Any]) -> str:
        most = lab[setting]
        return f"a file may ask for {most} at most" if _number(value) > most else ""

    return within(bound, setting)


def _kind(value: Any, lab: Mapping[str, Any]) -> str:
    physical = kind_of(str(value), lab["platforms"]) == "physical"
    return "physical nodes are hosts of the lab themselves" if physical and not lab["physical_hosts"] else ""


def _image(value: Any, lab: Mapping[str, Any]) -> str:
    return "" if value in (*IMAGES, lab["default_image"]) else f"a file may choose {' or '.join(IMAGES)}"


def _mode(value: Any, lab: Mapping[str, Any]) -> str:
    return "" if value in (*_MODES, lab["control_mode"]) else f"a file may choose {' or '.join(_MODES)}"


def _transport(value: Any, lab: Mapping[str, Any]) -> str:
    allowed = ("ssh", lab["cable"], *lab["cable_transports"])
    wanted = value.values() if isinstance(value, Mapping) else [value]
    foreign = [transport for transport in wanted if transport not in allowed]
    return f"a file may choose {' or '.join(dict.fromkeys(allowed))}, and only the lab knows its network" if foreign else ""


def _vlan(value: Any, lab: Mapping[str, Any]) -> str:
    if any(low <= _number(value) <= high for low, high in lab["cable_vlans"]):
        return ""
    ranges = ", ".join(f"{low}-{high}" for low, high in lab["cable_vlans"])
    return f"VLANs are the lab's networks, and {'a file may choose within ' + ranges if ranges else 'a file may choose none'}"


def _networks(value: Any, lab: Mapping[str, Any]) -> str:
    if lab["control_mode"] == "bridge":
        return "in control_mode bridge it is the lab's own network"
    allowed = [IPv4Network(text) for text in lab["control_networks"] or (lab["control_pool"],)]
    for text in value.values() if isinstance(value, Mapping) else [value]:
        network = IPv4Network(text)
        if not is_private(network):
            return f"{network} is not private"
        if not any(network.subnet_of(one) for one in allowed):
            return f"a file may choose within {', '.join(map(str, allowed))}"
    return ""


def _number(value: Any) -> int:
    """Return a number of a file; 0 for what is none, which is refused where it is read."""
    text = str(value).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def is_private(network: IPv4Network) -> bool:
    """Whether a network is one that a file may make of its own accord."""
    return any(network.subnet_of(block) for block in _PRIVATE)


PHYSICAL_KIND = within(_kind, "physical_hosts")
KNOWN_IMAGE = within(_image, "default_image")
CONTROL_MODE = within(_mode, "control_mode")
CABLE_TRANSPORT = within(_transport, "cable_transports")
CABLE_VLAN = within(_vlan, "cable_vlans")
CONTROL_NETWORK = within(_networks, "control_networks")

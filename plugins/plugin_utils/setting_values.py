# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""How settings are written: each function returns the value a setting gets from a word or a plain value of YAML, or raises ValueError."""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

# MB; with less no image boots, and hosts refuse it.
LEAST_MEMORY = 64
# The images there are, and the memory in MB that a machine with each gets at least where the file does not say.
IMAGES = MappingProxyType({"tiny": LEAST_MEMORY, "debian": 320})
CABLES = ("ssh", "tcp", "udp", "vxlan", "ethernet")

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


@dataclass(frozen=True)
class PortRange:
    """Ports of UDP and TCP, both ends included."""

    low: int
    high: int

    def __str__(self) -> str:
        """Return 20000-29999."""
        return f"{self.low}-{self.high}"


def matching(pattern: re.Pattern[str]) -> Callable[[Any], str]:
    """Return a function that takes texts of a pattern."""

    def parse(value: Any) -> str:
        if not isinstance(value, (str, int)) or not pattern.fullmatch(str(value)):
            raise ValueError
        return str(value)

    return parse


def one_of(*words: str) -> Callable[[Any], str]:
    """Return a function that takes one of some words."""

    def parse(value: Any) -> str:
        if value not in words:
            raise ValueError
        return str(value)

    return parse


def parse_memory(value: Any) -> int:
    """Return a number of MB that a machine can do with."""
    number = parse_count(value)
    if number < LEAST_MEMORY:
        raise ValueError
    return number


def parse_count(value: Any) -> int:
    """Return a whole number from 1 to 1000000."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError
    number = int(value)
    if not 1 <= number <= 1_000_000:
        raise ValueError
    return number


def parse_pass_number(value: Any) -> int:
    """Return the number of a placement pass."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError
    return int(value)


def parse_flag(value: Any) -> bool:
    """Return true or false."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word not in _TRUE + _FALSE:
        raise ValueError
    return word in _TRUE


def parse_per_pass(value: Any) -> Mapping[int, int]:
    """Return numbers by placement pass."""
    if isinstance(value, str):
        value = dict(item.split(":") for item in value.replace(" ", "").split(",") if item)
    if not isinstance(value, Mapping):
        raise ValueError
    return MappingProxyType(
        {parse_pass_number(k): parse_count(v) for k, v in sorted(value.items(), key=lambda item: parse_pass_number(item[0]))}
    )


def parse_passes(value: Any) -> frozenset[int]:
    """Return numbers of placement passes."""
    items = (
        value.replace(" ", "").split(",")
        if isinstance(value, str)
        else value
        if isinstance(value, (list, tuple, set, frozenset))
        else [value]
    )
    return frozenset(parse_pass_number(item) for item in items if item != "")


def parse_pairs(value: Any) -> Mapping[str, str]:
    """Understand pairs of pnodes and a transport; a pair is kept as 0/1, the lower number first."""
    if isinstance(value, str):
        value = dict(item.split(":") for item in value.replace(" ", "").split(",") if item)
    if not isinstance(value, Mapping):
        raise ValueError
    found = {}
    for pair, transport in value.items():
        low, high = sorted(int(end.removeprefix("pnode-")) for end in str(pair).split("/"))
        if low == high or transport not in CABLES:
            raise ValueError
        found[f"{low}/{high}"] = str(transport)
    return MappingProxyType(dict(sorted(found.items())))


def parse_port_range(value: Any) -> PortRange:
    """Return a range of ports above those of services."""
    if isinstance(value, PortRange):
        return value
    low, high = (int(end) for end in str(value).split("-"))
    if not 1024 <= low <= high <= 65535:
        raise ValueError
    return PortRange(low, high)


def parse_directory(value: Any) -> str:
    """Return an absolute directory."""
    path = os.path.expanduser(str(value))
    if not os.path.isabs(path) or not path.isprintable():
        raise ValueError
    return os.path.normpath(path)


def parse_account(value: Any) -> str:
    """Return the name of an account that is neither root nor that of the cables."""
    if not isinstance(value, str) or value in ("root", "benito") or not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", value):
        raise ValueError
    return value


def parse_keys(value: Any) -> tuple[str, ...]:
    """Return public keys, one an entry."""
    lines = value.splitlines() if isinstance(value, str) else value
    if not isinstance(lines, (list, tuple)) or not all(isinstance(line, str) and line.isprintable() for line in lines):
        raise ValueError
    return tuple(line.strip() for line in lines if line.strip())


def parse_transports(value: Any) -> tuple[str, ...]:
    """Return transports of cables, each once."""
    return tuple(dict.fromkeys(one_of(*CABLES)(word) for word in parse_words(value)))


def parse_vlans(value: Any) -> tuple[tuple[int, int], ...]:
    """Return ranges of VLANs, both ends included: ``100-199,300`` or a list of such."""
    ranges = []
    for word in parse_words(value):
        first, dash, last = word.partition("-")
        low, high = int(first), int(last if dash else first)
        if not 1 <= low <= high <= 4094:
            raise ValueError
        ranges.append((low, high))
    return tuple(sorted(ranges))


def parse_words(value: Any) -> tuple[str, ...]:
    """Return the words of a list, or of a text with commas or spaces between them."""
    items = re.split(r"[,\s]+", value) if isinstance(value, str) else [value] if isinstance(value, int) else value
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, (str, int)) and not isinstance(item, bool) for item in items):
        raise ValueError
    return tuple(str(item).strip() for item in items if str(item).strip())

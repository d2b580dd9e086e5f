# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""How settings of the control net are written: networks, ranges of addresses and ports, and the map a lab hands out.

Each function returns the value a setting gets, or raises ValueError; the file of a map is told about with the line.
"""

from __future__ import annotations

import json
import os.path
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from types import MappingProxyType
from typing import Any

from .diagnostics import Location, TopologyError
from .setting_values import parse_words

MODES = ("nat", "bridge", "ports", "none")
_DEVICE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,14}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
# Addresses that mean the host itself, its link alone, or many hosts: no net of ours may touch them.
_SPECIAL = tuple(IPv4Network(text) for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"))
EGRESS = ("none", "public", "all")
# Below are the ports of services; a range of ours must not take them away from the host.
_LEAST_PORT, _MOST_PORT = 1024, 65535


@dataclass(frozen=True)
class Assignment:
    """What a lab hands out for a node: an address, a MAC address in lower case, or both."""

    address: str | None
    mac: str | None


def parse_subnet(value: Any) -> str:
    """Return a network of at least 14 hosts in dotted form."""
    network = IPv4Network(str(value))
    if not 8 <= network.prefixlen <= 28 or any(network.overlaps(special) for special in _SPECIAL):
        raise ValueError
    return str(network)


def parse_private_subnet(value: Any) -> str:
    """Return a network as `parse_subnet` does, if it is private."""
    if not IPv4Network(str(value)).is_private:
        raise ValueError
    return parse_subnet(value)


def parse_subnets(value: Any) -> str | Mapping[int, str]:
    """Return one network, or networks by number of pnode, written as a mapping or as ``0:172.20.1.0/24,1:172.20.2.0/24``."""
    if isinstance(value, str) and ":" in value:
        value = dict(item.split(":") for item in value.replace(" ", "").split(",") if item)
    if not isinstance(value, Mapping):
        return parse_subnet(value)
    found = {int(number): parse_subnet(network) for number, network in value.items()}
    if not found or min(found) < 0:
        raise ValueError
    return MappingProxyType(dict(sorted(found.items())))


def parse_address(value: Any) -> str:
    """Return an address a host may have."""
    address = IPv4Address(str(value))
    if any(address in special for special in _SPECIAL):
        raise ValueError
    return str(address)


def parse_networks(value: Any) -> tuple[str, ...]:
    """Return networks in dotted form, none of which touches special addresses: ``172.16.0.0/12,10.80.0.0/16`` or a list of such."""
    networks = tuple(IPv4Network(word) for word in parse_words(value))
    if any(network.overlaps(special) for network in networks for special in _SPECIAL):
        raise ValueError
    return tuple(map(str, networks))


def parse_egress(value: Any) -> str | tuple[str, ...]:
    """Return what guests reach beyond their host: one of the words of ``EGRESS``, or networks."""
    words = parse_words(value)
    if len(words) == 1 and words[0] in EGRESS:
        return words[0]
    if not words:
        raise ValueError
    return tuple(str(IPv4Network(word)) for word in words)


def parse_ranges(value: Any) -> tuple[tuple[int, int], ...]:
    """Return ranges of addresses as pairs of numbers, both ends inside: ``192.0.2.100-192.0.2.150,192.0.2.7`` or a list of such."""
    items = value.replace(" ", "").split(",") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not items:
        raise ValueError
    ranges = []
    for item in items:
        first, dash, last = str(item).partition("-")
        pair = int(IPv4Address(parse_address(first.strip()))), int(IPv4Address(parse_address(last.strip() if dash else first.strip())))
        if pair[0] > pair[1]:
            raise ValueError
        ranges.append(pair)
    return tuple(sorted(ranges))


def parse_ports(value: Any) -> tuple[int, int]:
    """Return the first and the last port of a range, ``20000-20255``."""
    first, dummy, last = str(value).replace(" ", "").partition("-")
    pair = int(first), int(last)
    if not _LEAST_PORT <= pair[0] <= pair[1] <= _MOST_PORT:
        raise ValueError
    return pair


def parse_device(value: Any) -> str:
    """Return the name of a network interface."""
    if not isinstance(value, str) or not _DEVICE.fullmatch(value):
        raise ValueError
    return value


def parse_map(value: Any) -> Mapping[str, Assignment]:
    """Return assignments by node, from a mapping or from a file.

    A mapping has for each node ``{address: ..., mac: ...}`` or a word or two of them; a file has that as JSON, or lines
    ``NODE ADDRESS MAC`` in which either of the last two may be missing and ``#`` begins a remark.
    Raises TopologyError for the lines of a file.
    """
    if isinstance(value, str):
        return _read_map(os.path.abspath(os.path.expanduser(value)))
    if not isinstance(value, Mapping):
        raise ValueError
    found = {}
    for node, entry in value.items():
        if isinstance(entry, Mapping):
            if set(entry) - {"address", "mac"}:
                raise ValueError
            words = [str(word) for word in (entry.get("address"), entry.get("mac")) if word is not None]
        else:
            words = str(entry).split()
        found[str(node)] = _assignment(words)
    return MappingProxyType(found)


def _read_map(path: str) -> Mapping[str, Assignment]:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(1 << 22)
    except (OSError, UnicodeDecodeError) as error:
        raise TopologyError(
            f"the map of the control net cannot be read: {getattr(error, 'strerror', None) or error}", Location(path)
        ) from None
    if text.lstrip().startswith("{"):
        try:
            return parse_map(json.loads(text))
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise TopologyError("this must be a JSON object of nodes, each with an address, a mac or both", Location(path)) from None
    found: dict[str, Assignment] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            entry = _assignment(words[1:])
        except ValueError:
            raise TopologyError(
                "a line must be NODE ADDRESS MAC, the last two in either order or one of them", Location(path, number)
            ) from None
        if words[0] in found:
            raise TopologyError(f"{words[0][:64]} has a line already: one is enough", Location(path, number))
        found[words[0]] = entry
    return MappingProxyType(found)


def _assignment(words: list[str]) -> Assignment:
    macs = [word.lower().replace("-", ":") for word in words if _MAC.fullmatch(word.lower().replace("-", ":"))]
    addresses = [parse_address(word) for word in words if not _MAC.fullmatch(word.lower().replace("-", ":"))]
    if not words or len(macs) > 1 or len(addresses) > 1 or (macs and int(macs[0][:2], 16) & 1):
        raise ValueError
    return Assignment(addresses[0] if addresses else None, macs[0] if macs else None)

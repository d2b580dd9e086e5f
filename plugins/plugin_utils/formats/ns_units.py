# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The quantities of NS files, by Emulab's rules: what a suffix means, and what is out of bounds.

Each function takes the text of the file and its place, and raises TopologyError when the text is wrong.
"""

from __future__ import annotations

import math
import re
from ipaddress import IPv4Address

from ..diagnostics import Location, TopologyError, one_line

BANDWIDTH_UNITS = {
    **dict.fromkeys(("", "b", "bps"), 0.001),
    **dict.fromkeys(("k", "kb", "kbps", "K", "Kb", "Kbps"), 1.0),
    **dict.fromkeys(("M", "Mb", "Mbps"), 1000.0),
    **dict.fromkeys(("G", "Gb", "Gbps"), 1_000_000.0),
}
# A thousandth of a millisecond for "ns" is what Emulab does.
DELAY_UNITS = {"": 1000.0, "s": 1000.0, "ms": 1.0, "ns": 0.001}
LEAST_BANDWIDTH = 10  # kb/s
LEAST_DELAY = 2  # ms, the finest that Emulab's delay nodes can do
LEAST_LOSS = 0.000005

_EXAMPLES = {"bandwidth": "100Mb", "delay": "10ms"}
_QUANTITY = re.compile(r"([0-9]{1,12}\.?[0-9]{0,12}|\.[0-9]{1,12})(?:e([+-]?[0-9]))?\s*([^\s0-9.]*)", re.ASCII)
_FRACTION = re.compile(r"[0-9]+(\.[0-9]+)?|\.[0-9]+", re.ASCII)
_ADDRESS = re.compile(r"([0-9]{1,3}\.){3}[0-9]{1,3}", re.ASCII)


def parse_bandwidth(text: str, where: Location) -> int:
    """Return kb/s; 0 for ``*``, which leaves the choice to the testbed."""
    if text == "*":
        return 0
    amount, unit = _quantity("bandwidth", text, where)
    if unit not in BANDWIDTH_UNITS:
        raise TopologyError(f"unknown bandwidth unit {one_line(unit)}: it must be b, kb, Mb or Gb, and case matters", where)
    rate = int(amount * BANDWIDTH_UNITS[unit] + 1e-9)
    if rate < LEAST_BANDWIDTH:
        raise TopologyError(f"the bandwidth of {rate} kb/s is too low: it must be at least {LEAST_BANDWIDTH} kb/s", where)
    return rate


def parse_delay(text: str, where: Location) -> int:
    """Return whole milliseconds."""
    amount, unit = _quantity("delay", text, where)
    if unit not in DELAY_UNITS:
        raise TopologyError(f"unknown delay unit {one_line(unit)}: it must be s or ms", where)
    delay = amount * DELAY_UNITS[unit]
    if 0 < delay < LEAST_DELAY:
        raise TopologyError(f"the delay of {decimal(delay)} ms is invalid: it must be either 0 or at least {LEAST_DELAY} ms", where)
    return int(delay + 1e-9)


def parse_loss(text: str, where: Location) -> float:
    """Return the fraction of packets lost."""
    loss = float(text) if _FRACTION.fullmatch(text) else math.inf
    if not (loss == 0 or LEAST_LOSS <= loss <= 1):
        raise TopologyError(f"{one_line(text)} is not a valid loss rate: it must be 0, or from 0.000005 to 1", where)
    return loss


def parse_address(text: str, where: Location) -> str:
    """Return an IPv4 address as a dotted quad without leading zeros."""
    parts = [int(part) for part in text.split(".")] if _ADDRESS.fullmatch(text) else [256]
    if max(parts) > 255:
        raise TopologyError(f"{one_line(text)} is not a valid IP address: it must be like 10.1.1.2", where)
    return ".".join(map(str, parts))


def parse_netmask(text: str, where: Location) -> str:
    """Return a netmask as a dotted quad."""
    netmask = parse_address(text, where)
    inverse = int(IPv4Address(netmask)) ^ 0xFFFFFFFF
    if inverse & (inverse + 1) or not 3 <= inverse <= 0xFFFF:
        raise TopologyError(f"{one_line(text)} is not a netmask from 255.255.0.0 to 255.255.255.252", where)
    return netmask


def is_address(text: str) -> bool:
    """Tell whether a text looks like an IPv4 address, right or wrong."""
    return _ADDRESS.fullmatch(text) is not None


def decimal(value: float) -> str:
    """Write a number in the shortest way without an exponent."""
    return f"{value:.12f}".rstrip("0").rstrip(".")


def _quantity(kind: str, text: str, where: Location) -> tuple[float, str]:
    found = _QUANTITY.fullmatch(text.strip())
    if not found:
        raise TopologyError(f"{one_line(text)} is not a {kind}: it must be a number and a unit, such as {_EXAMPLES[kind]}", where)
    amount, exponent, unit = found.groups()
    return float(f"{amount}e{exponent or 0}"), unit

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shaping at the end node: how the values of a direction become the words of tc's netem in the guest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import HostError

VALUES = ("capacity", "latency", "jitter", "loss", "duplication", "burst")
# As many packets wait for a link as did in Emulab; those that are only on their way come on top.
QUEUE = 50
# In bytes: how large a packet on its way is taken to be.
PACKET = 500
# Where only time is spent and nothing waits, the queue must never be what loses packets.
UNLIMITED = 100000


class NetemError(HostError):
    """A value of shaping cannot be used; the text says what would be right."""


@dataclass(frozen=True)
class Shaped:
    """One direction of an interface: ``out`` or ``in``, and netem's words for it."""

    way: str
    words: str


def shaping(owner: str, netem: Mapping[str, Any]) -> tuple[Shaped, ...]:
    """Return the directions of an interface that are shaped. ``owner`` is the guest, for messages. Raises NetemError."""
    found = []
    for way in ("out", "in"):
        direction = netem.get(way) or {}
        words = netem_words(owner, {name: direction.get(name) for name in VALUES})
        if words:
            found.append(Shaped(way, words))
    return tuple(found)


def netem_words(owner: str, direction: Mapping[str, Any]) -> str:
    """Return netem's words for capacity (kb/s), latency and jitter (ms), loss and duplication (0 to 1), burst (packets); None is absent."""
    value = {name: _number(owner, name, direction[name]) for name in VALUES}
    capacity, latency, jitter, loss, duplication, burst = (value[name] or 0.0 for name in VALUES)
    words = []
    if latency or jitter:
        words.append(f"delay {_text(latency)}ms" + (f" {_text(jitter)}ms" if jitter else ""))
    if loss and burst > 1 and loss < 1:
        # Two states, in one of which all packets are lost: left after BURST packets in the mean, entered so often that LOSS are lost.
        words.append(f"loss gemodel {_text(min(100.0, 100 * loss / (burst * (1 - loss))))}% {_text(100 / burst)}%")
    elif loss:
        words.append(f"loss {_text(100 * loss)}%")
    if duplication:
        words.append(f"duplicate {_text(100 * duplication)}%")
    if capacity:
        words.append(f"rate {round(capacity * 1000)}bit")
    if not words:
        return ""
    under_way = capacity * 1000 * (latency + jitter) / 1000 / 8 / PACKET
    return f"limit {QUEUE + math.ceil(under_way) if capacity else UNLIMITED} {' '.join(words)}"


def _number(owner: str, name: str, value: Any) -> float | None:
    if value is None:
        return None
    largest = 1.0 if name in ("loss", "duplication") else 1e9
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= largest:
        raise NetemError(
            f"guest {owner[:64]!r}: {name} of a shaped interface must be a number from 0 to {largest:g}, not {str(value)[:64]!r}"
        )
    return float(value)


def _text(number: float) -> str:
    """Write a number as tc reads it: without an exponent."""
    return f"{number:.6f}".rstrip("0").rstrip(".")

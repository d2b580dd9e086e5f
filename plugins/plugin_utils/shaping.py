# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""How links behave: from the words of a topology to what happens to packets, at each end and in both directions.

What an interface says holds for it; what it does not say, its substrate says for all its members. A packet
passes two ends: it leaves its node by one (``out``) and reaches the other node by the other (``in``), and each does its part.
Rates are kb/s of whole frames, times ms.

The kind says what a number bounds. ``max`` is the most: no frame goes faster, and jitter only takes away from the latency.
``average`` is the mean: each frame finds up to a quarter more or less capacity, and jitter goes to both sides of the latency.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from .attributes import find
from .diagnostics import Location, TopologyError, listing, one_line
from .topology import Attribute, Interface, Substrate, Topology, find_attribute

METHODS = ("wirefilter", "netem", "none")
AVERAGE_SPREAD = 0.25

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)


@dataclass(frozen=True)
class Direction:
    """What happens to packets one way; None is nothing.

    ``capacity`` in kb/s, of which each frame finds up to the fraction ``spread`` more or less; ``latency`` in ms on average, and
    up to ``jitter`` ms more or less; ``loss`` and ``duplication`` are fractions; ``burst`` is the mean length of a run of lost packets.
    """

    capacity: float | None = None
    spread: float | None = None
    latency: float | None = None
    jitter: float | None = None
    loss: float | None = None
    duplication: float | None = None
    burst: float | None = None


UNSHAPED = Direction()


@dataclass(frozen=True)
class Shape:
    """How an interface is shaped, away from its node (``out``) and towards it (``into``): by ``wirefilter``, or ``netem`` in the guest."""

    method: str
    out: Direction
    into: Direction

    def document(self) -> dict[str, Any]:
        """Return ``out`` and ``in`` as plain JSON. Only a wirefilter knows of spread."""
        ways = {"out": asdict(self.out), "in": asdict(self.into)}
        if self.method != "wirefilter":
            for way in ways.values():
                del way["spread"]
        return ways


@dataclass(frozen=True)
class _Value:
    """A number that a file gives, of what kind it is and where it stands."""

    number: float
    kind: str
    where: Location


@dataclass(frozen=True)
class _Quantity:
    """What can be said of a link: the attribute's name, its bounds, and what it must be."""

    attribute: str
    least: float
    most: float
    right: str


_QUANTITIES: Mapping[str, _Quantity] = MappingProxyType(
    {
        "capacity": _Quantity("capacity", 0, 1e9, "a rate from 0 (no limit) to 1000000000 kb/s"),
        "latency": _Quantity("latency", 0, 600_000, "a time from 0 to 600000 ms"),
        "jitter": _Quantity("jitter", 0, 600_000, "a time from 0 to 600000 ms"),
        "loss": _Quantity("loss", 0, 1, "a fraction from 0 to 1"),
        "duplication": _Quantity("duplication", 0, 0.9, "a fraction from 0 to 0.9"),
        "burst": _Quantity("loss_burst", 1, 1e6, "a mean number of packets from 1 to 1000000"),
    }
)


def shapes(topology: Topology) -> Mapping[tuple[str, str], Shape | None]:
    """Return how each interface of each computer is shaped, by node and interface; None where it is not.

    Raises TopologyError, with the place, for values that mean nothing and for methods that do not go together.
    """
    substrates = {s.name: s for s in topology.substrates}
    general = {s.name: _given(s, f"substrate {s.name}") for s in topology.substrates}
    default = _method(topology.attributes) or "wirefilter"
    found: dict[tuple[str, str], Shape | None] = {}
    users: dict[str, dict[str, list[Interface]]] = {}
    for computer in topology.computers:
        for interface in computer.interfaces:
            owner = f"interface {interface.name} of {computer.name}"
            own = _given(interface, owner)
            if len(interface.substrates) != 1 or interface.substrates[0] not in substrates:
                continue
            substrate = substrates[interface.substrates[0]]
            method = _method(interface.attributes) or _method(substrate.attributes) or default
            shape = _shape(method, {**general[substrate.name], **own}, _reversed(interface, owner), owner)
            found[computer.name, interface.name] = shape
            if shape:
                users.setdefault(substrate.name, {}).setdefault(method, []).append(interface)
    for name, methods in users.items():
        if len(methods) > 1:
            where = min((interfaces[0] for interfaces in methods.values()), key=lambda interface: interface.where).where
            raise TopologyError(
                f"substrate {name} is shaped by {listing(sorted(methods))}: its members must agree on one of them, or have none", where
            )
    return MappingProxyType(found)


def _shape(method: str, there: Mapping[str, _Value], back: Mapping[str, _Value], owner: str) -> Shape | None:
    if method == "none" or not (there or back):
        return None
    # A reverse value is of the kind that the value it differs from has.
    inward = {**there, **{key: _Value(v.number, there[key].kind if key in there else v.kind, v.where) for key, v in back.items()}}
    out, into = _direction(there, owner), _direction(inward, owner)
    return None if out == into == UNSHAPED else Shape(method, out, into)


def _direction(values: Mapping[str, _Value], owner: str) -> Direction:
    numbers = {key: value.number or None for key, value in values.items()}
    capacity, latency, jitter = numbers.get("capacity"), numbers.get("latency"), numbers.get("jitter")
    loss, burst = numbers.get("loss"), numbers.get("burst")
    if jitter:
        bounded = "latency" in values and values["latency"].kind == "max"
        most = (latency or 0) / (2 if bounded else 1)
        if jitter > most:
            right = "half its latency, of which it is the most" if bounded else "its latency"
            raise TopologyError(f"the jitter of {owner} is {jitter:g} ms: it may be {right}, {most:g} ms", values["jitter"].where)
        latency = (latency or 0) - (jitter if bounded else 0)
    if not loss or loss == 1:
        burst = None
    if loss and burst and loss / (1 - loss) > burst:
        raise TopologyError(
            f"the loss_burst of {owner} is {burst:g}: with a loss of {loss:g} it must be at least {loss / (1 - loss):g}",
            values["burst"].where,
        )
    return Direction(
        capacity=capacity,
        spread=AVERAGE_SPREAD if capacity and values["capacity"].kind == "average" else None,
        latency=latency or None,
        jitter=jitter,
        loss=loss,
        duplication=numbers.get("duplication"),
        burst=burst,
    )


def _given(part: Substrate | Interface, owner: str) -> dict[str, _Value]:
    """Return what a substrate or an interface says of itself."""
    found: dict[str, _Value] = {}
    if part.capacity:
        found["capacity"] = _Value(_checked("capacity", part.capacity.rate, owner, part.where), part.capacity.kind, part.where)
    if part.latency:
        found["latency"] = _Value(_checked("latency", part.latency.time, owner, part.where), part.latency.kind, part.where)
    for key in ("jitter", "loss", "duplication", "burst"):
        name = _QUANTITIES[key].attribute
        attribute = find_attribute(part.attributes, "loss") if key == "loss" else find(part.attributes, name)
        if attribute:
            found[key] = _value(key, attribute, owner)
    return found


def _reversed(interface: Interface, owner: str) -> dict[str, _Value]:
    """Return what an interface says of the way towards its node, where that differs."""
    if not interface.attributes:
        return {}
    found = {key: find(interface.attributes, f"reverse_{quantity.attribute}") for key, quantity in _QUANTITIES.items()}
    return {key: _value(key, attribute, owner) for key, attribute in found.items() if attribute}


def _value(key: str, attribute: Attribute, owner: str) -> _Value:
    text = attribute.value.strip()
    if not _NUMBER.fullmatch(text):
        raise TopologyError(
            f"{attribute.name} of {owner} is {one_line(attribute.value)}: it must be {_QUANTITIES[key].right}", attribute.where
        )
    return _Value(_checked(key, float(text), owner, attribute.where, attribute.name), "max", attribute.where)


def _checked(key: str, number: float, owner: str, where: Location, name: str = "") -> float:
    quantity = _QUANTITIES[key]
    if not math.isfinite(number) or not quantity.least <= number <= quantity.most:
        raise TopologyError(f"{name or key} of {owner} is {number:g}: it must be {quantity.right}", where)
    return number


def _method(attributes: tuple[Attribute, ...]) -> str:
    """Return what does the shaping where it is said, or nothing."""
    attribute = find(attributes, "shaping")
    if attribute is None:
        return ""
    word = attribute.value.strip().lower()
    if word not in METHODS:
        raise TopologyError(f"{attribute.name} is {one_line(attribute.value)}: it must be {', '.join(METHODS)}", attribute.where)
    return word

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The topology as its author wrote it: TopDL's own vocabulary, one frozen dataclass a construct.

Every input format is read into these classes and every output is written from them. They hold what
the file says and nothing that was computed; `interpretation.py` gives the words their meaning.
Two objects are equal when they say the same thing, wherever in the file they stood.

Units are TopDL's: rate in kb/s (1000 bit/s), time in ms one way between node and substrate,
storage in MB.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Union

from .diagnostics import NOWHERE, Location


@dataclass(frozen=True)
class Attribute:
    """A name and a value, both plain text. A colon in the name is text, not an XML namespace."""

    name: str
    value: str
    where: Location = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Capacity:
    """Bandwidth; ``rate`` in kb/s, ``kind`` is ``max`` or ``average``."""

    rate: float
    kind: str = "max"


@dataclass(frozen=True)
class Latency:
    """Delay; ``time`` in ms, one way between node and substrate; ``kind`` is ``max`` or ``average``."""

    time: float
    kind: str = "max"


@dataclass(frozen=True)
class ServiceParam:
    """A formal parameter of a service; ``type`` is ``string``, ``int`` or ``float``."""

    name: str
    type: str


@dataclass(frozen=True)
class Service:
    """A service a federation partner offers or imports."""

    name: str
    importers: tuple[str, ...] = ()
    params: tuple[ServiceParam, ...] = ()
    description: str | None = None
    status: str | None = None


@dataclass(frozen=True)
class Substrate:
    """A link (two interfaces) or a LAN (more)."""

    name: str
    capacity: Capacity | None = None
    latency: Latency | None = None
    attributes: tuple[Attribute, ...] = ()
    localnames: tuple[str, ...] = ()
    status: str | None = None
    services: tuple[Service, ...] = ()
    operations: tuple[str, ...] = ()
    where: Location = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Interface:
    """Where an element touches one or more substrates, which it names."""

    name: str
    substrates: tuple[str, ...]
    capacity: Capacity | None = None
    latency: Latency | None = None
    attributes: tuple[Attribute, ...] = ()
    where: Location = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Cpu:
    """A processor type and how many of it."""

    type: str
    count: int = 1
    attributes: tuple[Attribute, ...] = ()


@dataclass(frozen=True)
class OperatingSystem:
    """What should run on a computer; the attribute ``osid`` names an image."""

    name: str | None = None
    version: str | None = None
    distribution: str | None = None
    distributionversion: str | None = None
    attributes: tuple[Attribute, ...] = ()


@dataclass(frozen=True)
class Software:
    """A package (no ``install``) or an archive unpacked at the directory ``install``."""

    location: str
    install: str | None = None
    attributes: tuple[Attribute, ...] = ()


@dataclass(frozen=True)
class Storage:
    """``amount`` in MB; ``persistence`` is ``temporary`` or ``persistent``."""

    amount: float
    persistence: str
    attributes: tuple[Attribute, ...] = ()


@dataclass(frozen=True)
class Computer:
    """A node of the experiment."""

    name: str
    cpus: tuple[Cpu, ...] = ()
    oses: tuple[OperatingSystem, ...] = ()
    software: tuple[Software, ...] = ()
    storage: tuple[Storage, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    localnames: tuple[str, ...] = ()
    status: str | None = None
    services: tuple[Service, ...] = ()
    operations: tuple[str, ...] = ()
    where: Location = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Testbed:
    """Another testbed that takes part in the experiment."""

    uri: str
    type: str
    interfaces: tuple[Interface, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    localnames: tuple[str, ...] = ()
    status: str | None = None
    services: tuple[Service, ...] = ()
    operations: tuple[str, ...] = ()
    where: Location = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class SegmentId:
    """An identity; ``kind`` is uuid, fedid, uri, localname or kerberosUsername."""

    kind: str
    value: str


@dataclass(frozen=True)
class Segment:
    """A part of the experiment that another controller realises."""

    id: SegmentId
    type: str
    uri: str
    interfaces: tuple[Interface, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    where: Location = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Other:
    """An element of a kind TopDL does not know."""

    interfaces: tuple[Interface, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    where: Location = field(default=NOWHERE, compare=False)


Element = Union[Computer, Testbed, Segment, Other]


@dataclass(frozen=True)
class Topology:
    """A whole file, in the order it was written."""

    substrates: tuple[Substrate, ...] = ()
    elements: tuple[Element, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    version: str = "1.0"
    where: Location = field(default=NOWHERE, compare=False)

    @property
    def computers(self) -> tuple[Computer, ...]:
        """The elements that are computers, in file order."""
        return tuple(e for e in self.elements if isinstance(e, Computer))


def find_attribute(attributes: tuple[Attribute, ...], *names: str) -> Attribute | None:
    """Return the first attribute that bears one of the names: where a name stands twice, DETER's first one wins."""
    return next((a for a in attributes if a.name in names), None)

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading TopDL, the XML format of DETER's federation tools.

Lenient about order and white space, strict about meaning: children may stand in any order, and XML white space around a text
is not part of it. For every topology whose texts have no white space around them, reading what `topdl_writer.py` wrote gives the
same topology.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import cast

from ..diagnostics import Notice, TopologyError, listing, one_line
from ..topology import (
    Attribute,
    Capacity,
    Computer,
    Cpu,
    Element,
    Interface,
    Latency,
    OperatingSystem,
    Other,
    Segment,
    SegmentId,
    Service,
    ServiceParam,
    Software,
    Storage,
    Substrate,
    Testbed,
    Topology,
)
from .consistency import check_topology
from .xml_tags import SPACE, Tag, read_tags

_NUMBER = re.compile(r"\+?([0-9]{1,400}(\.[0-9]{0,400})?|\.[0-9]{1,400})([eE][+-]?[0-9]{1,4})?")
_COUNT = re.compile(r"[1-9][0-9]{0,5}")
_KINDS = ("max", "average")
_PERSISTENCES = ("temporary", "persistent")
_STATUSES = ("empty", "active", "inactive", "starting", "terminating", "failed")
_PARAM_TYPES = ("string", "int", "float")
_ID_KINDS = ("uuid", "fedid", "uri", "localname", "kerberosUsername")


def read_topdl(text: bytes | str, name: str) -> tuple[Topology, tuple[Notice, ...]]:
    """Return the topology a TopDL text holds, and what its author should know. ``name`` is the file's, for messages.

    Raises TopologyError, naming line and column, for what is not TopDL or makes no sense.
    """
    root = read_tags(text, name, ("experiment", "topology"), _PARTS)
    topology = root.read(_topology)
    return topology, tuple(sorted((*root.file.notices.all(), *check_topology(topology))))


def _text(tag: Tag) -> str:
    return tag.take_text()


def _number(tag: Tag) -> float:
    text = tag.take_text()
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise TopologyError(f"{tag} is {one_line(text)}: it must be a number, 0 or more, such as 100000 or 2.5", tag.where)
    return float(text)


def _choice(*words: str) -> Callable[[Tag], str]:
    def read(tag: Tag) -> str:
        text = tag.take_text()
        if text not in words:
            raise TopologyError(f"{tag} is {one_line(text)}: it must be {listing(words[:-1])} or {words[-1]}", tag.where)
        return text

    return read


def _choice_or(synonyms: dict[str, str], *words: str) -> Callable[[Tag], str]:
    """Like ``_choice``, taking with a notice what other programs are known to write."""
    choose = _choice(*words)

    def read(tag: Tag) -> str:
        word = synonyms.get(tag.text)
        if word is None:
            return choose(tag)
        tag.notice(f"{tag} is {one_line(tag.take_text())}, taken for {word}")
        return word

    return read


_kind = _choice_or({"avg": "average"}, *_KINDS)
_persistence = _choice_or({"true": "persistent", "false": "temporary"}, *_PERSISTENCES)
_status = _choice(*_STATUSES)


def _attribute(tag: Tag) -> Attribute:
    return Attribute(name=tag.one("attribute", _text), value=tag.one("value", _text), where=tag.where)


def _capacity(tag: Tag) -> Capacity:
    return Capacity(rate=tag.one("rate", _number), kind=tag.one("kind", _kind))


def _latency(tag: Tag) -> Latency:
    return Latency(time=tag.one("time", _number), kind=tag.one("kind", _kind))


def _param(tag: Tag) -> ServiceParam:
    return ServiceParam(name=tag.one("name", _text), type=tag.one("type", _choice(*_PARAM_TYPES)))


def _service(tag: Tag) -> Service:
    return Service(
        name=tag.one("name", _text),
        importers=tag.all("importer", _text),
        params=tag.all("param", _param),
        description=tag.optional("description", _text),
        status=tag.optional("status", _status),
    )


def _substrate(tag: Tag) -> Substrate:
    return Substrate(
        name=tag.one("name", _text),
        capacity=tag.optional("capacity", _capacity),
        latency=tag.optional("latency", _latency),
        attributes=tag.all("attribute", _attribute),
        localnames=tag.all("localname", _text),
        status=tag.optional("status", _status),
        services=tag.all("service", _service),
        operations=tag.all("operation", _text),
        where=tag.where,
    )


def _interface(tag: Tag) -> Interface:
    substrates = tag.all("substrate", _text)
    if not substrates:
        raise TopologyError(f"{tag} has no <substrate>: it must name the substrate it is on", tag.where)
    return Interface(
        name=tag.optional("name", _text) or "",
        substrates=substrates,
        capacity=tag.optional("capacity", _capacity),
        latency=tag.optional("latency", _latency),
        attributes=tag.all("attribute", _attribute),
        where=tag.where,
    )


def _interfaces(tag: Tag) -> tuple[Interface, ...]:
    """Return an element's interfaces, those without a name under the lowest free of inf000, inf001, ..."""
    found = tag.all("interface", _interface)
    taken = {interface.name for interface in found}
    free = (name for name in (f"inf{number:03d}" for number in range(2 * len(found))) if name not in taken)
    return tuple(interface if interface.name else replace(interface, name=next(free)) for interface in found)


def _cpu(tag: Tag) -> Cpu:
    count = tag.take_option("count", "1").strip(SPACE)
    if not _COUNT.fullmatch(count):
        raise TopologyError(f"the count of {tag} is {one_line(count)}: it must be a whole number from 1", tag.where)
    return Cpu(type=tag.one("type", _text), count=int(count), attributes=tag.all("attribute", _attribute))


def _os(tag: Tag) -> OperatingSystem:
    return OperatingSystem(
        name=tag.optional("name", _text),
        version=tag.optional("version", _text),
        distribution=tag.optional("distribution", _text),
        distributionversion=tag.optional("distributionversion", _text),
        attributes=tag.all("attribute", _attribute),
    )


def _software(tag: Tag) -> Software:
    return Software(
        location=tag.one("location", _text), install=tag.optional("install", _text), attributes=tag.all("attribute", _attribute)
    )


def _storage(tag: Tag) -> Storage:
    return Storage(
        amount=tag.one("amount", _number), persistence=tag.one("persistence", _persistence), attributes=tag.all("attribute", _attribute)
    )


def _computer(tag: Tag) -> Computer:
    return Computer(
        name=tag.one("name", _text),
        cpus=tag.all("cpu", _cpu),
        oses=tag.all("os", _os),
        software=tag.all("software", _software),
        storage=tag.all("storage", _storage),
        interfaces=_interfaces(tag),
        attributes=tag.all("attribute", _attribute),
        localnames=tag.all("localname", _text),
        status=tag.optional("status", _status),
        services=tag.all("service", _service),
        operations=tag.all("operation", _text),
        where=tag.where,
    )


def _testbed(tag: Tag) -> Testbed:
    return Testbed(
        uri=tag.one("uri", _text),
        type=tag.one("type", _text),
        interfaces=_interfaces(tag),
        attributes=tag.all("attribute", _attribute),
        localnames=tag.all("localname", _text),
        status=tag.optional("status", _status),
        services=tag.all("service", _service),
        operations=tag.all("operation", _text),
        where=tag.where,
    )


def _segment_id(tag: Tag) -> SegmentId:
    found = [SegmentId(kind, value) for kind in _ID_KINDS for value in tag.all(kind, _text)]
    if len(found) != 1:
        raise TopologyError(f"{tag} holds {len(found)} identities: it must hold one of {listing(_ID_KINDS)}", tag.where)
    return found[0]


def _segment(tag: Tag) -> Segment:
    return Segment(
        id=tag.one("id", _segment_id),
        type=tag.one("type", _text),
        uri=tag.one("uri", _text),
        interfaces=_interfaces(tag),
        attributes=tag.all("attribute", _attribute),
        where=tag.where,
    )


def _other(tag: Tag) -> Other:
    return Other(interfaces=_interfaces(tag), attributes=tag.all("attribute", _attribute), where=tag.where)


def _element(tag: Tag) -> Element:
    found: list[Element] = [
        *tag.all("computer", _computer),
        *tag.all("testbed", _testbed),
        *tag.all("segment", _segment),
        *tag.all("other", _other),
    ]
    if len(found) != 1:
        raise TopologyError(f"{tag} holds {len(found) or 'none'} of computer, testbed, segment and other: it must hold one", tag.where)
    return found[0]


_PARTS = MappingProxyType({"substrates": _substrate, "elements": _element, "attribute": _attribute})


def _topology(tag: Tag) -> Topology:
    version = tag.optional("version", _text)
    if version != "1.0":
        said = "has no <version>" if version is None else f"says version {one_line(version)}"
        tag.notice(f"the topology {said}: it is read as 1.0, the only one there is")
    return Topology(
        substrates=cast(tuple[Substrate, ...], tag.results("substrates")),
        elements=cast(tuple[Element, ...], tag.results("elements")),
        attributes=cast(tuple[Attribute, ...], tag.results("attribute")),
        version="1.0" if version is None else version,
        where=tag.where,
    )

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing TopDL: in the order of the schema, without a namespace, below the root ``experiment``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..diagnostics import TopologyError, one_line
from ..topology import (
    Attribute,
    Computer,
    Element,
    Interface,
    Segment,
    Substrate,
    Testbed,
    Topology,
)

try:
    from lxml import etree
except ImportError:  # reported when a file is read or written
    etree = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from lxml.etree import _Element as XmlElement


def write_topdl(topology: Topology) -> str:
    """Return the topology as TopDL: indented, in the order of the schema, below the root ``experiment``.

    Raises TopologyError for text that XML cannot carry: control characters.
    """
    if etree is None:
        raise TopologyError("writing TopDL needs the Python library lxml: pip install lxml")
    root = etree.Element("experiment")
    _write(root, "version", topology.version)
    for substrate in topology.substrates:
        _write_substrate(root, substrate)
    for element in topology.elements:
        _write_element(etree.SubElement(root, "elements"), element)
    _write_attributes(root, topology.attributes)
    etree.indent(root)
    return str(etree.tostring(root, encoding="unicode")) + "\n"


def _write(parent: XmlElement, name: str, *texts: str | None) -> None:
    """Write each text that is there as a child of this name."""
    for text in texts:
        if text is not None:
            try:
                etree.SubElement(parent, name).text = text
            except ValueError:
                raise TopologyError(f"<{name}> {one_line(text)} holds characters that XML cannot carry: use printable ones") from None


def _decimal(number: float) -> str:
    """Return a number as the TopDL library prints it, with more digits where that would lose some."""
    short = f"{number:f}"
    return short if float(short) == number else repr(float(number))


def _write_attributes(parent: XmlElement, attributes: tuple[Attribute, ...]) -> None:
    for attribute in attributes:
        tag = etree.SubElement(parent, "attribute")
        _write(tag, "attribute", attribute.name)
        _write(tag, "value", attribute.value)


def _write_limits(parent: XmlElement, limited: Substrate | Interface) -> None:
    if limited.capacity:
        tag = etree.SubElement(parent, "capacity")
        _write(tag, "rate", _decimal(limited.capacity.rate))
        _write(tag, "kind", limited.capacity.kind)
    if limited.latency:
        tag = etree.SubElement(parent, "latency")
        _write(tag, "time", _decimal(limited.latency.time))
        _write(tag, "kind", limited.latency.kind)


def _write_management(parent: XmlElement, managed: Substrate | Computer | Testbed) -> None:
    """Write what substrates, computers and testbeds end with."""
    _write_attributes(parent, managed.attributes)
    _write(parent, "localname", *managed.localnames)
    _write(parent, "status", managed.status)
    for service in managed.services:
        tag = etree.SubElement(parent, "service")
        _write(tag, "name", service.name)
        _write(tag, "importer", *service.importers)
        for param in service.params:
            child = etree.SubElement(tag, "param")
            _write(child, "name", param.name)
            _write(child, "type", param.type)
        _write(tag, "description", service.description)
        _write(tag, "status", service.status)
    _write(parent, "operation", *managed.operations)


def _write_substrate(parent: XmlElement, substrate: Substrate) -> None:
    tag = etree.SubElement(parent, "substrates")
    _write(tag, "name", substrate.name)
    _write_limits(tag, substrate)
    _write_management(tag, substrate)


def _write_interfaces(parent: XmlElement, interfaces: tuple[Interface, ...]) -> None:
    for interface in interfaces:
        tag = etree.SubElement(parent, "interface")
        _write(tag, "substrate", *interface.substrates)
        _write(tag, "name", interface.name)
        _write_limits(tag, interface)
        _write_attributes(tag, interface.attributes)


def _write_element(parent: XmlElement, element: Element) -> None:
    if isinstance(element, Computer):
        _write_computer(etree.SubElement(parent, "computer"), element)
    elif isinstance(element, Testbed):
        tag = etree.SubElement(parent, "testbed")
        _write(tag, "uri", element.uri)
        _write(tag, "type", element.type)
        _write_interfaces(tag, element.interfaces)
        _write_management(tag, element)
    elif isinstance(element, Segment):
        tag = etree.SubElement(parent, "segment")
        _write(etree.SubElement(tag, "id"), element.id.kind, element.id.value)
        _write(tag, "type", element.type)
        _write(tag, "uri", element.uri)
        _write_interfaces(tag, element.interfaces)
        _write_attributes(tag, element.attributes)
    else:
        tag = etree.SubElement(parent, "other")
        _write_interfaces(tag, element.interfaces)
        _write_attributes(tag, element.attributes)


def _write_computer(tag: XmlElement, computer: Computer) -> None:
    _write(tag, "name", computer.name)
    for cpu in computer.cpus:
        child = etree.SubElement(tag, "cpu")
        if cpu.count != 1:
            child.set("count", str(cpu.count))
        _write(child, "type", cpu.type)
        _write_attributes(child, cpu.attributes)
    for os in computer.oses:
        child = etree.SubElement(tag, "os")
        _write(child, "name", os.name)
        _write(child, "version", os.version)
        _write(child, "distribution", os.distribution)
        _write(child, "distributionversion", os.distributionversion)
        _write_attributes(child, os.attributes)
    for software in computer.software:
        child = etree.SubElement(tag, "software")
        _write(child, "location", software.location)
        _write(child, "install", software.install)
        _write_attributes(child, software.attributes)
    for storage in computer.storage:
        child = etree.SubElement(tag, "storage")
        _write(child, "amount", _decimal(storage.amount))
        _write(child, "persistence", storage.persistence)
        _write_attributes(child, storage.attributes)
    _write_interfaces(tag, computer.interfaces)
    _write_management(tag, computer)

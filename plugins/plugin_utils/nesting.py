# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes inside machines: which machine carries which process, and what leads a substrate into the machine.

A machine that carries processes is a host like any other, with switches of its own. Each substrate of theirs comes in by a *trunk*: an
interface of the machine without an address, plugged into the substrate's switch outside and into the one inside. So the machine is on
none of their substrates itself, unless the topology says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from .attributes import find
from .cabling import Cable, side
from .diagnostics import TopologyError, one_line
from .interpretation import Experiment, Node
from .partitioning import pack
from .platforms import ON_THEIR_HOST, kind_of
from .pool import PoolHost
from .settings import Settings
from .short_names import digest, short
from .topology import Attribute, Computer, Topology
from .wiring import derived_mac

# What a machine must run to carry processes: the others have no Python.
CARRYING_IMAGES = ("debian",)
_ID = 20


@dataclass(frozen=True)
class Trunk:
    """The way of a substrate into a machine: ``port`` is that of the switch outside, and of the one inside."""

    carrier: str
    substrate: str
    id: str
    mac: str
    device: str
    port: int


def nest(topology: Topology, settings: Settings) -> Topology:
    """Put the processes of a topology that have no place into machines, so many into each as the settings say.

    The machines are added to the topology, without any interface; a file that was annotated has them, and its processes name them.
    """
    if settings.processes_per_machine is None:
        return topology
    loose = [c for c in topology.computers if _kind(c, settings) == "process" and not any(find(c.attributes, k) for k in _PLACED)]
    if not loose:
        return topology
    names = [c.name for c in loose]
    of = {name: number for number, name in enumerate(names)}
    members: dict[str, set[int]] = {}
    for computer in loose:
        for interface in computer.interfaces:
            for substrate in interface.substrates:
                members.setdefault(substrate, set()).add(of[computer.name])
    links = [sorted(found) for found in members.values() if len(found) > 1]
    parts = pack([(1,)] * len(names), links, (settings.processes_per_machine,))
    taken = {c.name for c in topology.computers}
    machines: dict[int, str] = {}
    for part in parts:
        if part not in machines:
            machines[part] = _free_name(taken, len(machines))
    carried = {name: machines[part] for name, part in zip(names, parts, strict=True)}
    elements = tuple(
        replace(e, attributes=(*e.attributes, Attribute("benito:host", carried[e.name])))
        if isinstance(e, Computer) and e.name in carried
        else e
        for e in topology.elements
    )
    words = (Attribute("benito:node_type", "qemu"), Attribute("benito:image", CARRYING_IMAGES[0]))
    return replace(topology, elements=(*elements, *(Computer(name, attributes=words) for name in machines.values())))


_PLACED = ("host", "partition", "ghost")


def _kind(computer: Computer, settings: Settings) -> str:
    said = find(computer.attributes, "node_type")
    return (kind_of(said.value, settings.platforms) if said else None) or settings.default_kind


def _free_name(taken: set[str], number: int) -> str:
    name = f"machine-{number}"
    while name in taken:
        number += 1
        name = f"machine-{number}"
    taken.add(name)
    return name


def carriers(nodes: Iterable[Node], settings: Settings) -> dict[str, str]:
    """Return the machine that carries each nested process.

    Raises TopologyError where it cannot: it needs an image with Python, and a control net to come in by.
    """
    nodes = tuple(nodes)
    known = {node.name: node for node in nodes}
    found = {}
    for node in nodes:
        carrier = known.get(node.host or "")
        if node.host is None or carrier is None or carrier.kind in ON_THEIR_HOST:
            continue
        if carrier.image not in CARRYING_IMAGES:
            raise TopologyError(
                f"process {node.name} names {one_line(carrier.name)} as its host, whose image is {carrier.image}: "
                f"a machine that carries processes needs the image {' or '.join(CARRYING_IMAGES)}",
                node.where,
            )
        if settings.control_mode == "none":
            raise TopologyError(
                f"process {node.name} is to run inside of {one_line(carrier.name)}, which without a control net cannot be reached",
                node.where,
            )
        found[node.name] = carrier.name
    return found


def substrates_within(experiment: Experiment, carrier_of: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return for each substrate the machines that carry members of it, in the order of the file."""
    launched = {node.name for node in experiment.nodes if node.launched}
    within = {
        link.name: tuple(dict.fromkeys(carrier_of[m.node] for m in link.members if m.node in carrier_of and m.node in launched))
        for link in experiment.links
    }
    return {name: machines for name, machines in within.items() if machines}


def trunks(within: Mapping[str, Sequence[str]], ports: Mapping[str, Sequence[int]], settings: Settings) -> tuple[Trunk, ...]:
    """Return the trunks. ``ports`` has for each substrate a port of its switch for each machine, in the same order."""
    found = []
    for substrate, machines in within.items():
        for carrier, port in zip(machines, ports[substrate], strict=True):
            words = (settings.project, settings.experiment, carrier, "trunk", substrate)
            found.append(Trunk(carrier, substrate, short(f"{substrate}-trunk", _ID), derived_mac(*words), f"tr{digest(*words)[:8]}", port))
    return tuple(found)


def plug(trunk: Trunk, switch: str) -> dict[str, object]:
    """Return the trunk as an interface of the machine, an entry of its ``interfaces`` in the document outside."""
    return {
        "name": f"trunk-{trunk.substrate}"[:63],
        "substrate": trunk.substrate,
        "switch": switch,
        "port": trunk.port,
        "mac": trunk.mac,
        "device": trunk.device,
        "address": "",
        "prefix": 0,
        "dhcp": "",
        "netem": None,
    }


def leg(trunk: Trunk, switch: str) -> dict[str, object]:
    """Return the trunk as the machine itself is told about it: a cable by Ethernet, an entry of its document's ``cables``."""
    cable = Cable(trunk.substrate, trunk.id, "ethernet", 0, None, trunk.port, None, 1, 1024)
    return side(cable, 0, (PoolHost(trunk.carrier, device=trunk.device),), switch)

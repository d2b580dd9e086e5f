# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of an experiment: what sits where, wired and addressed how; and the document each pnode is handed."""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

from .addressing import Addressing, Control, address, dotted, private_blocks
from .attributes import check_attributes, find
from .diagnostics import Notice, listing
from .embedding import NOTHING_EMBEDDED, Embedding, load_embedding
from .formats.source import read_topology
from .hostnames import hosts_table, plain_names
from .interpretation import Experiment, Node, interpret
from .placement import Item, Packing, Placement, place
from .routing import Port, Route, Subnet, compute_routes, manual_routes, parse_manual
from .settings import Settings, resolve_settings
from .short_names import short, short_names
from .topology import Topology
from .wiring import Switch, Wiring, wire

_FORMAT = 1
_EXPERIMENT_ID = 24
_NODE_ID = 20


@dataclass(frozen=True)
class PlannedInterface:
    """An interface with everything decided. ``address`` is a number; ``switch`` a short name; ``port`` counts from 1, ``index`` from 0."""

    name: str
    substrate: str
    index: int
    address: int
    prefix: int
    mac: str
    switch: str
    port: int
    device: str


@dataclass(frozen=True)
class PlannedControl:
    """A guest's interface on the control net."""

    mac: str
    address: int
    tap: str


@dataclass(frozen=True)
class PlannedNode:
    """A vnode with everything decided. ``id`` is short, for paths; ``full_name`` is node.experiment.project; memory in MB."""

    name: str
    id: str
    full_name: str
    kind: str
    image: str
    memory: int
    cpus: int
    pnode_number: int
    pass_number: int | None
    ghost: bool
    host: str | None
    start_command: str
    failure_action: str
    testbed: str
    control: PlannedControl | None
    interfaces: tuple[PlannedInterface, ...]
    routes: tuple[Route, ...]

    @property
    def pnode(self) -> str:
        """The name of the pnode that carries it."""
        return pnode_name(self.pnode_number)

    @property
    def is_guest(self) -> bool:
        """Whether this version launches it."""
        return self.control is not None


@dataclass(frozen=True)
class Plan:
    """A whole experiment, decided. ``path`` is the topology's file; ``cut`` names the substrates that need more than one pnode."""

    path: str
    topology: Topology
    settings: Settings
    id: str
    nodes: tuple[PlannedNode, ...]
    pnodes: tuple[str, ...]
    cut: tuple[str, ...]
    switches: Mapping[str, Switch]
    bridge: str
    control: Control
    hosts: tuple[tuple[str, str, int, str], ...]
    plain_names: Mapping[str, Mapping[str, str]]
    unreachable: tuple[str, ...]
    notices: tuple[Notice, ...]

    @property
    def vhosts(self) -> tuple[str, ...]:
        """The pnodes that carry guests."""
        carrying = {node.pnode for node in self.nodes if node.is_guest}
        return tuple(p for p in self.pnodes if p in carrying)

    @property
    def obstacle(self) -> str:
        """Why this version cannot run the plan, or nothing when it can."""
        if not self.vhosts:
            return "no node of this experiment is of a kind that this version starts"
        if len(self.vhosts) > 1:
            return f"the guests need {len(self.vhosts)} hosts ({listing(self.vhosts)}): this version runs an experiment on one"
        return ""

    def document(self, pnode: str) -> dict[str, Any]:
        """Return what the pnode is handed, as plain JSON; docs/architecture.md describes it field by field."""
        guests = [node for node in self.nodes if node.pnode == pnode and node.is_guest]
        touched = {i.substrate for node in guests for i in node.interfaces}
        return {
            "format": _FORMAT,
            "experiment": {"project": self.settings.project, "experiment": self.settings.experiment, "id": self.id},
            "pnode": pnode,
            "switches": [{"name": name, "id": s.id, "ports": s.ports} for name, s in self.switches.items() if name in touched],
            "control": {
                "mode": self.settings.control_mode,
                "bridge": self.bridge,
                "address": dotted(self.control.gateway),
                "prefix": self.control.network.prefix,
                "subnet": str(self.control.network),
            },
            "hosts": [list(row) for row in self.hosts],
            "guests": [self._guest(node) for node in guests],
        }

    def _guest(self, node: PlannedNode) -> dict[str, Any]:
        devices = {i.name: i.device for i in node.interfaces}
        return {
            "name": node.name,
            "id": node.id,
            "kind": node.kind,
            "image": node.image,
            "memory": node.memory,
            "cpus": node.cpus,
            "control": {"mac": node.control.mac, "address": dotted(node.control.address), "tap": node.control.tap}
            if node.control
            else None,
            "interfaces": [
                {
                    "name": i.name,
                    "substrate": i.substrate,
                    "switch": i.switch,
                    "port": i.port,
                    "mac": i.mac,
                    "device": i.device,
                    "address": dotted(i.address),
                    "prefix": i.prefix,
                }
                for i in node.interfaces
            ],
            "routes": [{"to": str(r.to), "via": str(r.via), "device": devices[r.interface]} for r in node.routes],
            "unreachable": list(self.unreachable),
            "plain_names": dict(self.plain_names.get(node.name, {})),
            "start_command": node.start_command,
            "failure_action": node.failure_action,
        }


def pnode_name(number: int) -> str:
    """Return the name of a pnode, pnode-0000."""
    return f"pnode-{number:04d}"


def make_plan(
    path: str,
    overrides: Mapping[str, object] = MappingProxyType({}),
    environment: Mapping[str, str] = MappingProxyType({}),
    previous: Embedding | None = None,
) -> Plan:
    """Read a topology file and plan it.

    ``previous`` is what the last swap-in chose; None means the record in the state directory, if there is one.
    Raises TopologyError, with the place, for whatever cannot be used.
    """
    topology, read_notices = read_topology(path)
    settings = resolve_settings(PurePath(path).stem, topology.attributes, overrides, environment)
    memory_notices: tuple[Notice, ...] = ()
    if previous is None:
        previous, memory_notices = load_embedding(settings)
    return plan_topology(os.path.abspath(path), topology, settings, previous, (*read_notices, *check_attributes(topology), *memory_notices))


def plan_topology(
    path: str, topology: Topology, settings: Settings, previous: Embedding = NOTHING_EMBEDDED, notices: Iterable[Notice] = ()
) -> Plan:
    """Plan a topology that has been read; ``notices`` are what there was to say so far."""
    experiment = interpret(topology, settings)
    placement = _place(experiment, settings, previous)
    addressing = address(experiment.nodes, experiment.links, settings, previous.addresses)
    wiring = wire(experiment.nodes, experiment.links, settings, previous.ports)
    routes, routing_notices = _routes(topology, experiment, addressing)
    ids = short_names((n.name for n in experiment.nodes), _NODE_ID)
    nodes = tuple(_planned(n, ids[n.name], settings, placement, addressing, wiring, routes.get(n.name, ())) for n in experiment.nodes)
    plan = Plan(
        path=path,
        topology=topology,
        settings=settings,
        id=short(f"{settings.project}.{settings.experiment}", _EXPERIMENT_ID),
        nodes=nodes,
        pnodes=tuple(pnode_name(n) for n in sorted({*placement.pnode_of.values()})),
        cut=tuple(placement.cut),
        switches=wiring.switches,
        bridge=wiring.bridge,
        control=addressing.control,
        hosts=tuple(hosts_table(experiment.nodes, addressing.interfaces)),
        plain_names=plain_names(experiment.nodes),
        unreachable=tuple(private_blocks(addressing.interfaces.values())),
        notices=(),
    )
    return _with_notices(plan, (*notices, *experiment.notices, *routing_notices))


def _with_notices(plan: Plan, notices: Iterable[Notice]) -> Plan:
    found = list(dict.fromkeys(notices))
    if len(plan.vhosts) > 1:
        found.append(Notice(plan.topology.where, f"{plan.obstacle}; it is planned, and can be looked at"))
    return replace(plan, notices=tuple(found))


def _planned(
    node: Node, identity: str, settings: Settings, placement: Placement, addressing: Addressing, wiring: Wiring, routes: tuple[Route, ...]
) -> PlannedNode:
    interfaces = []
    for i in node.interfaces:
        cord = wiring.cords[node.name, i.name]
        interfaces.append(
            PlannedInterface(
                i.name,
                i.substrate,
                i.index,
                addressing.interfaces[node.name, i.name],
                addressing.networks[i.substrate].prefix,
                cord.mac,
                cord.switch,
                cord.port,
                cord.device,
            )
        )
    control = (
        PlannedControl(wiring.control_macs[node.name], addressing.control.addresses[node.name], wiring.taps[node.name])
        if node.is_guest
        else None
    )
    return PlannedNode(
        name=node.name,
        id=identity,
        full_name=f"{node.name}.{settings.experiment}.{settings.project}",
        kind=node.kind,
        image=node.image,
        memory=node.memory,
        cpus=node.cpus,
        pnode_number=placement.pnode_of[node.name],
        pass_number=node.pass_number,
        ghost=node.ghost,
        host=node.host,
        start_command=node.start_command,
        failure_action=node.failure_action,
        testbed=node.testbed,
        control=control,
        interfaces=tuple(interfaces),
        routes=routes,
    )


def _place(experiment: Experiment, settings: Settings, previous: Embedding) -> Placement:
    items = tuple(
        Item(
            name=n.name,
            kind=n.kind,
            partition=n.partition,
            pass_number=n.pass_number,
            host=n.host,
            ghost=n.ghost,
            memory=n.memory,
            cpus=n.cpus,
            where=n.where,
        )
        for n in experiment.nodes
    )
    packing = Packing(
        packing=settings.packing,
        size=settings.size,
        pass_pack=settings.pass_pack,
        pass_size=settings.pass_size,
        nodes_only=settings.nodes_only,
        pass_nodes_only=settings.pass_nodes_only,
    )
    links = {link.name: tuple(m.node for m in link.members) for link in experiment.links}
    return place(items, links, packing, previous.pnodes)


def _routes(
    topology: Topology, experiment: Experiment, addressing: Addressing
) -> tuple[Mapping[str, tuple[Route, ...]], tuple[Notice, ...]]:
    subnets = tuple(
        Subnet(
            link.name,
            str(addressing.networks[link.name]),
            tuple(Port(m.node, m.name, dotted(addressing.interfaces[m.node, m.name])) for m in link.members),
        )
        for link in experiment.links
        if link.members
    )
    wanted = {c.name: parse_manual(a.value, a.where) for c in topology.computers if (a := find(c.attributes, "routes")) is not None}
    if experiment.routing == "manual":
        return manual_routes(wanted, subnets), ()
    notices: tuple[Notice, ...] = ()
    if any(wanted.values()):
        first = next(routes[0] for routes in wanted.values() if routes)
        notices = (Notice(first.where, f"routes of the file are used only where routing is manual: here it is {experiment.routing}"),)
    return ({} if experiment.routing == "none" else compute_routes(subnets)), notices

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of an experiment: what sits where, wired and addressed how; and the document each pnode is handed."""

from __future__ import annotations

import os.path
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

from .addressing import Addressing, address, dotted, private_blocks
from .attributes import check_attributes, check_bounds, find
from .cabling import Cable, cables, check_cables, ports_needed, side
from .control import Control, assigned, control_net
from .diagnostics import Notice, TopologyError, listing
from .embedding import NOTHING_EMBEDDED, Embedding, addresses_of_others, experiment_dir, load_embedding, recorded_names
from .formats.source import read_topology
from .host_permissions import check_physical
from .hostnames import hosts_table, plain_names
from .interpretation import Experiment, Node, interpret
from .nesting import Trunk, carriers, leg, nest, plug, substrates_within, trunks
from .placement import Item, Packing, Placement, PlacementError, place
from .platforms import ON_THEIR_HOST
from .pool import PoolHost, load_facts, order_pool, pool_host, rooms
from .real_interfaces import check_cable_devices, check_real
from .routing import Port, Route, Subnet, compute_routes, manual_routes, parse_manual
from .services import attached, check_shares, dhcp_leases, mounts, share_server, shared
from .settings import Settings, resolve_settings
from .shaping import UNSHAPED, Shape, shapes
from .short_names import short, short_names
from .topology import Topology
from .wiring import EDGE_PORTS, Switch, Wiring, wire

_FORMAT = 1
_EXPERIMENT_ID = 24
_NODE_ID = 20


@dataclass(frozen=True)
class PlannedInterface:
    """An interface with everything decided. ``address`` is a number; ``switch`` a short name; ``port`` counts from 1, ``index`` from 0.

    ``edge`` is the short name of the switch of its own that the guest is plugged into, if any. ``dhcp`` is server, client or nothing.
    One that is ``real`` is the host's own ``device``, without MAC, switch and port (0) of ours.
    """

    name: str
    substrate: str
    index: int
    address: int
    prefix: int
    mac: str
    switch: str
    port: int
    device: str
    edge: str
    shape: Shape | None
    dhcp: str
    real: bool = False


@dataclass(frozen=True)
class PlannedControl:
    """A guest's interface on the control net. Without an address the lab's DHCP server chooses; ``port`` is one of the pnode's for ssh."""

    mac: str
    address: int | None
    tap: str
    port: int | None


@dataclass(frozen=True)
class PlannedNode:
    """A vnode with everything decided. ``id`` is short, for paths; ``full_name`` is node.experiment.project; memory in MB.

    What runs on its host's kernel has limits rather than sizes: 0 or None for no limit. ``carrier`` is the machine that a process runs
    inside of, if any; the pnode is then that of the machine.
    """

    name: str
    id: str
    full_name: str
    kind: str
    image: str
    memory: int
    cpus: int
    processes: int | None
    pnode_number: int
    pass_number: int | None
    ghost: bool
    host: str | None
    carrier: str
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
    def place(self) -> str:
        """Where it is launched: a pnode, or the machine that carries it."""
        return self.carrier or self.pnode

    @property
    def launched(self) -> bool:
        """Whether a platform is to do something about it."""
        return not self.ghost

    @property
    def entered(self) -> bool:
        """Whether its users come in by way of its host, since it has no interface on the control net."""
        return self.launched and self.kind in ON_THEIR_HOST


@dataclass(frozen=True)
class Plan:
    """A whole experiment, decided. ``path`` is the topology's file; ``cut`` names the substrates that need more than one pnode.

    ``pool`` are the hosts that the pnodes are, by number; ``misfit`` says why the nodes do not fit there, if so.
    """

    path: str
    topology: Topology
    settings: Settings
    id: str
    nodes: tuple[PlannedNode, ...]
    pnodes: tuple[str, ...]
    pool: tuple[PoolHost, ...]
    misfit: str
    cut: tuple[str, ...]
    cables: tuple[Cable, ...]
    trunks: tuple[Trunk, ...]
    switches: Mapping[str, Switch]
    bridge: str
    control: Control
    hosts: tuple[tuple[str, str, int, str], ...]
    plain_names: Mapping[str, Mapping[str, str]]
    unreachable: tuple[str, ...]
    notices: tuple[Notice, ...]

    @cached_property
    def vhosts(self) -> tuple[str, ...]:
        """The pnodes that have something to do."""
        carrying = {node.pnode for node in self.nodes if node.launched}
        return tuple(p for p in self.pnodes if p in carrying)

    @property
    def carriers(self) -> tuple[str, ...]:
        """The machines that have processes inside."""
        return tuple(dict.fromkeys(node.carrier for node in self.nodes if node.launched and node.carrier))

    @property
    def obstacle(self) -> str:
        """Why this version cannot run the plan, or nothing when it can."""
        if not self.vhosts:
            return "all nodes of this experiment are ghosts: there is nothing to start"
        if self.misfit:
            return self.misfit
        if len(self.vhosts) > 1 and not self.pool:
            return (
                f"the guests need {len(self.vhosts)} hosts ({listing(self.vhosts)}) and there is no pool: "
                f"give an inventory with a group {self.settings.pool} before the topology, -i hosts.yml"
            )
        return ""

    def host(self, pnode: str) -> PoolHost | None:
        """Return the host of the pool that a pnode is; None for the controller itself."""
        number = int(pnode.rpartition("-")[2])
        return self.pool[number] if number < len(self.pool) else None

    @cached_property
    def _at(self) -> Mapping[str, tuple[PlannedNode, ...]]:
        """The nodes of each place: looked up for every pnode, so all are sorted at once."""
        found: dict[str, list[PlannedNode]] = {}
        for node in self.nodes:
            found.setdefault(node.place, []).append(node)
        return {place: tuple(nodes) for place, nodes in found.items()}

    @cached_property
    def _touched(self) -> Mapping[str, frozenset[str]]:
        """The substrates that launched nodes of each pnode touch, those of nodes within its machines too."""
        found: dict[str, set[str]] = {}
        for node in self.nodes:
            if node.launched:
                found.setdefault(node.pnode, set()).update(i.substrate for i in node.interfaces if not i.real)
        return {pnode: frozenset(names) for pnode, names in found.items()}

    @cached_property
    def _cables_at(self) -> Mapping[int, tuple[Cable, ...]]:
        """The cables that end at each pnode, by its number."""
        found: dict[int, list[Cable]] = {}
        for cable in self.cables:
            for end in cable.ends:
                found.setdefault(end, []).append(cable)
        return {number: tuple(ending) for number, ending in found.items()}

    @cached_property
    def _trunks_of(self) -> Mapping[str, tuple[Trunk, ...]]:
        """The trunks into each machine."""
        found: dict[str, list[Trunk]] = {}
        for trunk in self.trunks:
            found.setdefault(trunk.carrier, []).append(trunk)
        return {carrier: tuple(leading) for carrier, leading in found.items()}

    @cached_property
    def _hosts_rows(self) -> list[list[str | int]]:
        """The hosts table as plain JSON: the same in all documents."""
        return [list(row) for row in self.hosts]

    @cached_property
    def _dhcp_clients(self) -> Mapping[str, list[tuple[str, str, str]]]:
        """The DHCP clients of each substrate that has some: MAC address, address and name."""
        found: dict[str, list[tuple[str, str, str]]] = {}
        for node in self.nodes:
            for i in node.interfaces:
                if i.dhcp == "client":
                    found.setdefault(i.substrate, []).append((i.mac, dotted(i.address), node.name))
        return found

    @cached_property
    def _order(self) -> Mapping[str, int]:
        """Where each substrate that has a switch stands among them."""
        return {name: number for number, name in enumerate(self.switches)}

    @property
    def loads(self) -> list[dict[str, Any]]:
        """What each pnode carries, beside what its host has for it: numbers of nodes, MB and virtual processors; None where not known."""
        found = []
        for pnode in self.pnodes:
            there = [node for node in self._at.get(pnode, ()) if not node.ghost]
            host = self.host(pnode)
            found.append(
                {
                    "pnode": pnode,
                    "host": host.name if host else None,
                    "nodes": len(there),
                    "memory": sum(node.memory for node in there),
                    "cpus": sum(node.cpus for node in there),
                    "memory_limit": host.memory if host else None,
                    "cpus_limit": host.cores * self.settings.vcpus_per_core if host and host.cores else None,
                }
            )
        return found

    def document(self, pnode: str) -> dict[str, Any]:
        """Return what the pnode is handed, as plain JSON; docs/architecture.md describes it field by field."""
        number = int(pnode.rpartition("-")[2])
        # What is nested needs its substrates' switches here as well: its machine is plugged into them.
        document = self._document(pnode, self._touched.get(pnode, ()))
        return {
            **document,
            "shares": shared(self.settings),
            "cables": [side(c, number, self.pool, self.switches[c.substrate].id) for c in self._cables_at.get(number, ())],
            "control": self.control.document(number, self.bridge, self.settings, document["guests"]),
        }

    def inner_document(self, carrier: str) -> dict[str, Any]:
        """Return what a machine that carries processes is handed; it is a document like a pnode's."""
        own = self._trunks_of.get(carrier, ())
        return {
            **self._document(carrier, {trunk.substrate for trunk in own}),
            "shares": [],
            "cables": [leg(trunk, self.switches[trunk.substrate].id) for trunk in own],
            "control": {"mode": "none", "bridge": self.bridge, "table": self.bridge},
        }

    def _document(self, place: str, touched: Collection[str]) -> dict[str, Any]:
        """Return what a pnode's document and a machine's have in common."""
        guests = [node for node in self._at.get(place, ()) if node.launched]
        switches = [(name, self.switches[name]) for name in sorted(touched, key=self._order.__getitem__)]
        return {
            "format": _FORMAT,
            "experiment": {"project": self.settings.project, "experiment": self.settings.experiment, "id": self.id},
            "pnode": place,
            "kinds": sorted({node.kind for node in guests}),
            "switches": [
                *({"name": name, "id": s.id, "ports": s.ports} for name, s in switches),
                *({"name": f"{n.name}:{i.name}", "id": i.edge, "ports": EDGE_PORTS} for n in guests for i in n.interfaces if i.edge),
            ],
            "shapers": [_shaper(node, i) for node in guests for i in node.interfaces if i.edge],
            "share_server": share_server(self.settings, any(n.kind not in ON_THEIR_HOST for n in guests)),
            "hosts": self._hosts_rows,
            "guests": [self._guest(node) for node in guests],
        }

    def _guest(self, node: PlannedNode) -> dict[str, Any]:
        devices = {i.name: i.device for i in node.interfaces}
        machine = node.kind not in ON_THEIR_HOST
        return {
            "name": node.name,
            "id": node.id,
            "kind": node.kind,
            "image": node.image,
            "memory": node.memory,
            "cpus": node.cpus,
            "limits": _limits(node),
            "control": _control(node.control) if node.control else None,
            "interfaces": [
                {
                    "name": i.name,
                    "substrate": i.substrate,
                    "switch": i.edge or i.switch,
                    "port": 1 if i.edge else i.port,
                    "mac": i.mac,
                    "device": i.device,
                    "address": dotted(i.address),
                    "prefix": i.prefix,
                    "dhcp": i.dhcp,
                    "netem": i.shape.document() if i.shape and i.shape.method == "netem" else None,
                    **({"real": True} if i.real else {}),
                }
                for i in node.interfaces
            ]
            + [plug(trunk, self.switches[trunk.substrate].id) for trunk in self._trunks_of.get(node.name, ())],
            "routes": [{"to": ",".join(r.to), "via": r.via, "device": devices[r.interface]} for r in node.routes],
            "unreachable": list(self.unreachable) if machine else [],
            "plain_names": dict(self.plain_names.get(node.name, {})),
            "mounts": mounts(self.settings, self._file_server(node)) if machine else [],
            "shares": attached(self.settings) if machine else [],
            "dhcp": [self._leases(i) for i in node.interfaces if i.dhcp == "server"],
            "start_command": node.start_command,
            "failure_action": node.failure_action,
            # The plan has compared the networks of the node with these already.
            **({"lab_routes": True} if node.kind == "physical" and self.settings.physical_networks else {}),
        }

    def _file_server(self, node: PlannedNode) -> str:
        """Return the address at which a guest reaches its pnode; nothing without a control net."""
        net = self.control.nets.get(node.pnode_number)
        return dotted(net.gateway) if net and net.gateway and self.control.mode in ("nat", "ports") else ""

    def _leases(self, server: PlannedInterface) -> dict[str, Any]:
        return dhcp_leases(server.device, server.prefix, self._dhcp_clients.get(server.substrate, ()))


def _limits(node: PlannedNode) -> dict[str, int | None]:
    """Return what a node on its host's kernel may use; a machine has its size instead."""
    if node.kind not in ON_THEIR_HOST:
        return {"memory": None, "cpus": None, "processes": None}
    return {"memory": node.memory or None, "cpus": node.cpus or None, "processes": node.processes}


def _shaper(node: PlannedNode, interface: PlannedInterface) -> dict[str, Any]:
    """Return what joins an interface's own switch to that of its substrate. Where it shapes nothing, it is a plain wire."""
    shape = interface.shape or Shape("wirefilter", UNSHAPED, UNSHAPED)
    return {
        "name": f"{node.name}:{interface.name}",
        "id": interface.edge,
        "node": node.name,
        "interface": interface.name,
        "substrate": interface.substrate,
        "edge": interface.edge,
        "edge_port": 2,
        "switch": interface.switch,
        "port": interface.port,
        **shape.document(),
    }


def _control(control: PlannedControl) -> dict[str, Any]:
    address = "" if control.address is None else dotted(control.address)
    return {"mac": control.mac, "address": address, "tap": control.tap, **({"port": control.port} if control.port else {})}


def pnode_name(number: int) -> str:
    """Return the name of a pnode, pnode-0000."""
    return f"pnode-{number:04d}"


def make_plan(
    path: str,
    overrides: Mapping[str, object] = MappingProxyType({}),
    environment: Mapping[str, str] = MappingProxyType({}),
    previous: Embedding | None = None,
    pool: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> Plan:
    """Read a topology file and plan it.

    ``previous`` is what the last swap-in chose; None means the record in the state directory, if there is one. ``pool`` has the
    variables of the hosts that may carry the experiment, by name; without any, it is the controller.
    Raises TopologyError, with the place, for whatever cannot be used.
    """
    topology, read_notices = read_topology(path)
    recorded = recorded_names(path, overrides, environment)
    settings = resolve_settings(PurePath(path).stem, topology.attributes, overrides, environment, recorded)
    topology = nest(topology, settings)
    memory_notices: tuple[Notice, ...] = ()
    if previous is None:
        previous, memory_notices = load_embedding(settings)
    if settings.control_mode == "bridge":
        previous = replace(previous, addresses=replace(previous.addresses, others=addresses_of_others(settings)))
    facts = load_facts(experiment_dir(settings)) if pool else {}
    hosts = [pool_host(name, variables, facts.get(name, {})) for name, variables in pool.items()]
    notices = (*read_notices, *check_attributes(topology), *memory_notices)
    return plan_topology(os.path.abspath(path), topology, settings, previous, notices, order_pool(hosts, previous.hosts))


def plan_topology(
    path: str,
    topology: Topology,
    settings: Settings,
    previous: Embedding = NOTHING_EMBEDDED,
    notices: Iterable[Notice] = (),
    pool: tuple[PoolHost, ...] = (),
) -> Plan:
    """Plan a topology that has been read; ``notices`` are what there was to say so far."""
    experiment = interpret(topology, settings)
    check_bounds(topology, settings)
    experiment = replace(experiment, nodes=assigned(experiment.nodes, settings))
    placement, misfit = _place(experiment, settings, previous, pool)
    carrier_of = carriers(experiment.nodes, settings)
    within = substrates_within(experiment, carrier_of)
    check_real(experiment.links, placement)
    legs = {link.name: ports_needed(link, placement) for link in experiment.links}
    ports_more = {name: legs[name] + len(within.get(name, ())) for name in legs}
    addressing = address(experiment.links, settings, previous.addresses)
    control = control_net(experiment.nodes, placement.pnode_of, addressing.networks, settings, previous.addresses)
    check_shares(settings)
    shaped = shapes(topology)
    _check_shaped(experiment, shaped)
    edges = {
        (n.name, i.name)
        for n in experiment.nodes
        for i in n.interfaces
        if n.launched
        and not i.real
        and (settings.guest_switches or ((shape := shaped.get((n.name, i.name))) and shape.method == "wirefilter"))
    }
    wiring = wire(experiment.nodes, experiment.links, settings, previous.ports, edges, ports_more)
    cable_ports = {name: ports[: legs[name]] for name, ports in wiring.further_ports.items()}
    trunk_ports = {name: ports[legs[name] :] for name, ports in wiring.further_ports.items()}
    cabling = cables(topology.substrates, experiment.links, placement, cable_ports, settings)
    if pool:
        check_cables(cabling, pool)
        check_cable_devices(experiment.links, placement, cabling, pool)
        _check_names(experiment, pool)
    routes, routing_notices = _routes(topology, experiment, addressing)
    check_physical(topology, experiment, placement, pool, addressing, routes, settings)
    ids = short_names((n.name for n in experiment.nodes), _NODE_ID)
    nodes = tuple(
        _planned(
            n, ids[n.name], settings, placement, addressing, control, wiring, shaped, routes.get(n.name, ()), carrier_of.get(n.name, "")
        )
        for n in experiment.nodes
    )
    plan = Plan(
        path=path,
        topology=topology,
        settings=settings,
        id=short(f"{settings.project}.{settings.experiment}", _EXPERIMENT_ID),
        nodes=nodes,
        pnodes=tuple(pnode_name(n) for n in sorted({*placement.pnode_of.values()})),
        pool=pool,
        misfit=misfit,
        cut=tuple(placement.cut),
        cables=cabling,
        trunks=trunks(within, trunk_ports, settings),
        switches=wiring.switches,
        bridge=wiring.bridge,
        control=control,
        hosts=tuple(hosts_table(experiment.nodes, addressing.interfaces)),
        plain_names=plain_names(experiment.nodes),
        unreachable=tuple(private_blocks(addressing.interfaces.values())),
        notices=(),
    )
    return _with_notices(plan, (*notices, *experiment.notices, *routing_notices))


def _check_names(experiment: Experiment, pool: tuple[PoolHost, ...]) -> None:
    """Refuse a node that would be taken for a host: both are hosts of one inventory."""
    hosts = {host.name.lower() for host in pool}
    for node in experiment.nodes:
        if node.name.lower() in hosts:
            raise TopologyError(f"node {node.name} has the name of a host of the pool: one of the two needs another", node.where)


def _check_shaped(experiment: Experiment, shaped: Mapping[tuple[str, str], Shape | None]) -> None:
    """Refuse shaping where it cannot be: at a real interface, and at the end node where that is the host, whose kernel is not ours."""
    for node in experiment.nodes:
        for i in node.interfaces:
            shape = shaped.get((node.name, i.name))
            if i.real and shape is not None:
                raise TopologyError(
                    f"interface {i.name} of {node.name} is to be shaped, but it is {i.real} of the host, which no shaper of ours sits at: "
                    f"shape the other members of {i.substrate}, or give this one benito:shaping none",
                    i.where,
                )
            if node.kind in ON_THEIR_HOST and shape is not None and shape.method == "netem":
                raise TopologyError(
                    f"interface {i.name} of {node.name} is to be shaped by netem, but a {node.kind} node runs on its host's kernel: "
                    "its links are shaped by wirefilter",
                    i.where,
                )


def _with_notices(plan: Plan, notices: Iterable[Notice]) -> Plan:
    found = list(dict.fromkeys(notices))
    if plan.vhosts and plan.obstacle:
        found.append(Notice(plan.topology.where, f"{plan.obstacle}; it is planned, and can be looked at"))
    return replace(plan, notices=tuple(found))


def _planned(
    node: Node,
    identity: str,
    settings: Settings,
    placement: Placement,
    addressing: Addressing,
    control: Control,
    wiring: Wiring,
    shaped: Mapping[tuple[str, str], Shape | None],
    routes: tuple[Route, ...],
    carrier: str,
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
                cord.edge,
                shaped.get((node.name, i.name)),
                i.dhcp,
                bool(i.real),
            )
        )
    reached = node.has_control and control.mode != "none"
    name = node.name
    return PlannedNode(
        name=node.name,
        id=identity,
        full_name=f"{node.name}.{settings.experiment}.{settings.project}",
        kind=node.kind,
        image=node.image,
        memory=node.memory,
        cpus=node.cpus,
        processes=node.processes,
        pnode_number=placement.pnode_of[node.name],
        pass_number=node.pass_number,
        ghost=node.ghost,
        host=node.host,
        carrier=carrier,
        start_command=node.start_command,
        failure_action=node.failure_action,
        testbed=node.testbed,
        control=PlannedControl(wiring.control_macs[name], control.addresses.get(name), wiring.taps[name], control.ports.get(name))
        if reached
        else None,
        interfaces=tuple(interfaces),
        routes=routes,
    )


def _place(experiment: Experiment, settings: Settings, previous: Embedding, pool: tuple[PoolHost, ...]) -> tuple[Placement, str]:
    """Place the nodes on the hosts of the pool. Where they do not fit, place them on hosts such as there might be, and say why."""
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
        rooms=rooms(pool, settings.vcpus_per_core),
    )
    links = {link.name: tuple(m.node for m in link.members) for link in experiment.links}
    try:
        return place(items, links, packing, previous.pnodes), ""
    except PlacementError as error:
        return place(items, links, replace(packing, rooms=())), str(error)


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
    return ({} if experiment.routing == "none" else compute_routes(subnets, by_tree=experiment.routing == "tree")), notices

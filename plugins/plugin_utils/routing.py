# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Route tables: computed, shortest in hops or along a tree, one route per node and subnet; or those the file asks for.

Every node on two subnets or more forwards. A table of more than SUMMARISE_ABOVE routes is made small (see prefixes.py): its prefixes cover
no address outside the experiment, and where several neighbours are equally near, those are taken that let prefixes be larger.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from .branches import Branches
from .diagnostics import NOWHERE, Location, TopologyError, one_line
from .distances import Distances
from .prefixes import Prefixes, union
from .trees import spanning_tree

SUMMARISE_ABOVE = 128
# In all tables together, as prefixes. A fat tree of ten thousand nodes has half of it, for which Ansible takes a gigabyte of memory.
MOST_ROUTES = 10_000_000
# Pairs of routers that are neighbours, in both directions, which is what making tables small takes time for: a minute, then. Two thousand
# routers in one LAN have as many; a fat tree of ten thousand nodes has a tenth of it.
MOST_NEIGHBOURS = 4_000_000


@dataclass(frozen=True)
class Port:
    """An interface of a node on a subnet; ``address`` is plain IPv4."""

    node: str
    interface: str
    address: str


@dataclass(frozen=True)
class Subnet:
    """A substrate with its network, ``10.1.1.0/24``."""

    name: str
    network: str
    ports: tuple[Port, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """The way to some prefixes: via a neighbour's address, out of the node's own ``interface``."""

    to: tuple[str, ...]
    via: str
    interface: str


@dataclass(frozen=True)
class ManualRoute:
    """A route of the file: ``to`` a node, a substrate or a.b.c.d[/len], ``via`` a neighbouring node."""

    to: str
    via: str
    where: Location = field(default=NOWHERE, compare=False)


# Computed routes


@dataclass(frozen=True, slots=True)
class _Hop:
    router: str
    address: str
    subnet: int


Ways = list[tuple[_Hop, int]]  # in order of preference: hops, and the set of subnets to which each is on a shortest way


def compute_routes(subnets: Sequence[Subnet], by_tree: bool = False) -> dict[str, tuple[Route, ...]]:
    """Return each node's table: a route for each next hop, in the order of destinations. None is to subnets that it is on or cannot reach.

    Of the neighbours that are nearest to a subnet, in hops, the first by name is taken, and then the first substrate by name. A table
    that would be of more than SUMMARISE_ABOVE routes takes any of those neighbours, so that the fewest routes do. ``by_tree`` packets are
    forwarded along a spanning tree alone (see trees.py): few routes do for any graph, and ways are longer. Raises TopologyError when all
    tables together are of more than MOST_ROUTES.
    """
    networks = {subnet.name: IPv4Network(subnet.network) for subnet in subnets}
    ordered = sorted(subnets, key=lambda subnet: (networks[subnet.name], subnet.name))
    prefixes = Prefixes([networks[subnet.name] for subnet in ordered])
    ports = _ports(ordered)
    names = [subnet.name for subnet in ordered]
    transit = {node: tuple(on) for node, on in ports.items() if len(on) > 1}
    network = _Network(ports, spanning_tree(transit, names) if by_tree else transit, names, prefixes.bits)
    shared: dict[tuple[int, str], tuple[Route, ...]] = {}
    tables: dict[str, tuple[Route, ...]] = {}
    total = neighbours = 0
    for node, own in ports.items():
        if len(own) > 1:
            ways = network.ways_of(node)
            neighbours += len(ways)
            _check_neighbours(neighbours)
            tables[node] = _table(ways, own, prefixes)
        else:
            ((number, port),) = own.items()
            key = (number, port.interface)
            if key not in shared:
                shared[key] = _table(network.ways_from(number), own, prefixes)
            tables[node] = shared[key]
        total += sum(len(route.to) for route in tables[node])
        if total > MOST_ROUTES:
            raise TopologyError(
                f"the first {len(tables)} of {len(ports)} nodes have {total} routes already, more than can be carried around: such a graph "
                "has no shape to join routes by; set benito:routing to tree, where ways need not be the shortest, or to manual, and give "
                "the routes that are needed as benito:routes"
            )
    return tables


def _check_neighbours(count: int) -> None:
    if count > MOST_NEIGHBOURS:
        raise TopologyError(
            f"routers have more than {MOST_NEIGHBOURS} neighbours, all together, and so many routes cannot be computed: put fewer of them "
            "into one substrate, or set benito:routing to manual, and give the routes that are needed as benito:routes"
        )


class _Network:
    """Who leads where: what hangs on tips (see branches.py) is known at once, and only in the core is there something to measure."""

    def __init__(
        self, ports: Mapping[str, Mapping[int, Port]], transit: Mapping[str, Sequence[int]], names: Sequence[str], bits: Sequence[int]
    ) -> None:
        """``ports`` are those of each node, ``transit`` are the subnets between which each router forwards.

        ``names`` are those of the subnets, ``bits`` the bit set that each is.
        """
        self.ports = ports
        self.transit = transit
        self.names = names
        self.bits = bits
        self.branches = Branches(transit, bits)
        attached = {
            router: union(self._with_hanging(number) for number in numbers)
            for router, numbers in transit.items()
            if router not in self.branches.root
        }
        self.distances = Distances((left for left in self.branches.left if len(left) > 1), attached)
        self.parts = self._parts({router: self.distances.reached(router) for router in attached})

    def _with_hanging(self, number: int) -> int:
        return self.bits[number] | self.branches.hanging[number]

    def _parts(self, known: Mapping[str, int]) -> dict[int, int]:
        """Return for each subnet with routers all those it is connected with, itself too."""
        parts = {number: whole for router, whole in known.items() for number in self.transit[router]}
        for router, root in reversed(self.branches.root.items()):
            parts.update(dict.fromkeys(self.transit[router], parts[root]))
        return parts

    def _tips(self, number: int, node: str | None = None) -> Ways:
        """Return what lies behind the tips on a subnet, but for the node itself."""
        tips = (router for router in self.branches.tips[number] if router != node)
        return [(self._hop(router, number), self.branches.behind[router]) for router in tips]

    def _hop(self, router: str, number: int) -> _Hop:
        return _Hop(router, self.ports[router][number].address, number)

    def ways_of(self, router: str) -> Ways:
        """Return where a router's neighbours lead."""
        root = self.branches.root.get(router)
        ways = self._across(router) if root is None else self.ways_from(root, router)
        return [*ways, *(way for number in self.transit[router] if number != root for way in self._tips(number))]

    def _across(self, router: str) -> Ways:
        """Return where the neighbours in the core lead a router of the core."""
        first: dict[str, int] = {}
        for number in sorted(self.transit[router], key=self.names.__getitem__):
            for neighbour in self.branches.left[number]:
                first.setdefault(neighbour, number)
        ways = ((self._hop(other, first[other]), self.distances.nearer(router, other)) for other in sorted(first))
        return [way for way in ways if way[1]]

    def ways_from(self, number: int, node: str | None = None) -> Ways:
        """Return where those lead that a node with one way out meets there."""
        known = self._with_hanging(number)
        left = sorted(self.branches.left[number])
        upward: Ways = []
        if len(left) > 1:
            nearest = zip(left, self.distances.nearest(left), strict=True)
            upward = [(self._hop(router, number), networks & ~known) for router, networks in nearest]
        elif last := self.branches.up[number] or next(iter(left), None):
            upward = [(self._hop(last, number), self.parts[number] & ~known)]
        return [*upward, *self._tips(number, node)]


def _table(ways: Ways, own: Mapping[int, Port], prefixes: Prefixes) -> tuple[Route, ...]:
    """Return the table of a node with these ports."""
    at_hand = union(prefixes.bits[number] for number in own)
    # Where packets go along a tree, it may lead a longer way to a subnet that the node is on.
    ways = [(hop, networks & ~at_hand) for hop, networks in ways]
    small = prefixes.count(union(networks for dummy, networks in ways)) <= SUMMARISE_ABOVE
    routes = prefixes.explicit(ways) if small else prefixes.smallest(ways, at_hand)
    return tuple([Route(to, hop.address, own[hop.subnet].interface) for hop, to in routes])


def _ports(subnets: Sequence[Subnet]) -> dict[str, dict[int, Port]]:
    """Return per node its port on each subnet; of several on one subnet the first."""
    ports: dict[str, dict[int, Port]] = {}
    for number, subnet in enumerate(subnets):
        for port in subnet.ports:
            ports.setdefault(port.node, {}).setdefault(number, port)
    return ports


# Manual routes


def parse_manual(text: str, where: Location) -> tuple[ManualRoute, ...]:
    """Read ``DEST via NODE; DEST via NODE``; empty text is no route."""
    routes = []
    for statement in filter(None, map(str.strip, text.split(";"))):
        match = re.fullmatch(r"(\S+)\s+via\s+(\S+)", statement)
        if match is None:
            raise TopologyError(f"{one_line(statement)} is not a route; write DESTINATION via NODE, with a semicolon between routes", where)
        routes.append(ManualRoute(match[1], match[2], where))
    return tuple(routes)


def manual_routes(wanted: Mapping[str, Sequence[ManualRoute]], subnets: Sequence[Subnet]) -> dict[str, tuple[Route, ...]]:
    """Return each node's table with just the routes the file asks for, each destination by itself, in their order.

    A node as destination means its first address alone, a substrate its network. Raises TopologyError for a destination or neighbour
    that does not exist, a next hop that shares no substrate, and two ways to one destination.
    """
    atlas = _Atlas(subnets)
    tables: dict[str, tuple[Route, ...]] = dict.fromkeys(atlas.ports, ())
    for node, routes in wanted.items():
        found: dict[IPv4Network, Route] = {}
        for route in routes:
            network = atlas.destination(node, route)
            resolved = Route((str(network),), *atlas.next_hop(node, route))
            if found.setdefault(network, resolved) != resolved:
                raise TopologyError(
                    f"node {one_line(node)} has two routes to {network}, via {found[network].via} and via {resolved.via}; keep one",
                    route.where,
                )
        tables[node] = tuple(found[network] for network in sorted(found))
    return tables


class _Atlas:
    """Names of the experiment, looked up."""

    def __init__(self, subnets: Sequence[Subnet]) -> None:
        self.subnets = subnets
        self.ports = _ports(subnets)
        self.networks = {subnet.name: IPv4Network(subnet.network) for subnet in subnets}

    def destination(self, node: str, route: ManualRoute) -> IPv4Network:
        if route.to == node:
            raise TopologyError(f"node {one_line(node)} has a route to itself; name another destination", route.where)
        if route.to in self.ports:
            return IPv4Network(next(iter(self.ports[route.to].values())).address)
        network = self.networks.get(route.to) or self._literal(route)
        if any(self.networks[self.subnets[number].name] == network for number in self.ports.get(node, ())):
            raise TopologyError(f"node {one_line(node)} is itself on {one_line(route.to)} and needs no route to it", route.where)
        return network

    @staticmethod
    def _literal(route: ManualRoute) -> IPv4Network:
        address, slash, length = route.to.partition("/")
        try:
            IPv4Address(address)
            if slash and not re.fullmatch("[0-9]{1,2}", length):
                raise ValueError
            network = IPv4Network(route.to, strict=False)
        except ValueError:
            raise TopologyError(
                f"there is no node or substrate named {one_line(route.to)}; a destination is one of these or an address a.b.c.d[/length]",
                route.where,
            ) from None
        if slash and str(network.network_address) != address:
            raise TopologyError(f"{route.to} has bits set behind its prefix; write {network}", route.where)
        return network

    def next_hop(self, node: str, route: ManualRoute) -> tuple[str, str]:
        """Return the neighbour's address and the node's own interface towards it."""
        if route.via not in self.ports:
            raise TopologyError(f"there is no node named {one_line(route.via)} with an address, to route via", route.where)
        mine, theirs = self.ports.get(node, {}), self.ports[route.via]
        common = [] if route.via == node else sorted(mine.keys() & theirs.keys(), key=lambda number: self.subnets[number].name)
        if not common:
            raise TopologyError(
                f"node {one_line(node)} routes via {one_line(route.via)}, but they share no substrate; a next hop must be a neighbour",
                route.where,
            )
        return theirs[common[0]].address, mine[common[0]].interface

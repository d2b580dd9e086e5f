# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Route tables: computed, shortest in hops, one route per node and subnet; or those the file asks for.

Every node on two subnets or more forwards. A table of more than SUMMARISE_ABOVE routes is summarised, but only into prefixes that
forward every address of the experiment as before and cover no other address (see summaries.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from operator import itemgetter

from .branches import Branches
from .diagnostics import NOWHERE, Location, TopologyError, one_line
from .summaries import Summaries

SUMMARISE_ABOVE = 128


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


@dataclass(frozen=True)
class Route:
    """The way to a prefix: via a neighbour's address, out of the node's own ``interface``."""

    to: str
    via: str
    interface: str


@dataclass(frozen=True)
class ManualRoute:
    """A route of the file: ``to`` a node, a substrate or a.b.c.d[/len], ``via`` a neighbouring node."""

    to: str
    via: str
    where: Location = field(default=NOWHERE, compare=False)


# Computed routes


@dataclass(frozen=True)
class _Hop:
    router: str
    address: str
    subnet: int


Ways = list[tuple[_Hop, int]]  # hops, and the set of subnets that each leads to; sets of subnets are bit sets, and no two overlap


@dataclass
class _Listener:
    """Someone who hears from neighbouring routers which subnets they reach.

    That is a router, or for all the nodes with one way out of a subnet (the subnet's crowd) their subnet.
    """

    hops: list[_Hop]  # in order of preference
    missing: int  # subnets not heard of yet
    learnt: list[int]  # per hop, the subnets it was the first to name

    @property
    def ways(self) -> Ways:
        return list(zip(self.hops, self.learnt, strict=True))


def compute_routes(subnets: Sequence[Subnet]) -> dict[str, tuple[Route, ...]]:
    """Return each node's table, in the order of destinations; subnets a node is on, or cannot reach, are not in it.

    Of the neighbours that are nearest to a subnet, in hops, the first by name is taken, and then the first substrate by name.
    """
    ordered = sorted(subnets, key=lambda subnet: (IPv4Network(subnet.network), subnet.name))
    summaries = Summaries([IPv4Network(subnet.network) for subnet in ordered])
    ports = _ports(ordered)
    network = _Network(ports, [subnet.name for subnet in ordered])
    shared: dict[tuple[int, str], tuple[Route, ...]] = {}
    tables: dict[str, tuple[Route, ...]] = {}
    for node, own in ports.items():
        if len(own) > 1:
            pieces = _pieces(network.ways_of(node), summaries)
            tables[node] = tuple([Route(prefix, hop.address, own[hop.subnet].interface) for dummy, prefix, hop in pieces])
            continue
        ((number, port),) = own.items()
        key = (number, port.interface)
        if key not in shared:
            pieces = _pieces(network.ways_from(number), summaries)
            shared[key] = tuple([Route(prefix, hop.address, port.interface) for dummy, prefix, hop in pieces])
        tables[node] = shared[key]
    return tables


class _Network:
    """Who leads where: what hangs on tips (see branches.py) is known at once, and only in the core is there something to spread."""

    def __init__(self, ports: Mapping[str, Mapping[int, Port]], names: Sequence[str]) -> None:
        """``ports`` are those of each node, ``names`` those of the subnets."""
        self.ports = ports
        self.names = names
        own = {node: tuple(on) for node, on in ports.items() if len(on) > 1}
        self.branches = Branches(own, len(names))
        core = {router: numbers for router, numbers in own.items() if router not in self.branches.root}
        attached = {router: _union(self._with_hanging(number) for number in numbers) for router, numbers in core.items()}
        everything = (1 << len(names)) - 1

        def listener(node: str | None, numbers: Sequence[int], known: int) -> _Listener:
            hops = [_Hop(router, ports[router][n].address, n) for n in numbers for router in self.branches.left[n] if router != node]
            hops.sort(key=lambda hop: (hop.router, names[hop.subnet]))
            return _Listener(hops, everything & ~known, [0] * len(hops))

        self.core = {router: listener(router, numbers, attached[router]) for router, numbers in core.items()}
        # A crowd with one router hears what that router knows in the end; only choices have to be watched as they arise.
        crowds = [n for n, left in enumerate(self.branches.left) if len(left) > 1]
        self.choosers = {number: listener(None, (number,), self._with_hanging(number)) for number in crowds}
        _spread(self.core, self.choosers.values(), attached)
        self.parts = self._parts(own, {router: attached[router] | _union(heard.learnt) for router, heard in self.core.items()})

    def _with_hanging(self, number: int) -> int:
        return 1 << number | self.branches.hanging[number]

    def _parts(self, own: Mapping[str, Sequence[int]], known: Mapping[str, int]) -> dict[int, int]:
        """Return for each subnet with routers all those it is connected with, itself too."""
        parts = {number: whole for router, whole in known.items() for number in own[router]}
        for router, root in reversed(self.branches.root.items()):
            parts.update(dict.fromkeys(own[router], parts[root]))
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
        ways = self.core[router].ways if root is None else self.ways_from(root, router)
        return [*ways, *(way for number in self.ports[router] if number != root for way in self._tips(number))]

    def ways_from(self, number: int, node: str | None = None) -> Ways:
        """Return where those lead that a node with one way out meets there."""
        if number in self.choosers:
            upward = self.choosers[number].ways
        else:
            last = self.branches.up[number] or next(iter(self.branches.left[number]), None)
            upward = [(self._hop(last, number), self.parts[number] & ~self._with_hanging(number))] if last else []
        return [*upward, *self._tips(number, node)]


def _ports(subnets: Sequence[Subnet]) -> dict[str, dict[int, Port]]:
    """Return per node its port on each subnet; of several on one subnet the first."""
    ports: dict[str, dict[int, Port]] = {}
    for number, subnet in enumerate(subnets):
        for port in subnet.ports:
            ports.setdefault(port.node, {}).setdefault(number, port)
    return ports


def _spread(routers: Mapping[str, _Listener], choosers: Iterable[_Listener], attached: Mapping[str, int]) -> None:
    """Let every router tell its neighbours, round by round, which subnets it has newly heard of, starting with its own.

    What arrives in round N is N hops away, and so the first to name a subnet is on a shortest way to it.
    """
    choosers = list(choosers)
    news: Mapping[str, int] = attached
    while news:
        latest: dict[str, int] = {}
        for node, router in routers.items():
            heard = _hear(router, news)
            if heard:
                latest[node] = heard
        for crowd in choosers:
            _hear(crowd, news)
        news = latest


def _hear(listener: _Listener, news: Mapping[str, int]) -> int:
    """Take in what the neighbours have to tell; return what was new."""
    missing = listener.missing
    for position, hop in enumerate(listener.hops):
        told = news.get(hop.router, 0) & missing
        if told:
            listener.learnt[position] |= told
            missing ^= told
    heard = listener.missing ^ missing
    listener.missing = missing
    return heard


def _union(sets: Iterable[int]) -> int:
    """Return the union of bit sets."""
    union = 0
    for one in sets:
        union |= one
    return union


def _pieces(ways: Ways, summaries: Summaries) -> list[tuple[int, str, _Hop]]:
    """Return a table in the order of destinations: number of the first network, prefix, the way there."""
    total = sum(networks.bit_count() for dummy, networks in ways)
    prefixes: Callable[[int], Iterator[tuple[int, str]]] = summaries.summarised if total > SUMMARISE_ABOVE else summaries.explicit
    return sorted([(number, prefix, hop) for hop, networks in ways for number, prefix in prefixes(networks)], key=itemgetter(0))


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
    """Return each node's table with just the routes the file asks for, in the order of destinations.

    A node as destination means its first address alone, a substrate its network. Raises TopologyError for a destination or neighbour
    that does not exist, a next hop that shares no substrate, and two ways to one destination.
    """
    atlas = _Atlas(subnets)
    tables: dict[str, tuple[Route, ...]] = dict.fromkeys(atlas.ports, ())
    for node, routes in wanted.items():
        found: dict[IPv4Network, Route] = {}
        for route in routes:
            network = atlas.destination(node, route)
            resolved = Route(str(network), *atlas.next_hop(node, route))
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

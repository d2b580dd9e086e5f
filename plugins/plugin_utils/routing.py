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


@dataclass
class _Listener:
    """Someone who hears from neighbouring routers which subnets they reach.

    That is a router, or for all the nodes with one subnet (the subnet's leaves) their subnet. Sets of subnets are bit sets.
    """

    hops: list[_Hop]  # in order of preference
    missing: int  # subnets not heard of yet
    learnt: list[int]  # per hop, the subnets it was the first to name


@dataclass(frozen=True)
class _Hop:
    router: str
    address: str
    subnet: int


Pieces = list[tuple[int, str, "_Hop"]]  # number of the first network, prefix, the way there


def compute_routes(subnets: Sequence[Subnet]) -> dict[str, tuple[Route, ...]]:
    """Return each node's table, in the order of destinations; subnets a node is on, or cannot reach, are not in it.

    Of the neighbours that are nearest to a subnet, in hops, the first by name is taken, and then the first substrate by name.
    """
    ordered = sorted(subnets, key=lambda subnet: (IPv4Network(subnet.network), subnet.name))
    summaries = Summaries([IPv4Network(subnet.network) for subnet in ordered])
    ports = _ports(ordered)
    attached = {node: sum(1 << number for number in own) for node, own in ports.items()}
    everything = (1 << len(ordered)) - 1

    routers_on: list[list[_Hop]] = [[] for dummy in ordered]
    for node, own in ports.items():
        if len(own) > 1:
            for number, port in own.items():
                routers_on[number].append(_Hop(node, port.address, number))

    def listener(node: str | None, numbers: Iterable[int]) -> _Listener:
        hops = [hop for number in numbers for hop in routers_on[number] if hop.router != node]
        hops.sort(key=lambda hop: (hop.router, ordered[hop.subnet].name))
        return _Listener(hops, everything & ~sum(1 << number for number in numbers), [0] * len(hops))

    routers = {node: listener(node, own) for node, own in ports.items() if len(own) > 1}
    crowds = {number: listener(None, own) for own in ports.values() if len(own) == 1 for number in own}
    _spread(routers, crowds, attached)

    pieces_of = {node: _pieces(heard, summaries) for node, heard in routers.items()}
    pieces_on = {number: _pieces(heard, summaries) for number, heard in crowds.items()}
    shared: dict[tuple[int, str], tuple[Route, ...]] = {}
    tables: dict[str, tuple[Route, ...]] = {}
    for node, own in ports.items():
        if node in pieces_of:
            tables[node] = tuple(Route(prefix, hop.address, own[hop.subnet].interface) for dummy, prefix, hop in pieces_of[node])
            continue
        ((number, port),) = own.items()
        key = (number, port.interface)
        if key not in shared:
            shared[key] = tuple(Route(prefix, hop.address, port.interface) for dummy, prefix, hop in pieces_on[number])
        tables[node] = shared[key]
    return tables


def _ports(subnets: Sequence[Subnet]) -> dict[str, dict[int, Port]]:
    """Return per node its port on each subnet; of several on one subnet the first."""
    ports: dict[str, dict[int, Port]] = {}
    for number, subnet in enumerate(subnets):
        for port in subnet.ports:
            ports.setdefault(port.node, {}).setdefault(number, port)
    return ports


def _spread(routers: Mapping[str, _Listener], crowds: Mapping[int, _Listener], attached: Mapping[str, int]) -> None:
    """Let every router tell its neighbours, round by round, which subnets it has newly heard of, starting with its own.

    What arrives in round N is N hops away, and so the first to name a subnet is on a shortest way to it.
    """
    # A crowd with one router hears what that router knows in the end; only choices have to be watched as they arise.
    choosers = [crowd for crowd in crowds.values() if len(crowd.hops) > 1]
    news = {node: attached[node] for node in routers}
    while news:
        latest: dict[str, int] = {}
        for node, router in routers.items():
            heard = _hear(router, news)
            if heard:
                latest[node] = heard
        for crowd in choosers:
            _hear(crowd, news)
        news = latest
    for number, crowd in crowds.items():
        if len(crowd.hops) == 1:
            only = crowd.hops[0].router
            crowd.learnt[0] = (attached[only] | _union(routers[only].learnt)) & ~(1 << number)


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


def _pieces(heard: _Listener, summaries: Summaries) -> Pieces:
    """Return the table of a listener, in the order of destinations."""
    total = sum(networks.bit_count() for networks in heard.learnt)
    prefixes: Callable[[int], Iterator[tuple[int, str]]] = summaries.summarised if total > SUMMARISE_ABOVE else summaries.explicit
    found = ((number, prefix, hop) for hop, networks in zip(heard.hops, heard.learnt, strict=True) for number, prefix in prefixes(networks))
    return sorted(found, key=lambda piece: piece[0])


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

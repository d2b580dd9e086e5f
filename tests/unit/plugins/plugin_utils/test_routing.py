# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes: packets are walked through the tables, whichever of the nearest neighbours these prefer."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from ipaddress import IPv4Address, IPv4Network
from random import Random
from typing import NamedTuple
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.plugin_utils import routing
from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import Location, TopologyError
from ansible_collections.benito.testbed.plugins.plugin_utils.routing import (
    ManualRoute,
    Port,
    Route,
    Subnet,
    parse_manual,
)
from tests.bench.shapes import SHAPES

HERE = Location("lab.topdl", 7, 3)


class Line(NamedTuple):
    """A route to one prefix, as in a kernel's table."""

    to: str
    via: str
    interface: str


Tables = Mapping[str, Sequence[Line]]


def lines(tables: Mapping[str, Sequence[Route]]) -> dict[str, tuple[Line, ...]]:
    """Take tables apart, in the order of destinations."""
    found = {node: [Line(to, route.via, route.interface) for route in table for to in route.to] for node, table in tables.items()}
    return {node: tuple(sorted(table, key=lambda line: (first(line.to), mask(line.to)))) for node, table in found.items()}


def compute_routes(subnets: Sequence[Subnet]) -> dict[str, tuple[Line, ...]]:
    return lines(routing.compute_routes(subnets))


def manual_routes(wanted: Mapping[str, Sequence[ManualRoute]], subnets: Sequence[Subnet]) -> dict[str, tuple[Line, ...]]:
    return lines(routing.manual_routes(wanted, subnets))


def subnets_of(links: Mapping[str, Sequence[str]], networks: Sequence[str] = ()) -> list[Subnet]:
    """Number the interfaces of each node and the addresses of each network in order."""
    used: dict[str, int] = {}
    found = []
    for position, (name, members) in enumerate(links.items()):
        network = IPv4Network(networks[position] if networks else f"10.{position // 256}.{position % 256}.0/24")
        ports = []
        for host, node in enumerate(members, 1):
            ports.append(Port(node, f"inf{used.get(node, 0):03d}", str(network[host])))
            used[node] = used.get(node, 0) + 1
        found.append(Subnet(name, str(network), tuple(ports)))
    return found


def best_route(table: Sequence[Line], address: str) -> Line | None:
    """Longest prefix match."""
    matching = [route for route in table if number(address) & mask(route.to) == first(route.to)]
    return max(matching, key=lambda route: mask(route.to), default=None)


@cache
def number(address: str) -> int:
    return int(IPv4Address(address))


@cache
def first(prefix: str) -> int:
    return int(IPv4Network(prefix).network_address)


@cache
def mask(prefix: str) -> int:
    return int(IPv4Network(prefix).netmask)


def smallest(subnets: Sequence[Subnet]) -> Tables:
    """The tables, as if they all were large."""
    with mock.patch.object(routing, "SUMMARISE_ABOVE", 0):
        return compute_routes(subnets)


def distances(subnets: Sequence[Subnet], goal: Subnet) -> dict[str, int]:
    """Return how many routers away from a subnet each node is that reaches it."""
    on: dict[str, list[Subnet]] = {}
    for subnet in subnets:
        for port in subnet.ports:
            on.setdefault(port.node, []).append(subnet)
    found = {port.node: 0 for port in goal.ports}
    queue = deque(found)
    while queue:
        node = queue.popleft()
        if len(on[node]) > 1:
            for neighbour in (port.node for subnet in on[node] for port in subnet.ports):
                if neighbour not in found:
                    found[neighbour] = found[node] + 1
                    queue.append(neighbour)
    return found


def walk_everywhere(subnets: Sequence[Subnet], tables: Tables) -> None:
    """Send a packet from every node to every address: each hop must come one nearer, and where there is no way there is no route."""
    ports = {(port.node, port.interface): subnet for subnet in subnets for port in subnet.ports}
    owner = {port.address: port.node for subnet in subnets for port in subnet.ports}
    for goal in subnets:
        away = distances(subnets, goal)
        for node in tables:
            for target in goal.ports:
                if node not in away:
                    assert best_route(tables[node], target.address) is None
                    continue
                here = node
                for left in range(away[node], 0, -1):
                    route = best_route(tables[here], target.address)
                    assert route is not None
                    neighbours = {port.address for port in ports[here, route.interface].ports}
                    assert route.via in neighbours
                    here = owner[route.via]
                    assert away[here] == left - 1
                assert here == target.node or here in {port.node for port in goal.ports}


@st.composite
def experiments(draw: st.DrawFn) -> list[Subnet]:
    count = draw(st.integers(2, 12))
    nodes = [f"n-{number}" for number in range(count)]
    # A long thin tree, with links missing and others added.
    links = [[nodes[number], nodes[max(number - draw(st.sampled_from([1, 1, 1, 2, 5])), 0)]] for number in range(1, count)]
    links = [link for link in links if draw(st.integers(0, 9))]
    links += draw(st.lists(st.lists(st.sampled_from(nodes), min_size=1, max_size=4, unique=True), min_size=1, max_size=8))
    # Small neighbouring networks of mixed sizes, so that there are larger prefixes.
    sizes = draw(st.lists(st.sampled_from([29, 29, 29, 28, 27]), min_size=len(links), max_size=len(links)))
    networks, free = [], int(IPv4Address("10.0.0.0"))
    for length in sizes:
        step = 1 << (32 - length)
        free = -(-free // step) * step
        networks.append(f"{IPv4Address(free)}/{length}")
        free += step * draw(st.sampled_from([1, 1, 1, 2]))
    order = draw(st.permutations(networks))
    return subnets_of({f"link-{number}": names for number, names in enumerate(links)}, order)


@given(experiments())
@settings(max_examples=120, deadline=None)
def test_packets_arrive_by_shortest_paths(subnets: list[Subnet]) -> None:
    walk_everywhere(subnets, compute_routes(subnets))


@given(experiments())
@settings(max_examples=120, deadline=None)
def test_small_tables_go_shortest_ways_and_nowhere_else(subnets: list[Subnet]) -> None:
    explicit = compute_routes(subnets)
    tables = smallest(subnets)
    walk_everywhere(subnets, tables)
    owner = {(subnet.name, port.address): port.node for subnet in subnets for port in subnet.ports}
    reached_by = {(port.node, port.interface): subnet.name for subnet in subnets for port in subnet.ports}
    networks = {IPv4Network(goal.network): distances(subnets, goal) for goal in subnets}
    for node, table in tables.items():
        assert len(table) <= len(explicit[node])
        for prefix in (IPv4Network(route.to) for route in table):
            # Nobody's addresses and those out of reach are not covered, and what the node is on only by the way.
            covered = {network: away.get(node) for network, away in networks.items() if network.subnet_of(prefix)}
            assert sum(network.num_addresses for network in covered) == prefix.num_addresses
            assert None not in covered.values() and any(covered.values())
        for network, away in networks.items():
            for address in (network[0], network[1], network[-1]) if away.get(node) else ():
                route = best_route(table, str(address))
                assert route is not None
                assert away[owner[reached_by[node, route.interface], route.via]] == away[node] - 1


@pytest.mark.parametrize("by_tree", [False, True])
@pytest.mark.parametrize("limit", [routing.SUMMARISE_ABOVE, 0])
@given(subnets=experiments(), random=st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_the_order_does_not_matter(limit: int, by_tree: bool, subnets: list[Subnet], random: Random) -> None:
    shuffled = [replace(subnet, ports=tuple(random.sample(subnet.ports, len(subnet.ports)))) for subnet in subnets]
    random.shuffle(shuffled)
    with mock.patch.object(routing, "SUMMARISE_ABOVE", limit):
        assert routing.compute_routes(shuffled, by_tree) == routing.compute_routes(subnets, by_tree)


@pytest.mark.parametrize("limit", [routing.SUMMARISE_ABOVE, 0])
@given(subnets=experiments())
@settings(max_examples=120, deadline=None)
def test_along_a_tree_packets_arrive_too(limit: int, subnets: list[Subnet]) -> None:
    """From every node to every address, never twice over one node; there is no route to what is at hand, nor to what is out of reach."""
    with mock.patch.object(routing, "SUMMARISE_ABOVE", limit):
        tables = lines(routing.compute_routes(subnets, by_tree=True))
    owner = {port.address: port.node for subnet in subnets for port in subnet.ports}
    on = {(port.node, port.interface): subnet for subnet in subnets for port in subnet.ports}
    for goal in subnets:
        away = distances(subnets, goal)
        members = {port.node for port in goal.ports}
        for node, table in tables.items():
            assert node not in members or goal.network not in [route.to for route in table]
            here, passed = node, set[str]()
            while away.get(node) and here not in members:
                assert here not in passed
                passed.add(here)
                route = best_route(tables[here], goal.ports[0].address)
                assert route is not None and route.via in {port.address for port in on[here, route.interface].ports}
                here = owner[route.via]
            assert node in away or best_route(table, goal.ports[0].address) is None


def test_along_a_tree_few_routes_do_in_a_network_without_order() -> None:
    subnets = shaped("random", 300)
    shortest, by_tree = (
        sum(len(route.to) for table in routing.compute_routes(subnets, along).values() for route in table) for along in (False, True)
    )
    assert by_tree * 2 < shortest


@pytest.mark.parametrize("limit", [routing.SUMMARISE_ABOVE, 0])
@given(subnets=experiments())
@settings(max_examples=50, deadline=None)
def test_one_route_for_each_next_hop_in_the_order_of_destinations(limit: int, subnets: list[Subnet]) -> None:
    with mock.patch.object(routing, "SUMMARISE_ABOVE", limit):
        tables = routing.compute_routes(subnets)
    for table in tables.values():
        assert len({(route.via, route.interface) for route in table}) == len(table)
        for to in (tuple(route.to[0] for route in table), *(route.to for route in table)):
            assert list(to) == sorted(to, key=IPv4Network)


def test_star_of_three_links() -> None:
    subnets = subnets_of({"ab": ["a", "hub"], "bb": ["b", "hub"], "cb": ["c", "hub"]})
    tables = compute_routes(subnets)
    assert tables["hub"] == ()
    assert tables["b"] == (Line("10.0.0.0/24", "10.0.1.2", "inf000"), Line("10.0.2.0/24", "10.0.1.2", "inf000"))


def test_ties_go_to_the_first_neighbour_by_name_and_then_to_the_first_substrate() -> None:
    subnets = subnets_of(
        {"z": ["a", "m"], "y": ["a", "k"], "x": ["a", "k"], "yy": ["a", "k"], "w": ["m", "goal"], "v": ["k", "goal"], "u": ["goal", "far"]}
    )
    route = best_route(compute_routes(subnets)["a"], "10.0.6.2")
    assert route == Line("10.0.6.0/24", "10.0.2.2", "inf002")  # over x, to k


@given(experiments())
@settings(max_examples=120, deadline=None)
def test_every_route_follows_the_rule_of_ties(subnets: list[Subnet]) -> None:
    tables = compute_routes(subnets)
    routers = {node for node, own in routing._ports(subnets).items() if len(own) > 1}
    for goal in subnets:
        away = distances(subnets, goal)
        for node, table in tables.items():
            if not away.get(node):
                continue
            dummy, dummy, port = min(
                (other.node, subnet.name, other.address)
                for subnet in subnets
                if any(mine.node == node for mine in subnet.ports)
                for other in subnet.ports
                if other.node in routers and away.get(other.node) == away[node] - 1
            )
            assert [route.via for route in table if route.to == goal.network] == [port]


def test_separate_parts_have_no_routes_to_each_other() -> None:
    subnets = subnets_of({"ab": ["a", "b"], "bc": ["b", "c"], "xy": ["x", "y"]})
    tables = compute_routes(subnets)
    assert [route.to for route in tables["a"]] == ["10.0.1.0/24"]
    assert tables["x"] == ()


def test_two_ports_on_one_subnet_do_not_make_a_router() -> None:
    subnets = [
        Subnet("lan", "10.0.0.0/24", (Port("a", "inf000", "10.0.0.1"), Port("a", "inf001", "10.0.0.2"), Port("r", "inf000", "10.0.0.3"))),
        Subnet("far", "10.0.1.0/24", (Port("r", "inf001", "10.0.1.1"),)),
    ]
    assert compute_routes(subnets)["a"] == (Line("10.0.1.0/24", "10.0.0.3", "inf000"),)


def test_nested_networks_keep_their_own_way() -> None:
    links = {"outer": ["b", "x"], "inner": ["c", "y"], "ab": ["a", "b"], "ac": ["a", "c"], "next": ["b", "z"]}
    subnets = subnets_of(links, ["10.0.0.0/24", "10.0.0.128/25", "10.9.0.0/24", "10.9.1.0/24", "10.0.1.0/24"])
    assert [(route.to, route.via) for route in smallest(subnets)["a"]] == [
        ("10.0.0.0/24", "10.9.0.2"),
        ("10.0.0.128/25", "10.9.1.2"),
        ("10.0.1.0/24", "10.9.0.2"),
    ]


def test_explicit_up_to_the_limit_and_small_above() -> None:
    def leaf_table(links: int) -> tuple[Line, ...]:
        return compute_routes(subnets_of({f"l-{n}": ["hub", f"n-{n}"] for n in range(links)}))["n-0"]

    assert [route.to for route in leaf_table(129)] == [f"10.0.{number}.0/24" for number in range(1, 129)]
    assert [route.to for route in leaf_table(130)] == ["10.0.0.0/17", "10.0.128.0/23"]


def test_a_way_that_is_as_short_is_taken_where_it_makes_the_table_smaller() -> None:
    links = {"ab": ["a", "b"], "ac": ["a", "c"], "to-d": ["b", "c", "d"], "bx": ["b", "x"], "cx": ["c", "x"], "cy": ["c", "y"]}
    subnets = subnets_of(links, ["10.9.0.0/24", "10.9.2.0/24", "10.0.0.0/24", "10.0.2.0/24", "10.0.1.0/24", "10.0.3.0/24"])
    assert [(r.to, r.via) for r in compute_routes(subnets)["a"]] == [
        *(("10.0.0.0/24", "10.9.0.2"), ("10.0.1.0/24", "10.9.2.2"), ("10.0.2.0/24", "10.9.0.2"), ("10.0.3.0/24", "10.9.2.2")),
    ]
    assert [(r.to, r.via) for r in smallest(subnets)["a"]] == [("10.0.0.0/22", "10.9.2.2"), ("10.0.2.0/24", "10.9.0.2")]


def walk(subnets: Sequence[Subnet], tables: Tables, start: str, goal: Subnet) -> None:
    """Send a packet from a node to the first address of a subnet: it must arrive by a shortest way."""
    owner = {port.address: port.node for subnet in subnets for port in subnet.ports}
    away = distances(subnets, goal)
    here = start
    for left in range(away[start], 0, -1):
        route = best_route(tables[here], goal.ports[0].address)
        assert route is not None
        here = owner[route.via]
        assert away[here] == left - 1


def shaped(shape: str, nodes: int) -> list[Subnet]:
    return subnets_of({f"l-{n:05d}": [f"n-{node:05d}" for node in link] for n, link in enumerate(SHAPES[shape](nodes))})


@pytest.mark.parametrize(
    ("shape", "nodes", "average", "most"), [("chain", 1000, 12, 24), ("grid", 1000, 24, 64), ("fat-tree", 1344, 128, 1100)]
)
def test_large_networks_have_small_tables(shape: str, nodes: int, average: int, most: int) -> None:
    subnets = shaped(shape, nodes)
    tables = compute_routes(subnets)
    sizes = [len(table) for table in tables.values()]
    assert sum(sizes) <= average * len(tables) and max(sizes) <= most
    dice = Random(1)
    for dummy in range(10):
        walk(subnets, tables, dice.choice(list(tables)), dice.choice(subnets))


def test_more_routes_than_can_be_carried_around_are_refused() -> None:
    star = [
        Subnet(f"lan{n}", f"10.0.{n}.0/30", (Port("hub", f"i{n}", f"10.0.{n}.1"), Port(f"n{n}", "i0", f"10.0.{n}.2"))) for n in range(9)
    ]
    assert sum(len(route.to) for table in routing.compute_routes(star).values() for route in table) == 72
    with (
        mock.patch.object(routing, "MOST_ROUTES", 71),
        pytest.raises(TopologyError, match=r"the first 10 of 10 nodes have 72 routes already.*benito:routing to tree.*or to manual"),
    ):
        routing.compute_routes(star)


def test_nothing_gives_nothing() -> None:
    assert compute_routes([]) == {}
    assert compute_routes([Subnet("lonely", "10.0.0.0/24", ())]) == {}


# Manual routes


def test_parse_manual() -> None:
    routes = parse_manual(" n-2 via hub;\n10.0.3.0/24   via  hub ; ", HERE)
    assert [(route.to, route.via, route.where) for route in routes] == [("n-2", "hub", HERE), ("10.0.3.0/24", "hub", HERE)]
    assert parse_manual(" ", HERE) == ()


@pytest.mark.parametrize("text", ["n-2", "n-2 via", "n-2 through hub", "via hub", "a via b via c", "a b via c", "a via b, c via d"])
def test_parse_manual_refuses(text: str) -> None:
    with pytest.raises(TopologyError, match=r"lab\.topdl:7:3: .* is not a route; write DESTINATION via NODE"):
        parse_manual(text, HERE)


STAR = {"left": ["a", "hub"], "right": ["b", "hub"], "spare": ["a", "hub"]}


def test_manual_routes_to_node_substrate_and_address() -> None:
    wanted = {
        "a": [ManualRoute("b", "hub"), ManualRoute("right", "hub"), ManualRoute("192.0.2.0/25", "hub"), ManualRoute("1.2.3.4", "hub")]
    }
    tables = manual_routes(wanted, subnets_of(STAR))
    assert tables["a"] == (
        Line("1.2.3.4/32", "10.0.0.2", "inf000"),
        Line("10.0.1.0/24", "10.0.0.2", "inf000"),
        Line("10.0.1.1/32", "10.0.0.2", "inf000"),
        Line("192.0.2.0/25", "10.0.0.2", "inf000"),
    )
    assert tables["b"] == ()


def test_a_manual_route_said_twice_counts_once() -> None:
    assert len(manual_routes({"a": [ManualRoute("b", "hub"), ManualRoute("10.0.1.1", "hub")]}, subnets_of(STAR))["a"]) == 1


@pytest.mark.parametrize(
    ("node", "route", "message"),
    [
        ("a", ManualRoute("nobody", "hub", HERE), "no node or substrate named 'nobody'"),
        ("a", ManualRoute("10.0.1.300", "hub", HERE), "no node or substrate named '10.0.1.300'"),
        ("a", ManualRoute("10.0.1.0/33", "hub", HERE), "no node or substrate named"),
        ("a", ManualRoute("10.0.1.0/255.255.255.0", "hub", HERE), "no node or substrate named"),
        ("a", ManualRoute("10.0.1.7/24", "hub", HERE), "write 10.0.1.0/24"),
        ("a", ManualRoute("b", "nobody", HERE), "no node named 'nobody'"),
        ("a", ManualRoute("right", "b", HERE), "share no substrate"),
        ("a", ManualRoute("right", "a", HERE), "share no substrate"),
        ("a", ManualRoute("a", "hub", HERE), "a route to itself"),
        ("a", ManualRoute("left", "hub", HERE), "is itself on 'left'"),
        ("nobody", ManualRoute("b", "hub", HERE), "share no substrate"),
    ],
)
def test_manual_routes_refuse(node: str, route: ManualRoute, message: str) -> None:
    with pytest.raises(TopologyError, match=message) as refusal:
        manual_routes({node: [route]}, subnets_of(STAR))
    assert refusal.value.where == HERE


def test_two_ways_to_one_destination_are_refused() -> None:
    wanted = {"hub": [ManualRoute("1.2.3.0/24", "a"), ManualRoute("1.2.3.0/24", "b", HERE)]}
    with pytest.raises(TopologyError, match=r"two routes to 1\.2\.3\.0/24"):
        manual_routes(wanted, subnets_of(STAR))

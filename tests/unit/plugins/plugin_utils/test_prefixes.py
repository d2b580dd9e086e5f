# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The smallest tables, against a search of all tables."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from ipaddress import IPv4Address, IPv4Network

from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.plugin_utils.prefixes import Prefixes, Table, members, union

FREE = frozenset("abcd")  # where a network that the node is on may go


def fewest(may: dict[IPv4Network, frozenset[str]]) -> int:
    """Return how many routes are needed at least, by trying: every prefix has a route to any of the hops, or none."""

    @cache
    def cost(prefix: IPv4Network, above: str) -> float:
        if not any(network.subnet_of(prefix) for network in may):
            return float("inf") if above else 0  # nobody's addresses must not go anywhere
        if prefix in may:
            return 0 if may[prefix] == FREE or above in may[prefix] else 1
        halves = tuple(prefix.subnets())
        beneath = {hop: sum(cost(half, hop) for half in halves) for hop in {above, *FREE}}
        return min(beneath[hop] + (hop != above) for hop in beneath)

    return int(cost(IPv4Network("10.0.0.0/25"), ""))


def table_of(may: dict[IPv4Network, frozenset[str]]) -> list[tuple[str, str]]:
    networks = sorted(may)
    prefixes = Prefixes(networks)
    told = [(prefixes.bits[n], may[network]) for n, network in enumerate(networks) if may[network] != FREE]
    ways = [(hop, union(bits for bits, hops in told if hop in hops)) for hop in sorted(FREE)]
    return lines(prefixes.smallest(ways, union(prefixes.bits[n] for n, network in enumerate(networks) if may[network] == FREE)))


def lines(table: Table[str]) -> list[tuple[str, str]]:
    """Return (prefix, hop) in the order of prefixes."""
    return sorted(((prefix, hop) for hop, prefixes in table for prefix in prefixes), key=lambda line: IPv4Network(line[0]))


def goes(table: Sequence[tuple[str, str]], address: IPv4Address) -> str | None:
    matching = [(IPv4Network(prefix), hop) for prefix, hop in table if address in IPv4Network(prefix)]
    return max(matching, key=lambda route: route[0].prefixlen)[1] if matching else None


hops = st.one_of(st.just(FREE), *[st.frozensets(st.sampled_from("abcd"), min_size=1, max_size=3)] * 4)


@given(st.lists(st.one_of(*[hops] * 15, st.none()), min_size=8, max_size=16))
@settings(max_examples=100, deadline=None)
def test_no_table_is_smaller(networks):
    may = {IPv4Network((0x0A000000 + 8 * number, 29)): where for number, where in enumerate(networks) if where}
    table = table_of(may)
    assert len(table) == fewest(may)
    for number in range(16):
        network = IPv4Network((0x0A000000 + 8 * number, 29))
        where = goes(table, network[0])
        if network not in may:
            assert where is None
        elif may[network] != FREE:
            assert where in may[network]


def test_a_longer_prefix_inside_a_shorter_one():
    may = {IPv4Network(f"10.0.{number}.0/24"): frozenset("b" if number == 5 else "a") for number in range(8)}
    assert table_of(may) == [("10.0.0.0/21", "a"), ("10.0.5.0/24", "b")]


def test_what_the_node_is_on_is_covered_by_the_way():
    may = {IPv4Network(f"10.0.{number}.0/24"): FREE if number < 3 else frozenset("a") for number in range(4)}
    assert table_of(may) == [("10.0.0.0/22", "a")]
    assert table_of(dict.fromkeys(may, FREE)) == []


def test_networks_of_several_sizes_share_a_prefix():
    may = dict.fromkeys(map(IPv4Network, ("10.0.0.0/25", "10.0.0.128/26", "10.0.0.192/26", "10.0.1.0/24", "10.0.2.0/23")), frozenset("a"))
    assert table_of(may) == [("10.0.0.0/22", "a")]


def test_a_large_network_beside_small_ones_does_not_cost_a_bit_for_each_of_their_size():
    halved = [f"10.{256 - (1 << 16 - length)}.0.0/{length}" for length in range(9, 17)]
    networks = sorted(map(IPv4Network, [*halved, "10.255.0.0/16"]))  # they fill 10.0.0.0/8, which has 256 of the smallest
    assert sum(one.bit_count() for one in Prefixes(networks).bits) <= 4 * len(networks)
    assert [goes(table_of(dict.fromkeys(networks, frozenset("a"))), network[0]) for network in networks] == ["a"] * len(networks)
    mixed = Prefixes([IPv4Network("10.0.0.0/25"), *IPv4Network("10.0.0.128/25").subnets(new_prefix=27)])
    assert [one.bit_count() for one in mixed.bits] == [4, 1, 1, 1, 1]
    assert mixed.count(union(mixed.bits)) == 5


def test_networks_inside_others_keep_their_own_routes():
    networks = sorted(map(IPv4Network, ("10.0.0.0/24", "10.0.0.0/25", "10.0.0.128/25", "10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24")))
    prefixes = Prefixes(networks)
    assert prefixes.smallest([("a", union(prefixes.bits))], 0) == [
        ("a", ("10.0.0.0/24", "10.0.0.0/25", "10.0.0.128/25", "10.0.1.0/24", "10.0.2.0/23"))
    ]


def test_all_addresses_and_none():
    everything = [IPv4Network("0.0.0.0/1"), IPv4Network("128.0.0.0/1")]
    assert Prefixes(everything).smallest([("a", 3)], 0) == [("a", ("0.0.0.0/0",))]
    assert Prefixes([]).smallest([], 0) == Prefixes([]).explicit([]) == []


def test_explicit_tables_take_the_first():
    prefixes = Prefixes([IPv4Network("10.0.0.0/25"), IPv4Network("10.0.0.128/26"), IPv4Network("10.0.0.192/26")])
    first, second, third = prefixes.bits
    assert prefixes.explicit([("a", second), ("c", second), ("b", union((first, second, third)))]) == [
        ("b", ("10.0.0.0/25", "10.0.0.192/26")),
        ("a", ("10.0.0.128/26",)),
    ]


@given(st.sets(st.integers(0, 300)))
def test_members(numbers):
    assert list(members(union(1 << number for number in numbers))) == sorted(numbers)

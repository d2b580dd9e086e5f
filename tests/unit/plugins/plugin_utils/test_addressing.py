# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ipaddress import IPv4Network
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.plugin_utils.addressing import (
    Network,
    PreviousAddresses,
    address,
    dotted,
    parse_network,
    prefix_for,
    private_blocks,
)
from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import Location, TopologyError
from ansible_collections.benito.testbed.plugins.plugin_utils.interpretation import interpret
from ansible_collections.benito.testbed.plugins.plugin_utils.settings import resolve_settings
from ansible_collections.benito.testbed.plugins.plugin_utils.topology import Attribute, Computer, Interface, Substrate, Topology


def topology(lans):
    """Build a topology from {substrate: [(node, address or None, netmask or None)]}."""
    nodes = {}
    for lan, members in lans.items():
        for line, member in enumerate(members, 1):
            node, ip, mask = (*((member, None, None) if isinstance(member, str) else member), None)[:3]
            given_attributes = [Attribute(n, v, Location("t", line)) for n, v in (("ip4_address", ip), ("ip4_netmask", mask)) if v]
            interfaces = nodes.setdefault(node, [])
            interfaces.append(Interface(f"inf{len(interfaces):03d}", (lan,), attributes=tuple(given_attributes), where=Location("t", line)))
    return Topology(
        substrates=tuple(Substrate(name) for name in lans),
        elements=tuple(Computer(name, interfaces=tuple(interfaces)) for name, interfaces in nodes.items()),
    )


def addressed(lans, previous=None, **overrides):
    config = resolve_settings("x", overrides=overrides)
    experiment = interpret(topology(lans), config)
    return address(experiment.links, config, *([previous] if previous else []))


def shown(result):
    return {f"{node}/{name}": dotted(a) for (node, name), a in result.interfaces.items()}


def nets(result):
    return {name: str(network) for name, network in result.networks.items()}


def test_benito_counts_substrates_from_0_and_hosts_from_1():
    result = addressed({"a": ["n1", "n2"], "b": ["n2", "n3"]})
    assert shown(result) == {"n1/inf000": "10.0.0.1", "n2/inf000": "10.0.0.2", "n2/inf001": "10.0.1.1", "n3/inf000": "10.0.1.2"}


def test_emulab_counts_from_10_1_1_and_hosts_from_2():
    result = addressed({"a": ["n1", "n2"], "b": ["n2", "n3"]}, addressing="emulab")
    assert shown(result) == {"n1/inf000": "10.1.1.2", "n2/inf000": "10.1.1.3", "n2/inf001": "10.1.2.2", "n3/inf000": "10.1.2.3"}


def test_emulab_goes_on_at_10_2_1_after_10_1_254():
    result = addressed({f"l{n}": ["a", "b"] for n in range(256)}, addressing="emulab")
    assert [nets(result)[f"l{n}"] for n in (253, 254, 255)] == ["10.1.254.0/24", "10.2.1.0/24", "10.2.2.0/24"]


def test_benito_goes_on_at_10_1_0_after_10_0_255():
    result = addressed({f"l{n}": ["a", "b"] for n in range(257)})
    assert [nets(result)[f"l{n}"] for n in (255, 256)] == ["10.0.255.0/24", "10.1.0.0/24"]


def test_network_follows_from_a_given_address_and_the_rest_fill_the_gaps():
    result = addressed({"a": [("n1", "10.9.9.2"), "n2", "n3"]})
    assert shown(result) == {"n1/inf000": "10.9.9.2", "n2/inf000": "10.9.9.1", "n3/inf000": "10.9.9.3"}
    result = addressed({"a": [("n1", "10.9.9.2", "255.255.255.248"), "n2"]}, addressing="emulab")
    assert nets(result) == {"a": "10.9.9.0/29"} and shown(result)["n2/inf000"] == "10.9.9.3"


def test_automatic_networks_avoid_given_ones_without_moving_others():
    result = addressed({"a": ["n1", "n2"], "b": [("n1", "10.0.0.5"), "n2"], "c": ["n1", "n2"]})
    assert nets(result) == {"a": "10.0.3.0/24", "b": "10.0.0.0/24", "c": "10.0.2.0/24"}
    result = addressed({"a": ["n1", "n2"], "b": [("n1", "10.1.1.5"), "n2"], "c": ["n1", "n2"]}, addressing="emulab")
    assert nets(result) == {"a": "10.1.2.0/24", "b": "10.1.1.0/24", "c": "10.1.3.0/24"}


@pytest.mark.parametrize("style", ["benito", "emulab"])
@pytest.mark.parametrize(("members", "prefix"), [(253, 24), (254, 23), (509, 23), (510, 22), (1100, 21)])
def test_large_lan_gets_a_larger_network(style, members, prefix):
    result = addressed({"small": ["x", "y"], "big": [f"n{i}" for i in range(members)], "last": ["x", "y"]}, addressing=style)
    assert result.networks["big"].prefix == prefix
    found = [IPv4Network(n) for n in nets(result).values()]
    assert not any(a.overlaps(b) for a in found for b in found if a is not b)
    assert len(set(result.interfaces.values())) == members + 4


@pytest.mark.parametrize(
    ("lans", "message"),
    [
        ({"a": [("n1", "10.0.0.1"), ("n2", "10.0.0.1")]}, r"^t:2: address 10\.0\.0\.1 of n2 is also that of n1 \(t:1\)"),
        ({"a": [("n1", "10.0.0.1"), ("n2", "10.0.1.1")]}, r"^t:2: address 10\.0\.1\.1 of n2 is not in network 10\.0\.0\.0/24"),
        ({"a": ["n1", ("n2", "10.0.0.255")]}, r"^t:2: address 10\.0\.0\.255 of n2 is no host's address"),
        ({"a": [("n1", "10.0.0.0"), "n2"]}, r"^t:1: address 10\.0\.0\.0 of n1 is no host's address"),
        (
            {"a": [("n1", "10.0.0.1")], "b": ["n1", ("n2", "10.0.0.200")]},
            r"^t:2: network 10\.0\.0\.0/24 of substrate b overlaps 10\.0\.0\.0/24 of substrate a \(t:1\)",
        ),
        ({"a": [("n1", "10.0.0.1", "255.255.0.0")], "b": [("n2", "10.0.7.1")]}, "overlaps"),
        (
            {"a": [("n1", "10.0.0.1", "255.255.0.0"), ("n2", "10.0.7.1", "255.255.255.0")]},
            r"^t:2: the netmask of n2 .* is /24, that of n1 \(t:1\) is /16",
        ),
        ({"a": [("n1", "10.0.0.1", "255.255.255.252"), "n2", "n3"]}, "room for 2 hosts, not for its 3 members"),
        ({"a": [("n1", "224.0.0.1")]}, "not one a host may have"),
        ({"a": [("n1", "127.0.0.1")]}, "not one a host may have"),
        ({"a": [("n1", "10.0.0.256")]}, "^t:1: '10.0.0.256' is not an IPv4 address"),
        ({"a": [("n1", "10.0.0.1", "255.0.255.0")]}, "^t:1: '255.0.255.0' is not a netmask"),
    ],
)
def test_clashes_are_errors_with_both_places(lans, message):
    with pytest.raises(TopologyError, match=message):
        addressed(lans)


def memory(result, lans):
    experiment = interpret(topology(lans), resolve_settings("x"))
    interfaces = {(i.node, i.name, i.substrate): result.interfaces[i.node, i.name] for n in experiment.nodes for i in n.interfaces}
    return PreviousAddresses(result.networks, interfaces)


@pytest.mark.parametrize("style", ["benito", "emulab"])
def test_what_stays_keeps_its_addresses_when_others_come_and_go(style):
    before = {"a": ["n1", "n2", "n3"], "b": ["n2", "n4"], "c": ["n4", "n5"]}
    first = addressed(before, addressing=style)
    after = {"z": ["n0", "n5"], "b": ["n2", "n4"], "a": ["n9", "n3", "n1"]}
    second = addressed(after, memory(first, before), addressing=style)
    assert (second.networks["a"], second.networks["b"]) == (first.networks["a"], first.networks["b"])
    for node in ("n1", "n3"):
        assert second.interfaces[node, "inf000"] == first.interfaces[node, "inf000"]


def test_the_file_beats_the_memory():
    lans = {"a": ["n1", "n2"]}
    first = addressed(lans)
    second = addressed({"a": [("n1", "10.0.0.2"), "n2"]}, memory(first, lans))
    assert shown(second) == {"n1/inf000": "10.0.0.2", "n2/inf000": "10.0.0.1"}


def test_prefix_for():
    assert [prefix_for(n) for n in (0, 253, 254, 509, 510)] == [24, 24, 23, 23, 22]


def test_private_blocks():
    assert private_blocks([parse_network("10.1.0.0/16").base, 192 << 24 | 168 << 16]) == ["10.0.0.0/8", "192.168.0.0/16"]
    assert private_blocks([8 << 24]) == []


def test_network_text():
    assert str(Network(10 << 24, 9)) == "10.0.0.0/9"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(2, 300), st.sampled_from([None, 24, 25, 20]), st.integers(0, 40)), min_size=1, max_size=12),
    st.sampled_from(["benito", "emulab"]),
)
def test_whatever_is_given_nothing_overlaps(shapes, style):
    masks = {25: "255.255.255.128", 24: "255.255.255.0", 20: "255.255.240.0"}
    lans = {}
    for number, (members, prefix, block) in enumerate(shapes):
        names = [f"n{i}" for i in range(members)]
        lans[f"l{number}"] = names if prefix is None else [("n0", f"10.{block % 3}.{block}.1", masks[prefix]), *names[1:]]
    try:
        result = addressed(lans, addressing=style)
    except TopologyError:
        return  # the given ones themselves clash
    found = sorted((n.base, n.end) for n in result.networks.values())
    assert all(a[1] <= b[0] for a, b in pairwise(found))
    assert len(set(result.interfaces.values())) == len(result.interfaces)

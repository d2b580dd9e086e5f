# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cables between hosts: no loop, the hub where most members are, both ends told the same."""

from __future__ import annotations

from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.plugin_utils.cabling import cables, check_cables, side
from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import NOWHERE, Location, TopologyError
from ansible_collections.benito.testbed.plugins.plugin_utils.interpretation import Link, NodeInterface
from ansible_collections.benito.testbed.plugins.plugin_utils.placement import Placement
from ansible_collections.benito.testbed.plugins.plugin_utils.pool import PoolHost
from ansible_collections.benito.testbed.plugins.plugin_utils.settings import resolve_settings
from ansible_collections.benito.testbed.plugins.plugin_utils.topology import Attribute, Substrate

HERE = Location("lab.topdl", 3, 1)
POOL = tuple(PoolHost(name, f"192.0.2.{number}", host_keys=(f"ssh-ed25519 {name}",)) for number, name in enumerate("abcdefgh", 1))


def cabled(lans, attributes=MappingProxyType({}), **overrides):
    """Return the cables of an experiment: ``lans`` has the pnodes of the members of each substrate."""
    links, pnode_of = [], {}
    for lan, pnodes in lans.items():
        members = []
        for number, pnode in enumerate(pnodes):
            pnode_of[f"{lan}-{number}"] = pnode
            members.append(NodeInterface(f"{lan}-{number}", "i", lan, 0, None, None, None, None, "", NOWHERE))
        links.append(Link(lan, tuple(members), NOWHERE))
    substrates = [Substrate(lan, attributes=tuple(Attribute(*pair, HERE) for pair in attributes.get(lan, {}).items())) for lan in lans]
    settings = resolve_settings("x", (), {"project": "p", "state_dir": "/tmp", **overrides})
    ports = {lan: tuple(range(32, 32 - len(set(pnodes)) + 1, -1)) for lan, pnodes in lans.items()}
    return cables(substrates, links, Placement(pnode_of, 9, ()), ports, settings)


def test_what_stays_on_one_host_has_no_cable():
    assert cabled({"lan0": [1, 1, 1], "lan1": [0]}) == ()


def test_the_hub_is_where_most_members_are():
    found = cabled({"lan0": [0, 2, 2, 1]})
    assert [(c.hub, c.spoke, c.transport) for c in found] == [(2, 0, "ssh"), (2, 1, "ssh")]
    assert [(c.hub, c.spoke) for c in cabled({"lan0": [3, 1]})] == [(1, 3)]


@given(st.dictionaries(st.sampled_from(["a", "b", "lan0"]), st.lists(st.integers(0, 7), min_size=1, max_size=12), max_size=3))
def test_all_pnodes_are_joined_without_a_loop(lans):
    found = cabled(lans)
    for lan, pnodes in lans.items():
        edges = [set(c.ends) for c in found if c.substrate == lan]
        # A tree: connected, and one edge fewer than vertices.
        reached, grown = {pnodes[0]}, True
        while grown:
            grown = False
            for edge in edges:
                if edge & reached and not edge <= reached:
                    reached |= edge
                    grown = True
        assert reached == set(pnodes) and len(edges) == len(set(pnodes)) - 1
        ports = [(c.hub, c.hub_port) for c in found if c.substrate == lan] + [(c.spoke, c.spoke_port) for c in found if c.substrate == lan]
        assert len(set(ports)) == len(ports)
    for what in ("id", "number"):
        assert len({getattr(c, what) for c in found}) == len(found)
    sockets = [(end, c.socket) for c in found for end in c.ends]
    assert len(set(sockets)) == len(sockets)


def test_transport_of_the_experiment_of_a_substrate_and_of_a_pair():
    lans = {"lan0": [0, 0, 1, 2], "lan1": [0, 1]}
    found = cabled(lans, {"lan0": {"benito:cable": "tcp"}}, cable="udp", cable_pairs="pnode-0002/pnode-0000:vxlan")
    assert [(c.substrate, c.spoke, c.transport) for c in found] == [("lan0", 1, "tcp"), ("lan0", 2, "vxlan"), ("lan1", 1, "udp")]
    with pytest.raises(TopologyError, match=r"lab.topdl:3:1: benito:cable is 'string': it must be ssh, tcp"):
        cabled(lans, {"lan0": {"benito:cable": "string"}})


def test_numbers_do_not_depend_on_other_cables():
    alone, more = cabled({"lan0": [0, 1]}), cabled({"first": [0, 1, 2], "lan0": [0, 1]})
    assert alone[0] == more[-1]
    assert 20000 <= alone[0].socket <= 29999 and 0 < alone[0].number < 1 << 24
    with pytest.raises(TopologyError, match="more than 2 cables: give it more cable_ports"):
        cabled({"lan0": [0, 1, 2, 3]}, cable_ports="3000-3001")
    # Ports are a host's own: pairs of pnodes that have nothing to do with each other may use the same.
    apart = cabled({"a": [0, 1], "b": [2, 3], "c": [4, 5]}, cable_ports="3000-3001")
    assert len(apart) == 3 and {c.socket for c in apart} <= {3000, 3001}


def test_both_ends_are_told_the_same():
    cable = cabled({"lan0": [0, 0, 1]})[0]
    hub, spoke = side(cable, 0, POOL, "lan0"), side(cable, 1, POOL, "lan0")
    assert {hub[k] == spoke[k] for k in ("id", "transport", "number", "socket", "switch")} == {True}
    assert (hub["role"], hub["peer"], hub["peer_address"], hub["peer_host_keys"]) == ("listen", "pnode-0001", "192.0.2.2", [])
    assert (spoke["role"], spoke["peer"], spoke["peer_address"]) == ("dial", "pnode-0000", "192.0.2.1")
    assert spoke["peer_host_keys"] == ["ssh-ed25519 a"]
    assert (hub["port"], hub["peer_port"]) == (spoke["peer_port"], spoke["port"])


def test_who_cannot_be_reached_opens_the_connection():
    cable = cabled({"lan0": [0, 0, 1]})[0]
    hidden = (PoolHost("a", "10.0.0.1", reachable=False), POOL[1])
    check_cables([cable], hidden)
    assert (side(cable, 0, hidden, "s")["role"], side(cable, 1, hidden, "s")["role"]) == ("dial", "listen")


@pytest.mark.parametrize(
    ("pool", "cable", "text"),
    [
        ((PoolHost("a", "x", reachable=False), PoolHost("b", "y", reachable=False)), "ssh", "neither of a and b is reachable"),
        (
            (PoolHost("a", "x"), PoolHost("b", "y", reachable=False)),
            "udp",
            "a udp cable between a and b needs both to be reachable, and b is",
        ),
        ((PoolHost("a", "x"), PoolHost("b", "")), "tcp", "cannot reach b, whose connection is local: give it benito_address"),
        ((PoolHost("a", "x", device="eth1"), PoolHost("b", "y")), "ethernet", "b needs benito_cable_device"),
    ],
)
def test_hosts_that_cannot_be_joined(pool, cable, text):
    with pytest.raises(TopologyError, match=text):
        check_cables(cabled({"lan0": [0, 1]}, cable=cable), pool)


def test_the_lab_s_ethernet_is_the_hub():
    found = cabled({"lan0": [0, 1, 1, 2]}, {"lan0": {"benito:vlan": "17"}}, cable="ethernet")
    assert [(c.ends, c.vlan, c.transport) for c in found] == [((1,), 17, "ethernet"), ((0,), 17, "ethernet"), ((2,), 17, "ethernet")]
    pool = tuple(PoolHost(name, name, device="eth1") for name in "abc")
    told = side(found[1], 0, pool, "lan0")
    assert (told["role"], told["peer"], told["peer_port"], told["device"], told["vlan"]) == ("peer", "", None, "eth1", 17)
    check_cables(found, pool)


def test_two_substrates_are_told_apart_by_their_vlan():
    pool = tuple(PoolHost(name, name, device="eth1") for name in "ab")
    lans = {"lan0": [0, 1], "lan1": [0, 1]}
    with pytest.raises(TopologyError, match="substrates lan0 and lan1 would be one on eth1 of a: give each its benito:vlan"):
        check_cables(cabled(lans, cable="ethernet"), pool)
    check_cables(cabled(lans, {"lan0": {"benito:vlan": "1"}, "lan1": {"benito:vlan": "2"}}, cable="ethernet"), pool)
    with pytest.raises(TopologyError, match="benito:vlan is '4095': it must be the number of a VLAN, 1 to 4094"):
        cabled(lans, {"lan0": {"benito:vlan": "4095"}})


def test_no_cable_takes_the_name_of_another():
    found = cabled({"lan": [1, 1, 2], "lan-1": [2, 2, 3]}, {"lan-1": {"benito:cable": "ethernet"}})
    assert len({c.id for c in found}) == len(found) == 3

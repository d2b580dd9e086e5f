# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.plugin_utils.addressing import Network, PreviousAddresses, dotted, parse_network
from ansible_collections.benito.testbed.plugins.plugin_utils.control import assigned, control_net
from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import TopologyError
from ansible_collections.benito.testbed.plugins.plugin_utils.interpretation import interpret
from ansible_collections.benito.testbed.plugins.plugin_utils.settings import resolve_settings
from ansible_collections.benito.testbed.plugins.plugin_utils.topology import Attribute, Computer, Topology

LAB = {
    "control_mode": "bridge",
    "control_subnet": "192.0.2.0/24",
    "control_gateway": "192.0.2.1",
    "control_addresses": "192.0.2.100-192.0.2.103",
}


def controlled(names, pnode_of=None, networks=None, previous=None, attributes=None, **overrides):
    """Plan the control net of guests by name; ``attributes`` by node."""
    elements = tuple(Computer(n, attributes=tuple(Attribute(*a) for a in (attributes or {}).get(n, {}).items())) for n in names)
    config = resolve_settings("x", overrides=overrides)
    nodes = assigned(interpret(Topology((), elements), config).nodes, config)
    taken = {name: parse_network(text) for name, text in (networks or {}).items()}
    return control_net(nodes, pnode_of or {}, taken, config, *([previous] if previous else []))


def shown(control):
    return {name: dotted(address) for name, address in control.addresses.items()}


def names(count):
    return [f"n{i}" for i in range(count)]


def test_it_is_private_to_the_experiment():
    one, same, other = (controlled(["n1", "n2"], **o) for o in ({}, {}, {"project": "other"}))
    assert one == same != other
    assert one.first.network.prefix == 24
    assert dotted(one.first.gateway).endswith(".1")
    assert [address.split(".")[3] for address in shown(one).values()] == ["2", "3"]


def test_an_experiment_on_one_host_has_the_subnet_it_has_always_had():
    assert str(controlled(["n1"]).first.network) == "172.19.174.0/24"


def test_each_pnode_has_a_subnet_that_follows_from_names():
    where = {"n0": 0, "n1": 1, "n2": 2, "n3": 1}
    control = controlled(names(4), where)
    assert sorted(control.nets) == [0, 1, 2]
    assert len({net.network for net in control.nets.values()}) == 3
    assert control.nets[0] == controlled(["n0"]).nets[0]
    assert all(control.nets[where[n]].network.has_host(a) for n, a in control.addresses.items())
    assert all(dotted(net.gateway).endswith(".1") for net in control.nets.values())
    assert controlled(["n1"], {"n1": 1}).nets[1] == control.nets[1], "it does not depend on who else is there"


def test_one_subnet_is_divided_among_several_pnodes():
    where = {"n0": 0, "n1": 1, "n2": 2}
    control = controlled(names(3), where, control_subnet="172.20.0.0/16")
    assert [str(net.network) for net in control.nets.values()] == ["172.20.0.0/18", "172.20.64.0/18", "172.20.128.0/18"]
    assert str(controlled(["n0"], {"n0": 5}, control_subnet="172.20.0.0/16").nets[5].network) == "172.20.0.0/16"
    with pytest.raises(TopologyError, match="cannot be divided among 2 pnodes"):
        controlled(names(2), {"n1": 9}, control_subnet="172.20.0.0/28")


def test_subnets_given_for_pnodes():
    where = {"n0": 0, "n1": 1}
    control = controlled(names(2), where, control_subnet="1:172.20.7.0/24")
    assert str(control.nets[1].network) == "172.20.7.0/24"
    assert control.nets[0] == controlled(["n0"]).nets[0]
    assert control.subnets == {0: str(control.nets[0].network), 1: "172.20.7.0/24"}
    assert controlled(names(2), where, control_subnet=control.subnets) == control
    with pytest.raises(TopologyError, match=r"overlaps 172\.20\.7\.0/24 of the control net of pnode-0000"):
        controlled(names(2), where, control_subnet={0: "172.20.7.0/24", 1: "172.20.0.0/16"})


def test_it_gives_way_to_the_experiment():
    wanted = controlled(["n1"]).first.network
    control = controlled(["n1"], networks={"a": str(wanted)})
    assert control.first.network != wanted and control.first.network.prefix == 24


def test_it_grows_with_the_guests():
    control = controlled(names(300))
    assert control.first.network.prefix == 23 and len(set(control.addresses.values())) == 300


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"control_subnet": "10.9.0.0/16"}, "control subnet 10.9.0.0/16 overlaps 10.9.9.0/24 of substrate a"),
        ({"control_subnet": "192.168.3.0/28"}, "room for 13 guests, not for 20"),
        ({"control_pool": "192.168.3.0/28"}, "room for 13 guests, not for 20"),
        ({"control_pool": "10.9.9.0/24"}, "choose another pool"),
        ({"control_subnet": "8.8.8.0/24"}, "8.8.8.0/24 is not private"),
        ({"control_addressing": "dhcp"}, "control_addressing dhcp is for control_mode bridge"),
        ({"control_map": {"n77": "10.0.0.1"}}, "names what is no node of this topology: 'n77'"),
        ({"control_map": {"n7": "10.0.0.1"}}, "control address 10.0.0.1 of n7 is not in the control subnet"),
    ],
)
def test_what_cannot_be(overrides, message):
    with pytest.raises(TopologyError, match=message):
        controlled(names(20), networks={"a": "10.9.9.0/24"}, **overrides)


def test_what_was_chosen_is_kept():
    where = {"n0": 0, "n1": 1, "n2": 1, "n3": 0}
    first = controlled(names(4), where)
    nets = {0: Network((172 << 24) + (30 << 16), 24), 1: first.nets[1].network}
    previous = PreviousAddresses(control_networks=nets, control={**first.addresses, "n3": nets[0].base + 9})
    second = controlled(["n9", "n2", "n1", "n3", "n0"], {**where, "n9": 1}, previous=previous)
    assert {number: net.network for number, net in second.nets.items()} == nets
    assert (second.addresses["n1"], second.addresses["n2"]) == (first.addresses["n1"], first.addresses["n2"])
    assert shown(second)["n3"] == "172.30.0.9" and shown(second)["n0"] == "172.30.0.2"


def test_without_guests_or_with_mode_none_there_is_nothing():
    assert controlled(["n0"], attributes={"n0": {"benito:ghost": "yes"}}).nets == {}
    control = controlled(names(2), control_mode="none")
    assert (control.nets, control.addresses, control.subnets, control.first) == ({}, {}, None, None)
    assert control.document(0, "bn1", resolve_settings("x"), []) == {"mode": "none", "bridge": "bn1", "table": "bn1"}


def test_addresses_of_the_lab():
    where = {"n0": 0, "n1": 1, "n2": 0}
    control = controlled(names(3), where, attributes={"n2": {"benito:control_address": "192.0.2.103"}}, **LAB)
    assert shown(control) == {"n0": "192.0.2.100", "n1": "192.0.2.101", "n2": "192.0.2.103"}
    assert {number: (str(net.network), dotted(net.gateway)) for number, net in control.nets.items()} == {
        0: ("192.0.2.0/24", "192.0.2.1"),
        1: ("192.0.2.0/24", "192.0.2.1"),
    }
    kept = PreviousAddresses(control={"n1": control.addresses["n0"], "n0": parse_network("192.0.2.200/32").base})
    assert shown(controlled(names(2), previous=kept, **LAB)) == {"n0": "192.0.2.101", "n1": "192.0.2.100"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"control_subnet": None}, "needs control_subnet, the one network of the lab"),
        ({"control_subnet": "0:192.0.2.0/24"}, "needs control_subnet, the one network of the lab"),
        ({"control_gateway": "198.51.100.1"}, "control_gateway 198.51.100.1 is not in"),
        ({"control_addresses": "192.0.2.250-192.0.3.4"}, "192.0.2.250-192.0.3.4 are not in the control subnet"),
        ({"control_addresses": "192.0.2.100-192.0.2.102"}, "no address is left on the control net for n3"),
        ({"control_addresses": None}, "no address is left on the control net for n0: widen control_addresses, or use control_map"),
        ({"control_map": {"n0": "192.0.2.1"}}, "control address 192.0.2.1 of n0 is that of the lab's router already"),
        ({"control_map": {"n0": "192.0.2.9", "n1": "192.0.2.9"}}, "control address 192.0.2.9 of n1 is that of n0 already"),
    ],
)
def test_addresses_the_lab_cannot_have_given(overrides, message):
    with pytest.raises(TopologyError, match=message):
        controlled(names(4), **{**LAB, **overrides})


def test_the_range_leaves_out_the_router():
    overrides = {**LAB, "control_addresses": "192.0.2.1-192.0.2.3"}
    assert list(shown(controlled(names(2), **overrides)).values()) == ["192.0.2.2", "192.0.2.3"]


def test_the_map_of_a_lab_is_stronger_than_attributes():
    entry = {"n0": {"address": "192.0.2.9", "mac": "00:16:3E:00:00:09"}, "n1": "00-16-3e-00-00-0a"}
    config = resolve_settings("x", overrides={**LAB, "control_map": entry})
    computers = tuple(Computer(n, attributes=(Attribute("benito:control_address", "192.0.2.103"),)) for n in ("n0", "n1"))
    nodes = assigned(interpret(Topology((), computers), config).nodes, config)
    assert [(dotted(n.control_address), n.control_mac) for n in nodes] == [
        ("192.0.2.9", "00:16:3e:00:00:09"),
        ("192.0.2.103", "00:16:3e:00:00:0a"),
    ]


@pytest.mark.parametrize("address", ["192.0.2.1", "192.0.2.7", "192.0.2.104", "192.0.2.255", "10.0.0.1"])
def test_a_file_takes_no_address_of_the_lab_but_those_for_guests(address):
    """The printer's, the router's or the name server's, which a guest would then answer for."""
    with pytest.raises(TopologyError, match=r"n0 may not have .* in the lab's network: .*BENITO_CONTROL_ADDRESSES or BENITO_CONTROL_MAP"):
        controlled(names(2), attributes={"n0": {"benito:control_address": address}}, **LAB)


@pytest.mark.parametrize("mode", [{}, LAB])
def test_a_file_takes_no_mac_that_a_maker_gave(mode):
    with pytest.raises(TopologyError, match=r"n0 may not have the MAC 00:16:3e:00:00:01 on the control net: .*BENITO_CONTROL_MAP"):
        controlled(names(2), attributes={"n0": {"benito:control_mac": "00-16-3E-00-00-01"}}, **mode)
    controlled(names(2), attributes={"n0": {"benito:control_mac": "06-16-3E-00-00-01"}}, **mode)


@pytest.mark.parametrize(
    ("said", "field"),
    [
        (None, None),
        ("public", None),
        ("none", {"mode": "none", "networks": []}),
        ("all", {"mode": "all", "networks": []}),
        ("10.1.0.0/16, 192.0.2.0/24", {"mode": "networks", "networks": ["10.1.0.0/16", "192.0.2.0/24"]}),
        (["10.1.0.0/16"], {"mode": "networks", "networks": ["10.1.0.0/16"]}),
    ],
)
def test_the_document_says_what_guests_reach_beyond_their_host(said, field):
    settings = resolve_settings("x", overrides={"control_egress": said})
    machine = {"name": "n0", "control": {"mac": "02:00:00:00:00:01", "address": "", "tap": "bn2"}}
    document = controlled(names(1)).document(0, "bn1", settings, [machine])
    assert document.get("egress") == field and json.loads(json.dumps(document)) == document
    assert "egress" not in controlled(names(1)).document(0, "bn1", settings, [])


def test_dhcp_chooses_nothing():
    overrides = {"control_mode": "bridge", "control_addressing": "dhcp"}
    control = controlled(names(2), **overrides)
    assert (control.dhcp, control.nets, control.addresses) == (True, {}, {})
    machine = {"name": "n0", "control": {"mac": "02:00:00:00:00:01", "address": "", "tap": "bn2"}}
    settings = resolve_settings("x", overrides=overrides)
    document = control.document(0, "bn1", settings, [machine])
    # A host of processes alone is left as it is.
    assert control.document(0, "bn1", settings, [{"name": "p0", "control": None}])["mode"] == "none"
    assert (document["bridge"], document["table"], document["addressing"], document["address"]) == ("control0", "bn1", "dhcp", "")
    with pytest.raises(TopologyError, match="n0 has a control address, and control_addressing is dhcp"):
        controlled(names(2), attributes={"n0": {"benito:control_address": "192.0.2.8"}}, **overrides)


def test_ports_follow_from_addresses():
    where = {"n0": 0, "n1": 1, "n2": 1}
    control = controlled(names(3), where, control_mode="ports")
    first, last = control.span
    assert 10000 <= first < last < 32768 and last - first == 255
    assert control.ports == {"n0": first + 2, "n1": first + 2, "n2": first + 3}
    assert controlled(names(3), where, control_mode="ports", project="other").span != control.span
    assert controlled(names(3), where, control_mode="ports", control_ports="2200-2299").ports == {"n0": 2202, "n1": 2202, "n2": 2203}
    with pytest.raises(TopologyError, match=r"control_ports 2200-2202 end before the port of n2: its address \S+ is number 3"):
        controlled(names(3), where, control_mode="ports", control_ports="2200-2202")
    many = controlled(names(300), control_mode="ports")
    assert many.span[1] - many.span[0] == 511 and len(set(many.ports.values())) == 300


def test_the_document_tells_a_pnode_about_its_guests():
    control = controlled(names(2), {"n1": 1}, control_mode="ports", control_ports="2200-2299")
    guests = [{"name": "n1", "control": {"mac": "m", "address": "a", "tap": "t", "port": 2202}}, {"name": "none", "control": None}]
    document = control.document(1, "bn1", resolve_settings("x"), guests)
    assert document == {
        "mode": "ports", "bridge": "bn1", "table": "bn1", "address": dotted(control.nets[1].gateway), "prefix": 24,
        "subnet": str(control.nets[1].network), "addressing": "static", "interface": "", "deadline": 30, "ports": [2200, 2299],
        "cable_ports": [20000, 29999],
        "guests": [{"name": "n1", "mac": "m", "address": "a", "tap": "t", "port": 2202}],
    }  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(0, 3), st.sampled_from(["nat", "ports"]))
def test_whatever_sits_where_nothing_overlaps(places, salt, mode):
    where = {f"n{i}": place for i, place in enumerate(places)}
    control = controlled(list(where), where, control_mode=mode, project=f"p{salt}", control_pool="172.16.0.0/18")
    found = sorted((net.network.base, net.network.end) for net in control.nets.values())
    assert all(a[1] <= b[0] for a, b in pairwise(found))
    assert len(set(control.addresses.values())) == len(where)
    assert set(control.nets) == set(places)
    again = controlled(list(where), where, control_mode=mode, project=f"p{salt}", control_subnet=control.subnets)
    assert again.nets == control.nets

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interfaces of physical nodes that are real interfaces of the host: whom they meet, and where they may not be."""

from __future__ import annotations

import re
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.plugin_utils.attributes import check_attributes
from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import TopologyError
from ansible_collections.benito.testbed.plugins.plugin_utils.embedding import annotate
from ansible_collections.benito.testbed.plugins.plugin_utils.formats.topdl_writer import write_topdl
from ansible_collections.benito.testbed.plugins.plugin_utils.plan import make_plan, plan_topology
from ansible_collections.benito.testbed.plugins.plugin_utils.settings import resolve_settings
from ansible_collections.benito.testbed.plugins.plugin_utils.topology import Attribute, Computer, Interface, Substrate, Topology

POOL = MappingProxyType({name: {"ansible_host": f"192.0.2.{n}", "benito_cable_device": "wire0"} for n, name in enumerate("xyz", 1)})
LAB = MappingProxyType({"physical_hosts": True, "physical_interfaces": True, "cable_transports": "vxlan,ethernet", "cable_vlans": "1-99"})
PHYSICAL = MappingProxyType({"benito:node_type": "embedded_pnode"})
REAL = MappingProxyType({"benito:device": "eth9"})


def on(lan, **attributes):
    """Return an interface, named after its substrate, with its attributes; two underscores stand for a colon."""
    return Interface(lan, (lan,), attributes=tuple(Attribute(k.replace("__", ":"), v) for k, v in attributes.items()))


def real(lan, device="eth9", **attributes):
    return on(lan, benito__device=device, **attributes)


class Bench:
    """Plans topologies of nodes, each a name with a mapping of attributes and its interfaces."""

    def __init__(self, path):
        self.path = path
        self.overrides = {"state_dir": str(path / "state"), **LAB}

    def plan(self, *nodes, lans=MappingProxyType({}), pool=POOL, **overrides):
        used = dict.fromkeys(i.substrates[0] for dummy, dummy, *interfaces in nodes for i in interfaces)
        substrates = tuple(Substrate(name, attributes=tuple(Attribute(*pair) for pair in lans.get(name, {}).items())) for name in used)
        elements = tuple(
            Computer(name, interfaces=tuple(interfaces), attributes=tuple(Attribute(*pair) for pair in attributes.items()))
            for name, attributes, *interfaces in nodes
        )
        (self.path / "lab.topdl").write_text(write_topdl(Topology(substrates, elements)))
        return self.read(self.path / "lab.topdl", pool, **overrides)

    def read(self, file, pool=POOL, **overrides):
        return make_plan(str(file), {**self.overrides, **overrides}, {}, pool=pool)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def place(number, **attributes):
    return {"benito:partition": str(number), **{k.replace("__", ":"): v for k, v in attributes.items()}}


def test_the_others_meet_it_by_a_leg_of_their_switch_and_its_own_pnode_has_neither(bench):
    plan = bench.plan(("p", PHYSICAL, real("lan0")), ("a", place(0), on("lan0")), lans={"lan0": {"benito:vlan": "7"}})
    [there, here] = [plan.document(pnode) for pnode in plan.pnodes]
    [cable] = there["cables"]
    assert (cable["transport"], cable["device"], cable["vlan"], cable["peer"]) == ("ethernet", "wire0", 7, "")
    [guest] = there["guests"]
    assert cable["switch"] == guest["interfaces"][0]["switch"] == there["switches"][0]["id"]
    assert cable["port"] != guest["interfaces"][0]["port"]
    assert (here["switches"], here["cables"], here["shapers"]) == ([], [], [])
    [own] = here["guests"][0]["interfaces"]
    assert own == {
        "name": "lan0",
        "substrate": "lan0",
        "switch": "",
        "port": 0,
        "mac": "",
        "device": "eth9",
        "address": "10.0.0.1",
        "prefix": 24,
        "dhcp": "",
        "netem": None,
        "real": True,
    }
    # Others are as ever.
    assert "real" not in guest["interfaces"][0]
    assert here["hosts"] == [["p", "lan0", 0, "10.0.0.1"], ["a", "lan0", 0, "10.0.0.2"]]


def test_several_pnodes_have_a_leg_each(bench):
    plan = bench.plan(
        ("p", PHYSICAL, real("lan0"), on("lan1")),
        ("a", place(0), on("lan0")),
        ("b", place(0), on("lan0")),
        ("c", place(1), on("lan0"), on("lan1")),
    )
    legs = [(c.substrate, c.hub, c.spoke) for c in plan.cables if c.transport == "ethernet"]
    assert legs == [("lan0", 0, None), ("lan0", 1, None)]
    assert [(c.substrate, c.ends) for c in plan.cables if c.transport != "ethernet"] == [("lan1", (1, 2))]
    assert len({c.id for c in plan.cables}) == 3
    # The other interface of the physical node is a TAP, with a name that nothing on the host has.
    [one, other] = plan.document("pnode-0002")["guests"][0]["interfaces"]
    assert (one["device"], one["switch"], other["switch"], "real" in other) == ("eth9", "", "lan1", False)
    assert other["device"].startswith("bn") and other["mac"].startswith("02:")


def test_a_substrate_of_real_interfaces_alone_has_no_switch_and_no_cable(bench):
    plan = bench.plan(("p", PHYSICAL, real("lan0")), ("q", PHYSICAL, real("lan0", "eth8")))
    for pnode in plan.pnodes:
        document = plan.document(pnode)
        assert (document["switches"], document["cables"]) == ([], [])
    assert not plan.switches and not plan.cables


def test_it_is_on_the_way_of_routes(bench):
    plan = bench.plan(("p", PHYSICAL, real("lan0")), ("r", place(0), on("lan0"), on("lan1")), ("far", place(0), on("lan1")))
    [guest] = plan.document("pnode-0001")["guests"]
    assert guest["routes"] == [{"to": "10.0.1.0/24", "via": "10.0.0.2", "device": "eth9"}]


def test_switches_of_single_interfaces_are_not_for_it(bench):
    plan = bench.plan(("p", PHYSICAL, real("lan0")), ("a", place(0), on("lan0")), guest_switches=True)
    assert [s["name"] for s in plan.document("pnode-0000")["switches"]] == ["lan0", "a:lan0"]
    assert plan.document("pnode-0001")["switches"] == []


def test_an_annotated_file_says_it_again(bench, tmp_path):
    plan = bench.plan(("p", PHYSICAL, real("lan0")), ("a", place(0), on("lan0")))
    file = tmp_path / "again.topdl"
    file.write_text(write_topdl(annotate(plan)))
    again = bench.read(file, project=plan.settings.project, experiment=plan.settings.experiment)
    assert again.nodes == plan.nodes and again.cables == plan.cables
    # `a` has a partition and p as well, now: the annotation gives it one. It stays a physical node, alone there.
    assert [again.document(p) for p in again.pnodes] == [plan.document(p) for p in plan.pnodes]
    # Who reads it knows each attribute, in its place.
    assert not [notice for notice in check_attributes(annotate(plan)) if "device" in notice.message]


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([("a", {}, real("lan0"))], "interface lan0 of a is to be eth9 of the host, but a is a qemu node: benito:device belongs on"),
        ([("a", {"benito:node_type": "process"}, real("lan0"))], "but a is a process node"),
        ([("p", PHYSICAL, real("lan0", "a-name-that-is-too-long"))], "it must name an interface of the host: a letter, and up to 14"),
        ([("p", PHYSICAL, real("lan0", "eth 0"))], "benito:device is 'eth 0'"),
        ([("p", PHYSICAL, real("lan0", "-f"))], "benito:device is '-f'"),
        ([("p", PHYSICAL, real("lan0", "../x"))], "benito:device is '../x'"),
        ([("p", PHYSICAL, real("lan0", ""))], "must name an interface"),
        ([("p", PHYSICAL, real("lan0", benito__dhcp="client")), ("a", {}, on("lan0"))], "DHCP"),
        ([("p", PHYSICAL, real("lan0", loss="0.1")), ("a", {}, on("lan0"))], "no shaper of ours sits at: shape the other members of lan0"),
        ([("p", PHYSICAL, real("lan0", loss="0.1", benito__shaping="netem"))], "no shaper of ours sits at"),
        ([("p", PHYSICAL, real("lan0", benito__mac_address="02:00:00:00:00:01"))], "with a MAC of its own: leave benito:mac_address out"),
        ([("p", PHYSICAL, real("lan0", benito__vde_port="3"))], "in no switch .* leave benito:vde_port out"),
        ([("p", PHYSICAL, real("lan0"), real("lan1"))], "interface lan1 of p is to be eth9 of its host, which is interface lan0 of p"),
        (
            [("p", PHYSICAL, real("lan0")), ("a", {"benito:node_type": "process", "benito:host": "p"}, on("lan0"))],
            "interface lan0 of a needs a switch of substrate lan0 where eth9 of the host is interface lan0 of p, and",
        ),
        ([("p", PHYSICAL, real("lan0"), Interface("tap", ("lan0",)))], "interface tap of p needs a switch of substrate lan0 where eth9"),
    ],
)
def test_where_it_cannot_be(bench, nodes, said):
    with pytest.raises(TopologyError, match=re.escape(said) if ".*" not in said else said) as caught:
        bench.plan(*nodes)
    assert str(caught.value).count("\n") == 0


def test_the_refusal_names_the_place(bench):
    with pytest.raises(TopologyError, match=r"lab\.topdl:\d+:\d+: interface lan0 of a is to be"):
        bench.plan(("a", {}, real("lan0")))


def test_members_of_it_alone_may_be_shaped(bench):
    plan = bench.plan(("p", PHYSICAL, real("lan0")), ("a", place(0), on("lan0", loss="0.1")))
    assert [s["name"] for s in plan.document("pnode-0000")["shapers"]] == ["a:lan0"]
    plan = bench.plan(("p", PHYSICAL, real("lan0", benito__shaping="none")), ("a", place(0), on("lan0")), lans={"lan0": {"loss": "0.1"}})
    assert [s["name"] for s in plan.document("pnode-0000")["shapers"]] == ["a:lan0"]
    with pytest.raises(TopologyError, match="give this one benito:shaping none"):
        bench.plan(("p", PHYSICAL, real("lan0")), ("a", place(0), on("lan0")), lans={"lan0": {"loss": "0.1"}})


def test_the_cable_of_its_substrate_is_the_lab(bench):
    nodes = ("p", PHYSICAL, real("lan0")), ("a", place(0), on("lan0"))
    assert [c.transport for c in bench.plan(*nodes, lans={"lan0": {"benito:cable": "ethernet"}}).cables] == ["ethernet"]
    assert [c.transport for c in bench.plan(*nodes, cable="udp", cable_pairs="0/1:tcp").cables] == ["ethernet"]
    with pytest.raises(TopologyError, match="benito:cable of substrate lan0 is vxlan, but a real interface of a host is on it"):
        bench.plan(*nodes, lans={"lan0": {"benito:cable": "vxlan"}})


def test_the_others_hosts_need_an_interface_to_meet_it_by(bench):
    nodes = ("p", PHYSICAL, real("lan0")), ("a", place(0), on("lan0"))
    with pytest.raises(TopologyError, match="substrate lan0 is to cross the lab's Ethernet: x needs benito_cable_device"):
        bench.plan(*nodes, pool={"x": {"ansible_host": "192.0.2.1"}, "y": {"ansible_host": "192.0.2.2"}})
    # The physical node's does not.
    assert bench.plan(*nodes, pool={"x": POOL["x"], "y": {"ansible_host": "192.0.2.2"}}).cables


def test_it_is_not_the_one_by_which_switches_leave_its_host(bench):
    nodes = [
        ("p", PHYSICAL, real("lan0", "wire0"), on("lan1")),
        ("a", place(0), on("lan0"), on("lan1")),
    ]
    bench.plan(*nodes)
    with pytest.raises(TopologyError, match=r"interface lan0 of p is to be wire0 of y, by which substrate lan1 leaves that host"):
        bench.plan(*nodes, lans={"lan1": {"benito:cable": "ethernet", "benito:vlan": "4"}})


LANS = ("lan0", "lan1", "lan2")


@settings(max_examples=60, deadline=None)
@given(
    # Processes: the pnode of each and its LANs; then the LANs of each physical node, and whether it has a real interface there.
    st.lists(st.tuples(st.integers(0, 3), st.sets(st.sampled_from(LANS), min_size=1)), min_size=1, max_size=6),
    st.lists(st.dictionaries(st.sampled_from(LANS), st.booleans(), min_size=1), min_size=1, max_size=3),
)
def test_whoever_is_on_a_substrate_meets_all_others(processes, hosts):
    nodes = [(f"p-{n}", {**place(pnode), "benito:node_type": "process"}, sorted(lans), {}) for n, (pnode, lans) in enumerate(processes)]
    nodes += [(f"h-{n}", PHYSICAL, sorted(lans), lans) for n, lans in enumerate(hosts)]
    elements = [
        Computer(
            name,
            interfaces=tuple((real if own.get(lan) else on)(lan, **({"device": f"r-{lan}"} if own.get(lan) else {})) for lan in lans),
            attributes=tuple(Attribute(*pair) for pair in attributes.items()),
        )
        for name, attributes, lans, own in nodes
    ]
    topology = Topology(tuple(Substrate(lan) for lan in LANS), tuple(elements))
    plan = plan_topology("x", topology, resolve_settings("x", (), {"state_dir": "/nonexistent", **LAB}))
    for lan in LANS:
        members = [(node, i) for node in plan.nodes for i in node.interfaces if i.substrate == lan]
        wired = {node.pnode_number for node, i in members if i.real}
        plugged = {node.pnode_number for node, i in members if not i.real}
        own = [c for c in plan.cables if c.substrate == lan]
        for pnode in plan.pnodes:
            switches = [s["name"] for s in plan.document(pnode)["switches"]]
            assert (lan in switches) == (int(pnode.rpartition("-")[2]) in plugged)
        ports = [i.port for dummy, i in members if not i.real]
        assert len(set(ports)) == len(ports) and 0 not in ports
        assert {(i.switch, i.port, i.mac, i.device) for dummy, i in members if i.real} <= {("", 0, "", f"r-{lan}")}
        if wired:
            assert {(c.transport, c.spoke) for c in own} <= {("ethernet", None)}
            assert sorted(c.hub for c in own) == sorted(plugged)
            assert not {c.hub_port for c in own} & set(ports)
        else:
            assert len(own) == max(len(plugged) - 1, 0)

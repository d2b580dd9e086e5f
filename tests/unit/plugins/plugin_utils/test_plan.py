# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from dataclasses import replace
from itertools import zip_longest
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import TopologyError
from ansible_collections.benito.testbed.plugins.plugin_utils.embedding import (
    NOTHING_EMBEDDED,
    Embedding,
    annotate,
    embedding_file,
    read_embedding,
)
from ansible_collections.benito.testbed.plugins.plugin_utils.formats.topdl_writer import write_topdl
from ansible_collections.benito.testbed.plugins.plugin_utils.plan import make_plan, plan_topology
from ansible_collections.benito.testbed.plugins.plugin_utils.settings import resolve_settings
from ansible_collections.benito.testbed.plugins.plugin_utils.topology import Attribute, Computer, Interface, Substrate, Topology

STAR = {"centre": ["l0", "l1", "l2"], "n-0": ["l0"], "n-1": ["l1"], "n-2": ["l2"]}
GUEST_FIELDS = {
    "limits",
    "name", "id", "kind", "image", "memory", "cpus", "control", "interfaces", "routes", "unreachable", "plain_names",
    "mounts", "shares", "dhcp", "start_command", "failure_action",
}  # fmt: skip


@pytest.fixture
def planned(tmp_path):
    """Plan {node: [substrates]}, written to a file; further arguments are those of make_plan."""

    def plan(nodes, attributes=None, *arguments, pool=MappingProxyType({}), **overrides):
        lans = dict.fromkeys(lan for touched in nodes.values() for lan in touched)
        elements = tuple(
            Computer(
                name,
                interfaces=tuple(Interface(f"inf{i:03d}", (lan,)) for i, lan in enumerate(touched)),
                attributes=tuple(Attribute(n, v) for n, v in (attributes or {}).get(name, {}).items()),
            )
            for name, touched in nodes.items()
        )
        file = tmp_path / "star.topdl"
        file.write_text(write_topdl(Topology(tuple(Substrate(n) for n in lans), elements)))
        return make_plan(str(file), {"state_dir": str(tmp_path / "state"), **overrides}, {}, *arguments, pool=pool)

    return plan


def written(plan, path):
    path.write_text(write_topdl(annotate(plan)))
    return str(path)


def test_document_has_the_fields_of_the_contract(planned):
    document = planned(STAR, {"n-0": {"startup": "echo hello"}}).document("pnode-0000")
    assert json.loads(json.dumps(document)) == document
    parts = {"switches", "shapers", "cables", "control", "shares", "share_server", "hosts", "guests"}
    assert set(document) == {"format", "experiment", "pnode", "kinds", *parts}
    assert document["format"] == 1
    assert document["experiment"] == {"project": "testbed", "experiment": "star", "id": "testbed.star"}
    assert document["switches"] == [{"name": f"l{i}", "id": f"l{i}", "ports": 32} for i in range(3)]
    control = {"mode", "bridge", "table", "address", "prefix", "subnet", "addressing", "interface", "deadline", "ports", "guests"}
    control |= {"cable_ports"}
    assert set(document["control"]) == control
    assert document["control"]["guests"][1] == {"name": "n-0", **document["guests"][1]["control"]}
    assert document["hosts"][0] == ["centre", "l0", 0, "10.0.0.1"]
    guest = document["guests"][1]
    assert set(guest) == GUEST_FIELDS
    assert (guest["name"], guest["kind"], guest["start_command"], guest["unreachable"]) == ("n-0", "qemu", "echo hello", ["10.0.0.0/8"])
    assert set(guest["control"]) == {"mac", "address", "tap"}
    [interface] = guest["interfaces"]
    mac = interface.pop("mac")
    assert mac.startswith("02:")
    assert interface == {
        "name": "inf000", "substrate": "l0", "switch": "l0", "port": 2, "device": "eth1", "address": "10.0.0.2", "prefix": 24,
        "dhcp": "", "netem": None,
    }  # fmt: skip
    assert document["guests"][2]["plain_names"] == {"centre": "l1"}


def test_leaves_reach_each_other_over_the_centre(planned):
    guest = planned(STAR).document("pnode-0000")["guests"][1]
    assert {(r["via"], r["device"]) for r in guest["routes"]} == {("10.0.0.1", "eth1")}
    assert planned(STAR).document("pnode-0000")["guests"][0]["routes"] == []


def test_the_same_input_gives_the_same_plan(planned):
    assert planned(STAR) == planned(STAR)


def test_who_is_launched_and_who_is_not(planned):
    plan = planned(
        {n: ["l0"] for n in "abcd"},
        {"a": {"benito:node_type": "embedded_pnode"}, "b": {"benito:ghost": "true"}, "c": {"benito:node_type": "process"}},
        pool={"alpha": {}, "beta": {}},
        physical_hosts="beta",
    )
    assert [(n.name, n.kind, n.launched) for n in plan.nodes] == [
        ("a", "physical", True),
        ("b", "qemu", False),
        ("c", "process", True),
        ("d", "qemu", True),
    ]
    assert plan.obstacle == ""
    guests = {pnode: [g["name"] for g in plan.document(pnode)["guests"]] for pnode in plan.vhosts}
    assert guests == {"pnode-0000": ["c", "d"], "pnode-0001": ["a"]}
    assert len(plan.document("pnode-0000")["hosts"]) == 4


def test_guests_on_two_hosts_are_planned_and_cannot_run(planned):
    plan = planned({"a": ["l0"], "b": ["l0"]}, {"a": {"partition": "0"}, "b": {"partition": "1"}})
    assert plan.vhosts == ("pnode-0000", "pnode-0001") and plan.cut == ("l0",)
    assert "need 2 hosts" in plan.obstacle and any(plan.obstacle in n.text for n in plan.notices)
    documents = [plan.document(p) for p in plan.pnodes]
    assert [[g["name"] for g in d["guests"]] for d in documents] == [["a"], ["b"]]
    assert documents[0]["hosts"] == documents[1]["hosts"]


def test_a_pool_carries_what_one_host_does_not(planned, tmp_path):
    pool = {"alpha": {"benito_memory": 300}, "beta": {"benito_memory": 300, "ansible_host": "192.0.2.2"}}
    plan = planned({n: ["l0"] for n in "abcd"}, pool=pool)
    assert (plan.obstacle, plan.vhosts, plan.notices) == ("", ("pnode-0000", "pnode-0001"), ())
    assert [(row["host"], row["memory"], row["memory_limit"]) for row in plan.loads] == [("alpha", 256, 300), ("beta", 256, 300)]
    first, second = (plan.document(p) for p in plan.pnodes)
    [cable], [other] = first["cables"], second["cables"]
    assert (cable["peer"], cable["peer_address"], cable["role"]) == ("pnode-0001", "192.0.2.2", "listen")
    assert (other["peer"], other["role"], other["id"], other["port"]) == ("pnode-0000", "dial", cable["id"], cable["peer_port"])
    ports = {i["port"] for d in (first, second) for g in d["guests"] for i in g["interfaces"]}
    assert cable["port"] not in ports and len(ports) == 4


def test_what_does_not_fit_into_the_pool_is_planned_and_cannot_run(planned):
    plan = planned({n: ["l0"] for n in "abcd"}, pool={"alpha": {"benito_memory": 300}})
    assert plan.obstacle.endswith(
        "4 guests ('a', 'b', 'c', 'd') with 512 MB and 4 processors do not fit on the hosts of the pool: alpha (300 MB); "
        "give more hosts or smaller guests"
    )
    assert any(plan.obstacle in notice.text for notice in plan.notices)
    assert len(plan.document("pnode-0000")["guests"]) == 4


def test_a_pnode_stays_the_host_it_was(planned, tmp_path):
    pool = {name: {"benito_packing": 1} for name in ("alpha", "beta")}
    plan = planned({"a": ["l0"], "b": ["l0"]}, pool=pool)
    previous = read_embedding(annotate(plan))
    assert previous.hosts == {0: "alpha", 1: "beta"}
    turned = planned({"a": ["l0"], "b": ["l0"]}, {}, previous, pool={name: pool[name] for name in ("beta", "alpha")})
    assert [turned.host(n.pnode).name for n in turned.nodes] == [plan.host(n.pnode).name for n in plan.nodes]


def test_a_node_may_not_be_called_as_a_host(planned):
    with pytest.raises(TopologyError, match="node alpha has the name of a host of the pool"):
        planned({"alpha": ["l0"]}, pool={"Alpha": {}})


def test_an_interface_with_a_switch_of_its_own_keeps_its_port(planned):
    plain, plan = planned(STAR), planned(STAR, guest_switches=True)
    document = plan.document("pnode-0000")
    guests = {g["name"]: g for g in document["guests"]}
    assert [i["port"] for i in guests["centre"]["interfaces"]] == [1, 1, 1]
    edges = {i["switch"] for g in guests.values() for i in g["interfaces"]}
    assert len(edges) == 6 and {s["id"] for s in document["switches"]} == edges | {"l0", "l1", "l2"}
    assert {s["edge"] for s in document["shapers"]} == edges
    before = {(n.name, i.name): (i.switch, i.port) for n in plain.nodes for i in n.interfaces}
    assert {(s["node"], s["interface"]): (s["switch"], s["port"]) for s in document["shapers"]} == before
    assert all(value is None for s in document["shapers"] for way in ("out", "in") for value in s[way].values())
    # What is written down is the port that holds whether there is such a switch or not.
    assert read_embedding(annotate(plan)).ports == read_embedding(annotate(plain)).ports


def test_experiments_of_a_controller_share_the_lab_s_addresses(planned):
    lab = {"control_mode": "bridge", "control_subnet": "192.0.2.0/24", "control_addresses": "192.0.2.10-192.0.2.13"}
    first = planned({"a": ["l0"], "b": ["l0"]}, **lab, experiment="first")
    file = embedding_file(first.settings)
    file.parent.mkdir(parents=True)
    file.write_text(write_topdl(annotate(first)))
    second = planned({"a": ["l0"], "b": ["l0"]}, **lab, experiment="second")
    assert set(first.control.addresses.values()).isdisjoint(second.control.addresses.values())
    assert planned({"a": ["l0"], "b": ["l0"]}, **lab, experiment="first").control == first.control
    with pytest.raises(TopologyError, match="no address is left on the control net for c"):
        planned({"a": ["l0"], "b": ["l0"], "c": ["l0"]}, **lab, experiment="second")
    with pytest.raises(TopologyError, match=r"control address 192.0.2.10 of a is that of experiment testbed.first already"):
        planned({"a": ["l0"]}, {"a": {"benito:control_address": "192.0.2.10"}}, **lab, experiment="second")


def test_nothing_to_launch_is_an_obstacle(planned):
    assert "all nodes of this experiment are ghosts" in planned({"a": ["l0"]}, {"a": {"benito:ghost": "true"}}).obstacle


def stripped(plan):
    """Return what a plan decided, without the file it came from."""
    return [plan.document(p) for p in plan.pnodes], plan.nodes, plan.id


@pytest.mark.parametrize("overrides", [{}, {"addressing": "emulab", "default_memory": 256, "project": "p"}, {"packing": 2}])
def test_an_annotated_file_gives_the_same_plan(planned, tmp_path, overrides):
    plan = planned(STAR, {"n-1": {"benito:node_type": "embedded_pnode"}, "n-2": {"benito:ghost": "yes"}}, physical_hosts=True, **overrides)
    elsewhere = written(plan, tmp_path / "copy.topdl")
    # What is the lab's is not the file's to say, and neither are names that may be those of a running experiment.
    lab = {"project": plan.settings.project, "experiment": "star", "physical_hosts": True}
    again = make_plan(elsewhere, {"state_dir": str(tmp_path / "elsewhere"), **lab})
    assert stripped(again) == stripped(plan)
    assert write_topdl(annotate(again)) == write_topdl(annotate(plan))


def test_annotations_are_read_back(planned):
    plan = planned(STAR)
    found = read_embedding(annotate(plan))
    assert found.pnodes == dict.fromkeys(STAR, 0)
    assert found.ports["n-1", "inf000", "l1"] == 2
    assert found.addresses.control == plan.control.addresses
    assert found.addresses.control_networks == {0: plan.control.first.network}
    assert found.addresses.networks["l2"].prefix == 24


@pytest.mark.parametrize("lab", [{"control_pool": "10.98.0.0/16"}, {"control_subnet": "192.168.77.0/24"}])
def test_a_network_that_only_the_lab_allows_is_kept_too(planned, tmp_path, lab):
    plan = planned(STAR, **lab)
    assert read_embedding(annotate(plan)).addresses.control_networks == {0: plan.control.first.network}
    copy = written(plan, tmp_path / "star.topdl")
    assert make_plan(copy, {"state_dir": str(tmp_path / "elsewhere"), **lab}).control == plan.control
    with pytest.raises(TopologyError, match="BENITO_CONTROL_NETWORKS"):
        make_plan(copy, {"state_dir": str(tmp_path / "elsewhere")})


def test_annotating_replaces_what_stood_there(planned):
    topology = annotate(
        planned(
            STAR,
            {
                "n-0": {"containers:partition": "0", "containers:image": "other", "memory": "theirs"},
                **{n: {"partition": "0"} for n in ("centre", "n-1", "n-2")},
            },
        )
    )
    names = [a.name for a in topology.computers[1].attributes]
    assert sorted(names) == sorted(set(names))
    assert "containers:partition" not in names and "containers:image" not in names and "memory" in names


def test_others_stay_when_nodes_come_and_go(planned, tmp_path):
    before = planned(STAR)
    embedding_file(before.settings).parent.mkdir(parents=True)
    written(before, embedding_file(before.settings))
    changed = {"n-9": ["l9", "l1"], "n-1": ["l1"], "centre": ["l0", "l1", "l2", "l9"], "n-2": ["l2"]}
    after = planned(changed)
    old, new = ({n.name: n for n in p.nodes} for p in (before, after))
    for name in ("n-1", "n-2"):
        assert (new[name].interfaces, new[name].control, new[name].pnode) == (old[name].interfaces, old[name].control, old[name].pnode)
    assert new["centre"].interfaces[:3] == old["centre"].interfaces


def test_a_spoilt_record_is_no_obstacle(planned, tmp_path):
    fresh = planned(STAR)
    record = embedding_file(fresh.settings)
    record.parent.mkdir(parents=True)
    record.write_text("<experiment>")
    found = planned(STAR)
    assert stripped(found) == stripped(fresh)
    assert any("everything is chosen anew" in n.text for n in found.notices)


def test_planning_writes_nothing(planned, tmp_path):
    planned(STAR)
    assert [p.name for p in tmp_path.iterdir()] == ["star.topdl"]


def test_previous_beats_the_record(planned):
    moved = Embedding(ports={("n-0", "inf000", "l0"): 7})
    assert planned(STAR, None, moved).document("pnode-0000")["guests"][1]["interfaces"][0]["port"] == 7


def test_broken_files_name_their_place(tmp_path):
    file = tmp_path / "broken.topdl"
    file.write_text("<experiment>\n<oops></experiment>")
    with pytest.raises(TopologyError, match=r"broken\.topdl:2"):
        make_plan(str(file))


LINE = """<experiment><version>1.0</version><substrates><name>l0</name></substrates><substrates><name>l1</name></substrates>
<elements><computer><name>a</name><interface><substrate>l0</substrate><name>i</name></interface>
<attribute><attribute>benito:routes</attribute><value>l1 via b</value></attribute></computer></elements>
<elements><computer><name>b</name><interface><substrate>l0</substrate><name>i</name></interface>
<interface><substrate>l1</substrate><name>j</name></interface></computer></elements>
<elements><computer><name>c</name><interface><substrate>l1</substrate><name>i</name></interface></computer></elements>
<attribute><attribute>benito:routing</attribute><value>WORD</value></attribute></experiment>
"""


@pytest.mark.parametrize(
    ("word", "of_a", "of_c", "told"),
    [
        ("manual", [("10.0.1.0/24", "10.0.0.2", "eth1")], [], False),
        ("static", [("10.0.1.0/24", "10.0.0.2", "eth1")], [("10.0.0.0/24", "10.0.1.1", "eth1")], True),
        ("none", [], [], True),
    ],
)
def test_whose_routes(tmp_path, word, of_a, of_c, told):
    file = tmp_path / "line.topdl"
    file.write_text(LINE.replace("WORD", word))
    plan = make_plan(str(file), {"state_dir": str(tmp_path)})
    tables = {g["name"]: [(r["to"], r["via"], r["device"]) for r in g["routes"]] for g in plan.document("pnode-0000")["guests"]}
    assert tables == {"a": of_a, "b": [], "c": of_c}
    assert any("only where routing is manual" in str(n) and "line.topdl:3" in str(n) for n in plan.notices) is told


@pytest.mark.parametrize(("word", "via"), [("static", "10.0.2.2"), ("tree", "10.0.1.1")])
def test_along_a_tree_the_last_link_of_a_ring_carries_nothing_for_others(tmp_path, word, via):
    computers = "".join(
        f"<elements><computer><name>{node}</name><interface><substrate>l{n}</substrate><name>i</name></interface>"
        f"<interface><substrate>l{(n - 1) % 4}</substrate><name>j</name></interface></computer></elements>"
        for n, node in enumerate("abcd")
    )
    substrates = "".join(f"<substrates><name>l{n}</name></substrates>" for n in range(4))
    routing = f"<attribute><attribute>benito:routing</attribute><value>{word}</value></attribute>"
    file = tmp_path / "ring.topdl"
    file.write_text(f"<experiment><version>1.0</version>{substrates}{computers}{routing}</experiment>")
    (node,) = (node for node in make_plan(str(file), {"state_dir": str(tmp_path)}).nodes if node.name == "c")
    assert [route.via for route in node.routes if "10.0.3.0/24" in route.to] == [via]


NODES = [f"n{i}" for i in range(6)]
LANS = st.lists(st.lists(st.sampled_from(NODES), min_size=1, max_size=4, unique=True), min_size=1, max_size=6)


def settled(lans, previous=NOTHING_EMBEDDED, **overrides):
    """Plan LANs, each a list of its members, without any file."""
    touched = {name: [f"l{i}" for i, members in enumerate(lans) if name in members] for name in NODES}
    elements = tuple(Computer(n, interfaces=tuple(Interface(f"to-{lan}", (lan,)) for lan in t)) for n, t in touched.items() if t)
    topology = Topology(tuple(Substrate(f"l{i}") for i, members in enumerate(lans) if members), elements)
    return plan_topology("/x", topology, resolve_settings("x", overrides=overrides), previous)


@settings(max_examples=40, deadline=None)
@given(LANS, st.sampled_from(["benito", "emulab"]))
def test_any_annotated_topology_gives_the_same_plan(lans, style):
    plan = settled(lans, addressing=style)
    annotated = annotate(plan)
    again = plan_topology("/x", annotated, resolve_settings("x", annotated.attributes))
    assert stripped(again) == stripped(plan)


@settings(max_examples=40, deadline=None)
@given(LANS, LANS, st.sampled_from(["benito", "emulab"]))
def test_whoever_is_in_both_keeps_everything(lans, more, style):
    """Members are added and whole LANs appear; whoever was there keeps addresses, ports and MACs."""
    before = settled(lans, addressing=style)
    grown = [sorted({*members, *extra}) for members, extra in zip_longest(lans, more, fillvalue=[])]
    after = settled(grown, read_embedding(annotate(before)), addressing=style)
    new = {n.name: n for n in after.nodes}
    for node in before.nodes:
        kept = {i.name: i for i in new[node.name].interfaces}
        assert new[node.name].control == node.control
        for interface in node.interfaces:
            # The device is the interface's position in the guest, which an earlier LAN may shift.
            assert replace(kept[interface.name], device="", index=0) == replace(interface, device="", index=0)

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest

from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import TopologyError
from ansible_collections.benito.testbed.plugins.plugin_utils.formats.topdl_writer import write_topdl
from ansible_collections.benito.testbed.plugins.plugin_utils.plan import make_plan
from ansible_collections.benito.testbed.plugins.plugin_utils.topology import Attribute, Computer, Interface, Substrate, Topology

MACHINE = {"benito:node_type": "qemu", "benito:image": "debian"}
INSIDE = {"benito:node_type": "process", "benito:host": "m"}


@pytest.fixture
def planned(tmp_path):
    """Plan {node: (attributes, [substrates])}."""

    def plan(nodes, **overrides):
        lans = dict.fromkeys(lan for dummy, touched in nodes.values() for lan in touched)
        elements = tuple(
            Computer(
                name,
                interfaces=tuple(Interface(f"inf{i:03d}", (lan,)) for i, lan in enumerate(touched)),
                attributes=tuple(Attribute(n, v) for n, v in attributes.items()),
            )
            for name, (attributes, touched) in nodes.items()
        )
        file = tmp_path / "nest.topdl"
        file.write_text(write_topdl(Topology(tuple(Substrate(n) for n in lans), elements)))
        return make_plan(str(file), {"state_dir": str(tmp_path / "state"), **overrides}, {})

    return plan


def test_a_process_inside_a_machine(planned):
    plan = planned({"m": (MACHINE, []), "p": (INSIDE, ["lan"]), "q": ({"benito:node_type": "process"}, ["lan"])})
    assert plan.carriers == ("m",) and plan.pnodes == ("pnode-0000",)
    outside, inside = plan.document("pnode-0000"), plan.inner_document("m")
    assert json.loads(json.dumps(inside)) == inside
    assert [g["name"] for g in outside["guests"]] == ["m", "q"]
    assert [g["name"] for g in inside["guests"]] == ["p"]
    assert [s["name"] for s in outside["switches"]] == [s["name"] for s in inside["switches"]] == ["lan"]
    [plug] = outside["guests"][0]["interfaces"]
    [leg] = inside["cables"]
    assert (plug["address"], plug["switch"], plug["port"], plug["device"]) == ("", "lan", leg["port"], leg["device"])
    assert (leg["transport"], leg["switch"]) == ("ethernet", "lan")
    ports = [g["interfaces"][0]["port"] for g in (*outside["guests"], *inside["guests"])]
    assert len(set(ports)) == 3, "members and trunk have ports of their own"
    assert inside["control"]["mode"] == "none"
    assert "m" not in {row[0] for row in outside["hosts"]}, "a machine that merely carries is on no substrate"


def test_a_machine_that_is_a_node_as_well(planned):
    plan = planned({"m": (MACHINE, ["lan"]), "p": (INSIDE, ["lan"])})
    first, trunk = plan.document("pnode-0000")["guests"][0]["interfaces"]
    assert first["address"] and not trunk["address"]
    assert first["port"] != trunk["port"] and first["mac"] != trunk["mac"]


def test_a_shaper_sits_where_its_process_does(planned):
    plan = planned({"m": (MACHINE, []), "p": (INSIDE, ["lan"]), "q": (INSIDE, ["lan"])}, guest_switches=True)
    assert not plan.document("pnode-0000")["shapers"]
    assert [s["name"] for s in plan.inner_document("m")["shapers"]] == ["p:inf000", "q:inf000"]


def test_a_machine_needs_an_image_that_can_carry(planned):
    with pytest.raises(TopologyError, match=r"process p names 'm' as its host, whose image is tiny: .* needs the image debian"):
        planned({"m": ({"benito:node_type": "qemu"}, []), "p": (INSIDE, ["lan"])})


def test_a_machine_needs_a_control_net(planned):
    with pytest.raises(TopologyError, match="process p is to run inside of 'm', which without a control net cannot be reached"):
        planned({"m": (MACHINE, []), "p": (INSIDE, ["lan"])}, control_mode="none")


def test_a_physical_node_is_no_machine(planned):
    plan = planned({"m": ({"benito:node_type": "physical"}, []), "p": (INSIDE, ["lan"])}, physical_hosts=True)
    assert plan.carriers == ()
    assert [g["name"] for g in plan.document("pnode-0000")["guests"]] == ["m", "p"]


def test_machines_made_for_processes(planned):
    process = {"benito:node_type": "process"}
    nodes = {f"p{i}": (process, ["a" if i < 3 else "b"]) for i in range(6)}
    plan = planned({**nodes, "machine-0": ({}, ["a"]), "g": ({**process, "benito:ghost": "true"}, ["a"])}, processes_per_machine=3)
    inside = {carrier: [g["name"] for g in plan.inner_document(carrier)["guests"]] for carrier in plan.carriers}
    assert sorted(inside.values()) == [["p0", "p1", "p2"], ["p3", "p4", "p5"]]
    assert "machine-0" not in inside
    assert [n.name for n in plan.nodes if n.kind == "qemu"] == ["machine-0", *sorted(inside)]
    assert planned(nodes).carriers == ()

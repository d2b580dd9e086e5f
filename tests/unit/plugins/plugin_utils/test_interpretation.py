# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import Location, TopologyError
from ansible_collections.benito.testbed.plugins.plugin_utils.interpretation import interpret, parse_address, parse_netmask
from ansible_collections.benito.testbed.plugins.plugin_utils.settings import resolve_settings
from ansible_collections.benito.testbed.plugins.plugin_utils.topology import (
    Attribute,
    Computer,
    Interface,
    OperatingSystem,
    Software,
    Substrate,
    Topology,
)
from ansible_collections.benito.testbed.plugins.plugin_utils.topology import (
    Testbed as FederatedTestbed,
)

HERE = Location("t", 5)

TWO = (Substrate("l0"), Substrate("l1"))


def attributes(**words):
    return tuple(
        Attribute(name if name in ("startup", "failureaction", "partition") else f"benito:{name}", str(v), HERE)
        for name, v in words.items()
    )


def computer(name="a", lans=("l0",), oses=(), software=(), **words):
    interfaces = tuple(Interface(f"inf{i:03d}", (lan,)) for i, lan in enumerate(lans))
    return Computer(name, interfaces=interfaces, attributes=attributes(**words), oses=oses, software=software, where=HERE)


def understood(*elements, topology_attributes=(), substrates=TWO, **overrides):
    topology = Topology(substrates=substrates, elements=elements, attributes=topology_attributes)
    return interpret(topology, resolve_settings("x", overrides=overrides))


def texts(experiment):
    return [notice.text for notice in experiment.notices]


def test_defaults_of_a_node():
    node = understood(computer()).nodes[0]
    assert (node.kind, node.image, node.memory, node.cpus, node.failure_action, node.launched) == ("qemu", "tiny", 128, 1, "fatal", True)
    assert (node.partition, node.pass_number, node.start_command, node.ghost) == (None, None, "", False)


def test_words_of_a_node():
    node = understood(
        computer(startup=" run me ", failureaction="nonfatal", memory=512, cpus=2, PartitionPass=3, ghost="true"), default_kind="process"
    ).nodes[0]
    assert (node.kind, node.memory, node.cpus, node.pass_number, node.ghost) == ("process", 512, 2, 3, True)
    assert (node.start_command, node.failure_action, node.launched) == ("run me", "nonfatal", False)


@pytest.mark.parametrize(
    ("word", "kind"), [("qemu", "qemu"), ("process", "process"), ("embedded_pnode", "physical"), ("pnode", "physical"), ("openvz", "qemu")]
)
def test_node_types(word, kind):
    assert understood(computer(node_type=word)).nodes[0].kind == kind


def test_unknown_kinds_and_images_are_told_once_each():
    wanted = (OperatingSystem(attributes=(Attribute("osid", "FBSD7-STD", HERE),)),)
    found = understood(*(computer(f"n{i}", oses=wanted, node_type="open_vz") for i in range(5)))
    assert len(texts(found)) == 2
    assert "'open_vz'" in texts(found)[0] and "'FBSD7-STD' is not known: such nodes get tiny" in texts(found)[1]


@pytest.mark.parametrize(
    ("own", "osid", "name", "distribution", "image"),
    [
        (None, None, None, None, "tiny"),
        (None, None, "Debian", None, "debian"),
        (None, None, "Linux", "Debian", "debian"),
        (None, None, "Linux", "Ubuntu", "tiny"),
        (None, "debian", "Linux", None, "debian"),
        (None, "FBSD7-STD", "FreeBSD", "Debian", "tiny"),
        ("tiny", "debian", "Debian", "Debian", "tiny"),
    ],
)
def test_what_chooses_an_image(own, osid, name, distribution, image):
    words = (Attribute("osid", osid, HERE),) if osid else ()
    more = {"image": own} if own else {}
    oses = (OperatingSystem(name=name, distribution=distribution, attributes=words),)
    assert understood(computer(oses=oses, **more)).nodes[0].image == image


def test_where_one_has_a_partition_the_others_are_physical():
    found = understood(computer("a", partition=0), computer("b"), computer("c", node_type="qemu"))
    assert [n.kind for n in found.nodes] == ["qemu", "physical", "physical"]
    assert any("node c is physical, not 'qemu'" in t for t in texts(found))


def test_what_runs_on_its_hosts_kernel_has_limits_and_no_sizes():
    found = understood(computer("a", node_type="process"), computer("b", node_type="process", memory=10, cpus=1, processes=20))
    assert [(n.memory, n.cpus, n.processes, n.has_control) for n in found.nodes] == [(0, 0, None, False), (10, 1, 20, False)]


def test_an_image_has_the_memory_it_needs_unless_the_file_says_otherwise():
    found = understood(computer("a", image="debian"), computer("b", image="debian", memory=200), computer("c"))
    assert [n.memory for n in found.nodes] == [320, 200, 128]
    assert understood(computer("a", image="debian"), default_memory=512).nodes[0].memory == 512


def test_another_platform_is_a_kind_like_any():
    found = understood(computer("a", node_type="openvz"), computer("b", node_type="container"), platforms="container=lab.site.box")
    assert [(n.kind, n.has_control) for n in found.nodes] == [("container", True)] * 2
    assert not texts(found)
    with pytest.raises(TopologyError, match="taken for something else"):
        understood(computer("container"), platforms={"container": "lab.site.box"})


def test_a_process_on_a_node_needs_no_partition():
    found = understood(computer("a", partition=0), computer("b", node_type="process", host="a"))
    assert (found.nodes[1].kind, found.nodes[1].host) == ("process", "a")


def test_other_elements_and_software_are_told():
    found = texts(understood(computer(software=(Software("http://x/y.tgz"),)), FederatedTestbed("http://tb", "emulab")))
    assert found == ["testbed 'http://tb' is not realised", "software is not installed by this version: a"]


@pytest.mark.parametrize(("word", "routing"), [("Static", "computed"), ("manual", "manual"), ("none", "none"), ("session", "computed")])
def test_routing_words(word, routing):
    found = understood(computer(), topology_attributes=attributes(routing=word))
    assert found.routing == routing
    assert bool(found.notices) == (word == "session")


def test_members_in_the_order_of_the_file():
    found = understood(computer("b", ("l1", "l0")), computer("a", ("l0",)))
    assert [(link.name, [(m.node, m.index) for m in link.members]) for link in found.links] == [
        ("l0", [("b", 1), ("a", 0)]),
        ("l1", [("b", 0)]),
    ]


@pytest.mark.parametrize(
    ("element", "message"),
    [
        (computer("all"), "cannot name a node"),
        (computer("VNODE"), "cannot name a node"),
        (computer("substrate_l0"), "cannot name a node"),
        (computer("7"), "cannot name a node"),
        (computer(partition="x"), "must be a whole number, 0 or more"),
        (computer(partition="-1"), "must be a whole number"),
        (computer(memory="0"), "must be a whole number, 64 or more"),
        (computer(memory="٣"), "must be a whole number"),
        (computer(failureaction="panic"), "must be fatal, nonfatal, ignore"),
        (computer(control_mac="ff:ff:ff:ff:ff:ff"), "must be a unicast MAC"),
        (computer(control_mac="020000000001, x"), "must be a unicast MAC"),
        (computer(control_address="1.2.3"), "is not an IPv4 address"),
        (Computer("a", interfaces=(Interface("i", ("l0", "l1"), where=HERE),)), "on 2 substrates"),
    ],
)
def test_words_that_mean_nothing_are_errors_with_their_place(element, message):
    with pytest.raises(TopologyError, match=message) as caught:
        understood(element)
    assert caught.value.where in (HERE, element.where)


def test_no_computer_is_an_error():
    with pytest.raises(TopologyError, match="nothing to build"):
        understood()


def test_routing_nonsense_is_an_error():
    with pytest.raises(TopologyError, match="must be static, tree, manual, session or none"):
        understood(computer(), topology_attributes=attributes(routing="fast"))


def test_numbers():
    assert parse_address(" 10.1.2.3 ", HERE) == 10 << 24 | 1 << 16 | 2 << 8 | 3
    assert parse_netmask("255.255.254.0", HERE) == 23

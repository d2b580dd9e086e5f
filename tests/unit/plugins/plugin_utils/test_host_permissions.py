# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file that wants hosts themselves: which ones, their interfaces, routes and names."""

from __future__ import annotations

import pytest

from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import TopologyError
from ansible_collections.benito.testbed.plugins.plugin_utils.formats.topdl_writer import write_topdl
from ansible_collections.benito.testbed.plugins.plugin_utils.plan import make_plan
from ansible_collections.benito.testbed.plugins.plugin_utils.topology import Attribute, Computer, Interface, Substrate, Topology

POOL = {name: {"ansible_host": f"192.0.2.{n}"} for n, name in enumerate(("alpha", "beta"), 1)}
HOST = (Attribute("benito:node_type", "embedded_pnode"),)


def addresses(*pairs):
    """Return an interface for each address in each substrate."""
    return tuple(Interface(lan, (lan,), attributes=(Attribute("ip4_address", text),) if text else ()) for lan, text in pairs)


@pytest.fixture
def wanted(tmp_path):
    """Plan a file with a physical node p, and a router r behind which there is a node q on each further substrate."""

    def plan(lans=(("lan0", ""),), node=HOST, behind=(), pool=POOL, extension="topdl", **lab):
        names = [*dict.fromkeys([*(lan for lan, dummy in lans), *(lan for lan, dummy in behind)])]
        elements = (
            Computer("p", attributes=node, interfaces=addresses(*lans)),
            Computer("r", attributes=(Attribute("partition", "0"),), interfaces=(Interface("i", (names[0],)), *addresses(*behind))),
        )
        file = tmp_path / f"evil.{extension}"
        file.write_text(write_topdl(Topology(tuple(map(Substrate, names)), elements)))
        return make_plan(str(file), {"state_dir": str(tmp_path / "state"), **lab}, {}, pool=pool)

    return plan


def test_a_host_is_no_node_of_a_file_unless_the_lab_allows_it(wanted):
    with pytest.raises(TopologyError, match=r"evil\.topdl:\d+:\d+: benito:node_type may not be 'embedded_pnode'.*BENITO_PHYSICAL_HOSTS"):
        wanted()
    assert [n.kind for n in wanted(physical_hosts=True).nodes] == ["physical", "qemu"]


@pytest.mark.parametrize("pool", [POOL, {}])
def test_only_the_hosts_that_are_named(wanted, pool):
    [pnode] = [n.pnode for n in wanted(physical_hosts=True, pool=pool).nodes if n.kind == "physical"]
    named = wanted(physical_hosts=True, pool=pool).host(pnode)
    for allowed in (pnode, named.name if named else "localhost"):
        assert wanted(physical_hosts=allowed, pool=pool)
    with pytest.raises(TopologyError, match=r"evil\.topdl:\d+:\d+: p is a physical node, and may not be .* itself .*BENITO_PHYSICAL_HOSTS"):
        wanted(physical_hosts="gamma,pnode-0007", pool=pool)


def test_a_node_is_no_host_for_want_of_a_word(wanted):
    with pytest.raises(TopologyError, match=r"evil\.topdl:\d+:\d+: p is a physical node, since other nodes have a partition and"):
        wanted(node=())


def test_a_file_does_not_make_all_nodes_hosts(wanted, tmp_path):
    file = tmp_path / "all.topdl"
    attributes = (Attribute("containers:default_kind", "pnode"),)
    file.write_text(write_topdl(Topology((), (Computer("a"),), attributes)))
    with pytest.raises(TopologyError, match=r"all\.topdl:\d+:\d+: containers:default_kind may not be .*BENITO_PHYSICAL_HOSTS"):
        make_plan(str(file), {"state_dir": str(tmp_path)}, {})
    # Where the lab wants that itself it says both.
    with pytest.raises(TopologyError, match=r"a is a physical node, and may not be localhost itself"):
        make_plan(str(file), {"state_dir": str(tmp_path), "default_kind": "physical"}, {})


@pytest.mark.parametrize("network", ["8.8.8.1", "1.2.3.4", "169.254.169.1", "172.32.0.1", "192.0.2.77"])
def test_no_public_network_gets_into_a_hosts_routes(wanted, network):
    message = r"evil\.topdl:\d+:\d+: network {0}\S+ of p may not be in the table of a host.*BENITO_PHYSICAL_NETWORKS"
    with pytest.raises(TopologyError, match=message.format(network.rpartition(".")[0])):
        wanted([("lan0", network)], physical_hosts=True)
    message = r"evil\.topdl:\d+:\d+: the route of p to {0}\S+ may not be in the table of a host.*BENITO_PHYSICAL_NETWORKS"
    with pytest.raises(TopologyError, match=message.format(network.rpartition(".")[0])):
        wanted([("lan0", "10.0.0.1")], behind=[("lan9", network)], physical_hosts=True)
    if not network.startswith("169"):
        allowed = "8.8.8.0/24,1.0.0.0/8,172.32.0.0/16,192.0.2.0/24"
        assert wanted([("lan0", network)], physical_hosts=True, physical_networks=allowed)


def test_no_summary_of_routes_is_wider_than_what_is_allowed(wanted):
    behind = [("lan8", "10.255.255.1"), ("lan9", "11.0.0.1")]
    with pytest.raises(TopologyError, match="the route of p to"):
        wanted([("lan0", "10.0.0.1")], behind=behind, physical_hosts=True)


def test_no_name_of_another_host_gets_into_a_hosts_file(wanted):
    with pytest.raises(TopologyError, match=r"evil\.topdl:\d+:\d+: substrate 'x.debian.org' has a dot in its name and p is a host of"):
        wanted([("lan0", "")], behind=[("x.debian.org", "")], physical_hosts=True)
    # Guests have files of their own.
    assert wanted([("x.debian.org", "")], node=(Attribute("partition", "0"),))


def test_no_interface_of_a_host_is_a_files(wanted, tmp_path):
    file = tmp_path / "wire.topdl"
    interface = Interface("i", ("lan0",), attributes=(Attribute("benito:device", "eth1"),))
    file.write_text(write_topdl(Topology((Substrate("lan0"),), (Computer("p", attributes=HOST, interfaces=(interface,)),))))
    lab = {"state_dir": str(tmp_path), "physical_hosts": True}
    with pytest.raises(TopologyError, match=r"wire\.topdl:\d+:\d+: interface i of p may not be eth1 of beta: .*_PHYSICAL_INTERFACES"):
        make_plan(str(file), lab, {}, pool=POOL)
    for allowed in ("eth1", "beta/eth1", "eth0,eth1", True):
        assert make_plan(str(file), {**lab, "physical_interfaces": allowed}, {}, pool=POOL)
    for allowed in ("eth0", "alpha/eth1", "none"):
        with pytest.raises(TopologyError, match="BENITO_PHYSICAL_INTERFACES"):
            make_plan(str(file), {**lab, "physical_interfaces": allowed}, {}, pool=POOL)


def test_a_host_that_is_only_kept_free_runs_nothing(wanted):
    ghost = (*HOST, Attribute("benito:ghost", "true"))
    assert not [n for n in wanted(node=ghost, physical_hosts="gamma").nodes if n.kind == "physical" and n.launched]

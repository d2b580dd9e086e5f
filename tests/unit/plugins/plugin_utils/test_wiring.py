# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

import pytest

from ansible_collections.benito.testbed.plugins.plugin_utils import wiring
from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import TopologyError
from ansible_collections.benito.testbed.plugins.plugin_utils.interpretation import interpret
from ansible_collections.benito.testbed.plugins.plugin_utils.settings import resolve_settings
from ansible_collections.benito.testbed.plugins.plugin_utils.topology import Attribute, Computer, Interface, Substrate, Topology


def wired(lans, previous=None, extra=None, further=None, **overrides):
    """Wire {substrate: [nodes]}; ``extra`` has attributes of interfaces by (node, substrate)."""
    nodes = {}
    for lan, members in lans.items():
        for node in members:
            found = nodes.setdefault(node, [])
            words = tuple(Attribute(f"benito:{n}", v) for n, v in (extra or {}).get((node, lan), {}).items())
            found.append(Interface(f"to-{lan}", (lan,), attributes=words))
    topology = Topology(tuple(Substrate(n) for n in lans), tuple(Computer(n, interfaces=tuple(i)) for n, i in nodes.items()))
    config = resolve_settings("x", overrides=overrides)
    experiment = interpret(topology, config)
    return wiring.wire(experiment.nodes, experiment.links, config, previous or {}, further=further or {})


def ports(result):
    return {key: cord.port for key, cord in result.cords.items()}


def test_everything_has_its_own_name():
    result = wired({"l0": ["a", "b"], "l1": ["b", "c"]})
    macs = [c.mac for c in result.cords.values()] + list(result.control_macs.values())
    assert len(set(macs)) == 7 and all(re.fullmatch("02(:[0-9a-f]{2}){5}", m) for m in macs)
    devices = [result.bridge, *result.taps.values()]
    assert len(set(devices)) == 4 and all(re.fullmatch("bn[0-9a-f]{10}", d) for d in devices)
    assert [result.cords["b", f"to-{lan}"].device for lan in ("l0", "l1")] == ["eth1", "eth2"]


def test_macs_follow_from_names_alone():
    one, two = wired({"l0": ["a", "b"]}), wired({"l9": ["z", "a"], "l0": ["q", "a"]})
    assert one.cords["a", "to-l0"].mac == two.cords["a", "to-l0"].mac
    assert one.control_macs["a"] == two.control_macs["a"] and one.taps["a"] == two.taps["a"]
    assert wired({"l0": ["a", "b"]}, project="other").cords["a", "to-l0"].mac != one.cords["a", "to-l0"].mac


def test_equal_hashes_are_told_apart(monkeypatch):
    monkeypatch.setattr(wiring, "derived_mac", lambda *words: f"02:00:00:00:00:{words[-1] if words[-1].isdigit() else 0:0>2}")
    result = wired({"l0": ["a", "b"]})
    assert len({c.mac for c in result.cords.values()} | set(result.control_macs.values())) == 4


def test_a_given_mac_is_kept_and_its_twin_refused():
    given = {"mac_address": "00-16-3E-00-00-01"}
    assert wired({"l0": ["a", "b"]}, extra={("a", "l0"): given}).cords["a", "to-l0"].mac == "00:16:3e:00:00:01"
    with pytest.raises(TopologyError, match="is also that of interface to-l0 of a"):
        wired({"l0": ["a", "b"]}, extra={("a", "l0"): given, ("b", "l0"): given})


def test_ports_count_from_1_and_stay():
    first = wired({"l0": ["a", "b", "c"]})
    assert ports(first) == {("a", "to-l0"): 1, ("b", "to-l0"): 2, ("c", "to-l0"): 3}
    previous = {(node, name, "l0"): port for (node, name), port in ports(first).items()}
    assert ports(wired({"l0": ["z", "c", "a"]}, previous)) == {("a", "to-l0"): 1, ("c", "to-l0"): 3, ("z", "to-l0"): 2}


def test_given_ports_come_first():
    assert ports(wired({"l0": ["a", "b"]}, extra={("b", "l0"): {"vde_port": "1"}})) == {("a", "to-l0"): 2, ("b", "to-l0"): 1}
    with pytest.raises(TopologyError, match="is given to a and to b"):
        wired({"l0": ["a", "b"]}, extra={(n, "l0"): {"vde_port": "1"} for n in "ab"})
    with pytest.raises(TopologyError, match="may be up to 1024"):
        wired({"l0": ["a", "b"]}, extra={("a", "l0"): {"vde_port": "99999"}})


@pytest.mark.parametrize(("members", "size"), [(2, 32), (16, 32), (17, 64), (100, 256)])
def test_switches_have_room_to_grow(members, size):
    assert wired({"l0": [f"n{i}" for i in range(members)]}).switches["l0"].ports == size


def test_a_switch_reaches_its_highest_port():
    assert wired({"l0": ["a", "b"]}, {("b", "to-l0", "l0"): 40}).switches["l0"].ports == 64
    assert wired({"l0": ["a", "b"]}, {("b", "to-l0", "l0"): 32}).switches["l0"].ports == 64, "a switch of 32 has ports 0 to 31"


def test_cables_have_ports_that_the_switch_has():
    result = wired({"l0": ["a", "b", "c"]}, further={"l0": 2})
    assert result.further_ports["l0"] == (31, 30)
    assert result.switches["l0"].ports == 32


def test_long_names_of_substrates():
    result = wired({"a" * 60: ["a"], "a" * 59 + "b": ["b"], "none": []})
    assert len({s.id for s in result.switches.values()}) == 2 and all(len(s.id) <= 20 for s in result.switches.values())
    assert "none" not in result.switches

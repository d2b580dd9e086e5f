# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.benito.testbed.plugins.plugin_utils.hostnames import hosts_table, plain_names
from ansible_collections.benito.testbed.plugins.plugin_utils.interpretation import interpret
from ansible_collections.benito.testbed.plugins.plugin_utils.settings import resolve_settings
from ansible_collections.benito.testbed.plugins.plugin_utils.topology import Computer, Interface, Substrate, Topology


def nodes(**lans):
    names = dict.fromkeys(lan for touched in lans.values() for lan in touched)
    elements = tuple(
        Computer(n, interfaces=tuple(Interface(f"i{k}", (lan,)) for k, lan in enumerate(touched))) for n, touched in lans.items()
    )
    return interpret(Topology(tuple(Substrate(n) for n in names), elements), resolve_settings("x")).nodes


def test_table():
    found = nodes(a=["l0", "l1"], b=["l1"])
    assert hosts_table(found, {("a", "i0"): 1, ("a", "i1"): 2, ("b", "i0"): 3}) == [
        ("a", "l0", 0, "0.0.0.1"),
        ("a", "l1", 1, "0.0.0.2"),
        ("b", "l1", 0, "0.0.0.3"),
    ]


def test_neighbours_see_each_other_on_the_way_they_share():
    found = plain_names(nodes(centre=["l0", "l1", "l2"], n0=["l0"], n1=["l1"], n2=["l2"]))
    assert found == {"centre": {}, "n0": {}, "n1": {"centre": "l1"}, "n2": {"centre": "l2"}}


def test_the_first_shared_substrate_as_the_viewer_counts():
    found = plain_names(nodes(a=["l2", "l1"], b=["l0", "l1", "l2"]))
    assert found["a"] == {"b": "l2"}
    assert found["b"] == {"a": "l1"}


def test_no_exception_where_interface_0_is_the_shared_one():
    assert plain_names(nodes(a=["l0", "l1"], b=["l0", "l1"])) == {"a": {}, "b": {}}


def test_nobody_is_an_exception_to_itself_and_strangers_see_interface_0():
    assert plain_names(nodes(a=["l0", "l1", "l1"], b=["l2"])) == {"a": {}, "b": {}}

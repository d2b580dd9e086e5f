# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool of hosts: what the lab says beats what was measured, and a pnode stays the host it was."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import TopologyError
from ansible_collections.benito.testbed.plugins.plugin_utils.placement import Room
from ansible_collections.benito.testbed.plugins.plugin_utils.pool import PoolHost, load_facts, order_pool, pool_host, rooms

FACTS = {"memory": 10_000, "held": 1_000, "cores": 8, "host_keys": ["ssh-ed25519 AAAA"]}


def test_a_host_has_what_was_measured():
    host = pool_host("alpha", {}, FACTS)
    assert host == PoolHost("alpha", "alpha", memory=8_000, cores=8, host_keys=("ssh-ed25519 AAAA",))


def test_what_the_lab_says_is_stronger():
    said = {"benito_memory": "600", "benito_cores": 2, "benito_packing": 5, "ansible_host": "192.0.2.1", "ansible_port": 2222}
    host = pool_host("alpha", said, FACTS)
    assert (host.memory, host.cores, host.packing, host.address, host.ssh_port) == (600, 2, 5, "192.0.2.1", 2222)
    host = pool_host("alpha", {**said, "benito_address": "10.0.0.1", "benito_ssh_port": 22, "benito_reachable": "no"}, FACTS)
    assert (host.address, host.ssh_port, host.reachable) == ("10.0.0.1", 22, False)


def test_of_a_host_nobody_has_looked_at_nothing_is_known():
    host = pool_host("alpha", {}, {})
    assert (host.memory, host.cores, host.packing, host.host_keys) == (None, None, None, ())


def test_a_local_host_has_no_address_for_others():
    assert pool_host("here", {"ansible_connection": "local"}, {}).address == ""
    assert pool_host("here", {"ansible_connection": "local", "benito_address": "192.0.2.9"}, {}).address == "192.0.2.9"


@pytest.mark.parametrize("wrong", ["many", "0", "-1", True, "1.5"])
def test_a_number_that_is_none_is_refused(wrong):
    with pytest.raises(TopologyError, match=r"benito_memory of host alpha is .*: it must be a whole number, 1 or more"):
        pool_host("alpha", {"benito_memory": wrong}, {})


def test_a_core_carries_several_virtual_processors():
    assert rooms([PoolHost("a", memory=100, cores=2, packing=3), PoolHost("b")], 16) == (Room("a", 100, 32, 3), Room("b"))


def names(pool):
    return [host.name for host in pool]


def test_a_pnode_stays_the_host_it_was():
    pool = [PoolHost(name) for name in "abc"]
    assert names(order_pool(pool, {})) == ["a", "b", "c"]
    assert names(order_pool(pool, {0: "c", 1: "a"})) == ["c", "a", "b"]
    # One has gone, another has come.
    assert names(order_pool([PoolHost(n) for n in "xab"], {0: "a", 1: "gone", 2: "b"})) == ["a", "x", "b"]


@given(st.lists(st.sampled_from("abcdef"), unique=True), st.dictionaries(st.integers(0, 8), st.sampled_from("abcdefgh")))
def test_every_host_has_one_number(pool, previous):
    previous = {number: name for number, name in previous.items() if list(previous.values()).count(name) == 1}
    assert sorted(names(order_pool([PoolHost(name) for name in pool], previous))) == sorted(pool)


def test_facts_are_read_and_a_damaged_record_counts_as_none(tmp_path):
    assert load_facts(tmp_path) == {}
    (tmp_path / "pool.json").write_text(json.dumps({"a": FACTS, "b": "nonsense"}))
    assert load_facts(tmp_path) == {"a": FACTS}
    (tmp_path / "pool.json").write_text("{")
    assert load_facts(tmp_path) == {}

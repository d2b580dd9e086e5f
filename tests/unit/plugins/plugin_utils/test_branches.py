# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.benito.testbed.plugins.plugin_utils.branches import Branches

BITS = [1 << number for number in range(6)]


def test_a_chain_is_nothing_but_tips_around_its_middle():
    # a(0,1) b(1,2) c(2,3) d(3,4) e(4,5)
    found = Branches({name: (number, number + 1) for number, name in enumerate("abcde")}, BITS[:6])
    assert found.root == {"a": 1, "b": 2, "e": 4, "d": 3}
    assert found.behind == {"a": 0b1, "b": 0b11, "d": 0b110000, "e": 0b100000}
    assert found.hanging == [0, 0b1, 0b11, 0b110000, 0b100000, 0] and found.up == ["a", "b", None, None, "d", "e"]
    assert [sorted(left) for left in found.left] == [[], [], ["c"], ["c"], [], []]


def test_a_ring_has_no_tips_and_keeps_what_hangs_on_it():
    ring = {"a": (0, 1), "b": (1, 2), "c": (2, 0)}
    assert Branches(ring, BITS[:3]).root == {}
    found = Branches({**ring, "d": (1, 3), "e": (3, 4)}, BITS[:5])
    assert list(found.root.items()) == [("e", 3), ("d", 1)]
    assert found.hanging[1] == 0b11000 and found.tips[1] == ["d"] and found.left[1] == {"a", "b"}


def test_two_links_side_by_side_are_a_choice():
    assert Branches({"a": (0, 1), "b": (0, 1), "c": (1, 2)}, BITS[:3]).root == {"c": 1}


def test_a_lan_of_routers_keeps_one():
    found = Branches({name: (0, number) for number, name in enumerate("abc", 1)}, BITS[:4])
    assert found.root == {"a": 0, "b": 0} and found.left[0] == {"c"}

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.plugin_utils.short_names import digest, short, short_names


def test_safe_and_short_stays():
    assert short("lan-0.a", 20) == "lan-0.a"


def test_long_is_cut_and_marked():
    assert re.fullmatch(r"tblink-l001-[0-9a-f]{8}", short("tblink-l00100000000000000000", 20))


def test_unsafe_is_marked_even_when_short():
    assert re.fullmatch(r"a_b-[0-9a-f]{8}", short("a/b", 20))
    assert short("../x", 20).startswith("x")


def test_digest_keeps_words_apart():
    assert digest("ab", "c") != digest("a", "bc")


@settings(max_examples=50)
@given(st.lists(st.text(min_size=1, max_size=60), unique=True, max_size=20))
def test_always_legal_and_never_twice(names):
    found = short_names(names, 20)
    assert len(set(found.values())) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,19}", value) for value in found.values())


def test_a_name_that_looks_like_anothers_hash_gives_way():
    long = "a" * 30
    found = short_names([short(long, 20), long], 20)
    assert len(set(found.values())) == 2

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading what something less trusted wrote: within bounds, and one exception for every fault."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.module_utils.untrusted import UntrustedError, loads, read_bytes, read_object

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)
)


@given(VALUES)
def test_json_is_read_as_it_was_written(value):
    assert loads(json.dumps(value)) == value


@given(st.binary(max_size=200) | st.text(alphabet='[]{}",:\\0123456789eE.-NaI \n', max_size=200))
def test_anything_else_is_one_exception(text):
    try:
        loads(text)
    except UntrustedError as error:
        assert len(str(error)) < 300


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        "9" * 1_000_000,
        "-" + "9" * 100,
        "1e" + "9" * 100,
        "1e999",
        '{"a": -1E+0400}',
        "NaN",
        "-Infinity",
        "",
        "{",
        '"\\ud800"',
        b"\xff",
        b"\0",
    ],
    ids=lambda text: repr(text[:6]),
)
def test_what_stops_pythons_own_reader_is_refused(text):
    with pytest.raises(UntrustedError):
        loads(text, largest=1 << 21)


def test_brackets_in_texts_do_not_count():
    assert loads(json.dumps({"text": '\\"' + "[" * 1000}), deepest=1)
    with pytest.raises(UntrustedError, match="2 levels"):
        loads("[[[]]]", deepest=2)


def test_only_regular_files_within_bounds_are_read(tmp_path):
    good, link, fifo, large = (tmp_path / name for name in ("good", "link", "fifo", "large"))
    good.write_text('{"a": 1}')
    assert read_object(str(good)) == {"a": 1}
    link.symlink_to(good)
    os.mkfifo(fifo)
    large.write_text(" " * 1001)
    for path, reason in (
        (link, "symbolic"),
        (fifo, "regular"),
        (large, "1000 bytes"),
        (tmp_path / "none", "No such file"),
        (tmp_path, "regular"),
    ):
        with pytest.raises(UntrustedError, match=reason):
            read_bytes(str(path), largest=1000)
    good.write_text("[]")
    with pytest.raises(UntrustedError, match="not a JSON object"):
        read_object(str(good))

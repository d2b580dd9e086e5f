# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest

from ansible_collections.benito.testbed.plugins.plugin_utils.host_output import LARGEST, LONGEST_JUNK, clean, words

HONEST = {"changed": True, "guests": [{"name": "a", "uptime": 1.5, "detail": "", "pid": None}], "msg": "one\n\ttwo", "invocation": {}}


def test_an_honest_result_stays():
    assert json.loads(clean(f"a banner\n{json.dumps(HONEST)}\n")) == HONEST
    assert clean("") == "" and clean("/root/.ansible/tmp/x\n") == "/root/.ansible/tmp/x\n"


@pytest.mark.parametrize(
    "key", ["add_group", "add_host", "ansible_facts", "ansible_stats", "results", "skipped", "unreachable", "_ansible_x", "_ansible_notify"]
)
def test_keys_that_ansible_acts_upon(key):
    assert json.loads(clean(json.dumps({**HONEST, key: {"x": 1}}))) == HONEST


@pytest.mark.parametrize("text", ["\x1b[31m", "\x9b31m", "\x07", "\r", "\u202e", "\ud800", "\x00"])
def test_what_a_terminal_obeys(text):
    said = {"msg": text, "warnings": [text], "deprecations": [{"msg": text}], text: {text: [text]}}
    for whole in (json.dumps(said), text * 3, f"{text}\n{json.dumps(said)}{text}", "{" + text):
        cleaned = clean(whole)
        assert all(c.isprintable() or c in "\n\t" for c in cleaned)
        for inner in json.loads(cleaned).values() if cleaned.startswith("{") and cleaned.endswith("}") else ():
            assert text not in json.dumps(inner, ensure_ascii=False)
    assert words(text) == "".join(c if c.isprintable() else "?" for c in text)


def test_what_is_no_result_is_cut():
    for junk in (
        "x" * (1 << 20),
        "{" * (1 << 20),
        "[" * (1 << 20),
        '{"a": ' * 100_000,
        '{"a": ' + "1" * 100_000 + "}",
        "x" * (LARGEST + 1),
    ):
        assert len(clean(junk)) <= LONGEST_JUNK


@pytest.mark.parametrize(
    "junk", ['x {\n{"ansible_facts": {"a": 1}}\n', '{"a\x0c": 1, "ansible_facts": {"a": 1}}', '{"a": 1\n{"ansible_facts": {}}']
)
def test_nothing_of_junk_is_a_result_to_ansible(junk):
    assert "{" not in clean(junk)


def test_lines_from_a_terminal_end_as_others_do():
    assert words("package a\r\npackage b\r\n") == "package a\npackage b\n"
    assert words("over\rwritten") == "over?written"

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, is_trusted_as_template
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.plugin_utils.trust import json_text, plain

TEXTS = st.text() | st.text('{%#}\\"u0', max_size=12)


def test_only_text_without_braces_is_marked():
    found = plain({"a": ["x", ("{{ y }}", 3, None)], "b": {"c": "{% raw %}"}, "d": ""})
    assert found == {"a": ["x", ["{{ y }}", 3, None]], "b": {"c": "{% raw %}"}, "d": ""}
    assert is_trusted_as_template(found["a"][0])
    assert not is_trusted_as_template(found["a"][1][0])
    assert not is_trusted_as_template(found["b"]["c"])


def test_text_that_says_itself_what_a_template_is_is_not_marked():
    """Ansible takes such a first line for settings of Jinja, and then needs no brace."""
    hostile = "#jinja2: variable_start_string:'[[', variable_end_string:']]'\n[[ lookup('pipe', 'id') ]]"
    assert Templar(DataLoader()).is_possibly_template(hostile)
    assert not is_trusted_as_template(plain(hostile))
    assert Templar(DataLoader()).template(plain(hostile)) == hostile


@given(st.recursive(TEXTS | st.none() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner)))
def test_json_text_holds_the_value_and_no_template(value):
    text = json_text(value)
    assert json.loads(text) == value
    assert is_trusted_as_template(text)
    assert not any(opening in text for opening in ("{{", "{%", "{#"))

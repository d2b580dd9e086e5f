# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible.template import is_trusted_as_template

from ansible_collections.benito.testbed.plugins.plugin_utils.trust import plain


def test_only_text_without_braces_is_marked():
    found = plain({"a": ["x", ("{{ y }}", 3, None)], "b": {"c": "{% raw %}"}, "d": ""})
    assert found == {"a": ["x", ["{{ y }}", 3, None]], "b": {"c": "{% raw %}"}, "d": ""}
    assert is_trusted_as_template(found["a"][0])
    assert not is_trusted_as_template(found["a"][1][0])
    assert not is_trusted_as_template(found["b"]["c"])

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.benito.testbed.plugins.plugin_utils.platforms import OWN_PLATFORMS, kind_of, parse_platforms


def test_ours_are_there_without_being_said():
    assert parse_platforms("") == parse_platforms({}) == OWN_PLATFORMS


@pytest.mark.parametrize("value", ["container=lab.site.box, pod=/srv/roles/pod", {"container": "lab.site.box", "pod": "/srv/roles/pod"}])
def test_others_are_added(value):
    assert parse_platforms(value) == {**OWN_PLATFORMS, "container": "lab.site.box", "pod": "/srv/roles/pod"}


def test_ours_may_be_replaced():
    assert parse_platforms({"qemu": "lab.site.machines"})["qemu"] == "lab.site.machines"


@pytest.mark.parametrize(
    "value",
    ["container", "a=b=c", "Box=x", "pnode=x", "vhost=x", "openvz=x", "substrate_x=x", "a=", {"a": "x y"}, {"a": "{{ x }}"}, 7, ["a"]],
)
def test_what_is_no_platform(value):
    with pytest.raises(ValueError):
        parse_platforms(value)


def test_words_for_kinds():
    known = parse_platforms({"container": "lab.site.box"})
    words = ("QEMU", " process", "embedded_pnode", "pnode", "openvz", "container", "zen", "")
    assert [kind_of(word, known) for word in words] == ["qemu", "process", "physical", "physical", "container", "container", None, None]
    assert kind_of("openvz", OWN_PLATFORMS) is None

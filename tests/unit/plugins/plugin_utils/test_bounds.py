# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of YAML that are small in their file and large in memory, and graphs whose plan would be."""

from __future__ import annotations

import pytest
import yaml

from ansible_collections.benito.testbed.plugins.plugin_utils import hostnames, routing
from ansible_collections.benito.testbed.plugins.plugin_utils.bounds import DEPTH, VALUES, too_large
from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import TopologyError
from ansible_collections.benito.testbed.plugins.plugin_utils.plan import make_plan
from ansible_collections.benito.testbed.plugins.plugin_utils.settings import SETTINGS, resolve_settings

BOMB = "- &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(f"- &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 40))


def nested(depth):
    value = "x"
    for dummy in range(depth):
        value = [value]
    return value


def test_what_a_setting_can_hold():
    assert not too_large({f"n-{number}": {"address": "10.0.0.1", "mac": None} for number in range(20_000)})
    assert not too_large("x" * 1_000_000)
    assert not too_large(nested(DEPTH - 1))


@pytest.mark.parametrize("value", [yaml.safe_load(BOMB), nested(DEPTH), nested(900), ["x"] * VALUES, {"a": ["x" * 10_000_000] * 3}])
def test_what_none_holds(value):
    assert too_large(value)


@pytest.mark.parametrize("name", [setting.name for setting in SETTINGS])
def test_no_setting_takes_a_bomb(name):
    with pytest.raises(TopologyError, match=f"option {name} "):
        resolve_settings("x", (), {name: yaml.safe_load(BOMB)})


def test_a_wrapper_with_a_bomb(tmp_path):
    # A value that is the mapping itself has no end.
    value = {}
    value["a"] = value
    with pytest.raises(TopologyError, match="nested more than"):
        resolve_settings("x", (), {"control_map": value})


@pytest.fixture
def campus(tmp_path):
    """Twenty routers in a LAN, each of which has a substrate of its own before it."""
    path = tmp_path / "x.topdl"
    numbers = range(20)
    path.write_text(
        "<experiment><version>1.0</version><substrates><name>lan</name></substrates>"
        + "".join(f"<substrates><name>s{n}</name></substrates>" for n in numbers)
        + "".join(
            f"<elements><computer><name>n{n}</name><interface><substrate>s{n}</substrate></interface>"
            "<interface><substrate>lan</substrate></interface></computer></elements>"
            for n in numbers
        )
        + "<attribute><attribute>benito:routing</attribute><value>static</value></attribute></experiment>"
    )
    return lambda: make_plan(str(path), {"state_dir": str(tmp_path)})


def test_neighbours_without_number(campus, monkeypatch):
    campus()
    monkeypatch.setattr(routing, "MOST_NEIGHBOURS", 300)
    with pytest.raises(TopologyError, match="routers have more than 300 neighbours"):
        campus()


def test_names_without_number(campus, monkeypatch):
    monkeypatch.setattr(hostnames, "MOST_NAMES", 300)
    with pytest.raises(TopologyError, match=r"x\.topdl:.* by more than 300 interfaces that are not their first"):
        campus()

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.benito.testbed.plugins.plugin_utils.control_options import Assignment, parse_map
from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import TopologyError
from ansible_collections.benito.testbed.plugins.plugin_utils.settings import as_attributes, resolve_settings
from ansible_collections.benito.testbed.plugins.plugin_utils.topology import Attribute


def setting(name, value):
    return getattr(resolve_settings("x", overrides={name: value}), name)


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("control_subnet", "192.0.2.0/24", "192.0.2.0/24"),
        ("control_subnet", "8.8.8.0/24", "8.8.8.0/24"),
        ("control_subnet", "1:172.20.2.0/24, 0:172.20.1.0/24", {0: "172.20.1.0/24", 1: "172.20.2.0/24"}),
        ("control_subnet", {"0": "172.20.1.0/24"}, {0: "172.20.1.0/24"}),
        ("control_gateway", "192.0.2.1", "192.0.2.1"),
        ("control_addresses", "192.0.2.9, 192.0.2.1-192.0.2.3", ((0xC0000201, 0xC0000203), (0xC0000209, 0xC0000209))),
        ("control_addresses", ["192.0.2.9"], ((0xC0000209, 0xC0000209),)),
        ("control_ports", "2200-2299", (2200, 2299)),
        ("control_interface", "enp3s0.7", "enp3s0.7"),
        ("control_map", {"a": "192.0.2.1 02:00:00:00:00:0A", "b": {"mac": "02-00-00-00-00-0b"}}, None),
    ],
)
def test_taken_over(name, value, found):
    assert found is None or setting(name, value) == found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("control_subnet", "192.0.2.0/29"),
        ("control_subnet", "224.0.0.0/24"),
        ("control_subnet", "x:172.20.1.0/24"),
        ("control_subnet", {}),
        ("control_gateway", "192.0.2"),
        ("control_gateway", "224.0.0.1"),
        ("control_addresses", "192.0.2.9-192.0.2.1"),
        ("control_addresses", "192.0.2.0/24"),
        ("control_addresses", ""),
        ("control_ports", "22-80"),
        ("control_ports", "2200"),
        ("control_ports", "2300-2200"),
        ("control_ports", "60000-70000"),
        ("control_interface", "eth0; reboot"),
        ("control_interface", "x" * 16),
        ("control_map", {"a": "nonsense"}),
        ("control_map", {"a": {"ip": "192.0.2.1"}}),
        ("control_map", {"a": "03:00:00:00:00:0a"}),
        ("control_map", {"a": ""}),
        ("control_map", ["a"]),
        ("control_mode", "bridged"),
        ("control_deadline", 0),
        ("control_gateway", "169.254.1.1"),
        ("control_gateway", "0.0.0.1"),
        ("control_addresses", "127.0.0.1"),
        ("control_pool", "168.0.0.0/7"),
        ("control_networks", "169.254.0.0/16"),
        ("control_networks", "172.16.0.0/12,0.0.0.0/0"),
        ("control_networks", "172.16.0.1/12"),
        ("control_egress", "some"),
        ("control_egress", ""),
        ("control_egress", "10.0.0.1/8"),
        ("control_egress", "none,all"),
        ("physical_networks", "127.0.0.0/8"),
        ("cable_transports", "string"),
        ("cable_vlans", "0-7"),
        ("cable_vlans", "9-7"),
        ("cable_vlans", "4095"),
        ("adjacent_vars", "perhaps"),
    ],
)
def test_refused(name, value):
    with pytest.raises(TopologyError, match=rf"^option {name} is .*: it must be "):
        setting(name, value)


LINES = "# of the lab\nn-0 192.0.2.10 02:00:00:00:00:10\n\nn-1 02-00-00-00-00-11   # by DHCP\nn-2 192.0.2.12\n"
FOUND = {
    "n-0": Assignment("192.0.2.10", "02:00:00:00:00:10"),
    "n-1": Assignment(None, "02:00:00:00:00:11"),
    "n-2": Assignment("192.0.2.12", None),
}


@pytest.mark.parametrize(
    "text",
    [
        LINES,
        '{"n-0": {"address": "192.0.2.10", "mac": "02:00:00:00:00:10"}, "n-1": {"mac": "02:00:00:00:00:11"}, "n-2": "192.0.2.12"}',
    ],
)
def test_a_map_in_a_file(tmp_path, text):
    path = tmp_path / "map"
    path.write_text(text)
    assert dict(parse_map(str(path))) == FOUND


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n-0 192.0.2.10\nn-1 what\n", r"map:2: a line must be NODE ADDRESS MAC"),
        ("n-0\n", r"map:1: a line must be"),
        ("n-0 192.0.2.10\nn-0 192.0.2.11\n", r"map:2: n-0 has a line already"),
        ('{"n-0": 7}', r"map: this must be a JSON object"),
        ('{"n-0"', r"map: this must be a JSON object"),
        (None, r"map: the map of the control net cannot be read: No such file"),
    ],
)
def test_a_file_that_is_no_map(tmp_path, text, message):
    path = tmp_path / "map"
    if text is not None:
        path.write_text(text)
    with pytest.raises(TopologyError, match=message):
        parse_map(str(path))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("control_map", "/etc/passwd"),
        ("control_interface", "eth0"),
        ("control_addresses", "192.0.2.1"),
        ("control_ports", "8000-8100"),
    ],
)
def test_what_is_the_labs_is_not_a_topologys(name, value):
    with pytest.raises(TopologyError, match=r"may not stand in a topology file: set it by BENITO_CONTROL_"):
        resolve_settings("x", [Attribute(f"benito:{name}", value)])


def test_what_a_file_may_not_say_is_not_written_into_one():
    found = resolve_settings("x", overrides={"control_mode": "bridge", "control_gateway": "192.0.2.1"})
    assert [a.name for a in as_attributes(found)] == ["benito:project", "benito:experiment"]
    found = resolve_settings("x", overrides={"control_mode": "none", "control_subnet": {1: "172.20.1.0/24"}})
    assert resolve_settings("x", as_attributes(found)) == found
    beyond = {"control_mode": "ports", "control_subnet": "10.99.0.0/24", "cable": "udp", "control_pool": "10.98.0.0/16"}
    assert [a.name for a in as_attributes(resolve_settings("x", overrides=beyond))] == ["benito:project", "benito:experiment"]

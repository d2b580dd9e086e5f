# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Descriptions of guests: taken over as they are, or refused with what would be right."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.guest import ControlNic, Guest, GuestError, Nic, RouteEntry

NIC = {
    "name": "inf000",
    "substrate": "lan0",
    "switch": "lan0",
    "port": 1,
    "mac": "02:00:00:00:00:01",
    "device": "eth1",
    "address": "10.0.0.1",
    "prefix": 24,
}
CONTROL = {"mac": "02:00:00:00:00:02", "address": "172.20.5.2", "tap": "bn0123456789"}
MOUNT = {"source": "172.20.5.1", "directory": "/users", "type": "9p"}
ROUTE = {"to": "10.1.2.0/24", "via": "10.0.0.2", "device": "eth1"}


def test_a_name_is_enough() -> None:
    guest = Guest.from_options({"name": "n-0"})
    assert (guest.id, guest.image, guest.memory, guest.cpus) == ("n-0", "tiny", 128, 1)
    assert (guest.control, guest.nics, guest.routes, guest.unreachable) == (None, (), (), ())
    assert (guest.start_command, guest.failure_action) == ("", "fatal")


def test_everything_is_taken_over() -> None:
    guest = Guest.from_options(
        {
            "name": "n-0",
            "id": "short",
            "image": "other",
            "memory": 256,
            "cpus": 2,
            "control": CONTROL,
            "interfaces": [NIC, {**NIC, "device": "eth2", "port": 2}],
            "routes": [ROUTE],
            "unreachable": ["10.0.0.0/8"],
            "plain_names": {"b": "lan1"},
            "start_command": "echo 'a, b' \"$(id)\"\n",
            "failure_action": "ignore",
        }
    )
    assert guest.id == "short"
    assert guest.control == ControlNic(**CONTROL)
    assert guest.nics == (Nic(**NIC), Nic(**{**NIC, "device": "eth2", "port": 2}))
    assert guest.routes == (RouteEntry(**ROUTE),)
    assert guest.unreachable == ("10.0.0.0/8",)
    assert guest.plain_names == {"b": "lan1"}
    assert guest.start_command == "echo 'a, b' \"$(id)\"\n"
    assert guest.failure_action == "ignore"


@pytest.mark.parametrize("to", ["10.1.0.0/16,10.1.2.0/24", ["10.1.0.0/16", "10.1.2.0/24"]])
def test_a_route_to_several_networks(to):
    guest = Guest.from_options({"name": "n-0", "routes": [{**ROUTE, "to": to}]})
    assert guest.routes == tuple(RouteEntry(network, ROUTE["via"], ROUTE["device"]) for network in ("10.1.0.0/16", "10.1.2.0/24"))


BAD_NAMES = ["", "a,b", "a b", "../a", "-a", ".", "a\n", "é", "a" * 65]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        *(({"name": text}, "name") for text in BAD_NAMES),
        *(({"image": text}, "image") for text in BAD_NAMES[1:]),
        ({"memory": 63}, "memory"),
        ({"memory": (1 << 20) + 1}, "memory"),
        ({"cpus": -1}, "cpus"),
        ({"cpus": 256}, "cpus"),
        *(({"interfaces": [{**NIC, "switch": text}]}, "switch") for text in BAD_NAMES),
        *(({"interfaces": [{**NIC, "mac": text}]}, "mac") for text in ["", "02:00:00:00:00", "02-00-00-00-00-01", "02:00:00:00:00:0G"]),
        ({"interfaces": [{**NIC, "mac": "02:00:00:00:00:0A"}]}, "lower case"),
        *(({"interfaces": [{**NIC, "device": text}]}, "device") for text in ["", "1eth", "e" * 16, "a/b", "eth1 "]),
        *(({"interfaces": [{**NIC, "port": number}]}, "port") for number in (0, 65536, -1)),
        *(({"interfaces": [{**NIC, "prefix": number}]}, "prefix") for number in (0, 33)),
        *(({"interfaces": [{**NIC, "address": text}]}, "address") for text in ["10.0.0", "10.0.0.256", "::1", "10.0.0.1/24", "10.0.0.1\n"]),
        ({"control": {**CONTROL, "tap": "t" * 16}}, "control.tap"),
        ({"control": {**CONTROL, "mac": "x"}}, "control.mac"),
        ({"control": {**CONTROL, "address": "x"}}, "control.address"),
        ({"routes": [{**ROUTE, "to": "10.1.2.3/24"}]}, "route"),
        ({"routes": [{**ROUTE, "to": "10.1.2.0/24,10.1.2.3/24"}]}, "route"),
        ({"routes": [{**ROUTE, "to": ""}]}, "route"),
        ({"routes": [{**ROUTE, "via": "b"}]}, "next hop"),
        ({"routes": [{**ROUTE, "device": "eth1; reboot"}]}, "device"),
        ({"unreachable": ["10.0.0.1/8"]}, "unreachable"),
        ({"interfaces": [{**NIC, "dhcp": "serve"}]}, "dhcp"),
        ({"interfaces": [{**NIC, "netem": {"out": {"loss": 7}}}]}, "loss"),
        ({"mounts": [{**MOUNT, "source": "a b"}]}, "source"),
        ({"mounts": [{**MOUNT, "directory": "users"}]}, "directory"),
        ({"mounts": [{**MOUNT, "directory": "/a/../b"}]}, "directory"),
        ({"mounts": [{**MOUNT, "type": "9p x"}]}, "type"),
        ({"mounts": [{**MOUNT, "options": "ro\nx"}]}, "options"),
        ({"shares": [{"tag": "t" * 32, "path": "/srv"}]}, "tag"),
        ({"shares": [{"tag": "t", "path": "/srv,readonly=off"}]}, "path"),
        ({"dhcp": [{"device": "eth1", "prefix": 24, "leases": [["x", "10.0.0.1", "a"]]}]}, "MAC of a lease"),
        ({"dhcp": [{"device": "eth1", "prefix": 24, "leases": [["02:00:00:00:00:01", "10.0.0", "a"]]}]}, "address of a lease"),
    ],
)
def test_what_is_wrong_is_refused_with_what_would_be_right(change: dict[str, Any], what: str) -> None:
    with pytest.raises(HostError, match=r"guest '.*must be") as caught:
        Guest.from_options({"name": "n-0", **change})
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [{"memory": "much"}, {"interfaces": [{}]}, {"interfaces": [{**NIC, "port": None}]}])
def test_what_is_not_of_the_right_type_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(GuestError):
        Guest.from_options({"name": "n-0", **change})


@pytest.mark.parametrize("text", [*BAD_NAMES[1:], "a" * 21])
def test_an_id_that_is_no_plain_name_is_refused(text: str) -> None:
    with pytest.raises(HostError, match=r"id must be 1 to 20"):
        Guest.from_options({"name": "n-0", "id": text})


def test_refusals_stay_short() -> None:
    with pytest.raises(GuestError) as caught:
        Guest.from_options({"name": "n" * 5000, "image": "i" * 5000})
    assert len(str(caught.value)) < 300


def test_shares_by_virtio_and_interfaces_need_room() -> None:
    share = {"tag": "s", "path": "/srv"}
    with pytest.raises(GuestError, match="at most 8 shares"):
        Guest.from_options({"name": "n-0", "shares": [share] * 9})
    with pytest.raises(GuestError, match="at most 116 interfaces"):
        Guest.from_options({"name": "n-0", "shares": [share], "interfaces": [NIC] * 117})


def test_an_interface_may_have_no_address() -> None:
    [nic] = Guest.from_options({"name": "n-0", "interfaces": [{**NIC, "address": "", "prefix": 0}]}).nics
    assert (nic.address, nic.prefix) == ("", 0)

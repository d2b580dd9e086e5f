# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared directories and DHCP, as the plan understands them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.plugin_utils import services
from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import NOWHERE, Location, TopologyError
from ansible_collections.benito.testbed.plugins.plugin_utils.services import Share
from ansible_collections.benito.testbed.plugins.plugin_utils.settings import Settings, resolve_settings
from ansible_collections.benito.testbed.plugins.plugin_utils.topology import Attribute

TEXT = "/users:/srv/users:ro,/proj:/srv/proj:rw"
BOTH = (Share("/users", "/srv/users", False), Share("/proj", "/srv/proj", True))
WORD = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,8}", fullmatch=True)


def settings(**overrides: Any) -> Settings:
    return resolve_settings("x", (), overrides)


@pytest.mark.parametrize(
    "value",
    [
        TEXT,
        "/users:/srv/users /proj:/srv/proj:rw",
        "/users:/srv/users:ro\n/proj:/srv/proj:rw\n",
        ["/users:/srv/users:ro", "/proj:/srv/proj:rw"],
        {"/users": "/srv/users", "/proj": "/srv/proj:rw"},
    ],
)
def test_shares_are_written_in_several_ways(value: object) -> None:
    assert services.parse_shares(value) == BOTH


def test_a_share_may_be_its_name_alone() -> None:
    assert services.parse_shares("/users,/proj:rw") == (Share("/users", "/users", False), Share("/proj", "/proj", True))
    assert services.parse_shares("") == services.parse_shares([]) == ()


@pytest.mark.parametrize(
    "value",
    [
        "users:/srv/users",
        "/users:srv",
        "/users:/srv:rw:rw",
        "/users:/srv:rx",
        "/users:/srv/../etc",
        "/users:/srv/",
        "/:/srv",
        "/users:/",
        "/etc:/srv/etc",
        "/usr/lib:/srv",
        "/lib64:/srv",
        "/a:/srv,/a:/opt",
        "/a/b:/srv,/a:/opt",
        '/a":/srv',
        "/a:/srv/$(id)",
        "/a:/srv;x",
        ["/a:/srv,/b:/srv"],
        [7],
        7,
    ],
)
def test_what_is_no_share_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        services.parse_shares(value)


@given(st.lists(st.tuples(st.lists(WORD, min_size=1, max_size=3), st.booleans()), max_size=5, unique_by=lambda item: item[0][0]))
def test_what_is_written_is_read(items: list[tuple[list[str], bool]]) -> None:
    shares = tuple(Share("/share." + "/".join(words), "/" + "/".join(words), writable) for words, writable in items)
    text = ",".join(f"{share.name}:{share.path}:{'rw' if share.writable else 'ro'}" for share in shares)
    assert services.parse_shares(text) == shares


def test_a_topology_file_names_no_directory_of_a_host() -> None:
    for name in ("benito:shares", "containers:shares", "benito:share_account"):
        with pytest.raises(TopologyError, match="may not stand in a topology file"):
            resolve_settings("x", (Attribute(name, "/etc"),))


@pytest.mark.parametrize("account", ["root", "benito", "", "a b", "0", "Alice;x"])
def test_nobody_acts_as_root(account: str) -> None:
    with pytest.raises(TopologyError, match="account other than root"):
        settings(share_account=account)


def test_diod_exports_and_guests_mount() -> None:
    made = settings(shares=TEXT)
    directories = [
        {"name": "/users", "path": "/srv/users", "writable": False},
        {"name": "/proj", "path": "/srv/proj", "writable": True},
    ]
    assert services.shared(made) == directories
    assert services.attached(made) == []
    assert services.share_server(made, machines=True) == {"account": "benito-share", "port": 5640, "exports": directories}
    assert services.share_server(made, machines=False)["exports"] == []
    users, proj = services.mounts(made, "172.20.1.1")
    assert (users["source"], users["directory"], users["type"]) == ("172.20.1.1", "/users", "9p")
    assert users["options"].startswith("_netdev,aname=/users,trans=tcp,port=5640,ro,nosuid,nodev,")
    assert ",rw," in proj["options"]


def test_virtio_needs_no_server_and_no_control_net() -> None:
    made = settings(shares=TEXT, share_transport="virtio")
    assert services.share_server(made, machines=True)["exports"] == []
    # Nodes on their host's kernel have the directories whatever takes them to machines.
    assert [share["name"] for share in services.shared(made)] == ["/users", "/proj"]
    assert [(entry["tag"], entry["path"]) for entry in services.attached(made)] == [("share0", "/srv/users"), ("share1", "/srv/proj")]
    mounts = services.mounts(made, "")
    assert [(entry["source"], entry["directory"]) for entry in mounts] == [("share0", "/users"), ("share1", "/proj")]
    assert all(entry["options"].startswith("trans=virtio,") for entry in mounts)


def test_what_contradicts_itself() -> None:
    with pytest.raises(TopologyError, match="or share_transport to virtio"):
        services.mounts(settings(shares=TEXT), "")
    with pytest.raises(TopologyError, match="share_account cannot be chosen"):
        services.check_shares(settings(shares=TEXT, share_transport="virtio", share_account="alice"))
    services.check_shares(settings(shares=TEXT, share_account="alice"))
    assert services.mounts(settings(), "") == []


@dataclass(frozen=True)
class End:
    """An interface as the checks see it."""

    node: str
    name: str
    dhcp: str
    where: Location = NOWHERE


def test_a_role_is_server_or_client() -> None:
    assert services.dhcp_role(None) == ""
    assert services.dhcp_role(Attribute("benito:dhcp", " Server ")) == "server"
    with pytest.raises(TopologyError, match=r"f\.topdl:7: benito:dhcp is 'srever': it must be server or client"):
        services.dhcp_role(Attribute("benito:dhcp", "srever", Location("f.topdl", 7)))


def test_who_may_serve_whom() -> None:
    guests = ["a", "b", "c"]
    server, client, plain = End("a", "i0", "server"), End("b", "i0", "client"), End("c", "i0", "")
    services.check_dhcp("lan0", [server, client, plain], guests)
    services.check_dhcp("lan0", [server, plain], guests)
    services.check_dhcp("lan0", [plain], guests)
    with pytest.raises(TopologyError, match="nobody on lan0 serves it"):
        services.check_dhcp("lan0", [client, plain], guests)
    with pytest.raises(TopologyError, match="a and c both serve DHCP to lan0"):
        services.check_dhcp("lan0", [server, End("c", "i0", "server")], guests)
    with pytest.raises(TopologyError, match="not a guest that is started"):
        services.check_dhcp("lan0", [server, client], ["b"])


def test_leases_are_the_plan() -> None:
    clients = [("02:00:00:00:00:02", "10.0.0.2", "b")]
    assert services.dhcp_leases("eth1", 24, clients) == {"device": "eth1", "prefix": 24, "leases": [["02:00:00:00:00:02", "10.0.0.2", "b"]]}

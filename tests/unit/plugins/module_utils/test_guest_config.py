# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest is told about itself: the same bytes for the same content, another key for another content."""

from __future__ import annotations

import dataclasses
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.module_utils import host_networks
from ansible_collections.benito.testbed.plugins.module_utils.guest import Guest
from ansible_collections.benito.testbed.plugins.module_utils.guest_config import config_files, host_resolver, hosts_text, pack
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir

HERE = RunDir("lab", "demo", "lab.demo")
CONTROL = {"mac": "02:00:00:00:ff:01", "address": "172.20.5.2", "tap": "bn0123456789"}
NET = {"bridge": "bn0", "address": "172.20.5.1", "prefix": 24}
TABLE = [["a", "lan0", 0, "10.0.0.1"], ["b", "lan0", 0, "10.0.0.2"], ["b", "lan1", 1, "10.0.1.2"], ["c", "lan1", 0, "10.0.1.3"]]
SECRETS = {"authorized_keys": "ssh-ed25519 A\n", "ssh_host_ed25519_key": "PRIVATE\n"}


def files(guest: Guest, **change: Any) -> dict[str, str]:
    options = {"rundir": HERE, "hosts": TABLE, "control": NET, "secrets": SECRETS, "resolver": "nameserver 192.0.2.1\n", **change}
    return config_files(guest, **options)


def unpack(content: bytes) -> dict[str, str]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return {entry.name: archive.extractfile(entry).read().decode() for entry in archive}


def names_of(text: str, address: str) -> list[str]:
    return next(line.split("\t")[1].split(" ") for line in text.splitlines() if line.startswith(f"{address}\t"))


def test_plain_names_stand_on_the_first_interface(make_guest: Callable[..., Guest]) -> None:
    text = hosts_text(make_guest("a"), HERE, TABLE)
    assert text.splitlines()[0] == "127.0.0.1\tlocalhost loghost"
    assert names_of(text, "10.0.0.2") == ["b-lan0", "b-0", "b"]
    assert names_of(text, "10.0.1.2") == ["b-lan1", "b-1"]
    assert names_of(text, "10.0.1.3") == ["c-lan1", "c-0", "c"]


def test_plain_names_lead_over_the_shared_link(make_guest: Callable[..., Guest]) -> None:
    text = hosts_text(make_guest("c", plain_names={"b": "lan1"}), HERE, TABLE)
    assert names_of(text, "10.0.0.2") == ["b-lan0", "b-0"]
    assert names_of(text, "10.0.1.2") == ["b-lan1", "b-1", "b"]
    assert names_of(text, "10.0.0.1") == ["a-lan0", "a-0", "a"]


@pytest.mark.parametrize("plain_names", [{}, {"b": "lan1"}, {"b": "lan0"}, {"nobody": "lan0"}])
def test_each_plain_name_stands_once(make_guest: Callable[..., Guest], plain_names: dict[str, str]) -> None:
    words = hosts_text(make_guest("a", plain_names=plain_names), HERE, TABLE).split()
    assert [words.count(name) for name in ("a", "b", "c")] == [1, 1, 1]


def test_a_node_called_as_another_ones_interface_keeps_its_name(make_guest: Callable[..., Guest]) -> None:
    table = [["n", "lan0", 0, "10.0.0.1"], ["n-0", "lan0", 0, "10.0.0.2"], ["N-lan0", "lan0", 0, "10.0.0.3"]]
    text = hosts_text(make_guest(), HERE, table)
    assert names_of(text, "10.0.0.1") == ["n"]
    assert names_of(text, "10.0.0.2") == ["n-0-lan0", "n-0-0", "n-0"]


def test_the_full_name_stands_on_the_control_address(make_guest: Callable[..., Guest]) -> None:
    assert names_of(hosts_text(make_guest("a", control=CONTROL), HERE, TABLE), "172.20.5.2") == ["a.demo.lab"]
    assert "a.demo.lab" not in hosts_text(make_guest("a"), HERE, TABLE)


def test_the_files(make_guest: Callable[..., Guest]) -> None:
    guest = make_guest(
        "a",
        interfaces=2,
        control=CONTROL,
        routes=[{"to": "10.1.2.0/24", "via": "10.0.0.2", "device": "eth1"}],
        unreachable=["10.0.0.0/8", "192.168.0.0/16"],
        start_command="ping b",
    )
    found = files(guest)
    assert found["hostname"] == "a\n"
    assert found["fqdn"] == "a.demo.lab\n"
    assert found["pid_eid"] == "lab\ndemo\n"
    assert found["interfaces"].splitlines() == [
        "02:00:00:00:ff:01 eth0 172.20.5.2/24 control -",
        "02:00:00:00:00:00 eth1 10.0.0.1/24 inf000 lan0",
        "02:00:00:00:00:01 eth2 10.0.1.1/24 inf001 lan0",
    ]
    assert found["gateway"] == "172.20.5.1\n"
    assert found["routes"] == "10.1.2.0/24 10.0.0.2 eth1\n"
    assert found["unreachable"] == "10.0.0.0/8\n192.168.0.0/16\n"
    assert found["start_command"] == "ping b\n"
    assert found["resolv.conf"] == "nameserver 192.0.2.1\n"
    assert {name: found[name] for name in SECRETS} == SECRETS


@pytest.mark.parametrize(("own", "net"), [(None, NET), (CONTROL, None)])
def test_without_a_control_net(make_guest: Callable[..., Guest], own: dict[str, str] | None, net: dict[str, object] | None) -> None:
    found = files(make_guest("a", control=own), control=net)
    assert found["gateway"] == ""
    assert "eth0" not in found["interfaces"]
    assert "start_command" not in found


def test_the_same_input_gives_the_same_bytes_at_any_time(make_guest: Callable[..., Guest], monkeypatch: pytest.MonkeyPatch) -> None:
    first = pack(files(make_guest("a", interfaces=3, control=CONTROL)))
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    assert pack(files(make_guest("a", interfaces=3, control=CONTROL))) == first
    assert unpack(first) == files(make_guest("a", interfaces=3, control=CONTROL))


def test_the_key_is_first_and_short(make_guest: Callable[..., Guest]) -> None:
    found = files(make_guest())
    assert next(iter(found)) == "key"
    assert len(found["key"].strip()) == 16


def test_the_key_changes_with_everything_the_guest_is_told(make_guest: Callable[..., Guest]) -> None:
    base = make_guest("a", control=CONTROL)
    keys = [
        files(guest, **change)["key"]
        for guest, change in [
            (base, {}),
            (make_guest("b", control=CONTROL), {}),
            (make_guest("a", control=CONTROL, interfaces=2), {}),
            (make_guest("a"), {}),
            (dataclasses.replace(base, start_command="true"), {}),
            (dataclasses.replace(base, start_command="false"), {}),
            (dataclasses.replace(base, unreachable=("10.0.0.0/8",)), {}),
            (dataclasses.replace(base, plain_names={"b": "lan1"}), {}),
            (base, {"hosts": TABLE[:-1]}),
            (base, {"control": {**NET, "address": "172.20.5.254"}}),
            (base, {"control": {**NET, "prefix": 25}}),
            (base, {"secrets": {**SECRETS, "authorized_keys": ""}}),
            (base, {"secrets": {**SECRETS, "ssh_host_ed25519_key": "OTHER\n"}}),
            (base, {"resolver": ""}),
            (base, {"rundir": RunDir("lab", "other", "lab.demo")}),
        ]
    ]
    assert len(set(keys)) == len(keys)


def test_what_the_guest_is_not_told_does_not_change_its_key(make_guest: Callable[..., Guest]) -> None:
    base = make_guest("a")
    for other in ({"memory": 256}, {"cpus": 4}, {"failure_action": "ignore"}, {"id": "short"}):
        assert files(dataclasses.replace(base, **other))["key"] == files(base)["key"]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@settings(max_examples=100, deadline=None)
@given(command=TEXT, other=TEXT)
def test_any_start_command_arrives_as_it_is(command: str, other: str) -> None:
    guest = Guest.from_options({"name": "a", "start_command": command})
    found = files(guest)
    arrived = unpack(pack(found)).get("start_command", "")
    assert arrived in (command, command + "\n")
    changed = files(dataclasses.replace(guest, start_command=other))
    same = other in (command, command + "\n") or command == other + "\n"
    assert same or changed["key"] != found["key"]


def test_only_root_of_the_guest_may_read_it(make_guest: Callable[..., Guest]) -> None:
    with tarfile.open(fileobj=io.BytesIO(pack(files(make_guest())))) as archive:
        assert {(entry.mode, entry.uid, entry.gid, entry.mtime) for entry in archive} == {(0o600, 0, 0, 0)}


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("nameserver 192.0.2.1\n", "nameserver 192.0.2.1\n"),
        ("search x\n# nameserver 192.0.2.9\nnameserver\t192.0.2.1 \noptions y\n", "nameserver 192.0.2.1\n"),
        ("".join(f"nameserver 192.0.2.{i}\n" for i in range(1, 6)), "".join(f"nameserver 192.0.2.{i}\n" for i in range(1, 4))),
        ("nameserver 127.0.0.53\nnameserver ::1\nnameserver\n", ""),
    ],
)
def test_name_servers_that_a_guest_can_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str, wanted: str) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(content)

    def other_open(name: str, **more: Any) -> Any:
        if name != "/etc/resolv.conf":
            raise FileNotFoundError(name)
        return path.open(**more)

    monkeypatch.setattr(host_networks, "open", other_open, raising=False)
    assert host_resolver() == wanted


def test_behind_a_local_resolver_stand_the_real_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    texts = {"/etc/resolv.conf": "nameserver 127.0.0.53\n", "/run/systemd/resolve/resolv.conf": "nameserver 192.0.2.7\n"}
    monkeypatch.setattr(host_networks, "open", lambda name, **dummy: io.StringIO(texts[name]), raising=False)
    assert host_resolver() == "nameserver 192.0.2.7\n"


def test_services_are_files_of_their_own(make_guest: Callable[..., Guest]) -> None:
    plain = files(make_guest())
    assert not {"mounts", "dhcp", "netem"} & set(plain)
    mac = "02:00:00:00:00:09"
    lan = {"name": "i", "substrate": "l", "switch": "l", "port": 1, "prefix": 24}
    netem = {"out": {"latency": 5}, "in": {"loss": 0.1}}
    guest = make_guest(
        interfaces=0,
        mounts=[{"source": "172.20.5.1", "directory": "/users", "type": "9p", "options": "_netdev,aname=/users"}],
        dhcp=[{"device": "eth2", "prefix": 24, "leases": [[mac, "10.0.1.7", "b"]]}],
    )
    nics = Guest.from_options(
        {
            "name": "n-0",
            "interfaces": [
                {**lan, "mac": "02:00:00:00:00:01", "device": "eth1", "address": "10.0.0.1", "dhcp": "client", "netem": netem},
                {**lan, "mac": "02:00:00:00:00:02", "device": "eth2", "address": "10.0.1.1", "dhcp": "server"},
            ],
        }
    ).nics
    found = files(dataclasses.replace(guest, nics=nics))
    assert found["interfaces"].splitlines() == ["02:00:00:00:00:01 eth1 - i l", "02:00:00:00:00:02 eth2 10.0.1.1/24 i l"]
    assert found["mounts"] == "172.20.5.1 /users 9p _netdev,aname=/users\n"
    assert found["dhcp"] == f"client eth1 10.0.0.1/24\nserver eth2 24\nlease eth2 {mac} 10.0.1.7 b\n"
    assert found["netem"] == "eth1 out limit 100000 delay 5ms\neth1 in limit 100000 loss 10%\n"

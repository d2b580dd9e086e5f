# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cables between two hosts, each a network namespace with a root of its own: made, broken on purpose, looked at from outside, removed."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..cabled_hosts import EXPERIMENT, NUMBER, SOCKET, Host, cable, connect, make_keys, pings, sh, two_hosts
from .conftest import wait_for

pytestmark = pytest.mark.network

TRANSPORTS = ["ssh", "tcp", "udp", "vxlan"]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    if os.geteuid() != 0:
        pytest.fail("the end-to-end tests make network namespaces and must run as root")
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def hosts(keys: dict[str, str], tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    with two_hosts(keys, tmp_path) as made:
        yield made


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_cable_carries_and_comes_back(hosts: tuple[Host, Host], transport: str) -> None:
    one, two = hosts
    assert not pings(one, two)
    connect(one, two, transport)
    # Frames of full size, which may not be cut by those who carry them.
    assert wait_for(lambda: pings(two, one, "cables", "-s", "1472", "-M", "do"))
    for host in hosts:
        assert wait_for(host.says("connected")), host.info()
        assert host.info()["remakes"] == 0
        assert (host.info()["transport"], host.info()["detail"]) == (transport, "")

    # A second run changes nothing, and no process is another.
    before = [host.cable_processes() for host in hosts]
    for host, peer in ((one, two), (two, one)):
        assert not host.cables(cable(host, peer, transport))["changed"]
    assert [host.cable_processes() for host in hosts] == before
    for host in hosts:
        owners = {os.stat(f"/proc/{pid}").st_uid for pid in host.cable_processes()}
        assert owners == {pwd.getpwnam("benito").pw_uid}

    # Its processes are killed, at either end.
    assert one.kill("vde_plug") == 1
    assert wait_for(lambda: one.info()["remakes"] >= 1 and one.info()["state"] == "connected"), one.info()
    assert wait_for(lambda: pings(one, two))
    if transport == "ssh":
        assert one.kill("ssh ") == 1
        assert wait_for(lambda: one.info()["remakes"] >= 2 and one.info()["state"] == "connected"), one.info()
        assert wait_for(lambda: pings(one, two))
    remakes = two.info()["remakes"]
    assert two.kill("vde_plug") == 1
    assert wait_for(lambda: two.info()["remakes"] > remakes and two.info()["state"] == "connected"), two.info()
    assert wait_for(lambda: pings(one, two))

    # The switch at the other end dies, and comes again.
    assert two.kill("vde_switch") == 1
    assert wait_for(two.says("broken")), two.info()
    assert wait_for(lambda: not pings(one, two))
    if transport not in ("udp", "vxlan"):
        assert wait_for(one.says("broken")), one.info()
    assert two.switch()["changed"]
    two.plug_in()
    assert wait_for(lambda: pings(one, two)), (one.info(), two.info())
    assert wait_for(two.says("connected")), two.info()
    assert not two.cables(cable(two, one, transport))["changed"]

    # Our own.
    assert one.kill("vde_switch") == 1
    assert wait_for(one.says("broken")), one.info()
    assert one.switch()["changed"]
    one.plug_in()
    assert wait_for(lambda: pings(one, two)), (one.info(), two.info())

    # The supervisor dies, and its cables with it; the next run mends that.
    assert one.kill(f"/usr/bin/python3 -I {one.root}") == 1
    assert wait_for(lambda: not one.cable_processes()), one.cable_processes()
    assert one.info()["state"] == "broken"
    assert "supervisor" in one.info()["detail"]
    assert one.cables(cable(one, two, transport), check=True)["cables"][0]["reason"] == "its supervisor was dead"
    assert not one.cable_processes()
    assert one.cables(cable(one, two, transport))["cables"][0]["reason"] == "its supervisor was dead"
    assert wait_for(lambda: pings(one, two)), one.info()

    # As Ansible runs them, which packs them first: sources of the programs that are copied included.
    options = {"experiment": EXPERIMENT, "cables": [cable(one, two, transport)], "key": one.keys["key"]}
    assert not one.packed("cable", **options)["changed"]
    assert [c["state"] for c in one.packed("cable_info", experiment=EXPERIMENT)["cables"]] == ["connected"]

    # Away with it: nothing stays.
    for host in hosts:
        removed = host.swap_out()["removed"]
        assert "cable lan0-1" in removed
        assert not host.processes()
        assert host.links() == {"lo", "wire"}
        assert host.run("nft", "list", "tables") == ""
        assert os.listdir(host.root) == []
        assert host.swap_out()["removed"] == []


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_peer_that_is_not_there_is_said(hosts: tuple[Host, Host], transport: str) -> None:
    one, two = hosts
    one.cables(cable(one, two, transport))
    assert wait_for(one.says("broken")), one.info()
    assert one.info()["detail"]
    assert not one.cables(cable(one, two, transport))["changed"], "that is the supervisor's business"
    if transport == "ssh":
        two.serve_ssh()
    two.cables(cable(two, one, transport))
    assert wait_for(lambda: pings(one, two)), one.info()
    assert wait_for(one.says("connected")), one.info()
    # A wire that is pulled is no error for either end: only silence.
    sh("ip", "-n", two.name, "link", "set", "wire", "down")
    for host in hosts:
        assert wait_for(host.says("broken"), 60), host.info()
    sh("ip", "-n", two.name, "link", "set", "wire", "up")
    assert wait_for(lambda: pings(one, two), 60), one.info()
    for host in hosts:
        assert wait_for(host.says("connected"), 60), host.info()


def test_ssh_lets_in_nobody_else_and_nothing_else(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    connect(one, two, "ssh")

    def try_ssh(*words: str) -> tuple[int, str]:
        options = ["-F", "none", "-i", one.keys["file"], "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
        options += ["-o", "BatchMode=yes", "-o", "LogLevel=ERROR"]
        done = subprocess.run(
            one.inside("ssh", *options, *words), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=60
        )
        return done.returncode, done.stdout + done.stderr

    to = f"benito@{two.address}"
    for asked in ("id", "", "lan0-2", "lan0-1 ; id", "$(id)", "../lan0-1"):
        code, said = try_ssh(to, asked)
        assert code == 1, asked
        assert "no such cable" in said
    assert try_ssh(f"root@{two.address}", "lan0-1")[0] == 255
    assert try_ssh("-N", "-L", "5555:127.0.0.1:22", "-o", "ExitOnForwardFailure=yes", "-W", "127.0.0.1:22", to)[0] == 255
    # Nothing of what it would need to let in others is the account's.
    for path in (two.root, f"{two.root}/.ssh", f"{two.root}/.ssh/authorized_keys", f"{two.root}/{EXPERIMENT['id']}/cables/gate.py"):
        assert os.stat(path).st_uid == 0
        assert not os.stat(path).st_mode & 0o022
    # The private key is only where it is needed, and only for the account.
    key = f"{one.root}/{EXPERIMENT['id']}/cables/key"
    assert os.stat(key).st_mode & 0o077 == 0
    assert not os.path.exists(key.replace(one.root, two.root))
    assert pings(one, two)

    # A host with another key is not the peer.
    one.cables(cable(one, two, "ssh", peer_host_keys=[one.keys["foreign_pub"]]))
    assert wait_for(one.says("broken")), one.info()
    assert "erification failed" in one.info()["detail"]
    assert wait_for(lambda: not pings(one, two))


def test_a_connection_that_hangs_is_replaced(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    connect(one, two, "ssh")
    first = [pid for pid, command in two.processes().items() if command.startswith("vde_plug")]
    # The dialing end loses its memory without a word to the other: no packet of the end of its connection arrives.
    one.run("nft", "add", "table", "ip", "cut")
    one.run("nft", "add", "chain", "ip", "cut", "out", "{ type filter hook output priority 0 ; }")
    one.run("nft", "add", "rule", "ip", "cut", "out", "tcp", "dport", "22", "drop")
    assert one.kill("ssh ") == 1
    time.sleep(1)
    assert [pid for pid, command in two.processes().items() if command.startswith("vde_plug")] == first
    one.run("nft", "delete", "table", "ip", "cut")
    # The kernel may still be telling the old connection's end; that does no harm.
    assert wait_for(lambda: pings(one, two), 60)
    plugs = [pid for pid, command in two.processes().items() if command.startswith("vde_plug")]
    assert len(plugs) == 1
    assert plugs != first


def test_only_what_changed_is_done_again(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    # In a switch of its own: two cables between the same two switches would be a loop.
    others = {"id": "lan0-2", "name": "another", "switch": "lan1", "port": 20, "number": NUMBER + 1, "socket": SOCKET + 1}
    pairs = [(host, [cable(host, peer, "udp"), cable(host, peer, "tcp", **others)]) for host, peer in ((one, two), (two, one))]
    for host, wanted in pairs:
        host.switch(names=("lan1",))
        host.cables(*wanted)
    assert wait_for(lambda: all(c["state"] == "connected" for c in one.module("cable_info", experiment=EXPERIMENT)["cables"]))

    def plugs(host: Host) -> dict[str, int]:
        return {command.split()[1][-4:]: pid for pid, command in host.processes().items() if command.startswith("vde_plug")}

    before = plugs(one)
    changed = [{**pairs[0][1][0], "port": 15}, pairs[0][1][1]]
    foretold = one.cables(*changed, check=True)
    assert plugs(one) == before
    assert [(c["id"], c["reason"]) for c in foretold["cables"]] == [("lan0-1", "changed"), ("lan0-2", "")]
    assert [(c["id"], c["reason"]) for c in one.cables(*changed)["cables"]] == [("lan0-1", "changed"), ("lan0-2", "")]
    assert wait_for(lambda: "[15]" in plugs(one))
    assert plugs(one)["[20]"] == before["[20]"]
    assert "[11]" not in plugs(one)
    # One is not wanted any more.
    assert [(c["id"], c["action"]) for c in one.cables(changed[1])["cables"]] == [("lan0-1", "remove"), ("lan0-2", "none")]
    assert plugs(one) == {"[20]": before["[20]"]}
    assert [c["id"] for c in one.module("cable_info", experiment=EXPERIMENT)["cables"]] == ["lan0-2"]
    # And the last.
    assert one.cables()["changed"]
    assert not one.cable_processes()
    assert not one.cables()["changed"]
    assert one.run("nft", "list", "tables") == ""


def test_an_interface_of_the_lab_is_plugged_in_and_given_back(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    # A second wire, on which two machines of the lab stand: one end each at the hosts.
    sh("ip", "-n", one.name, "link", "add", "lab", "type", "veth", "peer", "name", "lab", "netns", two.name)
    sh("ip", "-n", two.name, "link", "set", "lab", "up")
    lab = {"role": "peer", "device": "lab", "peer": "", "peer_address": None, "peer_host_keys": [], "number": None, "socket": None}
    ends = [{**cable(host, peer, "ethernet"), **lab} for host, peer in ((one, two), (two, one))]
    before = [json.loads(host.run("ip", "-json", "-details", "link", "show", "lab")) for host in hosts]
    for host, end in zip(hosts, ends, strict=True):
        assert host.cables(end)["cables"][0]["action"] == "make"
        assert not host.cables(end)["changed"]
    assert wait_for(lambda: pings(one, two)), (one.info(), two.info())
    assert pings(one, two, "cables", "-s", "1472", "-M", "do")
    assert wait_for(one.says("connected"))
    assert one.run("ip", "-br", "address", "show", "lab").split()[2:] == [], "the host takes no part"
    assert one.kill("vde_plug") == 1
    assert wait_for(lambda: pings(one, two))
    # Who removes a device from below it is told of, and mended.
    tap = next(name for name in one.links() if name.startswith("bt"))
    one.run("ip", "link", "delete", tap)
    assert one.info()["state"] == "broken"
    assert tap in one.info()["detail"]
    assert tap in one.cables(ends[0])["cables"][0]["reason"]
    assert wait_for(lambda: pings(one, two)), one.info()
    one.swap_out()
    # Also with the records of the experiment lost.
    shutil.rmtree(f"{two.root}/{EXPERIMENT['id']}/cables")
    assert "interface lab, which goes back to the host" in two.swap_out()["removed"]
    for host, was in zip(hosts, before, strict=True):
        now = json.loads(host.run("ip", "-json", "-details", "link", "show", "lab"))
        assert "UP" not in now[0]["flags"] or host is two
        assert now[0]["promiscuity"] == was[0]["promiscuity"]
        assert "ingress" not in host.run("tc", "qdisc", "show", "dev", "lab")
        assert host.links() == {"lo", "wire", "lab"}
        assert not host.processes()
        assert os.listdir(host.root) == []


def test_an_interface_in_use_is_refused(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    ethernet = {"role": "peer", "peer_address": None, "peer_host_keys": []}
    refused = one.cables(cable(one, two, "ethernet", device="wire", **ethernet))
    assert "has the address 198.51.100.1/24" in refused["msg"]
    one.run("ip", "link", "add", "name", "b0", "type", "bridge")
    one.run("ip", "link", "add", "p0", "type", "veth", "peer", "name", "p1")
    one.run("ip", "link", "set", "p0", "master", "b0")
    assert "is a port of b0" in one.cables(cable(one, two, "ethernet", device="p0", **ethernet))["msg"]
    assert "no interface eth77" in one.cables(cable(one, two, "ethernet", device="eth77", **ethernet))["msg"]
    assert one.links() == {"lo", "wire", "b0", "p0", "p1"}
    assert not one.cable_processes()


def test_two_experiments_with_equal_names_do_not_meet(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    other = {"project": "benito-test", "experiment": "other", "id": "benito-test.other"}
    for transport in ("ssh", "tcp", "udp", "vxlan"):
        connect(one, two, transport)
        for host in hosts:
            host.switch(other)
            host.plug_in(other)
        # The same identifiers on the same hosts are refused, by name.
        if transport != "ssh":
            refused = two.cables(cable(two, one, transport), experiment=other)
            assert refused["failed"]
            assert "is taken on this host by benito-test/cables" in refused["msg"]
        distinct = {"number": NUMBER + 5, "socket": SOCKET + 5} if transport != "vxlan" else {"number": NUMBER + 5}
        # Before it has a cable, nothing comes to its machines from those of the first.
        assert not pings(one, two, "other")
        for host, peer in ((two, one), (one, two)):
            assert host.cables(cable(host, peer, transport, **distinct), experiment=other)["changed"]
        assert wait_for(lambda: pings(one, two, "other")), one.info(other)
        macs = {
            experiment: json.loads(sh("ip", "-n", f"{two.name}-{experiment}", "-json", "link", "show", "t0"))[0]["address"]
            for experiment in ("cables", "other")
        }
        for experiment in macs:
            sh("ip", "-n", f"{one.name}-{experiment}", "neigh", "flush", "all")
            assert pings(one, two, experiment)
            seen = sh("ip", "-n", f"{one.name}-{experiment}", "neigh", "show", "10.0.0.2")
            assert macs[experiment] in seen
        # One goes, the other does not notice.
        first = {pid for pid, command in one.cable_processes().items() if "benito-test.other" in command}
        for host in hosts:
            host.cables()
        assert {pid for pid, command in one.cable_processes().items() if "benito-test.other" in command} == first
        assert pings(one, two, "other")
        assert not pings(one, two)
        for host in hosts:
            host.cables(experiment=other)


def test_the_sweep_finds_all_without_records(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    two.serve_ssh()
    kinds = ["ssh", "tcp", "udp", "vxlan"]
    for host, peer in ((two, one), (one, two)):
        host.switch(names=tuple(kinds))
        ends = [cable(host, peer, kind, id=kind, switch=kind, number=100 + n, socket=SOCKET + n) for n, kind in enumerate(kinds)]
        host.cables(*ends)
    assert wait_for(lambda: all(c["state"] == "connected" for c in one.module("cable_info", experiment=EXPERIMENT)["cables"]), 60)
    for host in hosts:
        shutil.rmtree(f"{host.root}/{EXPERIMENT['id']}")
        assert host.cable_processes()
        host.swap_out()
        assert wait_for(lambda h=host: not h.processes(), 5), host.processes()
        assert host.links() == {"lo", "wire"}
        assert host.run("nft", "list", "tables") == ""
        assert os.listdir(host.root) == []

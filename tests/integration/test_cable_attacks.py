# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attacks on the cables of an experiment: by a guest of another one behind a peer, by another account of a peer, by its neighbours.

Each attacker knows all that a plan says: addresses, ports, ids, numbers, and how frames are wrapped.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..cabled_hosts import EXPERIMENT, NUMBER, SOCKET, Host, cable, connect, make_keys, pings, sh, two_hosts
from .conftest import wait_for

pytestmark = pytest.mark.network

TRANSPORTS = ["tcp", "udp", "vxlan"]
# Seconds until a host forgets the cable's flow. Elsewhere it takes two minutes in which nobody sends.
FORGET = 2.5
UNRELATED = {"project": "benito-test", "experiment": "unrelated", "id": "benito-test.unrelated"}
FRAME = b"\xff" * 6 + b"\x02" + b"\0" * 5 + b"\x88\xb5" + b"injected" * 8
GUEST, MAC, TAP = "172.20.9.2", "02:00:00:00:09:02", "bgt0"
# What ends of a cable by TCP or UDP once took for a proof, which says nothing that a plan does not.
PUBLIC = hashlib.sha256(f"benito-test/cables/lan0-1/{NUMBER}".encode()).hexdigest().encode() + b"\n"
ATTACK = f"""
import contextlib, socket, sys, time
transport, address, port, own = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
frame, public = {FRAME!r}, {PUBLIC!r}
in_a_stream = len(frame).to_bytes(2, "big") + frame
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM)
s.settimeout(2)
if own:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("", own))
with contextlib.suppress(OSError):
    s.connect((address, port))
    print("connected", s.getpeername())
    for dummy in range(5):
        if transport == "tcp":
            s.send(public)
            s.recv(99)
            s.send(in_a_stream * 3)
        elif transport == "udp":
            s.send(in_a_stream)
        else:
            s.send(b"\\x08\\0\\0\\0" + ({NUMBER}).to_bytes(3, "big") + b"\\0" + frame)
        time.sleep(0.1)
"""
LISTEN = """
import socket, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.bind((sys.argv[1], 0))
s.settimeout(0.2)
print("listening", flush=True)
until = time.monotonic() + float(sys.argv[2])
while time.monotonic() < until:
    try:
        packet, where = s.recvfrom(4000)
    except TimeoutError:
        continue
    if b"injected" in packet and where[2] != 4:
        print(packet.hex(), flush=True)
"""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    if os.geteuid() != 0:
        pytest.fail("the end-to-end tests make network namespaces and must run as root")
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def hosts(keys: dict[str, str], tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    with two_hosts(keys, tmp_path) as made:
        for host in made:
            # What is not said stays unsaid, so that a flow that was used is forgotten within the test.
            host.run("sysctl", "-qw", "net.netfilter.nf_conntrack_udp_timeout=1", "net.netfilter.nf_conntrack_udp_timeout_stream=1")
            sh("ip", "netns", "exec", f"{host.name}-cables", "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
        yield made


@contextlib.contextmanager
def guest_of(host: Host, mode: str = "nat", **more: Any) -> Iterator[str]:
    """A guest of an experiment that has nothing to do with the cables, behind a host: a namespace in the place of a machine."""
    name = f"{host.name}-guest"
    sh("ip", "netns", "add", name)
    try:
        port = {"port": 2202} if mode == "ports" else {}
        guests = [{"name": "guest", "tap": TAP, "mac": MAC, "address": GUEST, **port}]
        control = {"mode": mode, "bridge": "bnx", "address": "172.20.9.1", "prefix": 24, "guests": guests, **more}
        made = host.module("control_net", experiment=UNRELATED, control=control)
        assert made.get("changed"), made
        sh("ip", "-n", host.name, "link", "add", TAP, "type", "veth", "peer", "name", "eth0", "netns", name)
        sh("ip", "-n", host.name, "link", "set", TAP, "master", "bnx", "up")
        sh("ip", "-n", name, "link", "set", "eth0", "address", MAC, "up")
        sh("ip", "-n", name, "address", "add", f"{GUEST}/24", "dev", "eth0")
        sh("ip", "-n", name, "route", "add", "default", "via", "172.20.9.1")
        yield name
    finally:
        sh("ip", "netns", "delete", name, check=False)


@contextlib.contextmanager
def heard_by(namespace: str, device: str, seconds: float = 6) -> Iterator[list[bytes]]:
    """Collect the packets with our frame in them that reach an interface."""
    words = ["ip", "netns", "exec", namespace, sys.executable, "-c", LISTEN, device, str(seconds)]
    listener = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert listener.stdout
    assert listener.stdout.readline().strip() == "listening"
    found: list[bytes] = []
    try:
        yield found
        time.sleep(0.5)
    finally:
        listener.terminate()
        found += [bytes.fromhex(line) for line in listener.stdout.read().split()]
        listener.wait()


def attack(namespace: str, transport: str, address: str, port: int = SOCKET, own: int = 0, user: int = 0) -> str:
    """Send frames to a cable's port, from the source port ``own`` if it is not 0; what is printed tells of a connection."""
    account = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
    words = ["ip", "netns", "exec", namespace, *account, "/usr/bin/python3", "-c", ATTACK, transport, address, str(port), str(own)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60).stdout


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_guest_of_another_experiment_is_not_its_host(hosts: tuple[Host, Host], transport: str) -> None:
    one, two = hosts
    with guest_of(one) as guest:
        connect(one, two, transport)
        time.sleep(FORGET)
        with heard_by(f"{two.name}-cables", "t0") as frames, heard_by(two.name, "wire") as packets:
            attack(guest, transport, two.address, own=SOCKET if transport == "udp" else 0)
        assert frames == []
        assert packets == []
        assert wait_for(lambda: pings(one, two)), "the cable itself goes on"
        assert one.info()["remakes"] == two.info()["remakes"] == 0


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_host_without_rules_lets_no_stranger_into_a_cable_that_proves_itself(hosts: tuple[Host, Host], transport: str) -> None:
    # As a guest behind a host that has not swapped in yet, or a machine that has its address: nothing holds the packets back.
    one, two = hosts
    assert two.cables(cable(two, one, transport))["changed"]
    time.sleep(1)
    with heard_by(f"{two.name}-cables", "t0") as frames:
        attack(one.name, transport, two.address, own=SOCKET if transport == "udp" else 0)
    assert frames == []
    assert two.info()["state"] != "connected"
    # Nor does the one that knows another cable's secret, or has none.
    one.cables(cable(one, two, transport), secrets={"lan0-1": "5f" * 32})
    time.sleep(2)
    assert not pings(one, two)
    assert {one.info()["state"], two.info()["state"]} <= {"broken", "connecting"}
    one.cables(cable(one, two, transport))
    assert wait_for(lambda: pings(one, two)), (one.info(), two.info())


def test_whoever_has_the_address_of_a_host_that_is_gone_is_not_that_host(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    connect(one, two, "udp")
    assert wait_for(two.says("connected"))
    # Only what runs goes: the rules of that host would keep the attacker, who is on another machine, from nothing.
    assert one.kill("/usr/bin/python3 -I") == 1
    one.run("nft", "flush", "ruleset")
    assert wait_for(lambda: not any(command.startswith("vde_plug") for command in two.processes().values()), 30)
    with heard_by(f"{two.name}-cables", "t0") as frames:
        attack(one.name, "udp", two.address, own=SOCKET)
    assert frames == []


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_another_account_of_a_host_is_not_its_cable(hosts: tuple[Host, Host], transport: str) -> None:
    one, two = hosts
    connect(one, two, transport)
    time.sleep(FORGET)
    with heard_by(f"{two.name}-cables", "t0") as frames, heard_by(two.name, "wire") as packets:
        said = attack(one.name, transport, two.address, user=65534)
    assert frames == []
    assert packets == []
    if transport == "tcp":
        assert "connected" not in said
    assert wait_for(lambda: pings(one, two))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_ports_are_closed_to_strangers(hosts: tuple[Host, Host], transport: str) -> None:
    one, two = hosts
    connect(one, two, transport)
    sh("ip", "-n", one.name, "address", "add", "198.51.100.77/24", "dev", "wire")
    sh("ip", "-n", one.name, "route", "replace", two.address, "dev", "wire", "src", "198.51.100.77")
    with heard_by(f"{two.name}-cables", "t0") as frames, heard_by(two.name, "wire") as packets:
        said = attack(one.name, transport, two.address)
    assert frames == []
    if transport == "tcp":
        assert "connected" not in said
    else:
        assert packets, "they came as far as the host"
    assert f"ip saddr != {one.address} " in two.run("nft", "list", "ruleset")


def test_a_guest_reaches_no_port_that_may_be_a_cables(hosts: tuple[Host, Host]) -> None:
    # No cable is near: the host that is spoken to may be one of another experiment's.
    one, two = hosts
    with guest_of(one, cable_ports=[21000, 21999]) as guest:
        for transport in ("udp", "vxlan"):
            with heard_by(two.name, "wire") as packets:
                attack(guest, transport, two.address, port=21500)
            assert packets == []
        assert "connected" not in attack(guest, "tcp", two.address, port=21999)
        # All else is reached, from a port that the guest does not choose.
        with heard_by(two.name, "wire") as packets:
            attack(guest, "udp", two.address, port=30001, own=SOCKET)
        sources = {int.from_bytes(packet[34:36], "big") for packet in packets}
        assert {packet[26:30] for packet in packets} == {bytes(map(int, one.address.split(".")))}
        assert sources and SOCKET not in sources


def test_a_guest_answers_whoever_comes_from_such_a_port(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    serve = "import socket; s = socket.create_server(('', 22)); print(flush=True); s.accept()[0].sendall(b'here')"
    come = f"import socket; print(socket.create_connection(({one.address!r}, 2202), 5, ('', {SOCKET})).recv(9))"
    with guest_of(one, "ports", ports=[2200, 2299]) as guest:
        server = subprocess.Popen(["ip", "netns", "exec", guest, sys.executable, "-c", serve], stdout=subprocess.PIPE)
        assert server.stdout and server.stdout.readline()
        try:
            assert two.run(sys.executable, "-c", come).strip() == "b'here'"
        finally:
            server.kill()
            server.wait()


def test_a_flow_that_was_there_before_the_rules_ends_with_them(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    with guest_of(one, cable_ports=[1, 1]) as guest:
        with heard_by(two.name, "wire") as packets:
            attack(guest, "vxlan", two.address)
        assert packets
        connect(one, two, "vxlan")
        with heard_by(two.name, "wire") as packets, heard_by(f"{two.name}-cables", "t0") as frames:
            attack(guest, "vxlan", two.address)
        assert (packets, frames) == ([], [])


def test_rules_that_were_taken_away_come_back(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    connect(one, two, "vxlan")
    before = one.run("nft", "list", "ruleset")
    for host, peer in ((one, two), (two, one)):
        host.run("nft", "flush", "ruleset")
        assert (host.info()["state"], host.info()["detail"]) == ("broken", "its firewall rules are not in force: swap in again")
        assert host.cables(cable(host, peer, "vxlan"))["cables"][0]["reason"] == "its rules were not as wanted"
        assert wait_for(host.says("connected"))
    assert one.run("nft", "list", "ruleset") == before
    assert wait_for(lambda: pings(one, two))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_secrets_are_roots_and_the_accounts(hosts: tuple[Host, Host], transport: str) -> None:
    one, two = hosts
    connect(one, two, transport)
    secret = hashlib.sha256(b"key lan0-1").hexdigest()
    for host in hosts:
        home = Path(host.root) / EXPERIMENT["id"]
        holding = [path for path in home.rglob("*") if path.is_file() and secret in path.read_text(errors="replace")]
        assert holding == ([home / "cables/keeper.json"] if transport != "vxlan" else [])
        for path in holding:
            assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (0, 0o640)
        for pid, command in host.processes().items():
            assert secret not in command
            assert secret.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    result = one.cables(cable(one, two, transport))
    assert secret not in json.dumps(result)


def ssh(one: Host, key: Path, *words: str) -> tuple[int, str]:
    """Come in at the other host's account with a key, and say with which code and words it ended."""
    options = ["-F", "none", "-i", str(key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    options += ["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ExitOnForwardFailure=yes", "-o", "LogLevel=ERROR"]
    done = subprocess.run(
        one.inside("timeout", "20", "ssh", *options, *words), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    return done.returncode, done.stdout + done.stderr


def test_the_key_of_one_experiment_opens_nothing_of_another(hosts: tuple[Host, Host], keys: dict[str, str]) -> None:
    one, two = hosts
    connect(one, two, "ssh")
    other = {"project": "benito-test", "experiment": "other", "id": "benito-test.other"}
    two.switch(other)
    assert two.cables(cable(two, one, "ssh", id="lan0-9"), experiment=other)["changed"]
    to, key = f"benito@{two.address}", Path(keys["file"]).with_name("other")
    for asked in ("lan0-1", f"../../{EXPERIMENT['id']}/cables/gate.py", "id", "", "lan0-9 lan0-1", "internal-sftp"):
        code, said = ssh(one, key, to, asked)
        assert code == 1
        assert "no such cable" in said
    # Nothing else: no subsystem, terminal, forwarding, tunnel or agent, and no other program.
    assert ssh(one, key, "-s", to, "sftp") == (1, "")
    assert "PTY allocation request failed" in ssh(one, key, "-tt", "-o", "LogLevel=INFO", to, "id")[1]
    for words in (
        ["-W", "127.0.0.1:22"],
        ["-N", "-R", "5555:127.0.0.1:22"],
        ["-N", "-R", f"{two.root}/x:127.0.0.1:22"],
        ["-N", "-w", "any"],
    ):
        code, said = ssh(one, key, *words, to)
        assert code == 255, (words, said)
    with_more = ssh(one, key, "-A", "-X", "-o", "SetEnv=LC_X=1 PYTHONPATH=/tmp BASH_ENV=/tmp/x", to, "lan0-1")
    assert "no such cable" in with_more[1]
    assert wait_for(lambda: pings(one, two))
    assert two.info()["remakes"] == 0

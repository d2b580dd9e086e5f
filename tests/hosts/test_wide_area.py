# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two hosts that see each other only through a router which translates addresses: one has an address of the world, one sits in a site.

lan 198.51.100.0/24: amber .11, the router's outer address .99; the controller
site 192.168.77.0/24: the router .1, cedar .13; the controller has a leg here too, as the machine of somebody who works there
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..integration.topologies import attribute
from .machines import Host, Network, wait_for
from .topologies import node, substrate, topology

PROJECT = "benito-test"
NAME = f"{PROJECT}.wide"
OUTER = "198.51.100.99"
INNER = "192.168.77.13"
RULES = """
table ip nat { chain postrouting { type nat hook postrouting priority srcnat; oifname "wan" masquerade; }; }
table ip filter {
    chain forward { type filter hook forward priority filter; policy drop; ct state established,related accept; iifname "site" accept; }
}
"""


def settle(host: Host, address: str, gateway: str) -> None:
    """Move a host to another network, as its administrator would."""
    text = f"[Match]\nName=host0\n[Network]\nAddress={address}/24\nGateway={gateway}\nLinkLocalAddressing=no\nLLDP=no\n"
    assert host.run("sh", "-c", "cat >/etc/systemd/network/10-host0.network", text=text).code == 0
    assert host.run("networkctl", "reload").code == 0
    assert host.run("networkctl", "reconfigure", "host0").code == 0
    assert wait_for(lambda: f" {address}/" in host.run("ip", "-o", "-4", "address", "show", "dev", "host0").out)


def uplink(host: Host) -> str:
    """Find the other end of the host's interface in the lab's namespace."""
    number = host.run("cat", "/sys/class/net/host0/iflink").out.strip()
    lines = host.network.run("ip", "-o", "link", "show").out.splitlines()
    return next(line for line in lines if line.startswith(f"{number}:")).split()[1].split("@")[0].rstrip(":")


@pytest.fixture
def router(network: Network, hosts: list[Host]) -> Iterator[str]:
    """Put cedar into a site behind a router."""
    cedar = hosts[2]
    router = f"benito-router-{os.getpid()}"
    plug = uplink(cedar)
    old = cedar.run("cat", "/etc/systemd/network/10-host0.network").out
    for command in (
        f"ip netns add {router}",
        f"ip -n {router} link set lo up",
        f"ip -n {network.name} link add to-router type veth peer name wan netns {router}",
        f"ip -n {network.name} link set to-router master lan up",
        f"ip -n {router} address add {OUTER}/24 dev wan",
        f"ip -n {router} link set wan up",
        f"ip -n {router} link add site type bridge",
        f"ip -n {router} address add 192.168.77.1/24 dev site",
        f"ip -n {router} link set site up",
        f"ip -n {network.name} link set {plug} netns {router}",
        f"ip -n {router} link set {plug} master site up",
        f"ip -n {network.name} link add to-site type veth peer name to-lab netns {router}",
        f"ip -n {router} link set to-lab master site up",
        f"ip -n {network.name} address add 192.168.77.2/24 dev to-site",
        f"ip -n {network.name} link set to-site up",
        f"ip netns exec {router} sysctl -qw net.ipv4.ip_forward=1",
    ):
        subprocess.run(command.split(), check=True)
    subprocess.run(["ip", "netns", "exec", router, "nft", "-f", "-"], input=RULES, text=True, check=True)
    settle(cedar, INNER, "192.168.77.1")
    known = network.home / "known_hosts"
    kept = known.read_text()
    known.write_text(f"{kept}{INNER} {cedar.host_key}\n")
    network.write_pool(
        {"cedar": {"ansible_host": INNER, "benito_address": OUTER, "benito_reachable": False}, "amber": {}},
    )
    try:
        yield router
    finally:
        known.write_text(kept)
        network.write_pool({host.name: {} for host in hosts})
        for command in (
            f"ip -n {router} link set {plug} nomaster netns {network.name}",
            f"ip -n {network.name} link set {plug} master lan up",
            f"ip -n {network.name} link delete to-site",
            f"ip -n {network.name} link delete to-router",
            f"ip netns delete {router}",
        ):
            subprocess.run(command.split(), check=True)
        assert "198.51.100.13" in old
        settle(cedar, cedar.address, "198.51.100.2")


def test_cables_are_dialled_from_behind_the_router(network: Network, hosts: list[Host], router: str, tmp_path: Path) -> None:
    amber, cedar = hosts[0], hosts[2]
    assert amber.run("ping", "-c1", "-W1", INNER).code != 0, "the world does not reach the site"
    assert cedar.run("ping", "-c1", "-W2", amber.address).code == 0
    before = {host.name: host.listing() for host in (amber, cedar)}
    file = tmp_path / "wide.topdl"
    links = [substrate("by-ssh"), substrate("by-tcp", attribute("benito:cable", "tcp"))]
    # The site's host is the hub: it has more of the members, and dials all the same.
    names = ["by-ssh", "by-tcp"]
    file.write_text(topology(links, [node("a", 0, names), node("a2", 0, ["by-ssh"]), node("b", 1, names)]))
    network.environment["BENITO_CABLE_TRANSPORTS"] = "tcp"
    try:
        done = network.play("swapin", file)
        assert done.code == 0, done.out
        assert wait_for(lambda: network.ssh(NAME, "a", "ping -c 1 -W 2 b-by-ssh && ping -c 1 -W 2 b-by-tcp").code == 0, 60)
        assert network.ssh(NAME, "b", "ping -c 1 -W 2 a2 && uname -n").out.splitlines()[-1] == "b"
        assert network.play("swapin", file).changed == 0

        # The router is away for a while, and forgets what it has translated.
        subprocess.run(["ip", "-n", router, "link", "set", "wan", "down"], check=True)
        assert network.ssh(NAME, "a", "ping -c 2 -W 1 b-by-ssh").code != 0
        subprocess.run(["ip", "-n", router, "link", "set", "wan", "up"], check=True)
        assert wait_for(lambda: network.ssh(NAME, "a", "ping -c 1 -W 2 b-by-ssh && ping -c 1 -W 2 b-by-tcp").code == 0, 90)
    finally:
        gone = network.play("swapout", file)
        del network.environment["BENITO_CABLE_TRANSPORTS"]
    assert gone.code == 0, gone.out
    for host in (amber, cedar):
        assert not host.news(before[host.name])


def test_what_needs_both_to_be_reachable_is_refused(network: Network, hosts: list[Host], router: str, tmp_path: Path) -> None:
    file = tmp_path / "wide.topdl"
    file.write_text(topology([substrate("lan0")], [node("a", 0, ["lan0"]), node("b", 1, ["lan0"])]))
    done = network.play("swapin", file, "-e", "benito_cable=udp")
    assert done.code != 0
    assert "use ssh or tcp" in done.out
    assert not hosts[0].ours()

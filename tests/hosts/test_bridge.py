# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control mode bridge over the only way to a host: the very interface that the play comes in by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .machines import CONTROLLER, Host, Network, wait_for
from .topologies import spread

PROJECT = "benito-test"
NAME = f"{PROJECT}.bridged"
DEADLINE = 15
OPTIONS = {
    "control_mode": "bridge",
    "control_subnet": "198.51.100.0/24",
    "control_gateway": CONTROLLER,
    "control_addresses": "198.51.100.100-198.51.100.150",
    "control_deadline": DEADLINE,
}
# Whoever comes in by a bridge is not heard: a mistake of the lab's that only shows once the bridge is there.
BROKEN = 'table inet broken { chain input { type filter hook input priority -300; iifname "control0" drop; }; }'


@pytest.fixture
def file(network: Network, hosts: list[Host], tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "bridged.topdl"
    path.write_text(spread(2))
    before = {host.name: host.listing() for host in hosts}
    yield path
    gone = play(network, "swapout", path)
    assert gone.code == 0, gone.out
    for host in hosts:
        assert not host.news(before[host.name])


def play(network: Network, playbook: str, file: Path):
    return network.play(playbook, file, *(word for name, value in OPTIONS.items() for word in ("-e", f"benito_{name}={value}")))


def test_guests_are_machines_of_the_labs_network(network: Network, hosts: list[Host], file: Path) -> None:
    amber, birch = hosts[:2]
    routes = amber.run("ip", "route", "show", "default").out
    # Somebody who is connected does not notice.
    steady = network.start("ping", "-q", "-c", "100", "-i", "0.2", amber.address)
    done = play(network, "swapin", file)
    assert done.code == 0, done.out
    assert "198.51.100.11/24" in amber.run("ip", "-o", "-4", "address", "show", "dev", "control0").out
    assert "master control0" in amber.run("ip", "-o", "link", "show", "host0").out
    assert not amber.run("ip", "-o", "-4", "address", "show", "dev", "host0").out
    assert amber.run("ip", "route", "show", "default").out == routes.replace("host0", "control0")
    address = done.row("a")[4]
    assert address.startswith("198.51.100.1")
    assert network.run("ping", "-c1", "-W2", address).code == 0
    assert birch.run("ping", "-c1", "-W2", address).code == 0
    assert network.ssh(NAME, "b", "uname -n").out.strip() == "b"
    assert "ProxyJump" not in (network.state / NAME / "ssh_config").read_text()
    assert wait_for(lambda: network.ssh(NAME, "a", "ping -c 1 -W 2 b").code == 0)
    again = play(network, "swapin", file)
    assert again.changed == 0, again.out
    lost = next(word for word in steady.communicate(timeout=90)[0].split() if word.endswith("%"))
    assert float(lost.rstrip("%")) < 20


def test_a_host_that_is_cut_off_by_it_comes_back_by_itself(network: Network, hosts: list[Host], file: Path) -> None:
    amber = hosts[0]
    assert amber.run("nft", BROKEN).code == 0
    try:
        before = amber.listing()
        done = play(network, "swapin", file)
        assert done.code != 0
        assert "amber" in done.out or "pnode-0000" in done.out
        assert wait_for(lambda: network.run("ping", "-c1", "-W1", amber.address).code == 0, DEADLINE + 20)
        after = amber.listing()
        for key in ("addresses", "routes", "links"):
            assert after[key] == before[key], key
    finally:
        amber.run("nft", "delete", "table", "inet", "broken")


def test_a_second_experiment_shares_the_bridge_and_leaves_it(network: Network, hosts: list[Host], file: Path) -> None:
    assert play(network, "swapin", file).code == 0
    options = [word for name, value in OPTIONS.items() for word in ("-e", f"benito_{name}={value}")] + ["-e", "benito_project=other"]
    try:
        other = network.play("swapin", file, *options)
        assert other.code == 0, other.out
        there, here = (network.ssh(name, "a", "ip -4 -br address show dev eth0").out.split() for name in ("other.bridged", NAME))
        assert there[2].startswith("198.51.100."), there
        assert there != here, "never the same twice"
    finally:
        assert network.play("swapout", file, *options).code == 0
    assert network.ssh(NAME, "a", "uname -n").out.strip() == "a", "the one that stays keeps the bridge"

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every way of joining switches of two hosts, one link for each between the same two machines, seen from the network between the hosts."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..integration.topologies import attribute
from .machines import Done, Host, Network, wait_for
from .topologies import node, substrate, topology

PROJECT = "benito-test"
NAME = f"{PROJECT}.ways"
WAYS = ("ssh", "tcp", "udp", "vxlan", "ethernet")
# What pings are filled with: "benito".
PATTERN = "62656e69746f"


@pytest.fixture(scope="module")
def before(hosts: list[Host]) -> dict[str, dict[str, Any]]:
    return {host.name: host.listing() for host in hosts}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ways") / "ways.topdl"
    links = [substrate(f"by-{way}", attribute("benito:cable", way)) for way in WAYS]
    names = [f"by-{way}" for way in WAYS]
    path.write_text(topology(links, [node("a", 0, names), node("b", 1, names)]))
    return path


@pytest.fixture(scope="module")
def ways(network: Network, hosts: list[Host], before: dict[str, dict[str, Any]], file: Path) -> Iterator[Done]:
    network.write_pool({host.name: {"benito_cable_device": "wire0"} for host in hosts[:2]})
    network.environment["BENITO_CABLE_TRANSPORTS"] = ",".join(WAYS)
    try:
        yield network.play("swapin", file)
        gone = network.play("swapout", file)
        assert gone.code == 0, gone.out
        for host in hosts:
            assert not host.news(before[host.name])
    finally:
        del network.environment["BENITO_CABLE_TRANSPORTS"]
        network.write_pool({host.name: {} for host in hosts})


def test_it_is_up_and_stays_as_it_is(network: Network, ways: Done, file: Path) -> None:
    assert ways.code == 0, ways.out
    for name in "ab":
        assert ways.row(name)[3] == "booted"
    assert network.play("swapin", file).changed == 0


@pytest.mark.parametrize("way", WAYS)
def test_frames_go_that_way(network: Network, hosts: list[Host], ways: Done, way: str) -> None:
    assert wait_for(lambda: network.ssh(NAME, "a", f"ping -c 1 -W 2 b-by-{way}").code == 0, 40)
    # On the wire between them as they are, on the hosts' network wrapped up, and by ssh not to be read at all.
    bridge = "wire" if way == "ethernet" else "lan"
    heard = subprocess.Popen(
        network.argv("timeout", "20", "tcpdump", "-i", bridge, "-l", "-n", "-s0", "-A", "-c", "400"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert heard.stdout
    assert any("listening on" in line for line in iter(heard.stdout.readline, "")), "tcpdump does not start"
    assert network.ssh(NAME, "a", f"ping -c 5 -i 0.2 -s 600 -p {PATTERN} b-by-{way}").code == 0
    heard.terminate()
    text = heard.communicate(timeout=30)[0]
    assert ("benitobenito" in text) == (way != "ssh")
    assert text.strip(), "the network between the hosts was silent"


def test_full_frames_pass_every_way(network: Network, ways: Done) -> None:
    for way in WAYS:
        assert network.ssh(NAME, "a", f"ping -c 2 -i 0.2 -W 2 -s 1472 -M do b-by-{way}").code == 0, way


def test_the_kernel_shows_each_way(network: Network, hosts: list[Host], ways: Done) -> None:
    amber, birch = hosts[:2]
    sockets = amber.run("ss", "-Hnutap").out + birch.run("ss", "-Hnutap").out
    assert re.search(r"^tcp\s+ESTAB.*:2\d{4}\s", sockets, re.MULTILINE), sockets
    assert re.search(r"^udp\s.*:2\d{4}\s", sockets, re.MULTILINE), sockets
    words = [words for host in (amber, birch) for words in host.ours(f"{PROJECT}/ways").values()]
    assert any(Path(argv[0]).name == "ssh" for argv in words)
    links = amber.run("ip", "-d", "link", "show", "type", "vxlan").out
    assert re.search(r"vxlan id \d+ ", links), links
    kept = network.state / NAME / "cable_secret"
    assert kept.stat().st_mode & 0o777 == 0o600
    secret = kept.read_text().strip()
    assert len(secret) == 64
    for argv in words:
        assert "PRIVATE KEY" not in " ".join(argv)
        assert secret not in " ".join(argv)
    assert secret not in ways.out
    # The experiment's is the controller's alone, and what hosts get of it, root's and the account's there.
    for host in (amber, birch):
        lists = f"/var/lib/benito/{NAME}/cables"
        assert host.run("grep", "-rlF", secret, lists).out == ""
        assert host.run("stat", "-c", "%U %G %a", f"{lists}/keeper.json").out.split() == ["root", "benito", "640"]

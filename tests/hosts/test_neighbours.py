# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two experiments of two projects with equal names and equal addresses on the same three hosts: they never meet."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .machines import Done, Host, Network, wait_for
from .topologies import spread

# The transport whose identifiers are the hosts', not the experiment's; and one of its own kind for one pair.
WAYS = ("-e", "benito_cable=vxlan", "-e", "benito_cable_pairs=0/2:udp")
# The second one has a switch before each of its machines, too.
OPTIONS = {"left": (*WAYS,), "right": (*WAYS, "-e", "benito_guest_switches=true")}


@pytest.fixture(scope="module")
def before(hosts: list[Host]) -> dict[str, dict[str, Any]]:
    return {host.name: host.listing() for host in hosts}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("neighbours") / "same.topdl"
    path.write_text(spread(3))
    return path


def play(network: Network, playbook: str, file: Path, project: str) -> Done:
    return network.play(playbook, file, "-e", f"benito_project={project}", *OPTIONS[project])


@pytest.fixture(scope="module")
def both(network: Network, before: dict[str, dict[str, Any]], file: Path) -> Iterator[dict[str, Done]]:
    yield {project: play(network, "swapin", file, project) for project in OPTIONS}
    for project in OPTIONS:
        play(network, "swapout", file, project)


def running(hosts: list[Host], project: str) -> dict[tuple[str, int], list[str]]:
    return {(host.name, pid): words for host in hosts for pid, words in host.ours(f":{project}/same").items()}


def test_both_are_up_with_equal_names_and_addresses(network: Network, both: dict[str, Done]) -> None:
    for project, done in both.items():
        assert done.code == 0, done.out
        for node, address in zip("abc", ("10.0.0.1", "10.0.0.2", "10.0.0.3"), strict=True):
            assert address in done.row(node)
        assert network.ssh(f"{project}.same", "a", "cat /var/benito/config/pid_eid || cat /var/benito/eid").out.startswith(project)
    controls = [done.row(node)[4] for done in both.values() for node in "abc"]
    assert len(set(controls)) == 6


def test_each_reaches_its_own(network: Network, both: dict[str, Done]) -> None:
    for project in OPTIONS:
        assert wait_for(lambda project=project: network.ssh(f"{project}.same", "b", "ping -c 1 -W 2 a && ping -c 1 -W 2 c").code == 0)


def macs(network: Network, project: str) -> set[str]:
    return {network.ssh(f"{project}.same", node, "cat /sys/class/net/eth1/address").out.strip() for node in "abc"}


@pytest.mark.parametrize(("speaker", "listener"), [("left", "right"), ("right", "left")])
def test_neither_hears_a_frame_of_the_other(network: Network, both: dict[str, Done], speaker: str, listener: str) -> None:
    speaking = macs(network, speaker)
    assert len(speaking | macs(network, listener)) == 6, "who sent a frame can be told"
    frames = " or ".join(f"ether src {mac}" for mac in sorted(speaking))

    def listen(project: str, node: str) -> subprocess.Popen[str]:
        return network.start(*network.ssh_words(f"{project}.same", node, f"timeout 10 tcpdump -n -c 1 -i eth1 '{frames}'"))

    strangers = [listen(listener, node) for node in "abc"]
    friend = listen(speaker, "c")
    words = "sleep 1; ping -c 20 -i 0.3 -b 10.0.0.255; ip neigh flush dev eth1; ping -c 5 -i 0.2 b"
    assert network.ssh(f"{speaker}.same", "a", words).code == 0
    assert "1 packet captured" in friend.communicate(timeout=60)[0]
    for stranger in strangers:
        out = stranger.communicate(timeout=60)[0]
        assert "\n0 packets captured" in out, out


def test_one_leaves_and_the_other_does_not_notice(
    network: Network, hosts: list[Host], before: dict[str, dict[str, Any]], both: dict[str, Done], file: Path
) -> None:
    untouched = running(hosts, "right")
    steady = network.start(*network.ssh_words("right.same", "b", "ping -q -c 150 -i 0.2 a"))
    gone = play(network, "swapout", file, "left")
    assert gone.code == 0, gone.out
    assert not running(hosts, "left")
    assert running(hosts, "right") == untouched
    out = steady.communicate(timeout=90)[0]
    assert " 0% packet loss" in out, out
    again = play(network, "swapin", file, "right")
    assert again.changed == 0, again.out
    assert play(network, "swapout", file, "right").code == 0
    for host in hosts:
        assert not host.news(before[host.name])

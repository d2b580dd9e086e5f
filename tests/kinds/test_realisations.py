# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two processes and a machine in a LAN, realised in three ways: the experiment cannot tell which."""

from __future__ import annotations

from pathlib import Path

from ..hosts.machines import Host, Network
from ..hosts.topologies import node, substrate, topology
from ..integration.topologies import attribute, computer

PROJECT = "benito-test"
NODES = ("p1", "p2", "q")
PROCESS = attribute("benito:node_type", "process")
MACHINE = attribute("benito:image", "debian")
INSIDE = attribute("benito:host", "q")
# Where each of the nodes is, and the topology that puts them there.
WAYS = {
    "one-host": (
        ["pnode-0000", "pnode-0000", "pnode-0000"],
        [node("p1", 0, ["lan0"], PROCESS), node("p2", 0, ["lan0"], PROCESS), node("q", 0, ["lan0"], MACHINE)],
    ),
    "two-hosts": (
        ["pnode-0000", "pnode-0001", "pnode-0001"],
        [node("p1", 0, ["lan0"], PROCESS), node("p2", 1, ["lan0"], PROCESS), node("q", 1, ["lan0"], MACHINE)],
    ),
    "inside": (
        ["pnode-0000/q", "pnode-0000/q", "pnode-0000"],
        [computer("p1", ["lan0"], PROCESS, INSIDE), computer("p2", ["lan0"], PROCESS, INSIDE), computer("q", ["lan0"], MACHINE)],
    ),
}
QUESTIONS = {
    "who it is": "hostname",
    "its address": "ip -brief -4 address show | awk '$3 ~ /^10[.]/ { print $1, $3 }'",
    "where its packets go": "ip -4 route show | awk '$1 ~ /^10[.]/ { print $1, $3 }'",
    "whom it knows": "grep ^10[.] /etc/hosts",
    "whom it reaches, and how far they are": "for other in p1 p2 q; do ping -c 1 -W 5 $other | grep -o 'ttl=[0-9]*'; done",
    "who answers": "ip neigh show | awk '$1 ~ /^10[.]/ { print $1, $5 }' | sort",
}


def realise(network: Network, hosts: list[Host], file: Path, way: str) -> dict[str, dict[str, list[str]]]:
    """Realise it in one way, and return what each node answers."""
    places, nodes = WAYS[way]
    file.write_text(topology([substrate("lan0")], nodes))
    before = {host.name: host.listing() for host in hosts}
    try:
        up = network.play("swapin", file)
        assert up.code == 0, up.out
        assert [up.row(name)[2] for name in NODES] == places
        answers = {
            name: {what: network.ssh(f"{PROJECT}.trio", name, command).out.splitlines() for what, command in QUESTIONS.items()}
            for name in NODES
        }
        again = network.play("swapin", file)
        assert (again.code, again.changed) == (0, 0), again.out
    finally:
        network.play("swapout", file)
    assert {host.name: host.news(before[host.name]) for host in hosts} == {host.name: {} for host in hosts}
    return answers


def test_the_same_answers_to_the_same_questions(network: Network, hosts: list[Host], tmp_path: Path) -> None:
    first, *others = [realise(network, hosts, tmp_path / "trio.topdl", way) for way in WAYS]
    for name, answers in first.items():
        assert answers["who it is"] == [name]
        assert answers["its address"] == [f"eth1 10.0.0.{NODES.index(name) + 1}/24"]
        assert answers["whom it reaches, and how far they are"] == ["ttl=64"] * 3
        assert len(answers["who answers"]) == 2
    assert others == [first, first]

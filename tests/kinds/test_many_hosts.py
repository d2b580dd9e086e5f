# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""All kinds of nodes in one topology over three hosts: they reach each other by name, and each can go and come back without the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..hosts.machines import ROOT, Done, Host, Network
from ..hosts.topologies import node, substrate, topology
from ..integration.topologies import attribute, computer

PROJECT = "benito-test"
NAME = f"{PROJECT}.kinds"
# The exit status of each one's start command.
CODES = {"q": 3, "p": 4, "s": 5, "n": 6, "h": 7, "c": 8}
# The platform of containers, which is not ours.
PLATFORMS = f"container={ROOT}/examples/platforms/container_guest"


def kinds_text() -> str:
    """A LAN of every kind, and a link behind a process, whose far end is inside of a machine."""

    def kind(word: str, name: str) -> tuple[str, str]:
        return attribute("benito:node_type", word), attribute("startup", f"echo {name} is up; exit {CODES[name]}")

    return topology(
        [substrate("lan0"), substrate("link1", latency=10)],
        [
            node("q", 0, ["lan0"], *kind("qemu", "q")),
            node("p", 0, ["lan0", "link1"], *kind("process", "p")),
            node("m", 1, [], attribute("benito:image", "debian")),
            computer("n", ["link1"], attribute("benito:host", "m"), *kind("process", "n")),
            node("s", 1, ["lan0"], *kind("process", "s")),
            node("c", 1, ["lan0"], *kind("container", "c")),
            node("h", 2, ["lan0"], *kind("embedded_pnode", "h")),
        ],
    )


@pytest.fixture(scope="module")
def before(hosts: list[Host]) -> dict[str, dict[str, Any]]:
    return {host.name: host.listing() for host in hosts}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kinds") / "kinds.topdl"
    path.write_text(kinds_text())
    return path


@pytest.fixture(scope="module")
def kinds(network: Network, before: dict[str, dict[str, Any]], file: Path) -> Iterator[Done]:
    lab = {"BENITO_PLATFORMS": PLATFORMS, "BENITO_PHYSICAL_HOSTS": "pnode-0002"}
    network.environment.update(lab)
    yield network.play("swapin", file)
    network.play("swapout", file)
    for name in lab:
        del network.environment[name]


def known_as(source: str, other: str) -> str:
    """How a node calls another one: on a host that is a node itself, names are those of the whole host."""
    return f"{other}.kinds.{PROJECT}" if source == "h" else other


def unreached(network: Network, nodes: set[str] = frozenset(CODES)) -> list[str]:
    """The pairs of nodes that do not reach each other by name, each node asked over ssh."""
    found = []
    for source in sorted(nodes):
        others = " ".join(known_as(source, other) for other in sorted(nodes - {source}))
        done = network.ssh(NAME, source, f"for other in {others}; do ping -c 1 -W 3 $other >/dev/null || echo no $other; done; echo done")
        found += [f"{source}: {line}" for line in done.out.splitlines() if line.startswith("no ")]
        if "done" not in done.out.splitlines():
            found.append(f"{source}: {done.out}")
    return found


def processes(hosts: list[Host]) -> dict[tuple[str, int], list[str]]:
    """The experiment's processes on all hosts."""
    return {(host.name, pid): words for host in hosts for pid, words in host.ours(f"{PROJECT}/kinds").items()}


def one(hosts: list[Host], *words: str) -> tuple[Host, int]:
    """The one process with these in its command line."""
    found = {key for key, argv in processes(hosts).items() if all(word in " ".join(argv) for word in words)}
    assert len(found) == 1, found
    [(name, pid)] = found
    return next(host for host in hosts if host.name == name), pid


def status(network: Network, file: Path) -> dict[str, dict[str, Any]]:
    out = network.play("status", file, "-e", "format=json").out
    return {row["name"]: row for row in json.loads(out[out.index("{") : out.rindex("}") + 1])["nodes"]}


def test_they_come_up(kinds: Done) -> None:
    assert kinds.code == 0, kinds.out
    places = {
        "q": "pnode-0000",
        "p": "pnode-0000",
        "m": "pnode-0001",
        "s": "pnode-0001",
        "n": "pnode-0001/m",
        "h": "pnode-0002",
        "c": "pnode-0001",
    }
    for name, place in places.items():
        row = kinds.row(name)
        assert row[2:4] == [place, "booted"], row
        if name in CODES:
            assert row[-2:] == ["exit", str(CODES[name])], row


def test_everyone_reaches_everyone_by_name(kinds: Done, network: Network) -> None:
    assert unreached(network) == []


def test_who_merely_carries_is_not_there(kinds: Done, network: Network) -> None:
    for name in sorted(CODES):
        known = set(network.ssh(NAME, name, "cat /etc/hosts").out.split())
        assert {known_as(name, other) for other in CODES} <= known, (name, known)
        assert not {word for word in known if word == "m" or word.startswith("m-")}, name
    # Nothing of the machine answers on the way: the link has two ends, and the far one is the process.
    addresses = network.ssh(NAME, "m", "ip -brief -4 address")
    assert addresses.code == 0, addresses.out
    assert "eth0" in addresses.out
    assert " 10." not in addresses.out


def test_a_link_into_a_machine_is_as_long_as_the_file_says(kinds: Done, network: Network) -> None:
    # How much later than that depends on how busy the machine is.
    out = network.ssh(NAME, "p", "ping -c 10 -i 0.2 -q n").out
    assert float(out.rsplit("=", 1)[1].split("/")[0]) > 18, out


def test_a_second_swap_in_changes_nothing(kinds: Done, network: Network, file: Path, hosts: list[Host]) -> None:
    earlier = processes(hosts)
    done = network.play("swapin", file)
    assert (done.code, done.changed) == (0, 0), done.out
    lasting = {key for key, words in processes(hosts).items() if words[0] in ("qemu-system-x86_64", "vde_switch", "wirefilter")}
    assert lasting <= set(earlier)


def test_a_machine_goes_and_what_is_inside_with_it(kinds: Done, network: Network, file: Path, hosts: list[Host]) -> None:
    host, pid = one(hosts, "qemu-system-x86_64", "guest=m")
    host.kill(pid)
    found = status(network, file)
    assert {name: row["state"] for name, row in found.items()} == {
        **dict.fromkeys(CODES, "booted"),
        "m": "dead",
        "n": "unknown",
    }
    assert unreached(network, set(CODES) - {"n"}) == []
    done = network.play("swapin", file)
    assert done.code == 0, done.out
    assert done.row("n")[-2:] == ["exit", str(CODES["n"])]
    assert unreached(network) == []


def test_the_processes_of_a_host_go_and_come_back(kinds: Done, network: Network, file: Path, hosts: list[Host]) -> None:
    amber = hosts[0]
    others = {key for key in processes(hosts) if key[0] != "amber"}
    [keeper] = [pid for pid, words in amber.ours(f"{PROJECT}/kinds").items() if words[-1] == "keeper"]
    amber.kill(keeper)
    found = status(network, file)
    assert {name for name, row in found.items() if row["state"] != "booted"} == {"p"}
    assert unreached(network, set(CODES) - {"p", "n"}) == []
    done = network.play("swapin", file)
    assert done.code == 0, done.out
    assert others <= set(processes(hosts))
    assert unreached(network) == []


def test_one_of_a_kind_changes(kinds: Done, network: Network, file: Path, hosts: list[Host]) -> None:
    earlier = processes(hosts)
    file.write_text(kinds_text().replace("exit 5", "exit 55").replace("exit 7", "exit 77").replace("exit 8", "exit 88"))
    done = network.play("swapin", file)
    assert done.code == 0, done.out
    gone = {key: words for key, words in earlier.items() if key not in processes(hosts)}
    assert not [words for words in gone.values() if words[0] in ("qemu-system-x86_64", "vde_switch", "wirefilter")]
    assert unreached(network) == []


def test_swap_out_leaves_nothing(kinds: Done, network: Network, file: Path, hosts: list[Host], before: dict[str, dict[str, Any]]) -> None:
    assert network.play("swapout", file).code == 0
    assert {host.name: host.news(before[host.name]) for host in hosts} == {host.name: {} for host in hosts}

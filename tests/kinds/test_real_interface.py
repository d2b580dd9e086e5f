# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two hosts as nodes, each with an interface of its own on the lab's wire, and processes on a third host, whose switch is on it, too."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..hosts.machines import Done, Host, Network
from ..hosts.topologies import node, substrate, topology
from ..integration.conftest import wait_for
from ..integration.topologies import attribute

PROJECT = "benito-test"
NAME = f"{PROJECT}.real"
# The exit status of each one's start command.
CODES = {"p": 3, "far": 4, "g": 5, "h": 6}
SETTINGS = ("arp_ignore", "arp_announce", "rp_filter", "send_redirects", "accept_redirects")
WIRE = attribute("benito:device", "wire0")


def real_text(address: str = "10.0.0.3") -> str:
    """A LAN on the wire, a link behind a process on it, and one by cable to a TAP of a host that is on the wire as well."""

    def kind(word: str, name: str) -> tuple[str, str]:
        return attribute("benito:node_type", word), attribute("startup", f"echo {name} is up; exit {CODES[name]}")

    def on(lan: str, number: str, *more: str) -> str:
        mask = attribute("ip4_netmask", "255.255.255.0")
        return f"<interface><substrate>{lan}</substrate>{attribute('ip4_address', number)}{mask}{''.join(more)}</interface>"

    def wired(text: str, *interfaces: str) -> str:
        """Put interfaces into a computer: those of `node` have no attributes."""
        return text.replace("</name>", f"</name>{''.join(interfaces)}", 1)

    return topology(
        [substrate("lan0"), substrate("link1"), substrate("link2")],
        [
            wired(node("p", 0, [], *kind("process", "p")), on("lan0", "10.0.0.1"), on("link1", "10.0.1.1"), on("link2", "10.0.2.1")),
            wired(node("far", 0, [], *kind("process", "far")), on("link1", "10.0.1.2")),
            wired(node("g", 1, [], *kind("embedded_pnode", "g")), on("lan0", "10.0.0.2", WIRE)),
            wired(node("h", 2, [], *kind("embedded_pnode", "h")), on("lan0", address, WIRE), on("link2", "10.0.2.2")),
        ],
    )


def wire_of(host: Host) -> dict[str, Any]:
    """Everything there is to say of a host's interface on the wire, but what the kernel counts."""
    # Whoever is switched on takes a second to find out whether others have its IPv6 address, and has no route to it until then.
    assert wait_for(lambda: " tentative" not in host.run("ip", "-6", "address", "show", "dev", "wire0").out)
    [link] = json.loads(host.run("ip", "-json", "-details", "address", "show", "dev", "wire0").out)
    names = [f"net.ipv4.conf.wire0.{name}" for name in SETTINGS] + ["net.ipv6.conf.wire0.disable_ipv6"]
    settings = host.run("sysctl", *names).out
    assert settings.count("=") == len(names), settings
    found = {key: link.get(key) for key in ("flags", "mtu", "ifalias", "promiscuity", "address", "master", "operstate")}
    inet = [entry["local"] for entry in link["addr_info"] if entry["family"] == "inet"]
    return {**found, "inet": inet, "settings": settings, "routes": host.run("ip", "route", "show", "table", "all", "dev", "wire0").out}


@pytest.fixture(scope="module")
def before(hosts: list[Host]) -> Iterator[list[tuple[dict[str, Any], dict[str, Any]]]]:
    """What the hosts are like, one of them with its interface switched off, another with a name for it."""
    dummy, birch, cedar = hosts
    birch.run("ip", "link", "set", "dev", "wire0", "alias", "to rack 7, port 3")
    cedar.run("ip", "link", "set", "dev", "wire0", "down")
    yield [(host.listing(), wire_of(host)) for host in hosts]
    birch.run("ip", "link", "set", "dev", "wire0", "alias", "")
    cedar.run("ip", "link", "set", "dev", "wire0", "up")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("real") / "real.topdl"
    path.write_text(real_text())
    return path


@pytest.fixture(scope="module")
def real(network: Network, hosts: list[Host], before: object, file: Path) -> Iterator[Done]:
    # Only the host whose switch is to be on the wire has to say how.
    network.write_pool({host.name: {"benito_cable_device": "wire0"} if host is hosts[0] else {} for host in hosts})
    lab = {"BENITO_PHYSICAL_HOSTS": ",".join(host.name for host in hosts[1:]), "BENITO_PHYSICAL_INTERFACES": "wire0"}
    network.environment.update(lab)
    try:
        yield network.play("swapin", file)
    finally:
        network.play("swapout", file)
        for name in lab:
            del network.environment[name]
        network.write_pool({host.name: {} for host in hosts})


def unreached(network: Network) -> list[str]:
    """The pairs of nodes that do not reach each other by name, each node asked over ssh."""
    found = []
    for source in sorted(CODES):
        # On a host that is a node itself, names are those of the whole host.
        domain = f".real.{PROJECT}" if source in ("g", "h") else ""
        others = " ".join(f"{other}{domain}" for other in sorted(CODES.keys() - {source}))
        done = network.ssh(NAME, source, f"for other in {others}; do ping -c 1 -W 3 $other >/dev/null || echo no $other; done; echo done")
        found += [f"{source}: {line}" for line in done.out.splitlines() if line.startswith("no ")]
        if "done" not in done.out.splitlines():
            found.append(f"{source}: {done.out}")
    return found


def test_they_come_up_and_reach_each_other_by_name(real: Done, network: Network) -> None:
    assert real.code == 0, real.out
    for name, code in CODES.items():
        row = real.row(name)
        assert row[3] == "booted" and row[-2:] == ["exit", str(code)], row
    assert unreached(network) == []


def test_they_meet_on_the_wire_and_in_no_switch(real: Done, hosts: list[Host], network: Network) -> None:
    amber, birch, cedar = hosts
    assert wire_of(birch)["inet"] == ["10.0.0.2"] and wire_of(cedar)["inet"] == ["10.0.0.3"]
    # The one has no other interface, so its host has no switch; the other has that of its TAP.
    assert [words for words in birch.ours(f"{PROJECT}/real").values() if "vde_switch" in words[0]] == []
    assert len([words for words in cedar.ours(f"{PROJECT}/real").values() if "vde_switch" in words[0]]) == 1
    assert "10.0.1.0/24 via 10.0.0.1" in wire_of(birch)["routes"]
    # The bridge that is the lab's wire has learnt where they are, with the MACs that they had.
    assert network.ssh(NAME, "g", f"ping -c 1 -W 3 h-lan0.real.{PROJECT} && ping -c 1 -W 3 p-lan0.real.{PROJECT}").code == 0
    learnt = network.run("bridge", "fdb", "show", "br", "wire").out
    inside = re.search(r"ether (\S+)", network.ssh(NAME, "p", "ip link show dev eth1").out)
    assert inside
    for mac in (wire_of(birch)["address"], wire_of(cedar)["address"], inside[1]):
        assert mac in learnt, learnt
    assert amber.run("ip", "-4", "-brief", "address", "show", "dev", "wire0").out.split()[2:] == []


def test_a_second_swap_in_changes_nothing(real: Done, network: Network, file: Path) -> None:
    done = network.play("swapin", file)
    assert (done.code, done.changed) == (0, 0), done.out


def test_an_address_changes_in_place(real: Done, network: Network, file: Path, hosts: list[Host]) -> None:
    file.write_text(real_text("10.0.0.33"))
    done = network.play("swapin", file)
    assert done.code == 0, done.out
    assert wire_of(hosts[2])["inet"] == ["10.0.0.33"]
    assert unreached(network) == []


def keeper_of(host: Host) -> int:
    """Return the process that keeps the nodes of a host."""
    [keeper] = [pid for pid, words in host.ours(f"{PROJECT}/real").items() if "keeper" in words]
    return keeper


def test_after_a_crash_of_its_supervisor_it_comes_back(real: Done, network: Network, file: Path, hosts: list[Host]) -> None:
    cedar = hosts[2]
    cedar.kill(keeper_of(cedar))
    done = network.play("swapin", file)
    assert done.code == 0, done.out
    assert unreached(network) == []


def test_swap_out_gives_it_back(real: Done, network: Network, file: Path, hosts: list[Host], before: list[tuple[Any, Any]]) -> None:
    birch = hosts[1]
    # One of them has lost all that was written down.
    birch.kill(keeper_of(birch))
    birch.run("rm", "-rf", f"/var/lib/benito/{NAME}/nodes", f"/var/lib/benito/{NAME}/guests")
    done = network.play("swapout", file)
    assert done.code == 0, done.out
    for host, (listing, wire) in zip(hosts, before, strict=True):
        assert wire_of(host) == wire
        assert host.news(listing) == {}


def test_one_that_its_host_uses_is_not_taken(real: Done, network: Network, file: Path, hosts: list[Host]) -> None:
    birch = hosts[1]
    birch.run("ip", "address", "add", "203.0.113.9/24", "dev", "wire0")
    try:
        used = wire_of(birch)
        done = network.play("swapin", file)
        assert done.code != 0
        assert "interface wire0 has the address 203.0.113.9/24, so this host uses it" in done.out
        assert wire_of(birch) == used
    finally:
        assert network.play("swapout", file).code == 0
        birch.run("ip", "address", "flush", "dev", "wire0")

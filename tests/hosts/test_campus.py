# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of an experiment over three hosts: brought up, looked at, damaged part by part, repaired, taken away."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .machines import STATE, Done, Host, Network, wait_for
from .topologies import campus as campus_text

PROJECT = "benito-test"
NAME = f"{PROJECT}.campus"
PLACES = {"a": "amber", "b": "birch", "c": "cedar", "d": "cedar"}


@pytest.fixture(scope="module")
def before(hosts: list[Host]) -> dict[str, dict[str, Any]]:
    return {host.name: host.listing() for host in hosts}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("campus") / "campus.topdl"
    path.write_text(campus_text())
    return path


@pytest.fixture(scope="module")
def predicted(network: Network, before: dict[str, dict[str, Any]], file: Path) -> Done:
    """A check run before there is anything."""
    return network.play("swapin", file, "--check", "--diff")


@pytest.fixture(scope="module")
def campus(network: Network, predicted: Done, file: Path) -> Iterator[Done]:
    yield network.play("swapin", file)
    network.play("swapout", file)


def everything(hosts: list[Host]) -> dict[tuple[str, int], list[str]]:
    """The experiment's processes on all hosts that run."""
    return {(host.name, pid): words for host in hosts if host.supervisor for pid, words in host.ours(f"{PROJECT}/campus").items()}


SLICE = r"/benito.slice/benito-benito\x2dtest:campus.slice/"
LASTING = ("qemu-system-x86_64", "vde_switch", "wirefilter")


def kept(processes: dict[tuple[str, int], list[str]]) -> dict[tuple[str, int], str]:
    """Those that nothing may touch but what concerns them. Connections come and go."""
    names = {key: Path(words[0]).name for key, words in processes.items()}
    return {key: name for key, name in names.items() if name in LASTING}


def guest(hosts: list[Host], node: str) -> tuple[Host, int]:
    """Where the process of a guest runs, from what the hosts' kernels show."""
    for host in hosts:
        for pid, words in host.ours(f"{PROJECT}/campus").items():
            if words[0] == "qemu-system-x86_64" and words[words.index("-name") + 1] == f"guest={node}":
                return host, pid
    raise AssertionError(f"no guest {node}")


def pings(network: Network, source: str, target: str) -> bool:
    return network.ssh(NAME, source, f"ping -c 1 -W 2 {target}").code == 0


def all_reach_all(network: Network) -> bool:
    for node in PLACES:
        others = sorted(PLACES.keys() - {node})
        if network.ssh(NAME, node, " && ".join(f"ping -c 1 -W 2 {other}" for other in others)).code:
            return False
    return True


def test_a_check_run_shows_the_placement_and_touches_no_host(predicted: Done, hosts: list[Host], before: dict[str, dict[str, Any]]) -> None:
    assert predicted.code == 0, predicted.out
    for host in hosts:
        assert re.search(rf"^pnode-000\d +{host.name}\b", predicted.out, re.MULTILINE), predicted.out
        assert not host.news(before[host.name])


def test_nodes_are_where_the_file_wants_them(hosts: list[Host], campus: Done) -> None:
    assert campus.code == 0, campus.out
    for node, place in PLACES.items():
        assert guest(hosts, node)[0].name == place
        assert campus.row(node)[3] == "booted"
    assert campus.recap("pnode-0001")["changed"] > 0


def test_every_guest_is_reached_by_name_and_reaches_every_other(network: Network, campus: Done) -> None:
    for node in PLACES:
        assert network.ssh(NAME, node, "uname -n").out.strip() == node
    assert all_reach_all(network)
    assert "ssh -o ClearAllForwardings=yes" in (network.state / NAME / "ssh_config").read_text()
    assert "ttl=63" in network.ssh(NAME, "a", "ping -c 1 d").out, "b forwards"


def test_a_link_between_hosts_is_as_slow_as_the_file_says(network: Network, campus: Done) -> None:
    out = network.ssh(NAME, "b", "ping -c 10 -i 0.2 d").out
    found = re.search(r"= ([0-9.]+)/([0-9.]+)/", out)
    assert found, out
    # 10 ms at each end, both ways; upwards the machine may be busy.
    assert 39 < float(found[1]) < 80


def test_the_second_swapin_changes_nothing(network: Network, hosts: list[Host], campus: Done, file: Path) -> None:
    running = everything(hosts)
    again = network.play("swapin", file)
    assert again.code == 0, again.out
    assert again.changed == 0, again.out
    check = network.play("swapin", file, "--check", "--diff")
    assert check.code == 0, check.out
    assert check.changed == 0, check.out
    assert everything(hosts) == running


def test_long_lived_processes_sit_in_the_slice_and_are_not_roots(hosts: list[Host], campus: Done) -> None:
    seen = set()
    for host in hosts:
        for pid, words in host.ours(f"{PROJECT}/campus").items():
            if "sshd" in words[0]:
                continue
            seen.add(Path(words[0]).name)
            # What sshd lets in lives as long as its connection, and where sshd puts it.
            assert host.cgroup(pid).startswith(SLICE) or under_sshd(host, pid), words
            assert not re.search(r"^Uid:\s0\b", host.run("cat", f"/proc/{pid}/status").out, re.MULTILINE), words
    assert {"qemu-system-x86_64", "vde_switch", "wirefilter", "vde_plug"} <= seen


def under_sshd(host: Host, pid: int) -> bool:
    while pid > 1:
        status = host.run("cat", f"/proc/{pid}/status").out
        if status.startswith("Name:\tsshd"):
            return True
        found = re.search(r"^PPid:\s(\d+)", status, re.MULTILINE)
        pid = int(found[1]) if found else 1
    return False


def test_a_cable_that_breaks_is_made_again_by_itself(network: Network, hosts: list[Host], campus: Done, file: Path) -> None:
    untouched = kept(everything(hosts))
    broken = 0
    for host in hosts:
        for pid, words in host.ours(f"{PROJECT}/campus").items():
            if Path(words[0]).name in ("ssh", "vde_plug"):
                host.run("kill", "-KILL", str(pid))
                broken += 1
    assert broken >= 3
    assert wait_for(lambda: all_reach_all(network), 60)
    assert kept(everything(hosts)) == untouched
    status = network.play("status", file)
    assert status.code == 0, status.out
    assert network.play("swapin", file).changed == 0


def test_a_switch_that_dies_is_said_and_repaired(network: Network, hosts: list[Host], campus: Done, file: Path) -> None:
    untouched = kept(everything(hosts))
    birch = hosts[1]
    victim = next(
        pid for pid, words in birch.ours().items() if words[0] == "vde_switch" and f"{STATE}/{NAME}/switches/lan0/io/ctl" in words
    )
    birch.kill(victim)
    del untouched[birch.name, victim]
    assert not pings(network, "a", "b")
    status = network.play("status", file)
    assert "pnode-0001: the switch of lan0 is dead" in status.out, status.out
    assert {status.row(node)[3] for node in PLACES} == {"booted"}
    repaired = network.play("swapin", file)
    assert repaired.code == 0, repaired.out
    assert repaired.recap("pnode-0000")["changed"] == 0, repaired.out
    assert untouched.items() <= kept(everything(hosts)).items(), "nothing else was touched"
    assert wait_for(lambda: all_reach_all(network), 60)


def test_a_shaper_that_dies_is_said_and_repaired(network: Network, hosts: list[Host], campus: Done, file: Path) -> None:
    untouched = kept(everything(hosts))
    cedar = hosts[2]
    victims = [pid for pid, words in cedar.ours(f"{PROJECT}/campus").items() if words[0] == "wirefilter"]
    assert victims
    cedar.kill(victims[0])
    for pid in victims:
        del untouched[cedar.name, pid]
    status = network.play("status", file)
    assert "pnode-0002: the shaper of d:" in status.out, status.out
    repaired = network.play("swapin", file)
    assert repaired.code == 0, repaired.out
    assert untouched.items() <= kept(everything(hosts)).items(), "nothing else was touched"
    assert wait_for(lambda: all_reach_all(network), 60)


def test_the_supervisor_of_cables_that_dies_is_said_and_repaired(network: Network, hosts: list[Host], campus: Done, file: Path) -> None:
    untouched = kept(everything(hosts))
    cedar = hosts[2]
    supervisors = [pid for pid, words in cedar.ours(f"{PROJECT}/campus").items() if any("keeper" in word for word in words)]
    assert len(supervisors) == 1
    cedar.kill(supervisors[0])
    status = network.play("status", file)
    assert re.search(r"pnode-0002: the ssh cable .* is broken.*its supervisor is not running", status.out), status.out
    repaired = network.play("swapin", file)
    assert repaired.code == 0, repaired.out
    assert kept(everything(hosts)) == untouched
    assert wait_for(lambda: all_reach_all(network), 60)


def test_a_host_that_is_off_is_named_and_the_others_go_on(network: Network, hosts: list[Host], campus: Done, file: Path) -> None:
    cedar = hosts[2]
    untouched = {key: name for key, name in kept(everything(hosts)).items() if key[0] != cedar.name}
    host, pid = guest(hosts, "a")
    with cedar.off():
        status = network.play("status", file)
        assert re.search(r"nreachable.*(pnode-0002|cedar)", status.out), status.out
        assert status.row("c")[3] == "unknown"
        assert status.row("a")[3] == "booted"
        # There is something to do on another host, too.
        host.kill(pid)
        del untouched[host.name, pid]
        swapin = network.play("swapin", file)
        assert swapin.code != 0
        assert re.search(r"(pnode-0002|cedar).*unreachable", swapin.out, re.IGNORECASE), swapin.out
        assert swapin.row("a")[3] == "booted"
        assert pings(network, "b", "a")
        assert untouched.items() <= kept(everything(hosts)).items()
    assert not cedar.ours()
    status = network.play("status", file)
    assert status.row("c")[3] == "dead", status.out
    swapin = network.play("swapin", file)
    assert swapin.code == 0, swapin.out
    assert untouched.items() <= kept(everything(hosts)).items()
    assert wait_for(lambda: all_reach_all(network), 60)
    assert network.play("swapin", file).changed == 0


def test_status_as_json_says_how_everything_is(network: Network, campus: Done, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "status.json"
    assert network.play("status", file, "-e", f"output={out}").code == 0
    report = json.loads(out.read_text())
    assert {node["name"]: node["state"] for node in report["nodes"]} == dict.fromkeys(PLACES, "booted")
    found = {kind: [part for host in report["hosts"] for part in host[kind]] for kind in ("cables", "switches", "shapers")}
    assert len(found["cables"]) == 6, "two ends of each"
    assert {cable["state"] for cable in found["cables"]} == {"connected"}
    assert {part["state"] for kind in ("switches", "shapers") for part in found[kind]} == {"running"}


def test_swapout_leaves_nothing_on_any_host(
    network: Network, hosts: list[Host], before: dict[str, dict[str, Any]], campus: Done, file: Path
) -> None:
    gone = network.play("swapout", file)
    assert gone.code == 0, gone.out
    for host in hosts:
        assert not host.news(before[host.name])
    assert not (network.state / NAME).exists()
    again = network.play("swapout", file)
    assert again.code == 0, again.out
    assert again.changed == 0

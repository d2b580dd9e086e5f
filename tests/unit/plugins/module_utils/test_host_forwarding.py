# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host forwards for its experiments alone, between networks of the test's own, and has its settings back afterwards."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import host_forwarding, host_links, physical_nodes, sweep
from ansible_collections.benito.testbed.plugins.module_utils.control_net import ControlNet, create, needs
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir, write_json

from .frames import elsewhere, inside

Run = Callable[[Callable[[], None]], None]
GUEST = {"name": "a", "tap": "bntapa", "mac": "02:00:00:00:00:0a", "address": "172.20.5.2"}
NET = ControlNet.from_options({"bridge": "bn12ab34cd", "address": "172.20.5.1", "prefix": 24, "guests": [GUEST]})
SECOND = ControlNet.from_options({"bridge": "bn22", "address": "172.20.6.1", "prefix": 24})


def ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


def write(name: str, value: str) -> None:
    Path(f"/proc/sys/net/ipv4/conf/{name}").write_text(value)


def settings() -> dict[str, str]:
    """All settings of IPv4 that there are for interfaces."""
    paths = [path for path in Path("/proc/sys/net/ipv4/conf").glob("*/*") if os.access(path, os.R_OK) and path.parent.name[:2] != "bn"]
    return {str(path): path.read_text() for path in [*paths, Path("/proc/sys/net/ipv4/ip_forward")]}


@contextmanager
def between() -> Iterator[Callable[..., bool]]:
    """A host between two networks, that forwards nothing; yields a ping from the left one, the right one or a guest's."""
    with elsewhere() as left, elsewhere() as right, elsewhere() as guest:
        for name, machine, number in (("left", left, 2), ("right", right, 3)):
            ip(f"link add {name} type veth peer name far netns /proc/{machine.pid}/ns/net")
            ip(f"address add 203.0.{number}.1/24 dev {name}")
            ip(f"link set {name} up")
            for words in (
                "link set lo up",
                "link set far up",
                f"address add 203.0.{number}.9/24 dev far",
                f"route add default via 203.0.{number}.1",
            ):
                assert inside(machine, "ip", *words.split()) == 0
        ip(f"link add {GUEST['tap']} type veth peer name eth0 address {GUEST['mac']} netns /proc/{guest.pid}/ns/net")
        for words in (
            "link set lo up",
            "link set eth0 up",
            f"address add {GUEST['address']}/24 dev eth0",
            "route add default via 172.20.5.1",
        ):
            assert inside(guest, "ip", *words.split()) == 0
        write("all/forwarding", "0")
        write("all/accept_redirects", "0")
        write("left/accept_redirects", "0")
        machines = {"left": left, "right": right, "guest": guest}
        yield lambda who, address: inside(machines[who], "ping", "-c1", "-W1", address) == 0


def test_the_host_is_no_router_between_its_networks(rundir: RunDir, own_network: Run) -> None:
    def check() -> None:
        with between() as ping:
            before = settings()
            assert not ping("left", "203.0.3.9")
            create(rundir, NET)
            ip(f"link set {GUEST['tap']} master {NET.bridge} up")
            assert needs(rundir, NET) == []
            assert ping("guest", "203.0.2.9")
            assert ping("guest", "203.0.3.9")
            assert ping("left", "203.0.2.1")
            assert not ping("left", "203.0.3.9")
            assert not ping("right", "203.0.2.9")
            # Interfaces that come later are not routed either.
            ip("link set right name later")
            ip("link set later up")
            ip("address replace 203.0.3.1/24 dev later")
            assert not ping("left", "203.0.3.9")
            ip("link set later name right")
            ip("link set right up")

            other = RunDir("lab", "demo2", "lab.demo2", rundir.root)
            other.create()
            create(other, SECOND)
            sweep.sweep(sweep.find("lab", "demo2", rundir.root), rundir.root)
            assert needs(rundir, NET) == []
            assert ping("guest", "203.0.3.9")
            assert not ping("left", "203.0.3.9")
            # After a crash there are no records of the experiment.
            os.unlink(f"{rundir.path}/control.json")
            sweep.sweep(sweep.find("lab", "demo", rundir.root), rundir.root)
            assert settings() == before
            assert subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout == ""
            assert os.listdir(rundir.root) == []

    own_network(check)


def test_what_forwarded_before_goes_on(rundir: RunDir, own_network: Run) -> None:
    def check() -> None:
        with between() as ping:
            write("left/forwarding", "1")
            write("right/forwarding", "1")
            write("default/forwarding", "0")
            assert ping("left", "203.0.3.9")
            write("right/forwarding", "0")
            before = settings()
            create(rundir, NET)
            write_json(f"{rundir.path}/seen.json", {})
            sweep.sweep(sweep.find("lab", "demo", rundir.root), rundir.root)
            assert settings() == before
            write("right/forwarding", "1")
            rundir.create()
            create(rundir, NET)
            assert ping("left", "203.0.3.9")
            sweep.sweep(sweep.find("lab", "demo", rundir.root), rundir.root)
            assert ping("left", "203.0.3.9")

    own_network(check)


def test_a_host_that_is_a_router_stays_one(rundir: RunDir, own_network: Run) -> None:
    def check() -> None:
        with between() as ping:
            write("all/forwarding", "1")
            before = settings()
            create(rundir, NET)
            assert ping("left", "203.0.3.9")
            assert not host_forwarding.lacking(rundir.root)
            sweep.sweep(sweep.find("lab", "demo", rundir.root), rundir.root)
            assert settings() == before
            assert ping("left", "203.0.3.9")

    own_network(check)


@pytest.mark.parametrize("lost", ["table", "rule", "setting", "group"])
def test_what_was_lost_is_noticed_and_made_again(rundir: RunDir, own_network: Run, lost: str) -> None:
    def check() -> None:
        with between() as ping:
            create(rundir, NET)
            ip(f"link set {GUEST['tap']} master {NET.bridge} up")
            if lost == "table":
                subprocess.run(["nft", "delete", "table", "inet", host_forwarding.TABLE], check=True)
            elif lost == "rule":
                subprocess.run(["nft", "flush", "chain", "inet", host_forwarding.TABLE, "forward"], check=True)
            elif lost == "setting":
                write("all/forwarding", "0")
            else:
                ip(f"link set {NET.bridge} group 0")
            assert needs(rundir, NET) == ["bridge" if lost == "group" else "forwarding"]
            create(rundir, NET)
            assert needs(rundir, NET) == []
            assert ping("guest", "203.0.3.9")
            assert not ping("left", "203.0.3.9")

    own_network(check)


def test_an_experiment_of_an_earlier_version_is_taken_over(rundir: RunDir, own_network: Run) -> None:
    def check() -> None:
        with between() as ping:
            Path(f"{rundir.root}/ip_forward").write_text("0")
            write("all/forwarding", "1")
            assert ping("left", "203.0.3.9")
            assert "forwarding" in needs(rundir, NET)
            create(rundir, NET)
            assert not ping("left", "203.0.3.9")
            sweep.sweep(sweep.find("lab", "demo", rundir.root), rundir.root)
            assert Path(host_forwarding.FORWARDING).read_text() == "0\n"
            assert os.listdir(rundir.root) == []

    own_network(check)


def test_what_an_earlier_boot_had_is_not_put_back(rundir: RunDir, own_network: Run) -> None:
    def check() -> None:
        write_json(f"{rundir.root}/forwarding.json", {"boot": "another", "ip_forward": "0", "interfaces": {}, "redirects": "0"})
        write("all/forwarding", "1")
        os.unlink(f"{rundir.path}/experiment.json")
        assert host_forwarding.restore(rundir.root)
        assert Path(host_forwarding.FORWARDING).read_text() == "1\n"

    own_network(check)


def test_interfaces_of_the_labs_net_have_to_do_with_their_like() -> None:
    text = host_forwarding.rules(["eth7"])
    assert f"iifgroup {host_links.CONTROL_GROUP} accept" in text
    assert f"iifgroup {host_links.NODE_GROUPS} oifgroup {host_links.NODE_GROUPS} accept" in text
    assert 'iifname "eth7" accept' in text
    assert text.split()[-3:] == ["drop", "}", "}"]


@pytest.mark.parametrize("router", [False, True])
def test_networks_of_nodes_that_are_the_host_are_kept_apart(rundir: RunDir, own_network: Run, router: bool) -> None:
    def check() -> None:
        other = RunDir("lab", "demo2", "lab.demo2", rundir.root)
        other.create()
        with between() as ping:
            write("all/forwarding", "1" if router else "0")
            for experiment in (rundir, other):
                physical_nodes.enclose(experiment)
                host_forwarding.forward(rundir.root)
            mine, theirs = (host_links.node_group(experiment.mark) for experiment in (rundir, other))
            for left, right, forwarded in ((mine, mine, True), (mine, theirs, False), (mine, 0, False), (0, theirs, False), (0, 0, router)):
                ip(f"link set left group {left}")
                ip(f"link set right group {right}")
                assert ping("left", "203.0.3.9") is forwarded, (left, right)
                assert ping("left", "203.0.2.1")
            physical_nodes.let_go(rundir.mark, [{"kind": "process"}])
            sweep.sweep(sweep.find("lab", "demo2", rundir.root), rundir.root)
            sweep.sweep(sweep.find("lab", "demo", rundir.root), rundir.root)
            assert subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout == ""

    own_network(check)

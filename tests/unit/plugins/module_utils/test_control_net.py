# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control net: its rules as text, and made, mended and removed in a network of the test's own."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import control_net, host_links
from ansible_collections.benito.testbed.plugins.module_utils.control_net import ControlNet, check_free, create, needs, rules, tables
from ansible_collections.benito.testbed.plugins.module_utils.host_links import LinkError
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir

Run = Callable[[Callable[[], None]], None]
NET = ControlNet("bn12ab34cd", "172.20.5.1", 24)
OPTIONS = {"mode": "nat", "bridge": "bn12ab34cd", "address": "172.20.5.1", "prefix": 24}


def ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


def nft(words: str) -> str:
    return subprocess.run(["nft", *words.split()], check=True, capture_output=True, text=True).stdout


def test_the_net_is_taken_over() -> None:
    net = ControlNet.from_options(OPTIONS)
    assert net == NET
    assert net.interface == "172.20.5.1/24"
    assert str(net.subnet) == "172.20.5.0/24"


@pytest.mark.parametrize(
    "change",
    [
        {"address": "172.20.5"},
        {"address": "::1"},
        {"address": ""},
        {"prefix": 33},
        {"bridge": ""},
        {"bridge": "b" * 16},
        {"bridge": "bn 0"},
        {"bridge": "bn0;"},
        {"bridge": "bn0\n"},
        {"bridge": "../x"},
    ],
)
def test_what_is_no_net_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(LinkError, match=r"^control"):
        ControlNet.from_options({**OPTIONS, **change})


def test_the_rules_speak_of_this_net_alone() -> None:
    here = RunDir("lab", "demo", "lab.demo", "/srv/b")
    text = rules(here, NET)
    assert text == rules(here, NET)
    assert text != rules(RunDir("lab", "demo2", "lab.demo", "/srv/b"), NET)
    assert set(re.findall(r'[io]ifname (?:!= )?"(\w+)"', text)) == {NET.bridge}
    assert set(re.findall(r"\d+\.\d+\.\d+\.\d+\S*", text)) == {"172.20.5.0/24"}
    # What is not accepted before is dropped: from the guests to the host, to the guests, and from them to the outside.
    chains = dict(re.findall(r"chain (\w+) \{(.*?)\n  \}", text, re.S))
    assert chains["input"].strip().splitlines()[-1].strip() == f'iifname "{NET.bridge}" drop'
    assert f'oifname "{NET.bridge}" drop' in chains["forward"]
    assert chains["forward"].strip().splitlines()[-1].strip() == f'iifname "{NET.bridge}" drop'


def test_made_and_found_as_wanted(rundir: RunDir, own_network: Run) -> None:
    def inside() -> None:
        Path(control_net.FORWARDING).write_text("0")
        assert needs(rundir, NET) == ["bridge", "rules", "forwarding"]
        create(rundir, NET)
        assert needs(rundir, NET) == []
        assert tables(rundir.mark) == [NET.bridge]
        assert host_links.marked(rundir.mark) == [NET.bridge]
        create(rundir, NET)
        assert needs(rundir, NET) == []

    own_network(inside)


def test_what_was_meddled_with_is_noticed_and_mended(rundir: RunDir, own_network: Run) -> None:
    def inside() -> None:
        create(rundir, NET)
        meddling: dict[str, Callable[[], object]] = {
            "bridge": lambda: ip(f"link delete {NET.bridge}"),
            "address": lambda: ip(f"address add 172.20.9.1/24 dev {NET.bridge}"),
            "rules": lambda: nft(f"flush chain inet {NET.bridge} forward"),
            "forwarding": lambda: Path(control_net.FORWARDING).write_text("0"),
        }
        for what, meddle in meddling.items():
            meddle()
            assert needs(rundir, NET) == [what]
            create(rundir, NET)
            assert needs(rundir, NET) == []
        ip(f"link set {NET.bridge} down")
        assert needs(rundir, NET) == ["address"]
        nft(f"delete table inet {NET.bridge}")
        assert needs(rundir, NET) == ["address", "rules"]
        os.unlink(f"{rundir.path}/control.json")
        create(rundir, NET)
        assert needs(rundir, NET) == []

    own_network(inside)


def test_another_subnet_is_a_change(rundir: RunDir, own_network: Run) -> None:
    def inside() -> None:
        create(rundir, NET)
        other = ControlNet(NET.bridge, "172.20.6.1", 25)
        assert needs(rundir, other) == ["address", "rules"]
        create(rundir, other)
        assert needs(rundir, other) == []
        assert "172.20.5." not in nft(f"list table inet {NET.bridge}")

    own_network(inside)


@pytest.mark.parametrize("theirs", ["172.20.5.7/24", "172.20.5.200/32", "172.16.0.1/12"])
def test_a_subnet_of_somebody_else_is_refused(rundir: RunDir, own_network: Run, theirs: str) -> None:
    def inside() -> None:
        ip("link add eth7 type bridge")
        ip(f"address add {theirs} dev eth7")
        with pytest.raises(LinkError, match=r"172\.20\.5\.0/24 overlaps with \S+ of eth7.*control_subnet, for example 172\.31\.\d+\.0/24"):
            check_free(rundir, NET)
        with pytest.raises(LinkError, match="overlaps"):
            create(rundir, NET)
        assert not host_links.exists(NET.bridge)
        assert tables(rundir.mark) == []

    own_network(inside)


def test_a_subnet_beside_those_of_others_is_free(rundir: RunDir, own_network: Run) -> None:
    def inside() -> None:
        ip("link add eth7 type bridge")
        ip("address add 172.20.4.1/24 dev eth7")
        ip("address add 172.20.6.1/24 dev eth7")
        check_free(rundir, NET)
        create(rundir, NET)
        check_free(rundir, NET)

    own_network(inside)


def test_tables_of_others_are_not_ours(rundir: RunDir, own_network: Run) -> None:
    def inside() -> None:
        create(rundir, NET)
        other = RunDir("lab", "demo2", "lab.demo2", rundir.root)
        other.create()
        create(other, ControlNet("bn22", "172.20.6.1", 24))
        nft("add table inet bnforeign")
        assert tables(rundir.mark) == [NET.bridge]
        assert tables(other.mark) == ["bn22"]
        control_net.delete_table("bn22")
        assert tables(other.mark) == []
        assert tables(rundir.mark) == [NET.bridge]

    own_network(inside)


def test_a_table_is_found_by_its_mark_whatever_its_name(rundir: RunDir, own_network: Run) -> None:
    def inside() -> None:
        create(rundir, ControlNet("lab0", "172.20.5.1", 24))
        assert tables(rundir.mark) == ["lab0"]

    own_network(inside)


def test_the_longest_names_that_are_allowed(root: str, own_network: Run) -> None:
    long = RunDir.from_options({"project": "p" * 64, "experiment": "e" * 64, "id": "short"}, root)
    long.create()

    def inside() -> None:
        create(long, NET)
        assert tables(long.mark) == [NET.bridge]
        assert host_links.marked(long.mark) == [NET.bridge]

    own_network(inside)


def test_forwarding_is_given_back_by_the_last_to_leave(rundir: RunDir, own_network: Run) -> None:
    def inside() -> None:
        forwarding = Path(control_net.FORWARDING)
        forwarding.write_text("0")
        create(rundir, NET)
        assert forwarding.read_text() == "1\n"
        assert control_net.restore_forwarding(rundir.root) is False
        assert forwarding.read_text() == "1\n"
        os.unlink(f"{rundir.path}/experiment.json")
        assert control_net.restore_forwarding(rundir.root) is True
        assert forwarding.read_text() == "0\n"
        assert control_net.restore_forwarding(rundir.root) is False

    own_network(inside)


def test_forwarding_that_was_on_before_stays_on(rundir: RunDir, own_network: Run) -> None:
    def inside() -> None:
        forwarding = Path(control_net.FORWARDING)
        forwarding.write_text("1")
        create(rundir, NET)
        os.unlink(f"{rundir.path}/experiment.json")
        assert control_net.restore_forwarding(rundir.root) is False
        assert forwarding.read_text() == "1\n"

    own_network(inside)

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node that serves DHCP to its link, and one that takes its planned address from it, whenever that one comes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import PROJECT, Done, Lab, wait_for
from .topologies import attribute, computer, experiment

pytestmark = pytest.mark.network

NAME = f"{PROJECT}.dhcp"


def node(name: str, interfaces: dict[str, str], *attributes: str) -> str:
    """Return a node with interfaces on substrates, each with its role in DHCP."""
    text = computer(name, list(interfaces), *attributes)
    for substrate, role in interfaces.items():
        plain = f"<interface><substrate>{substrate}</substrate></interface>"
        if role:
            text = text.replace(plain, plain.replace("</interface>", f"{attribute('benito:dhcp', role)}</interface>"))
    return text


def topology(server: str, client: str) -> str:
    return experiment(
        ["near", "far", "side"],
        [
            node("server", {"near": server, "far": ""}),
            # Its interface on the near link is neither the first nor the last.
            node("client", {"side": "", "near": client, "far": ""}, attribute("startup", "ping -c 1 -W 5 server-near")),
            node("end", {"far": "", "side": ""}),
        ],
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("topologies") / "dhcp.topdl"
    path.write_text(topology("server", "client"))
    return path


@pytest.fixture(scope="module")
def up(lab: Lab, file: Path) -> Iterator[Done]:
    before = lab.listing()
    yield lab.play("swapin", file)
    lab.play("swapout", file)
    assert lab.listing() == before


def interfaces(lab: Lab, name: str) -> dict[str, tuple[str, str]]:
    """What a guest's kernel has: MAC and address by device."""
    script = "for d in /sys/class/net/eth*; do echo ${d##*/} $(cat $d/address) $(ip -4 -br a show dev ${d##*/} | awk '{print $3}'); done"
    lines = [line.split() for line in lab.ssh(NAME, name, script).out.splitlines()]
    return {words[0]: (words[1], words[2] if len(words) > 2 else "") for words in lines}


def test_the_planned_address_comes_by_dhcp(lab: Lab, up: Done) -> None:
    assert up.code == 0, up.out
    row = up.row("client")
    assert row[3] == "booted"
    # The start command found the address in place: it is the last word of the row.
    assert row[-2:] == ["exit", "0"], row
    devices = interfaces(lab, "client")
    assert devices["eth2"][1].split("/")[0] == row[6]
    said = lab.ssh(NAME, "client", "ps; ip -4 route show dev eth2").out
    assert "udhcpc -f -i eth2" in said
    assert "udhcpc -f -i eth1" not in said
    assert lab.ssh(NAME, "server", "ps").out.count("udhcpd -f") == 1


def test_the_second_swapin_changes_nothing(lab: Lab, up: Done, file: Path) -> None:
    again = lab.play("swapin", file)
    assert (again.code, again.changed) == (0, 0), again.out


def test_a_client_that_boots_before_its_server_goes_on_asking(lab: Lab, up: Done, file: Path) -> None:
    planned = interfaces(lab, "client")
    lab.ssh(NAME, "server", "ip link set eth1 down")
    lab.ssh(NAME, "client", "reboot")

    def complains() -> bool:
        return "dhcp eth2: no server has answered yet" in lab.play("status", file).out

    assert wait_for(complains, 120)
    status = lab.play("status", file)
    assert status.row("client")[3] == "booted", "it boots all the same"
    waiting = interfaces(lab, "client")
    assert waiting["eth2"][1] == ""
    assert {device: mac for device, (mac, dummy) in waiting.items()} == {device: mac for device, (mac, dummy) in planned.items()}
    lab.ssh(NAME, "server", "ip link set eth1 up")
    assert wait_for(lambda: interfaces(lab, "client") == planned, 60)
    assert lab.ssh(NAME, "client", "ping -c 1 -W 5 server-near").code == 0
    assert wait_for(lambda: "dhcp eth2" not in lab.play("status", file).out, 30)


def test_without_the_attribute_the_address_is_given_while_it_runs(lab: Lab, up: Done, file: Path) -> None:
    planned = interfaces(lab, "client")
    uptime = float(lab.ssh(NAME, "client", "cat /proc/uptime").out.split()[0])
    file.write_text(topology("", ""))
    changed = lab.play("swapin", file)
    assert changed.code == 0, changed.out
    assert interfaces(lab, "client") == planned
    assert float(lab.ssh(NAME, "client", "cat /proc/uptime").out.split()[0]) > uptime
    assert "udhcp" not in lab.ssh(NAME, "client", "ps").out
    assert "udhcp" not in lab.ssh(NAME, "server", "ps").out
    assert lab.ssh(NAME, "client", "ping -c 1 -W 5 server-near").code == 0


def test_a_client_without_a_server_is_refused(lab: Lab, up: Done, file: Path) -> None:
    text = file.read_text()
    file.write_text(topology("", "client"))
    refused = lab.play("swapin", file)
    file.write_text(text)
    assert refused.code != 0
    assert "nobody on near serves it" in " ".join(refused.out.split())

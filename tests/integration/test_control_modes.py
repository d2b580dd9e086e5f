# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of control net, on a host whose one way out leads to a world that looks at it from outside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import LAB, OUTSIDE, PROJECT, Done, Lab, wait_for
from .topologies import lan

BRIDGE = {
    "control_mode": "bridge",
    "control_subnet": "198.51.100.0/24",
    "control_gateway": OUTSIDE,
    "control_addresses": "198.51.100.100-198.51.100.110",
}


class Experiment:
    """An experiment with its options, as its user would give them each time."""

    def __init__(self, lab: Lab, file: Path, options: dict[str, Any]) -> None:
        self.lab = lab
        self.file = file
        self.name = f"{PROJECT}.{file.stem}"
        self.options = options

    def play(self, playbook: str, *more: str) -> Done:
        options = json.dumps({f"benito_{name}": value for name, value in self.options.items()})
        return self.lab.play(playbook, self.file, "-e", options, *more)

    def from_outside(self, address: str, port: int, node: str, command: str) -> Done:
        """Log in to a guest from the world, which knows the experiment's key and those of its guests."""
        config = self.lab.state / self.name / "ssh_config"
        options = ("-o", f"HostName={address}", "-p", str(port), "-o", "BatchMode=yes", "-o", "ConnectTimeout=10")
        return self.lab.world.run("ssh", "-F", str(config), *options, node, command, timeout=60)


@pytest.fixture
def make(lab: Lab, tmp_path: Path) -> Iterator[Any]:
    """Make experiments of these nodes; what they leave on the host is compared with what was there."""
    before = (left(lab), network(lab))
    made: list[Experiment] = []

    def start(stem: str, *nodes: str, **options: Any) -> Experiment:
        file = tmp_path / f"{stem}.topdl"
        file.write_text(lan(dict.fromkeys(nodes, "")))
        made.append(Experiment(lab, file, options))
        return made[-1]

    yield start
    for experiment in made:
        gone = experiment.play("swapout")
        assert gone.code == 0, gone.out
    assert (left(lab), network(lab)) == before


def left(lab: Lab) -> dict[str, set[str]]:
    """What an experiment could leave, without what others on the machine may change meanwhile."""
    return {what: found for what, found in lab.listing().items() if what not in ("namespaces", "forwarding")}


def network(lab: Lab) -> list[Any]:
    """What the host's own interface has, and all its routes, once IPv6 has settled."""
    assert wait_for(lambda: "fe80" in lab.run("ip", "-6", "address", "show", "dev", "outside", "-tentative").out)
    [link] = json.loads(lab.run("ip", "-json", "-details", "address", "show", "dev", "outside").out)
    link["addr_info"] = [a for a in link["addr_info"] if not (a["family"] == "inet6" and a["scope"] == "link")]
    routes = [lab.run("ip", family, "route", "show", "table", "all").out.splitlines() for family in ("-4", "-6")]
    return [{key: link.get(key) for key in ("addr_info", "address", "master", "mtu", "promiscuity")}, *map(sorted, routes)]


def test_ports_of_the_host_lead_to_guests(lab: Lab, make: Any) -> None:
    one = make("ported", "a", "b", control_mode="ports", control_ports="2200-2299")
    up = one.play("swapin")
    assert up.code == 0, up.out
    ports = {node: 2200 + int(up.row(node)[4].rpartition(".")[2]) for node in ("a", "b")}
    for node, port in ports.items():
        assert one.from_outside(LAB, port, node, "hostname").out.strip() == node
        assert lab.ssh(one.name, node, "hostname").out.strip() == node
    # The address that guests see is that of who calls, and what is not theirs is shut.
    who = one.from_outside(LAB, ports["a"], "a", "echo $SSH_CONNECTION")
    assert who.out.split()[0] == OUTSIDE
    lab.world.run("ip", "route", "add", "172.16.0.0/12", "via", LAB)
    assert lab.world.run("nc", "-z", "-w", "3", up.row("a")[4], "22").code != 0
    lab.world.run("ip", "route", "del", "172.16.0.0/12")
    again = one.play("swapin")
    assert (again.code, again.changed) == (0, 0), again.out

    other = make("second", "c", control_mode="ports", control_ports="2250-2260")
    refused = other.play("swapin")
    assert refused.code != 0
    assert f"the ports 2250-2260 overlap with 2200-2299 of {PROJECT}/ported" in refused.out


def test_guests_are_machines_of_the_labs_net(lab: Lab, make: Any) -> None:
    one = make("bridged", "a", "b", **BRIDGE)
    predicted = one.play("swapin", "--check", "--diff")
    assert predicted.code == 0, predicted.out
    assert "bridge, rules" in predicted.out
    ping = lab.world.start("ping", "-q", "-i", "0.2", "-w", "8", LAB)
    up = one.play("swapin")
    assert up.code == 0, up.out
    assert predicted.recap("pnode-0000")["changed"] == up.recap("pnode-0000")["changed"]
    assert up.row("a")[4] == "198.51.100.100"
    seen = ping.communicate(timeout=60)[0]
    assert float(seen.split("% packet loss")[0].split()[-1]) <= 10, seen
    assert lab.world.run("ping", "-c", "1", "-W", "5", "198.51.100.101").code == 0
    assert one.from_outside("198.51.100.100", 22, "a", "hostname").out.strip() == "a"
    assert lab.ssh(one.name, "b", f"ping -c 1 -W 5 {OUTSIDE}").code == 0
    again = one.play("swapin")
    assert (again.code, again.changed) == (0, 0), again.out

    # Another experiment shares the bridge, and gets no address that is taken.
    other = make("visitor", "a", **BRIDGE, control_map={"a": "198.51.100.101"})
    refused = other.play("swapin")
    assert refused.code != 0
    assert f"control address 198.51.100.101 of a is that of experiment {PROJECT}.bridged already" in " ".join(refused.out.split())
    other.options["control_map"] = {"a": {"address": "198.51.100.77", "mac": "02:00:5e:00:00:77"}}
    up = other.play("swapin")
    assert up.code == 0, up.out
    assert lab.world.run("ping", "-c", "1", "-W", "5", "198.51.100.77").code == 0
    assert "02:00:5e:00:00:77" in lab.world.run("ip", "neighbour", "show", "198.51.100.77").out
    assert one.play("swapout").code == 0
    assert other.from_outside("198.51.100.77", 22, "a", "hostname").out.strip() == "a"


def test_the_labs_server_chooses_addresses(lab: Lab, make: Any, tmp_path: Path) -> None:
    config = tmp_path / "udhcpd.conf"
    config.write_text(
        f"interface inside\nstart 198.51.100.40\nend 198.51.100.44\nlease_file {tmp_path}/leases\npidfile {tmp_path}/pid\n"
        f"option subnet 255.255.255.0\noption router {OUTSIDE}\noption lease 3600\n"
    )
    (tmp_path / "leases").touch()
    server = lab.world.start("busybox", "udhcpd", "-f", str(config))
    try:
        one = make("leased", "a", control_mode="bridge", control_addressing="dhcp")
        up = one.play("swapin")
        assert up.code == 0, up.out
        address = up.row("a")[4]
        assert address.startswith("198.51.100.4"), up.out
        assert one.play("status").row("a")[4] == address
        assert lab.ssh(one.name, "a", "ip -4 route show default").out.split()[:3] == ["default", "via", OUTSIDE]
        assert one.from_outside(address, 22, "a", "hostname").out.strip() == "a"
        again = one.play("swapin")
        assert (again.code, again.changed) == (0, 0), again.out
    finally:
        server.terminate()
        server.wait()


def test_without_a_control_net(lab: Lab, make: Any) -> None:
    one = make("alone", "a", "b", control_mode="none")
    up = one.play("swapin")
    assert up.code == 0, up.out
    status = one.play("status")
    assert status.row("a")[3:5] == ["booted", "-"], status.out
    assert (lab.state / one.name / "ssh_config").read_text().strip() == ""
    devices = {link["ifname"] for link in json.loads(lab.run("ip", "-json", "link", "show").out)}
    assert not [name for name in devices if name.startswith("bn")]


def test_status_tells_what_is_gone_and_nobody_speaks_for_another(lab: Lab, make: Any) -> None:
    one = make("guarded", "a", "b")
    up = one.play("swapin")
    assert up.code == 0, up.out
    addresses = {node: up.row(node)[4] for node in ("a", "b")}
    gateway = f"{addresses['a'].rpartition('.')[0]}.1"
    # With an address that is nobody's, and with that of somebody else; its own does.
    spare = f"{addresses['a'].rpartition('.')[0]}.200"
    for false in (spare, addresses["b"]):
        command = f"ip address add {false}/32 dev eth0; ping -c 2 -W 1 -I {false} {gateway}; ip address del {false}/32 dev eth0"
        said = lab.ssh(one.name, "a", command)
        assert "100% packet loss" in said.out, said.out
    assert lab.ssh(one.name, "a", f"ping -c 1 -W 2 {gateway}").code == 0
    assert lab.ssh(one.name, "b", "hostname").out.strip() == "b", "who was spoken for is heard"

    [table] = [line.split()[-1] for line in lab.run("nft", "list", "tables", "bridge").out.splitlines()]
    for words in (("nft", "delete", "table", "bridge", table), ("ip", "link", "delete", table)):
        assert lab.run(*words).code == 0
        status = one.play("status")
        assert "the control net is not as it was made" in status.out
        assert one.play("swapin").code == 0
        assert "is not as it was made" not in one.play("status").out
        assert wait_for(lambda: lab.ssh(one.name, "a", "hostname").out.strip() == "a")


def test_a_guest_reaches_the_internet_and_no_private_machine(lab: Lab, make: Any) -> None:
    places = {"203.0.113.9": True, "169.254.169.254": False, "10.9.9.9": False, "192.168.1.1": False}
    for address in places:
        assert lab.world.run("ip", "address", "add", f"{address}/32", "dev", "lo").code == 0
    try:
        one = make("outward", "a")
        up = one.play("swapin")
        assert up.code == 0, up.out
        for address, reached in {OUTSIDE: True, **places}.items():
            assert (lab.ssh(one.name, "a", f"ping -c 1 -W 2 {address}").code == 0) is reached, address
            assert lab.run("ping", "-c", "1", "-W", "2", address).code == 0
    finally:
        for address in places:
            lab.world.run("ip", "address", "del", f"{address}/32", "dev", "lo")


def test_the_kind_may_change(lab: Lab, make: Any) -> None:
    one = make("changing", "a")
    for options in ({}, BRIDGE, {"control_mode": "ports"}, {"control_mode": "none"}, {}):
        mode = options.get("control_mode", "nat")
        one.options = options
        up = one.play("swapin")
        assert up.code == 0, (mode, up.out)
        links = {link["ifname"]: link for link in json.loads(lab.run("ip", "-json", "link", "show").out)}
        assert ("control0" in links) == (mode == "bridge")
        assert (links["outside"].get("master") == "control0") == (mode == "bridge")
        # That for whom the host forwards goes with the last swap-out.
        tables = lab.run("nft", "list", "tables").out.replace("table inet benito_forward\n", "").split()
        assert "inet" in tables if mode in ("nat", "ports") else "inet" not in tables
        assert "bridge" in tables if mode != "none" else "bridge" not in tables
        if mode != "none":
            assert lab.ssh(one.name, "a", "hostname").out.strip() == "a", mode
        again = one.play("swapin")
        assert (again.code, again.changed) == (0, 0), (mode, again.out)

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control net: its rules as text, and made, mended and removed in a network of the test's own."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import control_net, host_forwarding, host_links
from ansible_collections.benito.testbed.plugins.module_utils.control_net import ControlNet, check_free, create, needs, rules, tables
from ansible_collections.benito.testbed.plugins.module_utils.control_rules import Egress
from ansible_collections.benito.testbed.plugins.module_utils.host_links import LinkError
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir, write_json

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
    net = ControlNet(NET.bridge, NET.address, NET.prefix, egress=Egress("all"))
    text = rules(here, net)
    assert text == rules(here, net)
    assert text != rules(RunDir("lab", "demo2", "lab.demo", "/srv/b"), net)
    assert set(re.findall(r'[io]ifname (?:!= )?"(\w+)"', text)) == {NET.bridge}
    assert set(re.findall(r"\d+\.\d+\.\d+\.\d+\S*", text)) == {"172.20.5.0/24"}
    # What is not accepted before is dropped: from the guests to the host, to the guests, and from them to the outside.
    chains = dict(re.findall(r"chain (\w+) \{(.*?)\n  \}", text, re.S))
    assert chains["input"].strip().splitlines()[-1].strip() == f'iifname "{NET.bridge}" drop'
    assert f'oifname "{NET.bridge}" drop' in chains["forward"]
    assert chains["forward"].strip().splitlines()[-1].strip() == f'iifname "{NET.bridge}" drop'


def test_made_and_found_as_wanted(rundir: RunDir, own_network: Run) -> None:
    def inside() -> None:
        Path(host_forwarding.FORWARDING).write_text("0")
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
            "forwarding": lambda: Path(host_forwarding.FORWARDING).write_text("0"),
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
        forwarding = Path(host_forwarding.FORWARDING)
        forwarding.write_text("0")
        create(rundir, NET)
        assert forwarding.read_text() == "1\n"
        assert host_forwarding.restore(rundir.root) is False
        assert forwarding.read_text() == "1\n"
        os.unlink(f"{rundir.path}/experiment.json")
        assert host_forwarding.restore(rundir.root) is True
        assert forwarding.read_text() == "0\n"
        assert host_forwarding.restore(rundir.root) is False

    own_network(inside)


def test_forwarding_that_was_on_before_stays_on(rundir: RunDir, own_network: Run) -> None:
    def inside() -> None:
        forwarding = Path(host_forwarding.FORWARDING)
        forwarding.write_text("1")
        create(rundir, NET)
        os.unlink(f"{rundir.path}/experiment.json")
        assert host_forwarding.restore(rundir.root) is False
        assert forwarding.read_text() == "1\n"

    own_network(inside)


GUESTS = [
    {"name": "a", "tap": "bntapa", "mac": "02:00:00:00:00:0a", "address": "172.20.5.2", "port": 2202},
    {"name": "b", "tap": "bntapb", "mac": "02:00:00:00:00:0b", "address": "172.20.5.3", "port": 2203},
]
PORTS = {**OPTIONS, "mode": "ports", "ports": [2200, 2299], "guests": GUESTS}
BRIDGED = {
    "mode": "bridge",
    "bridge": "control0",
    "table": "bn12ab34cd",
    "address": "192.0.2.1",
    "prefix": 24,
    "interface": "up0",
    "guests": [{"name": "a", "tap": "bntapa", "mac": "02:00:00:00:00:0a", "address": "192.0.2.100"}],
}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({**PORTS, "ports": [80, 90]}, "control.ports must be the first and the last port"),
        ({**PORTS, "ports": [2200, 2202]}, "port 2203 of b is not one of the experiment's"),
        ({**PORTS, "mode": "nat"}, "port 2202 of a is not one of the experiment's"),
        ({**PORTS, "guests": [{**GUESTS[0], "tap": "x y"}]}, "guest 'a' must have the name of a TAP"),
        ({**PORTS, "guests": [{**GUESTS[0], "mac": "02:00:00:00:00:0A"}]}, "guest 'a' must have the name of a TAP"),
        ({**PORTS, "guests": [{**GUESTS[0], "address": '1.2.3.4" accept'}]}, "guest 'a' must have the name of a TAP"),
        ({**PORTS, "guests": [{**GUESTS[0], "address": ""}]}, "guest 'a' must have the name of a TAP"),
        ({**BRIDGED, "interface": "eth0;"}, "control.interface must be the name of a network interface"),
        ({**BRIDGED, "table": "bn 1"}, "control.table must be"),
        ({**BRIDGED, "subnet": "192.0.2.1/24"}, "control.subnet: 192.0.2.1/24 has host bits set"),
        ({**OPTIONS, "egress": {"mode": "some"}}, "control.egress.mode must be one of none, public, all, networks, not 'some'"),
        ({**OPTIONS, "egress": {"mode": "networks"}}, "control.egress.networks must be given for the mode networks"),
        ({**OPTIONS, "egress": {"mode": "all", "networks": ["10.0.0.0/8"]}}, "and for no other"),
        ({**OPTIONS, "egress": {"mode": "networks", "networks": ["10.0.0.0/8 } accept"]}}, "control.egress.networks"),
        ({**OPTIONS, "egress": {"mode": "networks", "networks": ["10.0.0.1/8"]}}, "control.egress.networks"),
    ],
)
def test_what_is_no_part_of_a_net_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(LinkError, match=message):
        ControlNet.from_options(options)


def test_what_is_written_down_is_read_again(rundir: RunDir) -> None:
    narrow = {**OPTIONS, "egress": {"mode": "networks", "networks": ["10.1.0.0/16", "10.0.0.0/16"]}}
    for options in (OPTIONS, PORTS, BRIDGED, narrow, {"mode": "none", "bridge": "bn1"}):
        net = ControlNet.from_options(options)
        write_json(f"{rundir.path}/control.json", {"claim": net.claim})
        assert control_net.recorded(rundir) == net
    write_json(f"{rundir.path}/control.json", {"claim": {"mode": "nat"}})
    assert control_net.recorded(rundir) is None


def behind(bridge: str, guest: dict[str, Any], process: subprocess.Popen[bytes], address: str) -> None:
    """Put a stand-in of a guest behind a port of the bridge, with the name of its TAP, its MAC and an address."""
    ip(f"link add {guest['tap']} type veth peer name eth0 address {guest['mac']} netns /proc/{process.pid}/ns/net")
    ip(f"link set {guest['tap']} master {bridge} up")
    for words in ("link set lo up", "link set eth0 up", f"address add {address}/24 dev eth0", "route add default via 172.20.5.1"):
        subprocess.run(["nsenter", f"--net=/proc/{process.pid}/ns/net", "ip", *words.split()], check=True)


@contextlib.contextmanager
def elsewhere() -> Iterator[subprocess.Popen[bytes]]:
    """Another network, which ends with the block."""
    with subprocess.Popen(["unshare", "--net", "sleep", "300"]) as process:
        while os.readlink(f"/proc/{process.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            time.sleep(0.01)
        try:
            yield process
        finally:
            process.kill()


def inside(process: subprocess.Popen[bytes], *words: str) -> int:
    command = ["nsenter", f"--net=/proc/{process.pid}/ns/net", *words]
    return subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode


def test_a_guest_speaks_with_its_own_mac_and_address_alone(rundir: RunDir, own_network: Run) -> None:
    def check() -> None:
        net = ControlNet.from_options(PORTS)
        create(rundir, net)
        assert needs(rundir, net) == []
        with elsewhere() as guest:
            behind(net.bridge, GUESTS[0], guest, "172.20.5.2")
            ping = ("ping", "-c", "1", "-W", "1")
            assert inside(guest, *ping, "172.20.5.1") == 0
            inside(guest, "ip", "address", "add", "172.20.5.9/24", "dev", "eth0")
            assert inside(guest, *ping, "-I", "172.20.5.9", "172.20.5.1") == 1
            inside(guest, "ip", "link", "set", "eth0", "address", "02:00:00:00:00:0b")
            assert inside(guest, *ping, "172.20.5.1") == 1
            inside(guest, "ip", "link", "set", "eth0", "address", GUESTS[0]["mac"])
            assert inside(guest, *ping, "172.20.5.1") == 0

    own_network(check)


def test_ports_lead_to_guests_and_nothing_else_does(rundir: RunDir, own_network: Run) -> None:
    def check() -> None:
        net = ControlNet.from_options(PORTS)
        create(rundir, net)
        serve = "import socket, sys; s = socket.create_server(('', int(sys.argv[1]))); s.settimeout(60); [s.accept() for i in range(9)]"
        with elsewhere() as guest, elsewhere() as world:
            behind(net.bridge, GUESTS[0], guest, "172.20.5.2")
            ip(f"link add up0 type veth peer name in0 netns /proc/{world.pid}/ns/net")
            ip("address add 198.51.100.2/24 dev up0")
            ip("link set up0 up")
            for words in ("link set in0 up", "address add 198.51.100.1/24 dev in0", "route add 172.20.5.0/24 via 198.51.100.2"):
                inside(world, "ip", *words.split())
            servers = [
                subprocess.Popen(["nsenter", f"--net=/proc/{guest.pid}/ns/net", "python3", "-c", serve, port]) for port in ("22", "8080")
            ]
            try:
                reach = ("python3", "-c", "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)")
                deadline = time.monotonic() + 20
                while inside(world, *reach, "198.51.100.2", "2202") and time.monotonic() < deadline:
                    time.sleep(0.2)
                assert inside(world, *reach, "198.51.100.2", "2202") == 0
                assert inside(world, *reach, "198.51.100.2", "2203") == 1, "nobody is there"
                assert inside(world, *reach, "172.20.5.2", "22") == 1, "its address is no way in"
                assert inside(world, *reach, "172.20.5.2", "8080") == 1
            finally:
                for server in servers:
                    server.kill()
                    server.wait()

    own_network(check)


@pytest.mark.parametrize(
    ("mine", "message"),
    [
        ({**PORTS, "bridge": "bn2", "address": "172.20.6.1", "guests": []}, "the ports 2200-2299 overlap with 2200-2299 of lab/demo"),
        (
            {**PORTS, "bridge": "bn2", "address": "172.20.6.1", "ports": [2000, 2200], "guests": []},
            "overlap with 2200-2299 of lab/demo: choose",
        ),
        (
            {**OPTIONS, "bridge": "bn2", "address": "172.20.0.1", "prefix": 16},
            "the control net 172.20.0.0/16 overlaps with 172.20.5.0/24 of lab/demo",
        ),
    ],
)
def test_what_another_experiment_has_is_refused(rundir: RunDir, own_network: Run, mine: dict[str, Any], message: str) -> None:
    def check() -> None:
        net = ControlNet.from_options(PORTS)
        create(rundir, net)
        # Its bridge may be gone: what it has said that it has counts.
        ip(f"link delete {net.bridge}")
        other = RunDir("lab", "demo2", "lab.demo2", rundir.root)
        other.create()
        with pytest.raises(LinkError, match=message):
            create(other, ControlNet.from_options(mine))
        assert not os.path.exists(f"{other.path}/control.json")
        assert tables(other.mark) == []
        create(other, ControlNet.from_options({**PORTS, "bridge": "bn2", "address": "172.20.6.1", "ports": [2300, 2399], "guests": []}))

    own_network(check)


def test_a_port_that_a_program_listens_at_is_refused(rundir: RunDir, own_network: Run) -> None:
    def check() -> None:
        with socket.create_server(("127.0.0.1", 2203)), pytest.raises(LinkError, match="port 2203 of b is a program's on this host"):
            create(rundir, ControlNet.from_options(PORTS))
        create(rundir, ControlNet.from_options(PORTS))

    own_network(check)


def test_addresses_in_the_labs_net_are_nobody_elses(rundir: RunDir, own_network: Run) -> None:
    def check() -> None:
        ip("link add up0 type veth peer name lab0")
        ip("link set up0 up")
        ip("address add 192.0.2.5/24 dev up0")
        create(rundir, ControlNet.from_options(BRIDGED))
        assert needs(rundir, ControlNet.from_options(BRIDGED)) == []
        assert tables(rundir.mark) == ["bridge bn12ab34cd"]
        other = RunDir("lab", "demo2", "lab.demo2", rundir.root)
        other.create()
        [guest] = BRIDGED["guests"]
        for change, message in (
            ({"mac": "02:00:00:00:00:99"}, "the control address 192.0.2.100 of a is that of a in lab/demo"),
            ({"address": "192.0.2.101"}, "the control MAC 02:00:00:00:00:0a of a is that of a in lab/demo"),
            ({"address": "192.0.2.5", "mac": "02:00:00:00:00:99"}, "192.0.2.5 of a is this host's own"),
        ):
            with pytest.raises(LinkError, match=message):
                create(other, ControlNet.from_options({**BRIDGED, "table": "bn2", "guests": [{**guest, **change}]}))
        create(
            other,
            ControlNet.from_options({**BRIDGED, "table": "bn2", "guests": [{**guest, "address": "192.0.2.7", "mac": "02:00:00:00:00:99"}]}),
        )

    own_network(check)


def test_guests_of_the_labs_server_have_their_macs_alone(rundir: RunDir) -> None:
    guest = {**BRIDGED["guests"][0], "address": ""}
    text = rules(rundir, ControlNet.from_options({**BRIDGED, "address": "", "prefix": 0, "guests": [guest]}))
    assert "table inet" not in text
    assert "udp sport 67 drop" in text
    assert '"bntapa" . 02:00:00:00:00:0a' in text


def test_one_kind_follows_another(rundir: RunDir, own_network: Run) -> None:
    def check() -> None:
        ip("link add up0 type veth peer name lab0")
        for words in ("link set up0 up", "address add 192.0.2.5/24 dev up0"):
            ip(words)
        none = {"mode": "none", "bridge": OPTIONS["bridge"]}
        kinds = [OPTIONS, PORTS, BRIDGED, none, BRIDGED, OPTIONS, none, none]
        for number, options in enumerate(kinds):
            net = ControlNet.from_options(options)
            again = number > 0 and kinds[number - 1] == options
            assert bool(needs(rundir, net)) is not again, (number, needs(rundir, net))
            create(rundir, net)
            assert needs(rundir, net) == [], number
            assert host_links.exists("control0") is (options is BRIDGED)
            assert host_links.exists(OPTIONS["bridge"]) is net.behind_host
            assert bool(tables(rundir.mark)) is (options is not none)
            assert host_links.addresses("control0" if options is BRIDGED else "up0") == ["192.0.2.5/24"]
        assert control_net.described(rundir)["state"] == "absent"

    own_network(check)


def test_it_is_described(rundir: RunDir, own_network: Run) -> None:
    def check() -> None:
        assert control_net.described(rundir)["state"] == "absent"
        create(rundir, ControlNet.from_options(PORTS))
        assert control_net.described(rundir) == {"state": "up", "mode": "ports", "name": "bn12ab34cd", "interface": "", "detail": ""}
        nft("delete table bridge bn12ab34cd")
        said = control_net.described(rundir)
        assert (said["state"], said["detail"]) == ("broken", "the control net is not as it was made: rules")
        ip("link add up0 type veth peer name lab0")
        for words in ("link set up0 up", "address add 192.0.2.5/24 dev up0"):
            ip(words)
        create(rundir, ControlNet.from_options({**BRIDGED, "deadline": 1}))
        assert "takes up0 out of control0 unless it is confirmed" in control_net.described(rundir)["detail"]
        deadline = time.monotonic() + 30
        while host_links.exists("control0") and time.monotonic() < deadline:
            time.sleep(0.1)
        said = control_net.described(rundir)
        assert (said["state"], said["interface"]) == ("broken", "up0")
        assert said["detail"] == "the host has taken up0 out of control0, since nobody reached it in time"

    own_network(check)

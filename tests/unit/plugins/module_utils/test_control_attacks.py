# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What root in a guest, or a file, may try with the control net, done to networks of the test's own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import guests, host_links
from ansible_collections.benito.testbed.plugins.module_utils.control_net import ControlNet, create, needs
from ansible_collections.benito.testbed.plugins.module_utils.guest import Guest
from ansible_collections.benito.testbed.plugins.module_utils.host_links import LinkError
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir, write_json

from .frames import ALL, arp, dhcp, elsewhere, ether, heard, inside, ipv4, tagged, tap, udp, wire

Run = Callable[[Callable[[], None]], None]
GUEST, OTHER, ROUTER = "02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:01"
NAT = {
    "mode": "nat",
    "bridge": "bn12ab34cd",
    "address": "172.20.5.1",
    "prefix": 24,
    "guests": [
        {"name": "a", "tap": "bntapa", "mac": GUEST, "address": "172.20.5.2"},
        {"name": "b", "tap": "bntapb", "mac": OTHER, "address": "172.20.5.3"},
    ],
}
BRIDGED = {
    "mode": "bridge",
    "bridge": "control0",
    "table": "bn12ab34cd",
    "address": "192.0.2.1",
    "prefix": 24,
    "subnet": "192.0.2.0/24",
    "interface": "up0",
    "guests": [{"name": "a", "tap": "bntapa", "mac": GUEST, "address": "192.0.2.100"}],
}
LEASED = {**BRIDGED, "address": "", "prefix": 0, "subnet": "", "guests": [{**BRIDGED["guests"][0], "address": ""}]}
OFFERED = "192.0.2.77"
KINDS = {
    "nat": (NAT, "172.20.5.2", "172.20.5.1"),
    "bridge": (BRIDGED, "192.0.2.100", "192.0.2.1"),
    "dhcp": (LEASED, "192.0.2.77", "192.0.2.1"),
}


def ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


@contextmanager
def lab() -> Iterator[subprocess.Popen[bytes]]:
    """A lab's net with its router, and in it a host by its interface up0."""
    with elsewhere() as router:
        ip(f"link add up0 type veth peer name lab0 address {ROUTER} netns /proc/{router.pid}/ns/net")
        for words in ("link set up0 up", "address add 192.0.2.5/24 dev up0"):
            ip(words)
        for words in ("link set lo up", "link set lab0 up", "address add 192.0.2.1/24 dev lab0"):
            assert inside(router, "ip", *words.split()) == 0
        ip("route add default via 192.0.2.1")
        yield router


def frames(own: str, router: str) -> dict[str, bytes]:
    """What no guest may send, each with its own words in it. ``own`` and ``router`` are addresses."""

    def sent(name: str, payload: bytes, target: str = ALL, source: str = GUEST, kind: int = 0x0800) -> bytes:
        return ether(target, source, kind, payload + name.encode())

    def datagram(name: str, source: str, target: str, sport: int, dport: int) -> bytes:
        return ipv4(source, target, 17, udp(sport, dport, name.encode()))

    found = {
        "an offer": ether(ALL, GUEST, 0x0800, datagram("an offer", own, "255.255.255.255", 67, 68)),
        "an offer to one": ether(ROUTER, GUEST, 0x0800, datagram("an offer to one", own, router, 67, 68)),
        "an offer from another port": ether(ROUTER, GUEST, 0x0800, datagram("an offer from another port", own, router, 6767, 68)),
        "half an offer": ether(ALL, GUEST, 0x0800, ipv4(own, router, 17, udp(67, 68, b"half an offer..."), fragment=0x2000)),
        "the router's address": sent("the router's address", arp(2, GUEST, router, ROUTER, own), kind=0x0806),
        "the router's address, asking": sent("the router's address, asking", arp(1, GUEST, router, ROUTER, own), kind=0x0806),
        "the router's MAC": sent("the router's MAC", arp(2, ROUTER, own, ROUTER, router), kind=0x0806),
        "another's MAC as source": ether(ROUTER, OTHER, 0x0800, datagram("another's MAC as source", own, router, 7, 7)),
        "the router's address as source": ether(ROUTER, GUEST, 0x0800, datagram("the router's address as source", router, own, 7, 7)),
        "reverse": sent("reverse", arp(4, GUEST, own, ROUTER, router), kind=0x8035),
        "an operation of ARP": sent("an operation of ARP", arp(9, GUEST, own, ROUTER, router), kind=0x0806),
        "a router of IPv6": sent("a router of IPv6", bytes(40), target="33:33:00:00:00:01", kind=0x86DD),
        "a spanning tree": ether("01:80:c2:00:00:00", GUEST, 38, b"\x42\x42\x03" + b"a spanning tree"),
        "a session": sent("a session", b"", kind=0x8863),
        "a name": ether("01:00:5e:00:00:fb", GUEST, 0x0800, datagram("a name", own, "224.0.0.251", 5353, 5353)),
        "an elected router": ether("01:00:5e:00:00:12", GUEST, 0x0800, ipv4(own, "224.0.0.18", 112, b"an elected router")),
        "a name to all": ether(ALL, GUEST, 0x0800, datagram("a name to all", own, own.rpartition(".")[0] + ".255", 137, 137)),
        "another way": ether(ROUTER, GUEST, 0x0800, ipv4(own, router, 1, b"\x05\x00\0\0\0\0\0\0another way")),
    }
    for kind, number in ((0x8100, 7), (0x8100, 0), (0x88A8, 7)):
        for name, frame in (
            ("offer", ether(ALL, GUEST, 0x0800, datagram(f"{kind} {number} offer", own, "255.255.255.255", 67, 68))),
            ("datagram", ether(ROUTER, GUEST, 0x0800, datagram(f"{kind} {number} datagram", own, router, 7, 7))),
            ("answer", sent(f"{kind} {number} answer", arp(2, GUEST, router, ROUTER, own), kind=0x0806)),
        ):
            found[f"{kind} {number} {name}"] = tagged(frame, number, kind)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_guest_may_not_send_does_not_pass_its_tap(rundir: RunDir, own_network: Run, kind: str) -> None:
    options, own, router = KINDS[kind]

    def check() -> None:
        with lab() as there:
            net = ControlNet.from_options(options)
            create(rundir, net)
            assert needs(rundir, net) == []
            host_links.add_tap("bntapa", net.bridge, rundir.mark)
            machine, line = tap("bntapa"), wire("lab0", there) if net.mode == "bridge" else wire(net.bridge)
            if kind == "dhcp":
                lend(line, machine, own)
            sent = frames(own, router)
            for frame in sent.values():
                os.write(machine, frame)
            own_words = {
                b"it asks": ether(ALL, GUEST, 0x0806, arp(1, GUEST, own, "00:00:00:00:00:00", router) + b"it asks"),
                b"it answers": ether(ROUTER, GUEST, 0x0806, arp(2, GUEST, own, ROUTER, router) + b"it answers"),
                b"the last": ether(ROUTER, GUEST, 0x0800, ipv4(own, router, 17, udp(68, 7, b"the last"))),
            }
            if net.mode == "nat":
                [link] = host_links.links("dev", net.bridge)
                own_words = {words: bytes.fromhex(link["address"].replace(":", "")) + frame[6:] for words, frame in own_words.items()}
            for frame in own_words.values():
                os.write(machine, frame)
            passed = heard(line, b"the last")
            assert not [name for name in sent if any(name.encode() in frame for frame in passed)]
            assert all(any(words in frame for frame in passed) for words in own_words)

    own_network(check)


def lend(line: Any, machine: int, *addresses: str, client: str = GUEST, target: str = GUEST) -> None:
    """Let the lab's DHCP server answer the guest, or another one."""
    for address in addresses:
        answer = dhcp(client, b"it is yours", address)
        line.send(
            ether(target, ROUTER, 0x0800, ipv4("192.0.2.1", address if target == GUEST else "255.255.255.255", 17, udp(67, 68, answer)))
        )
        heard(machine, b"it is yours")


@pytest.mark.parametrize("target", [GUEST, ALL])
def test_a_guest_speaks_with_what_the_labs_server_gave_it(rundir: RunDir, own_network: Run, target: str) -> None:
    def check() -> None:
        with lab() as there:
            net = ControlNet.from_options(LEASED)
            create(rundir, net)
            host_links.add_tap("bntapa", net.bridge, rundir.mark)
            machine, line = tap("bntapa"), wire("lab0", there)

            def passing() -> set[str]:
                """Return the addresses with which the guest is heard, and those for which it answers."""
                for last in range(70, 80):
                    address = f"192.0.2.{last}"
                    os.write(machine, ether(ROUTER, GUEST, 0x0800, ipv4(address, "192.0.2.1", 17, udp(7, 7, f"from {last}.".encode()))))
                    os.write(machine, ether(ROUTER, GUEST, 0x0806, arp(2, GUEST, address, ROUTER, "192.0.2.1") + f"I am {last}.".encode()))
                os.write(machine, ether(ALL, GUEST, 0x0806, arp(1, GUEST, "0.0.0.0", "00:00:00:00:00:00", OFFERED) + b"the last"))
                passed = b"".join(heard(line, b"the last"))
                return {word for last in range(70, 80) for word in (f"from {last}", f"I am {last}") if f"{word}.".encode() in passed}

            assert passing() == set()
            lend(line, machine, "192.0.2.75", client=OTHER, target=ALL)
            lend(line, machine, "192.0.2.5")
            assert passing() == set(), "what others get is theirs, and what is the host's stays so"
            lend(line, machine, OFFERED, target=target)
            assert passing() == {"from 77", "I am 77"}
            assert needs(rundir, net) == [], "that it has an address is no change"
            # It keeps it when the rules are made anew.
            more = {"name": "b", "tap": "bntapb", "mac": OTHER}
            create(rundir, ControlNet.from_options({**LEASED, "guests": [*LEASED["guests"], more]}))
            assert passing() == {"from 77", "I am 77"}
            # When they are lost it is what the guest says, unless somebody else has that address.
            os.makedirs(f"{rundir.guest('a')}/io")
            write_json(f"{rundir.guest('a')}/launch.json", {"name": "a", "kind": "qemu", "tap": "bntapa"})
            for address, passes in (("192.0.2.78", {"from 78", "I am 78"}), ("192.0.2.1", set()), ("192.0.2.74", set())):
                assert inside(there, "ip", "address", "replace", "192.0.2.74/24", "dev", "lab0") == 0
                Path(f"{rundir.guest('a')}/io/state").write_text(f"boot\ncontrol-address {address}\n")
                subprocess.run(["nft", "delete", "table", "bridge", net.table], check=True)
                assert needs(rundir, net) == ["rules"]
                create(rundir, net)
                assert passing() == passes

    own_network(check)


def test_a_guest_asks_the_labs_server_for_itself_alone(rundir: RunDir, own_network: Run) -> None:
    def check() -> None:
        with lab() as there:
            net = ControlNet.from_options(LEASED)
            create(rundir, net)
            host_links.add_tap("bntapa", net.bridge, rundir.mark)
            machine, line = tap("bntapa"), wire("lab0", there)
            lend(line, machine, OFFERED)

            def asks(client: str, source: str, words: bytes) -> None:
                os.write(machine, ether(ALL, GUEST, 0x0800, ipv4(source, "255.255.255.255", 17, udp(68, 67, dhcp(client, words)))))

            asks(OTHER, "0.0.0.0", b"for another")
            asks(GUEST, "192.0.2.1", b"as the router")
            asks(GUEST, "192.0.2.77", b"once more")
            asks(GUEST, "0.0.0.0", b"for itself")
            passed = b"".join(heard(line, b"for itself"))
            assert b"once more" in passed
            assert b"for another" not in passed
            assert b"as the router" not in passed
            # With an address of its own a guest does not ask at all.
            net = ControlNet.from_options(BRIDGED)
            create(rundir, net)
            asks(GUEST, "0.0.0.0", b"in vain")
            os.write(machine, ether(ROUTER, GUEST, 0x0800, ipv4("192.0.2.100", "192.0.2.1", 17, udp(7, 7, b"the last"))))
            assert b"in vain" not in b"".join(heard(line, b"the last"))

    own_network(check)


@pytest.mark.parametrize("kind", ["bridge", "dhcp"])
def test_a_guest_hears_what_is_for_it_alone(rundir: RunDir, own_network: Run, kind: str) -> None:
    def check() -> None:
        with lab() as there:
            net = ControlNet.from_options(KINDS[kind][0])
            create(rundir, net)
            host_links.add_tap("bntapa", net.bridge, rundir.mark)
            machine, line = tap("bntapa"), wire("lab0", there)
            own = KINDS[kind][1]
            datagram = ipv4("192.0.2.1", own, 17, udp(7, 7, b"for another"))
            for frame in (
                ether(OTHER, ROUTER, 0x0800, datagram),
                tagged(ether(GUEST, ROUTER, 0x0800, datagram), 7),
                ether("33:33:00:00:00:01", ROUTER, 0x86DD, b"for another"),
                ether("01:00:5e:00:00:fb", ROUTER, 0x0800, ipv4("192.0.2.1", "224.0.0.251", 17, udp(5353, 5353, b"for another"))),
                ether(ALL, ROUTER, 0x0806, arp(1, ROUTER, "192.0.2.1", "00:00:00:00:00:00", own) + b"who is it"),
                ether(GUEST, ROUTER, 0x0800, ipv4("192.0.2.1", own, 17, udp(7, 7, b"the last"))),
            ):
                line.send(frame)
            passed = heard(machine, b"the last")
            assert not [frame for frame in passed if b"for another" in frame]
            assert any(b"who is it" in frame for frame in passed)

    own_network(check)


REACH = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1)"
ASK = (
    "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(1); "
    "s.sendto(b'x', (sys.argv[1], int(sys.argv[2]))); s.recv(9)"
)
SERVE = (
    "import select, socket\n"
    "tcp = [socket.create_server(('', port)) for port in (22, 80, 53)]\n"
    "udp = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for port in (53, 5353)]\n"
    "[s.bind(('', port)) for s, port in zip(udp, (53, 5353))]\n"
    "for s in udp: s.setsockopt(socket.IPPROTO_IP, 8, 1)\n"
    "while True:\n"
    "    for s in select.select(tcp + udp, [], [])[0]:\n"
    "        if s in tcp: s.accept()\n"
    "        else:\n"
    "            data, control, flags, peer = s.recvmsg(99, 99)\n"
    "            at = control[0][2][4:8]\n"
    "            s.sendmsg([data], [(socket.IPPROTO_IP, 8, bytes(4) + at + bytes(4))], 0, peer)\n"
)
PUBLIC, PRIVATE, METADATA, SERVER, CARRIER = "203.0.113.9", "10.9.9.9", "169.254.169.254", "10.9.9.53", "100.64.3.3"


class World:
    """Everything outside of a host: a public machine, one of the private LAN, a cloud's metadata, the host's name server."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        ip(f"link add up0 type veth peer name in0 netns /proc/{process.pid}/ns/net")
        for words in ("address add 198.51.100.2/24 dev up0", "link set up0 up", "route add default via 198.51.100.1"):
            ip(words)
        for words in ("link set lo up", "link set in0 up", "address add 198.51.100.1/24 dev in0"):
            assert inside(process, "ip", *words.split()) == 0
        for address in (PUBLIC, PRIVATE, METADATA, SERVER, CARRIER):
            assert inside(process, "ip", "address", "add", f"{address}/32", "dev", "lo") == 0


def behind(net: ControlNet, number: int, machine: subprocess.Popen[bytes]) -> None:
    """Let another network stand for a guest, with the name of its TAP."""
    guest = net.guests[number]
    ip(f"link add {guest.tap} type veth peer name eth0 address {guest.mac} netns /proc/{machine.pid}/ns/net")
    ip(f"link set {guest.tap} master {net.bridge} up")
    lines = ("link set lo up", "link set eth0 up", f"address add {guest.address}/24 dev eth0", f"route add default via {net.address}")
    for words in lines:
        assert inside(machine, "ip", *words.split()) == 0


def reaches(machine: subprocess.Popen[bytes], address: str, port: int, program: str = REACH) -> bool:
    return inside(machine, "python3", "-c", program, address, str(port)) == 0


@contextmanager
def serving(*machines: subprocess.Popen[bytes]) -> Iterator[None]:
    """Serve in these networks, at all addresses."""
    servers = [subprocess.Popen(["nsenter", f"--net=/proc/{m.pid}/ns/net", "python3", "-c", SERVE]) for m in machines]
    try:
        for machine in machines:
            while not reaches(machine, "127.0.0.1", 53, ASK):
                assert all(server.poll() is None for server in servers)
        yield
    finally:
        for server in servers:
            server.kill()
            server.wait()


@pytest.mark.parametrize(
    ("egress", "reached"),
    [
        (None, {PUBLIC, "dns"}),
        ({"mode": "public"}, {PUBLIC, "dns"}),
        ({"mode": "none"}, set()),
        ({"mode": "all"}, {PUBLIC, PRIVATE, METADATA, SERVER, CARRIER, "dns"}),
        ({"mode": "networks", "networks": ["10.9.9.0/29", "10.9.9.8/29"]}, {PRIVATE, "dns"}),
    ],
)
def test_what_a_guest_reaches_as_its_host(
    rundir: RunDir, own_network: Run, tmp_path: Path, egress: dict[str, Any] | None, reached: set[str]
) -> None:
    servers = tmp_path / "resolv.conf"
    servers.write_text(f"nameserver {SERVER}\n")

    def check() -> None:
        subprocess.run(["mount", "--bind", str(servers), "/etc/resolv.conf"], check=True)
        with elsewhere() as world, elsewhere() as machine:
            World(world)
            options = {**NAT, "mode": "ports", "ports": [2200, 2299], "guests": [{**NAT["guests"][0], "port": 2202}]}
            net = ControlNet.from_options({**options, **({"egress": egress} if egress else {})})
            create(rundir, net)
            assert needs(rundir, net) == []
            behind(net, 0, machine)
            with serving(world, machine):
                found = {address for address in (PUBLIC, PRIVATE, METADATA, SERVER, CARRIER) if reaches(machine, address, 80)}
                if reaches(machine, SERVER, 53, ASK) and reaches(machine, SERVER, 53):
                    found.add("dns")
                assert found == reached
                assert reaches(machine, SERVER, 5353, ASK) is (SERVER in reached)
                assert reaches(world, "198.51.100.2", 2202), "who asks from outside is answered"
                assert not reaches(world, "172.20.5.2", 22)

    own_network(check)


def test_a_narrower_rule_ends_what_was_begun(rundir: RunDir, own_network: Run) -> None:
    def check() -> None:
        with elsewhere() as world, elsewhere() as machine:
            World(world)
            create(rundir, ControlNet.from_options({**NAT, "egress": {"mode": "all"}}))
            net = ControlNet.from_options({**NAT, "egress": {"mode": "none"}})
            behind(net, 0, machine)
            talk = (
                "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(1); s.connect((sys.argv[1], 53))\n"
                "s.send(b'x'); s.recv(9); print('begun', flush=True); sys.stdin.readline(); s.send(b'y'); s.recv(9)"
            )
            argv = ["nsenter", f"--net=/proc/{machine.pid}/ns/net", "python3", "-c", talk, PRIVATE]
            with serving(world), subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as talking:
                assert talking.stdout is not None
                assert talking.stdout.readline() == b"begun\n"
                assert needs(rundir, net) == ["rules"]
                create(rundir, net)
                talking.communicate(b"\n", timeout=30)
                assert talking.returncode == 1

    own_network(check)


def test_no_guest_gets_at_those_of_another_experiment(rundir: RunDir, own_network: Run) -> None:
    def check() -> None:
        with elsewhere() as world, elsewhere() as machine, elsewhere() as other:
            World(world)
            mine = {"mode": "ports", "ports": [2200, 2299], "guests": [{**NAT["guests"][0], "port": 2202}], "egress": {"mode": "all"}}
            first = ControlNet.from_options({**NAT, **mine})
            create(rundir, first)
            second = RunDir("lab", "demo2", "lab.demo2", rundir.root)
            second.create()
            guest = {**NAT["guests"][1], "address": "172.20.6.2"}
            theirs = ControlNet.from_options(
                {**NAT, "bridge": "bn2", "address": "172.20.6.1", "guests": [guest], "egress": {"mode": "all"}}
            )
            create(second, theirs)
            behind(first, 0, machine)
            behind(theirs, 0, other)
            with serving(world, machine):
                assert reaches(other, PRIVATE, 80)
                for address, port in (("172.20.5.2", 22), ("198.51.100.2", 2202), ("172.20.5.1", 2202), ("172.20.6.1", 2202)):
                    assert not reaches(other, address, port), (address, port)

    own_network(check)


# What the host itself uses


@pytest.mark.parametrize(
    ("address", "prefix", "message"),
    [
        ("169.254.169.249", 28, "holds addresses that are no machine's"),
        ("127.7.0.1", 24, "holds addresses that are no machine's"),
        ("0.1.0.1", 24, "holds addresses that are no machine's"),
        ("224.0.1.1", 24, "holds addresses that are no machine's"),
        ("255.255.255.1", 24, "holds addresses that are no machine's"),
        ("8.8.8.1", 24, "is not private"),
        ("10.9.9.49", 28, "holds 10.9.9.53, and this host has its name server 10.9.9.53"),
        ("10.77.0.1", 16, "holds 10.77.3.0/24, to which this host has a route over up0"),
        ("10.78.0.1", 24, "holds 10.78.0.0/24, to which this host has a route of type blackhole"),
        ("10.66.0.1", 16, "holds 10.66.0.1, and this host has its gateway 10.66.0.1"),
        ("192.168.9.1", 24, "holds 192.168.9.33, and this host has its ssh connection with 192.168.9.33"),
        ("198.51.100.129", 25, "overlaps with 198.51.100.0/24 of up0"),
    ],
)
def test_no_control_net_takes_over_what_the_host_talks_to(
    rundir: RunDir, own_network: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, prefix: int, message: str
) -> None:
    servers = tmp_path / "resolv.conf"
    servers.write_text("nameserver 127.0.0.53\nnameserver 10.9.9.53\n")
    program = (
        "import sys\n"
        f"from {create.__module__} import ControlNet, create, LinkError\n"
        f"from {RunDir.__module__} import RunDir\n"
        f"net = ControlNet.from_options({ {**NAT, 'address': address, 'prefix': prefix, 'guests': []}!r})\n"
        f"rundir = RunDir('lab', 'demo', 'lab.demo', {rundir.root!r})\n"
        "try:\n    create(rundir, net)\nexcept LinkError as error:\n    print(error)\n"
    )

    def check() -> None:
        subprocess.run(["mount", "--bind", str(servers), "/etc/resolv.conf"], check=True)
        with elsewhere() as world:
            World(world)
            for words in (
                "route add 10.77.3.0/24 via 198.51.100.1 table 77",
                "route add blackhole 10.78.0.0/24",
                "route add 203.0.113.0/24 table 78 nexthop via 198.51.100.1 nexthop via 10.66.0.1 dev up0 onlink",
            ):
                ip(words)
            environment = {**os.environ, "SSH_CONNECTION": "192.168.9.33 4711 198.51.100.2 22", "PYTHONPATH": ":".join(os.sys.path)}
            done = subprocess.run([os.sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
            assert message in done.stdout, done
            assert "choose another with control_subnet" in done.stdout
            assert not host_links.exists(NAT["bridge"])
            assert os.listdir(rundir.root) == [rundir.id]

    own_network(check)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"address": "192.0.2.1"}, "192.0.2.1 of a is that of the guests' gateway"),
        ({"address": "192.0.2.5"}, "192.0.2.5 of a is this host's own"),
        ({"address": "192.0.2.53"}, "192.0.2.53 of a belongs to a machine of the lab, and this host has its name server"),
        ({"address": "192.0.2.54"}, "192.0.2.54 of a belongs to a machine of the lab, and this host has its gateway"),
        ({"address": "192.0.3.9"}, "192.0.3.9 of a is no machine's in the control net 192.0.2.0/24"),
        ({"address": "192.0.2.255"}, "192.0.2.255 of a is no machine's in the control net"),
        ({"mac": "52:54:00:00:00:01"}, ""),
        ({"mac": "00:16:3e:00:00:01"}, "must be a locally administered one"),
        ({"mac": "03:00:00:00:00:01"}, "must be a locally administered one"),
        ({"mac": "ff:ff:ff:ff:ff:ff"}, "must be a locally administered one"),
        ({"mac": ROUTER}, "the control MAC 02:00:00:00:00:01 of a is that of its gateway 192.0.2.1 of this host"),
        ({"mac": "02:00:00:00:00:77"}, "the control MAC 02:00:00:00:00:77 of a is that of the interface up0"),
    ],
)
def test_no_guest_is_a_machine_of_the_labs(rundir: RunDir, own_network: Run, tmp_path: Path, change: dict[str, str], message: str) -> None:
    servers = tmp_path / "resolv.conf"
    servers.write_text("nameserver 192.0.2.53\n")

    def check() -> None:
        subprocess.run(["mount", "--bind", str(servers), "/etc/resolv.conf"], check=True)
        with lab():
            ip("link set up0 address 02:00:00:00:00:77")
            ip("route add 10.0.0.0/8 via 192.0.2.54")
            assert subprocess.run(["ping", "-c1", "-W2", "192.0.2.1"], check=False, capture_output=True).returncode == 0
            net = ControlNet.from_options({**BRIDGED, "guests": [{**BRIDGED["guests"][0], **change}]})
            if message:
                with pytest.raises(LinkError, match=message):
                    create(rundir, net)
                assert not host_links.exists("control0")
            else:
                create(rundir, net)

    own_network(check)


def test_an_address_that_is_in_use_is_not_given_away(rundir: RunDir, own_network: Run) -> None:
    def check() -> None:
        with lab() as router, elsewhere() as machine:
            net = ControlNet.from_options(BRIDGED)
            assert inside(router, "ip", "address", "add", "192.0.2.100/24", "dev", "lab0") == 0
            with pytest.raises(LinkError, match=f"192.0.2.100 of a is in use: {ROUTER} answers for it; choose another"):
                create(rundir, net)
            assert not host_links.exists("control0")
            assert not os.path.exists(f"{rundir.path}/control.json")
            assert inside(router, "ip", "address", "del", "192.0.2.100/24", "dev", "lab0") == 0
            create(rundir, net)
            # The guest that has it answers, too, and keeps it.
            behind(net, 0, machine)
            subprocess.run(["nft", "delete", "table", "bridge", "bn12ab34cd"], check=True)
            create(rundir, net)
            assert needs(rundir, net) == []
            assert inside(router, "ping", "-c1", "-W2", "192.0.2.100") == 0
            # Who takes it behind our backs is found when the rules are made anew.
            assert inside(router, "ip", "address", "add", "192.0.2.100/24", "dev", "lab0") == 0
            subprocess.run(["nft", "delete", "table", "bridge", "bn12ab34cd"], check=True)
            with pytest.raises(LinkError, match="is in use"):
                create(rundir, net)

    own_network(check)


def test_no_guest_gets_into_the_net_before_its_rules(
    rundir: RunDir, own_network: Run, make_guest: Callable[..., Guest], around: Any
) -> None:
    def check() -> None:
        with lab():
            create(rundir, ControlNet.from_options(BRIDGED))
            [known] = BRIDGED["guests"]
            surroundings = replace(around, control={"bridge": "control0", "prefix": 24, "address": "192.0.2.1"})
            pace = guests.Pace(1, 1.0)

            def start(**control: str) -> None:
                guests.started(surroundings, [make_guest(interfaces=0, control={**known, **control})], pace, check=False)

            for control in ({"tap": "bntapx"}, {"mac": "02:00:00:00:00:99"}):
                with pytest.raises(LinkError, match=r"list it in control\.guests"):
                    start(**control)
            subprocess.run(["nft", "flush", "chain", "bridge", "bn12ab34cd", "from_guest"], check=True)
            with pytest.raises(LinkError, match="the rules of the control net are not in force"):
                start()
            assert host_links.ports("control0") == ["up0"]

    own_network(check)


def test_a_tap_is_isolated_before_it_is_up(own_network: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    run = host_links.run

    def record(argv: Any, text: str | None = None) -> str:
        said.extend([*(text or "").splitlines(), " ".join(argv)])
        return run(argv, text)

    def check() -> None:
        monkeypatch.setattr(host_links, "run", record)
        host_links.add_bridge("bn0", "172.20.5.1/24", "mark")
        host_links.add_tap("bntap", "bn0", "mark")
        assert host_links.is_attached("bntap", "bn0")
        steps = [line for line in said if "bntap" in line and (" isolated " in line or line.split()[-1] == "up")]
        assert [line.split()[-1] for line in steps] == ["on", "up"]

    own_network(check)

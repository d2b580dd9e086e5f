# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's interface goes into the bridge and comes back exactly, in a network of the test's own, seen from another one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import control_bridge, host_links
from ansible_collections.benito.testbed.plugins.module_utils.control_bridge import BRIDGE, confirm, pending, release, stands, take
from ansible_collections.benito.testbed.plugins.module_utils.host_links import LinkError
from ansible_collections.benito.testbed.plugins.module_utils.processes import alive, marked
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir, write_json

Run = Callable[[Callable[[], None]], None]
MARK = "/tmp/bn:lab/demo"


def ip(words: str) -> str:
    return subprocess.run(["ip", *words.split()], check=True, capture_output=True, text=True).stdout


def settled() -> None:
    """Wait until IPv6 has found that nobody else on the link has up0's own address: it takes the link a second or two."""
    deadline = time.monotonic() + 20
    while not ip("-6 address show dev up0 scope link -tentative").strip():
        assert time.monotonic() < deadline, ip("address show dev up0")
        time.sleep(0.05)


@contextlib.contextmanager
def lab() -> Iterator[Callable[..., int]]:
    """A host with one interface, up0, in a lab; yields a ping from the lab's router to the host."""
    with subprocess.Popen(["unshare", "--net", "sleep", "300"]) as router:
        while os.readlink(f"/proc/{router.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            time.sleep(0.01)
        inside = ["nsenter", f"--net=/proc/{router.pid}/ns/net"]
        try:
            ip(f"link add up0 type veth peer name lab0 netns /proc/{router.pid}/ns/net")
            for words in (
                "link set lo up",
                "address add 192.0.2.1/24 dev lab0",
                "address add 2001:db8::1/64 dev lab0 nodad",
                "link set lab0 up",
            ):
                subprocess.run([*inside, "ip", *words.split()], check=True)
            for words in (
                "link set up0 mtu 1400 address 02:00:00:00:00:77",
                "link set up0 up",
                "address add 192.0.2.5/24 broadcast 192.0.2.255 dev up0 metric 50",
                "address add 192.0.2.6/24 dev up0 label up0:one valid_lft 5000 preferred_lft 4000",
                "address add 203.0.113.5/32 dev up0 scope host noprefixroute",
                "address add 2001:db8::5/64 dev up0 nodad",
                "address add 2001:db8::6/64 dev up0 nodad noprefixroute",
                "route add default via 192.0.2.1 dev up0 proto dhcp src 192.0.2.5 metric 100",
                "route add default via 192.0.2.1 dev up0 metric 300 mtu 1300",
                "route add 198.51.100.0/24 via 192.0.2.1 dev up0 table 77",
                "route add 203.0.113.128/25 dev up0 scope link",
                "-6 route add default via 2001:db8::1 dev up0 metric 1024 pref high",
                "-6 route add 2001:db8:7::/64 dev up0 metric 5",
            ):
                ip(words)
            settled()
            yield (
                lambda address: (
                    subprocess.run(
                        [*inside, "ping", "-c", "1", "-W", "2", address], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                    ).returncode
                )
            )
        finally:
            router.kill()


def everything() -> dict[str, Any]:
    """What the interface has, as ip shows it, without what only time changes."""
    [link] = json.loads(ip("-json -details address show dev up0"))
    for address in link["addr_info"]:
        for key in ("valid_life_time", "preferred_life_time"):
            address[key] = address[key] if address[key] == control_bridge.FOREVER else "lent"
    kept = {key: link[key] for key in ("mtu", "address", "operstate", "addr_info", "promiscuity")}
    routes = [json.loads(ip(f"-json {family} route show table all")) for family in ("-4", "-6")]
    return {**kept, "master": link.get("master"), "flags": sorted(link["flags"]), "routes": [sorted(map(str, found)) for found in routes]}


def experiment(root: str, name: str) -> RunDir:
    """Make an experiment that has said that it needs the bridge."""
    made = RunDir("lab", name, f"lab.{name}", root)
    made.create()
    write_json(f"{made.path}/control.json", {"claim": {"mode": "bridge"}})
    return made


def test_everything_moves_and_comes_back(root: str, own_network: Run) -> None:
    def inside() -> None:
        with lab() as ping:
            before = everything()
            assert control_bridge.needs(root, "") == "not there"
            assert ping("192.0.2.5") == 0
            rundir = experiment(root, "demo")
            assert take(root, "", 30, rundir.mark) is True
            assert pending(root)
            assert stands(root)
            assert control_bridge.needs(root, "") == ""
            [bridge] = host_links.links("dev", BRIDGE)
            assert (bridge["address"], bridge["mtu"], bridge["ifalias"]) == ("02:00:00:00:00:77", 1400, f"{root}:control0:up0")
            assert host_links.ports(BRIDGE) == ["up0"]
            assert host_links.addresses("up0") == []
            assert host_links.addresses(BRIDGE) == [f"{a['local']}/{a['prefixlen']}" for a in before["addr_info"] if a["family"] == "inet"]
            for address in ("192.0.2.5", "192.0.2.6", "2001:db8::5", "2001:db8::6"):
                assert ping(address) == 0, address
            routes = ip("route show") + ip("-6 route show") + ip("route show table 77")
            assert "dev up0" not in routes.replace("fe80::/64 dev up0", "")
            for route in (
                "default via 192.0.2.1 dev control0 proto dhcp src 192.0.2.5 metric 100",
                "2001:db8:7::/64 dev control0 metric 5",
            ):
                assert route in routes
            process = control_bridge.watchdog(root)
            assert alive(process)
            confirm(root)
            assert not pending(root)
            assert not alive(process)
            confirm(root)
            assert take(root, "", 30, rundir.mark) is False
            assert release(root) is False, "the experiment still needs it"
            os.unlink(f"{rundir.path}/control.json")
            assert control_bridge.unused(root) == "up0"
            assert release(root) is True
            assert everything() == before
            assert ping("192.0.2.5") == 0
            assert not os.path.exists(control_bridge.home(root))
            assert release(root) is False

    own_network(inside)


def test_the_host_takes_it_back_when_nobody_confirms(root: str, own_network: Run) -> None:
    def inside() -> None:
        with lab() as ping:
            before = everything()
            rundir = experiment(root, "demo")
            take(root, "", 2, rundir.mark)
            process = control_bridge.watchdog(root)
            # The one who started it may be gone: nothing but the watchdog acts.
            deadline = time.monotonic() + 30
            while (alive(process) or everything() != before) and time.monotonic() < deadline:
                time.sleep(0.1)
            assert everything() == before
            assert ping("192.0.2.5") == 0
            assert not host_links.exists(BRIDGE)
            assert control_bridge.needs(root, "") == "taken back by the host"
            with pytest.raises(LinkError, match=r"nobody could reach this host by control0 in time, and it has taken up0 back"):
                confirm(root)
            assert take(root, "", 30, rundir.mark) is True
            confirm(root)
            assert stands(root)
            os.unlink(f"{rundir.path}/control.json")
            release(root)
            assert everything() == before

    own_network(inside)


def test_leaving_while_the_watchdog_waits(root: str, own_network: Run) -> None:
    def inside() -> None:
        with lab():
            before = everything()
            rundir = experiment(root, "demo")
            take(root, "up0", 30, rundir.mark)
            process = control_bridge.watchdog(root)
            os.unlink(f"{rundir.path}/control.json")
            release(root)
            assert not alive(process)
            assert everything() == before

    own_network(inside)


def test_experiments_share_it_and_the_last_one_gives_it_back(root: str, own_network: Run) -> None:
    def inside() -> None:
        with lab():
            before = everything()
            one, other = experiment(root, "one"), experiment(root, "other")
            take(root, "", 30, one.mark)
            confirm(root)
            assert take(root, "", 30, other.mark) is False
            with pytest.raises(LinkError, match="control0 of this host carries up0 already, not lo"):
                take(root, "lo", 30, other.mark)
            assert control_bridge.users(root) == ["lab/one", "lab/other"]
            os.unlink(f"{one.path}/control.json")
            assert release(root) is False
            host_links.add_tap("bntap", BRIDGE, other.mark)
            os.unlink(f"{other.path}/control.json")
            assert control_bridge.users(root) == ["bntap"], "a guest whose records are lost"
            assert release(root) is False
            host_links.delete("bntap")
            assert release(root) is True
            assert everything() == before

    own_network(inside)


def test_records_that_are_lost(root: str, own_network: Run) -> None:
    def inside() -> None:
        with lab() as ping:
            rundir = experiment(root, "demo")
            take(root, "", 30, rundir.mark)
            confirm(root)
            os.unlink(f"{rundir.path}/control.json")
            os.unlink(f"{control_bridge.home(root)}/state.json")
            assert control_bridge.unused(root) == "up0"
            assert release(root) is True
            assert not host_links.exists(BRIDGE)
            assert {"192.0.2.5/24", "192.0.2.6/24"} <= set(host_links.addresses("up0"))
            assert "default via 192.0.2.1 dev up0" in ip("route show")
            assert [ping(address) for address in ("192.0.2.5", "2001:db8::5")] == [0, 0]

    own_network(inside)


def test_a_host_that_started_anew(root: str, own_network: Run) -> None:
    def inside() -> None:
        with lab():
            rundir = experiment(root, "demo")
            take(root, "", 30, rundir.mark)
            confirm(root)
            # As a new boot would leave it: other addresses, no bridge, and what an earlier boot wrote down.
            ip(f"link delete {BRIDGE}")
            ip("address add 192.0.2.99/24 dev up0")
            record = control_bridge.state(root)
            write_json(f"{control_bridge.home(root)}/state.json", {**record, "boot": "earlier"})
            assert not stands(root)
            os.unlink(f"{rundir.path}/control.json")
            assert release(root) is False
            assert host_links.addresses("up0") == ["192.0.2.99/24"]
            ip("route add default via 192.0.2.1")
            assert take(root, "", 30, rundir.mark) is True
            confirm(root)
            assert control_bridge.state(root)["addresses"][0]["local"] == "192.0.2.99"
            release(root)

    own_network(inside)


def test_half_way_is_no_way(root: str, own_network: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def inside() -> None:
        with lab():
            before = everything()
            rundir = experiment(root, "demo")
            right = control_bridge.taking
            monkeypatch.setattr(control_bridge, "taking", lambda root, had: [*right(root, had)[:-2], "route add nonsense dev nowhere"])
            with pytest.raises(LinkError):
                take(root, "", 30, rundir.mark)
            assert everything() == before
            assert not os.path.exists(control_bridge.home(root))
            assert not list(marked(rundir.mark, root))

    own_network(inside)


def test_interfaces_that_cannot_be_bridged(root: str, own_network: Run) -> None:
    def inside() -> None:
        with pytest.raises(LinkError, match="no default route: say with control_interface"):
            take(root, "", 30, MARK)
        with pytest.raises(LinkError, match="this host has no interface eth7"):
            take(root, "eth7", 30, MARK)
        with pytest.raises(LinkError, match="lo cannot be in a bridge"):
            take(root, "lo", 30, MARK)
        for words in ("link add br7 type bridge", "link add eth7 type veth peer name eth8", "link set eth7 master br7 up"):
            ip(words)
        for name in ("br7", "eth7"):
            with pytest.raises(LinkError, match=f"{name} is a bridge or in one already"):
                take(root, name, 30, MARK)
        for words in ("link set eth8 up", "address add 192.0.2.5/24 dev eth8"):
            ip(words)
        ip("route add 198.51.100.0/24 nexthop via 192.0.2.1 dev eth8 nexthop via 192.0.2.2 dev eth8")
        with pytest.raises(LinkError, match=r"the route 198\.51\.100\.0/24 has several next hops, one over eth8"):
            take(root, "eth8", 30, MARK)
        ip("route del 198.51.100.0/24")
        ip(f"link add {BRIDGE} type bridge")
        with pytest.raises(LinkError, match="interface control0 already which is not ours"):
            take(root, "eth8", 30, MARK)
        assert not os.path.exists(control_bridge.home(root))

    own_network(inside)


def test_a_watchdog_that_was_killed_does_not_matter_once_confirmed(root: str, own_network: Run) -> None:
    def inside() -> None:
        with lab():
            before = everything()
            rundir = experiment(root, "demo")
            take(root, "", 30, rundir.mark)
            process = control_bridge.watchdog(root)
            assert process
            os.kill(process.pid, signal.SIGKILL)
            confirm(root)
            os.unlink(f"{rundir.path}/control.json")
            release(root)
            assert everything() == before

    own_network(inside)


def test_nothing_is_there(root: str) -> None:
    assert not pending(root) and not stands(root)
    assert control_bridge.unused(root) == ""
    assert release(root) is False
    assert Path(root).exists()

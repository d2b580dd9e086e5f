# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real interfaces of the host as those of a physical node: one end of a veth, whose other end is somebody else's machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import (
    control_bridge,
    host_links,
    host_networks,
    node_supervisor,
    process_nodes,
    real_interfaces,
    sweep,
    tunnels,
)
from ansible_collections.benito.testbed.plugins.module_utils.guest import GuestError
from ansible_collections.benito.testbed.plugins.module_utils.host_links import LinkError
from ansible_collections.benito.testbed.plugins.module_utils.process_nodes import Around, Node
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir

Run = Callable[[Callable[[], None]], None]
PACE = node_supervisor.Pace(boot_timeout=60, command_wait=1.5)
FAR = "far"
pytestmark = pytest.mark.usefixtures("root_user", "account")


def described(device: str = "real0", address: str = "10.99.0.1", **more: Any) -> dict[str, Any]:
    """Describe a physical node with one real interface."""
    nic = {"name": "inf000", "substrate": "lan0", "switch": "", "port": 0, "mac": "", "real": True}
    return {"name": "p", "kind": "physical", "interfaces": [{**nic, "device": device, "address": address, "prefix": 24}], **more}


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True, timeout=60).stdout


def facts(device: str) -> dict[str, Any]:
    """Everything there is to say of an interface, but what the kernel counts."""
    [link] = json.loads(ip("-json", "-details", "address", "show", "dev", device))
    routes = ip("-4", "route", "show", "table", "all", "dev", device)
    settings = {
        str(path): path.read_text()
        for which in ("ipv4", "ipv6")
        for path in sorted(Path(f"/proc/sys/net/{which}/conf/{device}").iterdir())
        if os.access(path, os.R_OK) and path.name not in ("stable_secret", "mc_forwarding", "forwarding")
    }
    found = {key: link.get(key) for key in ("flags", "mtu", "ifalias", "promiscuity", "address", "master", "group")}
    return {**found, "ipv4": host_links.inet(link), "routes": routes, **settings}


class Host:
    """A host of its own with an interface that leads to another machine, `far`, and an experiment on it."""

    def __init__(self, rundir: RunDir) -> None:
        self.rundir = rundir
        self.around = Around(rundir, [["p", "lan0", 0, "10.99.0.1"], ["far", "lan0", 0, "10.99.0.2"]])

    def up(self, *nodes: dict[str, Any], check: bool = False) -> dict[str, Any]:
        """Bring the node up; its result."""
        made = [Node.from_options(node) for node in nodes]
        found = process_nodes.started(self.around, made, PACE, True, check)
        return next((result for result in found if result["name"] == "p"), {})

    def down(self) -> None:
        process_nodes.absent(self.around, ["p"], PACE, False)

    def sweep(self) -> list[str]:
        rundir = self.rundir
        remains = sweep.find(rundir.project, rundir.experiment, rundir.root)
        sweep.sweep(remains, rundir.root)
        return remains.lines()

    def keeper(self) -> int:
        found = node_supervisor.keeper(self.rundir)
        assert found
        return found.pid


@pytest.fixture
def on_host(
    own_network: Run, rundir: RunDir, account: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., None]]:
    """Run a test on such a host, whose network and /etc/hosts are nobody else's."""
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n")

    def run(test: Callable[[Host], None]) -> None:
        def inside() -> None:
            subprocess.run(["mount", "--bind", str(hosts), "/etc/hosts"], check=True)
            os.makedirs("/run/netns", exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run/netns"], check=True)
            for command in (
                f"netns add {FAR}",
                "link add real0 type veth peer name far0",
                "link add real1 type veth peer name far1",
                f"link set far0 netns {FAR}",
                f"-n {FAR} address add 10.99.0.2/24 dev far0",
                f"-n {FAR} link set far0 up",
                f"-n {FAR} link set lo up",
                "link add out0 type veth peer name out1",
                "address add 192.0.2.2/24 dev out0",
                "link set out0 up",
                "route add default via 192.0.2.1",
                "link set real0 alias uplink\\ of\\ ours",
            ):
                ip(*[word.replace("\\", " ") for word in command.replace("\\ ", "\\").split()])
            Path("/proc/sys/net/ipv4/conf/real0/rp_filter").write_text("2")
            subprocess.run(["sysctl", "-qw", "net.ipv4.ip_forward=0"], check=True)
            host = Host(rundir)
            try:
                test(host)
            finally:
                process_nodes.clear(rundir)

        own_network(inside)

    yield run


def far_pings(address: str) -> bool:
    return subprocess.run(["ip", "netns", "exec", FAR, "ping", "-c1", "-W3", address], capture_output=True, check=False).returncode == 0


def pings(name: str) -> bool:
    return subprocess.run(["ping", "-c1", "-W3", name], capture_output=True, check=False).returncode == 0


def until(condition: Callable[[], object], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(condition())


@pytest.mark.parametrize("state", ["up", "down"])
def test_it_is_the_node_s_and_afterwards_as_before(on_host: Callable[..., None], state: str) -> None:
    def test(host: Host) -> None:
        ip("link", "set", "real0", state)
        before, table = facts("real0"), ip("-4", "route", "show", "table", "all")
        node = described(routes=[{"to": "10.99.7.0/24", "via": "10.99.0.2", "device": "real0"}], start_command="id -un; ping -c1 -W3 far")
        planned = host.up(node, check=True)
        assert (planned["action"], planned["changed"], "msg" in planned) == ("start", True, False)
        assert facts("real0") == before
        result = host.up(node)
        assert (result["state"], result["exit_status"], result.get("msg")) == ("booted", 0, None), result
        assert pings("far-lan0.demo.lab") and far_pings("10.99.0.1")
        now = facts("real0")
        assert now["ipv4"] == ["10.99.0.1/24"] and now["address"] == before["address"]
        assert "10.99.7.0/24 via 10.99.0.2" in now["routes"]
        assert now["ifalias"].startswith(f"{host.rundir.mark} was {state} ")
        assert (Path(f"{host.rundir.guest('p')}/emulab/boot/ifmap").read_text().split()[2]) == before["address"].replace(":", "")
        again = host.up(node)
        assert (again["action"], again["changed"]) == ("none", False), again
        host.down()
        assert facts("real0") == before
        assert ip("-4", "route", "show", "table", "all") == table

    on_host(test)


def test_an_address_changes_in_place(on_host: Callable[..., None]) -> None:
    def test(host: Host) -> None:
        before = facts("real0")
        host.up(described(start_command="sleep 1006"))
        pid = host.up(described(start_command="sleep 1006"))["pid"]
        result = host.up(described(address="10.99.0.7", start_command="sleep 1006"))
        assert (result["action"], result["pid"]) == ("reconfigure", pid), result
        assert facts("real0")["ipv4"] == ["10.99.0.7/24"] and far_pings("10.99.0.7")
        # Anew, it has the new address alone.
        result = host.up(described(address="10.99.0.8", start_command="sleep 1006", limits={"processes": 100}))
        assert (result["action"], facts("real0")["ipv4"]) == ("start", ["10.99.0.8/24"])
        assert host.up()["action"] == "remove"
        assert facts("real0") == before

    on_host(test)


def test_another_interface_takes_its_place(on_host: Callable[..., None]) -> None:
    def test(host: Host) -> None:
        before = facts("real0"), facts("real1")
        host.up(described())
        result = host.up(described("real1"))
        assert (result["action"], result.get("msg")) == ("start", None)
        assert facts("real0") == before[0]
        assert facts("real1")["ipv4"] == ["10.99.0.1/24"]
        process_nodes.stopped(host.around, [Node.from_options(described("real1"))], PACE, False)
        assert facts("real1") == before[1]
        assert host.up(described("real1"))["reason"] == "stopped"
        host.down()
        assert (facts("real0"), facts("real1")) == before

    on_host(test)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("address del 10.99.0.1/24 dev real0", "interface real0 has not its address"),
        ("link set real0 down", "interface real0 is down"),
        ("route del 10.99.7.0/24", "the route to 10.99.7.0/24 is gone"),
    ],
)
def test_what_somebody_undid_is_done_again(on_host: Callable[..., None], damage: str, reason: str) -> None:
    def test(host: Host) -> None:
        node = described(routes=[{"to": "10.99.7.0/24", "via": "10.99.0.2", "device": "real0"}], start_command="sleep 1007")
        pid = host.up(node)["pid"]
        ip(*damage.split())
        [info] = process_nodes.infos(host.rundir)
        assert (info["state"], info["detail"]) == ("booted", reason if "is down" in reason else "")
        assert host.up(node, check=True)["reason"] == reason
        result = host.up(node)
        assert (result["action"], result["reason"], result["pid"], result.get("msg")) == ("reconfigure", reason, pid, None)
        assert far_pings("10.99.0.1") and "10.99.7.0/24" in facts("real0")["routes"]
        assert host.up(node)["action"] == "none"

    on_host(test)


def test_after_a_crash_it_is_given_back_or_goes_on(on_host: Callable[..., None]) -> None:
    def test(host: Host) -> None:
        before = facts("real0")
        host.up(described(start_command="sleep 1008"))
        os.kill(host.keeper(), signal.SIGKILL)
        assert until(lambda: node_supervisor.keeper(host.rundir) is None)
        assert facts("real0")["ipv4"] == ["10.99.0.1/24"]
        assert host.up(described(start_command="sleep 1008"))["reason"] == "dead"
        assert far_pings("10.99.0.1")
        os.kill(host.keeper(), signal.SIGKILL)
        assert "interface real0 of a node, which goes back to the host" in host.sweep()
        assert facts("real0") == before
        assert host.sweep() == []

    on_host(test)


def test_with_all_records_lost_it_is_given_back(on_host: Callable[..., None]) -> None:
    def test(host: Host) -> None:
        before = facts("real0")
        host.up(described())
        os.kill(host.keeper(), signal.SIGKILL)
        subprocess.run(["rm", "-rf", host.rundir.path], check=True)
        # It is not ours to delete, whose alias says so.
        assert host_links.marked(host.rundir.mark) == []
        assert "interface real0 of a node, which goes back to the host" in host.sweep()
        assert facts("real0") == before

    on_host(test)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (["link del real0"], "this host has no interface real0: name one that it has"),
        (["address add 203.0.113.5/24 dev real0"], "interface real0 has the address 203.0.113.5/24, so this host uses it"),
        (["-6 address add 2001:db8::1/64 dev real0"], "interface real0 has the address 2001:db8::1/64"),
        (["link add br9 type bridge", "link set real0 master br9"], "interface real0 is a port of br9"),
        (["link set real0 up", "route add default dev real0 metric 7"], "interface real0 has this host's default route"),
        (["link set real0 up", "route add 203.0.113.0/24 dev real0"], "interface real0 has this host's route to 203.0.113.0/24"),
        (["link add link real0 name up0 type macvlan"], "interface real0 carries up0 of this host"),
        ([f"link set real0 alias {'x' * 250}"], "the alias of interface real0 is too long to be kept beside ours"),
        (["link set real0 alias /elsewhere:lab/other"], "interface real0 belongs to /elsewhere:lab/other"),
        (["link set real0 alias /x:lab/other_was_up_1,2,0,1,1,0"], "interface real0 is that of a node of /x:lab/other: swap that out"),
    ],
)
def test_what_the_host_uses_is_not_taken(on_host: Callable[..., None], what: list[str], said: str) -> None:
    def test(host: Host) -> None:
        for command in what:
            ip(*[word.replace("_", " ") for word in command.split()])
        there = host_links.exists("real0")
        before = facts("real0") if there else {}
        for check in (True, False):
            result = host.up(described(), check=check)
            assert result["failed"] and said in result["msg"], result
        assert not there or facts("real0") == before
        assert "p-lan0" not in Path("/etc/hosts").read_text()

    on_host(test)


def test_by_whom_we_came_is_not_taken(on_host: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    def test(host: Host) -> None:
        for peer in ("192.0.2.9", "fe80::1%out0"):
            monkeypatch.setattr(host_networks, "ssh_connections", lambda peer=peer: [[peer, "4711", "192.0.2.2", "22"]])
            for device in ("out0", "lo"):
                result = host.up(described(device))
                assert result["failed"], result
                assert device != "out0" or f"interface out0 leads to {peer}, who is logged in by ssh" in result["msg"]
        monkeypatch.setattr(host_networks, "ssh_connections", lambda: [["fe80::1%out0", "1", "fe80::2%out0", "22"]])
        assert host.up(described()).get("msg") is None

    on_host(test)


def test_who_is_logged_in_stands_in_the_environment_of_those_above_us() -> None:
    program = f"import json; from {host_networks.__name__} import ssh_peers, ssh_connections as c; print(json.dumps([ssh_peers(), c()]))"

    def seen(connection: str) -> tuple[set[str], set[str]]:
        """Return the peers of IPv4, and all, that a program sees below a shell with this in its environment."""
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": ":".join(sys.path), "SSH_CONNECTION": connection}
        argv = ["sh", "-c", f"unset SSH_CONNECTION; {sys.executable} -c '{program}'; true"]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=True)
        peers, connections = json.loads(done.stdout)
        return set(peers), {words[0] for words in connections}

    peers, everyone = seen("")  # whoever runs the tests by ssh
    assert seen("192.0.2.9 4711 192.0.2.2 22") == (peers | {"192.0.2.9"}, everyone | {"192.0.2.9"})
    assert seen("fe80::1%eth0 4711 fe80::2%eth0 22") == (peers, everyone | {"fe80::1%eth0"})
    assert seen("192.0.2.9") == (peers, everyone)


def test_a_cable_and_a_node_do_not_share_one(on_host: Callable[..., None]) -> None:
    def test(host: Host) -> None:
        host.up(described())
        other = RunDir("lab", "other", "lab.other", host.rundir.root)
        other.create()
        for vlan, said in ((0, "belongs to"), (5, "no VLAN of it can be")):
            with pytest.raises(LinkError, match=said):
                tunnels.check_free(other, tunnels.ethernet(other, "a", "real0", vlan))
        with pytest.raises(LinkError, match=f"real0 is that of a node of {host.rundir.mark}: choose another with control_interface"):
            control_bridge.check(host.rundir.root, "real0")
        # The other way round.
        path = Path(host.rundir.root) / ".interfaces" / "real1.5@.json"
        path.parent.mkdir()
        path.write_text(json.dumps({"name": "real1.5@", "device": "real1", "mark": other.mark}))
        assert f"interface real1 is plugged in already for {other.mark}" in host.up(described("real1"))["msg"]
        path.unlink()
        # Nor do two experiments.
        assert host.rundir.mark in real_interfaces.obstacle(other.root, other.mark, "real0")

    on_host(test)


def test_a_node_that_fails_gives_it_back(on_host: Callable[..., None]) -> None:
    def test(host: Host) -> None:
        before = facts("real0")
        host.around = Around(host.rundir, host.around.hosts, "", [("/x", "/nowhere/at/all", False)])
        assert "there is no directory /nowhere/at/all" in host.up(described())["msg"]
        assert facts("real0") == before

    on_host(test)


def test_it_is_a_physical_node_s() -> None:
    with pytest.raises(GuestError, match="can be that of a physical node only, not of a process one"):
        Node.from_options(described(kind="process"))
    [nic] = Node.from_options(described("wire0")).guest.nics
    assert (nic.real, nic.switch, nic.port, nic.mac, nic.device) == (True, "", 0, "", "wire0")

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Process nodes, as they really are: made, entered, changed, damaged and repaired, on a host whose files nobody touches."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import (
    hosts_block,
    node_limits,
    node_supervisor,
    process_files,
    process_nodes,
    processes,
    sweep,
    vde,
)
from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.guest_status import known
from ansible_collections.benito.testbed.plugins.module_utils.id_ranges import recorded
from ansible_collections.benito.testbed.plugins.module_utils.process_nodes import Around, Node
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir

Run = Callable[[Callable[[], None]], None]
PACE = node_supervisor.Pace(boot_timeout=60, command_wait=1.5)
pytestmark = pytest.mark.usefixtures("root_user", "account")


def described(name: str, place: int, *more: str, **fields: Any) -> dict[str, Any]:
    """Describe a node on lan0, and on further LANs, with the address of its place in each."""
    lans = ("lan0", *more)
    nics = [
        {
            "name": f"inf{index:03d}",
            "substrate": lan,
            "switch": lan,
            "port": place,
            "mac": f"02:00:00:00:{index:02x}:{place:02x}",
            "device": f"eth{index + 1}",
            "address": f"10.99.{lan[3:]}.{place}",
            "prefix": 24,
        }
        for index, lan in enumerate(lans)
    ]
    return {"name": name, "kind": "process", "interfaces": nics, **fields}


def table(*nodes: Node) -> list[list[Any]]:
    """Return the hosts table of some nodes."""
    return [[node.guest.name, nic.substrate, index, nic.address] for node in nodes for index, nic in enumerate(node.guest.nics)]


class Bench:
    """An experiment with switches, nodes of our choice, and a look at them from outside."""

    def __init__(self, rundir: RunDir) -> None:
        self.rundir = rundir
        self.switches = ["lan0", "lan1"]
        self.keys = ""
        self.shares: list[tuple[str, str, bool]] = []
        self.table: list[list[Any]] = []
        self.limits: dict[str, int] = {}

    def wire(self) -> None:
        """Start the switches that do not run."""
        results = vde.present(self.rundir, [vde.Switch(id_, id_, 32) for id_ in self.switches], False, False)
        assert not [result for result in results if result.get("failed")], results

    def around(self) -> Around:
        return Around(self.rundir, self.table, self.keys, self.shares, node_limits.Limits.from_options(self.limits))

    def up(self, *nodes: dict[str, Any], purge: bool = True, check: bool = False, restart: bool = False) -> dict[str, dict[str, Any]]:
        """Bring nodes up; results by name."""
        made = [Node.from_options(node) for node in nodes]
        self.table = self.table or table(*made)
        results = process_nodes.started(self.around(), made, PACE, purge, check, restart)
        assert [r["name"] for r in results if not r.get("changed") and r["action"] != "none"] == []
        return {result["name"]: result for result in results}

    def down(self, *ids: str) -> list[dict[str, Any]]:
        return process_nodes.absent(self.around(), ids, PACE, False)

    def infos(self) -> dict[str, dict[str, Any]]:
        return {info["name"]: info for info in process_nodes.infos(self.rundir)}

    def run(self, node: str, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run something in a node."""
        argv = [f"{self.rundir.path}/nodes/enter", node, "--", *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL, **more)

    def out(self, node: str, command: str) -> str:
        """Return what a shell's command in a node prints; it must succeed."""
        done = self.run(node, "sh", "-c", command)
        assert done.returncode == 0, done
        return done.stdout

    def pings(self, node: str, address: str) -> bool:
        return self.run(node, "ping", "-c", "1", "-W", "3", address).returncode == 0

    def state(self) -> dict[str, Any]:
        return json.loads(Path(f"{self.rundir.path}/nodes/state.json").read_text())

    def keeper(self) -> int:
        found = node_supervisor.keeper(self.rundir)
        assert found
        return found.pid


@pytest.fixture
def bench(rundir: RunDir, account: str) -> Iterator[Bench]:
    made = Bench(rundir)
    made.wire()
    yield made
    process_nodes.clear(rundir)


def until(condition: Callable[[], object], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_nodes_reach_each_other_by_name_and_nothing_is_left(bench: Bench) -> None:
    before = set(Path("/proc/self/mounts").read_text().splitlines())
    links = set(os.listdir("/sys/class/net"))
    command = "ping -c 1 -W 3 b && hostname && exit 3"
    results = bench.up(described("a", 1, start_command=command), described("b", 2))
    assert (results["a"]["state"], results["a"]["action"], results["a"]["exit_status"]) == ("booted", "start", 3)
    assert (results["b"]["state"], results["b"]["exit_status"]) == ("booted", None)
    assert bench.out("b", "hostname; cat /etc/hostname").split() == ["b", "b"]
    assert "1 received" in bench.out("b", "ping -c 1 -W 3 a")
    log = Path(f"{bench.rundir.guest('a')}/var/log")
    assert (log / "start_command.out").read_text().splitlines()[-1] == "a"
    assert until(lambda: "exit status: 3" in (log / "start_command.log").read_text())
    assert bench.up(described("a", 1, start_command=command), described("b", 2))["a"]["action"] == "none"
    ours = [process.pid for process in node_supervisor.processes(bench.rundir)]
    assert len(ours) == 2
    assert {r["action"] for r in bench.down("a", "b")} == {"remove"}
    assert until(lambda: not any(processes.look(pid) for pid in ours))
    assert set(Path("/proc/self/mounts").read_text().splitlines()) <= before
    assert set(os.listdir("/sys/class/net")) == links
    assert not os.path.exists("/var/benito")
    assert os.listdir(f"{bench.rundir.path}/guests") == []
    assert not os.path.exists(f"{bench.rundir.path}/nodes")


def test_a_node_is_root_in_its_network_and_nobody_on_the_host(bench: Bench) -> None:
    bench.up(described("a", 1))
    assert bench.out("a", "id -u; ip link add dummy0 type veth && ip link show dummy0 >/dev/null && echo made").split() == ["0", "made"]
    assert "lo" in bench.out("a", "ls /sys/class/net").split() and "eth1" in bench.out("a", "ls /sys/class/net").split()
    for forbidden in (
        "touch /etc/benito-was-here",
        "cat /etc/shadow",
        "mount -t tmpfs none /mnt",
        "umount /etc/hosts",
        "date -s 2001-01-01",
    ):
        assert bench.run("a", "sh", "-c", forbidden).returncode != 0, forbidden
    assert not os.path.exists("/etc/benito-was-here")
    # Processes of the host are not to be seen, nor are those of other nodes.
    assert [line for line in bench.out("a", "ps -o args= -A").splitlines() if "ps -o" not in line] == []
    assert str(os.getpid()) not in bench.out("a", "ls /proc").split()
    # An account of the node can be had, for daemons that give up their rights.
    assert bench.out("a", "setpriv --reuid=33 --regid=33 --clear-groups id -u").strip() == "33"


def test_a_file_of_a_node_belongs_to_an_id_of_the_experiment_outside(bench: Bench) -> None:
    bench.up(described("a", 1))
    bench.out("a", "echo hello >/root/file")
    made = Path(f"{bench.rundir.guest('a')}/root/file")
    assert made.stat().st_uid == recorded(bench.rundir).node_first


def test_what_programs_of_an_experiment_read(bench: Bench) -> None:
    routes = [{"to": "10.99.7.0/24", "via": "10.99.0.2", "device": "eth1"}]
    bench.up(described("a", 1, routes=routes), described("b", 2))
    assert bench.out("a", "cat /var/benito/config/pid_eid").split() == ["lab", "demo"]
    assert bench.out("a", "cat /var/containers/config/route/a") == "10.99.7.0/24 10.99.0.2 eth1\n"
    assert bench.out("a", "cat /var/benito/config/hosts") == bench.out("a", "cat /etc/hosts")
    assert "10.99.0.2\tb-lan0 b-0 b" in bench.out("a", "cat /etc/hosts")
    assert bench.out("a", "cat /etc/resolv.conf") == ""
    assert bench.out("a", "cat /var/emulab/boot/nickname /var/emulab/boot/ifmap") == "a.demo.lab\neth1 10.99.0.1 020000000001\n"
    bench.out("a", "ip route del 10.99.7.0/24 && /var/benito/launch/routes.py /var/benito/config")
    assert "10.99.7.0/24 via 10.99.0.2" in bench.out("a", "ip route")
    # The rest of the host's files is the host's.
    assert bench.out("a", "ls /var/lib").split() == sorted(os.listdir("/var/lib"))


def test_a_node_answers_for_all_its_addresses_and_asks_with_the_right_one(bench: Bench) -> None:
    """What View-OS got wrong: no answer for the other address, and ARP for the wrong one."""
    r = described("r", 3, "lan1")
    a = described("a", 1, routes=[{"to": "10.99.1.0/24", "via": "10.99.0.3", "device": "eth1"}])
    b = described("b", 2)
    b["interfaces"][0].update(substrate="lan1", switch="lan1", address="10.99.1.2")
    b["routes"] = [{"to": "10.99.0.0/24", "via": "10.99.1.3", "device": "eth1"}]
    bench.up(a, b, r)
    assert bench.pings("a", "10.99.1.3")  # the router's far address
    assert bench.pings("a", "10.99.1.2")  # through it
    # Nobody answers ARP for an address of another interface of his.
    bench.out("a", "ip route add 10.99.1.3/32 dev eth1")
    assert not bench.pings("a", "10.99.1.3")
    assert "lladdr" not in bench.out("a", "ip neigh show 10.99.1.3")
    bench.out("a", "ip route del 10.99.1.3/32 dev eth1; ip neigh flush all")
    # The router asks on each side with its address there: it is the only one that the neighbour can answer.
    bench.out("r", "ip neigh flush all; ping -c 1 -W 3 -I 10.99.1.3 10.99.0.1")
    assert "10.99.0.3 lladdr" in bench.out("a", "ip neigh") or "10.99.0.3 dev eth1 lladdr" in bench.out("a", "ip neigh")
    assert "10.99.1.3" not in bench.out("a", "ip neigh")


def test_login_by_ssh_with_terminal_files_and_exit_status(bench: Bench, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    bench.keys = key.with_suffix(".pub").read_text()
    result = bench.up(described("a", 1))["a"]
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(f"a {result['ssh_host_key']}\n")
    config = tmp_path / "config"
    config.write_text(
        f"Host a\n User root\n ProxyCommand {result['entry']} a\n IdentityFile {key}\n IdentitiesOnly yes\n"
        f" UserKnownHostsFile {known_hosts}\n StrictHostKeyChecking yes\n BatchMode yes\n LogLevel ERROR\n"
    )

    def ssh(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ssh", "-F", str(config), *words], capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
        )

    done = ssh("a", "hostname; echo $HOME; exit 5")
    assert (done.returncode, done.stdout.split()) == (5, ["a", "/root"]), done
    done = ssh("-tt", "a", "tty; stat -c %U $(tty)")
    assert done.stdout.split() == ["/dev/pts/0", "root"], done
    (tmp_path / "file").write_text("content")
    for words in ([str(tmp_path / "file"), "a:copy"], ["a:copy", str(tmp_path / "back")]):
        subprocess.run(["scp", "-F", str(config), *words], check=True, timeout=60, stdin=subprocess.DEVNULL, capture_output=True)
    assert (tmp_path / "back").read_text() == "content"
    # Other keys are not let in.
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    config.write_text(config.read_text().replace(str(key), str(other)))
    assert ssh("a", "true").returncode == 255
    bench.keys = other.with_suffix(".pub").read_text()
    assert bench.up(described("a", 1))["a"]["action"] == "reconfigure"
    assert ssh("a", "true").returncode == 0


def test_a_shell_on_a_terminal(bench: Bench) -> None:
    bench.up(described("a", 1))
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(f"{bench.rundir.path}/nodes/enter", ["enter", "a"])
    said = b""
    with contextlib.suppress(OSError):
        while b"#" not in said:
            said += os.read(terminal, 4096)
        os.write(terminal, b"tty; hostname; sleep 0.1 & wait $!; exit 4\n")
        while piece := os.read(terminal, 4096):
            said += piece
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 4
    assert b"/dev/pts/0\r\na\r\n" in said


def test_who_enters_is_told_why_not(bench: Bench) -> None:
    bench.up(described("a", 1))
    assert "there is no node x" in bench.run("x", "true").stderr
    assert bench.run("a", "no-such-program").returncode == 127
    os.kill(bench.keeper(), signal.SIGKILL)
    until(lambda: node_supervisor.keeper(bench.rundir) is None)
    assert "is dead" in bench.run("a", "true").stderr


def test_names_routes_and_addresses_change_while_it_runs(bench: Bench) -> None:
    a, b = described("a", 1, start_command="sleep 1000"), described("b", 2)
    pid = bench.up(a, b)["a"]["pid"]
    assert pid
    a["routes"] = [{"to": "10.99.7.0/24", "via": "10.99.0.2", "device": "eth1"}]
    b["interfaces"][0]["address"] = "10.99.0.22"
    bench.table = [["a", "lan0", 0, "10.99.0.1"], ["b", "lan0", 0, "10.99.0.22"]]
    results = bench.up(a, b, check=True)
    assert {r["action"] for r in results.values()} == {"reconfigure"}
    assert "10.99.7.0/24" not in bench.out("a", "ip route")
    results = bench.up(a, b)
    assert {r["action"] for r in results.values()} == {"reconfigure"}
    assert results["a"]["pid"] == pid
    assert "10.99.7.0/24 via 10.99.0.2" in bench.out("a", "ip route")
    assert "10.99.0.22\tb-lan0" in bench.out("a", "cat /etc/hosts")
    assert bench.pings("a", "b")
    a["routes"] = []
    bench.up(a, b)
    assert "10.99.7.0/24" not in bench.out("a", "ip route")
    assert {r["action"] for r in bench.up(a, b).values()} == {"none"}
    # Hosts files that nobody has any more are gone.
    assert len(os.listdir(f"{bench.rundir.path}/nodes/hosts")) == 1


def test_a_changed_interface_makes_one_node_anew_and_leaves_the_others_alone(bench: Bench) -> None:
    a, b = described("a", 1, start_command="sleep 1000"), described("b", 2, start_command="sleep 1000")
    before = bench.up(a, b)
    b = described("b", 2, "lan1", start_command="sleep 1000")
    after = bench.up(a, b)
    assert (after["a"]["action"], after["b"]["action"], after["b"]["reason"]) == ("none", "start", "changed")
    assert after["a"]["pid"] == before["a"]["pid"]
    assert after["b"]["pid"] != before["b"]["pid"]
    assert processes.look(before["b"]["pid"]) is None
    assert bench.pings("a", "10.99.0.2")


def test_a_changed_start_command_waits_for_the_next_boot(bench: Bench) -> None:
    a = described("a", 1, start_command="sleep 1000")
    pid = bench.up(a)["a"]["pid"]
    a["start_command"] = "exit 7"
    result = bench.up(a)["a"]
    assert (result["action"], result["pid"]) == ("reconfigure", pid)
    assert bench.up(a)["a"]["action"] == "none"
    result = bench.up(a, restart=True)["a"]
    assert (result["reason"], result["exit_status"], result["pid"]) == ("restart asked for", 7, None)
    assert processes.look(pid) is None
    assert "start command failed" in result["detail"]


def test_stopped_and_started_again(bench: Bench) -> None:
    a = described("a", 1, start_command="trap 'echo bye; exit' TERM; sleep 1000 & wait")
    b = described("b", 2, start_command="sleep 1000")
    pids = {name: result["pid"] for name, result in bench.up(a, b).items()}
    node = Node.from_options(a)
    assert process_nodes.stopped(bench.around(), [node], PACE, True)[0]["changed"]
    result = process_nodes.stopped(bench.around(), [node], PACE, False)[0]
    assert (result["state"], result["action"]) == ("stopped", "stop")
    assert not process_nodes.stopped(bench.around(), [node], PACE, False)[0]["changed"]
    assert processes.look(pids["a"]) is None
    assert processes.look(pids["b"])
    assert Path(f"{bench.rundir.guest('a')}/var/log/start_command.out").read_text() == "bye\n"
    results = bench.up(a, b)
    assert (results["a"]["reason"], results["b"]["action"]) == ("stopped", "none")


def test_whoever_runs_in_a_stopped_node_ends_however_deep(bench: Bench) -> None:
    a = described("a", 1, start_command="trap '' TERM; unshare -Urnmu sh -c \"trap '' TERM; sleep 1001\" & setsid sleep 1002 & sleep 1003")
    bench.up(a, described("b", 2, start_command="sleep 1004"))

    def sleepers() -> set[str]:
        shown = subprocess.run(["ps", "-A", "-o", "args="], capture_output=True, text=True, check=True).stdout
        return set(re.findall(r"^sleep (100\d)$", shown, re.MULTILINE))

    assert until(lambda: sleepers() == {"1001", "1002", "1003", "1004"}), sleepers()
    process_nodes.stopped(bench.around(), [Node.from_options(a)], PACE, False)
    assert sleepers() == {"1004"}


def test_a_supervisor_of_another_version_is_replaced(bench: Bench) -> None:
    a, b = described("a", 1), described("b", 2)
    bench.up(a, b)
    keeper = bench.keeper()
    Path(f"{bench.rundir.path}/nodes/programs/node_programs/making.py").write_text("# of another version\n")
    # What a node less does to the list does not make the supervisor that runs a newer one.
    process_nodes.stopped(bench.around(), [Node.from_options(b)], PACE, False)
    assert bench.keeper() == keeper
    results = bench.up(a, b, check=True)
    assert (results["a"]["reason"], results["b"]["reason"]) == ("its supervisor is of another version", "stopped")
    results = bench.up(a, b)
    assert {r["state"] for r in results.values()} == {"booted"}
    assert bench.keeper() != keeper
    assert {r["action"] for r in bench.up(a, b).values()} == {"none"}


def test_a_killed_supervisor_takes_all_with_it_and_is_replaced(bench: Bench) -> None:
    a, b = described("a", 1, start_command="sleep 1000"), described("b", 2)
    pid = bench.up(a, b)["a"]["pid"]
    keeper = bench.keeper()
    plug = bench.state()["plug"]
    os.kill(keeper, signal.SIGKILL)
    assert until(lambda: not (processes.look(pid) or processes.look(plug)))
    processes.reap(keeper)
    infos = bench.infos()
    assert [(i["state"], "supervisor" in i["detail"]) for i in infos.values()] == [("dead", True), ("dead", True)]
    results = bench.up(a, b)
    assert {r["reason"] for r in results.values()} == {"dead"}
    assert {r["state"] for r in results.values()} == {"booted"}
    assert bench.pings("a", "b")


def test_a_killed_plug_is_replaced_and_nodes_keep_running(bench: Bench) -> None:
    a, b = described("a", 1, start_command="sleep 1000"), described("b", 2)
    pid = bench.up(a, b)["a"]["pid"]
    plug = bench.state()["plug"]
    assert plug
    os.kill(plug, signal.SIGKILL)
    assert until(lambda: bench.state()["plug"] not in (0, plug))
    assert until(lambda: not any(i["detail"] for i in bench.infos().values()))
    assert bench.pings("a", "b")
    results = bench.up(a, b)
    assert ({r["action"] for r in results.values()}, results["a"]["pid"]) == ({"none"}, pid)


def test_a_killed_switch_is_told_and_its_successor_taken(bench: Bench) -> None:
    a, b = described("a", 1, start_command="sleep 1000"), described("b", 2)
    pid = bench.up(a, b)["a"]["pid"]
    switch = vde.running(bench.rundir, "lan0")
    assert switch
    processes.stop(switch, first=signal.SIGKILL)
    assert until(lambda: "not plugged into lan0" in bench.infos()["a"]["detail"])
    assert bench.infos()["a"]["state"] == "booted"
    assert bench.up(a, b, check=True)["a"]["action"] == "replug"
    bench.wire()
    results = bench.up(a, b)
    assert results["a"]["detail"] == "" and results["a"]["pid"] == pid
    assert bench.pings("a", "b")
    # The ports are those of the plan, and the switch itself says who is there.
    assert vde.endpoints(bench.rundir, "lan0") == dict.fromkeys((1, 2), bench.state()["plug"])


def test_the_end_of_a_start_command_is_told(bench: Bench) -> None:
    a = described("a", 1, start_command="echo trouble >&2; sleep 1000")
    pid = bench.up(a)["a"]["pid"]
    os.kill(pid, signal.SIGKILL)
    assert until(lambda: bench.infos()["a"]["exit_status"] == 137)
    info = bench.infos()["a"]
    assert (info["state"], info["pid"], info["detail"]) == ("booted", None, "its start command failed: trouble")
    assert bench.up(a)["a"]["action"] == "none"


def test_one_that_cannot_be_made_hides_no_other(bench: Bench) -> None:
    wrong = described("b", 2, routes=[{"to": "10.99.7.0/24", "via": "192.0.2.1", "device": "eth1"}])
    lost = described("c", 3)
    lost["interfaces"][0]["switch"] = "lan9"
    quiet = {**described("d", 4, routes=wrong["routes"]), "failure_action": "nonfatal"}
    results = bench.up(described("a", 1), wrong, lost, quiet)
    assert results["a"]["state"] == "booted"
    assert results["b"]["failed"] and "Nexthop has invalid gateway" in results["b"]["msg"], results["b"]
    assert results["c"]["failed"] and "no switch lan9" in results["c"]["msg"]
    assert not results["d"]["failed"] and results["d"]["state"] == "dead"
    assert bench.infos()["b"]["state"] == "dead"
    results = bench.up(described("a", 1), described("b", 2), purge=False)
    assert (results["a"]["action"], results["b"]["reason"], results["b"]["state"]) == ("none", "it failed", "booted")


def test_a_configuration_that_cannot_be_taken_is_tried_again(bench: Bench) -> None:
    a = described("a", 1, start_command="sleep 1000")
    pid = bench.up(a)["a"]["pid"]
    a["routes"] = [{"to": "10.99.7.0/24", "via": "192.0.2.1", "device": "eth1"}]
    for reason in ("configuration changed", "it could not take its configuration"):
        result = bench.up(a)["a"]
        assert (result["reason"], result["pid"], result["failed"]) == (reason, pid, True)
        assert "invalid gateway" in result["msg"]
        assert "invalid gateway" in bench.infos()["a"]["detail"]
    a["routes"] = []
    result = bench.up(a)["a"]
    assert (result["action"], result["detail"], result["pid"]) == ("reconfigure", "", pid)
    assert bench.up(a)["a"]["action"] == "none"


def test_what_an_interrupted_run_did_not_tell_is_told(bench: Bench) -> None:
    a = described("a", 1, start_command="sleep 1000")
    pid = bench.up(a)["a"]["pid"]
    os.kill(bench.keeper(), signal.SIGSTOP)
    a["routes"] = [{"to": "10.99.7.0/24", "via": "10.99.0.2", "device": "eth1"}]
    with pytest.raises(processes.ProcessError, match="did not do its work"):
        process_nodes.started(bench.around(), [Node.from_options(a)], node_supervisor.Pace(boot_timeout=0.2), True, False)
    # The list is written, and the signal is lost with a reader that slept.
    os.kill(bench.keeper(), signal.SIGCONT)
    assert until(lambda: "10.99.7.0/24" in bench.out("a", "ip route"))
    path = Path(f"{bench.rundir.path}/nodes/nodes.json")
    told = json.loads(path.read_text())
    a["routes"].append({"to": "10.99.8.0/24", "via": "10.99.0.2", "device": "eth1"})
    told["nodes"][0] = process_nodes.entry(
        bench.around(), Node.from_options(a), process_files.Hosts(bench.rundir, bench.table), told["nodes"][0]["boot"]
    )
    path.write_text(json.dumps(told))
    result = bench.up(a)["a"]
    assert (result["reason"], result["pid"]) == ("it was not told", pid)
    assert "10.99.8.0/24" in bench.out("a", "ip route")


def test_only_nodes_of_ours_are_removed(bench: Bench) -> None:
    machine = Path(bench.rundir.guest("m"))
    machine.mkdir()
    (machine / "launch.json").write_text('{"name": "m"}')
    bench.up(described("a", 1), described("b", 2))
    results = bench.up(described("a", 1))
    assert (results["b"]["action"], results["b"]["state"], "m" in results) == ("remove", "absent", False)
    assert known(bench.rundir) == ["a", "m"]
    assert (known(bench.rundir, "qemu"), known(bench.rundir, "process", "physical")) == (["m"], ["a"])
    assert not process_nodes.absent(bench.around(), ["m"], PACE, False)[0]["changed"]
    assert machine.exists()


def test_without_purge_the_others_stay(bench: Bench) -> None:
    bench.up(described("a", 1, start_command="sleep 1000"))
    pid = bench.infos()["a"]["pid"]
    assert list(bench.up(described("b", 2), purge=False)) == ["b"]
    assert bench.infos()["a"]["pid"] == pid


def test_shared_directories(bench: Bench, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "file").write_text("shared")
    bench.shares = [("/benito-users", str(tmp_path), False), ("/benito-work/deep", str(tmp_path), True)]
    # Above, pytest made directories that only root may enter.
    bench.up(described("a", 1))
    assert bench.out("a", "cat /benito-users/file /benito-work/deep/file") == "sharedshared"
    assert "Read-only" in bench.run("a", "touch", "/benito-users/new").stderr
    assert "Permission denied" in bench.run("a", "touch", "/benito-work/deep/new").stderr
    assert sorted(bench.out("a", "ls -A /").split()) == sorted({*os.listdir("/"), "benito-users", "benito-work"})
    assert not os.path.exists("/benito-users")
    bench.shares = [("/benito-users", "/no/such/directory", False)]
    assert "no directory /no/such/directory" in bench.up(described("a", 1))["a"]["msg"]
    # What cannot be had leaves the node as it was.
    assert bench.out("a", "cat /benito-users/file") == "shared"


def test_start_commands_cannot_lead_us_astray(bench: Bench, tmp_path: Path) -> None:
    """Who is root in a node owns the directories of logs and keys: links there are not followed by the host's root."""
    target = tmp_path / "target"
    target.write_text("mine")
    target.chmod(0o600)
    command = f"cd /var/benito/log && ln -sf {target} start_command.out && ln -sf {target} start_command.log"
    command += f"; rm -rf ~/.ssh; ln -s {tmp_path} ~/.ssh"
    bench.keys = "ssh-ed25519 one\n"
    bench.up(described("a", 1, start_command=command))
    bench.keys = "ssh-ed25519 two\n"
    result = bench.up(described("a", 1, start_command=command))["a"]
    assert result["failed"]
    assert not (tmp_path / "authorized_keys").exists()
    bench.up(described("a", 1, start_command=command), restart=True)
    assert target.read_text() == "mine"


def test_the_sweep_finds_all_with_records_lost(bench: Bench) -> None:
    bench.up(described("a", 1, start_command="sleep 1000"))
    pid, ours = bench.infos()["a"]["pid"], [p.pid for p in node_supervisor.processes(bench.rundir)]
    rundir = bench.rundir
    remains = sweep.find(rundir.project, rundir.experiment, rundir.root)
    assert {"guest a", "supervisor of process nodes", "switch lan0"} <= set(remains.lines())
    assert not [line for line in remains.lines() if line.startswith("process ")]
    for name in ("launch.json", "nodes.json", "state.json"):
        os.unlink(f"{rundir.path}/nodes/{name}")
    remains = sweep.find(rundir.project, rundir.experiment, rundir.root)
    assert {process.pid for process in remains.strays} == set(ours)
    sweep.sweep(remains, rundir.root)
    assert until(lambda: not any(processes.look(number) for number in (pid, *ours)))
    assert sweep.find(rundir.project, rundir.experiment, rundir.root).lines() == []


def test_two_experiments_on_a_host_do_not_meet(bench: Bench) -> None:
    other = Bench(RunDir("lab", "other", "lab.other", bench.rundir.root))
    other.rundir.create()
    other.wire()
    try:
        bench.up(described("a", 1, start_command="sleep 1000"))
        other.up(described("a", 1), described("b", 2))
        assert not bench.pings("a", "10.99.0.2")
        assert "sleep" in bench.out("a", "ps -A -o args=")
        assert "sleep 1000" not in other.out("a", "ps -A -o args=")
        process_nodes.clear(other.rundir)
        assert bench.infos()["a"]["state"] == "booted"
    finally:
        process_nodes.clear(other.rundir)
        for id_ in vde.known(other.rundir):
            vde.halt(other.rundir, id_)


def test_limits_hold_where_the_host_has_control_groups(bench: Bench) -> None:
    if not {"memory", "pids", "cpu"} <= set(node_limits.hierarchies()):
        pytest.skip("needs control groups of version 1")
    limits = {"memory": 64, "cpus": 0.5, "processes": 20}
    command = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25; do sleep 1000 & done; sleep 1000"
    result = bench.up(described("a", 1, limits=limits, start_command=command), described("b", 2))["a"]
    assert result["detail"] != "" or result["exit_status"] is not None  # the shell could not fork
    groups = node_limits.left(bench.rundir.mark)
    assert groups
    done = bench.run("a", "python3", "-c", "x = b'x' * (200 << 20)")
    assert done.returncode not in (0,)
    assert bench.run("b", "python3", "-c", "x = b'x' * (200 << 20)").returncode == 0
    assert bench.up(described("a", 1, limits=limits, start_command=command), described("b", 2))["a"]["action"] == "none"
    bench.down("a", "b")
    assert node_limits.left(bench.rundir.mark) == []


def test_a_host_without_control_groups_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_limits, "hierarchies", lambda: {})
    result = bench.up(described("a", 1, limits={"memory": 64}))["a"]
    assert result["state"] == "booted"
    assert result["detail"] == "without its limits: this host has no control group for memory that we may use"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mounts": [{"source": "a", "directory": "/x", "type": "9p", "options": ""}]}, "a process node has no mounts"),
        ({"limits": {"memory": -1}}, "limits.memory must be a number above 0"),
        ({"kind": "qemu"}, "kind must be process or physical"),
        ({"name": "a b"}, "name must be"),
    ],
)
def test_what_cannot_be_a_node(change: dict[str, Any], said: str) -> None:
    with pytest.raises(HostError, match=said):
        Node.from_options({**described("a", 1), **change})


def test_two_nodes_cannot_have_one_id() -> None:
    node = Node.from_options(described("a", 1))
    with pytest.raises(HostError, match="more than one node has the id a"):
        process_nodes.distinct([node, node])


# The host as a node


def physical(**more: Any) -> dict[str, Any]:
    node = described("p", 1, **{"kind": "physical", **more})
    node["interfaces"][0]["device"] = "bx0"
    return node


def in_a_host_of_its_own(own_network: Run, bench: Bench, tmp_path: Path, test: Callable[[Path], None]) -> None:
    """Run a test where /etc/hosts and the network are those of nobody else."""
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n192.0.2.9 other")  # without an end of line

    def run() -> None:
        subprocess.run(["mount", "--bind", str(hosts), "/etc/hosts"], check=True)
        for command in (
            "ip link add dummy0 type bridge",
            "ip address add 192.0.2.2/24 dev dummy0",
            "ip link set dummy0 up",
            "ip route add default via 192.0.2.1",
            "sysctl -qw net.ipv4.ip_forward=0",
        ):
            subprocess.run(command.split(), check=True)
        try:
            test(hosts)
        finally:
            process_nodes.clear(bench.rundir)

    own_network(run)


def test_the_host_itself_is_a_node_and_afterwards_as_before(own_network: Run, bench: Bench, tmp_path: Path) -> None:
    def test(hosts: Path) -> None:
        before = hosts.read_text()
        p = physical(start_command="id -u; ping -c 1 -W 3 a", routes=[{"to": "10.99.7.0/24", "via": "10.99.0.2", "device": "bx0"}])
        results = bench.up(p, described("a", 2, start_command="sleep 1000"))
        assert "msg" not in results["p"], results["p"]["msg"]
        assert (results["p"]["state"], results["p"]["exit_status"], results["p"]["entry"]) == ("booted", 0, ""), results
        said = Path(f"{bench.rundir.guest('p')}/var/log/start_command.out").read_text()
        assert said.startswith(f"{recorded(bench.rundir).node_first}\n")
        assert subprocess.run(["ping", "-c", "1", "-W", "3", "a.demo.lab"], capture_output=True, check=False).returncode == 0
        assert bench.pings("a", "p")
        assert "10.99.7.0/24 via 10.99.0.2 dev bx0" in subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
        assert Path("/sys/class/net/bx0/ifalias").read_text().strip() == bench.rundir.mark
        assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == "1\n"
        assert {r["action"] for r in bench.up(p, described("a", 2, start_command="sleep 1000")).values()} == {"none"}
        # Somebody took the names away.
        hosts_block.drop(bench.rundir.root, bench.rundir.mark)
        assert bench.up(p, purge=False)["p"]["action"] == "reconfigure"
        assert "10.99.0.2\ta-lan0.demo.lab a-0.demo.lab a.demo.lab\n" in hosts.read_text()
        bench.down("p")
        assert hosts.read_text() == before
        assert not os.path.exists("/sys/class/net/bx0")
        assert bench.infos()["a"]["pid"]

    in_a_host_of_its_own(own_network, bench, tmp_path, test)


@pytest.mark.parametrize(
    ("address", "to", "said"),
    [
        ("10.99.0.1", "8.8.8.0/24", "8.8.8.0/24 (its route to it) is not private"),
        ("10.99.0.1", "1.0.0.0/8", "1.0.0.0/8 (its route to it) is not private"),
        ("10.99.0.1", "0.0.0.0/1", "is no network of machines"),
        ("10.99.0.1", "169.254.169.254/32", "is no network of machines"),
        ("10.99.0.1", "127.0.0.53/32", "is no network of machines"),
        ("8.8.8.1", "10.99.7.0/24", "8.8.8.0/24 (its network lan0) is not private"),
        ("10.99.0.1", "10.9.0.0/16", "overlaps 10.9.9.53/32, its name server 10.9.9.53 of this host"),
        ("10.99.0.1", "192.0.2.1/32", "overlaps 192.0.2.0/24, a network of dummy0"),
    ],
)
def test_a_host_does_not_lose_its_way(own_network: Run, bench: Bench, tmp_path: Path, address: str, to: str, said: str) -> None:
    servers = tmp_path / "resolv.conf"
    servers.write_text("nameserver 10.9.9.53\n")

    def test(hosts: Path) -> None:
        subprocess.run(["mount", "--bind", str(servers), "/etc/resolv.conf"], check=True)
        routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
        node = physical(routes=[{"to": to, "via": "10.99.0.2", "device": "bx0"}])
        node["interfaces"][0]["address"] = address
        result = bench.up(node)["p"]
        assert result["failed"] and said in result["msg"], result
        assert subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout == routes
        allowed = bench.up({**node, "lab_routes": True}, check=True)["p"]
        assert bool(allowed.get("failed")) is ("not private" not in said), allowed

    in_a_host_of_its_own(own_network, bench, tmp_path, test)


def test_the_host_keeps_its_own_names(own_network: Run, bench: Bench, tmp_path: Path) -> None:
    def test(hosts: Path) -> None:
        hosts.write_text("127.0.0.1 localhost\n192.0.2.9 mirror p.demo.lab\n")
        result = bench.up(physical())["p"]
        assert result["failed"] and "the name p.demo.lab is that of 192.0.2.9 in /etc/hosts" in result["msg"], result
        hosts.write_text("127.0.0.1 localhost\n192.0.2.9 mirror\n")
        up = bench.up(physical(start_command="cat /etc/hosts"))
        assert up["p"]["state"] == "booted", up
        names = {word: line.split()[0] for line in hosts.read_text().splitlines()[1:] for word in line.split()[1:] if line[0] != "#"}
        assert names["mirror"] == "192.0.2.9"
        assert all(name.endswith(".demo.lab") for name in names if name not in ("mirror", "localhost")), names
        # What the node's own programs see has both.
        said = Path(f"{bench.rundir.guest('p')}/var/log/start_command.out").read_text()
        assert "192.0.2.9 mirror" in said
        assert "p-lan0" in said.split()

    in_a_host_of_its_own(own_network, bench, tmp_path, test)


def test_after_a_crash_the_sweep_gives_the_host_back(own_network: Run, bench: Bench, tmp_path: Path) -> None:
    def test(hosts: Path) -> None:
        before = hosts.read_text()
        bench.up(physical(start_command="sleep 1005"))
        os.kill(bench.keeper(), signal.SIGKILL)
        rundir = bench.rundir
        remains = sweep.find(rundir.project, rundir.experiment, rundir.root)
        assert "names in /etc/hosts" in remains.lines()
        sweep.sweep(remains, rundir.root)
        assert hosts.read_text() == before
        assert until(lambda: not os.path.exists("/sys/class/net/bx0"))
        assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == "0\n"
        shown = subprocess.run(["ps", "-A", "-o", "args="], capture_output=True, text=True, check=True).stdout
        assert "sleep 1005" not in shown

    in_a_host_of_its_own(own_network, bench, tmp_path, test)


def test_a_host_is_not_cut_off(own_network: Run, bench: Bench, tmp_path: Path) -> None:
    def test(hosts: Path) -> None:
        before = hosts.read_text()
        for address, routes, said in (
            ("192.0.2.77", [], "192.0.2.0/24, a network of dummy0 of this host"),
            ("10.99.0.1", [{"to": "192.0.2.0/25", "via": "10.99.0.2", "device": "bx0"}], "overlaps 192.0.2.0/24"),
            ("10.99.0.1", [{"to": "0.0.0.0/0", "via": "10.99.0.2", "device": "bx0"}], "whose default route stays"),
        ):
            node = physical(routes=routes)
            node["interfaces"][0]["address"] = address
            for check in (True, False):
                result = bench.up(node, check=check)["p"]
                assert result["failed"] and said in result["msg"], result
        assert hosts.read_text() == before
        assert not os.path.exists("/sys/class/net/bx0")

    in_a_host_of_its_own(own_network, bench, tmp_path, test)

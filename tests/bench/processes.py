# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What process nodes cost: `python -m tests.bench.processes [NODES...]`, as root, prints Markdown tables.

Needs iperf3, vde2 and the accounts that role vhost makes. Nodes are in LANs of ten, and the first of each leads to the next LAN. The host's
own network is not touched: nodes have their own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ansible_collections.benito.testbed.plugins.module_utils import node_supervisor, process_nodes, vde
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir

LAN = 10
SECONDS = 5


def nic(lan: int, place: int, index: int) -> dict[str, object]:
    """Describe an interface."""
    return {
        "name": f"inf{index:03d}",
        "substrate": f"lan{lan}",
        "switch": f"lan{lan}",
        "port": place,
        "mac": f"02:00:00:{lan >> 8:02x}:{lan & 255:02x}:{place:02x}",
        "device": f"eth{index + 1}",
        "address": f"10.{lan // 250}.{lan % 250}.{place}",
        "prefix": 24,
    }


def described(count: int) -> list[process_nodes.Node]:
    """Describe so many nodes: in each LAN the first leads to the next one, in a ring."""
    lans = -(-count // LAN)
    nodes = []
    for number in range(count):
        lan, place = divmod(number, LAN)
        leads = place == 0 and lans > 1
        nics = [nic(lan, place + 1, 0), *([nic((lan + 1) % lans, LAN + 1, 1)] if leads else [])]
        gateway = f"10.{(lan + 1) % lans // 250}.{(lan + 1) % lans % 250}.1" if leads else f"10.{lan // 250}.{lan % 250}.1"
        routes = [{"to": "10.0.0.0/8", "via": gateway, "device": f"eth{len(nics)}"}] if lans > 1 else []
        nodes.append(process_nodes.Node.from_options({"name": f"n-{number}", "kind": "process", "interfaces": nics, "routes": routes}))
    return nodes


def kilobytes(pid: int) -> int:
    """Return the memory of a process, what it shares with others in equal parts."""
    return int(re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)[1])


def of_the_kernel() -> int:
    """Return the memory, in kB, that the kernel has for itself and cannot give back."""
    shown = dict(re.findall(r"^(\w+):\s+(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE))
    return sum(int(shown[name]) for name in ("SUnreclaim", "KernelStack", "PageTables", "Percpu"))


class Bench:
    """An experiment of so many nodes."""

    def __init__(self, root: str, count: int) -> None:
        self.rundir = RunDir("bench", "nodes", "bench.nodes", root)
        self.rundir.create()
        self.nodes = described(count)
        hosts = [[node.guest.name, nic.substrate, index, nic.address] for node in self.nodes for index, nic in enumerate(node.guest.nics)]
        self.around = process_nodes.Around(self.rundir, hosts)
        self.pace = node_supervisor.Pace(command_wait=0, plug_wait=60)
        lans = {nic.switch for node in self.nodes for nic in node.guest.nics}
        vde.present(self.rundir, [vde.Switch(lan, lan, 32) for lan in sorted(lans)], False, False)

    def up(self) -> float:
        """Bring them up; returns the seconds that took."""
        began = time.monotonic()
        results = process_nodes.started(self.around, self.nodes, self.pace, True, False)
        wrong = [result for result in results if result["state"] != "booted" or result["detail"]]
        if wrong:
            raise SystemExit(f"{len(wrong)} of {len(results)} are not well: {wrong[0]}")
        return time.monotonic() - began

    def down(self) -> float:
        """Take them away; returns the seconds that took."""
        began = time.monotonic()
        process_nodes.absent(self.around, [node.guest.id for node in self.nodes], self.pace, False)
        return time.monotonic() - began

    def close(self) -> None:
        """Take the switches away."""
        node_supervisor.halt(self.rundir)
        vde.absent(self.rundir, vde.known(self.rundir), False)

    def enter(self, node: str, *words: str) -> list[str]:
        """Return a command that runs in a node."""
        return [f"{self.rundir.path}/nodes/enter", node, "--", *words]

    def run(self, node: str, *words: str) -> str:
        """Run a command in a node."""
        return subprocess.run(self.enter(node, *words), check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout


def cost(count: int) -> str:
    """Return a row: what so many nodes cost."""
    root = tempfile.mkdtemp(prefix="bn-", dir="/tmp")
    os.chmod(root, 0o711)
    bench = Bench(root, count)
    try:
        before = of_the_kernel()
        up = bench.up()
        processes = node_supervisor.processes(bench.rundir)
        held = sum(kilobytes(process.pid) for process in processes)
        kernel = of_the_kernel() - before
        began = time.monotonic()
        process_nodes.started(bench.around, bench.nodes, bench.pace, True, False)
        again = time.monotonic() - began
        down = bench.down()
        interfaces = sum(len(node.guest.nics) for node in bench.nodes)
        return (
            f"| {count} | {interfaces} | {len(processes) + 1} | {held / 1024:.1f} | {held / count:.0f} "
            f"| {kernel / count:.0f} | {up:.1f} | {again:.1f} | {down:.1f} |"
        )
    finally:
        bench.close()
        shutil.rmtree(root, ignore_errors=True)


def speed(in_c: bool) -> str:
    """Return a row: how fast two nodes on a switch speak with each other, by our plug or by one process of vde2 for each interface."""
    root = tempfile.mkdtemp(prefix="bn-", dir="/tmp")
    os.chmod(root, 0o711)
    bench = Bench(root, 2)
    plugs: list[subprocess.Popen[bytes]] = []
    try:
        bench.up()
        goal, pids = "10.0.0.2", [bench_plug(bench)]
        if in_c:
            goal = "10.99.0.2"
            for number in (0, 1):
                directory = vde.control_directory(bench.rundir, "lan0")
                space = ["nsenter", f"--net={network_of(bench, number)}"]
                plugs.append(subprocess.Popen([*space, "vde_plug", f"vde://{directory}[{20 + number}]", "tap://tap0"]))
                time.sleep(0.5)
                for words in (["addr", "add", f"10.99.0.{number + 1}/24", "dev", "tap0"], ["link", "set", "tap0", "up"]):
                    subprocess.run([*space, "ip", *words], check=True)
            pids = [plug.pid for plug in plugs]
        held = sum(kilobytes(pid) for pid in pids)
        bench.run("n-0", "ping", "-c", "3", "-i", "0.2", goal)
        times = sorted(float(t) for t in re.findall(r"time=([0-9.]+)", bench.run("n-0", "ping", "-c", "500", "-i", "0.01", goal)))
        server = subprocess.Popen(bench.enter("n-1", "iperf3", "-s", "-1"), stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        time.sleep(0.5)
        told = json.loads(bench.run("n-0", "iperf3", "-J", "-c", goal, "-t", str(SECONDS), "-O", "1"))
        server.wait(timeout=30)
        rate = told["end"]["sum_received"]["bits_per_second"] / 1e6
        name = "`vde_plug`, one for each interface" if in_c else "one plug for all"
        return f"| {name} | {len(pids)} | {held} | {times[len(times) // 2]:.2f} | {rate:.0f} |"
    finally:
        for plug in plugs:
            plug.kill()
            plug.wait()
        bench.close()
        shutil.rmtree(root, ignore_errors=True)


def bench_plug(bench: Bench) -> int:
    """Return the process of the plug."""
    return int(node_supervisor.said(bench.rundir)[1]["plug"])


def network_of(bench: Bench, number: int) -> str:
    """Return a path of a node's network."""
    keeper, state = node_supervisor.said(bench.rundir)
    return f"/proc/{keeper.pid}/fd/{state['nodes'][bench.nodes[number].guest.id]['spaces']['net']}"


def main() -> None:
    """Print the tables."""
    counts = [int(word) for word in sys.argv[1:]] or [10, 100, 1000]
    print("| nodes | interfaces | processes | memory, MB | a node, kB | kernel, a node, kB | up, s | again, s | down, s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for count in counts:
        print(cost(count), flush=True)
    print()
    print("| between two nodes | processes | memory, kB | round trip, ms | TCP, Mb/s |")
    print("| --- | --- | --- | --- | --- |")
    for in_c in (False, True):
        print(speed(in_c), flush=True)


if __name__ == "__main__":
    main()

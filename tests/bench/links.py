# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What switches, cables and shapers cost: `python -m tests.bench.links`, as root, prints a Markdown table.

Needs iperf3 and openssh-server. Everything happens in network namespaces: the nodes, and for cables the two hosts between them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .. import cabled_hosts
from .wires import Wires, run

INSIDE = "BENITO_BENCH_NETWORK"
SECONDS = 5


def in_node(node: str, *words: str) -> str:
    """Run a command in a node."""
    return run("ip", "netns", "exec", node, *words)


def round_trip(node: str, goal: str) -> float:
    """Return the middle of 500 round trips, in ms."""
    in_node(node, "ping", "-c", "3", "-i", "0.2", goal)
    times = sorted(float(t) for t in re.findall(r"time=([0-9.]+)", in_node(node, "ping", "-c", "500", "-i", "0.01", goal)))
    return times[len(times) // 2]


def throughput(node: str, other: str, goal: str) -> tuple[float, float]:
    """Return what one TCP connection gets, in Mb/s: from the node, and to it."""
    found = []
    for direction in ((), ("--reverse",)):
        server = subprocess.Popen(["ip", "netns", "exec", other, "iperf3", "-s", "-1"], stdout=subprocess.DEVNULL)
        time.sleep(0.3)
        out = in_node(node, "iperf3", "-J", "-c", goal, "-t", str(SECONDS), "-O", "1", *direction)
        server.wait(timeout=20)
        found.append(json.loads(out)["end"]["sum_received"]["bits_per_second"] / 1e6)
    return found[0], found[1]


@contextlib.contextmanager
def one_switch() -> Iterator[tuple[str, str, str]]:
    """Yield two nodes on one switch: their names, and the address of the second."""
    with Wires(1, shaped=False) as wires:
        yield wires.nodes[0], wires.nodes[1], "10.0.0.2"


@contextlib.contextmanager
def shaped() -> Iterator[tuple[str, str, str]]:
    """Yield two nodes with a shaper each that has no values."""
    with Wires(1) as wires:
        yield wires.nodes[0], wires.nodes[1], "10.0.0.2"


def cable(transport: str) -> Callable[[], contextlib.AbstractContextManager[tuple[str, str, str]]]:
    """Return what makes two nodes on two hosts with a cable between their switches."""

    @contextlib.contextmanager
    def make() -> Iterator[tuple[str, str, str]]:
        with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
            keys = cabled_hosts.make_keys(Path(directory))
            one, two = stack.enter_context(cabled_hosts.two_hosts(keys, Path(directory)))
            cabled_hosts.connect(one, two, transport)
            name = cabled_hosts.EXPERIMENT["experiment"]
            yield f"{one.name}-{name}", f"{two.name}-{name}", "10.0.0.2"

    return make


@contextlib.contextmanager
def bridge() -> Iterator[tuple[str, str, str]]:
    """Yield two nodes on a bridge of the kernel."""
    with contextlib.ExitStack() as stack:
        names = [f"br{os.getpid()}-{number}" for number in (1, 2)]
        run("ip", "link", "add", "floor", "type", "bridge")
        stack.callback(subprocess.run, ["ip", "link", "delete", "floor"], check=False)
        run("ip", "link", "set", "floor", "up")
        for number, name in enumerate(names, 1):
            run("ip", "netns", "add", name)
            stack.callback(subprocess.run, ["ip", "netns", "delete", name], check=False)
            run("ip", "link", "add", f"floor{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
            run("ip", "link", "set", f"floor{number}", "master", "floor", "up")
            run("ip", "-n", name, "address", "add", f"10.0.0.{number}/24", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "up")
        yield names[0], names[1], "10.0.0.2"


BRIDGE = "Linux bridge with veth"
ROWS = {
    BRIDGE: bridge,
    "one switch": one_switch,
    "two switches, cable ssh": cable("ssh"),
    "two switches, cable tcp": cable("tcp"),
    "two switches, cable udp": cable("udp"),
    "two switches, cable vxlan": cable("vxlan"),
    "one switch, a shaper without values at each end": shaped,
}


def main() -> None:
    """Print the table."""
    if os.geteuid() != 0:
        sys.exit("it makes network namespaces: run it as root")
    if INSIDE not in os.environ:
        os.execvpe("unshare", ["unshare", "--net", sys.executable, "-B", "-m", "tests.bench.links"], {**os.environ, INSIDE: "1"})
    # Frames that a socket may hold: what systemd sets at boot.
    Path("/proc/sys/net/unix/max_dgram_qlen").write_text("512")
    print("| between two nodes | round trip, ms | TCP there, Mb/s | TCP back, Mb/s |\n| --- | --- | --- | --- |", flush=True)
    for what, make in ROWS.items():
        with make() as (node, other, goal):
            trip = round_trip(node, goal)
            there, back = throughput(node, other, goal)
            print(f"| {what} | {trip:.2f} | {there:.0f} | {back:.0f} |", flush=True)


if __name__ == "__main__":
    main()

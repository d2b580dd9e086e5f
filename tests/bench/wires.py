# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes in network namespaces, wired as the guests of an experiment are: own switch, shaper, switch of the substrate."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from ansible_collections.benito.testbed.plugins.module_utils import shapers, vde
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir

PROBE = Path(__file__).with_name("probe.py")
# Bytes of the frames that the probe sends when it measures rates.
FRAME = 1514


def run(*words: str) -> str:
    """Run a command and return what it printed."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def rate(arrived: dict[str, Any]) -> float:
    """Return Mb/s of frames, once the first tenth has gone by."""
    moments = arrived["times"]
    skipped = len(moments) // 10
    return (len(moments) - skipped - 1) * FRAME * 8 / (moments[-1] - moments[skipped]) / 1e6


def losses(arrived: dict[str, Any], count: int) -> tuple[float, float]:
    """Return the fraction of packets lost, and the mean length of a run of them."""
    there = [-1, *sorted(set(arrived["numbers"])), count]
    runs = [after - before - 1 for before, after in pairwise(there) if after - before > 1]
    return 1 - (len(there) - 2) / count, statistics.fmean(runs) if runs else 0.0


class Wires:
    """A row of nodes, each linked with the next; all of it is gone after the ``with``.

    Node N has the interface tN on the link to the next node, with address 10.0.N.1, and tM on the link M before it, with 10.0.M.2.
    """

    def __init__(self, links: int, shaped: bool = True) -> None:
        self.links = links
        self.shaped = shaped
        self.nodes = [f"bw{os.getpid()}-{number}" for number in range(links + 1)]
        root = tempfile.mkdtemp(prefix="bw-", dir="/tmp")
        os.chmod(root, 0o711)
        self.rundir = RunDir("bench", "wires", "bench.wires", root)
        self._processes: list[subprocess.Popen[Any]] = []

    def __enter__(self) -> Wires:
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *reason: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()
        for id_ in shapers.known(self.rundir):
            shapers.halt(self.rundir, id_)
        for id_ in vde.known(self.rundir):
            vde.halt(self.rundir, id_)
        for node in self.nodes:
            subprocess.run(["ip", "netns", "delete", node], check=False, capture_output=True)
        shutil.rmtree(self.rundir.root, ignore_errors=True)

    def _make(self) -> None:
        self.rundir.create()
        for node in self.nodes:
            run("ip", "netns", "add", node)
            run("ip", "-n", node, "link", "set", "lo", "up")
            run(*self.inside(node, "sysctl", "-qw", "net.ipv4.ip_forward=1"))
        for link in range(self.links):
            self.switch(f"link{link}")
            for end in (0, 1):
                if self.shaped:
                    self.switch(self.edge(link, end))
        self.shape({})
        for link in range(self.links):
            for end in (0, 1):
                plug = (self.edge(link, end), 1) if self.shaped else (f"link{link}", end + 1)
                self._tap(self.nodes[link + end], f"t{link}", *plug, f"10.0.{link}.{end + 1}/24")
        for number, node in enumerate(self.nodes):
            for link in range(self.links):
                if link not in (number - 1, number):
                    way = f"10.0.{number}.2" if link > number else f"10.0.{number - 1}.1"
                    run("ip", "-n", node, "route", "add", f"10.0.{link}.0/24", "via", way)

    def switch(self, name: str) -> None:
        """Start a switch."""
        vde.start(self.rundir, vde.Switch(name, name, 32))

    def edge(self, link: int, end: int) -> str:
        """Name of the own switch of an interface, and of its shaper."""
        return f"e{link}.{end}"

    def shapers(self, out: Mapping[str, float], into: Mapping[str, float] | None = None) -> list[shapers.Shaper]:
        """Return the shapers of all interfaces, all with the same values."""
        ways = {"out": out, "in": out if into is None else into}
        places = [(link, end) for link in range(self.links) for end in (0, 1)] if self.shaped else []
        return [
            shapers.Shaper.from_options(
                {"name": f"n{link + end}:t{link}", "id": self.edge(link, end), "edge": self.edge(link, end), "edge_port": 2}
                | {"node": f"n{link + end}", "interface": f"t{link}", "switch": f"link{link}", "port": end + 1, **ways}
            )
            for link, end in places
        ]

    def shape(self, out: Mapping[str, float], into: Mapping[str, float] | None = None) -> list[dict[str, Any]]:
        """Give all interfaces these values; return what was done."""
        results = shapers.present(self.rundir, self.shapers(out, into), purge=False, check=False)
        failed = [result for result in results if result.get("failed")]
        if failed:
            raise RuntimeError(str(failed))
        return results

    def _tap(self, node: str, device: str, switch: str, port: int, address: str) -> None:
        plug = f"vde://{vde.control_directory(self.rundir, switch)}[{port}]"
        self._start(node, "vde_plug", plug, f"tap://{device}")
        deadline = time.monotonic() + 10
        while subprocess.run(["ip", "-n", node, "link", "show", device], check=False, capture_output=True).returncode:
            if time.monotonic() > deadline:
                raise RuntimeError(f"vde_plug made no {device}")
            time.sleep(0.02)
        run("ip", "-n", node, "address", "add", address, "dev", device)
        run("ip", "-n", node, "link", "set", device, "up")

    def inside(self, node: str, *words: str) -> list[str]:
        """Return the command that runs inside a node."""
        return ["ip", "netns", "exec", node, *words]

    def _start(self, node: str, *words: str) -> subprocess.Popen[str]:
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(self.inside(node, *words), stdin=quiet, stdout=subprocess.PIPE, stderr=quiet, text=True)
        self._processes.append(process)
        return process

    def probe(self, number: int, *words: object) -> subprocess.Popen[str]:
        """Start a probe in a node."""
        return self._start(self.nodes[number], sys.executable, str(PROBE), *map(str, words))

    def _listening(self, number: int, role: str) -> subprocess.Popen[str]:
        process = self.probe(number, role)
        if not process.stdout or process.stdout.readline() != "ready\n":
            raise RuntimeError(f"the probe {role} did not start")
        return process

    def round_trips(self, goal: str, count: int, interval: float) -> list[float]:
        """Measure round trips, in ms, from the first node to an address, which is that of node 1 or 2."""
        server = self._listening(1 if goal == "10.0.0.2" else self.links, "echo")
        try:
            # What has to be learned first is no part of it.
            self.probe(0, "rtt", goal, 20, 0.05).communicate()
            return [float(x) for x in json.loads(self.probe(0, "rtt", goal, count, interval).communicate()[0])]
        finally:
            server.kill()

    def arrivals(self, count: int, rate: float, both: bool = True) -> list[dict[str, Any]]:
        """Send full frames over the first link, in both directions at once; return what arrived at each end."""
        self.round_trips("10.0.0.2", 2, 0.1)
        ends = ((1, 0, "10.0.0.2"), (0, 1, "10.0.0.1")) if both else ((1, 0, "10.0.0.2"),)
        sinks = [self._listening(at, "sink") for at, dummy, dummy2 in ends]
        for dummy, source, goal in ends:
            self.probe(source, "blast", goal, count, rate)
        return [json.loads(sink.communicate()[0]) for sink in sinks]

    def kill(self, node: int) -> None:
        """Take a node away."""
        with contextlib.suppress(subprocess.CalledProcessError):
            run("ip", "netns", "delete", self.nodes[node])

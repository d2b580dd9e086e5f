# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same work for each host, on 1, 2 and 4 hosts: machines of systemd-nspawn that share this machine's cores.

Wall time cannot say what a host would take alone where cores are shared. So each host's processor time is taken from its control group,
in one experiment over all of them, and in as many experiments of one host each at the same time: where it is the same, hosts of their
own would not wait for each other. Alone a host takes less, since who else uses cores and caches makes everything slower.
"""

from __future__ import annotations

import os
import resource
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...hosts import lab, machines
from ...hosts.topologies import node, substrate, topology
from ..results import Measure, Ratio, Table, Unavailable, in_turns
from .networks import PROCESS

PROCESSES, GUESTS = 50, 4
MOST = 1.15


def work(hosts: int, processes: int = PROCESSES, guests: int = GUESTS) -> str:
    """Return a topology: on each host LANs of ten process nodes, and a LAN of guests."""
    nodes, lans = [], []
    for host in range(hosts):
        for number in range(processes):
            nodes.append(node(f"p-{host}-{number}", host, [f"lan-{host}-{number // 10}"], PROCESS))
        nodes += [node(f"g-{host}-{number}", host, [f"guests-{host}"]) for number in range(guests)]
        lans += [f"lan-{host}-{number}" for number in range(-(-processes // 10))] + [f"guests-{host}"] * bool(guests)
    return topology([substrate(name) for name in lans], nodes)


def spent(host: machines.Host) -> float:
    """Return the processor seconds of everything that ever ran on a host."""
    for group in host.groups:
        if (group / "cpu.stat").exists():
            words = (group / "cpu.stat").read_text().split()
            return int(words[words.index("usage_usec") + 1]) / 1e6
    raise Unavailable("this machine has no control groups of the second version")


@dataclass(frozen=True)
class Run:
    """A swap-in of its own: the hosts that it is over, a pool of them, and a topology."""

    hosts: Sequence[machines.Host]
    pool: Path
    topology: Path


class Field:
    """The hosts, and the swap-ins over some of them."""

    def __init__(self, network: machines.Network, hosts: Sequence[machines.Host], home: Path) -> None:
        self.network, self.hosts, self.home = network, hosts, home

    def _run(self, name: str, hosts: Sequence[machines.Host]) -> Run:
        pool = self.network.write_pool({host.name: {} for host in hosts}).replace(self.home / f"{name}.yml")
        topology = self.home / f"{name}.topdl"
        topology.write_text(work(len(hosts)))
        return Run(hosts, pool, topology)

    def _play(self, playbook: str, run: Run) -> None:
        done = self.network.run(
            *("ansible-playbook", f"playbooks/{playbook}.yml", "-i", str(run.pool), "-i", str(run.topology)),
            *("-e", f"benito_size={len(run.hosts)}", "-e", "benito_start=cold"),
            timeout=1800,
        )
        if done.code:
            raise RuntimeError(f"{playbook} failed: {done.out[-800:]}")

    def _play_all(self, playbook: str, runs: Sequence[Run]) -> None:
        """Play it for all runs at the same time; all of them have ended, well or not, when this does."""
        with ThreadPoolExecutor(len(runs)) as threads:
            list(threads.map(partial(self._play, playbook), runs))

    def _once(self, runs: Sequence[Run]) -> Mapping[str, float]:
        """Swap in and out, all runs at the same time; return what the hosts and the controller took for the swap-in."""
        used = [host for run in runs for host in run.hosts]
        before, controller, began = [spent(host) for host in used], children(), time.monotonic()
        try:
            self._play_all("swapin", runs)
            wall = time.monotonic() - began
            each = [spent(host) - earlier for host, earlier in zip(used, before, strict=True)]
            own = children() - controller
        finally:
            self._play_all("swapout", runs)
        return {
            "wall": wall,
            "cores": (sum(each) + own) / len(os.sched_getaffinity(0)),
            "host": statistics.fmean(each),
            "least": min(each),
            "most": max(each),
            "controller": own,
        }

    def together(self, count: int) -> Mapping[str, Mapping[str, float]]:
        """One experiment over so many hosts."""
        return {row_of(count): self._once([self._run(f"hosts-{count}", self.hosts[:count])])}

    def apart(self, count: int) -> Mapping[str, Mapping[str, float]]:
        """So many hosts at the same time, each with an experiment and a controller's run of its own."""
        found = self._once([self._run(host.name, [host]) for host in self.hosts[:count]])
        return {row_of(count): {"apart": found["host"]}}


def children() -> float:
    """Return the processor seconds of programs that were started from here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def row_of(count: int) -> str:
    """Return what a row is called."""
    return f"{count} host{'s' if count > 1 else ''}"


def tables(bench: Any) -> Iterator[Table]:
    """Measure 1, 2 and 4 hosts."""
    sizes = bench.of((1, 2, 4), (1, 2))
    with lab.network() as network, lab.hosts(network, machines.ALL_NAMES[: max(sizes)]) as hosts:
        field = Field(network, hosts, bench.home)
        ways = {row_of(n): partial(field.together, n) for n in sizes}
        ways |= {f"{row_of(n)} apart": partial(field.apart, n) for n in sizes}
        samples, reasons = in_turns(ways, bench.rounds, bench.say)
    rows = [row_of(count) for count in sizes]
    yield Table(
        "hosts",
        "The same work for each host",
        (
            Measure("wall", "wall, s"),
            Measure("cores", "all processor time, by cores, s"),
            Measure("host", "processor time of a host, s"),
            Measure("least", "least of them, s"),
            Measure("most", "most of them, s"),
            Measure("apart", "of a host apart, s"),
            Measure("controller", "of the controller, s"),
        ),
        (
            Ratio("apart-to", "a host, of one apart", "host", "apart", targets=dict.fromkeys(rows[1:], MOST)),
            Ratio("spread", "most of least", "most", "least", targets=dict.fromkeys(rows[1:], MOST)),
            Ratio("host-to", "a host, of one alone", "host", "host", rows[0]),
            Ratio("wall-to", "wall, of what the cores need", "wall", "cores"),
        ),
        ("wall", "cores", "host"),
        {row: samples[row] for row in rows},
        reasons,
        (
            f"Each host has {PROCESSES} process nodes in LANs of ten, and {GUESTS} guests that are booted. Hosts are machines of "
            "systemd-nspawn with systemd and sshd; they share the cores of this machine, so wall time grows with the work of all.",
            "How shared cores are told apart: processor time of all that runs on a host is its control group's. A host apart is one of as "
            "many at the same time, each with an experiment of its own: it has the same company, and nothing to do with it. One alone "
            "has cores and caches to itself. What all hosts and the controller took, divided by the cores, is the least that the wall "
            "time can be.",
        ),
    )

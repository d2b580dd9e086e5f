# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Process nodes up and down: ours, beside Mininet and what is left when nothing but the kernel's part is done."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.benito.testbed.plugins.module_utils import process_nodes, sweep, vde
from ansible_collections.benito.testbed.plugins.module_utils.node_supervisor import Pace
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir
from ansible_collections.benito.testbed.plugins.plugin_utils.plan import make_plan

from .. import ours
from ..results import Measure, Ratio, Table, Unavailable, Way, in_turns
from . import networks, plumbing

# Seconds for a thousand nodes; and what the kernel is given to take away what was there before.
SOON, SETTLING = 60, 3
FLOOR, MININET = "`ip -batch`", "Mininet"
HOST, WHOLE = "ours, on the host", "ours, by playbook"


class Network:
    """A network, and the ways to bring it up and take it away."""

    def __init__(self, shape: str, count: int, home: Path) -> None:
        lans = networks.SHAPES[shape](count)
        # Names of LANs are their numbers; a grid's links are links.
        self.lans, self.direct = networks.addressed(lans), shape == "grid"
        topology = home / f"{shape}-{count}.topdl"
        topology.write_text(networks.topdl(lans))
        self.experiment = ours.Experiment(topology, home)
        self.count = count

    def plumbing(self) -> Mapping[str, Mapping[str, float]]:
        """Do the kernel's part only."""
        time.sleep(SETTLING)
        return {FLOOR: plumbing.plumb(self.lans, self.direct)}

    def mininet(self) -> Mapping[str, Mapping[str, float]]:
        """Let Mininet do it."""
        if not Path("/usr/lib/python3/dist-packages/mininet").is_dir():
            raise Unavailable("Mininet is not installed")
        time.sleep(SETTLING)
        done = subprocess.run(
            ["/usr/bin/python3", "-B", str(Path(__file__).with_name("mininet_net.py"))],
            input=json.dumps({"lans": self.lans, "direct": self.direct}),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"Mininet failed: {' '.join(done.stderr.splitlines()[-1:])}")
        told = json.loads(done.stdout.splitlines()[-1])
        if not told.pop("works"):
            raise RuntimeError("Mininet's network does not work: no answer in the first LAN")
        return {MININET: told}

    def host(self) -> Mapping[str, Mapping[str, float]]:
        """Do what our modules do on a host, in one process, from the document that they are handed."""
        plan = make_plan(str(self.experiment.topology), {"project": ours.PROJECT, "state_dir": str(self.experiment.home / "none")})
        document = plan.document("pnode-0000")
        names = document["experiment"]
        time.sleep(SETTLING)
        began = time.monotonic()
        rundir = RunDir.from_options(names, str(ours.STATE))
        rundir.create()
        try:
            failed(vde.present(rundir, [vde.Switch(s["name"], s["id"], s["ports"]) for s in document["switches"]], True, False))
            nodes = [process_nodes.Node.from_options(entry) for entry in document["guests"]]
            around = process_nodes.Around(rundir, document["hosts"])
            failed(process_nodes.started(around, nodes, Pace(), True, False))
            up = time.monotonic() - began
        finally:
            began = time.monotonic()
            sweep.sweep(sweep.find(names["project"], names["experiment"], str(ours.STATE)), str(ours.STATE))
            down = time.monotonic() - began
        return {HOST: {"up": up, "down": down}}

    def whole(self) -> Mapping[str, Mapping[str, float]]:
        """Swap in and out."""
        time.sleep(SETTLING)
        try:
            up = self.experiment.swap_in()
        finally:
            down = self.experiment.swap_out()
        return {WHOLE: {"up": up, "down": down}}


def failed(results: Sequence[Mapping[str, Any]]) -> None:
    """Raise when anything is not as wanted."""
    wrong = [result for result in results if result.get("failed") or result.get("state") not in (None, "booted", "running")]
    if wrong:
        raise RuntimeError(f"{len(wrong)} of {len(results)} are not well: {wrong[0]}")


NOTES = (
    "`ip -batch`: namespaces, veth pairs, bridges and addresses, and nothing else. Mininet: its Python interface, `LinuxBridge` "
    "switches, no controller; links of the grid go from node to node. Both have addresses and no routes.",
    "Ours have routes to everywhere, names, keys, and switches that can be joined over hosts. On the host: what our modules do there, "
    "without Ansible. By playbook: all of `ansible-playbook`, from its start to its end, the plan included.",
)


def tables(bench: Any) -> Iterator[Table]:
    """Measure a chain of LANs and a grid of a hundred nodes, and a thousand nodes."""
    (small,) = bench.of((100,), (100,))[:1]
    for shape, title in (("chain", "{0} process nodes, {0} LANs in a chain"), ("grid", "{0} process nodes in a grid")):
        network = Network(shape, small, bench.home)
        yield measured(bench, f"{shape}-{small}", title.format(small), network, True)
    sizes = bench.of((1000,), ())
    if sizes[-1:] and (sizes[-1] != small or not bench.sizes):
        yield measured(
            bench, f"lans-{sizes[-1]}", f"{sizes[-1]:,} process nodes in LANs of ten", Network("lans", sizes[-1], bench.home), False
        )


def measured(bench: Any, key: str, title: str, network: Network, beside: bool) -> Table:
    """Measure one network; ``beside`` says whether Mininet is asked, too."""
    ways: dict[str, Way] = {FLOOR: network.plumbing, HOST: network.host, WHOLE: network.whole}
    if beside:
        ways = {FLOOR: network.plumbing, MININET: network.mininet, HOST: network.host, WHOLE: network.whole}
    samples, reasons = in_turns(ways, bench.rounds, bench.say)
    other = MININET if beside else FLOOR
    targets = [{HOST: most, WHOLE: most} if beside and network.count >= 100 else {} for most in (0.5, 0.1)]
    return Table(
        key,
        title,
        (Measure("up", "up, s", 2, {HOST: SOON, WHOLE: SOON} if network.count == 1000 else {}), Measure("down", "down, s", 2)),
        (
            Ratio("up-to", f"up, of {other}", "up", "up", other, targets=targets[0]),
            Ratio("down-to", f"down, of {other}", "down", "down", other, targets=targets[1]),
        ),
        ("up", "down"),
        samples,
        reasons,
        NOTES if beside else (),
    )

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan costs: `python tests/bench/planning.py [--shapes SHAPE,...] [NODES...]` prints a Markdown table.

Topologies of each shape (see shapes.py) and size are planned for a hundred nodes on each host, and listed by `ansible-inventory`; so
are the same hosts, groups and variables from a static YAML file. Seconds are user CPU time of a process of its own, so that other work
on the machine matters less. What needs more than LIMIT seconds or MEMORY is given up, and has a dash.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from shapes import SHAPES, topdl

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / ".collections"))

from ansible_collections.benito.testbed.plugins.plugin_utils import plan as planning  # noqa: E402

SIZES = (100, 1000, 10000)
PER_HOST = 100
LIMIT = 150  # seconds of CPU time
MEMORY = 3 << 30  # bytes
# Functions of the plan, as plan.py calls them, and what the table calls them.
PARTS = {
    "read_topology": "read",
    "_place": "place",
    "compute_routes": "routes",
    "wire": "wire",
}


def parts(topology: str, state: str, hosts: int) -> dict[str, float]:
    """Plan once in this process; return the seconds of each part and the number of routes."""
    spent: Counter[str] = Counter()

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            start = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                spent[name] += time.process_time() - start

        return run

    for function, name in PARTS.items():
        setattr(planning, function, timed(name, getattr(planning, function)))
    start = time.process_time()
    plan = planning.make_plan(topology, {"state_dir": state, "size": hosts})
    whole = time.process_time() - start
    return {**dict.fromkeys(PARTS.values(), 0), **spent, "plan": whole, "total": sum(len(node.routes) for node in plan.nodes)}


def run(command: list[str], state: str, output: Path) -> tuple[float, int] | None:
    """Run a command within the limits; return its seconds and its largest size in MB, or None when it was not done."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT))

    environment = {**os.environ, "BENITO_STATE_DIR": state, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "LC_ALL": "C.UTF-8"}
    with output.open("wb") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.DEVNULL, env=environment, preexec_fn=limited
        )
        dummy, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return None if process.returncode else (used.ru_utime, used.ru_maxrss // 1024)


def static(listed: dict[str, Any]) -> dict[str, Any]:
    """Return what `ansible-inventory --list --export` printed as the static inventory of the same."""
    variables = listed.pop("_meta")["hostvars"]

    def group(name: str) -> dict[str, Any]:
        found = listed[name]
        return {
            "vars": found.get("vars", {}),
            "hosts": dict.fromkeys(found.get("hosts", ())),
            "children": {child: group(child) if child in listed else None for child in found.get("children", ())},
        }

    return {"all": {**group("all"), "hosts": variables}}


def row(shape: str, size: int, work: Path) -> list[str]:
    """Measure one shape of one size."""
    links = SHAPES[shape](size)
    nodes = len({node for link in links for node in link})
    hosts = max(nodes // PER_HOST, 1)
    topology, fixed, output = work / f"{shape}-{size}.topdl", work / f"{shape}-{size}.yml", work / "output.json"
    topology.write_text(topdl(links))
    state = str(work / "state")
    cells = [shape, f"{nodes:,}", f"{len(links):,}"]
    if not run([sys.executable, __file__, "--parts", str(topology), state, str(hosts)], state, output):
        return [*cells, *["-"] * (len(PARTS) + 6)]
    found = json.loads(output.read_text())
    cells += [*(f"{found[name]:.2f}" for name in PARTS.values()), f"{found['plan']:.2f}", f"{found['total']:,.0f}"]
    inventory = [str(Path(sys.executable).with_name("ansible-inventory")), "--list"]
    ours = [*inventory, "-i", str(topology), "-e", f"benito_size={hosts}"]
    listed = run(ours, state, output)
    if listed is None or not run([*ours, "--export"], state, work / "export.json"):
        return [*cells, *["-"] * 4]
    fixed.write_text(yaml.dump(static(json.loads((work / "export.json").read_text())), Dumper=yaml.CSafeDumper))
    beside = run([*inventory, "-i", str(fixed)], state, output)
    ratio = f"{listed[0] / beside[0]:.2f}" if beside else "-"
    return [*cells, f"{listed[0]:.1f}", f"{beside[0]:.1f}" if beside else "-", ratio, str(listed[1])]


def main() -> None:
    """Print the table."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--parts"]:
        print(json.dumps(parts(arguments[1], arguments[2], int(arguments[3]))))
        return
    shapes = list(SHAPES)
    if arguments[:1] == ["--shapes"]:
        shapes, arguments = arguments[1].split(","), arguments[2:]
    heads = ["shape", "nodes", "links", *PARTS.values(), "plan", "routes", "`--list`", "YAML file", "ratio", "MB"]
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}", flush=True)
    with tempfile.TemporaryDirectory(prefix="benito-bench-") as work:
        for shape in shapes:
            for size in map(int, arguments or SIZES):
                print(f"| {' | '.join(row(shape, size, Path(work)))} |", flush=True)


if __name__ == "__main__":
    main()

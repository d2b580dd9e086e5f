# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan costs: the parts of one, and its inventory, each in a process of its own.

Topologies of each shape (see shapes.py) and size are planned for a hundred nodes on each host, and listed by `ansible-inventory`; so
are the same hosts, groups and variables from a static YAML file. Seconds are user CPU time of a process of its own, so that other work
on the machine matters less. What needs more than LIMIT seconds or MEMORY is given up, and has no figures.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.benito.testbed.plugins.plugin_utils import plan as planning
from ansible_collections.benito.testbed.plugins.plugin_utils.collector import made_to_stay

from .shapes import SHAPES, topdl

ROOT = Path(__file__).resolve().parents[2]
INVENTORY = [str(Path(sys.executable).with_name("ansible-inventory")), "--list"]
PER_HOST = 100
LIMIT, LONG = 150, 900  # seconds of CPU time: for us, and for what we are beside
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
    # As the inventory does.
    with made_to_stay():
        start = time.process_time()
        plan = planning.make_plan(topology, {"state_dir": state, "size": hosts})
        whole = time.process_time() - start
    return {
        **dict.fromkeys(PARTS.values(), 0),
        **spent,
        "plan": whole,
        "total": sum(len(route.to) for node in plan.nodes for route in node.routes),
    }


def errors(output: Path) -> Path:
    """Return where the standard error goes of what prints into this file."""
    return output.with_suffix(".err")


def run(command: list[str], state: str, output: Path, limit: int = LIMIT) -> tuple[float, int] | None:
    """Run a command within the limits; return its seconds and its largest size in MB, or None when it was not done."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))

    environment = {**os.environ, "BENITO_STATE_DIR": state, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "LC_ALL": "C.UTF-8"}
    with output.open("wb") as file, errors(output).open("wb") as said:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=said, env=environment, cwd=ROOT, preexec_fn=limited
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


@dataclass(frozen=True)
class Case:
    """A topology of a shape and size, planned for a hundred nodes on each host. Its files are below ``work``.

    ``routing`` is what it says of its own, if anything.
    """

    shape: str
    size: int
    work: Path
    routing: str = ""

    @property
    def name(self) -> str:
        """What to call it."""
        return f"{self.shape}, routing {self.routing}" if self.routing else self.shape

    @cached_property
    def links(self) -> list[list[int]]:
        """Its links."""
        return SHAPES[self.shape](self.size)

    @property
    def nodes(self) -> int:
        """How many nodes it has."""
        return len({node for link in self.links for node in link})

    @property
    def hosts(self) -> int:
        """How many hosts carry it."""
        return max(self.nodes // PER_HOST, 1)

    @property
    def state(self) -> str:
        """A directory for what the plan keeps: nothing."""
        return str(self.work / "state")

    @cached_property
    def topology(self) -> Path:
        """Its file."""
        path = self.work / f"{self.shape}-{self.size}.topdl"
        path.write_text(topdl(self.links, self.routing))
        return path

    @cached_property
    def fixed(self) -> Path | None:
        """What it is listed as, as a static YAML file; None when it cannot be listed."""
        exported, path = self.work / "export.json", self.work / f"{self.shape}-{self.size}.yml"
        if run([*self._ours(), "--export"], self.state, exported) is None:
            return None
        path.write_text(yaml.dump(static(json.loads(exported.read_text())), Dumper=yaml.CSafeDumper))
        return path

    def parts(self) -> dict[str, float] | None:
        """Return the seconds of the parts of its plan."""
        output = self.work / "parts.json"
        command = [sys.executable, "-B", "-m", "tests.bench.planning", "--parts", str(self.topology), self.state, str(self.hosts)]
        return json.loads(output.read_text()) if run(command, self.state, output) else None

    @property
    def complaint(self) -> str:
        """The last words of the plan, where it could not be made."""
        said = errors(self.work / "parts.json").read_text().strip()
        return said.splitlines()[-1].rpartition("Error: ")[2] if said else ""

    def listed(self) -> tuple[float, int] | None:
        """List it; return seconds and MB."""
        return run(self._ours(), self.state, self.work / "output.json")

    def listed_from_yaml(self) -> tuple[float, int] | None:
        """List the same from the static YAML file."""
        return run([*INVENTORY, "-i", str(self.fixed)], self.state, self.work / "output.json", LONG) if self.fixed else None

    def _ours(self) -> list[str]:
        return [*INVENTORY, "-i", str(self.topology), "-e", f"benito_size={self.hosts}"]


def main() -> None:
    """Plan once, as a process of its own: `--parts TOPOLOGY STATE HOSTS`."""
    dummy, topology, state, hosts = sys.argv[1:]
    print(json.dumps(parts(topology, state, int(hosts))))


if __name__ == "__main__":
    main()

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole experiments, run as a user runs them, in a network of their own, and looked at from outside.

Everything happens in a network namespace, the lab: what a swap-in makes there cannot touch the network of the machine
that runs the tests, and no packet of theirs leaves it. A second namespace plays the world outside.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STATE = Path("/var/lib/benito")
# A project of their own: whatever else this machine carries is not looked at.
PROJECT = "benito-test"
OUTSIDE = "198.51.100.1"
LAB = "198.51.100.2"


@dataclass(frozen=True)
class Done:
    """What a command printed and how it ended."""

    code: int
    out: str

    def recap(self, host: str) -> dict[str, int]:
        """Return the numbers of Ansible's recap for a host."""
        line = next(line for line in reversed(self.out.splitlines()) if line.startswith(host) and "changed=" in line)
        return {word.split("=")[0]: int(word.split("=")[1]) for word in line.split(":", 1)[1].split()}

    @property
    def changed(self) -> int:
        """How many tasks changed something, on all hosts together."""
        return sum(int(word.split("=")[1]) for line in self.out.splitlines() for word in line.split() if word.startswith("changed="))

    def row(self, node: str) -> list[str]:
        """Return the cells of a node in the table of nodes, which comes last where there are several."""
        rows = [line.split() for line in self.out.splitlines()]
        # A machine with processes inside has a line in Ansible's recap, too.
        return next(row for row in reversed(rows) if row[:1] == [node] and row[1:2] != [":"])


OTHER_RUN = re.compile(rf"benito-[a-z]+[0-9]*-(?!{os.getpid()}\b)[0-9]+")


class Lab:
    """A network namespace with everything a user of the checkout has."""

    def __init__(self, name: str, home: Path) -> None:
        self.name = name
        self.home = home
        self.state = home / "state"
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "BENITO_"))},
            "HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "BENITO_STATE_DIR": str(self.state),
            "BENITO_PROJECT": PROJECT,
            "LC_ALL": "C.UTF-8",
            "NO_COLOR": "1",
        }

    def argv(self, *words: str) -> list[str]:
        """Return a command that runs in the lab."""
        return ["ip", "netns", "exec", self.name, *words]

    def start(self, *words: str, cwd: Path = ROOT) -> subprocess.Popen[str]:
        """Start a command in the lab."""
        return subprocess.Popen(
            self.argv(*words),
            cwd=cwd,
            env=self.environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, *words: str, cwd: Path = ROOT, timeout: float = 420) -> Done:
        """Run a command in the lab."""
        process = self.start(*words, cwd=cwd)
        out, dummy = process.communicate(timeout=timeout)
        return Done(process.returncode, out)

    def play(self, playbook: str, topology: Path | str, *more: str) -> Done:
        """Run one of our playbooks."""
        return self.run("ansible-playbook", f"playbooks/{playbook}.yml", "-i", str(topology), *more)

    def ssh_words(self, experiment: str, node: str, command: str) -> list[str]:
        """Return the command that runs something on a node, as the README says."""
        config = self.state / experiment / "ssh_config"
        return ["ssh", "-F", str(config), "-o", "BatchMode=yes", "-o", "ConnectTimeout=30", node, command]

    def ssh(self, experiment: str, node: str, command: str, timeout: float = 60) -> Done:
        """Run a command on a node."""
        return self.run(*self.ssh_words(experiment, node, command), timeout=timeout)

    def listing(self) -> dict[str, set[str]]:
        """Everything an experiment could leave behind, as the system itself shows it."""
        links = json.loads(self.run("ip", "-json", "link", "show").out)
        return {
            "processes": marked_processes(),
            "links": {link["ifname"] for link in links},
            "tables": set(self.run("nft", "list", "tables").out.splitlines()),
            "mounts": {
                line for line in Path("/proc/self/mounts").read_text().splitlines() if "benito" in line and "/run/netns" not in line
            },
            # Those of other runs of tests, which bear another number, come and go.
            "namespaces": {name for name in os.listdir("/run/netns") if "benito" in name and not OTHER_RUN.match(name)},
            "directories": {path.name for path in STATE.glob(f"{PROJECT}.*")},
            "state": {str(path.relative_to(self.home)) for path in self.state.rglob("*")} if self.state.exists() else set(),
            "sockets": {line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines() if f"{STATE}/{PROJECT}." in line},
            "forwarding": {self.run("sysctl", "-n", "net.ipv4.ip_forward").out.strip()},
        }


def marked_processes() -> set[str]:
    """Processes of our experiments, by their command lines."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.readlink(entry / "ns/pid") != os.readlink("/proc/self/ns/pid"):
                    continue  # of another machine, a container on this one
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if command.startswith(("qemu-system", "vde_switch")) and f"{STATE}/{PROJECT}." in command:
                found.add(f"{entry.name} {command[:60]}")
    return found


def wait_for(condition, seconds: float = 30) -> bool:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.2)
    return False


def provide(playbook: str) -> None:
    """Fetch and build what tests run on, while there is a way to the package mirrors."""
    if os.geteuid() != 0:
        pytest.fail("the end-to-end tests make network namespaces and must run as root")
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["ansible-playbook", playbook],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def image() -> None:
    """The tiny image and the host's packages."""
    provide("tests/integration/prepare.yml")


@pytest.fixture(scope="session")
def lab(image: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab, and the world outside it."""
    name, world = f"benito-lab-{os.getpid()}", f"benito-world-{os.getpid()}"
    home = tmp_path_factory.mktemp("home")
    for command in (
        f"ip netns add {name}",
        f"ip netns add {world}",
        f"ip -n {name} link set lo up",
        f"ip -n {world} link set lo up",
        f"ip -n {name} link add outside type veth peer name inside netns {world}",
        f"ip -n {name} address add {LAB}/24 dev outside",
        f"ip -n {world} address add {OUTSIDE}/24 dev inside",
        f"ip -n {name} link set outside up",
        f"ip -n {world} link set inside up",
        f"ip -n {name} route add default via {OUTSIDE}",
    ):
        subprocess.run(command.split(), check=True)
    made = Lab(name, home)
    made.world = Lab(world, home)
    try:
        yield made
    finally:
        for namespace in (name, world):
            subprocess.run(["ip", "netns", "delete", namespace], check=False)
        shutil.rmtree(home, ignore_errors=True)

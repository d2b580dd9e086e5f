# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab of three hosts, for a test session or by hand.

    python -B -m tests.hosts.lab            a shell on the controller; the hosts are there until it ends
    python -B -m tests.hosts.lab COMMAND    one command there instead

`$POOL` is the inventory of the hosts: ansible-playbook playbooks/swapin.yml -i $POOL -i examples/pair.topdl
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import machines, root
from .machines import Host, Network


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """Make the hosts' network, with the controller on it."""
    # Short names: paths of sockets below them end at 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="benito-hosts-"))
    made = Network(f"benito-hosts-{os.getpid()}", home)
    try:
        made.create()
        yield made
    finally:
        made.remove()
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def hosts(network: Network, names: Sequence[str] = machines.NAMES) -> Iterator[list[Host]]:
    """Make hosts, three of them, on which every experiment finds what it needs installed."""
    directory = Path(tempfile.mkdtemp(prefix="benito-hosts-"))
    made: list[Host] = []
    try:
        made += machines.make_hosts(network, root.ensure(), directory, names)
        network.write_pool({host.name: {} for host in made})
        done = network.run("ansible-playbook", "-i", str(network.pool), "tests/hosts/prepare.yml")
        assert done.code == 0, done.out
        yield made
    finally:
        machines.remove_hosts(made, directory)


def main(command: list[str]) -> int:
    """Open the lab and run a command in it."""
    # Whoever ends it wants it taken away, too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with network() as net, hosts(net) as made:
        for host in made:
            print(f"{host.name}  {host.address}  from outside: {' '.join(host.argv('bash'))}", file=sys.stderr)
        environment = {**net.environment, "POOL": str(net.pool), "PS1": "lab# "}
        shell = ["bash", "--norc"] if sys.stdin.isatty() else ["sh"]
        return subprocess.run(net.argv(*(command or shell)), cwd=machines.ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    if os.geteuid() != 0:
        raise SystemExit("the lab makes network namespaces and machines: run it as root")
    raise SystemExit(main(sys.argv[1:]))

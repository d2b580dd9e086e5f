# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Experiments over three real hosts, driven over ssh as a user drives them, and looked at from outside."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..integration.conftest import image
from . import machines, root
from .machines import Host, Network

__all__ = ["image"]


@pytest.fixture(scope="session")
def network(image: None) -> Iterator[Network]:
    """The hosts' network, and the controller on it."""
    # A short name: paths of sockets below it end at 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="benito-hosts-"))
    made = Network(f"benito-hosts-{os.getpid()}", home)
    made.create()
    try:
        yield made
    finally:
        made.remove()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def hosts(network: Network) -> Iterator[list[Host]]:
    """Three hosts, on which every experiment finds what it needs installed."""
    directory = Path(tempfile.mkdtemp(prefix="benito-hosts-"))
    made: list[Host] = []
    try:
        made += machines.make_hosts(network, root.ensure(), directory)
        network.write_pool({host.name: {} for host in made})
        done = network.run("ansible-playbook", "-i", str(network.pool), "tests/hosts/prepare.yml")
        assert done.code == 0, done.out
        yield made
    finally:
        machines.remove_hosts(made, directory)

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Experiments over three real hosts, driven over ssh as a user drives them, and looked at from outside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..integration.conftest import image
from . import lab
from .machines import Host, Network

__all__ = ["image"]


@pytest.fixture(scope="session")
def network(image: None) -> Iterator[Network]:
    """The hosts' network, and the controller on it."""
    with lab.network() as made:
        yield made


@pytest.fixture(scope="session")
def hosts(network: Network) -> Iterator[list[Host]]:
    """Three hosts, on which every experiment finds what it needs installed."""
    with lab.hosts(network) as made:
        yield made

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Experiments with nodes of all kinds, in a network of their own or over three hosts."""

from __future__ import annotations

import pytest

from ..hosts.conftest import hosts, network
from ..integration.conftest import lab, provide

__all__ = ["hosts", "lab", "network"]


@pytest.fixture(scope="session")
def image() -> None:
    """All images, and what containers are made of."""
    provide("tests/kinds/prepare.yml")

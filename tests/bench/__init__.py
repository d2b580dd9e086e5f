# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measurements: the benchmark, which is `python -m tests.bench`, and scripts that print a table each."""

from __future__ import annotations

import sys
from pathlib import Path

# The collection, importable as Ansible imports it.
COLLECTIONS = str(Path(__file__).resolve().parents[2] / ".collections")
if COLLECTIONS not in sys.path:
    sys.path.insert(0, COLLECTIONS)

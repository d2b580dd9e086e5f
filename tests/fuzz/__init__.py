# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fuzzing of every reader of what others wrote: `python -B -m tests.fuzz`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# The collection, importable as Ansible imports it.
COLLECTIONS = str(Path(__file__).resolve().parents[2] / ".collections")
if COLLECTIONS not in sys.path:
    sys.path.insert(0, COLLECTIONS)
# Damaged YAML repeats its keys; a warning each time would be all that is seen.
os.environ["ANSIBLE_DUPLICATE_YAML_DICT_KEY"] = "ignore"

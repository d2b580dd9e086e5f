# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is run by ``python3 -I -B .../nodes/programs PROGRAM WORDS...``: there it is ``__main__.py``, beside the package with the programs.

An isolated Python takes that directory into its path, and neither the current one nor anything of an account's.
"""

from __future__ import annotations

import importlib
import os
import sys

if __name__ == "__main__":
    HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    raise SystemExit(importlib.import_module(f"node_programs.{sys.argv[1]}").main(HOME, sys.argv[2:]))

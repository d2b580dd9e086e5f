# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand in for the get-pip.py that ansible-test downloads: install pip from the Python that runs this, then what was asked for."""

from __future__ import annotations

import os
import subprocess
import sys

environment = {name: value for name, value in os.environ.items() if name != "GET_PIP"}
wanted = [argument for argument in sys.argv[1:] if not argument.startswith("--no-")]
subprocess.check_call([sys.executable, "-m", "ensurepip", "--default-pip"], env=environment, stdout=subprocess.DEVNULL)
subprocess.check_call([sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", *wanted], env=environment)

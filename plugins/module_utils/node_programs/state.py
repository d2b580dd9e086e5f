# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is, as the supervisor writes it down: ``state.json``."""

from __future__ import annotations

import json
import os
import time
from typing import Any

# Seconds between two writings.
PAUSE = 0.2


class State:
    """The file: written whole or not at all, and not too often while much goes on."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.dirty = True
        self.written = 0.0
        self.pause = PAUSE

    def changed(self) -> None:
        """Note that there is something to write."""
        self.dirty = True

    def due(self, settled: bool) -> bool:
        """Tell whether it is time to write: at once when there is nothing more to come."""
        return self.dirty and (settled or time.monotonic() >= self.written + self.pause)

    def write(self, content: dict[str, Any]) -> None:
        """Write it."""
        self.written = began = time.monotonic()
        draft = f"{self.path}.new"
        try:
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w", encoding="utf-8") as file:
                json.dump(content, file)
            os.replace(draft, self.path)
        except OSError:
            # No space, perhaps: the nodes live on, and it is tried again.
            return
        self.dirty, self.written = False, time.monotonic()
        # The more there is to write, the less often: nodes are waiting to be made.
        self.pause = max(PAUSE, 20 * (self.written - began))

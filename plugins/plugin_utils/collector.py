# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Python's garbage collector, and much that is no garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def made_to_stay() -> Iterator[None]:
    """Keep the collector away from what is made meanwhile, and from what was there before: in a large plan there is much to walk through.

    A fifth of the time that it takes to list ten thousand nodes would be the collector's. Nor does it write into pages that Ansible's
    workers share with their parent. What was kept from it earlier, it has first.
    """
    if gc.get_freeze_count():
        gc.unfreeze()
        gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""How large a value from a YAML file may be. An alias costs a few characters there, and stands for a whole value each time."""

from __future__ import annotations

from collections.abc import Mapping

VALUES = 200_000  # in one setting; text counts for a value each hundred characters
DEPTH = 20


def too_large(value: object) -> bool:
    """Tell whether a value, with all it holds, is larger or deeper than any setting."""
    count = 0
    waiting = [(value, 1)]
    while waiting:
        thing, depth = waiting.pop()
        count += 1 + (len(thing) // 100 if isinstance(thing, (str, bytes)) else 0)
        if count > VALUES or depth > DEPTH:
            return True
        if isinstance(thing, Mapping):
            waiting.extend((part, depth + 1) for pair in thing.items() for part in pair)
        elif isinstance(thing, (list, tuple, set, frozenset)):
            waiting.extend((part, depth + 1) for part in thing)
        if len(waiting) > VALUES:
            return True
    return False

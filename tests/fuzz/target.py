# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A reader to be fuzzed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


def loaded(data: bytes) -> Any:
    """Return an input that was JSON before it came to the reader, as Ansible reads it; None when it is none."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


@dataclass(frozen=True)
class Target:
    """A reader of what others wrote.

    ``read`` takes an input; any exception of it but ``refusals`` is a crash. ``seeds`` are inputs that make sense, ``words`` such that mean
    something to the reader, ``form`` is how inputs are taken apart: json, xml, words or bytes. ``share`` is its part of all inputs,
    beside those of the others: cheap targets have more.
    """

    name: str
    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    refusals: tuple[type[Exception], ...] = ()
    words: tuple[str, ...] = ()
    form: str = "json"
    share: int = 10

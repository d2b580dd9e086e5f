# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A row of the table of settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .authority import Word, variable


@dataclass(frozen=True)
class Setting:
    """One row of the table.

    ``parse`` turns a word, or a plain value of YAML, into the setting's value, or raises ValueError.
    ``expected`` completes "must be ...". ``word`` says whether a topology file may set it, and within which bounds.
    ``places`` are the objects of a topology that may bear it as an attribute: what a smaller one says is up to who reads it there.
    """

    name: str
    type: str
    default: Any
    parse: Callable[[Any], Any]
    expected: str
    meaning: str
    word: Word
    places: str = "topology"

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return variable(self.name)

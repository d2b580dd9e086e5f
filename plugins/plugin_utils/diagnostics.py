# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plan has to say about its input: where, how bad, what would be right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Location:
    """A place in an input file. ``line`` and ``column`` count from 1; 0 means unknown."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        """Return ``file``, ``file:line`` or ``file:line:column``, as compilers print it."""
        known = [self.file]
        if self.line:
            known.append(str(self.line))
            if self.column:
                known.append(str(self.column))
        return ":".join(known)


NOWHERE = Location("")


class TopologyError(Exception):
    """The input cannot be used. The text is one line and says what would be right."""

    def __init__(self, message: str, where: Location = NOWHERE) -> None:
        self.message = message
        self.where = where
        super().__init__(f"{where}: {message}" if where.file else message)


@dataclass(frozen=True, order=True)
class Notice:
    """The input can be used, but its author should know something."""

    where: Location
    text: str

    def __str__(self) -> str:
        """Return one line, ``file:line:column: text``."""
        return f"{self.where}: {self.text}" if self.where.file else self.text


def one_line(text: str, limit: int = 80) -> str:
    """Quote text of a file for an error message: printable, on one line, at most ``limit`` characters."""
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return repr(shown if len(shown) <= limit else shown[: limit - 3] + "...")


def listing(words: Iterable[str], limit: int = 8) -> str:
    """Join words with commas for a message, cutting long lists."""
    found = list(words)
    more = f" and {len(found) - limit} more" if len(found) > limit else ""
    return ", ".join(found[:limit]) + more

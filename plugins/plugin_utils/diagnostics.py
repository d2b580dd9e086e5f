# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plan has to say about its input: where, how bad, what would be right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice

MOST_NOTICES = 1000  # of one kind


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
    shown = "".join(c if c.isprintable() else "?" for c in text[: limit + 1])
    return repr(shown if len(shown) <= limit else shown[: limit - 3] + "...")


def listing(words: Iterable[str], limit: int = 8) -> str:
    """Join words with commas for a message, cutting long lists."""
    found = list(words)
    more = f" and {len(found) - limit} more" if len(found) > limit else ""
    return ", ".join(found[:limit]) + more


def close_to(word: str, known: Iterable[str], most: int = 3, cutoff: float = 0.6) -> list[str]:
    """Return the known words that a misspelt one is nearest to, for a message.

    Comparing two words takes the square of their length, so that of many or long ones only the first that can be near are compared.
    """
    length = len(word)
    if length > 100:
        return []
    similar = (other for other in known if 2 * min(length, len(other)) >= cutoff * (length + len(other)))
    return get_close_matches(word, islice(similar, 1_000_000 // (length + 10) ** 2), most, cutoff)


class Notices:
    """Notices, each once, in the order they were added. Of very many the first are kept, and how many more there were."""

    def __init__(self) -> None:
        self._found: dict[Notice, None] = {}
        self._more = 0

    def add(self, notice: Notice) -> None:
        """Add a notice."""
        if len(self._found) < MOST_NOTICES:
            self._found[notice] = None
        elif notice not in self._found:
            self._more += 1

    def all(self) -> list[Notice]:
        """Return what was kept."""
        found = list(self._found)
        if self._more:
            found.append(Notice(Location(found[0].where.file), f"there are {self._more} more notices of this kind"))
        return found


def first_notices(notices: Iterable[Notice]) -> list[Notice]:
    """Return the notices, each once, as ``Notices`` keeps them."""
    found = Notices()
    for notice in notices:
        found.add(notice)
    return found.all()

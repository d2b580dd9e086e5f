# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names for places where length or alphabet is limited: socket paths, network interfaces."""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_UNSAFE_CHARACTERS = re.compile(r"[^A-Za-z0-9._-]")
_DIGEST = 8


def digest(*words: str) -> str:
    """Return 64 hex digits that depend on the words and on where one ends and the next begins."""
    return sha256("/".join(words).encode()).hexdigest()


def short(name: str, limit: int) -> str:
    """Return the name itself where it is safe and at most ``limit`` characters, else a prefix of it and 8 hex digits of its hash.

    ``limit`` must leave room for more than the hash. Different names give different results, but for accidents of the hash.
    """
    if len(name) <= limit and _SAFE.fullmatch(name):
        return name
    prefix = _UNSAFE_CHARACTERS.sub("_", name)[: limit - _DIGEST - 1]
    return f"{prefix if _SAFE.match(prefix) else 'x' + prefix[1:]}-{digest(name)[:_DIGEST]}"


def short_names(names: Iterable[str], limit: int) -> dict[str, str]:
    """Return a short name for each name, no two the same."""
    found: dict[str, str] = {}
    used: set[str] = set()
    for name in names:
        candidate, salt = short(name, limit), 0
        while candidate in used:
            salt += 1
            candidate = f"{candidate[: limit - _DIGEST - 1]}-{digest(name, str(salt))[:_DIGEST]}"
        found[name] = candidate
        used.add(candidate)
    return found

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one reader of JSON that something less trusted than root may have written: a guest, a switch, QEMU, a process of the service account.

Python's own reader has no bounds: deep nesting ends in RecursionError, a long number takes quadratic time, and ``NaN`` is no JSON.
Here every fault is one exception, and nothing that is read is larger or deeper than asked for.
"""

from __future__ import annotations

import json
import os
import re
import stat
from typing import Any, NoReturn

from .errors import HostError

LARGEST, DEEPEST, LONGEST_NUMBER = 1 << 20, 32, 32
# A string, also one without an end; what no bracket is; digits and what else a number consists of; a power that no double holds.
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_NO_BRACKET = re.compile(r"[^\[\]{}]+")
_NUMBER = re.compile(rf"[-+0-9.eE]{{{LONGEST_NUMBER + 1}}}|[eE]\+?0*[1-9][0-9]{{2}}")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class UntrustedError(HostError):
    """What was read is not the JSON that it must be; the text says why."""


def loads(text: str | bytes, largest: int = LARGEST, deepest: int = DEEPEST) -> Any:
    """Read JSON within bounds: at most ``largest`` bytes or characters, nested ``deepest`` levels. Raises UntrustedError."""
    if len(text) > largest:
        raise UntrustedError(f"more than {largest} bytes of JSON")
    try:
        words = text.decode() if isinstance(text, bytes) else text
        _check(_STRING.sub('""', words), deepest)
        content = json.loads(words, parse_constant=_refuse)
        if _SURROGATE.search(words):
            # Half of a pair cannot be written or printed later; in pairs they are well.
            json.dumps(content, ensure_ascii=False).encode()
        return content
    except (ValueError, RecursionError) as error:
        raise UntrustedError(f"no JSON: {str(error)[:200]}") from None


def read_object(path: str, largest: int = LARGEST, deepest: int = DEEPEST) -> dict[str, Any]:
    """Read a JSON object from a regular file: no link is followed, no FIFO waited for. Raises UntrustedError."""
    content = loads(read_bytes(path, largest), largest, deepest)
    if not isinstance(content, dict):
        raise UntrustedError(f"{path}: not a JSON object")
    return content


def read_bytes(path: str, largest: int = LARGEST) -> bytes:
    """Read a regular file of at most ``largest`` bytes: no link is followed, no FIFO waited for. Raises UntrustedError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UntrustedError(f"{path}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UntrustedError(f"{path}: not a regular file")
    with open(descriptor, "rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise UntrustedError(f"{path}: more than {largest} bytes")
    return content


def _check(text: str, deepest: int) -> None:
    """Look at JSON whose strings are empty. Raises ValueError."""
    if _NUMBER.search(text):
        raise ValueError(f"a number of more than {LONGEST_NUMBER} characters, or beyond 1e99")
    depth = 0
    for bracket in _NO_BRACKET.sub("", text):
        depth += 1 if bracket in "[{" else -1
        if depth > deepest:
            raise ValueError(f"nested more than {deepest} levels deep")


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")

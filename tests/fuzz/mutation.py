# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inputs made from others: by bytes, by tokens of XML or Tcl, and by values of JSON. All chance comes from the given dice."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from random import Random
from typing import Any

LARGEST = 1 << 20  # bytes
# Values at which readers of numbers, names and addresses break.
ODD = (
    "",
    " ",
    "0",
    "-1",
    "1",
    "00",
    "+1",
    "1_0",
    "0x10",
    "1.5",
    ".5",
    "1e308",
    "1e999",
    "-0",
    "nan",
    "NaN",
    "inf",
    "-Infinity",
    "true",
    "null",
    "4294967296",
    "9223372036854775808",
    "9" * 40,
    "9" * 5000,
    "1e" + "9" * 50,
    "\u0661\u0662",
    "\u00b2",
    "\u2460",
    "\U0001d7d8",
    "127.0.0.1",
    "10.0.0.1",
    "010.00.0.1",
    "10.0.0.256",
    "255.255.255.255",
    "0.0.0.0/0",
    "10.1.0.0/16",
    "::1",
    "10.0.0.1/33",
    "\u0661.1.1.1",
    "02:00:00:00:00:01",
    "ff:ff:ff:ff:ff:ff",
    "a" * 64,
    "a" * 300,
    "../..",
    "/etc/passwd",
    "{{ 1 }}",
    "a,b",
    "0:1,1:2",
    "0=a",
    "1-2",
    "2-1",
    "\ud800",
    "\x1b[2J",
    "\x7f",
    "\u2028",
    "\u202e",
    "\x85",
    "\xa0",
    "\u0130",
    "\ufb01",
    "e\u0301",
    "'",
    '"',
    "\\",
    "%",
    "$(id)",
    ";",
    "#",
)
ODD_JSON: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    2**64,
    10**30,
    1.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    "",
    [],
    {},
    [[]],
    [None],
    {"": None},
    [1, 2, 3],
    ["a", 1, "b"],
    {"a": {"b": {}}},
    "running",
    "booted",
    *ODD,
)
_XML = re.compile(r"<[^>]*>|[^<]+", re.DOTALL)
_WORDS = re.compile(r"\n|[^\s]+|[ \t]+")


def mutated(dice: Random, seeds: Sequence[bytes], words: Sequence[str], form: str) -> bytes:
    """Return an input made of one of the seeds. ``words`` are those that mean something to the reader, ``form`` is json, xml or words."""
    data = dice.choice(seeds)
    for dummy in range(dice.choice((1, 1, 2, 3, 8))):
        if form != "bytes" and dice.random() < 0.7:
            data = {"json": _json, "xml": _xml, "words": _text}[form](dice, data, words, seeds)
        else:
            data = _bytes(dice, data, words, seeds)
    return data[:LARGEST]


def _word(dice: Random, words: Sequence[str]) -> str:
    return dice.choice(ODD) if not words or dice.random() < 0.5 else dice.choice(words)


def encoded(text: str) -> bytes:
    """Return text as bytes, halves of pairs too."""
    return text.encode("utf-8", "surrogatepass")


def _bytes(dice: Random, data: bytes, words: Sequence[str], seeds: Sequence[bytes]) -> bytes:
    start = dice.randrange(len(data) + 1)
    end = min(len(data), start + dice.choice((0, 1, 1, 2, 8, 64)))
    kind = dice.randrange(7)
    if kind == 0:
        new = bytes([dice.randrange(256)])
    elif kind == 1:
        new = encoded(_word(dice, words))
    elif kind == 2:
        new = data[start:end] * dice.choice((2, 3, 10, 100))
    elif kind == 3:
        other = dice.choice(seeds)
        cut = dice.randrange(len(other) + 1)
        new = other[cut : cut + dice.choice((4, 32, 256))]
    elif kind == 4:
        return data[:start]
    elif kind == 5:
        new = dice.randbytes(dice.choice((1, 2, 4, 16)))
    else:
        new = b""
    return data[:start] + new + data[end:]


def _xml(dice: Random, data: bytes, words: Sequence[str], seeds: Sequence[bytes]) -> bytes:
    parts = _XML.findall(data.decode("utf-8", "replace")) or [""]
    place = dice.randrange(len(parts))
    kind = dice.randrange(8)
    if kind == 0:
        del parts[place]
    elif kind == 1:
        other = dice.randrange(len(parts))
        parts[place], parts[other] = parts[other], parts[place]
    elif kind == 2:
        length = dice.choice((1, 2, 3, 10))
        parts[place:place] = parts[place : place + length] * dice.choice((1, 2, 20))
    elif kind in (3, 4):
        texts = [number for number, part in enumerate(parts) if not part.startswith("<") and part.strip()]
        if texts:
            parts[dice.choice(texts)] = _escaped(_word(dice, words))
    elif kind in (5, 6):
        ends = [number for number, part in enumerate(parts) if part in _HOLDERS]
        name, value = _word(dice, [w for w in words if ":" in w] or words), _word(dice, words)
        attribute = f"<attribute><attribute>{_escaped(name)}</attribute><value>{_escaped(value)}</value></attribute>"
        parts.insert(dice.choice(ends) if ends else place, attribute)
    else:
        other = _XML.findall(dice.choice(seeds).decode("utf-8", "replace")) or [""]
        cut = dice.randrange(len(other))
        parts[place:place] = other[cut : cut + dice.choice((1, 3, 9, 30))]
    return encoded("".join(parts))


_HOLDERS = frozenset(f"</{name}>" for name in ("computer", "interface", "substrates", "experiment", "topology", "os", "other"))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _text(dice: Random, data: bytes, words: Sequence[str], seeds: Sequence[bytes]) -> bytes:
    parts = _WORDS.findall(data.decode("utf-8", "replace")) or [""]
    place = dice.randrange(len(parts))
    kind = dice.randrange(6)
    if kind == 0:
        del parts[place]
    elif kind in (1, 2):
        parts[place] = _word(dice, words)
    elif kind == 3:
        parts.insert(place, dice.choice((" ", "\n")) + _word(dice, words) + " ")
    elif kind == 4:
        lines = "".join(parts).split("\n")
        line = dice.randrange(len(lines))
        return encoded("\n".join([*lines[:line], *lines[line : line + 1] * dice.choice((0, 2, 5)), *lines[line + 1 :]]))
    else:
        lines, other = "".join(parts).split("\n"), dice.choice(seeds).decode("utf-8", "replace").split("\n")
        lines.insert(dice.randrange(len(lines) + 1), dice.choice(other))
        return encoded("\n".join(lines))
    return encoded("".join(parts))


def _json(dice: Random, data: bytes, words: Sequence[str], seeds: Sequence[bytes]) -> bytes:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        content = dice.choice(ODD_JSON)
    text = json.dumps(_changed(dice, content, words, seeds), ensure_ascii=dice.random() < 0.8)
    # Copies of copies grow without end.
    return encoded(text) if len(text) < LARGEST // 8 else data


def _changed(dice: Random, value: Any, words: Sequence[str], seeds: Sequence[bytes]) -> Any:
    """Return a value with something in it replaced, taken away, doubled or renamed."""
    if not isinstance(value, (dict, list)) or not value or dice.random() < 0.1:
        return _other(dice, value, words)
    if isinstance(value, list):
        found = list(value)
        place = dice.randrange(len(found))
        kind = dice.random()
        if kind < 0.7:
            found[place] = _changed(dice, found[place], words, seeds)
        elif kind < 0.8:
            del found[place]
        else:
            found[place:place] = [found[place]] * dice.choice((1, 2, 50))
        return found
    content = dict(value)
    key = dice.choice(list(content))
    kind = dice.random()
    if kind < 0.75:
        content[key] = _changed(dice, content[key], words, seeds)
    elif kind < 0.85:
        del content[key]
    else:
        content[_word(dice, words)] = content[key]
    return content


def _other(dice: Random, value: Any, words: Sequence[str]) -> Any:
    kind = dice.random()
    if kind < 0.5:
        return dice.choice(ODD_JSON)
    if kind < 0.8:
        return _word(dice, words)
    if kind < 0.9:
        for dummy in range(dice.choice((1, 2, 40, 300))):
            value = [value] if dice.random() < 0.5 else {"a": value}
        return value
    return str(value) if dice.random() < 0.5 else [value, value]

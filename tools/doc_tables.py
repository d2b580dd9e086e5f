# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rewrite the tables of docs/options.md from the code. Run it by .venv/bin/python tools/doc_tables.py, after a change to either table."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "options.md"
sys.path.insert(0, str(ROOT / ".collections"))

from ansible_collections.benito.testbed.plugins.plugin_utils.attributes import table  # noqa: E402
from ansible_collections.benito.testbed.plugins.plugin_utils.authority import Word  # noqa: E402
from ansible_collections.benito.testbed.plugins.plugin_utils.settings import SETTINGS  # noqa: E402


def settings_table() -> str:
    """Return a row for each setting."""
    rows = [(f"`{s.name}`", s.type, _default(s.default), _markdown(s.meaning), _markdown(s.expected), whose(s.word)) for s in SETTINGS]
    return _table(("Name", "Type", "Default", "Meaning", "Must be", "Whose word"), rows)


def attributes_table() -> str:
    """Return a row for each attribute that is not a setting: those have a table of their own."""
    settings = {s.name for s in SETTINGS}
    rows = [
        (", ".join(f"`{name}`" for name in names.split(", ")), places, _markdown(meaning), whose(word))
        for names, places, meaning, word in table()
        if names.removeprefix("benito:") not in settings
    ]
    return _table(("Attribute", "Stands on", "Meaning", "Whose word"), rows)


def whose(word: Word) -> str:
    """Return whose word a row is, and which settings bound what a topology file may say."""
    return f"{word.whose}: {', '.join(f'`{name}`' for name in word.settings)}" if word.settings else word.whose


def filled(page: str) -> str:
    """Return the page with each marked region filled anew."""
    for name, text in (("settings", settings_table()), ("attributes", attributes_table())):
        begin, end = f"<!-- begin {name}, by tools/doc_tables.py -->", f"<!-- end {name} -->"
        before, found, rest = page.partition(begin)
        _old, also_found, after = rest.partition(end)
        if not found or not also_found:
            raise SystemExit(f"{PAGE}: the marks around the table of {name} are missing")
        page = f"{before}{begin}\n\n{text}\n{end}{after}"
    return page


def _default(value: object) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`" if isinstance(value, (str, int)) else "-"


def _markdown(text: str) -> str:
    """Turn Ansible's markup into Markdown's, and keep a text in its cell."""
    return re.sub(r"\b[CEOV]\(([^)]*)\)", r"`\1`", text).replace("|", "\\|")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ["---"] * len(head), *rows))


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

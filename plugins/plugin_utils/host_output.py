# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The output of a module on a host, before Ansible reads it.

The host may be a machine of the experiment, whose root writes this output as it likes. Ansible takes keys from it that have nothing to
do with the module: facts, which without ``inject_facts_as_vars=false`` become variables of the host. And it prints messages and
warnings as they are, with sequences that a terminal obeys.
"""

from __future__ import annotations

import json
from typing import Any

LARGEST, LONGEST_JUNK = 64 << 20, 20_000
# What a module of ours never returns, and Ansible would act upon.
_OF_ANSIBLE = frozenset(("add_group", "add_host", "ansible_facts", "ansible_stats", "results", "skipped", "unreachable"))


def clean(text: str) -> str:
    """Return the output without what Ansible would act upon, and printable. What is no result of a module is cut."""
    begin, end = text.find("{"), text.rfind("}")
    if begin >= 0 and len(text) <= LARGEST:
        try:
            found = json.loads(text[begin : end + 1])
            if isinstance(found, dict):
                kept = {key: value for key, value in found.items() if key not in _OF_ANSIBLE and not key.startswith("_ansible_")}
                return json.dumps(_printable(kept))
        except (ValueError, RecursionError):
            pass
    # Ansible looks for an object further down than we do: there must be none.
    return words(text[:LONGEST_JUNK]).replace("{", "(").replace("[", "(")


def words(text: str) -> str:
    """Return text of one or more lines that does nothing to a terminal. Lines from a terminal of the host end with both signs."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text.replace("\r\n", "\n"))


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isprintable() else words(value)
    if isinstance(value, dict):
        return {words(key): _printable(inner) for key, inner in value.items()}
    return [_printable(inner) for inner in value] if isinstance(value, list) else value

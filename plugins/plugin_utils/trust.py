# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible may take for a template.

Text of a topology file is data. Ansible-core 2.19 and later template only text marked as trusted, and
print unmarked text in a wrapping that spoils `ansible-inventory --list`. Text without a brace can
hold no template: to mark it is safe, and its output stays plain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

try:
    from ansible.template import trust_as_template
except ImportError:  # the import check of ansible-test
    trust_as_template = None


def plain(value: Any) -> Any:
    """Return the value with every string in it, at any depth, either plainly harmless or never templated.

    The names in mappings are ours and stay as they are.
    """
    return _plain(value, {})


def _plain(value: Any, known: dict[str, str]) -> Any:
    """Do the work; marking is slow and texts repeat, so each is marked once."""
    if isinstance(value, str):
        return known.get(value) or known.setdefault(value, _marked(value))
    if isinstance(value, Mapping):
        return {k: _plain(v, known) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v, known) for v in value]
    return value


def _marked(text: str) -> str:
    return text if "{" in text or trust_as_template is None else trust_as_template(text)

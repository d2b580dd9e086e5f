# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible may take for a template.

Text of a topology file is data. Ansible-core 2.19 and later template only text marked as trusted, and
print unmarked text in a wrapping that spoils `ansible-inventory --list`. Text without a brace can
hold no template: to mark it is safe, and its output stays plain. Neither can JSON text whose strings are written in the right way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

try:
    from ansible.template import trust_as_template
except ImportError:  # the import check of ansible-test
    trust_as_template = None

_HEADER = "#jinja2:"
_OPENING = re.compile(r"\{(?=[{%#])")  # in JSON text on one line this is within a string: what stands there otherwise is "{\"" or "{}"


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
    # A text that starts with the header may say itself what opens a template.
    templated = "{" in text or text.startswith(_HEADER)
    return text if templated or trust_as_template is None else trust_as_template(text)


def json_text(value: Any) -> str:
    """Return the value as JSON text on one line that is plainly harmless: a brace that could open a template is written as an escape."""
    text = _OPENING.sub(r"\\u007b", json.dumps(value))
    return text if trust_as_template is None else trust_as_template(text)

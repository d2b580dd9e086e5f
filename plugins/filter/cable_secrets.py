# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Return the secrets of cables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ..plugin_utils import cable_secrets as rule


def cable_secrets(cables: Iterable[Mapping[str, Any]], secret: str) -> dict[str, str]:
    """Return the secrets of the cables that need one, by their ids."""
    try:
        return rule.cable_secrets(cables, secret)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AnsibleFilterError(f"cable_secrets: {error}") from None


class FilterModule:
    """The door of the filter."""

    def filters(self) -> dict[str, Callable[..., dict[str, str]]]:
        """Return the filter by its name."""
        return {"cable_secrets": cable_secrets}

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Return one aligned line per node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ..plugin_utils import views


def status_table(nodes: Iterable[Mapping[str, Any]], answers: Mapping[str, object] | None = None) -> str:
    """Return one aligned line per node."""
    try:
        return views.status_table(nodes, answers or {})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AnsibleFilterError(f"status_table: {error}") from None


class FilterModule:
    """The door of the filter."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Return the filter by its name."""
        return {"status_table": status_table}

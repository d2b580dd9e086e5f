# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Return the state of each node as data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ..plugin_utils import views


def status_rows(nodes: Iterable[Mapping[str, Any]], answers: Mapping[str, object] | None = None) -> list[dict[str, Any]]:
    """Return the state of each node as data."""
    try:
        return views.status_rows(nodes, answers or {})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AnsibleFilterError(f"status_rows: {error}") from None


class FilterModule:
    """The door of the filter."""

    def filters(self) -> dict[str, Callable[..., list[dict[str, Any]]]]:
        """Return the filter by its name."""
        return {"status_rows": status_rows}

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Return what each host is to carry, which node sits where, and the cables between hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ..plugin_utils import views


def placement_table(benito: Mapping[str, Any], nodes: Iterable[Mapping[str, Any]] = ()) -> str:
    """Return what each host is to carry, which node sits where, and the cables between hosts."""
    try:
        return views.placement_table(benito, nodes)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AnsibleFilterError(f"placement_table: {error}") from None


class FilterModule:
    """The door of the filter."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Return the filter by its name."""
        return {"placement_table": placement_table}

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Return the pnodes and nodes of an experiment, as Benito listed them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ..plugin_utils import views


def node_list(
    benito: Mapping[str, Any], nodes: Iterable[Mapping[str, Any]], hosts: Mapping[str, str] | None = None, extra: bool = True
) -> str:
    """Return the pnodes and nodes of an experiment, as Benito listed them."""
    try:
        return views.node_list(benito, nodes, hosts, extra)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AnsibleFilterError(f"node_list: {error}") from None


class FilterModule:
    """The door of the filter."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Return the filter by its name."""
        return {"node_list": node_list}

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Return a picture of the topology in the language of Mermaid or DOT."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ..plugin_utils import views


def topology_graph(nodes: Iterable[Mapping[str, Any]], form: str = "mermaid") -> str:
    """Return a picture of the topology in the language of Mermaid or DOT."""
    try:
        return views.topology_graph(nodes, form)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AnsibleFilterError(f"topology_graph: {error}") from None


class FilterModule:
    """The door of the filter."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Return the filter by its name."""
        return {"topology_graph": topology_graph}

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Return the public host key of each node, as the host that has it says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ..plugin_utils import ssh_files


def host_keys(nodes: Iterable[Mapping[str, Any]], answers: Mapping[str, object]) -> dict[str, str]:
    """Return the public host key of each node, as the host that has it says."""
    try:
        return ssh_files.host_keys(nodes, answers)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise AnsibleFilterError(f"host_keys: {error}") from None


class FilterModule:
    """The door of the filter."""

    def filters(self) -> dict[str, Callable[..., dict[str, str]]]:
        """Return the filter by its name."""
        return {"host_keys": host_keys}

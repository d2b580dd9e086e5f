# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Return a known_hosts file for the guests of an experiment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ..plugin_utils import ssh_files
from ..plugin_utils.diagnostics import TopologyError


def known_hosts(benito: Mapping[str, Any], nodes: Iterable[Mapping[str, Any]], keys: Mapping[str, str] | str) -> str:
    """Return a known_hosts file for the guests of an experiment."""
    try:
        return ssh_files.known_hosts(benito, nodes, keys)
    except (TopologyError, KeyError, TypeError, AttributeError) as error:
        raise AnsibleFilterError(f"known_hosts: {error}") from None


class FilterModule:
    """The door of the filter."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Return the filter by its name."""
        return {"known_hosts": known_hosts}

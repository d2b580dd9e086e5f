# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Return an ssh_config for the guests of an experiment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ..plugin_utils import ssh_files
from ..plugin_utils.diagnostics import TopologyError


def ssh_config(
    benito: Mapping[str, Any],
    nodes: Iterable[Mapping[str, Any]],
    pnodes: Mapping[str, Mapping[str, Any]] | None = None,
    answers: Mapping[str, object] | None = None,
    known_hosts: str = "known_hosts",
) -> str:
    """Return an ssh_config for the guests of an experiment."""
    try:
        return ssh_files.ssh_config(benito, nodes, pnodes or {}, answers or {}, known_hosts)
    except (TopologyError, KeyError, TypeError, AttributeError) as error:
        raise AnsibleFilterError(f"ssh_config: {error}") from None


class FilterModule:
    """The door of the filter."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Return the filter by its name."""
        return {"ssh_config": ssh_config}

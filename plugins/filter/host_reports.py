# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Return what each host says of all but its nodes, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ..plugin_utils import views


def host_reports(answers: Mapping[str, object], hosts: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Return what each host says of all but its nodes, checked."""
    try:
        return views.host_reports(answers, hosts or {})
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise AnsibleFilterError(f"host_reports: {error}") from None


class FilterModule:
    """The door of the filter."""

    def filters(self) -> dict[str, Callable[..., list[dict[str, Any]]]]:
        """Return the filter by its name."""
        return {"host_reports": host_reports}

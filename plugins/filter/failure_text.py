# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Return what went wrong on each host, as text for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ansible.errors import AnsibleFilterError

from ..plugin_utils import results


def failure_text(failures: Mapping[str, object]) -> str:
    """Return what went wrong on each host, as text for a terminal."""
    try:
        return results.failure_text(failures)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise AnsibleFilterError(f"failure_text: {error}") from None


class FilterModule:
    """The door of the filter."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Return the filter by its name."""
        return {"failure_text": failure_text}

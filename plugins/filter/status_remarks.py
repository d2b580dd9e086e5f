# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Return a line for each thing between the guests that is not well."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ansible.errors import AnsibleFilterError

from ..plugin_utils import views


def status_remarks(answers: Mapping[str, object]) -> str:
    """Return a line for each thing between the guests that is not well."""
    try:
        return views.status_remarks(answers)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AnsibleFilterError(f"status_remarks: {error}") from None


class FilterModule:
    """The door of the filter."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Return the filter by its name."""
        return {"status_remarks": status_remarks}

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Return what each host of the pool says that it has, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ..plugin_utils import results


def host_facts(answers: Mapping[str, object]) -> dict[str, dict[str, Any]]:
    """Return what each host of the pool says that it has, checked."""
    try:
        return {str(host): results.plain(results.host_facts(said)) for host, said in answers.items()}
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise AnsibleFilterError(f"host_facts: {error}") from None


class FilterModule:
    """The door of the filter."""

    def filters(self) -> dict[str, Callable[..., dict[str, dict[str, Any]]]]:
        """Return the filter by its name."""
        return {"host_facts": host_facts}

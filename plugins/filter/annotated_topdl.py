# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Return the topology as TopDL with everything the plan decided written in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ..plugin_utils.diagnostics import TopologyError
from ..plugin_utils.embedding import annotate
from ..plugin_utils.formats.topdl_writer import write_topdl
from ..plugin_utils.plan import make_plan


def annotated_topdl(benito: Mapping[str, Any]) -> str:
    """Return the topology as TopDL with everything the plan decided written in."""
    try:
        return write_topdl(annotate(make_plan(benito["source"], benito["overrides"], pool=benito.get("pool", {}))))
    except TopologyError as error:
        raise AnsibleFilterError(str(error)) from None
    except (KeyError, TypeError, AttributeError):
        raise AnsibleFilterError("annotated_topdl wants the variable benito of an inventory made by benito.testbed.topdl") from None


class FilterModule:
    """The door of the filter."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Return the filter by its name."""
        return {"annotated_topdl": annotated_topdl}

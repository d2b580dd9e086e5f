# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print text as it is: tables are for people, and no callback shall indent or quote them."""

from __future__ import annotations

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()


class ActionModule(ActionBase):
    """Print the option O(text); nothing is done on any host."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(("text",))

    def run(self, tmp=None, task_vars=None):
        """Print it, line by line, without anything that a terminal would obey."""
        result = super().run(tmp, task_vars)
        for line in str(self._task.args.get("text", "")).splitlines():
            display.display("".join(c for c in line if c.isprintable()))
        return {**result, "changed": False}

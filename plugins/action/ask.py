# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command that only looks, without a module's start, on a host that may be a machine of the experiment."""

from __future__ import annotations

from ansible_collections.benito.testbed.plugins.action.vde_switch import HostAction

OPTIONS = {"argv": {"type": "list", "elements": "str", "required": True}}


class ActionModule(HostAction):
    """Run the words of the option O(argv) on the host; what it prints is cleaned, also where it cannot be reached."""

    _supports_check_mode = True
    _VALID_ARGS = frozenset(("argv",))

    def run(self, tmp=None, task_vars=None):
        """Run them, in check mode too."""
        result = super().run(tmp, task_vars)
        dummy, options = self.validate_argument_spec(OPTIONS)
        command = " ".join(self._connection._shell.quote(word) for word in options["argv"])
        result.update(self._low_level_execute_command(command), changed=False)
        if result["rc"]:
            result.update(failed=True, msg=f"{options['argv'][0]} ended with exit status {result['rc']}")
        return result

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a module on a host that may be a machine of the experiment: what Ansible reads of its output is cleaned before.

All modules of this collection that work on hosts are run by this plugin, see ``plugin_routing`` in ``meta/runtime.yml``.
"""

from __future__ import annotations

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ansible_collections.benito.testbed.plugins.plugin_utils.host_output import LONGEST_JUNK, clean, words


class HostAction(ActionBase):
    """What the plugins for modules on hosts have in common."""

    TRANSFERS_FILES = False

    def _low_level_execute_command(self, *arguments, **options):
        """Run a command on the host, and clean its output."""
        try:
            result = super()._low_level_execute_command(*arguments, **options)
        except AnsibleConnectionFailure as error:
            # Its text is what the other end printed: a machine may say that it cannot be reached.
            raise AnsibleConnectionFailure(words(str(error)[:LONGEST_JUNK])) from None
        for name, cleaned in (("stdout", clean), ("stderr", words)):
            if isinstance(result.get(name), str):
                result[name] = cleaned(result[name])
                result[f"{name}_lines"] = result[name].splitlines()
        return result


class ActionModule(HostAction):
    """Run the module that the task names."""

    _supports_async = True

    def run(self, tmp=None, task_vars=None):
        """Run it, as Ansible itself runs modules."""
        result = super().run(tmp, task_vars)
        alone = bool(self._task.async_val) and not self._connection.has_native_async
        result.update(self._execute_module(task_vars=task_vars, wrap_async=alone))
        return result

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Confirm to a host that it can still be reached, over a new connection: one that was open before proves nothing.

This is one task, not two: a host must not wait for others while its watchdog counts.
"""

from __future__ import annotations

import time

from ansible.errors import AnsibleConnectionFailure

from ansible_collections.benito.testbed.plugins.action.vde_switch import HostAction

PAUSE = 1.0
# Seconds a host has, after its deadline, to put its interface back and be reached again.
COMES_BACK = 20.0


class ActionModule(HostAction):
    """Run the module of the same name; where it waits to be confirmed, connect anew and confirm."""

    def run(self, tmp=None, task_vars=None):
        """Run the module, and a second time to confirm."""
        result = super().run(tmp, task_vars)
        result.update(self._execute_module(task_vars=task_vars))
        found = result.get("control")
        if result.get("failed") or not isinstance(found, dict) or not found.get("pending"):
            return result
        confirmed = self._confirmed(task_vars)
        if confirmed.get("failed"):
            result.update(failed=True, msg=confirmed.get("msg", "the host could not be reached again"))
        else:
            found["pending"] = False
        return result

    def _confirmed(self, task_vars):
        """Ask until there is an answer, be it that the host has given up waiting."""
        control = self._task.args["control"]
        arguments = {**self._task.args, "state": "confirmed"}
        end = time.monotonic() + int(control.get("deadline") or 30) + COMES_BACK
        while True:
            try:
                self._connection.reset()
                return self._execute_module(module_args=arguments, task_vars=task_vars)
            except AnsibleConnectionFailure as error:
                if time.monotonic() > end:
                    return {"failed": True, "msg": f"the host could not be reached again: {error}"}
            time.sleep(PAUSE)

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show how far a batch of guests has got while the module is busy with it: a module itself cannot speak before it ends."""

from __future__ import annotations

import shlex
import threading

from ansible.errors import AnsibleError
from ansible.utils.display import Display

from ansible_collections.benito.testbed.plugins.action.vde_switch import HostAction

INTERVAL = 2.0
display = Display()


class ActionModule(HostAction):
    """Run the module of the same name, and print the line of progress it keeps in a file whenever that changes."""

    def run(self, tmp=None, task_vars=None):
        """Run the module with somebody watching its progress."""
        result = super().run(tmp, task_vars)
        arguments = self._task.args
        experiment = arguments.get("experiment")
        if self._task.check_mode or not isinstance(experiment, dict):
            return {**result, **self._execute_module(task_vars=task_vars)}
        path = f"{arguments.get('root') or '/var/lib/benito'}/{experiment.get('id')}/progress"
        done = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(path, task_vars["inventory_hostname"], done), daemon=True)
        watcher.start()
        try:
            return {**result, **self._execute_module(task_vars=task_vars)}
        finally:
            done.set()
            watcher.join(timeout=INTERVAL)

    def _watch(self, path, host, done):
        said = ""
        while not done.wait(INTERVAL):
            try:
                code, output, _ignored = self._connection.exec_command(f"head -c 200 {shlex.quote(path)}", sudoable=False)
            except (AnsibleError, OSError):
                return
            text = "".join(c for c in output.decode(errors="replace")[:200] if c.isprintable())
            if code == 0 and text and text != said:
                display.display(f"{host}: {text}")
                said = text

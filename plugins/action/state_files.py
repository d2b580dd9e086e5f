# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep what the controller knows of an experiment: done where the playbook runs, without a module's start for each file."""

from __future__ import annotations

from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.benito.testbed.plugins.plugin_utils.state_files import StateError, keep, remove

OPTIONS = {
    "directory": {"type": "path", "required": True},
    "texts": {"type": "dict", "default": {}},
    "keys": {"type": "dict", "default": {}},
    "random": {"type": "list", "elements": "str", "default": []},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


class ActionModule(ActionBase):
    """Read the options, keep the files, tell what changed."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset(OPTIONS)

    def run(self, tmp=None, task_vars=None):
        """Do it; in check mode, tell what would be done."""
        result = super().run(tmp, task_vars)
        dummy, options = self.validate_argument_spec(OPTIONS)
        texts = {str(name): str(text) for name, text in options["texts"].items()}
        keys = {str(name): str(comment) for name, comment in options["keys"].items()}
        directory, check = Path(options["directory"]), bool(self._task.check_mode)
        try:
            changes = keep(directory, texts, keys, check, options["random"]) if options["state"] == "present" else remove(directory, check)
        except StateError as error:
            raise AnsibleActionFail(str(error)) from None
        result.update(changed=bool(changes), paths=[change.path for change in changes])
        if self._task.diff:
            result["diff"] = [
                {"before": c.before, "after": c.after, "before_header": c.path, "after_header": c.path}
                for c in changes
                if c.before != c.after
            ]
        return result

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each module that works on hosts is run by a plugin that cleans what the host returns."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible.errors import AnsibleConnectionFailure

from ansible_collections.benito.testbed.plugins.action import ask, control_net, process_guest, qemu_guest, vde_switch

ROOT = Path(__file__).resolve().parents[4]
# These do nothing on hosts.
ON_THE_CONTROLLER = {"show", "state_files"}


def test_no_module_is_left_out():
    modules = {path.stem for path in (ROOT / "plugins/modules").glob("*.py")} - {"__init__"}
    routed = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["plugin_routing"]["modules"]
    assert {entry["action_plugin"] for entry in routed.values()} == {"benito.testbed.vde_switch"}
    assert set(routed) | {"vde_switch", "ask", "control_net", "process_guest", "qemu_guest"} == modules - ON_THE_CONTROLLER
    for plugin in (ask, control_net, process_guest, qemu_guest, vde_switch):
        assert issubclass(plugin.ActionModule, vde_switch.HostAction)


def test_output_is_cleaned(monkeypatch: pytest.MonkeyPatch):
    said = json.dumps({"msg": "\x1b[31m", "ansible_facts": {"benito": {}}})
    answer = {"rc": 0, "stdout": f"\x1b[31m\n{said}\n", "stdout_lines": [], "stderr": "\x1b[31m\n"}
    monkeypatch.setattr(vde_switch.ActionBase, "_low_level_execute_command", lambda self, command, **options: dict(answer))
    action = object.__new__(vde_switch.ActionModule)
    found = action._low_level_execute_command("x", in_data=b"")
    assert found["rc"] == 0
    assert json.loads(found["stdout"]) == {"msg": "?[31m"}
    assert found["stdout_lines"] == [found["stdout"]]
    assert found["stderr_lines"] == ["?[31m"]


def test_it_runs_the_module_of_the_task(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(vde_switch.ActionBase, "run", lambda self, tmp=None, task_vars=None: {"from": "base"})
    action = object.__new__(vde_switch.ActionModule)
    action._task, action._connection = SimpleNamespace(async_val=0), SimpleNamespace(has_native_async=False)
    action._execute_module = lambda task_vars, wrap_async: {"vars": task_vars, "async": wrap_async}
    assert action.run(None, {"a": 1}) == {"from": "base", "vars": {"a": 1}, "async": False}


def test_a_host_that_says_that_it_cannot_be_reached(monkeypatch: pytest.MonkeyPatch):
    def fail(self, command, **options):
        raise AnsibleConnectionFailure("Failed to connect to the host via ssh: \x1b]0;owned\x07")

    monkeypatch.setattr(vde_switch.ActionBase, "_low_level_execute_command", fail)
    with pytest.raises(AnsibleConnectionFailure, match=r"via ssh: \?\]0;owned\?"):
        object.__new__(vde_switch.ActionModule)._low_level_execute_command("x")

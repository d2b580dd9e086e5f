# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that has bridged its interface is told, over a new connection, that it can be reached."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure

from ansible_collections.benito.testbed.plugins.action import control_net

PENDING = {"changed": True, "control": {"name": "control0", "pending": True}}
UNREACHABLE = AnsibleConnectionFailure("no route to host")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[dict[str, Any], list[str]]]:
    """Run the action with these answers of its module, one a time; returns the result and what happened."""

    def start(*answers: dict[str, Any] | Exception, deadline: int = 30) -> tuple[dict[str, Any], list[str]]:
        monkeypatch.setattr(control_net.HostAction, "run", lambda self, tmp=None, task_vars=None: {})
        monkeypatch.setattr(control_net, "PAUSE", 0)
        events: list[str] = []
        waiting = list(answers)
        action = object.__new__(control_net.ActionModule)
        action._task = SimpleNamespace(args={"experiment": {}, "control": {"bridge": "control0", "deadline": deadline}})
        action._connection = SimpleNamespace(reset=lambda: events.append("reset"))

        def execute(task_vars: object, module_args: dict[str, Any] | None = None) -> dict[str, Any]:
            events.append(module_args["state"] if module_args else "run")
            answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            if isinstance(answer, Exception):
                raise answer
            return copy.deepcopy(answer)

        action._execute_module = execute
        return action.run(task_vars={}), events

    return start


@pytest.mark.parametrize("answer", [{"changed": False, "control": {"pending": False}}, {"failed": True, "msg": "no"}, {"changed": True}])
def test_nothing_waits(run: Callable[..., Any], answer: dict[str, Any]) -> None:
    assert run(answer) == (answer, ["run"])


def test_it_is_confirmed_over_a_new_connection(run: Callable[..., Any]) -> None:
    result, events = run(PENDING, {"changed": True})
    assert events == ["run", "reset", "confirmed"]
    assert result == {"changed": True, "control": {"name": "control0", "pending": False}}


def test_a_host_that_is_slow_to_answer(run: Callable[..., Any]) -> None:
    result, events = run(PENDING, UNREACHABLE, UNREACHABLE, {"changed": True})
    assert "failed" not in result
    assert events == ["run", *["reset", "confirmed"] * 3]


def test_a_host_that_gave_up_says_so_itself(run: Callable[..., Any]) -> None:
    result, dummy = run(PENDING, UNREACHABLE, {"failed": True, "msg": "it has taken eth0 back"})
    assert (result["failed"], result["msg"]) == (True, "it has taken eth0 back")


def test_a_host_that_is_gone(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_net, "COMES_BACK", -31)
    result, dummy = run(PENDING, UNREACHABLE)
    assert result["failed"] and "could not be reached again: no route to host" in result["msg"]

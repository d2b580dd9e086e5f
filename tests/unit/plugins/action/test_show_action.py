# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text for people is printed as it is, less what a terminal would obey."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ansible_collections.benito.testbed.plugins.action import show


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(show, "display", SimpleNamespace(display=lines.append))
    return lines


def run(monkeypatch: pytest.MonkeyPatch, **arguments: object) -> dict[str, object]:
    """Run the action without what it needs of a play."""
    monkeypatch.setattr(show.ActionBase, "run", lambda self, tmp=None, task_vars=None: {"from": "base"})
    action = object.__new__(show.ActionModule)
    action._task = SimpleNamespace(args=arguments)
    return action.run(task_vars={})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("NODE  STATE\nn-0   booted\n", ["NODE  STATE", "n-0   booted"]),
        ("  indented  ", ["  indented  "]),
        ("", []),
        ("one\n\ntwo", ["one", "", "two"]),
        ("red \x1b[31m, bell \x07, over\rwritten", ["red [31m, bell , over", "written"]),
        ("é \u202e {{ 7 * 7 }}", ["é  {{ 7 * 7 }}"]),
    ],
)
def test_text_is_printed_line_by_line(monkeypatch: pytest.MonkeyPatch, printed: list[str], text: str, wanted: list[str]) -> None:
    assert run(monkeypatch, text=text) == {"from": "base", "changed": False}
    assert printed == wanted


def test_what_is_no_text_is_printed_as_text(monkeypatch: pytest.MonkeyPatch, printed: list[str]) -> None:
    run(monkeypatch, text=42)
    assert printed == ["42"]


def test_no_host_is_needed() -> None:
    assert show.ActionModule._requires_connection is False
    assert show.ActionModule.TRANSFERS_FILES is False

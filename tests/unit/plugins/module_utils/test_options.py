# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules share: opening an experiment, saying what changes, saying how far it is."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.options import (
    TEXT,
    Progress,
    difference,
    failures,
    inform,
    open_experiment,
    remove_each,
    take_document,
)
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir

NAMES = {"project": "lab", "experiment": "demo", "id": "lab.demo"}


def test_an_experiment_is_locked_while_it_is_worked_on(root: str) -> None:
    rundir, lock = open_experiment({"experiment": NAMES, "root": root}, check=False)
    assert rundir == RunDir("lab", "demo", "lab.demo", root)
    with lock, pytest.raises(HostError, match="another run"), rundir.locked(patience=0):
        pass


def test_a_check_run_makes_and_locks_nothing(root: str) -> None:
    rundir, lock = open_experiment({"experiment": NAMES, "root": root}, check=True)
    with lock:
        assert os.listdir(root) == []
    rundir.create()
    with rundir.locked(patience=0), open_experiment({"experiment": NAMES, "root": root}, check=True)[1]:
        pass


def test_names_are_checked_in_check_runs_too(root: str) -> None:
    with pytest.raises(HostError, match=r"experiment\.id"):
        open_experiment({"experiment": {**NAMES, "id": "../x"}, "root": root}, check=True)


class Module:
    """What an AnsibleModule is for `inform`: both ways out end it."""

    def __init__(self, **params: object) -> None:
        self.params = params

    def exit_json(self, **said: object) -> None:
        raise SystemExit(said)

    def fail_json(self, **said: object) -> None:
        raise SystemExit({**said, "failed": True})


def test_an_info_module_says_what_is_found_and_makes_nothing(root: str) -> None:
    with pytest.raises(SystemExit) as end:
        inform(Module(experiment=NAMES, root=root), lambda rundir: {"switches": [rundir.id]})
    assert end.value.code == {"changed": False, "switches": ["lab.demo"]}
    assert os.listdir(root) == []


def test_an_info_module_that_cannot_look_fails(root: str) -> None:
    def look(rundir: RunDir) -> dict[str, object]:
        raise HostError("it is dark")

    with pytest.raises(SystemExit) as end:
        inform(Module(experiment=NAMES, root=root), look)
    assert end.value.code == {"msg": "it is dark", "failed": True}


def test_each_is_removed_whatever_becomes_of_the_others() -> None:
    tried = []

    def remove(id_: str) -> None:
        tried.append(id_)
        if id_ == "b":
            raise HostError("it does not end")
        if id_ == "c":
            raise PermissionError(1, "not ours")

    results = remove_each(["a", "b", "x", "c", "d"], ["a", "b", "c", "d", "e"], str.upper, remove, check=False)
    there = {"changed": True, "action": "remove", "reason": "not wanted"}
    assert results == [
        {"name": "A", "id": "a", **there},
        {"name": "B", "id": "b", **there, "failed": True, "msg": "it does not end"},
        {"name": "X", "id": "x", "changed": False, "action": "none", "reason": ""},
        {"name": "C", "id": "c", **there, "failed": True, "msg": "[Errno 1] not ours"},
        {"name": "D", "id": "d", **there},
    ]
    assert tried == ["a", "b", "c", "d"]
    foretold = remove_each(["a", "x"], ["a"], str.upper, remove, check=True)
    assert [(r["id"], r["action"]) for r in foretold] == [("a", "remove"), ("x", "none")]
    assert tried == ["a", "b", "c", "d"]


RESULTS = [
    {"name": "a", "changed": True, "action": "start", "reason": "dead"},
    {"name": "b", "changed": False, "action": "none", "reason": ""},
    {"name": "c", "changed": True, "action": "stop", "reason": "", "failed": True, "msg": "does not end\nnot at all"},
    {"name": "d", "changed": False, "action": "none", "failed": False, "msg": "only reported"},
    {"name": "e", "changed": False, "action": "none", "failed": True},
]


def test_the_difference_names_what_is_touched() -> None:
    assert difference(RESULTS) == {"before": "a: dead\nc: as it was\n", "after": "a: start\nc: stop\n"}
    assert difference([]) == {"before": "", "after": ""}


def test_failures_become_one_message() -> None:
    assert failures(RESULTS) == "c: does not end\nnot at all\ne: failed"
    assert failures(RESULTS[:2]) == ""


def test_progress_is_a_line_anybody_may_read(rundir: RunDir) -> None:
    path = Path(f"{rundir.path}/progress")
    with Progress(rundir, check=False) as progress:
        assert not path.exists()
        progress("1 of 2 up")
        assert path.read_text().startswith("1 of 2 up (")
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        before = path.stat().st_ino
        progress("1 of 2 up")
        assert path.stat().st_ino == before
        progress("2 of 2 üp")
        assert path.read_text().startswith("2 of 2 ?p (")
    assert not path.exists()


def test_progress_goes_away_with_an_error_and_survives_the_directorys_end(rundir: RunDir) -> None:
    with pytest.raises(ZeroDivisionError), Progress(rundir, check=False) as progress:
        progress("busy")
        raise ZeroDivisionError
    assert "progress" not in os.listdir(rundir.path)
    with Progress(RunDir("lab", "gone", "lab.gone", rundir.root), check=False) as progress:
        progress("busy")
    assert os.listdir(rundir.root) == ["lab.demo"]


def test_a_check_run_shows_no_progress(rundir: RunDir) -> None:
    before = os.listdir(rundir.path)
    with Progress(rundir, check=True) as progress:
        progress("busy")
        assert os.listdir(rundir.path) == before


SPEC: dict[str, Any] = {
    "guests": {
        "type": "list",
        "elements": "dict",
        "options": {"name": TEXT, "kind": {"type": "str"}, "cpus": {"type": "int", "default": 1}},
    },
    "hosts": {"type": "list", "elements": "list", "default": []},
    "document": {"type": "json"},
}


def taken(document: str | None, *kinds: str) -> dict[str, Any]:
    params = {"document": document, "kinds": list(kinds), "guests": ["as given"], "hosts": []}
    take_document(SimpleNamespace(params=params, argument_spec=SPEC), ArgumentSpecValidator)
    return params


def test_without_a_document_nothing_is_taken_from_it() -> None:
    assert taken(None)["guests"] == ["as given"]


def test_a_document_gives_the_guests_of_the_kinds_and_what_else_the_module_has() -> None:
    guests = [{"name": "a", "kind": "x"}, {"name": "b", "kind": "y", "cpus": 3}, {"name": "c", "kind": "z"}]
    found = taken(json.dumps({"guests": guests, "hosts": [["a", "lan", 0, "10.0.0.1"]], "switches": [1]}), "x", "y")
    assert found["guests"] == [{"name": "a", "kind": "x", "cpus": 1}, {"name": "b", "kind": "y", "cpus": 3}]
    assert found["hosts"] == [["a", "lan", 0, "10.0.0.1"]] and "switches" not in found


@pytest.mark.parametrize("text", ["", "[]", "{", "{}", '{"guests": 3}', '{"guests": [3]}', '{"guests": [{}]}'])
def test_a_document_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(HostError, match="document must be the JSON that the plan makes for a host"):
        taken(text, "x")


def test_a_document_is_checked_as_options_are() -> None:
    with pytest.raises(HostError, match=r"document: .*(nose|name)"):
        taken('{"guests": [{"nose": "a", "kind": "x"}]}', "x")

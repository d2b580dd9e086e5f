# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The owner of an experiment on a host: what is recorded, who is refused, and how one takes over."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.options import inform, open_experiment
from ansible_collections.benito.testbed.plugins.module_utils.owner import Owner, OwnerError, check_owner, claimed
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir, RunDirError, read_json

ANN = {"user": "ann", "controller": "desk", "fingerprint": f"SHA256:{'a' * 43}"}
BOB = {"user": "bob", "controller": "bench", "fingerprint": f"SHA256:{'b' * 43}"}
NAMES = {"project": "lab", "experiment": "demo", "id": "lab.demo"}


def directory(root: str, owner: dict[str, str] | None, **more: Any) -> RunDir:
    return RunDir.from_options({**NAMES, "owner": owner, **more}, root)


def recorded(rundir: RunDir) -> Owner:
    found = rundir.recorded_owner
    assert found is not None
    return found


def test_the_first_is_the_owner_and_others_are_refused_with_the_name(root: str) -> None:
    mine = directory(root, ANN)
    with mine.locked(patience=0):
        pass
    record = f"{mine.path}/experiment.json"
    assert stat.S_IMODE(os.stat(record).st_mode) == 0o600
    before = Path(record).read_bytes()
    with pytest.raises(OwnerError, match=r"lab/demo belongs to ann at desk \(since .*, key SHA256:a{43}\).*benito_take_over=true"):
        directory(root, BOB).create()
    with pytest.raises(OwnerError, match="belongs to ann"), directory(root, BOB).locked(patience=0):
        pass
    assert Path(record).read_bytes() == before
    with mine.locked(patience=0):
        pass
    assert Path(record).read_bytes() == before, "the time of the first swap-in stays"


def test_the_key_decides_and_not_the_names(root: str) -> None:
    directory(root, ANN).create()
    directory(root, {**BOB, "fingerprint": ANN["fingerprint"]}).create()
    assert (recorded(directory(root, None)).user, recorded(directory(root, None)).controller) == ("bob", "bench")
    with pytest.raises(OwnerError, match="That is your own name, but your state directory has no key"):
        directory(root, {**BOB, "fingerprint": ""}).create()
    with pytest.raises(OwnerError, match="That is your own name, but your state directory has SHA256:c"):
        directory(root, {**BOB, "fingerprint": f"SHA256:{'c' * 43}"}).create()


def test_taking_over(root: str) -> None:
    directory(root, ANN).create()
    directory(root, BOB, take_over=True).create()
    assert recorded(directory(root, None)).fingerprint == BOB["fingerprint"]
    with pytest.raises(OwnerError, match="belongs to bob at bench"):
        directory(root, ANN).create()


def test_an_experiment_without_an_owner_gets_one(root: str) -> None:
    """Those that run while Benito is upgraded have none."""
    old = directory(root, None)
    old.create()
    assert old.recorded_owner is None
    directory(root, ANN).create()
    assert recorded(old).user == "ann"
    old.create()
    assert recorded(old).user == "ann", "a caller without an owner leaves the record"


def test_of_two_that_come_at_the_same_time_one_is_the_owner(root: str) -> None:
    first, second = directory(root, ANN), directory(root, BOB)
    assert first.check() == second.check() == {}
    with first.locked(patience=0):
        pass
    with pytest.raises(OwnerError, match="belongs to ann"), second.locked(patience=0):
        pass


def test_a_caller_without_a_key_is_no_owner(root: str) -> None:
    """Playbooks of one's own that keep no state directory have none."""
    keyless = {**ANN, "fingerprint": ""}
    directory(root, keyless).create()
    assert directory(root, None).recorded_owner is None
    directory(root, BOB).create()
    with pytest.raises(OwnerError, match="belongs to bob"):
        directory(root, keyless).create()
    with pytest.raises(OwnerError, match="only an owner with an SSH key"):
        directory(root, keyless, take_over=True).create()
    assert recorded(directory(root, None)).user == "bob"


@pytest.mark.parametrize(
    "change",
    [{"fingerprint": "SHA256:x"}, {"fingerprint": f"MD5:{'a' * 43}"}, {"user": ""}, {"user": "a\x1b[2J"}, {"controller": "x" * 256}],
)
def test_nonsense_is_refused(root: str, change: dict[str, str]) -> None:
    with pytest.raises(OwnerError, match=f"owner.{next(iter(change))} must be"):
        directory(root, {**ANN, **change})


@pytest.mark.parametrize("owner", [None, "ann", [], 7, {}, {"user": ["x"], "fingerprint": None}])
def test_damaged_records_are_read_all_the_same(owner: Any) -> None:
    found = Owner.from_record({"owner": owner})
    assert found is None or str(found)
    check_owner("lab/demo", found, None, False)
    assert claimed({"owner": owner}, None) == {"owner": owner}


def test_a_check_run_is_refused_and_makes_nothing(root: str) -> None:
    options = {"experiment": {**NAMES, "owner": ANN}, "root": root}
    open_experiment(options, check=True)
    assert os.listdir(root) == []
    directory(root, ANN).create()
    with pytest.raises(OwnerError, match="belongs to ann"):
        open_experiment({**options, "experiment": {**NAMES, "owner": BOB}}, check=True)


def test_anybody_may_look(root: str) -> None:
    directory(root, ANN).create()

    class Module:
        def __init__(self) -> None:
            self.params = {"experiment": {**NAMES, "owner": BOB}, "root": root}

        def fail_json(self, msg: str) -> None:
            raise AssertionError(msg)

        def exit_json(self, **result: Any) -> None:
            assert result == {"changed": False, "owner": "ann"}

    inform(Module(), lambda rundir: {"owner": recorded(rundir).user})


def test_two_names_with_the_same_short_name_do_not_meet(root: str) -> None:
    """The short name of a long name can be chosen as another experiment's whole name."""
    long = {"project": "ann", "experiment": "a-very-long-experiment-name", "id": "ann.a-very-long-3f786850"}
    RunDir.from_options({**long, "owner": ANN}, root).create()
    chosen = {"project": "ann", "experiment": "a-very-long-3f786850", "id": "ann.a-very-long-3f786850"}
    for more in ({}, {"take_over": True}):
        with pytest.raises(RunDirError, match=r"ann\.a-very-long-3f786850 belongs to ann/a-very-long-experiment-name"):
            RunDir.from_options({**chosen, "owner": BOB, **more}, root).create()
    assert read_json(f"{root}/{long['id']}/experiment.json")["experiment"] == "a-very-long-experiment-name"
    assert issubclass(OwnerError, HostError)

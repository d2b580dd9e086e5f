# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ids of experiments on a host: apart from each other, and kept."""

from __future__ import annotations

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import id_ranges
from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.id_ranges import FIRST, SIZE, IdRange, id_range
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir, write_json


def experiment(tmp_path, name: str) -> RunDir:
    made = RunDir("demo", name, f"demo.{name}", str(tmp_path))
    made.create()
    return made


def test_a_range_is_kept(tmp_path):
    one = experiment(tmp_path, "one")
    assert id_range(one) == id_range(one) == IdRange(id_range(one).number)


def test_ranges_of_experiments_do_not_meet(tmp_path, monkeypatch):
    monkeypatch.setattr(id_ranges, "COUNT", 3)
    numbers = {id_range(experiment(tmp_path, name)).number for name in ("one", "two", "three")}
    assert numbers == {0, 1, 2}
    with pytest.raises(HostError, match="all 3 ranges of ids are taken"):
        id_range(experiment(tmp_path, "four"))


@pytest.mark.parametrize("number", [-1, 2048, "7", None, True, 1.5, []])
def test_a_damaged_record_is_chosen_again(tmp_path, number):
    one = experiment(tmp_path, "one")
    write_json(f"{one.path}/ids.json", {"number": number})
    assert 0 <= id_range(one).number < 2048


def test_all_ids_fit_below_two_to_the_thirty_first():
    last = IdRange(2047)
    assert IdRange(0).node_first == FIRST
    assert last.node_first + SIZE == 1 << 31


def test_ids_without_a_name_are_not_longer_than_vde_switch_can_print():
    ids = [number for one in map(IdRange, range(2048)) for number in (one.service, one.service + 1, one.template_maker)]
    assert len(set(ids)) == len(ids)
    assert 65536 <= min(ids) <= max(ids) <= 99999


def test_ids_that_somebody_has_are_left_to_them(tmp_path, monkeypatch):
    monkeypatch.setattr(id_ranges, "COUNT", 2)

    def somebodys(gid):
        if gid == IdRange(0).template_maker:
            return "a group"
        raise KeyError

    monkeypatch.setattr(id_ranges.grp, "getgrgid", somebodys)
    assert id_range(experiment(tmp_path, "one")).number == 1

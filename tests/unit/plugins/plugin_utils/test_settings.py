# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import Location, TopologyError
from ansible_collections.benito.testbed.plugins.plugin_utils.settings import (
    SETTINGS,
    as_attributes,
    default_state_dir,
    legal_name,
    resolve_settings,
)
from ansible_collections.benito.testbed.plugins.plugin_utils.topology import Attribute


def attribute(name, value):
    return Attribute(name, value, Location("t.topdl", 7, 3))


def test_defaults():
    found = resolve_settings("star", environment={"HOME": "/home/me"})
    assert (found.project, found.experiment, found.default_kind, found.packing) == ("testbed", "star", "qemu", None)
    assert found.state_dir == "/home/me/.local/state/benito"


def test_rising_strength():
    file = [attribute("benito:packing", "2"), attribute("containers:packing", "9"), attribute("benito:default_cpus", "2")]
    overrides = {"packing": 3, "size": None}
    assert resolve_settings("x", file).packing == 2
    assert resolve_settings("x", file, overrides).packing == 3
    assert resolve_settings("x", file, overrides).default_cpus == 2


def test_bare_names_belong_to_others():
    assert resolve_settings("x", [attribute("packing", "nonsense")]).packing is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("project", "a/b"),
        ("project", ""),
        ("experiment", "-x"),
        ("experiment", "x" * 64),
        ("packing", "0"),
        ("packing", "many"),
        ("packing", True),
        ("packing", 1.5),
        ("pass_pack", "1"),
        ("pass_pack", "1:0"),
        ("nodes_only", "perhaps"),
        ("default_kind", "Open VZ"),
        ("platforms", "pnode=lab.site.x"),
        ("platforms", "container"),
        ("control_pool", "8.8.8.0/24"),
        ("control_subnet", "10.0.0.1/24"),
        ("state_dir", "relative"),
        ("state_dir", "/a\nb"),
        ("authorized_keys", ["ssh-ed25519 A\nB"]),
        ("default_image", "../x"),
    ],
)
def test_bad_value_names_its_source(name, value):
    with pytest.raises(TopologyError, match=rf"^option {name} is .*: it must be "):
        resolve_settings("x", overrides={name: value})


def test_bad_value_in_file_has_place():
    with pytest.raises(TopologyError, match=r"^t\.topdl:7:3: attribute benito:size is 'x'"):
        resolve_settings("x", [attribute("benito:size", "x")])


def test_unknown_option_is_an_error():
    with pytest.raises(TopologyError, match="no setting 'packin'"):
        resolve_settings("x", overrides={"packin": 1})


def test_a_file_may_not_choose_directories_or_let_keys_in():
    for name in ("state_dir", "authorized_keys"):
        with pytest.raises(TopologyError, match="may not stand in a topology file"):
            resolve_settings("x", [attribute(f"benito:{name}", "/tmp")])


def test_passes_from_text_and_from_mapping():
    assert dict(resolve_settings("x", overrides={"pass_pack": "0:1, 2:10"}).pass_pack) == {0: 1, 2: 10}
    assert dict(resolve_settings("x", overrides={"pass_pack": {"2": 10, 0: 1}}).pass_pack) == {0: 1, 2: 10}
    assert resolve_settings("x", overrides={"pass_nodes_only": [1, 3]}).pass_nodes_only == {1, 3}
    assert resolve_settings("x", overrides={"pass_nodes_only": "1,3"}).pass_nodes_only == {1, 3}


VARIED = {
    "project": "p", "packing": 3, "pass_pack": "1:2,3:4", "nodes_only": True, "pass_nodes_only": "1,3", "control_subnet": "172.20.1.0/24",
    "authorized_keys": "ssh-ed25519 AAAA me\nssh-rsa BBBB",
}  # fmt: skip


def test_attributes_lead_back_to_the_same():
    found = resolve_settings("x", overrides={k: v for k, v in VARIED.items() if k != "authorized_keys"})
    assert resolve_settings("x", as_attributes(found), {"project": "p"}) == found


def test_legal_name():
    assert legal_name("my exp.v2") == "my-exp-v2"
    assert legal_name("..") == "experiment"
    assert len(legal_name("x" * 200)) == 63


def test_relative_xdg_state_home_is_ignored():
    assert default_state_dir({"XDG_STATE_HOME": "x", "HOME": "/h"}) == "/h/.local/state/benito"
    assert default_state_dir({"XDG_STATE_HOME": "/x"}) == "/x/benito"


def test_each_setting_has_its_own_variable():
    assert len({s.variable for s in SETTINGS}) == len(SETTINGS)


def test_a_default_kind_needs_a_platform():
    with pytest.raises(TopologyError, match="default_kind is 'openvz': it must be one of qemu, process, physical; platforms names others"):
        resolve_settings("star", (), {"default_kind": "openvz"})
    assert resolve_settings("star", (), {"default_kind": "openvz", "platforms": {"container": "lab.site.box"}}).default_kind == "container"


def test_users_of_a_host_have_projects_of_their_own(tmp_path):
    def project(user, **overrides):
        return resolve_settings("star", overrides={"state_dir": str(tmp_path), **overrides}, environment={"USER": user}).project

    assert [project(user) for user in ("ann", "first.last", "LAB\\bob", "x" * 80)] == ["ann", "first-last", "LAB-bob", "x" * 63]
    assert project("ann", project="lab") == "lab"
    assert resolve_settings("star", [attribute("benito:project", "ann")], environment={"USER": "ann"}).project == "ann"
    with pytest.raises(TopologyError, match="benito:project may not be 'lab' in a topology file: it is ann here"):
        resolve_settings("star", [attribute("benito:project", "lab")], environment={"USER": "ann"})


def test_an_experiment_under_the_former_default_project_keeps_it(tmp_path):
    def project(**overrides):
        return resolve_settings("star", overrides={"state_dir": str(tmp_path), **overrides}, environment={"USER": "ann"}).project

    for name in ("testbed.star", "ann.star"):
        (tmp_path / name).mkdir()
    assert project() == "ann", "a directory without a record is no experiment"
    (tmp_path / "testbed.star/embedding.topdl").touch()
    assert project() == "testbed" and project(experiment="other") == "ann" and project(project="ann") == "ann"
    (tmp_path / "ann.star/embedding.topdl").touch()
    assert project() == "ann"

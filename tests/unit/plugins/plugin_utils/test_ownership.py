# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who works on an experiment from a controller, and which files of a state directory are believed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ansible_collections.benito.testbed.plugins.plugin_utils import ownership
from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import TopologyError
from ansible_collections.benito.testbed.plugins.plugin_utils.embedding import load_embedding
from ansible_collections.benito.testbed.plugins.plugin_utils.ownership import fingerprint, login, owner, read_own, why_not_own
from ansible_collections.benito.testbed.plugins.plugin_utils.pool import load_facts
from ansible_collections.benito.testbed.plugins.plugin_utils.settings import resolve_settings
from ansible_collections.benito.testbed.plugins.plugin_utils.state_files import StateError, keep

OTHER = 54321


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "ann.x"
    made.mkdir(mode=0o700)
    for name in ("embedding.topdl", "pool.json"):
        (made / name).write_text('{"alpha": {"cores": 2}}')
        (made / name).chmod(0o600)
    return made


@pytest.fixture
def of_another(monkeypatch: pytest.MonkeyPatch):
    """Return a function that gives a file to another user, as far as these functions can see."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    return lambda path: os.chown(path, OTHER, OTHER, follow_symlinks=False)


def all_refuse(directory: Path, message: str, name: str) -> None:
    """Each way in refuses, without a change."""
    before = {path: path.lstat().st_mode for path in directory.parent.rglob("*")}
    with pytest.raises(TopologyError, match=message):
        if name == "pool.json":
            load_facts(directory)
        else:
            load_embedding(resolve_settings("x", overrides={"state_dir": str(directory.parent), "project": "ann"}))
    assert {path: path.lstat().st_mode for path in directory.parent.rglob("*")} == before


@pytest.mark.parametrize("name", ["embedding.topdl", "pool.json"])
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_record_that_others_may_write_is_refused(directory: Path, name: str, mode: int) -> None:
    (directory / name).chmod(mode)
    all_refuse(directory, f"{name} can be written by others.*chmod go-w", name)


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_directory_that_others_may_write_is_refused(directory: Path, mode: int) -> None:
    directory.chmod(mode)
    for name in ("embedding.topdl", "pool.json"):
        all_refuse(directory, "ann.x can be written by others", name)
    with pytest.raises(StateError, match="can be written by others"):
        keep(directory, {"note": "x"}, {"id_ed25519": "x"})
    assert not (directory / "note").exists() and not (directory / "id_ed25519").exists()


@pytest.mark.parametrize("name", ["embedding.topdl", "pool.json"])
def test_a_record_of_another_user_is_refused(directory: Path, of_another, name: str) -> None:
    of_another(directory / name)
    all_refuse(directory, f"{name} belongs to {OTHER}", name)


def test_a_directory_of_another_user_is_refused_even_without_records(directory: Path, of_another) -> None:
    """Somebody made it beforehand, in a directory where everybody may: what is put there later would be theirs to replace."""
    for path in directory.iterdir():
        path.unlink()
    of_another(directory)
    all_refuse(directory, f"belongs to {OTHER}", "embedding.topdl")
    with pytest.raises(StateError, match=f"belongs to {OTHER}"):
        keep(directory, {"note": "x"}, {})


def test_a_link_of_another_user_is_refused(directory: Path, of_another) -> None:
    link = directory.with_name("ann.y")
    link.symlink_to(directory)
    assert why_not_own(link) == "", "one's own links are one's own business"
    of_another(link)
    assert f"belongs to {OTHER}" in why_not_own(link)


def test_what_is_one_s_own_is_read(directory: Path, monkeypatch: pytest.MonkeyPatch, of_another) -> None:
    assert load_facts(directory) == {"alpha": {"cores": 2}}
    for path in (directory, *directory.iterdir()):
        of_another(path)
    monkeypatch.setenv("SUDO_UID", str(OTHER))
    assert read_own(directory / "pool.json"), "root by sudo works with the files of the one who called it"


def test_the_fingerprint_is_that_of_ssh_keygen(tmp_path: Path) -> None:
    keep(tmp_path / "x", {}, {"id_ed25519": "ann.x"})
    public = tmp_path / "x/id_ed25519.pub"
    listed = subprocess.run(["ssh-keygen", "-l", "-f", public], capture_output=True, text=True, check=True)
    assert fingerprint(public) == listed.stdout.split()[1]
    assert owner(tmp_path / "x", {})["fingerprint"] == listed.stdout.split()[1]


@pytest.mark.parametrize("content", ["", "x", "ssh-ed25519", "ssh-ed25519 =", "ssh-ed25519 \N{SNOWMAN}", "a b c d"])
def test_no_key_has_no_fingerprint(tmp_path: Path, content: str) -> None:
    (tmp_path / "k.pub").write_text(content)
    assert fingerprint(tmp_path / "k.pub") == ""
    assert fingerprint(tmp_path / "none.pub") == ""


def test_the_login_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "_account", lambda uid: f"user-{uid}")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert login({"SUDO_USER": "eve", "USER": "eve"}) == "user-1000", "only root is believed to have come by sudo"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert (login({}), login({"SUDO_USER": "ann"})) == ("user-0", "ann")
    assert owner(Path("/nonexistent"), {"SUDO_USER": "a\x1b[2Jnn"})["user"] == "a_[2Jnn"

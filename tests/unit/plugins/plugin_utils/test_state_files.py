# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller keeps: made once, whole, and nobody else's to read."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from ansible_collections.benito.testbed.plugins.plugin_utils.state_files import Change, StateError, keep, remove


def listing(directory: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mode & 0o7777, path.read_bytes()) for path in directory.iterdir()}


def test_made_once(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    changes = keep(directory, {"note": "one\n"}, {})
    assert changes == (Change(str(directory)), Change(str(directory / "note"), "", "one\n"))
    assert directory.stat().st_mode & 0o7777 == 0o700
    assert listing(directory) == {"note": (0o600, b"one\n")}
    assert keep(directory, {"note": "one\n"}, {}) == ()


def test_a_check_tells_what_would_be_and_does_nothing(tmp_path: Path) -> None:
    wanted = tmp_path / "new"
    told = keep(wanted, {"note": "x"}, {"key": "a comment"}, check=True)
    assert not wanted.exists()
    assert told == keep(wanted, {"note": "x"}, {"key": "a comment"})
    assert keep(wanted, {"note": "x"}, {"key": "a comment"}, check=True) == ()


def test_what_differs_is_written_anew_and_the_rest_stays(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    keep(tmp_path, {"note": "one\n", "other": "same\n"}, {})
    (tmp_path / "strange").write_text("theirs")
    before = (tmp_path / "other").stat()
    assert keep(tmp_path, {"note": "two ü\n", "other": "same\n"}, {}) == (Change(str(tmp_path / "note"), "one\n", "two ü\n"),)
    assert (tmp_path / "note").read_text(encoding="utf-8") == "two ü\n"
    assert (tmp_path / "other").stat().st_ino == before.st_ino
    assert sorted(path.name for path in tmp_path.iterdir()) == ["note", "other", "strange"]


@pytest.mark.parametrize("mode", [0o644, 0o666, 0o400])
def test_what_others_may_read_is_closed(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "note").write_text("one\n")
    (tmp_path / "note").chmod(mode)
    assert [change.path for change in keep(tmp_path, {"note": "one\n"}, {})] == [str(tmp_path), str(tmp_path / "note")]
    assert listing(tmp_path) == {"note": (0o600, b"one\n")}
    assert tmp_path.stat().st_mode & 0o7777 == 0o700


def test_keys_are_pairs_and_are_made_once(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    keep(directory, {}, {"id_ed25519": "lab demo"})
    made = listing(directory)
    assert {name: mode for name, (mode, dummy) in made.items()} == {"id_ed25519": 0o600, "id_ed25519.pub": 0o644}
    public = subprocess.run(["ssh-keygen", "-y", "-f", directory / "id_ed25519"], capture_output=True, check=True).stdout
    assert public.split()[:2] == made["id_ed25519.pub"][1].split()[:2]
    assert made["id_ed25519.pub"][1].endswith(b" lab demo\n")
    assert keep(directory, {}, {"id_ed25519": "another comment"}) == ()
    assert listing(directory) == made


def test_secrets_are_drawn_once_and_the_owners_alone(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    told = keep(directory, {}, {}, check=True, random=["cable_secret"])
    assert not directory.exists()
    assert keep(directory, {}, {}, random=["cable_secret"]) == told
    ((mode, text),) = listing(directory).values()
    assert mode == 0o600
    assert re.fullmatch(rb"[0-9a-f]{64}\n", text)
    assert all(not change.before and not change.after for change in told), "a difference would show it"
    (directory / "cable_secret").chmod(0o644)
    assert [change.path for change in keep(directory, {}, {}, random=["cable_secret"])] == [str(directory / "cable_secret")]
    assert keep(directory, {}, {}, random=["cable_secret"]) == ()
    assert listing(directory) == {"cable_secret": (0o600, text)}
    keep(tmp_path / "other", {}, {}, random=["cable_secret"])
    assert (tmp_path / "other" / "cable_secret").read_bytes() != text


def test_a_key_that_cannot_be_made_says_why_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "ssh-keygen"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'no entropy today' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    with pytest.raises(StateError, match="no SSH key could be made: no entropy today"):
        keep(tmp_path / "state", {"note": "x"}, {"key": "c"})
    assert list((tmp_path / "state").iterdir()) == []


@pytest.mark.parametrize("name", ["", "..", ".", "../x", "a/b", "/etc/passwd"])
@pytest.mark.parametrize("kind", ["texts", "keys", "random"])
def test_only_names_of_files(tmp_path: Path, name: str, kind: str) -> None:
    with pytest.raises(StateError, match="is not the name of a file"):
        keep(tmp_path / "state", **{"texts": {}, "keys": {}, kind: {name: "x"}})
    assert not (tmp_path / "state").exists()


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(StateError, match=r"state: .*exists"):
        keep(tmp_path / "state", {"note": "x"}, {})
    (tmp_path / "note").mkdir()
    with pytest.raises(StateError, match="directory"):
        keep(tmp_path, {"note": "x"}, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["note", "state"]


def test_removed_with_all_that_is_in_it(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    keep(directory, {"note": "text\n"}, {})
    (directory / "more").mkdir()
    gone = (Change(str(directory), before=f"{directory}\n"),)
    assert remove(directory, check=True) == gone
    assert (directory / "note").exists()
    assert remove(directory) == gone
    assert list(tmp_path.iterdir()) == []
    assert remove(directory) == ()


def test_a_link_is_removed_and_not_what_it_leads_to(tmp_path: Path) -> None:
    keep(tmp_path / "real", {"note": "text\n"}, {})
    for target in (tmp_path / "real", tmp_path / "nothing"):
        (tmp_path / "link").symlink_to(target)
        assert remove(tmp_path / "link")
        assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "note").exists()


def test_what_cannot_be_removed_is_told() -> None:
    with pytest.raises(StateError, match="/proc/self/fd: "):
        remove(Path("/proc/self/fd"))


def test_a_private_key_that_others_may_read_is_closed(tmp_path):
    directory = tmp_path / "x"
    keep(directory, {}, {"id_ed25519": "x"})
    path = directory / "id_ed25519"
    path.chmod(0o644)
    assert [change.path for change in keep(directory, {}, {"id_ed25519": "x"}, check=True)] == [str(path)]
    assert path.stat().st_mode & 0o777 == 0o644
    keep(directory, {}, {"id_ed25519": "x"})
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_public_key_that_was_lost_is_made_of_the_private_one(tmp_path):
    directory = tmp_path / "x"
    keep(directory, {}, {"id_ed25519": "x"})
    public = directory / "id_ed25519.pub"
    before = public.read_text().split()[:2]
    public.unlink()
    assert [change.path for change in keep(directory, {}, {"id_ed25519": "x"})] == [str(public)]
    assert public.read_text().split()[:2] == before
    assert keep(directory, {}, {"id_ed25519": "x"}) == ()

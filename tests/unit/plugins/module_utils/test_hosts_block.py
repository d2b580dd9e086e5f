# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A block in a hosts file comes and goes, and the rest of the file stays as it is, to the byte."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.module_utils.hosts_block import drop, put, text

MARK, OTHER = "/var/lib/benito:lab/demo", "/var/lib/benito:lab/demo2"
CONTENT = st.lists(st.sampled_from([b"127.0.0.1 localhost", b"", b"# began nothing", b"\xff\xfe", b"x", b"a\r"])).map(b"\n".join)


@given(content=CONTENT, ended=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_it_goes_as_it_came(root: str, tmp_path: Path, content: bytes, ended: bool) -> None:
    path = tmp_path / "hosts"
    before = content + b"\n" if ended else content
    path.write_bytes(before)
    for mark, names in ((MARK, "10.0.0.1\ta\n"), (OTHER, "10.0.0.1\tb\n"), (MARK, "10.0.0.2\tc\n")):
        assert put(root, mark, names, str(path))
        assert not put(root, mark, names, str(path))
    assert (text(MARK, str(path)), text(OTHER, str(path))) == ("10.0.0.2\tc\n", "10.0.0.1\tb\n")
    assert drop(root, OTHER, str(path))
    assert text(MARK, str(path)) == "10.0.0.2\tc\n"
    assert drop(root, MARK, str(path))
    assert not drop(root, MARK, str(path))
    assert path.read_bytes() == before


def test_the_first_to_come_may_be_the_first_to_go(root: str, tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(b"127.0.0.1 localhost")
    put(root, MARK, "10.0.0.1\ta\n", str(path))
    put(root, OTHER, "10.0.0.1\tb\n", str(path))
    drop(root, MARK, str(path))
    assert text(OTHER, str(path)) == "10.0.0.1\tb\n"
    drop(root, OTHER, str(path))
    assert path.read_bytes() == b"127.0.0.1 localhost"


def test_what_others_write_meanwhile_stays(root: str, tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(b"127.0.0.1 localhost\n")
    put(root, MARK, "10.0.0.1\ta\n", str(path))
    path.write_bytes(b"192.0.2.1 first\n" + path.read_bytes() + b"192.0.2.2 last\n")
    drop(root, MARK, str(path))
    assert path.read_bytes() == b"192.0.2.1 first\n127.0.0.1 localhost\n192.0.2.2 last\n"


def test_a_block_that_lost_its_end_takes_nothing_with_it(root: str, tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(f"127.0.0.1 localhost\n# begin of {MARK}\n192.0.2.2 last\n".encode())
    drop(root, MARK, str(path))
    assert path.read_bytes() == b"127.0.0.1 localhost\n192.0.2.2 last\n"


def test_mode_stays_and_an_absent_file_is_made(root: str, tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    assert text(MARK, str(path)) is None
    assert not drop(root, MARK, str(path))
    put(root, MARK, "10.0.0.1\ta\n", str(path))
    assert path.stat().st_mode & 0o777 == 0o644
    path.chmod(0o664)
    put(root, MARK, "10.0.0.1\tb\n", str(path))
    assert path.stat().st_mode & 0o777 == 0o664
    assert os.listdir(tmp_path) == ["hosts"]


def test_a_link_stays_a_link(root: str, tmp_path: Path) -> None:
    (tmp_path / "real").write_text("127.0.0.1 localhost\n")
    (tmp_path / "hosts").symlink_to("real")
    put(root, MARK, "10.0.0.1\ta\n", str(tmp_path / "hosts"))
    assert (tmp_path / "hosts").is_symlink()
    assert "10.0.0.1\ta" in (tmp_path / "real").read_text()


@pytest.mark.parametrize("mark", [MARK, OTHER])
def test_names_that_begin_alike_are_told_apart(root: str, tmp_path: Path, mark: str) -> None:
    path = tmp_path / "hosts"
    put(root, mark, "x\n", str(path))
    assert text(OTHER if mark == MARK else MARK, str(path)) is None

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Digests: of content and nothing else, and remembered as long as a file is what it was."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.module_utils import digests as module
from ansible_collections.benito.testbed.plugins.module_utils.digests import PIECE, digests
from ansible_collections.benito.testbed.plugins.module_utils.rundir import read_json


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The files that were read; all of them were written long ago."""
    read: list[int] = []
    original: Callable[[int], str] = module._read

    def count(descriptor: int) -> str:
        read.append(descriptor)
        return original(descriptor)

    monkeypatch.setattr(module, "_read", count)
    monkeypatch.setattr(module, "FRESH", -1)
    return read


def digest(directory: Path, path: Path) -> str:
    return digests(str(directory), [str(path)])[str(path)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.tuples(st.integers(0, 3 * PIECE), st.binary(min_size=1, max_size=9)), max_size=4), tail=st.integers(0, PIECE + 9))
def test_holes_are_zeros_like_any_other(tmp_path: Path, parts: list[tuple[int, bytes]], tail: int) -> None:
    content = bytearray()
    for name in ("sparse", "full"):
        (tmp_path / name).unlink(missing_ok=True)
    with (tmp_path / "sparse").open("wb") as file:
        for offset, piece in parts:
            content.extend(bytes(max(0, offset + len(piece) - len(content))))
            content[offset : offset + len(piece)] = piece
            file.seek(offset)
            file.write(piece)
        file.truncate(len(content) + tail)
    (tmp_path / "full").write_bytes(bytes(content) + bytes(tail))
    assert digest(tmp_path / "known", tmp_path / "sparse") == digest(tmp_path / "known", tmp_path / "full")


def test_any_difference_is_another_digest(tmp_path: Path) -> None:
    base = bytes(PIECE) + b"x" + bytes(2 * PIECE)
    seen = set()
    for content in (
        base,
        base + b"\0",
        base[:-1],
        b"x" + base[1:],
        base[PIECE:],
        bytes(PIECE - 1) + b"x" + bytes(2 * PIECE + 1),
        b"",
        b"\0",
    ):
        (tmp_path / "file").write_bytes(content)
        seen.add(digest(tmp_path / "known", tmp_path / "file"))
    assert len(seen) == 8


def test_a_file_is_read_once(tmp_path: Path, reads: list[int]) -> None:
    file, known = tmp_path / "file", tmp_path / "known"
    file.write_bytes(b"content")
    first = digest(known, file)
    assert digest(known, file) == first
    assert len(reads) == 1
    assert stat.S_IMODE((known / "digests.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("what", ["content", "copied over", "another file", "a damaged record"])
def test_a_file_that_changed_is_read_again(tmp_path: Path, reads: list[int], what: str) -> None:
    file, known = tmp_path / "file", tmp_path / "known"
    file.write_bytes(b"content")
    os.utime(file, ns=(1, 1))
    first = digest(known, file)
    if what == "content":
        file.write_bytes(b"CONTENT")
        os.utime(file, ns=(1, 1))
    elif what == "copied over":
        os.truncate(file, 0)
        os.truncate(file, 7)
        os.utime(file, ns=(1, 1))
    elif what == "another file":
        (tmp_path / "other").write_bytes(b"CONTENT")
        os.utime(tmp_path / "other", ns=(1, 1))
        os.replace(tmp_path / "other", file)
    else:
        (known / "digests.json").write_text('{"' + str(file) + '": {"facts": 7, "digest": "x"}}')
    assert (digest(known, file) == first) is (what == "a damaged record")
    assert len(reads) == 2


def test_what_was_just_written_is_not_remembered(tmp_path: Path) -> None:
    file, known = tmp_path / "file", tmp_path / "known"
    file.write_bytes(b"content")
    digest(known, file)
    assert read_json(f"{known}/digests.json") == {}


def test_what_is_not_there_has_no_digest_and_is_forgotten(tmp_path: Path, reads: list[int]) -> None:
    file, known = tmp_path / "file", tmp_path / "known"
    file.write_bytes(b"content")
    assert digests(str(known), [str(file), str(tmp_path / "none"), str(tmp_path)]) == {str(file): digest(known, file)}
    assert list(read_json(f"{known}/digests.json")) == [str(file)]
    file.unlink()
    (tmp_path / "new").write_bytes(b"new")
    assert digest(known, tmp_path / "new")
    assert list(read_json(f"{known}/digests.json")) == [str(tmp_path / "new")]


def test_those_who_ask_at_the_same_time_read_a_file_once(tmp_path: Path, reads: list[int]) -> None:
    file, known = tmp_path / "file", tmp_path / "known"
    file.write_bytes(os.urandom(4 * PIECE))
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(digest(known, file))) for dummy in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(found) == 8
    assert len(set(found)) == 1
    assert len(reads) == 1

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import TopologyError
from ansible_collections.benito.testbed.plugins.plugin_utils.formats.source import read_topology

TOPDL = "<experiment><version>1.0</version><elements><computer><name>a</name></computer></elements></experiment>"
NS = "set ns [new Simulator]\nset a [$ns node]\n$ns run\n"


def refusal(path: Path | str) -> str:
    with pytest.raises(TopologyError) as caught:
        read_topology(str(path))
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(str(path))
    return text.removeprefix(str(path))


@pytest.mark.parametrize("name", ["x.topdl", "x.xml", "x", "x.ns.xml"])
@pytest.mark.parametrize("start", ["", "\n \t", "\ufeff", "<?xml version='1.0'?>"])
def test_topdl_is_known_by_its_content(tmp_path: Path, name: str, start: str) -> None:
    path = tmp_path / name
    path.write_text(start + TOPDL)
    topology, notices = read_topology(str(path))
    assert [c.name for c in topology.computers] == ["a"]
    assert topology.where.file == str(path)
    assert notices == ()


@pytest.mark.parametrize("name", ["x.tcl", "x.ns", "X.TCL"])
def test_ns_is_known_by_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("\ufeff" + NS)
    topology, dummy = read_topology(str(path))
    assert [c.name for c in topology.computers] == ["a"]


def test_what_is_neither_is_told_what_a_topology_is(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text(NS)
    assert refusal(path).startswith(":1:1: this is not a topology: a topology is TopDL, which starts with <experiment>, or an NS file, ")


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "x.topdl"
    path.write_text("\n")
    assert "the file is empty" in refusal(path)


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path) == ": this is a directory: name a topology file"
    assert refusal(tmp_path / "pipe") == ": this is not a regular file: name a topology file"
    assert refusal("/dev/zero") == ": this is not a regular file: name a topology file"


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.topdl") == ": the topology file cannot be read: No such file or directory"
    assert refusal(tmp_path / ("x" * 300)) == ": the topology file cannot be read: File name too long"
    assert refusal("a\0b") == ": the topology file cannot be read: this is no file name"


@pytest.mark.parametrize("name", ["x.topdl", "x.tcl"])
def test_what_is_not_utf_8(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"<experiment>\n\xff</experiment>")
    assert refusal(path) == ":2: this is not text in UTF-8, so no topology"


@pytest.mark.parametrize("name", ["x.topdl", "x.tcl"])
def test_what_is_too_large(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(64 * 1024 * 1024 + 1)
    assert "more than 64 MB" in refusal(path)

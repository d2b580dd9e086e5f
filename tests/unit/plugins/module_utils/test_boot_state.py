# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What guests write into their state files, nonsense included."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.module_utils.boot_state import LIMIT, BootState, parse, read


def test_a_whole_boot() -> None:
    said = parse("boot 6.1\nconfigured abc\nbooted 1.75\nstart-command running\nstart-command exit 3\n")
    assert said == BootState(boots=1, booted=True, configured="abc", uptime=1.75, start_command=3)


def test_nothing_was_said() -> None:
    assert parse("") == BootState()


def test_the_last_boot_counts() -> None:
    said = parse("boot a\nconfigured one\nbooted 1\nstart-command exit 0\nerror late\nboot b\nconfigured two\n")
    assert said == BootState(boots=2, configured="two", faults=1)


def test_a_configuration_that_applies_ends_the_errors_before_it() -> None:
    assert parse("boot a\nerror one\nerror two\n").errors == ("one", "two")
    assert parse("boot a\nerror one\nconfigured k\nerror two\n").errors == ("two",)


def test_what_is_mended_is_no_error_any_more() -> None:
    said = "configured k\nerror mount /a: gone\nerror mount /ab: gone\nerror dhcp eth1: no\n"
    assert parse(said + "mended mount /a\n").errors == ("mount /ab: gone", "dhcp eth1: no")
    assert parse(said + "mended mount /a\n").faults == 3
    assert parse(said + "mended\n").errors == parse(said).errors


def test_an_address_of_the_labs_server_is_of_this_boot() -> None:
    assert parse("boot x\ncontrol-address 192.0.2.7\n").control_address == "192.0.2.7"
    assert parse("boot x\ncontrol-address 192.0.2.7\ncontrol-address 192.0.2.8\n").control_address == "192.0.2.8"
    assert parse("boot x\ncontrol-address 192.0.2.7\nboot x\n").control_address == ""
    assert parse("boot x\ncontrol-address 192.0.2.7; reboot\n").control_address == ""


def test_what_is_not_understood_is_passed_over() -> None:
    assert parse("hello\nboots\nstart-command\nstart-command exit x\nstart-command exit\nBOOT x\n booted 1\n") == BootState()
    assert parse("booted soon\n") == BootState(booted=True)


def test_a_line_that_is_still_being_written_counts_as_far_as_it_is_there() -> None:
    assert not parse("boot a\nboote").booted


def test_what_it_says_is_bounded_and_printable() -> None:
    said = parse("configured " + "k" * 1000 + "\n" + "".join(f"error {i} \x1b[2J\x00" + "x" * 1000 + "\n" for i in range(9)))
    assert len(said.configured) == 64
    assert len(said.errors) == 5
    assert all(len(error) <= 200 and error.isprintable() for error in said.errors)


@settings(max_examples=300, deadline=None)
@given(content=st.binary(max_size=300))
def test_no_bytes_stop_the_reader(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "state"
    path.write_bytes(content)
    assert isinstance(read(str(path)), BootState)


# Numbers that are none have a test of their own.
NUMBERS = st.one_of(st.integers(0, 255).map(str), st.floats(-1e6, 1e6).map(str), st.text(alphabet="0123456789.-+_ x", max_size=8))
LINE = st.builds(
    lambda word, rest: f"{word}{rest}", st.sampled_from(["boot ", "booted ", "configured ", "start-command exit ", "error ", ""]), NUMBERS
)


@settings(max_examples=200, deadline=None)
@given(before=st.lists(LINE), after=st.lists(LINE.filter(lambda line: not line.startswith("boot "))))
def test_nothing_before_the_last_boot_matters(before: list[str], after: list[str]) -> None:
    late = parse("\n".join(["boot x", *after]))
    whole = parse("\n".join([*before, "boot x", *after]))
    assert (whole.booted, whole.configured, whole.start_command, whole.errors) == (
        late.booted,
        late.configured,
        late.start_command,
        late.errors,
    )
    assert whole.boots == 1 + sum(line.startswith("boot ") for line in before)


@pytest.mark.parametrize("number", ["inf", "-inf", "nan", "1e999"])
def test_numbers_that_are_none_are_not_understood(number: str) -> None:
    assert parse(f"start-command exit {number}\n").start_command is None


@pytest.mark.parametrize("number", ["inf", "nan"])
def test_an_uptime_is_a_finite_number(number: str) -> None:
    assert parse(f"booted {number}\n").uptime is None


def test_only_the_end_of_a_long_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text("boot early\nbooted 1\n" + "noise\n" * LIMIT + "boot late\nconfigured k\n")
    assert read(str(path)) == BootState(boots=1, configured="k")


def test_no_file_and_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("booted 1\n")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert read(str(tmp_path / "none")) == BootState()
    assert read(str(tmp_path / "link")) == BootState()
    assert read(str(tmp_path / "real")).booted


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_says_nothing(tmp_path: Path, make: Callable[[str], None]) -> None:
    make(str(tmp_path / "state"))
    assert read(str(tmp_path / "state")) == BootState()

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe for KVM, with stand-ins for QEMU: one that works, one that hangs, one that aborts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import acceleration
from ansible_collections.benito.testbed.plugins.module_utils.acceleration import SAID, choose, probe

WORKS = f'printf "boot\\r\\n{SAID}\\r\\n"'
ABORTS = 'echo "starting"; echo "error: kvm run failed Bad address" >&2; echo; kill -ABRT $$'


@pytest.fixture
def stub(root: str, account: str, root_user: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a shell script in place of QEMU; it counts how often it is run."""
    os.mkdir(f"{root}/bin")
    os.mkdir(f"{root}/runs")
    os.chmod(f"{root}/runs", 0o777)
    monkeypatch.setenv("PATH", f"{root}/bin:/usr/bin:/bin")
    exists = os.path.exists
    monkeypatch.setattr(acceleration.os.path, "exists", lambda path: path == "/dev/kvm" or exists(path))

    def write(script: str) -> None:
        path = Path(f"{root}/bin/qemu-system-x86_64")
        path.write_text(f'#!/bin/sh\nid -un > {root}/runs/$$\necho "$@" >> {root}/runs/$$\n{script}\n')
        path.chmod(0o755)

    return write


def runs(root: str) -> list[str]:
    return [Path(f"{root}/runs/{name}").read_text() for name in os.listdir(f"{root}/runs")]


def test_a_guest_that_runs(root: str, stub: Callable[[str], None], account: str) -> None:
    stub(WORKS)
    assert probe("/images/k", "/images/i") == (True, "a guest ran under KVM")
    [said] = runs(root)
    assert said.splitlines()[0] == account
    assert "-accel kvm" in said
    assert "-kernel /images/k -initrd /images/i" in said
    assert "benito.probe" in said


def test_a_guest_that_hangs(stub: Callable[[str], None]) -> None:
    stub("exec sleep 300")
    assert probe("k", "i", patience=0.3) == (False, "a guest under KVM did not come up within 0 s")


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (ABORTS, "a guest under KVM failed: error: kvm run failed Bad address"),
        ("exit 1", "a guest under KVM failed: exit status 1"),
        ("exit 0", "a guest under KVM failed: exit status 0"),
        ("head -c 100000 /dev/zero | tr '\\0' x", f"a guest under KVM failed: {'x' * 160}"),
    ],
)
def test_a_guest_that_fails(stub: Callable[[str], None], script: str, why: str) -> None:
    stub(script)
    assert probe("k", "i") == (False, why)


def test_a_host_without_qemu(root: str, stub: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{root}/bin")
    assert probe("k", "i") == (False, "cannot run QEMU: No such file or directory")


def test_a_host_without_kvm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceleration.os.path, "exists", lambda path: False)
    assert probe("k", "i") == (False, "no /dev/kvm")


@pytest.mark.parametrize("wish", ["kvm", "tcg"])
def test_a_wish_is_believed(root: str, stub: Callable[[str], None], wish: str) -> None:
    stub("exit 1")
    assert choose(wish, "k", "i", root) == (wish, "asked for")
    assert runs(root) == []


@pytest.mark.parametrize(("script", "wanted"), [(WORKS, "kvm"), (ABORTS, "tcg")])
def test_the_second_time_it_is_known(root: str, stub: Callable[[str], None], script: str, wanted: str) -> None:
    stub(script)
    first = choose("auto", "k", "i", root)
    assert first[0] == wanted
    assert choose("auto", "k", "i", root) == first
    assert len(runs(root)) == 1


def test_other_circumstances_are_looked_at_again(root: str, stub: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    stub(WORKS)
    assert choose("auto", "k", "i", root)[0] == "kvm"
    assert choose("auto", "another kernel", "i", root)[0] == "kvm"
    stub(ABORTS)
    assert choose("auto", "another kernel", "i", root)[0] == "tcg"
    monkeypatch.setattr(acceleration, "boot_id", lambda: "another boot")
    assert choose("auto", "another kernel", "i", root)[0] == "tcg"
    assert len(runs(root)) == 4


def test_a_check_run_starts_nothing_and_knows_what_an_earlier_run_found(root: str, stub: Callable[[str], None]) -> None:
    stub(WORKS)
    assert choose("auto", "k", "i", root, check=True) == ("tcg", "not tried in a check run")
    assert runs(root) == []
    assert not os.path.exists(f"{root}/accelerator.json")
    found = choose("auto", "k", "i", root)
    assert choose("auto", "k", "i", root, check=True) == found
    assert choose("auto", "another kernel", "i", root, check=True)[0] == "tcg"
    assert choose("auto", "k", "i", root) == found
    assert len(runs(root)) == 1


def test_a_damaged_cache_is_no_answer(root: str, stub: Callable[[str], None]) -> None:
    stub(WORKS)
    Path(f"{root}/accelerator.json").write_text('{"accelerator": "tcg"')
    assert choose("auto", "k", "i", root)[0] == "kvm"

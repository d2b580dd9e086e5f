# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each experiment has a copy of a template's memory: what one writes to it is not in another's guests, nor in later ones."""

from __future__ import annotations

import fcntl
import mmap
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import template_memory
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir
from ansible_collections.benito.testbed.plugins.module_utils.service_ids import service
from ansible_collections.benito.testbed.plugins.module_utils.template import Template
from ansible_collections.benito.testbed.plugins.module_utils.template_memory import own_copy

pytestmark = pytest.mark.usefixtures("root_user", "account")
SIZE = 8 << 20


@pytest.fixture
def template(root: str) -> Template:
    """A template with little in its memory."""
    place = Path(root) / "cache" / "0123456789abcdef"
    place.mkdir(parents=True)
    write(place / "memory", b"kernel")
    return Template(str(place), SIZE >> 20, b"")


def write(path: Path, text: bytes) -> None:
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.truncate(SIZE)
        os.pwrite(file.fileno(), text, 5 << 20)


@pytest.fixture
def other(root: str) -> RunDir:
    made = RunDir("lab", "other", "lab.other", root)
    made.create()
    return made


def copy_of(rundir: RunDir, template: Template) -> Path:
    return Path(own_copy(rundir, template, service(rundir)).memory)


def poison(rundir: RunDir, path: str | Path) -> bool:
    """Write to a file with the ids of an experiment; tell whether that was possible."""
    script = f"printf evil | dd of={path} bs=1 seek={5 << 20} conv=notrunc,nocreat status=none"
    return subprocess.run([*service(rundir).words, "sh", "-c", script], capture_output=True, check=False).returncode == 0


def test_what_one_experiment_writes_is_its_own(rundir: RunDir, other: RunDir, template: Template) -> None:
    own, theirs = copy_of(rundir, template), copy_of(other, template)
    assert poison(rundir, own)
    assert not poison(rundir, theirs)
    assert not poison(rundir, f"{template.path}/memory")
    found = [path.read_bytes()[5 << 20 :][:6] for path in (own, theirs, Path(template.path) / "memory", copy_of(other, template))]
    assert found == [b"evilel", b"kernel", b"kernel", b"kernel"]


def test_it_is_copied_once_and_without_its_holes(rundir: RunDir, template: Template) -> None:
    own = copy_of(rundir, template)
    facts = own.stat()
    assert (facts.st_uid, stat.S_IMODE(facts.st_mode), facts.st_size) == (service(rundir).uid, 0o600, SIZE)
    assert facts.st_blocks * 512 <= 1 << 20
    assert copy_of(rundir, template).stat().st_ino == facts.st_ino
    assert own.read_bytes() == (Path(template.path) / "memory").read_bytes()


def test_guests_that_run_keep_what_they_woke_up_from(rundir: RunDir, template: Template) -> None:
    own = copy_of(rundir, template)
    with own.open("rb") as file, mmap.mmap(file.fileno(), SIZE, mmap.MAP_PRIVATE, mmap.PROT_READ) as memory:
        write(Path(template.path) / "memory", b"another")
        anew = copy_of(rundir, template)
        assert memory[5 << 20 :][:6] == b"kernel"
        assert anew != own
        assert anew.read_bytes()[5 << 20 :][:7] == b"another"
        assert not own.exists()


def test_what_a_crash_left_is_no_obstacle(rundir: RunDir, template: Template) -> None:
    own = copy_of(rundir, template)
    own.unlink()
    Path(f"{own}.new").symlink_to("/etc/passwd")
    assert copy_of(rundir, template).read_bytes()[5 << 20 :][:6] == b"kernel"
    assert not Path(f"{own}.new").is_symlink()


def test_a_link_in_its_place_is_not_taken_for_it(rundir: RunDir, other: RunDir, template: Template) -> None:
    own, theirs = copy_of(rundir, template), copy_of(other, template)
    own.unlink()
    own.symlink_to(theirs)
    assert not copy_of(rundir, template).is_symlink()
    assert theirs.stat().st_uid == service(other).uid


def test_where_blocks_cannot_be_shared_it_is_copied_all_the_same(
    rundir: RunDir, template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*words: Any) -> int:
        raise OSError(95, "not supported")

    monkeypatch.setattr(template_memory.fcntl, "ioctl", refuse)
    assert fcntl.ioctl is refuse
    assert copy_of(rundir, template).read_bytes() == (Path(template.path) / "memory").read_bytes()

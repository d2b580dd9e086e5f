# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host keys: made once, and the same in the formats of both ssh servers."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import host_key, node_supervisor
from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir, passage

CONVERT = Path("/usr/lib/dropbear/dropbearconvert")


def test_a_key_is_made_once_and_for_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "key"
    host_key.make(str(path))
    text = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert host_key.public(str(path)).split()[0] == "ssh-ed25519"
    host_key.make(str(path))
    assert path.read_text() == text


def test_half_a_key_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "key"
    host_key.make(str(path))
    text = path.read_text()
    (tmp_path / "key.pub").unlink()
    host_key.make(str(path))
    assert path.read_text() != text
    derived = subprocess.run(["ssh-keygen", "-y", "-f", path], capture_output=True, text=True, check=True).stdout
    assert derived.split()[1] == host_key.public(str(path)).split()[1]


@pytest.mark.parametrize("end", ["", ".pub"])
def test_a_key_that_a_crash_emptied_is_made_anew(end: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    host_key.make(str(path))
    Path(f"{path}{end}").write_bytes(b"")
    host_key.make(str(path))
    assert host_key.dropbear(str(path))
    assert host_key.public(str(path)).startswith("ssh-ed25519 ")


@pytest.mark.skipif(not CONVERT.exists(), reason="dropbear is not here")
def test_dropbears_form_is_the_one_that_dropbear_makes(tmp_path: Path) -> None:
    for number in range(5):
        path = tmp_path / f"key{number}"
        host_key.make(str(path))
        subprocess.run([CONVERT, "openssh", "dropbear", path, f"{path}.dropbear"], check=True, capture_output=True)
        assert host_key.dropbear(str(path)) == Path(f"{path}.dropbear").read_bytes()


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    for name, words in (("ecdsa", ["-t", "ecdsa", "-N", ""]), ("locked", ["-t", "ed25519", "-N", "a passphrase"])):
        subprocess.run(["ssh-keygen", "-q", *words, "-f", tmp_path / name], check=True)
        with pytest.raises(HostError, match=f"{name} is not an ed25519 key in OpenSSH's format without a passphrase: remove it"):
            host_key.dropbear(str(tmp_path / name))


@pytest.mark.parametrize("text", ["", "nonsense", "-----BEGIN-----\n%%%\n-----END-----", "-----A-----b3BlbnNzaC1rZXktdjEA-----B-----"])
def test_what_is_no_key_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(text)
    with pytest.raises(HostError, match="is not an ed25519 key"):
        host_key.dropbear(str(tmp_path / "key"))


def test_both_forms_of_the_nodes_key_are_of_one_key(rundir: RunDir) -> None:
    home = Path(node_supervisor.directory(rundir))
    passage(str(home))
    first = node_supervisor._host_key(rundir)
    assert node_supervisor._host_key(rundir) == first
    (home / "ssh_host_ed25519_key.pub").unlink()
    assert node_supervisor._host_key(rundir) not in ("", first)
    assert (home / "host_key").read_bytes() == host_key.dropbear(str(home / "ssh_host_ed25519_key"))

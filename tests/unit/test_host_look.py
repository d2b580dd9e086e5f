# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role vhost looks at before it makes anything: packages, a group, accounts."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

ROLE = Path(__file__).resolve().parents[2] / "roles/vhost"
PASSWD = {
    "benito": "benito:x:990:990:Benito guests and switches:/var/lib/benito:/bin/sh",
    "benito-node": "benito-node:x:989:989:Root of Benito process nodes:/nonexistent:/usr/sbin/nologin",
}
GROUPS = {"benito": "benito kvm", "benito-node": "benito-node"}


def look(
    place: Path, *packages: str, passwd: Mapping[str, str] | None = None, groups: Mapping[str, str] | None = None, shadow: str = "*"
) -> list[str]:
    """Run it where only what it calls is there, and answers as told; return its lines."""
    passwd, groups = passwd or PASSWD, groups or GROUPS
    place.mkdir()
    for tool in ("sed", "cut"):
        (place / tool).symlink_to(str(shutil.which(tool)))
    for kind, entries in (
        ("passwd", passwd),
        ("shadow", {name: f"{name}:{shadow}:19000" for name in passwd}),
        ("group", {"kvm": "kvm:x:102:"}),
    ):
        for name, line in entries.items():
            (place / f"{kind}-{name}").write_text(f"{line}\n")
    for name, text in groups.items():
        (place / f"id-{name}").write_text(f"{text}\n")
    own = 'read_file() {{ while read -r line; do echo "$line"; done <{place}/$1; }} 2>/dev/null'
    for tool, call in (
        ("getent", "test -e {place}/$1-$2 || exit 2; read_file $1-$2"),
        ("id", "read_file id-$2"),
        ("dpkg-query", 'echo "package vdeplug installed"; echo "package qemu-utils config-files"; echo "no package nosuch" >&2; exit 1'),
    ):
        (place / tool).write_text("#!/bin/sh\n" + own.format(place=place) + "\n" + call.format(place=place) + "\n")
        (place / tool).chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", ROLE / "files/look.sh", *packages], env={"PATH": str(place)}, capture_output=True, text=True, check=True
    )
    assert done.stderr == ("no package nosuch\n" if packages else "")
    return done.stdout.splitlines()


def wanted() -> list[str]:
    """Return the lines of accounts that the role is content with."""
    tasks = yaml.safe_load((ROLE / "tasks/host.yml").read_text())
    found = [task["when"] for task in tasks if "ansible.builtin.user" in task]
    assert len(found) == len(PASSWD)
    return [re.sub(r"' ~ vhost_root ~ '", "/var/lib/benito", text).split("'")[1] for text in found]


def test_accounts_as_they_are_to_be_are_left_alone(tmp_path: Path) -> None:
    assert look(tmp_path / "bin") == ["group kvm", *wanted()]


@pytest.mark.parametrize(
    "altered",
    [
        {"passwd": {**PASSWD, "benito": PASSWD["benito"].replace("/bin/sh", "/bin/bash")}},
        {"passwd": {**PASSWD, "benito": PASSWD["benito"].replace("/var/lib", "/home")}},
        {"passwd": {"benito-node": PASSWD["benito-node"]}},
        {"groups": {**GROUPS, "benito": "benito"}},
        {"groups": {**GROUPS, "benito": "benito kvm sudo"}},
        {"shadow": "$6$secret"},
    ],
    ids=["shell", "home", "missing", "no kvm", "too much", "password"],
)
def test_an_account_that_is_not_is_seen(tmp_path: Path, altered: dict) -> None:
    lines = look(tmp_path / "bin", **altered)
    assert wanted()[0] not in lines
    assert "secret" not in "".join(lines)


def test_packages_that_are_installed(tmp_path: Path) -> None:
    assert look(tmp_path / "bin", "vdeplug", "qemu-utils", "nosuch")[0] == "package vdeplug"
    assert not any("qemu-utils" in line or "nosuch" in line for line in look(tmp_path / "again", "qemu-utils", "nosuch"))


def test_where_there_is_no_dpkg_it_says_what_would_be_right(tmp_path: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", ROLE / "files/look.sh", "vdeplug"], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "vhost_packages" in done.stderr


def test_a_broken_database_of_packages_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "dpkg-query").write_text("#!/bin/sh\necho 'dpkg-query: error: parsing file' >&2\nexit 2\n")
    (tmp_path / "dpkg-query").chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", ROLE / "files/look.sh", "vdeplug"], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "parsing file" in done.stderr

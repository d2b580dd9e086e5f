# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role vhost looks at before it makes anything: packages, a group, accounts."""

from __future__ import annotations

import os
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
    "benito-share": "benito-share:x:988:988:Directories shared with Benito guests:/nonexistent:/usr/sbin/nologin",
}
GROUPS = {"benito": "benito kvm", "benito-share": "benito-share"}


def look(
    place: Path,
    *packages: str,
    passwd: Mapping[str, str] | None = None,
    groups: Mapping[str, str] | None = None,
    shadow: str = "*",
    group: Mapping[str, str] | None = None,
    root: str = "/var/lib/benito",
) -> list[str]:
    """Run it where only what it calls is there, and answers as told; return its lines."""
    passwd, groups = PASSWD if passwd is None else passwd, groups or GROUPS
    by_id = {line.split(":")[2]: line for line in reversed(passwd.values())}
    own = {name: f"{name}:x:{line.split(':')[3]}:" for name, line in passwd.items()}
    place.mkdir()
    (place / "login.defs").write_text("# comment\nUID_MIN\t\t\t  500\nGID_MIN 1000\n" if root == "/srv" else "UID_MIN 1000\n")
    for tool in ("sed", "cut"):
        (place / tool).symlink_to(str(shutil.which(tool)))
    for kind, entries in (
        ("passwd", {**by_id, **passwd}),
        ("shadow", {name: f"{name}:{shadow}:19000" for name in passwd}),
        ("group", {"kvm": "kvm:x:102:", **own, **(group or {})}),
    ):
        for name, line in entries.items():
            (place / f"{kind}-{name}").write_text(f"{line}\n")
    for name, text in groups.items():
        (place / f"id-{name}").write_text(f"{text}\n")
    tools = 'read_file() {{ while read -r line; do echo "$line"; done <{place}/$1; }} 2>/dev/null'
    for tool, call in (
        ("getent", "test -e {place}/$1-$2 || exit 2; read_file $1-$2"),
        ("id", "read_file id-$2"),
        ("dpkg-query", 'echo "package vdeplug installed"; echo "package qemu-utils config-files"; echo "no package nosuch" >&2; exit 1'),
    ):
        (place / tool).write_text("#!/bin/sh\n" + tools.format(place=place) + "\n" + call.format(place=place) + "\n")
        (place / tool).chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", ROLE / "files/look.sh", root, *packages],
        env={"PATH": str(place), "LOGIN_DEFS": str(place / "login.defs")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ("no package nosuch\n" if packages else "")
    return done.stdout.splitlines()


def wanted() -> list[str]:
    """Return the lines of accounts that the role is content with."""
    tasks = yaml.safe_load((ROLE / "tasks/host.yml").read_text())
    found = [task["when"] for task in tasks if "ansible.builtin.user" in task]
    assert len(found) == len(PASSWD)
    known = {"vhost_root": "/var/lib/benito", **{key: value for task in tasks for key, value in task.get("vars", {}).items()}}
    return [re.sub(r"' ~ (\w+)( ~ '|\))", lambda match: known[match[1]] + "'"[match[2] != ")" :], text).split("'")[1] for text in found]


def test_accounts_as_they_are_to_be_are_left_alone(tmp_path: Path) -> None:
    assert look(tmp_path / "bin") == ["group kvm", *wanted()]


@pytest.mark.parametrize(
    "altered",
    [
        {"passwd": {**PASSWD, "benito": PASSWD["benito"].replace("/bin/sh", "/bin/bash")}},
        {"passwd": {"benito-share": PASSWD["benito-share"]}},
        {"groups": {**GROUPS, "benito": "benito"}},
        {"groups": {**GROUPS, "benito": "benito kvm sudo"}},
        {"shadow": "!"},
    ],
    ids=["shell", "missing", "no kvm", "too much", "locked"],
)
def test_an_account_that_is_not_is_seen(tmp_path: Path, altered: dict) -> None:
    lines = look(tmp_path / "bin", **altered)
    assert wanted()[0] not in lines
    assert not [line for line in lines if line.startswith("stranger")]


def test_an_account_of_ours_may_move_to_another_root(tmp_path: Path) -> None:
    assert look(tmp_path / "bin", root="/srv/benito") == ["group kvm", *wanted()]


PERSON = "benito:x:1000:1000:Benito Somebody,,,:/home/benito:/bin/bash"


@pytest.mark.parametrize(
    ("altered", "why"),
    [
        ({"passwd": {"benito": PERSON}, "shadow": "$6$secret"}, "benito: it has a password"),
        ({"passwd": {"benito": PERSON}, "shadow": ""}, "benito: it has a password"),
        ({"passwd": {"benito": PERSON}}, "benito: its id, 1000, is none of a system account"),
        ({"passwd": {"benito": PASSWD["benito"].replace("990:990", "0:0")}}, "benito: its id, 0, is none of a system account"),
        ({"passwd": {"benito": PASSWD["benito"].replace("990", "600")}, "root": "/srv"}, "benito: its id, 600, is none"),
        ({"passwd": {"benito": PERSON.replace("1000", "900")}}, 'benito: its comment is not "Benito guests and switches"'),
        ({"passwd": {"benito": PASSWD["benito"].replace("/var/lib", "/home")}}, "benito: its home is not /var/lib/benito"),
        (
            {"passwd": {"daemon": PASSWD["benito"].replace("benito:x", "daemon:x"), "benito": PASSWD["benito"]}},
            "benito: its id, 990, belongs to another account as well",
        ),
        ({"passwd": {"benito-share": PERSON.replace("benito:", "benito-share:")}}, "benito-share: its id, 1000"),
        ({"passwd": {}, "group": {"benito": "benito:x:1001:alice"}}, "benito: there is a group of that name without the account"),
        ({"group": {"benito": "benito:x:1001:"}}, "benito: the group of that name is not its own"),
        ({"group": {"benito": "benito:x:990:alice"}}, "benito: its group has other members"),
    ],
)
def test_what_is_somebody_elses_is_said_and_not_touched(tmp_path: Path, altered: dict, why: str) -> None:
    lines = look(tmp_path / "bin", **altered)
    [said] = [line for line in lines if line.startswith("stranger")]
    assert said.startswith(f"stranger {why}")
    assert not [line for line in lines if line.startswith(f"account {why.split(':')[0]}:")]
    assert "secret" not in "".join(lines)


def test_nothing_is_made_before_strangers_are_refused() -> None:
    tasks = yaml.safe_load((ROLE / "tasks/host.yml").read_text())
    kinds = [next(key for key in task if key.count(".") == 2) for task in tasks]
    assert kinds[:2] == ["benito.testbed.ask", "ansible.builtin.fail"]
    assert "stranger" in tasks[1]["vars"]["vhost_strangers"]


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root")
def test_the_real_tools_see_a_person(tmp_path: Path) -> None:
    files = {
        "passwd": f"root:x:0:0:root:/root:/bin/sh\n{PERSON}\n",
        "shadow": "root:*:19000::::::\nbenito:$6$abc$secret:19000::::::\n",
        "group": "root:x:0:\nbenito:x:1000:\nkvm:x:102:\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    script = " && ".join(f"mount --bind {tmp_path}/{name} /etc/{name}" for name in files)
    script += f" && exec /bin/sh {ROLE}/files/look.sh /var/lib/benito"
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=True)
    assert "stranger benito: it has a password" in done.stdout.splitlines()


def test_packages_that_are_installed(tmp_path: Path) -> None:
    assert look(tmp_path / "bin", "vdeplug", "qemu-utils", "nosuch")[0] == "package vdeplug"
    assert not any("qemu-utils" in line or "nosuch" in line for line in look(tmp_path / "again", "qemu-utils", "nosuch"))


def test_where_there_is_no_dpkg_it_says_what_would_be_right(tmp_path: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", ROLE / "files/look.sh", "/var/lib/benito", "vdeplug"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "vhost_packages" in done.stderr


def test_a_broken_database_of_packages_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "dpkg-query").write_text("#!/bin/sh\necho 'dpkg-query: error: parsing file' >&2\nexit 2\n")
    (tmp_path / "dpkg-query").chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", ROLE / "files/look.sh", "/var/lib/benito", "vdeplug"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "parsing file" in done.stderr

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines with a whole Debian beside a tiny one on a LAN."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..integration.conftest import PROJECT, STATE, Done, Lab, wait_for
from ..integration.topologies import attribute, computer, experiment

NAME = f"{PROJECT}.debian"
DEBIAN = attribute("benito:image", "debian")
# Named by its operating system, as other testbeds do it.
OSID = f"<os><name>Linux</name>{attribute('osid', 'debian')}</os>"


def topology(third: str = "") -> str:
    """Two Debians and a node of the image tiny, or of the one that is given."""
    nodes = [
        computer("first", ["lan0"], DEBIAN, attribute("startup", "ping -c 1 -W 30 small && python3 -c 'raise SystemExit(7)'")),
        computer("second", ["lan0"]).replace("</name>", f"</name>{OSID}"),
        computer("small", ["lan0"], *([third] if third else [])),
    ]
    return experiment(["lan0"], nodes)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("topologies") / "debian.topdl"
    path.write_text(topology())
    return path


@pytest.fixture(scope="module")
def up(lab: Lab, file: Path) -> Iterator[Done]:
    before = lab.listing()
    try:
        yield lab.play("swapin", file)
    finally:
        lab.play("swapout", file)
    assert lab.listing() == before


def state_of(node: str) -> list[str]:
    """What the guest has said, looked at from its host."""
    return (STATE / NAME / "guests" / node / "io/state").read_text().splitlines()


def test_all_of_them_boot_and_the_second_run_has_nothing_to_do(lab: Lab, file: Path, up: Done) -> None:
    assert up.code == 0, up.out
    rows = [up.row(node) for node in ("first", "second", "small")]
    assert [row[3] for row in rows] == ["booted"] * 3
    assert rows[0][-2:] == ["exit", "7"]
    again = lab.play("swapin", file)
    assert again.code == 0, again.out
    assert again.changed == 0


def test_they_reach_each_other_by_name(lab: Lab, up: Done) -> None:
    done = lab.ssh(NAME, "small", "ping -c 2 -W 10 first && ping -c 2 -W 10 second-lan0")
    assert done.code == 0, done.out
    done = lab.ssh(NAME, "second", "ping -c 2 -W 10 small && cat /etc/hostname")
    assert done.code == 0, done.out
    assert done.out.splitlines()[-1] == "second"


def test_it_is_a_whole_debian_and_lets_in_by_key_alone(lab: Lab, up: Done) -> None:
    script = (
        "systemctl is-system-running; systemctl is-active ssh benito-agent | sort -u; python3 -c 'import json; print(json.dumps(1))';"
        " sshd -T | grep -xE '(passwordauthentication|kbdinteractiveauthentication|permitrootlogin) .*' | sort;"
        " awk -F: '$2 ~ /^[$]/' /etc/shadow | wc -l; test -c /dev/net/tun && test -x /usr/bin/vde_switch && echo host"
    )
    done = lab.ssh(NAME, "first", script)
    assert done.out.splitlines() == [
        "running",
        "active",
        "1",
        "kbdinteractiveauthentication no",
        "passwordauthentication no",
        "permitrootlogin without-password",
        "0",
        "host",
    ], done.out


def test_no_two_share_an_identity(lab: Lab, up: Done) -> None:
    script = "cat /etc/machine-id; cut -d' ' -f2 /etc/ssh/ssh_host_*.pub 2>/dev/null; ssh-keygen -y -f /etc/ssh/ssh_host_ed25519_key"
    first, second = (lab.ssh(NAME, node, script).out.splitlines() for node in ("first", "second"))
    assert len(first) == len(second) == 2
    assert not set(first) & set(second)
    assert len(first[0]) == 32


def test_a_reboot_inside_keeps_its_files_and_runs_the_start_command_again(lab: Lab, up: Done) -> None:
    assert lab.ssh(NAME, "first", "echo kept >/root/file").code == 0
    said = state_of("first")
    lab.ssh(NAME, "first", "reboot")
    assert wait_for(lambda: state_of("first")[len(said) :].count("start-command exit 7") == 1, 120), state_of("first")
    assert lab.ssh(NAME, "first", "cat /root/file").out.strip() == "kept"


def test_nothing_is_written_to_what_they_share(lab: Lab, up: Done) -> None:
    disks = [json.loads((STATE / NAME / "guests" / node / "launch.json").read_text())["disk"] for node in ("first", "second", "small")]
    assert disks[0] == disks[1] != {}
    assert disks[2] == {}
    facts = Path(disks[0]["path"]).stat()
    assert (facts.st_size, facts.st_mtime_ns) == (disks[0]["size"], disks[0]["time"])
    own = STATE / NAME / "guests/first/io/disk.qcow2"
    assert own.stat().st_blocks * 512 < 200 << 20


def test_a_check_run_knows_that_another_image_is_another_machine(lab: Lab, file: Path, up: Done, tmp_path: Path) -> None:
    other = tmp_path / "debian.topdl"
    other.write_text(topology(DEBIAN))
    done = lab.play("swapin", other, "--check", "--diff")
    assert done.code == 0, done.out
    lines = done.out.splitlines()
    assert "-small: changed" in lines, done.out
    assert "+small: start" in lines
    assert not [line for line in lines if line.startswith(("-first: ", "-second: ", "+first: ", "+second: "))]

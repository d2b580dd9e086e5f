# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared directories: seen from guests, from their host, from the guests of another experiment and from outside."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .conftest import PROJECT, STATE, Done, Lab, wait_for
from .topologies import lan

pytestmark = pytest.mark.network

NAME = f"{PROJECT}.shares"


@dataclass(frozen=True)
class Scene:
    """An experiment with shares, another one without, and the directories."""

    topology: Path
    other: Path
    home: Path
    shares: str
    done: Done

    def swapin(self, lab: Lab) -> Done:
        return lab.play("swapin", self.topology, "-e", f"benito_shares={self.shares}")


def servers() -> list[int]:
    """The file servers of the tests' experiments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if words[0] == "diod" and any(word.startswith(f"{STATE}/{PROJECT}.") for word in words):
                found.append(int(entry.name))
    return found


@pytest.fixture(scope="module")
def before(lab: Lab) -> dict[str, set[str]]:
    return lab.listing()


@pytest.fixture(scope="module")
def scene(lab: Lab, before: dict[str, set[str]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    files = tmp_path_factory.mktemp("topologies")
    home = Path(tempfile.mkdtemp(prefix="benito-shares-"))
    home.chmod(0o755)
    for name in ("users", "proj"):
        (home / name).mkdir(mode=0o755)
    shutil.chown(home / "proj", "benito-share")
    (home / "users" / "greeting").write_text("hello\n")
    (home / "users" / "private").write_text("of root\n")
    (home / "users" / "private").chmod(0o600)
    topology, other = files / "shares.topdl", files / "other.topdl"
    # What runs at boot finds the mounts in place.
    topology.write_text(lan({"a": "hostname > /proj/a", "b": "hostname > /proj/b"}))
    other.write_text(lan({"x": ""}))
    shares = f"/users:{home}/users:ro,/proj:{home}/proj:rw,/gone:{home}/gone:ro"
    done = lab.play("swapin", topology, "-e", f"benito_shares={shares}")
    yield Scene(topology, other, home, shares, done)
    for experiment in ("shares", "other"):
        lab.run("ansible-playbook", "playbooks/swapout.yml", "-e", f"project={PROJECT}", "-e", f"experiment={experiment}")
    shutil.rmtree(home)


def test_both_sides_see_the_same_files(lab: Lab, scene: Scene) -> None:
    assert scene.done.code == 0, scene.done.out
    done = lab.ssh(NAME, "a", "cat /users/greeting; ls /proj; echo from a > /proj/result; cat /proj/b; mount -t 9p")
    assert done.out.startswith("hello\na\nb\nb\n"), done.out
    assert " on /users type 9p (ro," in done.out
    made = scene.home / "proj" / "result"
    assert made.read_text() == "from a\n"
    assert made.owner() == "benito-share", "whoever it was in the guest, here it is the account"
    made.write_text("from the host\n")
    assert lab.ssh(NAME, "b", "cat /proj/result").out == "from the host\n"


def test_guests_may_do_what_the_account_may_and_no_more(lab: Lab, scene: Scene) -> None:
    done = lab.ssh(
        NAME, "a", "id -u; cat /users/private; echo x > /users/mine; rm /users/greeting; mount -o remount,rw /users; echo y > /users/mine"
    )
    assert done.out.startswith("0\n")
    assert "of root" not in done.out
    assert (scene.home / "users" / "greeting").exists()
    assert not (scene.home / "users" / "mine").exists()
    lab.ssh(NAME, "a", "ln -s /etc/hostname /proj/link; cp /bin/busybox /proj/tool; chmod 4755 /proj/tool; chown 0:0 /proj/tool")
    tool = scene.home / "proj" / "tool"
    assert tool.owner() == "benito-share"
    # A local user who ran it would be the account.
    assert tool.stat().st_mode & 0o6000 == 0


def test_what_is_missing_is_said_and_stops_nothing(lab: Lab, scene: Scene) -> None:
    assert scene.done.row("a")[3] == "booted"
    assert f"there is no directory {scene.home}/gone" in scene.done.out
    assert "mount /gone" in lab.play("status", scene.topology).out


def test_the_second_swapin_changes_nothing(lab: Lab, scene: Scene) -> None:
    before = servers()
    again = scene.swapin(lab)
    assert (again.code, again.changed) == (0, 0), again.out
    assert servers() == before


def test_nobody_else_reaches_it(lab: Lab, scene: Scene) -> None:
    done = lab.play("swapin", scene.other)
    assert done.code == 0, done.out
    server = scene.done.row("a")[4].rsplit(".", 1)[0] + ".1"
    mount = f"timeout 20 mount -t 9p -o trans=tcp,port=5640,aname=/users {server} /mnt"
    attempt = f"nc -w 2 {server} 5640 </dev/null && echo open; {mount} && echo mounted"
    said = lab.ssh(f"{PROJECT}.other", "x", attempt)
    assert "open" not in said.out.split()
    assert "mounted" not in said.out.split()
    script = f"import socket; socket.create_connection(('{server}', 5640), timeout=2)"
    lab.world.run("ip", "route", "replace", "172.16.0.0/12", "via", "198.51.100.2")
    for where in (lab, lab.world):
        assert where.run("python3", "-c", script).code != 0
    assert lab.ssh(NAME, "a", f"nc -w 2 {server} 5640 </dev/null && echo open").out.split() == ["open"]


def test_a_server_that_died_comes_back_to_guests_that_go_on(lab: Lab, scene: Scene) -> None:
    [server] = servers()
    os.kill(server, signal.SIGKILL)
    (scene.home / "gone").mkdir()
    (scene.home / "gone" / "found").write_text("here\n")
    again = scene.swapin(lab)
    assert again.code == 0, again.out
    assert servers() != [server]
    assert wait_for(lambda: "hello\nhere\n" in lab.ssh(NAME, "a", "cat /users/greeting /gone/found").out, 90)
    assert wait_for(lambda: "mount /" not in lab.play("status", scene.topology).out, 30)


def test_swapping_out_leaves_the_directories_and_nothing_else(lab: Lab, scene: Scene, before: dict[str, set[str]]) -> None:
    for topology in (scene.topology, scene.other):
        assert lab.play("swapout", topology).code == 0
    assert servers() == []
    assert lab.listing() == before
    assert (scene.home / "users" / "greeting").read_text() == "hello\n"
    assert (scene.home / "proj" / "a").exists()


def test_the_same_by_virtio(lab: Lab, scene: Scene) -> None:
    options = ("-e", f"benito_shares={scene.shares}", "-e", "benito_share_transport=virtio")
    (scene.home / "gone").mkdir(exist_ok=True)
    shutil.chown(scene.home / "proj", "root", "benito-share")
    (scene.home / "proj").chmod(0o775)
    done = lab.play("swapin", scene.topology, *options)
    try:
        assert done.code == 0, done.out
        assert servers() == []
        said = lab.ssh(NAME, "a", "cat /users/greeting; cat /users/private; echo x > /users/mine; echo from a > /proj/virtio; mount -t 9p")
        assert said.out.startswith("hello\n"), said.out
        assert said.out.count("trans=virtio") == 3
        assert "of root" not in said.out
        assert not (scene.home / "users" / "mine").exists()
        assert (scene.home / "proj" / "virtio").read_text() == "from a\n"
        assert 90000 <= (scene.home / "proj" / "virtio").stat().st_uid < 96144
        setuid = (
            "cp /bin/busybox /proj/own; chmod 4755 /proj/own; chmod 2755 /proj/own; chmod 700 /proj/own; mkdir /proj/below && echo made"
        )
        assert "made" in lab.ssh(NAME, "a", setuid).out.split()
        assert (scene.home / "proj" / "own").stat().st_mode & 0o7777 == 0o700
        assert lab.play("swapin", scene.topology, *options).changed == 0
    finally:
        lab.play("swapout", scene.topology)

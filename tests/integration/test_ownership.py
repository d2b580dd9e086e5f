# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A second user of a host, with a state directory and a key of their own, and the experiment of the first."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import PROJECT, STATE, Lab
from .topologies import attribute, computer, experiment

NAME = f"{PROJECT}.taken"
TAKE_OVER = ("-e", "benito_take_over=true")
BY_NAME = ("-e", f"project={PROJECT}", "-e", "experiment=taken")
PROCESS = attribute("benito:node_type", "process")


def user(lab: Lab, name: str, home: Path) -> Lab:
    """Return a user of the lab who came by sudo."""
    found = Lab(lab.name, home)
    found.environment["SUDO_USER"] = name
    return found


@pytest.fixture(scope="module")
def ann(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """The first user."""
    return user(lab, "ann", tmp_path_factory.mktemp("ann"))


@pytest.fixture(scope="module")
def bob(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """The second user."""
    return user(lab, "bob", tmp_path_factory.mktemp("bob"))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine and a process node on a LAN; both users have this file."""
    path = tmp_path_factory.mktemp("file") / "taken.topdl"
    path.write_text(experiment(["lan0"], [computer("m", ["lan0"]), computer("p", ["lan0"], PROCESS)]))
    return path


@pytest.fixture(scope="module")
def running(lab: Lab, ann: Lab, file: Path) -> Iterator[str]:
    """The first user's experiment; what names its owner."""
    before = lab.listing()
    done = ann.play("swapin", file)
    assert done.code == 0, done.out
    yield key(ann)
    lab.run("ansible-playbook", "playbooks/swapout.yml", *BY_NAME, *TAKE_OVER)
    assert lab.listing() == before


def key(user: Lab) -> str:
    return user.run("ssh-keygen", "-l", "-f", str(user.state / NAME / "id_ed25519.pub")).out.split()[1]


def reached(user: Lab) -> list[bool]:
    """Which nodes let a user in."""
    return [user.ssh(NAME, node, "true").code == 0 for node in ("m", "p")]


@pytest.mark.parametrize(
    "command",
    [
        ("swapin",),
        ("swapin", "--check"),
        ("swapout",),
        ("swapout", "--check"),
        ("link", "-e", "link=lan0", "-e", "state=down"),
        ("link", "-e", "link=lan0", "-e", "state=down", "--check"),
    ],
    ids=" ".join,
)
def test_a_second_user_is_refused_before_anything_changes(ann: Lab, bob: Lab, file: Path, running: str, command: tuple[str, ...]) -> None:
    before = ann.listing()
    done = bob.play(command[0], file, *command[1:])
    assert done.code != 0, done.out
    assert f"{PROJECT}/taken belongs to ann at" in done.out and running in done.out, done.out
    assert done.changed == 0
    assert not bob.state.exists()
    assert ann.listing() == before
    assert reached(ann) == [True, True]
    assert ann.play("swapin", file).changed == 0


def test_swapout_by_name_is_refused_too(ann: Lab, bob: Lab, running: str) -> None:
    before = ann.listing()
    done = bob.run("ansible-playbook", "playbooks/swapout.yml", *BY_NAME)
    assert done.code != 0
    assert "belongs to ann at" in done.out and running in done.out, done.out
    assert ann.listing() == before


def test_anybody_may_look_and_sees_the_owner(ann: Lab, bob: Lab, file: Path, running: str) -> None:
    for user in (ann, bob):
        done = user.play("status", file)
        assert done.code == 0, done.out
        assert done.row("m")[3] == "booted"
        assert "Swapped in by ann at" in done.out and running in done.out


def test_an_owner_who_lost_the_state_directory_is_told_what_to_do(ann: Lab, file: Path, running: str) -> None:
    kept = ann.home / "kept"
    (ann.state / NAME).rename(kept)
    try:
        for done in (ann.play("swapin", file), ann.run("ansible-playbook", "playbooks/swapout.yml", *BY_NAME)):
            assert done.code != 0
            assert "That is your own name" in done.out and "benito_take_over=true" in done.out, done.out
        assert not (ann.state / NAME).exists()
    finally:
        kept.rename(ann.state / NAME)
    assert reached(ann) == [True, True]


def test_a_state_directory_that_others_may_write_is_refused(ann: Lab, file: Path, running: str) -> None:
    directory = ann.state / NAME
    directory.chmod(0o777)
    try:
        done = ann.play("swapin", file)
        assert done.code != 0
        assert "can be written by others" in done.out, done.out
    finally:
        directory.chmod(0o700)
    assert ann.play("swapin", file).changed == 0


def test_taking_over_is_said_and_locks_the_first_user_out(ann: Lab, bob: Lab, file: Path, running: str) -> None:
    said = f"{PROJECT}/taken is taken over from ann at"
    check = bob.play("swapin", file, *TAKE_OVER, "--check")
    assert check.code == 0 and said in check.out, check.out
    assert reached(ann) == [True, True]

    done = bob.play("swapin", file, *TAKE_OVER)
    assert done.code == 0, done.out
    assert said in done.out
    assert reached(bob) == [True, True]
    assert reached(ann) == [False, False]
    assert bob.play("swapin", file).changed == 0
    status = bob.play("status", file)
    assert "Swapped in by bob at" in status.out and key(bob) in status.out and running not in status.out

    refused = ann.play("swapout", file)
    assert refused.code != 0 and "belongs to bob at" in refused.out, refused.out
    out = bob.play("swapout", file)
    assert out.code == 0, out.out
    assert f"Swapped out {PROJECT}/taken of bob at" in out.out
    assert not (STATE / NAME).exists()


def test_two_users_with_the_same_command_do_not_meet(ann: Lab, bob: Lab, tmp_path: Path) -> None:
    """Nobody says a project: each has one of their own."""
    file = tmp_path / "star.topdl"
    file.write_text(experiment(["lan0"], [computer(name, ["lan0"], PROCESS) for name in ("a", "b")]))
    users = {"ann": ann, "bob": bob}
    for user in users.values():
        user.environment.pop("BENITO_PROJECT")
    try:
        for name, user in users.items():
            done = user.play("swapin", file)
            assert done.code == 0, done.out
            assert f"{name}.star/ssh_config" in done.out
        for name, user in users.items():
            assert user.ssh(f"{name}.star", "a", "ping -c 1 b").code == 0
        assert ann.play("swapout", file).code == 0
        assert bob.ssh("bob.star", "a", "ping -c 1 b").code == 0
    finally:
        for name, user in users.items():
            assert user.play("swapout", file).code == 0
            user.environment["BENITO_PROJECT"] = PROJECT
            assert not (STATE / f"{name}.star").exists()


def test_an_experiment_from_before_is_found_again(bob: Lab, tmp_path: Path) -> None:
    """The project was testbed for everybody, and no owner was recorded."""
    file = tmp_path / "old.topdl"
    file.write_text(experiment(["lan0"], [computer(name, ["lan0"], PROCESS) for name in ("a", "b")]))
    old = ("-e", "benito_project=testbed")
    bob.environment.pop("BENITO_PROJECT")
    try:
        assert bob.play("swapin", file, *old).code == 0
        record = STATE / "testbed.old/experiment.json"
        record.write_text('{"project": "testbed", "experiment": "old", "id": "testbed.old"}')
        again = bob.play("swapin", file)
        assert again.code == 0 and again.changed == 0, again.out
        assert bob.ssh("testbed.old", "a", "ping -c 1 b").code == 0
        assert '"bob"' in record.read_text()
        assert bob.play("swapout", file).code == 0
        assert not (STATE / "testbed.old").exists()
    finally:
        bob.play("swapout", file, *old)
        bob.environment["BENITO_PROJECT"] = PROJECT
        shutil.rmtree(bob.state, ignore_errors=True)

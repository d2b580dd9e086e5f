# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The IRC demo: a server, bots and routers in processes, and a target that is a process or a machine."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..integration.conftest import PROJECT, ROOT, Done, Lab, wait_for

DEMO = ROOT / "examples/irc"
BOTS = ("q9bot-0", "q9bot-1", "q9bot-2")


@pytest.fixture(scope="module")
def programs() -> Iterator[Path]:
    """Where the demo's programs are: everybody can reach it, which cannot be said of a checkout."""
    place = Path(tempfile.mkdtemp(prefix="benito-irc-", dir="/var/tmp"))
    try:
        place.chmod(0o755)
        for file in DEMO.iterdir():
            shutil.copy(file, place)
        yield place
    finally:
        shutil.rmtree(place)


@pytest.fixture(scope="module", params=["process", "qemu"])
def demo(lab: Lab, programs: Path, request: pytest.FixtureRequest) -> Iterator[tuple[str, Done]]:
    """The demo with its programs there, and the one word of the target changed."""
    text = (DEMO / "demo.topdl").read_text().replace("/srv/irc", str(programs))
    head, name, target = text.rpartition("<name>target</name>")
    file = programs / f"irc-{request.param}.topdl"
    file.write_text(head + name + target.replace("<value>process</value>", f"<value>{request.param}</value>", 1))
    before = lab.listing()
    up = lab.play("swapin", file, "-e", f"benito_shares={programs}:{programs}:ro")
    try:
        yield request.param, up
    finally:
        gone = lab.play("swapout", file)
    assert gone.code == 0, gone.out
    assert lab.listing() == before


def test_the_bots_have_been_to_the_target_over_the_routers(lab: Lab, demo: tuple[str, Done]) -> None:
    kind, up = demo
    name = f"{PROJECT}.irc-{kind}"
    assert up.code == 0, up.out
    assert up.row("target")[1] == kind
    log = "cat /var/benito/log/start_command.out"
    assert wait_for(lambda: "QUIT" in lab.ssh(name, "herder", log).out, 60), lab.ssh(name, "herder", log).out
    assert "exit status: 0" in lab.ssh(name, "herder", "cat /var/benito/log/start_command.log").out

    heard = lab.ssh(name, "herder", log).out
    for bot in BOTS:
        assert f":I am {bot}" in heard
        assert f":{bot} got 200 this is target" in heard
        told = lab.ssh(name, bot, log).out
        assert ":!fetch http://target:8080/" in told
        assert ":3 of 3 have been there" in told

    done = lab.ssh(name, "q9bot-0", "ping -c 1 -W 2 irc")
    assert "ttl=62" in done.out, "two routers take one each from the time to live: " + done.out

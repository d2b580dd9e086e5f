# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The IRC demo: a server and routers in processes, bots in processes inside of machines, and a target that is of any kind."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..hosts.machines import Host, Network
from ..integration.conftest import PROJECT, ROOT, Done, Lab, wait_for

DEMO = ROOT / "examples/irc"
PROGRAMS = ("irc_bot.py", "irc_server.py", "target.sh")
BOTS = ("q9bot-0", "q9bot-1", "q9bot-2")


def demo_text(kind: str, programs: str) -> str:
    """The demo with its programs there, and the one word of the target changed."""
    text = (DEMO / "demo.topdl").read_text().replace("/srv/irc", programs)
    head, name, target = text.rpartition("<name>target</name>")
    return head + name + target.replace("<value>process</value>", f"<value>{kind}</value>", 1)


@pytest.fixture(scope="module")
def programs() -> Iterator[Path]:
    """Where the demo's programs are: everybody can reach it, which cannot be said of a checkout, and nodes see it."""
    place = Path(tempfile.mkdtemp(prefix="benito-irc-", dir="/srv"))
    try:
        place.chmod(0o755)
        for name in PROGRAMS:
            shutil.copy(DEMO / name, place)
        yield place
    finally:
        shutil.rmtree(place)


@pytest.fixture(params=["process", "qemu"])
def here(lab: Lab, programs: Path, request: pytest.FixtureRequest) -> Iterator[tuple[str, Done]]:
    """The demo on this host."""
    file = programs / f"irc-{request.param}.topdl"
    file.write_text(demo_text(request.param, str(programs)))
    before = lab.listing()
    up = lab.play("swapin", file, "-e", f"benito_shares={programs}:{programs}:ro")
    try:
        yield request.param, up
    finally:
        gone = lab.play("swapout", file)
    assert gone.code == 0, gone.out
    assert lab.listing() == before


@pytest.fixture
def there(network: Network, hosts: list[Host], tmp_path: Path) -> Iterator[Done]:
    """The demo on two hosts of three, one of which is the target."""
    for host in hosts:
        for name in PROGRAMS:
            host.run("install", "-D", "-m", "755", "/dev/stdin", f"/srv/irc/{name}", text=(DEMO / name).read_text())
    file = tmp_path / "irc-physical.topdl"
    file.write_text(demo_text("embedded_pnode", "/srv/irc"))
    before = {host.name: host.listing() for host in hosts}
    network.environment["BENITO_PHYSICAL_HOSTS"] = "true"
    up = network.play("swapin", file, "-e", "benito_shares=/srv/irc:/srv/irc:ro")
    try:
        yield up
    finally:
        gone = network.play("swapout", file)
        del network.environment["BENITO_PHYSICAL_HOSTS"]
        news = {host.name: host.news(before[host.name]) for host in hosts}
        for host in hosts:
            host.run("rm", "-r", "/srv/irc")
    assert gone.code == 0, gone.out
    assert news == {host.name: {} for host in hosts}


def check(lab: Lab, kind: str, up: Done) -> None:
    """The bots have been to the target over the routers, and the herder is content."""
    name = f"{PROJECT}.irc-{kind}"
    assert up.code == 0, up.out
    assert up.row("target")[1] == kind
    assert [up.row(bot)[2].partition("/")[2] for bot in BOTS] == ["hive-0", "hive-0", "hive-1"]
    log = "cat /var/benito/log/start_command.out"
    assert wait_for(lambda: "QUIT" in lab.ssh(name, "herder", log).out, 60), lab.ssh(name, "herder", log).out
    assert "exit status: 0" in lab.ssh(name, "herder", "cat /var/benito/log/start_command.log").out

    heard = lab.ssh(name, "herder", log).out
    for bot in BOTS:
        assert f":I am {bot}" in heard
        assert f":{bot} got 200 this is {'target' if kind != 'physical' else ''}" in heard
        told = lab.ssh(name, bot, log).out
        assert ":!fetch http://target:8080/" in told
        assert ":3 of 3 have been there" in told

    done = lab.ssh(name, "q9bot-0", "ping -c 1 -W 2 irc")
    assert "ttl=62" in done.out, "two routers take one each from the time to live: " + done.out
    assert lab.ssh(name, "q9bot-0", "ping -c 1 -W 2 hive-0").code != 0, "who merely carries is on none of the networks"


def test_the_bots_have_been_to_the_target_over_the_routers(lab: Lab, here: tuple[str, Done]) -> None:
    check(lab, *here)


def test_the_target_is_a_host_of_its_own(network: Network, there: Done) -> None:
    check(network, "physical", there)

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import importlib.util
import os
import stat
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.processes import Process
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir, write_json

ROLE = Path(__file__).resolve().parents[3] / "examples/platforms/container_guest"


def load() -> ModuleType:
    """Return the role's own helpers, which Ansible alone would find."""
    spec = importlib.util.spec_from_file_location("benito_containers", ROLE / "module_utils/benito_containers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


containers = load()
PROCESS = Process(4711, 1, "boot", ("/bin/sh",))


def options(**more: Any) -> dict[str, Any]:
    """Return a guest of the document."""
    nic = {"name": "inf000", "substrate": "lan0", "switch": "lan0", "port": 3, "mac": "02:00:00:00:00:01", "device": "eth1"}
    entry = {"name": "box", "id": "box", "kind": "container", "interfaces": [{**nic, "address": "10.0.0.1", "prefix": 24}]}
    return {**entry, **more}


@pytest.fixture
def ground(tmp_path: Path) -> Any:
    """Where containers are: a directory with room for the names it is given, and the role's own programs."""
    rundir = RunDir("lab", "demo", "lab.demo", str(tmp_path))
    Path(rundir.guest("box")).mkdir(parents=True)
    Path(rundir.guest("box"), "ssh_host_ed25519_key").write_text("KEY\n")
    return containers.Ground(
        rundir, "/srv/base", str(ROLE / "files/programs"), [["box", "lan0", 0, "10.0.0.1"]], None, [], "ssh-ed25519 AAAA\n", ""
    )


def test_what_a_container_cannot_do_is_refused() -> None:
    shaped = options()
    shaped["interfaces"][0]["netem"] = {"out": {"latency": 10}}
    with pytest.raises(HostError, match=r"box.*shaped"):
        containers.container(shaped)
    with pytest.raises(HostError, match=r"box.*DHCP"):
        containers.container(options(control={"tap": "bn1", "mac": "02:00:00:00:00:09", "address": ""}))


def test_a_container_asks_nobody_for_its_addresses() -> None:
    entry = options(mounts=[{"source": "172.16.0.1", "directory": "/users", "type": "9p"}])
    entry["interfaces"][0]["dhcp"] = "client"
    guest = containers.container(entry)
    assert (guest.nics[0].dhcp, guest.nics[0].address, guest.mounts) == ("", "10.0.0.1", ())


def test_no_text_of_a_topology_is_on_the_command_line(ground: Any) -> None:
    words = containers.command(ground, containers.container(options(start_command="rm -rf /; echo", name="node-name")))
    assert not [word for word in words if "rm -rf" in word or "node-name" in word]
    assert f"--bind-ro={ground.rundir.guest('box')}/config:/run/benito/config" in words, "so that its processes are found by the directory"


@pytest.mark.parametrize("path", ["/srv/a:rw", "relative", "/srv/a\n", "/srv/../etc"])
def test_shares_are_plain_paths(ground: Any, path: str) -> None:
    with pytest.raises(HostError, match="plain characters"):
        containers.command(containers.replace(ground, shares=[{"name": "/users", "path": path}]), containers.container(options()))


def test_shares_are_bound_as_they_may_be_written(ground: Any) -> None:
    shares = [{"name": "/users", "path": "/srv/u", "writable": False}, {"name": "/proj", "path": "/srv/p", "writable": True}]
    words = containers.command(containers.replace(ground, shares=shares), containers.container(options()))
    assert "--bind-ro=/srv/u:/users" in words
    assert "--bind=/srv/p:/proj" in words


def test_a_plug_names_switch_and_port(ground: Any) -> None:
    argv = containers.plug_command(ground.rundir, containers.container(options()).nics[0])
    assert argv == ["vde_plug2tap", "-s", f"{ground.rundir.switch('lan0')}/io/ctl", "-p", "3", "eth1"]


def test_its_configuration_is_whole_and_for_root_alone(ground: Any) -> None:
    place = Path(ground.rundir.guest("box"), "config")
    first = containers.configure(ground, containers.container(options(start_command="true")))
    assert (place / "start_command").read_text() == "true\n"
    second = containers.configure(ground, containers.container(options()))
    assert first != second == (place / "key").read_text().strip()
    assert not (place / "start_command").exists(), "what is not said any more is gone"
    assert stat.S_IMODE(os.stat(place / "ssh_host_ed25519_key").st_mode) == 0o600
    assert os.access(place / "init", os.X_OK)


def test_a_change_of_what_runs_inside_is_a_change_of_configuration(ground: Any, tmp_path: Path) -> None:
    guest = containers.container(options())
    before = containers.configuration(ground, guest)["key"]
    (tmp_path / "container-init").write_text((ROLE / "files/programs/container-init").read_text() + "# news\n")
    assert containers.configuration(containers.replace(ground, programs=str(tmp_path)), guest)["key"] != before


class Running:
    """A container as it is written down, up and well unless something is changed."""

    def __init__(self, ground: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ground = ground
        self.guest = containers.container(options())
        self.home = Path(ground.rundir.guest("box"))
        (self.home / "io").mkdir()
        self.key = containers.configure(ground, self.guest)
        self.process: Process | None = containers.replace(PROCESS, argv=tuple(containers.command(ground, self.guest)))
        self.record = {"kind": "container", "name": "box", "shape": ["eth1"], "plugs": [["lan0", 3, "lan0", {"pid": 99}]]}
        self.ports = {"lan0": {3: 99}}
        self.says(f"boot 6.1\nconfigured {self.key}\nbooted 0.5\n")
        monkeypatch.setattr(containers, "process_of", lambda rundir, id_: self.process)

    def says(self, text: str) -> None:
        (self.home / "io/state").write_text(text)

    def job(self, guest: Any = None) -> tuple[str, str]:
        write_json(f"{self.home}/launch.json", self.record)
        job = containers.compare(self.ground, guest or self.guest, self.ports)
        return job.action, job.reason


@pytest.fixture
def box(ground: Any, monkeypatch: pytest.MonkeyPatch) -> Running:
    return Running(ground, monkeypatch)


def test_what_is_as_wanted_is_left_alone(box: Running) -> None:
    assert box.job() == ("none", "")


def test_what_is_not_there_is_started(box: Running) -> None:
    box.record = {"kind": "qemu"}
    assert box.job() == ("start", "not there")


def test_what_died_and_what_was_stopped_is_started(box: Running) -> None:
    box.process = None
    assert box.job() == ("start", "dead")
    box.record["wanted"] = "stopped"
    assert box.job() == ("start", "stopped")


def test_other_interfaces_are_another_container(box: Running) -> None:
    entry = options()
    entry["interfaces"][0]["device"] = "eth2"
    assert box.job(containers.container(entry)) == ("start", "changed")


def test_another_command_is_told_while_it_runs(box: Running) -> None:
    assert box.job(containers.container(options(start_command="true"))) == ("reconfigure", "configuration changed")


def test_one_that_never_came_up_is_started_again(box: Running) -> None:
    box.says("boot 6.1\n")
    assert box.job() == ("start", "it has not booted")


def test_one_that_lost_its_port_is_plugged_in_again(box: Running) -> None:
    box.ports = {"lan0": {3: 100}}
    assert box.job() == ("replug", "unplugged from lan0")
    assert containers.describe(box.ground.rundir, "box", box.ports)["detail"].startswith("unplugged from lan0")


def test_what_is_said_of_it(box: Running) -> None:
    box.says(f"boot 6.1\nconfigured {box.key}\nbooted 0.5\nstart-command exit 7\n")
    box.record.update(config_key=box.key, ssh_host_key="ssh-ed25519 AAAA")
    box.job()
    info = containers.describe(box.ground.rundir, "box", box.ports)
    assert (info["state"], info["exit_status"], info["uptime"], info["detail"], info["ssh_host_key"]) == (
        *("booted", 7, 0.5, ""),
        "ssh-ed25519 AAAA",
    )
    box.process = None
    assert containers.describe(box.ground.rundir, "box", {})["state"] == "dead"
    assert containers.describe(box.ground.rundir, "nobody", {})["state"] == "absent"


def test_a_check_run_removes_nothing(box: Running) -> None:
    assert containers.absent(box.ground.rundir, ["box"], check=True)[0]["action"] == "remove"
    assert box.home.exists()
    assert containers.absent(box.ground.rundir, ["nobody"], check=False)[0]["changed"] is False

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Templates: what makes one another, when they pay, how they are kept, and what happens when one is of no use."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import disks, qemu, sleeping, sweep, templates, vde
from ansible_collections.benito.testbed.plugins.module_utils import guests as batch
from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.guest import Guest
from ansible_collections.benito.testbed.plugins.module_utils.lifecycle import (
    Surroundings,
    discard,
    launch,
    mark_woken,
    never_woken,
    process_of,
)
from ansible_collections.benito.testbed.plugins.module_utils.processes import Process, alive, marked, spawn
from ansible_collections.benito.testbed.plugins.module_utils.qemu import Machine
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir, read_json, write_json
from ansible_collections.benito.testbed.plugins.module_utils.stock import PAYS, Stock, worthwhile
from ansible_collections.benito.testbed.plugins.module_utils.template import (
    NoSleep,
    Template,
    TemplateError,
    cold_part,
    macs,
    shape,
    template_mac,
    unhex,
)

CONTROL = {"mac": "02:00:00:00:00:99", "address": "172.16.0.2", "tap": "bntap"}


@pytest.fixture
def machine(kernel: tuple[str, str]) -> Machine:
    return Machine("tcg", *kernel)


def inputs(machine: Machine) -> dict[str, Any]:
    return templates.inputs(machine, f"{os.path.dirname(machine.kernel)}/known")


def key(guest: Guest, machine: Machine) -> str:
    return templates.key_of(guest, machine, inputs(machine))


def kept(cache: str) -> list[str]:
    """Return what is kept beside what is known of the files that it was made with."""
    return sorted(set(os.listdir(cache)) - {"digests.json"})


def test_guests_of_a_shape_have_one_template(make_guest: Callable[..., Guest], machine: Machine) -> None:
    first = make_guest("a", control=CONTROL)
    other = {"mac": "02:00:00:00:00:98", "address": "172.16.0.3", "tap": "bnother"}
    second = make_guest("b", control=other, start_command="reboot", routes=[{"to": "10.9.0.0/16", "via": "10.0.0.2", "device": "eth1"}])
    second = dataclasses.replace(second, nics=tuple(dataclasses.replace(nic, mac="02:aa:00:00:00:01", port=9) for nic in second.nics))
    assert key(first, machine) == key(second, machine)


@pytest.mark.parametrize(
    "change",
    [{"memory": 192}, {"cpus": 2}, {"interfaces": 2}, {"interfaces": 0}, {"control": None}, {"shares": [{"tag": "t", "path": "/srv"}]}],
    ids=lambda change: next(iter(change)),
)
def test_another_machine_has_another_template(make_guest: Callable[..., Guest], machine: Machine, change: dict[str, Any]) -> None:
    assert key(make_guest("a", **{"control": CONTROL, **change}), machine) != key(make_guest("a", control=CONTROL), machine)


def test_whatever_changes_below_makes_another_template(
    make_guest: Callable[..., Guest], machine: Machine, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_new() -> bool:
        keys.append(key(make_guest(), machine))
        return keys.count(keys[-1]) == 1

    keys = [key(make_guest(), machine)]
    assert not is_new()
    for path in (machine.kernel, machine.initrd):
        content = bytearray(Path(path).read_bytes())
        content[100] ^= 1
        Path(path).write_bytes(content)
        assert is_new()
    monkeypatch.setattr(templates, "processor", lambda: "model name: another")
    assert is_new()
    program = Path(root) / "qemu-system-x86_64"
    program.write_text("another version")
    monkeypatch.setattr(templates.shutil, "which", lambda dummy: str(program))
    assert is_new()
    disk = Path(root) / "disk"
    disk.write_bytes(b"content")
    for other in ({"accelerator": "kvm"}, {"append": "debug"}, {"disk": str(disk)}, {"disk": str(disk), "disk_format": "qcow2"}):
        keys.append(key(make_guest(), dataclasses.replace(machine, **other)))
        assert keys.count(keys[-1]) == 1
    disk.write_bytes(b"changed")
    assert key(make_guest(), dataclasses.replace(machine, disk=str(disk))) not in keys


def test_the_same_files_elsewhere_make_the_same_template(make_guest: Callable[..., Guest], machine: Machine, root: str) -> None:
    os.mkdir(f"{root}/other")
    moved = [shutil.copy(path, f"{root}/other") for path in (machine.kernel, machine.initrd)]
    other = dataclasses.replace(machine, kernel=moved[0], initrd=moved[1])
    os.utime(moved[0], (1, 1))
    assert key(make_guest(), other) == key(make_guest(), machine)
    disks_there = [dataclasses.replace(machine, disk=path) for path in (machine.initrd, moved[1])]
    assert key(make_guest(), disks_there[0]) != key(make_guest(), disks_there[1])


def test_a_file_that_cannot_be_read_is_named(make_guest: Callable[..., Guest], machine: Machine) -> None:
    os.unlink(machine.initrd)
    with pytest.raises(TemplateError, match="initrd cannot be read"):
        inputs(machine)


def test_no_trace_of_an_experiment_is_in_a_template(make_guest: Callable[..., Guest], machine: Machine) -> None:
    guest = make_guest("secret-name", control=CONTROL, start_command="secret", shares=[{"tag": "t", "path": "/secret"}])
    guest = dataclasses.replace(guest, nics=(dataclasses.replace(guest.nics[0], mac="02:aa:00:00:00:01"),))
    argv = " ".join(qemu.template_command("/home", shape(guest, "/home"), machine, ""))
    for word in ("secret", CONTROL["mac"], guest.nics[0].mac, "bntap", "fw_cfg", "vde"):
        assert word not in argv


@pytest.mark.parametrize(
    ("wish", "number", "there", "warm"),
    [
        ("cold", 100, True, False),
        ("warm", 1, False, True),
        ("auto", 1, True, True),
        ("auto", PAYS - 1, False, False),
        ("auto", PAYS, False, True),
    ],
)
def test_when_it_pays(wish: str, number: int, there: bool, warm: bool) -> None:
    assert worthwhile(wish, number, there) is warm


def test_a_clone_is_known_by_the_command_it_would_have_been_booted_with(
    make_guest: Callable[..., Guest], machine: Machine, rundir: RunDir
) -> None:
    cold = qemu.command(rundir, make_guest(), machine)
    assert cold_part([*cold, *Template("/t/k", 128, b"").options()]) == cold
    assert cold_part(cold) == cold


@pytest.mark.parametrize("path", ["relative", "/a,b", "/a b", "/a/../b", "/"])
def test_a_directory_that_could_split_an_option_is_refused(path: str) -> None:
    with pytest.raises(TemplateError):
        templates.checked(path)


@pytest.fixture
def cache(root: str) -> str:
    return f"{root}/cache"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, root_user: None, account: str) -> list[str]:
    """Make templates without a guest; returns the directories that were made in."""
    made: list[str] = []

    def make(rundir: RunDir, home: str, draft: str, guest: Guest, machine: Machine, patience: float) -> None:
        assert os.listdir(draft) == []
        made.append(draft)
        time.sleep(0.2)
        for name in ("memory", "state", *(["disk.qcow2"] if machine.disk else [])):
            Path(f"{draft}/{name}").write_bytes(b"x" * 100)

    monkeypatch.setattr(templates, "make", make)
    return made


def ensure(rundir: RunDir, cache: str, guest: Guest, machine: Machine) -> Template:
    return templates.ensure(rundir, cache, guest, machine, 1)


def test_one_is_made_once(rundir: RunDir, cache: str, make_guest: Callable[..., Guest], machine: Machine, fake: list[str]) -> None:
    first = ensure(rundir, cache, make_guest("a"), machine)
    assert ensure(rundir, cache, make_guest("b"), machine) == first
    assert len(fake) == 1
    assert kept(cache) == [key(make_guest(), machine)]
    assert stat.S_IMODE(os.stat(f"{first.path}/manifest.json").st_mode) == 0o600


def test_a_draft_that_another_run_has_just_finished_is_made_anew(cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, made = os.mkdir, []

    def mkdir(path: str, *mode: int) -> None:
        make(path, *mode)
        if path.endswith("/.key"):
            made.append(path)
            if len(made) == 1:
                os.rename(path, f"{cache}/key")

    os.makedirs(cache, exist_ok=True)
    monkeypatch.setattr(os, "mkdir", mkdir)
    with templates.drafting(cache, "key") as draft:
        assert os.path.isdir(draft)
    assert len(made) == 2 and not os.path.exists(draft)


def test_two_experiments_that_want_the_same_one_make_it_once(
    rundir: RunDir, root: str, cache: str, make_guest: Callable[..., Guest], machine: Machine, fake: list[str]
) -> None:
    other = RunDir("lab", "other", "lab.other", root)
    found: list[Template] = []
    threads = [threading.Thread(target=lambda r=r: found.append(ensure(r, cache, make_guest(), machine))) for r in (rundir, other, rundir)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(found) == 3
    assert len(fake) == 1
    assert kept(cache) == [key(make_guest(), machine)]


def test_what_a_crash_left_is_cleared_away(
    rundir: RunDir, cache: str, make_guest: Callable[..., Guest], machine: Machine, fake: list[str]
) -> None:
    for leftover in (f".{key(make_guest(), machine)}", ".another", ".old-key-1234"):
        os.makedirs(f"{cache}/{leftover}")
        Path(f"{cache}/{leftover}/memory").write_bytes(b"half")
    ensure(rundir, cache, make_guest(), machine)
    assert kept(cache) == [key(make_guest(), machine)]


def test_a_failure_leaves_nothing(
    rundir: RunDir, cache: str, make_guest: Callable[..., Guest], machine: Machine, fake: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(dummy: RunDir, home: str, draft: str, *rest: Any) -> None:
        Path(f"{draft}/memory").write_bytes(b"half")
        raise TemplateError("it did not boot")

    monkeypatch.setattr(templates, "make", fail)
    with pytest.raises(TemplateError, match="did not boot"):
        ensure(rundir, cache, make_guest(), machine)
    assert kept(cache) == []


@pytest.mark.parametrize("damage", ["truncate", "write", "remove", "manifest", "disk", "no disk"])
def test_one_that_was_touched_is_made_again(
    rundir: RunDir, cache: str, make_guest: Callable[..., Guest], machine: Machine, fake: list[str], damage: str
) -> None:
    machine = dataclasses.replace(machine, disk=machine.initrd)
    path = ensure(rundir, cache, make_guest(), machine).path
    # Guests that took its disk as their own change nothing of it.
    os.link(f"{path}/disk.qcow2", f"{rundir.root}/own")
    assert ensure(rundir, cache, make_guest(), machine).disk == f"{path}/disk.qcow2"
    assert len(fake) == 1
    if damage == "disk":
        Path(f"{path}/disk.qcow2").write_bytes(b"y" * 100)
    elif damage == "no disk":
        os.unlink(f"{path}/disk.qcow2")
    elif damage == "truncate":
        os.truncate(f"{path}/state", 50)
    elif damage == "write":
        facts = os.stat(f"{path}/memory")
        with open(f"{path}/memory", "r+b") as file:
            file.write(b"y")
        # Whoever wrote can set the time back, but not the one of the change.
        os.utime(f"{path}/memory", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    elif damage == "remove":
        os.unlink(f"{path}/memory")
    else:
        Path(f"{path}/manifest.json").write_text("{")
    ensure(rundir, cache, make_guest(), machine)
    assert len(fake) == 2
    assert kept(cache) == [key(make_guest(), machine)]


def test_old_ones_go(
    rundir: RunDir, cache: str, make_guest: Callable[..., Guest], machine: Machine, fake: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(templates, "MOST", 2)
    paths = [ensure(rundir, cache, make_guest(memory=memory), machine).path for memory in (64, 65)]
    os.utime(paths[0], (1, 1))
    paths.append(ensure(rundir, cache, make_guest(memory=66), machine).path)
    assert {f"{cache}/{name}" for name in kept(cache)} == set(paths[1:])
    with open(machine.kernel, "ab") as file:
        file.write(b"newer")
    last = ensure(rundir, cache, make_guest(), machine).path
    assert [f"{cache}/{name}" for name in kept(cache)] == [last]


def test_a_full_disk_is_said_with_the_numbers(
    rundir: RunDir, root: str, make_guest: Callable[..., Guest], machine: Machine, own_network: Callable[[Callable[[], None]], None]
) -> None:
    cache = f"{root}/small"
    os.makedirs(cache)

    def in_a_place_of_its_own() -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", cache], check=True)
        try:
            ensure(rundir, cache, make_guest(), machine)
        except TemplateError as error:
            assert re.search(r"has [78] MB free, and a template takes up to 160 MB", str(error)), error
        else:
            raise AssertionError("it was made")
        assert kept(cache) == []

    own_network(in_a_place_of_its_own)


def test_a_disk_that_fills_up_meanwhile_leaves_nothing(
    rundir: RunDir,
    root: str,
    make_guest: Callable[..., Guest],
    machine: Machine,
    fake: list[str],
    own_network: Callable[[Callable[[], None]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = f"{root}/small"
    os.makedirs(cache)

    def fill(dummy: RunDir, home: str, draft: str, *rest: Any) -> None:
        with open(f"{draft}/memory", "wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))

    monkeypatch.setattr(templates, "make", fill)

    def in_a_place_of_its_own() -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=170m", "tmpfs", cache], check=True)
        with Stock(rundir, cache, {"tiny": machine}, "warm", 1) as stock:
            stock.order([make_guest()])
            template, why = stock.take(make_guest())
        assert template is None
        assert why == "no template could be made: [Errno 28] No space left on device", why
        assert kept(cache) == []

    own_network(in_a_place_of_its_own)


@pytest.fixture
def lan(around: Surroundings, cache: str, root_user: None, account: str) -> Iterator[Surroundings]:
    """A switch, and a place for templates."""
    vde.start(around.rundir, vde.Switch("lan0", "lan0", 32))
    yield dataclasses.replace(around, templates=cache)


def settings(start: str) -> batch.Pace:
    return batch.Pace(window=2, boot_timeout=3, command_wait=0, start=start)


def test_a_kernel_that_does_not_sleep_makes_no_template(lan: Surroundings, make_guest: Callable[..., Guest], cache: str) -> None:
    guest = make_guest(memory=64)
    with pytest.raises(TemplateError, match="it did not fall asleep within 1 s"):
        templates.ensure(lan.rundir, cache, guest, lan.machines["tiny"], 1)
    assert kept(cache) == [f"{key(guest, lan.machines['tiny'])}.failed"]
    assert list(marked(lan.rundir.mark, f"{lan.rundir.path}/templates")) == []
    assert os.listdir(f"{lan.rundir.path}/templates") == []


def test_without_a_template_guests_are_booted_and_say_why(lan: Surroundings, make_guest: Callable[..., Guest]) -> None:
    [said] = batch.started(lan, [make_guest(memory=64)], settings("warm"), check=False)
    assert said["start"] == "cold"
    record = read_json(qemu.files(lan.rundir, make_guest())["record"])
    assert record["remark"].startswith("booted, not woken up: no template could be made: it did not fall asleep within 3 s")


def test_what_does_not_sleep_is_not_tried_again_and_again(
    rundir: RunDir, cache: str, make_guest: Callable[..., Guest], machine: Machine, fake: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    guests = [make_guest(f"n-{i}") for i in range(PAYS)]
    make = templates.make

    def fail(*dummy: Any) -> None:
        fake.append("tried")
        raise NoSleep("it did not fall asleep")

    def wake_up(wish: str) -> tuple[bool, str]:
        with Stock(rundir, cache, {"tiny": machine}, wish, 1) as stock:
            stock.order(guests)
            template, why = stock.take(guests[0])
        return template is not None, why

    monkeypatch.setattr(templates, "make", fail)
    assert wake_up("auto") == (False, "no template could be made: it did not fall asleep")
    assert wake_up("auto") == (False, "no template could be made lately: it did not fall asleep")
    assert len(fake) == 1
    # Who wants it tries again, and another image is another matter.
    assert wake_up("warm") == (False, "no template could be made: it did not fall asleep")
    assert len(fake) == 2
    path = templates.failure(cache, key(guests[0], machine))
    os.utime(path, (1, 1))
    templates.tidy(cache, "")
    assert kept(cache) == []
    monkeypatch.setattr(templates, "make", make)
    assert wake_up("auto") == (True, "")


def test_guests_with_a_disk_of_their_own_are_booted_from_it_and_say_why(lan: Surroundings, make_guest: Callable[..., Guest]) -> None:
    for wish, why in (("warm", "it has one"), ("auto", ""), ("cold", "")):
        with Stock(lan.rundir, lan.templates, lan.machines, wish, 1) as stock:
            stock.order([make_guest()], {"n-0": "it has one"})
            assert stock.ready(make_guest())
            assert stock.take(make_guest()) == (None, why)


def put(cache: str, guest: Guest, machine: Machine, state: bytes) -> str:
    """Lay down a template as a crash or a newer QEMU could leave it: whole, and of no use."""
    path = f"{cache}/{key(guest, machine)}"
    os.makedirs(path)
    for directory in (cache, path):
        os.chmod(directory, 0o711)
    Path(f"{path}/state").write_bytes(state)
    Path(f"{path}/memory").touch()
    os.truncate(f"{path}/memory", guest.memory << 20)
    os.chmod(f"{path}/memory", 0o666)
    write_json(f"{path}/manifest.json", {"memory": guest.memory, "parts": templates.parts(path), **inputs(machine)})
    return path


@pytest.fixture
def lan_with_disks(lan: Surroundings, root: str) -> Surroundings:
    """The same, with an image that has a disk."""
    Path(f"{root}/disk.img").touch(0o644)
    os.truncate(f"{root}/disk.img", 64 << 20)
    return dataclasses.replace(lan, machines={"tiny": dataclasses.replace(lan.machines["tiny"], disk=f"{root}/disk.img")})


def test_what_a_clone_that_never_woke_up_has_on_its_disk_is_nobodys(
    lan_with_disks: Surroundings, make_guest: Callable[..., Guest], cache: str
) -> None:
    lan, guest = lan_with_disks, make_guest(memory=64)
    machine, path = lan.machines["tiny"], qemu.files(lan.rundir, guest)
    place = put(cache, guest, machine, b"QEVM broken" + unhex(template_mac(0)))
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", f"{place}/disk.qcow2", "64M"], check=True)
    disks.protect(f"{place}/disk.qcow2")
    write_json(f"{place}/manifest.json", {**read_json(f"{place}/manifest.json"), "parts": templates.parts(place)})
    found = templates.find(cache, key(guest, machine))
    assert found
    process = launch(lan, guest, found)
    assert process.argv[: len(process.argv) - len(found.options())] == tuple(qemu.command(lan.rundir, guest, machine, layered=True))
    assert os.path.samefile(path["layer"], found.disk)
    assert never_woken(lan.rundir, guest.id)
    assert not batch.has_own_disk(lan, guest)
    # It does not load: the guest is booted, from the disk of its image.
    [said] = batch.started(lan, [guest], settings("auto"), check=False)
    assert (said["start"], kept(cache)) == ("cold", [])
    assert "does not load" in read_json(path["record"])["remark"]
    assert not os.path.exists(path["layer"])
    assert "layer" not in read_json(path["record"])["disk"]
    assert batch.has_own_disk(lan, guest)


def test_a_clone_that_woke_up_keeps_its_disk_whatever_becomes_of_the_template(
    lan_with_disks: Surroundings, make_guest: Callable[..., Guest], cache: str
) -> None:
    lan, guest = lan_with_disks, make_guest(memory=64)
    machine, path = lan.machines["tiny"], qemu.files(lan.rundir, guest)
    place = put(cache, guest, machine, b"")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", f"{place}/disk.qcow2", "64M"], check=True)
    disks.protect(f"{place}/disk.qcow2")
    launch(lan, guest, Template(place, 64, b"", f"{place}/disk.qcow2"))
    Path(path["state"]).write_text("boot x\nbooted 1\n")
    mark_woken(lan.rundir, guest.id)
    before, record = os.stat(path["disk"]).st_ino, read_json(path["record"])["disk"]
    templates.discard(place)
    assert not os.path.exists(place)
    # It is not changed, and not asleep, once its state has been written over and over.
    Path(path["state"]).write_text("")
    assert batch.compare(lan, guest, {}).reason not in ("changed", "it was never woken up")
    assert batch.has_own_disk(lan, guest)
    process = launch(lan, guest)
    assert process.argv == tuple(qemu.command(lan.rundir, guest, machine, layered=True))
    assert (os.stat(path["disk"]).st_ino, read_json(path["record"])["disk"]) == (before, record)
    with sleeping.monitor(path["qmp"], process, path["log"]) as qmp:
        chain = next(node["inserted"]["image"] for node in qmp.execute("query-block"))
    for below in (path["layer"], machine.disk):
        assert f'"{below}"' in chain["backing-image"]["filename"]
    assert stat.S_IMODE(os.stat(path["layer"]).st_mode) == 0o444
    assert discard(lan.rundir, guest.id)
    assert not os.path.exists(path["layer"])


@pytest.mark.parametrize("state", [b"", b"QEVM broken", os.urandom(1 << 20)], ids=["empty", "broken", "long"])
def test_a_state_that_does_not_load_is_thrown_away_and_guests_are_booted(
    lan: Surroundings, make_guest: Callable[..., Guest], cache: str, state: bytes
) -> None:
    guests = [dataclasses.replace(make_guest(name, memory=64)) for name in ("a", "b")]
    guests[1] = dataclasses.replace(guests[1], nics=(dataclasses.replace(guests[1].nics[0], port=2),))
    put(cache, guests[0], lan.machines["tiny"], state + unhex(template_mac(0)))
    said = batch.started(lan, guests, settings("auto"), check=False)
    assert kept(cache) == []
    assert [one["start"] for one in said] == ["cold", "cold"]
    for guest in guests:
        assert alive(process_of(lan.rundir, guest.id))
        assert "the state of its template does not load" in read_json(qemu.files(lan.rundir, guest)["record"])["remark"]


def test_a_clone_that_an_interrupted_run_left_asleep_is_started_anew(lan: Surroundings, make_guest: Callable[..., Guest]) -> None:
    guest = make_guest(memory=64)
    path = qemu.files(lan.rundir, guest)
    [said] = batch.started(lan, [guest], settings("cold"), check=False)
    write_json(path["record"], {**read_json(path["record"]), "start": "warm", "woken": False})
    job = batch.compare(lan, guest, {})
    assert (job.action, job.reason) == ("start", "it was never woken up")
    Path(path["state"]).write_text("boot x\n")
    assert batch.compare(lan, guest, {}).reason != "it was never woken up"
    assert said["start"] == "cold"


def test_memory_is_copied_without_its_empty_pages(rundir: RunDir, root: str, account: str, root_user: None) -> None:
    program = "import os, time; f = os.memfd_create('ram'); os.truncate(f, 8 << 20); os.pwrite(f, b'here', 5 << 20); time.sleep(60)"
    process: Process = spawn([sys.executable, "-c", program, f"{root}/"], mark=rundir.mark, log=f"{root}/log")
    path, deadline = f"{root}/memory", time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            sleeping.copy_memory(process, path)
        except HostError:
            continue
        if Path(path).read_bytes()[5 << 20 :][:4] == b"here":
            break
    facts = os.stat(path)
    assert facts.st_size == 8 << 20
    assert facts.st_blocks * 512 <= 1 << 20
    assert stat.S_IMODE(facts.st_mode) == 0o600
    assert Path(path).read_bytes().count(0) == (8 << 20) - 4


def test_options_are_what_qemu_takes(make_guest: Callable[..., Guest]) -> None:
    options = Template("/cache/key", 128, b"").options()
    backend = json.loads(options[options.index("-object") + 1])
    assert backend == {"qom-type": "memory-backend-file", "id": "ram", "size": 128 << 20, "mem-path": "/cache/key/memory", "share": False}


def test_a_clone_gets_the_state_with_its_own_macs(make_guest: Callable[..., Guest]) -> None:
    guest = make_guest(interfaces=2, control=CONTROL)
    state = b"".join(b"|" + unhex(template_mac(place)) * 2 for place in range(3))
    own = Template("/t", 128, state).state_for(guest)
    assert own == b"".join(b"|" + unhex(mac) * 2 for mac in (CONTROL["mac"], guest.nics[0].mac, guest.nics[1].mac))
    with pytest.raises(TemplateError, match="the MAC of interface 3 is not in the state"):
        Template("/t", 128, state).state_for(make_guest(interfaces=3, control=CONTROL))


def test_a_template_has_its_own_macs_in_the_order_of_the_machine(make_guest: Callable[..., Guest]) -> None:
    for control in (CONTROL, None):
        found = macs(shape(make_guest(interfaces=3, control=control), ""))
        assert found == [template_mac(place) for place in range(len(found))]


def test_a_killed_run_leaves_what_swapout_and_the_next_run_find(lan: Surroundings, make_guest: Callable[..., Guest], cache: str) -> None:
    guest, machine = make_guest(memory=64), lan.machines["tiny"]
    child = os.fork()
    if child == 0:
        templates.ensure(lan.rundir, cache, guest, machine, 60)
        os._exit(0)

    def left() -> list[Process]:
        return list(marked(lan.rundir.mark, f"{lan.rundir.path}/templates/"))

    deadline = time.monotonic() + 20
    while not left() or not os.path.exists(f"{lan.rundir.path}/templates/{key(guest, machine)}/io/qmp"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    [stray] = left()
    assert stray in sweep.find("lab", "demo", lan.rundir.root).strays
    assert kept(cache) == [f".{key(guest, machine)}"]
    with pytest.raises(TemplateError):
        templates.ensure(lan.rundir, cache, guest, machine, 0.5)
    assert left() == []
    assert not alive(stray)
    assert kept(cache) == [f"{key(guest, machine)}.failed"]

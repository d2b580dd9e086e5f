# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Argument vectors of guests, for their form and before the real QEMU; plugs pulled and put in again while it runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import string
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.module_utils import disks, qemu, vde
from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.guest import Guest
from ansible_collections.benito.testbed.plugins.module_utils.processes import Process, alive, spawn, stop, tail
from ansible_collections.benito.testbed.plugins.module_utils.qmp import Qmp, QmpError
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir, own_directory
from ansible_collections.benito.testbed.plugins.module_utils.service_ids import service

MACHINE = qemu.Machine("tcg", "/images/vmlinux", "/images/initramfs", "benito.version=1")
HERE = RunDir("lab", "demo", "lab.demo")
MAC = "02:00:00:00:00:01"
CONTROL = {"mac": "02:00:00:00:ff:01", "address": "172.20.5.2", "tap": "bn0123456789"}


def values(argv: list[str], option: str) -> list[str]:
    return [argv[place + 1] for place, word in enumerate(argv) if word == option]


def devices(argv: list[str], driver: str) -> list[dict[str, object]]:
    return [device for device in map(json.loads, values(argv, "-device")) if device["driver"] == driver]


def entry(**more: object) -> dict[str, object]:
    interface = {"name": "inf000", "substrate": "lan0", "switch": "lan0", "port": 1, "mac": MAC, "device": "eth1"}
    return {"name": "n-0", "interfaces": [{**interface, "address": "10.0.0.1", "prefix": 24, **more.pop("interface", {})}], **more}


@pytest.mark.parametrize(("accelerator", "unstable"), [("tcg", True), ("kvm", False)])
def test_an_emulated_guest_does_not_go_by_the_cpus_counter(make_guest: Callable[..., Guest], accelerator: str, unstable: bool) -> None:
    argv = qemu.command(HERE, make_guest(), replace(MACHINE, accelerator=accelerator))
    words = values(argv, "-append")[0].split()
    assert ("tsc=unstable" in words) is unstable
    # What an image brings along comes later, and counts.
    assert words[-1] == "benito.version=1"


def test_the_same_guest_gives_the_same_command(make_guest: Callable[..., Guest]) -> None:
    assert qemu.command(HERE, make_guest(), MACHINE) == qemu.command(HERE, make_guest(), MACHINE)


def test_machine_and_numbers_are_taken_over(make_guest: Callable[..., Guest]) -> None:
    argv = qemu.command(HERE, make_guest(memory=96, cpus=3), MACHINE)
    assert values(argv, "-m") == ["96"]
    assert values(argv, "-smp") == ["3"]
    assert values(argv, "-kernel") == ["/images/vmlinux"]
    assert values(argv, "-initrd") == ["/images/initramfs"]
    assert values(argv, "-append")[0].endswith(" benito.version=1")
    assert values(argv, "-accel") == ["tcg,tb-size=64"]
    assert values(argv, "-cpu") == ["max"]


def test_kvm(make_guest: Callable[..., Guest]) -> None:
    argv = qemu.command(HERE, make_guest(), qemu.Machine("kvm", "k", "i"))
    assert (values(argv, "-accel"), values(argv, "-cpu")) == (["kvm"], ["host"])


def test_identities_differ_between_guests_experiments_and_roots(make_guest: Callable[..., Guest]) -> None:
    places = [HERE, RunDir("lab", "other", "lab.demo"), RunDir("lab", "demo", "lab.demo", "/srv/benito")]
    found = {values(qemu.command(place, make_guest(name), MACHINE), "-uuid")[0] for place in places for name in ("a", "b")}
    assert len(found) == 6


def test_the_control_interface_comes_first_and_is_handed_over(make_guest: Callable[..., Guest]) -> None:
    argv = qemu.command(HERE, make_guest(control=CONTROL), MACHINE)
    assert json.loads(values(argv, "-netdev")[0]) == {"type": "tap", "id": "control", "fd": "100"}
    assert [device["netdev"] for device in devices(argv, "virtio-net-pci")] == ["control", "nic0"]


def test_each_interface_is_joined_to_its_switch_and_port(make_guest: Callable[..., Guest]) -> None:
    argv = qemu.command(HERE, make_guest(interfaces=3), MACHINE)
    plugs = [netdev for netdev in map(json.loads, values(argv, "-netdev")) if netdev["type"] == "vde"]
    directory = "/var/lib/benito/lab.demo/switches/lan0/io/ctl"
    assert plugs == [{"type": "vde", "id": f"plug{i}", "sock": directory, "port": 2 * i + 1} for i in range(3)]
    hubs = [netdev for netdev in map(json.loads, values(argv, "-netdev")) if netdev["type"] == "hubport"]
    assert [hub["hubid"] for hub in hubs] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("count", [0, 1, 24, 25, 55, 56, 100])
@pytest.mark.parametrize("control", [None, CONTROL])
def test_every_interface_has_a_slot_of_its_own(make_guest: Callable[..., Guest], count: int, control: dict[str, str] | None) -> None:
    argv = qemu.command(HERE, make_guest(interfaces=count, control=control), MACHINE)
    cards = devices(argv, "virtio-net-pci")
    total = count + bool(control)
    assert len(cards) == total
    assert all("bus" not in card and "addr" not in card for card in cards[:24])
    behind = [(card["bus"], card["addr"]) for card in cards[24:]]
    # A bridge's slot 0 is its hot-plug controller's.
    assert behind == [(f"bridge{place // 31 + 1}", hex(place % 31 + 1)) for place in range(max(0, total - 24))]
    bridges = devices(argv, "pci-bridge")
    assert [bridge["id"] for bridge in bridges] == list(dict.fromkeys(bus for bus, dummy in behind))
    assert len({bridge["chassis_nr"] for bridge in bridges}) == len(bridges)
    # QEMU makes devices in the order they are named: a bridge stands before what is behind it.
    seen: set[object] = set()
    for device in map(json.loads, values(argv, "-device")):
        seen.add(device.get("id"))
        assert device.get("bus") in {None, "pci.0"} | seen


def test_a_disk_is_written_past_the_images(make_guest: Callable[..., Guest]) -> None:
    machine = qemu.Machine("tcg", "k", "i", disk="/images/a,b=c.img")
    argv = qemu.command(HERE, make_guest(), machine)
    disk = json.loads(values(argv, "-blockdev")[0])
    assert disk["file"]["filename"] == "/var/lib/benito/lab.demo/guests/n-0/io/disk.qcow2"
    assert disk["driver"] == "qcow2"
    # Said, not guessed and not taken from what the guest may have written.
    assert (disk["backing"]["driver"], disk["backing"]["file"]["filename"]) == ("raw", "/images/a,b=c.img")
    assert disk["backing"]["read-only"] is True
    assert disk["backing"]["file"]["read-only"] is True
    assert [device["drive"] for device in devices(argv, "virtio-blk-pci")] == ["disk"]
    assert len(devices(argv, "virtio-rng-pci")) == 1
    assert values(qemu.command(HERE, make_guest(), MACHINE), "-blockdev") == []
    other = qemu.command(HERE, make_guest(), qemu.Machine("tcg", "k", "i", disk="/images/a,b=c.img", disk_format="qcow2"))
    assert json.loads(values(other, "-blockdev")[0])["backing"]["driver"] == "qcow2"


WORDS = st.text(alphabet=string.ascii_letters + string.digits + ",=:._-/ \"'\\\n%{}\x00é", min_size=1, max_size=30)


@settings(max_examples=150, deadline=None)
@given(name=WORDS, id_=WORDS, switch=WORDS, device=WORDS, label=WORDS, substrate=WORDS, command=st.text(max_size=40))
def test_no_text_of_a_topology_becomes_a_suboption(
    name: str, id_: str, switch: str, device: str, label: str, substrate: str, command: str
) -> None:
    interface = {"switch": switch, "device": device, "name": label, "substrate": substrate}
    try:
        guest = Guest.from_options(entry(name=name, id=id_, start_command=command, interface=interface))
    except HostError:
        return
    argv = qemu.command(HERE, guest, MACHINE)
    plain = qemu.command(HERE, Guest.from_options(entry()), MACHINE)
    assert len(argv) == len(plain)
    for option in ("-netdev", "-device"):
        found, wanted = ([sorted(json.loads(text)) for text in values(words, option)] for words in (argv, plain))
        assert found == wanted
    for found, wanted in zip(argv, plain, strict=True):
        if not wanted.startswith("{"):
            # As many options in each word, called the same.
            assert re.findall(r"(?:^|,)([a-z_]+)(?==|,|$)", found) == re.findall(r"(?:^|,)([a-z_]+)(?==|,|$)", wanted) or "=" not in wanted
            assert found.count(",") == wanted.count(",")
            assert "\0" not in found


@settings(max_examples=100, deadline=None)
@given(
    field=st.sampled_from(["name", "id", "image", "switch", "device", "mac", "tap"]),
    before=st.text(alphabet="abc", max_size=3),
    after=st.text(max_size=5),
    character=st.sampled_from(",= /\n\0\"'{}\\:"),
)
def test_what_could_split_an_option_is_refused(field: str, before: str, after: str, character: str) -> None:
    text = f"{before}{character}{after}"
    if field in ("name", "id", "image"):
        options = entry(**{field: text})
    elif field == "tap":
        options = entry(control={**CONTROL, "tap": text})
    else:
        options = entry(interface={field: text})
    with pytest.raises(HostError):
        Guest.from_options(options)


@pytest.fixture
def started(
    rundir: RunDir, account: str, root_user: None, kernel: tuple[str, str], make_guest: Callable[..., Guest]
) -> Callable[..., tuple[Guest, Process]]:
    """Start the real QEMU with so many interfaces on a real switch, its processor halted."""
    if not shutil.which("qemu-system-x86_64"):
        pytest.fail("qemu-system-x86_64 is missing")

    def start(interfaces: int, ports: int = 160, disk: str = "", **more: Any) -> tuple[Guest, Process]:
        vde.start(rundir, vde.Switch("lan0", "lan0", ports))
        guest = make_guest(interfaces=interfaces, **more)
        path = qemu.files(rundir, guest)
        ids = service(rundir)
        own_directory(rundir.guest(guest.id), ids)
        own_directory(path["io"], ids)
        with open(path["config"], "wb") as file:
            file.write(b"configuration")
        machine = qemu.Machine("tcg", *kernel, disk=disk)
        disks.lay(path, machine, {}, ids)
        argv = [*qemu.command(rundir, guest, machine), "-S"]
        process = spawn(argv, mark=rundir.mark, log=path["log"], user=ids)
        # The socket's file is there before anybody listens, and the greeting comes when all devices are made.
        while True:
            try:
                with Qmp(path["qmp"], patience=60) as qmp:
                    assert qmp.execute("query-status")["running"] is False
                    break
            except QmpError:
                assert alive(process), tail(path["log"])
                time.sleep(0.01)
        return guest, process

    return start


@pytest.mark.parametrize("interfaces", [1, 40, 60])
def test_the_real_qemu_takes_the_command(rundir: RunDir, started: Callable[..., tuple[Guest, Process]], interfaces: int) -> None:
    guest, process = started(interfaces)
    assert vde.endpoints(rundir, "lan0") == dict.fromkeys(range(1, 2 * interfaces, 2), process.pid)
    with Qmp(qemu.files(rundir, guest)["qmp"]) as qmp:
        # Behind bridges nothing shows on the PCI bus before the firmware has run.
        made = qmp.execute("qom-list", path="/machine/peripheral-anon")
    assert sum(device["type"] == "child<virtio-net-pci>" for device in made) == interfaces


def test_a_plug_is_pulled_and_put_into_a_new_switch_while_the_guest_runs(
    rundir: RunDir, started: Callable[..., tuple[Guest, Process]]
) -> None:
    guest, process = started(3)
    vde.start(rundir, vde.Switch("lan0", "lan0", 160))
    assert vde.endpoints(rundir, "lan0") == {}
    qemu.replug(rundir, guest, 1)
    assert vde.endpoints(rundir, "lan0") == {3: process.pid}
    # Again, as after an attempt that was interrupted.
    with Qmp(qemu.files(rundir, guest)["qmp"]) as qmp:
        qmp.execute("netdev_del", id="port1")
    qemu.replug(rundir, guest, 1)
    assert vde.endpoints(rundir, "lan0") == {3: process.pid}
    assert alive(process)


def test_without_a_switch_a_plug_cannot_be_put_in(rundir: RunDir, started: Callable[..., tuple[Guest, Process]]) -> None:
    guest, process = started(1)
    vde.halt(rundir, "lan0")
    with pytest.raises(QmpError, match="netdev_add"):
        qemu.replug(rundir, guest, 0)
    assert stop(process)
    with pytest.raises(QmpError, match="does not answer"):
        qemu.replug(rundir, guest, 0)


@pytest.mark.parametrize(("interfaces", "shares"), [(0, 0), (147, 0), (116, 8)])
def test_qemu_takes_a_disk_beside_everything_else(
    rundir: RunDir, started: Callable[..., tuple[Guest, Process]], interfaces: int, shares: int
) -> None:
    directory, disk = f"{rundir.root}/files", f"{rundir.root}/disk.img"
    os.mkdir(directory, 0o755)
    with open(disk, "wb") as file:
        file.truncate(1 << 30)
    attached = [{"tag": f"share{number}", "path": directory, "writable": False} for number in range(shares)]
    guest, dummy = started(interfaces, ports=2 * interfaces + 32, shares=attached, disk=disk)
    with Qmp(qemu.files(rundir, guest)["qmp"]) as qmp:
        [block] = qmp.execute("query-block")
        made = qmp.execute("qom-list", path="/machine/peripheral-anon")
    assert block["inserted"]["image"]["virtual-size"] == 1 << 30
    assert block["inserted"]["backing_file_depth"] == 1
    assert sum(device["type"] == "child<virtio-net-pci>" for device in made) == interfaces
    assert sum(device["type"] == "child<virtio-rng-pci>" for device in made) == 1


@pytest.mark.parametrize("interfaces", [0, 30, 116])
def test_qemu_takes_shares_beside_interfaces(rundir: RunDir, started: Callable[..., tuple[Guest, Process]], interfaces: int) -> None:
    directory = f"{rundir.root}/files"
    os.mkdir(directory, 0o755)
    shares = [{"tag": f"share{number}", "path": directory, "writable": number % 2} for number in range(8)]
    guest, dummy = started(interfaces, ports=2 * interfaces + 32, shares=shares)
    argv = qemu.command(rundir, guest, MACHINE)
    assert f"local,id=share0,path={directory},security_model=none,readonly=on" in argv
    assert f"local,id=share1,path={directory},security_model=none,readonly=off" in argv
    with Qmp(qemu.files(rundir, guest)["qmp"]) as qmp:
        made = qmp.execute("qom-list", path="/machine/peripheral-anon")
    assert sum(device["type"] == "child<virtio-9p-pci>" for device in made) == 8

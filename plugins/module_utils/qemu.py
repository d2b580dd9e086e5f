# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a guest becomes a QEMU process: its argument vector, and the plugs between its interfaces and the switches.

Nothing of a topology is pasted into an option that QEMU would take apart: devices and networks are given as JSON, everything
else is a number, a checked id or a path made of them.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .guest import Guest
from .host_links import TAP_HANDLE
from .qmp import Qmp, QmpError
from .rundir import RunDir
from .vde import control_directory

# Slots of the root bus that are free for interfaces; the chipset, virtio-serial and the random source have theirs.
ROOT_SLOTS = 24
SHARES_SLOT = 31
# The disk shares its slot with the source of random numbers, whose own is then free: as many interfaces fit as without a disk.
DISK_SLOT = 30
# For the guest's kernel. Where processors are few, interrupts of a timer that is emulated come too late for the kernel's test of it, and it
# waits for ever; and it takes the processor's counter to be any multiple of what it is, so that a guest's clock may go at a hundredth of
# its pace, or at nine tenths of it. The other clocks of a PC go by the host's. With KVM it has the host's clock.
UNTESTED = "no_timer_check"
OTHER_CLOCKS = "tsc=unstable"
# A bridge has 32 slots; the first is its own hot-plug controller's.
BRIDGE_SLOTS = 31


@dataclass(frozen=True)
class Machine:
    """What guests of one host share: the accelerator (``kvm`` or ``tcg``) and an image's files.

    ``disk`` is what the guests' own disks lie on, read by all and written by none, and ``disk_format`` its format; empty for an image
    without a disk.
    """

    accelerator: str
    kernel: str
    initrd: str
    append: str = ""
    disk: str = ""
    disk_format: str = "raw"


def files(rundir: RunDir, guest: Guest) -> dict[str, str]:
    """Return the paths of a guest's sockets, logs and records."""
    return files_in(rundir.guest(guest.id))


def files_in(home: str) -> dict[str, str]:
    """Return the paths of the sockets, logs and records below a guest's directory."""
    return {
        "home": home,
        "record": f"{home}/launch.json",
        "config": f"{home}/config.tar.gz",
        "key": f"{home}/ssh_host_ed25519_key",
        "log": f"{home}/qemu.log",
        "io": f"{home}/io",
        "qmp": f"{home}/io/qmp",
        "agent": f"{home}/io/config",
        "console": f"{home}/io/console",
        "console_log": f"{home}/io/console.log",
        "state": f"{home}/io/state",
        "disk": f"{home}/io/disk.qcow2",
        "layer": f"{home}/template.qcow2",
    }


def command(rundir: RunDir, guest: Guest, machine: Machine, layered: bool = False) -> list[str]:
    """Return the argument vector of a guest. ``layered``: its disk lies over that of a template."""
    path = files(rundir, guest)
    disk = _disk(path["disk"], machine, path["layer"] if layered else "")
    wires = [_netdev(type="tap", id="control", fd=str(TAP_HANDLE))] if guest.control else []
    for index in range(len(guest.nics)):
        # A hub between interface and plug: the plug can be pulled and put into another switch while the guest runs.
        wires.append([*_hub(f"nic{index}", index), *(word for plug in plugs(rundir, guest, index) for word in _netdev(**plug))])
    return [
        "qemu-system-x86_64",
        *("-name", f"guest={guest.id}"),
        *("-uuid", str(uuid.uuid5(uuid.NAMESPACE_URL, f"benito:{rundir.mark}/{guest.name}"))),
        *("-fw_cfg", f"name=opt/benito/config,file={path['config']}"),
        *_machine(path, guest, machine, wires, disk),
    ]


def _arguments(machine: Machine) -> str:
    """Return the kernel's command line."""
    clocks = [UNTESTED] if machine.accelerator == "kvm" else [UNTESTED, OTHER_CLOCKS]
    return " ".join(["console=ttyS0 quiet panic=-1", *clocks, "random.trust_cpu=on", machine.append]).strip()


def template_command(home: str, guest: Guest, machine: Machine, disk: str) -> list[str]:
    """Return the argument vector of the same machine without a name, a configuration and plugs, with its sockets below ``home``."""
    wires = [_hub("control", 0)] if guest.control else []
    wires += [_hub(f"nic{index}", index + 1) for index in range(len(guest.nics))]
    return ["qemu-system-x86_64", "-name", "guest=template", *_machine(files_in(home), guest, machine, wires, _disk(disk, machine))]


def _machine(path: Mapping[str, str], guest: Guest, machine: Machine, wires: Sequence[list[str]], disk: Sequence[str]) -> list[str]:
    """Return the words for everything that a guest sees of its machine.

    ``wires`` are the backends of its interfaces, in their order, ``disk`` the words for its disk.
    """
    kvm = machine.accelerator == "kvm"
    argv = [
        *("-machine", "pc,usb=off,graphics=off,vmport=off"),
        # The cache of translated code is bounded: by default each guest may take a gigabyte for it.
        *("-accel", "kvm" if kvm else "tcg,tb-size=64"),
        *("-cpu", "host" if kvm else "max"),
        *("-m", str(guest.memory), "-smp", str(guest.cpus)),
        *("-nodefaults", "-no-user-config", "-display", "none", "-rtc", "base=utc"),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
        *("-kernel", machine.kernel, "-initrd", machine.initrd),
        *("-append", _arguments(machine)),
        *_socket("qmp", path["qmp"]),
        *("-mon", "chardev=qmp,mode=control"),
        *_socket("console", path["console"], f",logfile={path['console_log']},logappend=on"),
        *("-serial", "chardev:console"),
        *("-chardev", f"file,id=state,path={path['state']},append=on"),
        *_socket("config", path["agent"]),
        *(disk or _device(driver="virtio-rng-pci")),
        *_device(driver="virtio-serial-pci"),
        *_device(driver="virtserialport", chardev="state", name="benito.state"),
        *_device(driver="virtserialport", chardev="config", name="benito.config"),
    ]
    for number, share in enumerate(guest.shares):
        # Files are whose QEMU runs as: a guest's wish to give them to another fails without an error, as most programs want it.
        options = f"local,id={share.tag},path={share.path},security_model=none,readonly={'off' if share.writable else 'on'}"
        # All in one slot, the last: interfaces need the others.
        where = {"fsdev": share.tag, "mount_tag": share.tag, "addr": f"{SHARES_SLOT:#x}.{number}", "multifunction": True}
        argv += ["-fsdev", options, *_device(driver="virtio-9p-pci", **where)]
    nics = [("control", guest.control.mac)] if guest.control else []
    nics += [(f"nic{index}", nic.mac) for index, nic in enumerate(guest.nics)]
    for place, ((netdev, mac), wire) in enumerate(zip(nics, wires)):
        argv += wire
        bus, slot = _slot(place)
        if bus and slot == 1:
            argv += _device(driver="pci-bridge", id=bus, chassis_nr=int(bus[len("bridge") :]), bus="pci.0")
        where = {"bus": bus, "addr": f"{slot:#x}"} if bus else {}
        argv += _device(driver="virtio-net-pci", netdev=netdev, mac=mac, romfile="", **where)
    return argv


def _disk(path: str, machine: Machine, layer: str = "") -> list[str]:
    """Return the guest's disk, over the image's, if that has one, perhaps with another layer between.

    Formats are said, not guessed: a guest may write what looks like another one.
    """
    if not machine.disk:
        return []
    below = _lower(machine.disk_format, machine.disk)
    if layer:
        below = {**_lower("qcow2", layer), "backing": below}
    disk = {"driver": "qcow2", "node-name": "disk", "discard": "unmap", "file": {"driver": "file", "filename": path}, "backing": below}
    return [
        *("-blockdev", _json(disk)),
        *_device(driver="virtio-blk-pci", drive="disk", addr=f"{DISK_SLOT:#x}.0", multifunction=True),
        *_device(driver="virtio-rng-pci", addr=f"{DISK_SLOT:#x}.1", multifunction=True),
    ]


def _lower(format: str, path: str) -> dict[str, Any]:
    return {"driver": format, "read-only": True, "file": {"driver": "file", "filename": path, "read-only": True}}


def plugs(rundir: RunDir, guest: Guest, index: int) -> list[dict[str, Any]]:
    """Return the two network backends that join interface ``index`` to its switch: the plug, and the hub's port for it."""
    nic = guest.nics[index]
    return [
        {"type": "vde", "id": f"plug{index}", "sock": control_directory(rundir, nic.switch), "port": nic.port},
        {"type": "hubport", "id": f"port{index}", "hubid": index, "netdev": f"plug{index}"},
    ]


def replug(rundir: RunDir, guest: Guest, index: int) -> None:
    """Pull the plug of an interface and put it into its switch again, while the guest runs. Raises QmpError."""
    with Qmp(files(rundir, guest)["qmp"]) as qmp:
        for plug in reversed(plugs(rundir, guest, index)):
            try:
                qmp.execute("netdev_del", id=plug["id"])
            except QmpError:
                # Not there: an earlier attempt got this far.
                continue
        for plug in plugs(rundir, guest, index):
            qmp.execute("netdev_add", **plug)


def _slot(place: int) -> tuple[str, int]:
    if place < ROOT_SLOTS:
        return "", 0
    bridge, slot = divmod(place - ROOT_SLOTS, BRIDGE_SLOTS)
    return f"bridge{bridge + 1}", slot + 1


def _socket(id_: str, path: str, more: str = "") -> list[str]:
    return ["-chardev", f"socket,id={id_},path={path},server=on,wait=off{more}"]


def _device(**options: Any) -> list[str]:
    return ["-device", _json(options)]


def _hub(id_: str, number: int) -> list[str]:
    return _netdev(type="hubport", id=id_, hubid=number)


def _netdev(**options: Any) -> list[str]:
    return ["-netdev", _json(options)]


def _json(options: Mapping[str, Any]) -> str:
    return json.dumps(options, separators=(",", ":"))

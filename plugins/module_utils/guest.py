# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest as the document between plan and host describes it, checked: what it says becomes paths, options and addresses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import HostError
from .netem import Shaped, shaping
from .rundir import SAFE, part_id

MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")
DEVICE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,14}\Z")
# What QEMU finds slots for, less the control interface.
MOST_INTERFACES = 147
# Functions of the one slot that shares have, and interfaces behind the bridge that would sit there.
MOST_SHARES, PER_SLOT = 8, 31
PLACE = re.compile(r"(/[A-Za-z0-9_+@=][A-Za-z0-9._+@=-]*)+\Z")
SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,254}\Z")
OPTIONS = re.compile(r"[A-Za-z0-9_.,:/=+@-]{0,1024}\Z")
ROLE = re.compile(r"(server|client)?\Z")
TYPE = re.compile(r"[a-z0-9][a-z0-9._-]{0,30}\Z")
TAG = re.compile(r"[A-Za-z0-9_-]{1,31}\Z")
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")


class GuestError(HostError):
    """The description of a guest cannot be used; the text says what would be right."""


@dataclass(frozen=True)
class Nic:
    """An experimental interface: its place in the guest and the switch port it is plugged into. One that only leads on has no address.

    One that is ``real`` is the host's own ``device``, without switch, port (0) and MAC of ours.
    """

    name: str
    substrate: str
    switch: str
    port: int
    mac: str
    device: str
    address: str
    prefix: int
    dhcp: str = ""
    shaped: tuple[Shaped, ...] = ()
    real: bool = False


@dataclass(frozen=True)
class Mount:
    """A line of the guest's fstab."""

    source: str
    directory: str
    type: str
    options: str


@dataclass(frozen=True)
class Attached:
    """A directory of the host that QEMU hands in as a device; the guest asks for it by ``tag``."""

    tag: str
    path: str
    writable: bool


@dataclass(frozen=True)
class DhcpServer:
    """What the guest leases on an interface: MAC, address and name of each client."""

    device: str
    prefix: int
    leases: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class ControlNic:
    """The interface of the control net. Without an address the lab's DHCP server gives one."""

    mac: str
    address: str
    tap: str


@dataclass(frozen=True)
class RouteEntry:
    """One line of the route table: network, next hop, device inside the guest."""

    to: str
    via: str
    device: str


@dataclass(frozen=True)
class Guest:
    """Everything the host must know to launch and configure one guest. Memory in MB."""

    name: str
    id: str
    image: str
    memory: int
    cpus: int
    control: ControlNic | None
    nics: tuple[Nic, ...]
    routes: tuple[RouteEntry, ...]
    unreachable: tuple[str, ...]
    plain_names: Mapping[str, str]
    start_command: str
    failure_action: str
    mounts: tuple[Mount, ...] = ()
    shares: tuple[Attached, ...] = ()
    dhcp: tuple[DhcpServer, ...] = ()
    lab_routes: bool = False

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Guest:
        """Take one entry of the document's ``guests``. Raises GuestError."""
        name = str(options.get("name", ""))
        attached = len(options.get("shares") or [])
        most = MOST_INTERFACES - (PER_SLOT if attached else 0)
        if len(options.get("interfaces") or []) > most:
            raise GuestError(f"guest {name[:64]!r}: at most {most} interfaces fit into a machine, not {len(options['interfaces'])}")
        if attached > MOST_SHARES:
            raise GuestError(f"guest {name[:64]!r}: at most {MOST_SHARES} shares by virtio fit into a machine, not {attached}")

        def fail(what: str, right: str, found: Any) -> GuestError:
            return GuestError(f"guest {name[:64]!r}: {what} must be {right}, not {str(found)[:64]!r}")

        def check(what: str, value: Any, pattern: re.Pattern[str], right: str) -> str:
            if not pattern.match(str(value)):
                raise fail(what, right, value)
            return str(value)

        def address(what: str, value: Any) -> str:
            try:
                return str(ipaddress.IPv4Address(str(value)))
            except ValueError:
                raise fail(what, "an IPv4 address", value) from None

        def network(what: str, value: Any) -> str:
            try:
                return str(ipaddress.IPv4Network(str(value)))
            except ValueError:
                raise fail(what, "an IPv4 network such as 10.1.2.0/24", value) from None

        def number(what: str, value: Any, low: int, high: int) -> int:
            if not isinstance(value, int) or not low <= value <= high:
                raise fail(what, f"a number between {low} and {high}", value)
            return value

        def entries(route: Mapping[str, Any]) -> list[RouteEntry]:
            # A text with commas in the document, a list in the options of a module.
            to = route.get("to")
            via = address("next hop", route.get("via"))
            device = check("device", route.get("device"), DEVICE, "an interface name")
            return [RouteEntry(network("route", one), via, device) for one in (to if isinstance(to, list) else str(to).split(","))]

        check("name", name, LABEL, "1 to 63 letters, digits, '.', '_' or '-'")
        control = options.get("control")
        if control and not isinstance(control, Mapping):
            raise fail("control", "a mapping of mac, address and tap", control)
        return cls(
            name=name,
            id=part_id(options.get("id") or name),
            image=check("image", options.get("image") or "tiny", SAFE, "the name of an image"),
            memory=number("memory", options.get("memory") or 128, 64, 1 << 20),
            cpus=number("cpus", options.get("cpus") or 1, 1, 255),
            control=ControlNic(
                mac=check("control.mac", control.get("mac"), MAC, "a MAC address in lower case"),
                address=address("control.address", control["address"]) if control.get("address") else "",
                tap=check("control.tap", control.get("tap"), DEVICE, "an interface name of at most 15 characters"),
            )
            if control
            else None,
            nics=tuple(
                Nic(
                    name=check("interface name", nic.get("name"), LABEL, "a plain name"),
                    substrate=check("substrate", nic.get("substrate"), LABEL, "a plain name"),
                    switch="" if nic.get("real") else check("switch", nic.get("switch"), SAFE, "the id of a switch"),
                    port=0 if nic.get("real") else number("port", nic.get("port"), 1, 65535),
                    mac="" if nic.get("real") else check("mac", nic.get("mac"), MAC, "a MAC address in lower case"),
                    device=check("device", nic.get("device"), DEVICE, "an interface name of at most 15 characters"),
                    address=address("address", nic.get("address")) if nic.get("address") else "",
                    prefix=number("prefix", nic.get("prefix"), 1, 32) if nic.get("address") else 0,
                    dhcp=check("dhcp", nic.get("dhcp") or "", ROLE, "server, client or empty"),
                    shaped=shaping(name, nic.get("netem") or {}),
                    real=bool(nic.get("real")),
                )
                for nic in options.get("interfaces") or []
            ),
            routes=tuple(entry for route in options.get("routes") or [] for entry in entries(route)),
            unreachable=tuple(network("unreachable", value) for value in options.get("unreachable") or []),
            plain_names={str(k): str(v) for k, v in (options.get("plain_names") or {}).items()},
            lab_routes=options.get("lab_routes") is True,
            start_command=str(options.get("start_command") or ""),
            failure_action=str(options.get("failure_action") or "fatal"),
            mounts=tuple(
                Mount(
                    check("source of a mount", m.get("source"), SOURCE, "an address or a name"),
                    check("directory of a mount", m.get("directory"), PLACE, "an absolute path of plain characters"),
                    check("type of a mount", m.get("type"), TYPE, "the name of a file system"),
                    check("options of a mount", m.get("options") or "defaults", OPTIONS, "words with commas between them"),
                )
                for m in options.get("mounts") or []
            ),
            shares=tuple(
                Attached(
                    check("tag of a share", s.get("tag"), TAG, "1 to 31 letters, digits, '_' or '-'"),
                    check("path of a share", s.get("path"), PLACE, "an absolute path of plain characters"),
                    bool(s.get("writable")),
                )
                for s in options.get("shares") or []
            ),
            dhcp=tuple(
                DhcpServer(
                    check("device", d.get("device"), DEVICE, "an interface name"),
                    number("prefix", d.get("prefix"), 1, 30),
                    tuple(
                        (
                            check("MAC of a lease", mac, MAC, "a MAC address in lower case"),
                            address("address of a lease", leased),
                            check("name of a lease", client, LABEL, "a plain name"),
                        )
                        for mac, leased, client in d.get("leases") or []
                    ),
                )
                for d in options.get("dhcp") or []
            ),
        )

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
from .rundir import SAFE, part_id

MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")
DEVICE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,14}\Z")
# What QEMU finds slots for, less the control interface.
MOST_INTERFACES = 147
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")


class GuestError(HostError):
    """The description of a guest cannot be used; the text says what would be right."""


@dataclass(frozen=True)
class Nic:
    """An experimental interface: its place in the guest and the switch port it is plugged into."""

    name: str
    substrate: str
    switch: str
    port: int
    mac: str
    device: str
    address: str
    prefix: int


@dataclass(frozen=True)
class ControlNic:
    """The interface of the control net."""

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

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Guest:
        """Take one entry of the document's ``guests``. Raises GuestError."""
        name = str(options.get("name", ""))
        if len(options.get("interfaces") or []) > MOST_INTERFACES:
            raise GuestError(
                f"guest {name[:64]!r}: at most {MOST_INTERFACES} interfaces fit into a machine, not {len(options['interfaces'])}"
            )

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
                address=address("control.address", control.get("address")),
                tap=check("control.tap", control.get("tap"), DEVICE, "an interface name of at most 15 characters"),
            )
            if control
            else None,
            nics=tuple(
                Nic(
                    name=check("interface name", nic.get("name"), LABEL, "a plain name"),
                    substrate=check("substrate", nic.get("substrate"), LABEL, "a plain name"),
                    switch=check("switch", nic.get("switch"), SAFE, "the id of a switch"),
                    port=number("port", nic.get("port"), 1, 65535),
                    mac=check("mac", nic.get("mac"), MAC, "a MAC address in lower case"),
                    device=check("device", nic.get("device"), DEVICE, "an interface name of at most 15 characters"),
                    address=address("address", nic.get("address")),
                    prefix=number("prefix", nic.get("prefix"), 1, 32),
                )
                for nic in options.get("interfaces") or []
            ),
            routes=tuple(
                RouteEntry(
                    network("route", r.get("to")),
                    address("next hop", r.get("via")),
                    check("device", r.get("device"), DEVICE, "an interface name"),
                )
                for r in options.get("routes") or []
            ),
            unreachable=tuple(network("unreachable", value) for value in options.get("unreachable") or []),
            plain_names={str(k): str(v) for k, v in (options.get("plain_names") or {}).items()},
            start_command=str(options.get("start_command") or ""),
            failure_action=str(options.get("failure_action") or "fatal"),
        )

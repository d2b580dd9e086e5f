# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""One cable: its part of the document, and what those who make it are told.

ROOT/ID/cables/                   root's
cables.json                   what was made, and what it claims of the host
keeper.py keeper.json         the supervisor and its list; launch.json, keeper.log
gate.py gate.json             what comes in by ssh may do
key known_hosts               what goes out by ssh: the experiment's key, the account's to read
io/                           of the service account: state.json, gate-ID.json
"""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import cable_keeper, ssh_access, tunnels
from .errors import HostError
from .rundir import ACCOUNT, RunDir, part_id
from .vde import control_directory

ROLES = {"ssh": ("dial", "listen"), "tcp": ("dial", "listen"), "udp": ("peer",), "vxlan": ("peer",), "ethernet": ("peer",)}
HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?\Z")
DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}\Z")


@dataclass(frozen=True)
class Cable:
    """One cable as seen from this side. ``role`` is ``dial``, ``listen`` (for ssh: let in) or ``peer``; other fields as in the document."""

    name: str
    id: str
    substrate: str
    switch: str
    port: int
    peer: str
    transport: str
    role: str
    peer_address: str = ""
    peer_ssh_port: int = 22
    peer_host_keys: tuple[str, ...] = ()
    number: int = 0
    socket: int = 0
    device: str = ""
    vlan: int = 0

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Cable:
        """Take one entry of the document's ``cables`` and check all that becomes an argument. Raises HostError."""
        name = str(options["name"])
        transport, role = str(options["transport"]), str(options["role"])
        if role not in ROLES.get(transport, ()):
            raise HostError(f"cable {name}: a cable of transport {transport} has no role {role!r}; there are {ROLES.get(transport, ())}")

        def number(key: str, least: int, most: int) -> int:
            value = options.get(key) or 0
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise HostError(f"cable {name}: {key} must be a number from {least} to {most}, not {value!r}")
            return value

        def word(key: str, pattern: re.Pattern[str], what: str) -> str:
            value = str(options.get(key) or "")
            if not pattern.match(value):
                raise HostError(f"cable {name}: {key} must be {what}, not {value[:80]!r}")
            return value

        network = transport in ("tcp", "udp", "vxlan")
        dialing = (transport, role) == ("ssh", "dial")
        keys = tuple(ssh_access.public_key(key) for key in options.get("peer_host_keys") or ()) if dialing else ()
        if dialing and not keys:
            raise HostError(f"cable {name}: peer_host_keys is empty: without the peer's host keys it cannot be known who answers")
        return cls(
            name=name,
            id=part_id(options["id"]),
            substrate=str(options.get("substrate") or ""),
            switch=part_id(options["switch"]),
            port=number("port", 1, 65535),
            peer=str(options.get("peer") or ""),
            transport=transport,
            role=role,
            peer_address=word("peer_address", HOST, "a host name or an IPv4 address") if network or dialing else "",
            peer_ssh_port=number("peer_ssh_port", 1, 65535) if dialing else 22,
            peer_host_keys=keys,
            number=number("number", 1, 0xFFFFFF) if network else 0,
            socket=number("socket", 1, 65535) if network else 0,
            device=word("device", DEVICE, "the name of an interface") if transport == "ethernet" else "",
            vlan=number("vlan", 0, 4094) if transport == "ethernet" else 0,
        )

    @classmethod
    def from_record(cls, facts: Mapping[str, Any]) -> Cable:
        """Take what was written down, by the checks of the document. Raises HostError, KeyError, TypeError when that is damaged."""
        return cls.from_options(facts)

    @property
    def kept(self) -> bool:
        """Whether our supervisor holds it; else the peer's does, and comes in by ssh."""
        return (self.transport, self.role) != ("ssh", "listen")

    @property
    def claim(self) -> tuple[str, int, int] | None:
        """What it takes of the host for itself: protocol, port, and the number inside for a vxlan (0: the whole port)."""
        if self.transport in ("udp", "vxlan"):
            return "udp", self.socket, self.number if self.transport == "vxlan" else 0
        return ("tcp", self.socket, 0) if (self.transport, self.role) == ("tcp", "listen") else None


def home(rundir: RunDir) -> str:
    """Directory of an experiment's cables."""
    return f"{rundir.path}/cables"


def plug_url(rundir: RunDir, cable: Cable) -> str:
    """Return the URL of this side's port, for vde_plug."""
    return f"vde://{control_directory(rundir, cable.switch)}[{cable.port}]"


def host_key_alias(cable: Cable) -> str:
    """Return the name under which ssh knows the peer."""
    return f"benito-{cable.id}"


def ssh_command(rundir: RunDir, cable: Cable) -> list[str]:
    """Return the argument vector of the ssh that carries a cable: it trusts the listed host keys and nothing else, and forwards nothing."""
    options = {
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "BatchMode": "yes",
        "PreferredAuthentications": "publickey",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": f"{home(rundir)}/known_hosts",
        "GlobalKnownHostsFile": "none",
        "HostKeyAlias": host_key_alias(cable),
        "CheckHostIP": "no",
        "UpdateHostKeys": "no",
        "ClearAllForwardings": "yes",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "ControlMaster": "no",
        "ControlPath": "none",
        "PermitLocalCommand": "no",
        "EscapeChar": "none",
        "Compression": "no",
        "ConnectTimeout": "10",
        "ServerAliveInterval": str(cable_keeper.SILENCE // 3),
        "ServerAliveCountMax": "3",
        "LogLevel": "ERROR",
    }
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    target = ["-p", str(cable.peer_ssh_port), "-l", ACCOUNT, "--", cable.peer_address, cable.id]
    return ["ssh", "-F", "none", "-T", "-a", "-x", "-i", f"{home(rundir)}/key", *words, *target]


def greeting(rundir: RunDir, cable: Cable) -> str:
    """Return by what the ends of a cable by TCP or UDP know each other: no secret, but no two cables have the same."""
    return hashlib.sha256(f"{rundir.project}/{rundir.experiment}/{cable.id}/{cable.number}".encode()).hexdigest() + "\n"


def entry(rundir: RunDir, cable: Cable, made: int) -> dict[str, Any]:
    """Return what the supervisor is told of a cable; ``made`` counts how often it was to be done anew."""
    plug = ["vde_plug", plug_url(rundir, cable)]
    facts: dict[str, Any] = {"id": cable.id, "made": made}
    if cable.transport == "ssh":
        # Whom to trust is not on the command line, but one who is trusted no more is to be cut off.
        return {**facts, "how": "pipe", "plug": plug, "far": ssh_command(rundir, cable), "trusted": list(cable.peer_host_keys)}
    where = {"address": cable.peer_address, "socket": cable.socket}
    if cable.transport in ("tcp", "udp"):
        # Not the plug's own udp://: while nobody is at the other end, it takes a processor for itself.
        how = cable.role if cable.transport == "tcp" else "datagram"
        return {**facts, "how": how, "plug": plug, **where, "greeting": greeting(rundir, cable)}
    tap = [*plug, f"tap://{tunnels.names(rundir, cable.id)[1]}"]
    return {**facts, "how": "plug", "plug": tap, **(where if cable.transport == "vxlan" else {})}


def tunnel_of(rundir: RunDir, cable: Cable) -> tunnels.Tunnel | None:
    """Return the devices it needs of the kernel; None when it needs none."""
    if cable.transport == "vxlan":
        return tunnels.vxlan(rundir, cable.id, cable.number, cable.socket)
    return tunnels.ethernet(rundir, cable.id, cable.device, cable.vlan) if cable.transport == "ethernet" else None


def address_of(cable: Cable) -> str:
    """Return the IPv4 address of the peer. Raises HostError."""
    try:
        return str(socket.getaddrinfo(cable.peer_address, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise HostError(f"the address of {cable.peer or 'the peer'}, {cable.peer_address}, is not known here: {error.strerror}") from error

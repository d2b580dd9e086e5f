# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an experiment serves its own guests: directories of the pnodes, and addresses by DHCP.

Directories are host paths, so they come from options only, never from a topology file. Addresses are those of the plan: a server
leases to each client exactly what was planned for it, so that hosts tables and routes hold.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .diagnostics import Location, TopologyError, one_line

if TYPE_CHECKING:
    from .settings import Settings
    from .topology import Attribute

TRANSPORTS = ("diod", "virtio")
# Above 1024, so that the server of files needs no right of root's; each experiment has an address of its own to listen at.
PORT = 5640
DHCP_ROLES = ("server", "client")

# What both sides can put into a line, an option and a configuration without quoting it.
_PATH = re.compile(r"(/[A-Za-z0-9_+@=][A-Za-z0-9._+@=-]*)+")
# A guest needs its own, and the server of files shows its own system under these names.
_TAKEN = re.compile(r"/(bin|boot|dev|etc|init|lib[0-9a-z]*|proc|run|sbin|sys|usr)(/.*)?")


@dataclass(frozen=True)
class Share:
    """A directory of each pnode and where guests find it: ``name`` is the mount point and what it is asked for by."""

    name: str
    path: str
    writable: bool


def parse_shares(value: Any) -> tuple[Share, ...]:
    """Understand the setting ``shares``, or raise ValueError.

    It is a text ``/users:/srv/users:ro,/proj:/srv/proj:rw``, a list of such entries, or a mapping of mount points to ``DIRECTORY[:MODE]``.
    Without a mode a share is read-only; without a directory it is the one of its name.
    """
    if isinstance(value, Mapping):
        value = [f"{name}:{rest}" for name, rest in value.items()]
    entries = re.split(r"[,\s]+", value) if isinstance(value, str) else value
    if not isinstance(entries, (list, tuple)) or not all(isinstance(entry, str) for entry in entries):
        raise ValueError
    shares = tuple(_share(entry.strip()) for entry in entries if entry.strip())
    for number, one in enumerate(shares):
        if any(f"{other.name}/".startswith(f"{one.name}/") for other in shares[:number] + shares[number + 1 :]):
            raise ValueError
    return shares


def _share(entry: str) -> Share:
    name, *rest = entry.split(":")
    mode = rest.pop() if rest and rest[-1] in ("ro", "rw") else "ro"
    path = rest.pop(0) if rest else name
    if rest or _TAKEN.fullmatch(name) or not all(_PATH.fullmatch(word) and len(word) <= 255 for word in (name, path)):
        raise ValueError
    return Share(name, path, mode == "rw")


def shared(settings: Settings) -> list[dict[str, Any]]:
    """Return the document's ``shares``: the directories themselves, for nodes that have their host's file system."""
    return [{"name": share.name, "path": share.path, "writable": share.writable} for share in settings.shares]


def attached(settings: Settings) -> list[dict[str, Any]]:
    """Return the document's ``guest.shares``: what QEMU hands in as a device, tagged ``share0`` and so on."""
    if settings.share_transport != "virtio":
        return []
    return [{"tag": f"share{number}", **share} for number, share in enumerate(shared(settings))]


def share_server(settings: Settings, machines: bool) -> dict[str, Any]:
    """Return the document's ``share_server``: the account it acts as, its port and what it exports.

    It exports nothing where there are no ``machines`` to mount it, or QEMU itself hands the directories in.
    """
    wanted = machines and settings.share_transport == "diod"
    return {"account": settings.share_account, "port": PORT, "exports": shared(settings) if wanted else []}


def mounts(settings: Settings, server: str) -> list[dict[str, str]]:
    """Return the document's ``guest.mounts``, lines of an fstab.

    ``server`` is the guest's pnode as the guest reaches it, its address on the control net; empty where it has none of its own.
    Raises TopologyError when the shares need one.
    """
    if not settings.shares:
        return []
    if settings.share_transport == "diod" and not server:
        raise TopologyError("shares by diod are reached over a control net of mode nat or ports: set that, or share_transport to virtio")
    found = []
    for number, share in enumerate(settings.shares):
        common = f"{'rw' if share.writable else 'ro'},nosuid,nodev,version=9p2000.L,access=any,cache=mmap"
        if settings.share_transport == "virtio":
            source, options = f"share{number}", f"trans=virtio,{common},msize=262144"
        else:
            source, options = server, f"_netdev,aname={share.name},trans=tcp,port={PORT},{common},msize=65536"
        found.append({"source": source, "directory": share.name, "type": "9p", "options": options})
    return found


def check_shares(settings: Settings) -> None:
    """Refuse what contradicts itself. Raises TopologyError."""
    if settings.shares and settings.share_transport == "virtio" and settings.share_account != "benito-share":
        raise TopologyError(
            "share_account cannot be chosen with share_transport virtio: QEMU itself opens the files, with the group benito-share"
        )


def dhcp_role(attribute: Attribute | None) -> str:
    """Return what the attribute ``dhcp`` of an interface makes it: ``server``, ``client`` or, without one, nothing."""
    word = attribute.value.strip().lower() if attribute else ""
    if attribute and word not in DHCP_ROLES:
        raise TopologyError(f"{attribute.name} is {one_line(attribute.value)}: it must be {' or '.join(DHCP_ROLES)}", attribute.where)
    return word


class Member(Protocol):
    """What is asked of an interface here; NodeInterface has it."""

    @property
    def node(self) -> str:
        """The node it belongs to."""

    @property
    def name(self) -> str:
        """Its name there."""

    @property
    def dhcp(self) -> str:
        """Its role: server, client or nothing."""

    @property
    def where(self) -> Location:
        """Where the file says so."""


def check_dhcp(substrate: str, members: Sequence[Member], guests: Collection[str]) -> None:
    """Check who serves and who asks on a substrate: one server at most, one where there are clients, and guests only.

    ``guests`` are the names of the nodes that are launched: no other is configured. Raises TopologyError at the interface's place.
    """
    servers = [member for member in members if member.dhcp == "server"]
    clients = [member for member in members if member.dhcp == "client"]
    if len(servers) > 1:
        first, second = servers[:2]
        raise TopologyError(
            f"interfaces of {first.node} and {second.node} both serve DHCP to {substrate}: one server is enough, and two would contradict",
            second.where,
        )
    if clients and not servers:
        raise TopologyError(
            f"interface {clients[0].name} of {clients[0].node} takes its address by DHCP and nobody on {substrate} serves it: "
            "give one interface there the attribute benito:dhcp server",
            clients[0].where,
        )
    for server in servers:
        if clients and server.node not in guests:
            raise TopologyError(f"{server.node} is to serve DHCP to {substrate}, but it is not a guest that is started", server.where)


def dhcp_leases(device: str, prefix: int, clients: Iterable[tuple[str, str, str]]) -> dict[str, Any]:
    """Return an entry of the document's ``guest.dhcp``: the server's ``device``, and MAC, address and node of each client."""
    return {"device": device, "prefix": prefix, "leases": [list(client) for client in clients]}

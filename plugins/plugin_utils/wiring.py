# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wires: MAC addresses, switches, their ports, and the names of devices.

Everything that can be derived from names is, so that it stays when other nodes come and go; only the
ports of switches are counted, and those of the last swap-in are kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from types import MappingProxyType

from .diagnostics import TopologyError
from .interpretation import Link, Node
from .settings import Settings
from .short_names import digest, short_names

_SHORT_NAME = 20
_LEAST_PORTS = 32
_MOST_PORTS = 1024
# Of the switch of one interface: the guest has port 1, what leads on port 2.
EDGE_PORTS = 32


@dataclass(frozen=True)
class Cord:
    """One end of an interface in the guest and the other in a switch. ``switch`` is the switch's short name, ``port`` counts from 1.

    An ``edge`` is the short name of a switch of the interface's own, in between; the guest is in its first port. A real interface of the
    host has neither MAC, switch nor port (0) of ours.
    """

    mac: str
    switch: str
    port: int
    device: str
    edge: str = ""


@dataclass(frozen=True)
class Switch:
    """The switch of a substrate: short name for paths, and how many ports it has."""

    id: str
    ports: int


@dataclass(frozen=True)
class Wiring:
    """Cords by (node, interface), switches by substrate, what the control net needs by node.

    ``further_ports`` are ports of a substrate's switches that no member has, as many as were asked for.
    """

    cords: Mapping[tuple[str, str], Cord]
    switches: Mapping[str, Switch]
    bridge: str
    taps: Mapping[str, str]
    control_macs: Mapping[str, str]
    further_ports: Mapping[str, tuple[int, ...]]


def wire(
    nodes: Iterable[Node],
    links: Iterable[Link],
    settings: Settings,
    previous: Mapping[tuple[str, str, str], int] = MappingProxyType({}),
    edges: Collection[tuple[str, str]] = (),
    further: Mapping[str, int] = MappingProxyType({}),
) -> Wiring:
    """Wire the experiment. ``previous`` has the switch ports of the last swap-in by node, interface and substrate.

    Ports are counted over all members of a substrate, wherever they live, so that moving one moves no other. ``edges`` are the
    interfaces, as (node, interface), that get a switch of their own; ``further`` says how many ports a substrate's switches need besides.
    Raises TopologyError where the file gives one MAC or one port twice.
    """
    nodes, links = tuple(nodes), tuple(links)
    macs, control_macs = _macs(nodes, settings)
    # Substrates come first, so that their names do not depend on who has an edge.
    own = {(m.node, m.name): f"{m.node}:{m.name}" for link in links for m in link.members if (m.node, m.name) in edges}
    ids = short_names((*(link.name for link in links), *own.values()), _SHORT_NAME)
    taken: set[str] = set()
    bridge = _device_name(settings, taken, "bridge")
    taps = {node.name: _device_name(settings, taken, "tap", node.name) for node in nodes if node.has_control}
    # Among the host's own interfaces, eth1 may be somebody else's.
    on_host = {
        (node.name, i.name): _device_name(settings, taken, "node", node.name, i.name)
        for node in nodes
        if node.kind == "physical"
        for i in node.interfaces
        if not i.real
    }
    further_ports: dict[str, tuple[int, ...]] = {}
    switches: dict[str, Switch] = {}
    cords: dict[tuple[str, str], Cord] = {}
    for whole in links:
        real = [m for m in whole.members if m.real]
        cords.update({(m.node, m.name): Cord("", "", 0, m.real) for m in real})
        link = replace(whole, members=tuple(m for m in whole.members if not m.real)) if real else whole
        if not link.members:
            continue
        ports = _ports(link, previous)
        more = further.get(link.name, 0)
        switches[link.name] = Switch(ids[link.name], _size(len(link.members) + more, max(ports.values()) + more))
        taken_ports = set(ports.values())
        free = (port for port in range(switches[link.name].ports - 1, 0, -1) if port not in taken_ports)
        # From the top, so that they stay away from members to come.
        further_ports[link.name] = tuple(islice(free, more))
        for member in link.members:
            key = (member.node, member.name)
            device = on_host.get(key) or f"eth{member.index + 1}"
            cords[key] = Cord(macs[key], ids[link.name], ports[key], device, ids[own[key]] if key in own else "")
    return Wiring(cords, switches, bridge, taps, control_macs, further_ports)


def derived_mac(*words: str) -> str:
    """Return a locally administered unicast MAC that follows from the words."""
    return bytes.fromhex(f"02{digest(*words)[:10]}").hex(":")


def _macs(nodes: tuple[Node, ...], settings: Settings) -> tuple[dict[tuple[str, str], str], dict[str, str]]:
    """Return the MACs of the interfaces, and those on the control net. The file's come first, so that a derived one gives way."""
    owners: dict[str, str] = {}

    def own(mac: str, node: Node, what: str) -> str:
        if mac in owners:
            raise TopologyError(f"MAC {mac} of {what} of {node.name} is also that of {owners[mac]}: each needs its own", node.where)
        owners[mac] = f"{what} of {node.name}"
        return mac

    def derive(node: Node, what: str) -> str:
        words = (settings.project, settings.experiment, node.name, what)
        mac, salt = derived_mac(*words), 0
        while mac in owners:
            salt += 1
            mac = derived_mac(*words, str(salt))
        return own(mac, node, what)

    given = {(n.name, i.name): own(i.mac, n, f"interface {i.name}") for n in nodes for i in n.interfaces if i.mac}
    given_control = {n.name: own(n.control_mac, n, "the control interface") for n in nodes if n.has_control and n.control_mac}
    control = {n.name: given_control.get(n.name) or derive(n, "control") for n in nodes if n.has_control}
    ours = [(n, i.name) for n in nodes for i in n.interfaces if not i.real]
    return {(n.name, name): given.get((n.name, name)) or derive(n, name) for n, name in ours}, control


def _ports(link: Link, previous: Mapping[tuple[str, str, str], int]) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    used: dict[int, str] = {}
    most = max(_MOST_PORTS, 4 * len(link.members))
    for member in link.members:
        if member.port is not None:
            if member.port > most:
                raise TopologyError(
                    f"port {member.port} of {member.node} on substrate {link.name} is too high: it may be up to {most}", member.where
                )
            if member.port in used:
                raise TopologyError(
                    f"port {member.port} of substrate {link.name} is given to {used[member.port]} and to {member.node}", member.where
                )
            found[member.node, member.name] = member.port
            used[member.port] = member.node
    for member in link.members:
        kept = previous.get((member.node, member.name, link.name))
        if kept is not None and kept <= most and kept not in used and (member.node, member.name) not in found:
            found[member.node, member.name] = kept
            used[kept] = member.node
    free = (p for p in range(1, len(link.members) + len(used) + 1) if p not in used)
    for member in link.members:
        if (member.node, member.name) not in found:
            found[member.node, member.name] = next(free)
    return found


def _size(members: int, highest: int) -> int:
    """Return how many ports the switch gets: room to grow, and a power of two, so that it seldom has to be replaced.

    A vde_switch of N ports counts them from 0; whoever asks for port N gets a plug that leads nowhere.
    """
    wanted = max(_LEAST_PORTS, 2 * members, highest + 1)
    return 1 << (wanted - 1).bit_length()


def _device_name(settings: Settings, taken: set[str], *words: str) -> str:
    """Return a name for a network device of the host: 12 characters, where the kernel allows 15."""
    salt = 0
    name = f"bn{digest(settings.project, settings.experiment, *words)[:10]}"
    while name in taken:
        salt += 1
        name = f"bn{digest(settings.project, settings.experiment, *words, str(salt))[:10]}"
    taken.add(name)
    return name

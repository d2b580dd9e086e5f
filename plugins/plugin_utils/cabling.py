# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cables between hosts: what joins the switches of a substrate that has members on several pnodes.

The pnode with most members is the hub, and each other one has a cable to it: no loop, nowhere deeper than two cables, and the members that
are most in number talk to each other without any. Where the lab's own Ethernet is the transport, it is the hub; so it is where a real
interface of a host is on the substrate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .attributes import find
from .diagnostics import NOWHERE, TopologyError, one_line
from .interpretation import Link
from .placement import Placement
from .pool import PoolHost
from .real_interfaces import direct
from .setting_values import CABLES
from .settings import Settings
from .short_names import digest, short_names
from .topology import Substrate

_SHORT_NAME = 20


@dataclass(frozen=True)
class Cable:
    """A cable between the switches of one substrate on two pnodes, ``hub`` and ``spoke``, which are numbers.

    ``hub_port`` and ``spoke_port`` are the switches' ports; ``number`` is unique in the experiment and below 2^24, ``socket`` a port of
    UDP or TCP that no other cable of its ends has. With transport ethernet there is no spoke: the hub's switch has a leg in the lab's
    network, its VLAN ``vlan`` if any.
    """

    substrate: str
    id: str
    transport: str
    hub: int
    spoke: int | None
    hub_port: int
    spoke_port: int | None
    number: int
    socket: int
    vlan: int | None = None

    @property
    def ends(self) -> tuple[int, ...]:
        """The pnodes it touches."""
        return (self.hub,) if self.spoke is None else (self.hub, self.spoke)


def cables(
    substrates: Iterable[Substrate],
    links: Iterable[Link],
    placement: Placement,
    ports: Mapping[str, Sequence[int]],
    settings: Settings,
) -> tuple[Cable, ...]:
    """Return the cables an experiment needs.

    ``ports`` has for each substrate the ports of its switches that are left for cables, as many as `ports_needed` says. Raises
    TopologyError for words that mean no transport.
    """
    places = {s.name: s for s in substrates}
    wanted = [run for link in links if len(link.members) > 1 for run in _runs(link, placement, places[link.name], ports, settings)]
    ids = short_names((run.name for run in wanted), _SHORT_NAME)
    numbers: set[int] = set()
    sockets: dict[int, set[int]] = {}
    low, high = settings.cable_ports.low, settings.cable_ports.high
    found = []
    for run, identity in zip(wanted, ids.values(), strict=True):
        seed = int(digest(settings.project, settings.experiment, "cable", identity)[:12], 16)
        number = _free(seed, 1, (1 << 24) - 1, numbers)
        there = [sockets.setdefault(pnode, set()) for pnode in (run.hub, run.spoke) if pnode is not None]
        socket = _free(seed, low, high, *there)
        ends = run.hub, run.spoke, run.hub_port, run.spoke_port
        found.append(Cable(run.substrate, identity, run.transport, *ends, number, socket, run.vlan))
    return tuple(found)


def spans(link: Link, placement: Placement) -> Counter[int]:
    """Return how many members of a link sit on each pnode."""
    return Counter(placement.pnode_of[m.node] for m in link.members if m.node in placement.pnode_of)


def ports_needed(link: Link, placement: Placement) -> int:
    """Return how many ports of a link's switches cables need: one for each pnode but one, or one where all have a leg in the lab."""
    there, real = spans(link, placement), direct(link, placement)
    return min(len(there.keys() - real), 1) if real else max(len(there) - 1, 0)


@dataclass(frozen=True)
class _Run:
    """Where a cable runs, before it has its numbers; fields as in `Cable`."""

    substrate: str
    transport: str
    hub: int
    spoke: int | None
    hub_port: int
    spoke_port: int | None
    vlan: int | None = None

    @property
    def name(self) -> str:
        # Two words behind the name, always: the leg of lan-1 at pnode 2 is not the cable of lan from pnode 1 to 2.
        return f"{self.substrate}-{self.hub}-{'lab' if self.spoke is None else self.spoke}"


def _runs(link: Link, placement: Placement, substrate: Substrate, ports: Mapping[str, Sequence[int]], settings: Settings) -> Iterator[_Run]:
    there = spans(link, placement)
    if len(there) < 2:
        return
    hub = min(there, key=lambda number: (-there[number], number))
    said = find(substrate.attributes, "cable")
    if said is not None and said.value.strip() not in CABLES:
        raise TopologyError(f"{said.name} is {one_line(said.value)}: it must be {', '.join(CABLES)}", said.where)
    usual = said.value.strip() if said else settings.cable
    vlan = _vlan(substrate)
    real = direct(link, placement)
    if real:
        if said is not None and usual != "ethernet":
            raise TopologyError(
                f"{said.name} of substrate {link.name} is {usual}, but a real interface of a host is on it: it must be ethernet", said.where
            )
        for pnode in sorted(there.keys() - real):
            yield _Run(link.name, "ethernet", pnode, None, ports[link.name][-1], None, vlan)
        return
    legs: list[int] = []
    for spoke, port in zip(sorted(set(there) - {hub}), ports[link.name], strict=True):
        transport = settings.cable_pairs.get(f"{min(hub, spoke)}/{max(hub, spoke)}", usual)
        if transport == "ethernet":
            legs.append(spoke)
            continue
        yield _Run(link.name, transport, hub, spoke, port, port)
    # All of them meet in the lab's network; a leg more at the hub and every switch that has one sees the others'.
    if legs:
        for pnode in (hub, *legs):
            yield _Run(link.name, "ethernet", pnode, None, ports[link.name][-1], None, vlan)


def _vlan(substrate: Substrate) -> int | None:
    said = find(substrate.attributes, "vlan")
    if said is None:
        return None
    text = said.value.strip()
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= 4094):
        raise TopologyError(f"{said.name} is {one_line(said.value)}: it must be the number of a VLAN, 1 to 4094", said.where)
    return int(text)


def _free(seed: int, low: int, high: int, *taken: set[int]) -> int:
    """Return the number that the seed leads to, or the next one that is free everywhere."""
    count = high - low + 1
    for step in range(count):
        number = low + (seed + step) % count
        if not any(number in here for here in taken):
            for here in taken:
                here.add(number)
            return number
    raise TopologyError(f"the experiment has pnodes that need more than {count} cables: give it more cable_ports")


def check_cables(cables_: Iterable[Cable], pool: Sequence[PoolHost]) -> None:
    """Check that the hosts can be joined so.

    Each leg into the lab's Ethernet needs an interface, and no two substrates may share one; of two hosts at least one must be reachable by
    the other, both where neither opens a connection. Raises TopologyError.
    """
    owners: dict[tuple[int, int | None], str] = {}
    for cable in cables_:
        if cable.spoke is not None:
            _check_reachable(cable, *(pool[end] for end in cable.ends if end < len(pool)))
            continue
        host = pool[cable.hub] if cable.hub < len(pool) else PoolHost("the host")
        if not host.device:
            raise TopologyError(f"substrate {cable.substrate} is to cross the lab's Ethernet: {host.name} needs benito_cable_device")
        other = owners.setdefault((cable.hub, cable.vlan), cable.substrate)
        if other != cable.substrate:
            raise TopologyError(
                f"substrates {other} and {cable.substrate} would be one on {host.device} of {host.name}: give each its benito:vlan", NOWHERE
            )


def _check_reachable(cable: Cable, *ends: PoolHost) -> None:
    names = " and ".join(host.name for host in ends)
    hidden = [host.name for host in ends if not host.reachable]
    if hidden and cable.transport not in ("ssh", "tcp"):
        raise TopologyError(f"a {cable.transport} cable between {names} needs both to be reachable, and {hidden[0]} is not: use ssh or tcp")
    if len(hidden) > 1:
        raise TopologyError(f"neither of {names} is reachable by the other (benito_reachable): they cannot be joined by a cable")
    unknown = [host.name for host in ends if not host.address]
    if unknown:
        raise TopologyError(f"other hosts cannot reach {unknown[0]}, whose connection is local: give it benito_address")


def side(cable: Cable, pnode: int, pool: Sequence[PoolHost], switch: str) -> dict[str, object]:
    """Return a cable as one of its pnodes is told about it: an entry of the document's ``cables``.

    ``switch`` is the switches' short name.
    """
    at_hub = pnode == cable.hub
    peer = cable.spoke if at_hub else cable.hub
    here = pool[pnode] if pnode < len(pool) else PoolHost("")
    there = pool[peer] if peer is not None and peer < len(pool) else PoolHost("")
    role = "peer"
    if cable.transport in ("ssh", "tcp"):
        hub = here if at_hub else there
        role = "listen" if at_hub == hub.reachable else "dial"
    peer_name = "" if peer is None else f"pnode-{peer:04d}"
    return {
        "name": f"{cable.substrate} {peer_name}".strip(),
        "id": cable.id,
        "substrate": cable.substrate,
        "switch": switch,
        "port": cable.hub_port if at_hub else cable.spoke_port,
        "peer": peer_name,
        "peer_port": cable.spoke_port if at_hub else cable.hub_port,
        "transport": cable.transport,
        "role": role,
        "peer_address": there.address,
        "peer_ssh_port": there.ssh_port,
        "peer_host_keys": list(there.host_keys) if cable.transport == "ssh" and role == "dial" else [],
        "number": cable.number,
        "socket": cable.socket,
        "device": here.device if cable.transport == "ethernet" else "",
        "vlan": cable.vlan,
    }

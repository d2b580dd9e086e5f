# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control net of an experiment: which networks, which address for each guest, which port of its pnode.

In the modes ``nat`` and ``ports`` each pnode has a subnet of its own, in ``bridge`` all guests are in the lab's network, in ``none`` there
is nothing. An address given already stays: what file or map demand, then what the last swap-in chose, then the first that is free.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from itertools import chain
from typing import Any

from .addressing import NO_ADDRESSES, Network, PreviousAddresses, Taken, dotted, parse_network, prefix_for
from .authority import refusal
from .control_options import Assignment
from .diagnostics import NOWHERE, TopologyError, listing, one_line
from .interpretation import Node, parse_address
from .settings import Settings
from .short_names import digest

# The bridge that a pnode's own interface is put into; Benito's name for it.
LAB_BRIDGE = "control0"
# Below what kernels give to connections of their own.
_FIRST_PORT, _BEHIND_PORTS = 10000, 32768
_LEAST_PORTS = 256


@dataclass(frozen=True)
class ControlNet:
    """What a pnode's guests are in: ``gateway`` is where they send what is for elsewhere, but for mode ``bridge`` the pnode itself."""

    network: Network
    gateway: int | None


@dataclass(frozen=True)
class Control:
    """The control net: nets by number of pnode, addresses and ports by guest, the range of ports of every pnode.

    A guest whose address is the lab's DHCP server's choice has none here.
    """

    mode: str
    dhcp: bool = False
    nets: Mapping[int, ControlNet] = field(default_factory=dict)
    addresses: Mapping[str, int] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    span: tuple[int, int] | None = None

    @property
    def first(self) -> ControlNet | None:
        """The net of the first pnode that has one."""
        return self.nets[min(self.nets)] if self.nets else None

    @property
    def subnets(self) -> str | Mapping[int, str] | None:
        """The setting ``control_subnet`` that leads to the same nets."""
        texts = {number: str(net.network) for number, net in sorted(self.nets.items())}
        return next(iter(texts.values())) if len(set(texts.values())) == 1 else texts or None

    def document(self, number: int, bridge: str, settings: Settings, guests: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """Return ``control`` of a pnode's document. ``guests`` are the pnode's, with ``name`` and ``control`` as they are in there."""
        reached = [{"name": guest["name"], **guest["control"]} for guest in guests if guest["control"]]
        # A host of processes alone needs none.
        if self.mode == "none" or not reached:
            return {"mode": "none", "bridge": bridge, "table": bridge}
        net = self.nets.get(number)
        return {
            "mode": self.mode,
            "bridge": LAB_BRIDGE if self.mode == "bridge" else bridge,
            "table": bridge,
            "address": dotted(net.gateway) if net and net.gateway else "",
            "prefix": net.network.prefix if net else 0,
            "subnet": str(net.network) if net else "",
            "addressing": "dhcp" if self.dhcp else "static",
            "interface": settings.control_interface or "" if self.mode == "bridge" else "",
            "deadline": settings.control_deadline,
            "ports": list(self.span or ()),
            "cable_ports": [settings.cable_ports.low, settings.cable_ports.high],
            "guests": reached,
            **egress(settings),
        }


def egress(settings: Settings) -> dict[str, Any]:
    """Return the field ``egress`` of the document's ``control``; without it the host lets guests out as ``public`` says."""
    said = settings.control_egress
    if said == "public":
        return {}
    return {"egress": {"mode": said, "networks": []} if isinstance(said, str) else {"mode": "networks", "networks": list(said)}}


def assigned(nodes: Iterable[Node], settings: Settings) -> tuple[Node, ...]:
    """Return the nodes with what the lab's map says about them.

    Raises TopologyError where it speaks of no node, and where the file goes beyond what the lab leaves to it.
    """
    nodes = tuple(nodes)
    unknown = set(settings.control_map) - {node.name for node in nodes}
    if unknown:
        raise TopologyError(f"control_map names what is no node of this topology: {listing(one_line(name) for name in sorted(unknown))}")

    def with_map(node: Node) -> Node:
        entry = settings.control_map.get(node.name, Assignment(None, None))
        _check_chosen(node, entry, settings)
        address = parse_address(entry.address, NOWHERE) if entry.address else node.control_address
        return replace(node, control_address=address, control_mac=entry.mac or node.control_mac)

    return tuple(with_map(n) if n.name in settings.control_map or n.control_address or n.control_mac else n for n in nodes)


def _check_chosen(node: Node, entry: Assignment, settings: Settings) -> None:
    """Check what the file says of a node's control interface, where the map says nothing.

    An address in the lab's own network is one of those that the lab keeps for guests, and a MAC is one that no maker of devices gives.
    """
    value = node.control_address
    in_lab = settings.control_mode == "bridge" and settings.control_addressing == "static" and not entry.address
    if in_lab and value is not None and not any(first <= value <= last for first, last in settings.control_addresses):
        raise refusal(
            f"{node.name} may not have {dotted(value)} in the lab's network",
            "a file may choose within control_addresses",
            ["control_addresses", "control_map"],
            node.where,
        )
    if node.control_mac and not entry.mac and not int(node.control_mac[:2], 16) & 2:
        raise refusal(
            f"{node.name} may not have the MAC {node.control_mac} on the control net",
            "a file may choose locally administered ones such as 02:00:00:00:00:01",
            ["control_map"],
            node.where,
        )


def control_net(
    nodes: Iterable[Node],
    pnode_of: Mapping[str, int],
    networks: Mapping[str, Network],
    settings: Settings,
    previous: PreviousAddresses = NO_ADDRESSES,
) -> Control:
    """Plan the control net for the guests among the nodes. ``networks`` are those of the experiment by substrate.

    Raises TopologyError for addresses that clash, naming both, and where room runs out.
    """
    guests = tuple(node for node in nodes if node.has_control)
    taken = Taken((network, f"substrate {name}") for name, network in networks.items())
    if settings.control_addressing == "dhcp" and settings.control_mode != "bridge":
        raise TopologyError(f"control_addressing dhcp is for control_mode bridge: in mode {settings.control_mode} there is no lab's server")
    if settings.control_mode == "none" or not guests:
        return Control(settings.control_mode)
    if settings.control_mode == "bridge":
        return _bridged(guests, pnode_of, taken, settings, previous)
    crowds: dict[int, list[Node]] = {}
    for guest in guests:
        crowds.setdefault(pnode_of.get(guest.name, 0), []).append(guest)
    subnets = _subnets({number: len(crowd) for number, crowd in sorted(crowds.items())}, taken, settings, previous)
    addresses: dict[str, int] = {}
    for number, crowd in crowds.items():
        network = subnets[number]
        room = range(network.base + 2, network.end - 1)
        addresses.update(_chosen(crowd, network, {network.base + 1: "the host"}, room, previous))
    found = Control(
        settings.control_mode,
        nets={number: ControlNet(network, network.base + 1) for number, network in subnets.items()},
        addresses={guest.name: addresses[guest.name] for guest in guests},
    )
    return _with_ports(found, guests, pnode_of, settings) if settings.control_mode == "ports" else found


def _bridged(
    guests: tuple[Node, ...], pnode_of: Mapping[str, int], taken: Taken, settings: Settings, previous: PreviousAddresses
) -> Control:
    """Place all guests in the lab's own network."""
    pnodes = sorted({pnode_of.get(guest.name, 0) for guest in guests})
    if settings.control_addressing == "dhcp":
        given = next((guest for guest in guests if guest.control_address is not None), None)
        if given is not None:
            raise TopologyError(f"{given.name} has a control address, and control_addressing is dhcp: use one of both", given.where)
        return Control("bridge", dhcp=True)
    if not isinstance(settings.control_subnet, str):
        raise TopologyError("control_mode bridge needs control_subnet, the one network of the lab, or control_addressing dhcp")
    network = parse_network(settings.control_subnet)
    _refuse_overlap(network, taken)
    used: dict[int, str] = dict(previous.others)
    gateway = None
    if settings.control_gateway is not None:
        gateway = parse_address(settings.control_gateway, NOWHERE)
        used[gateway] = "the lab's router"
        if not network.has_host(gateway):
            raise TopologyError(f"control_gateway {dotted(gateway)} is not in the control subnet {network}")
    for first, last in settings.control_addresses:
        if not (network.has_host(first) and network.has_host(last)):
            raise TopologyError(f"control_addresses {dotted(first)}-{dotted(last)} are not in the control subnet {network}")
    room = list(chain.from_iterable(range(first, last + 1) for first, last in settings.control_addresses))
    net = ControlNet(network, gateway)
    return Control("bridge", nets=dict.fromkeys(pnodes, net), addresses=_chosen(guests, network, used, room, previous))


def _chosen(
    guests: Iterable[Node], network: Network, used: dict[int, str], room: range | list[int], previous: PreviousAddresses
) -> dict[str, int]:
    """Choose an address for each guest from the ``room``; what the file demands may lie anywhere in the network."""
    guests = tuple(guests)
    found: dict[str, int] = {}
    eligible = room if isinstance(room, range) else set(room)

    def take(node: Node, value: int) -> None:
        found[node.name] = value
        used[value] = node.name

    for node in guests:
        value = node.control_address
        if value is None:
            continue
        if not network.has_host(value) or value in used:
            wrong = f"is that of {used[value]} already" if value in used else f"is not in the control subnet {network}"
            raise TopologyError(f"control address {dotted(value)} of {node.name} {wrong}", node.where)
        take(node, value)
    for node in guests:
        kept = previous.control.get(node.name)
        if node.name not in found and kept is not None and kept not in used and kept in eligible:
            take(node, kept)
    free = (a for a in room if a not in used)
    for node in guests:
        if node.name not in found:
            value = next(free, None)
            if value is None:
                raise TopologyError(f"no address is left on the control net for {node.name}: widen control_addresses, or use control_map")
            take(node, value)
    return {node.name: found[node.name] for node in guests}


def _subnets(crowds: Mapping[int, int], taken: Taken, settings: Settings, previous: PreviousAddresses) -> dict[int, Network]:
    """Return a subnet for each pnode, by number: those given, then those of the last swap-in, then those that follow from names."""
    found: dict[int, Network] = {}

    def settle(number: int, network: Network) -> None:
        taken.add(network, f"the control net of pnode-{number:04d}")
        found[number] = network

    for number, network in _given(crowds, settings).items():
        if not IPv4Network(str(network)).is_private:
            raise TopologyError(f"control subnet {network} is not private: only in control_mode bridge may it be the lab's")
        _refuse_overlap(network, taken)
        if network.room < crowds[number] + 1:
            raise TopologyError(f"control subnet {network} has room for {network.room - 1} guests, not for {crowds[number]}", NOWHERE)
        settle(number, network)
    pool = parse_network(settings.control_pool)
    for number in crowds:
        kept = previous.control_networks.get(number)
        fits = kept is not None and kept.room > crowds[number] and pool.base <= kept.base and kept.end <= pool.end
        if number not in found and kept is not None and fits and not taken.overlapping(kept):
            settle(number, kept)
    for number, guests in crowds.items():
        if number not in found:
            settle(number, _derived(number, guests, pool, taken, settings))
    return dict(sorted(found.items()))


def _given(crowds: Mapping[int, int], settings: Settings) -> dict[int, Network]:
    """Return the subnets that the setting demands. One network is divided evenly when guests are on several pnodes."""
    given = settings.control_subnet
    if given is None:
        return {}
    if not isinstance(given, str):
        return {number: parse_network(given[number]) for number in crowds if number in given}
    whole = parse_network(given)
    if len(crowds) == 1:
        return dict.fromkeys(crowds, whole)
    prefix = whole.prefix + max(crowds).bit_length()
    if prefix > 30:
        raise TopologyError(f"control subnet {whole} cannot be divided among {len(crowds)} pnodes: give a larger one")
    return {number: Network(whole.base + (number << (32 - prefix)), prefix) for number in crowds}


def _derived(number: int, guests: int, pool: Network, taken: Taken, settings: Settings) -> Network:
    prefix = prefix_for(guests)
    prefix = max(prefix, pool.prefix) if guests + 1 <= pool.room else prefix
    if prefix < pool.prefix:
        raise TopologyError(f"control pool {pool} has room for {pool.room - 1} guests, not for {guests}", NOWHERE)
    count = 1 << (prefix - pool.prefix)
    # An experiment on one host has had its subnet from its name alone since there are no others.
    words = (settings.project, settings.experiment, "control", *([f"pnode-{number:04d}"] if number else []))
    start = int(digest(*words)[:16], 16) % count
    for step in range(count):
        network = Network(pool.base + ((start + step) % count << (32 - prefix)), prefix)
        if not taken.overlapping(network):
            return network
    raise TopologyError(f"the networks of the experiment leave no /{prefix} free in the control pool {pool}: choose another pool", NOWHERE)


def _refuse_overlap(network: Network, taken: Taken) -> None:
    clash = taken.overlapping(network)
    if clash is not None:
        raise TopologyError(f"control subnet {network} overlaps {clash[0]} of {clash[1]}: choose another", NOWHERE)


def _with_ports(control: Control, guests: Iterable[Node], pnode_of: Mapping[str, int], settings: Settings) -> Control:
    """Give each guest a port: the first one plus its number in its subnet, so that it keeps it as it keeps its address."""
    numbers = {}
    for guest in guests:
        net = control.nets[pnode_of.get(guest.name, 0)]
        numbers[guest.name] = control.addresses[guest.name] - net.network.base
    span = settings.control_ports
    if span is None:
        size = max(_LEAST_PORTS, 1 << max(numbers.values()).bit_length())
        count = (_BEHIND_PORTS - _FIRST_PORT) // size
        if not count:
            raise TopologyError("the addresses of the guests lie too far apart to follow ports from them: choose control_ports")
        first = _FIRST_PORT + int(digest(settings.project, settings.experiment, "ports")[:16], 16) % count * size
        span = (first, first + size - 1)
    for name, number in numbers.items():
        if span[0] + number > span[1]:
            raise TopologyError(
                f"control_ports {span[0]}-{span[1]} end before the port of {name}: "
                f"its address {dotted(control.addresses[name])} is number {number} of its subnet"
            )
    return replace(control, ports={name: span[0] + number for name, number in numbers.items()}, span=span)

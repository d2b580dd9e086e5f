# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""IPv4 addresses: those of the file are kept, the rest is filled in, by Benito's rule or by Emulab's.

An address already given stays: first what the file says, then what the last swap-in chose, then the
first that is free. Addresses are numbers here, since an experiment may have tens of thousands.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from .diagnostics import TopologyError
from .interpretation import Link, NodeInterface
from .settings import Settings

_DEFAULT_PREFIX = 24
# A /24 serves 253 members under either rule: Emulab's hosts begin at .2.
_MOST_IN_DEFAULT = 253


@dataclass(frozen=True, order=True)
class Network:
    """An IPv4 network: its first address as a number, and its prefix length."""

    base: int
    prefix: int

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.base + (1 << (32 - self.prefix))

    @property
    def room(self) -> int:
        """How many hosts may have an address in it."""
        return (1 << (32 - self.prefix)) - 2

    def has_host(self, address: int) -> bool:
        """Whether a host may have the address: it is inside, and its host part neither all zeroes nor all ones."""
        return self.base < address < self.end - 1

    def __str__(self) -> str:
        """Return 10.0.1.0/24."""
        return f"{dotted(self.base)}/{self.prefix}"


@dataclass(frozen=True)
class PreviousAddresses:
    """What the last swap-in chose; interfaces are keyed by node, interface and substrate, control networks by number of pnode.

    ``others`` are addresses on the control net that other experiments have, with these experiments' names.
    """

    networks: Mapping[str, Network] = field(default_factory=dict)
    interfaces: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    control_networks: Mapping[int, Network] = field(default_factory=dict)
    control: Mapping[str, int] = field(default_factory=dict)
    others: Mapping[int, str] = field(default_factory=dict)


NO_ADDRESSES = PreviousAddresses()


@dataclass(frozen=True)
class Addressing:
    """The result: a network for each substrate that has members, an address for each interface (node, interface)."""

    networks: Mapping[str, Network]
    interfaces: Mapping[tuple[str, str], int]


def dotted(address: int) -> str:
    """Return a number as 10.0.1.2."""
    return f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"


def parse_network(text: str) -> Network:
    """Return the network a checked text such as 10.0.1.0/24 names. Raises ValueError."""
    network = IPv4Network(text)
    return Network(int(network.network_address), network.prefixlen)


def network_of(address: int, prefix: int) -> Network:
    """Return the network of that prefix length around an address."""
    size = 1 << (32 - prefix)
    return Network(address & ~(size - 1), prefix)


def address(links: Iterable[Link], settings: Settings, previous: PreviousAddresses = NO_ADDRESSES) -> Addressing:
    """Give every interface an address.

    Raises TopologyError for addresses of the file that clash, naming both places, and where room runs out.
    """
    links = tuple(links)
    networks = _networks(links, settings.addressing, previous)
    first = 2 if settings.addressing == "emulab" else 1
    interfaces: dict[tuple[str, str], int] = {}
    for link in links:
        if link.members:
            interfaces.update(_hosts(link, networks[link.name], first, previous))
    return Addressing(networks, interfaces)


class Taken:
    """The address space in use, as intervals that do not overlap, each with the name of its owner."""

    def __init__(self, entries: Iterable[tuple[Network, str]] = ()) -> None:
        self._entries = sorted(entries)
        self._starts = [network.base for network, dummy in self._entries]

    def overlapping(self, network: Network) -> tuple[Network, str] | None:
        """Return an entry that shares an address with the network."""
        behind = bisect_left(self._starts, network.end)
        if behind and self._entries[behind - 1][0].end > network.base:
            return self._entries[behind - 1]
        return None

    def add(self, network: Network, owner: str) -> None:
        """Enter a network, which must overlap none."""
        at = bisect_right(self._starts, network.base)
        self._starts.insert(at, network.base)
        self._entries.insert(at, (network, owner))


def _networks(links: tuple[Link, ...], style: str, previous: PreviousAddresses) -> dict[str, Network]:
    taken = Taken()
    found: dict[str, Network] = {}
    places = {link.name: link for link in links}

    def settle(link: Link, network: Network) -> None:
        taken.add(network, link.name)
        found[link.name] = network

    open_links: list[tuple[int, Link, int]] = []
    for number, link in enumerate(links):
        network = _given_network(link)
        if network is not None:
            clash = taken.overlapping(network)
            if clash is not None:
                there = f"{clash[0]} of substrate {clash[1]} ({_first_given(places[clash[1]]).where})"
                raise TopologyError(
                    f"network {network} of substrate {link.name} overlaps {there}: give each its own", _first_given(link).where
                )
            settle(link, network)
        elif link.members:
            open_links.append((number, link, _prefix(link)))

    rest: list[tuple[int, Link, int]] = []
    for number, link, prefix in open_links:
        kept = previous.networks.get(link.name)
        if kept is not None and kept.room >= len(link.members) and _agrees(link, kept) and not taken.overlapping(kept):
            settle(link, kept)
        else:
            rest.append((number, link, prefix))

    choose = _emulab_choice(taken) if style == "emulab" else _benito_choice(taken, len(links))
    for number, link, prefix in rest:
        settle(link, choose(number, link, prefix))
    return {link.name: found[link.name] for link in links if link.name in found}


def _given_network(link: Link) -> Network | None:
    """Return the network the file's addresses of a substrate lie in, checked."""
    given = [m for m in link.members if m.address is not None]
    if not given:
        return None
    network = network_of(given[0].address or 0, _prefix(link))
    first: dict[int, NodeInterface] = {}
    for member in given:
        value = member.address or 0
        if not network.has_host(value):
            inside = network.base <= value < network.end
            wrong = "is no host's address in" if inside else "is not in"
            follows = f"which follows from {given[0].node} ({given[0].where})"
            raise TopologyError(
                f"address {dotted(value)} of {member.node} {wrong} network {network} of substrate {link.name}, {follows}", member.where
            )
        other = first.setdefault(value, member)
        if other is not member:
            raise TopologyError(
                f"address {dotted(value)} of {member.node} is also that of {other.node} ({other.where}) on substrate {link.name}",
                member.where,
            )
    if not 1 << 24 <= network.base < 224 << 24 or network.base >> 24 == 127:
        raise TopologyError(f"address {dotted(given[0].address or 0)} of {given[0].node} is not one a host may have", given[0].where)
    if network.room < len(link.members):
        raise TopologyError(
            f"network {network} of substrate {link.name} has room for {network.room} hosts, not for its {len(link.members)} members",
            link.where,
        )
    return network


def _first_given(link: Link) -> NodeInterface:
    return next(m for m in link.members if m.address is not None)


def _prefix(link: Link) -> int:
    """Return the prefix length the file demands of a substrate, or else the one that its number of members needs."""
    said = [m for m in link.members if m.prefix is not None]
    for member in said:
        if member.prefix != said[0].prefix:
            there = f"that of {said[0].node} ({said[0].where}) is /{said[0].prefix}"
            raise TopologyError(f"the netmask of {member.node} on substrate {link.name} is /{member.prefix}, {there}", member.where)
    if said and said[0].prefix is not None:
        return said[0].prefix
    if any(m.address is not None for m in link.members) or len(link.members) <= _MOST_IN_DEFAULT:
        return _DEFAULT_PREFIX
    return prefix_for(len(link.members))


def prefix_for(hosts: int) -> int:
    """Return the longest prefix, at most /24, with room for so many hosts and one address more."""
    return min(_DEFAULT_PREFIX, 32 - (hosts + 2).bit_length())


def _agrees(link: Link, network: Network) -> bool:
    return all(m.prefix in (None, network.prefix) for m in link.members)


def _benito_choice(taken: Taken, count: int) -> Callable[[int, Link, int], Network]:
    """Substrate N gets 10.0.N.0/24, so that it keeps it when others come; who finds that taken goes behind the last."""
    private, behind = network_of(10 << 24, 8), count

    def choose(number: int, link: Link, prefix: int) -> Network:
        nonlocal behind
        natural = Network(private.base + (number << 8), prefix)
        if network_of(natural.base, prefix) == natural and natural.end <= private.end and not taken.overlapping(natural):
            return natural
        network = _first_free(taken, private.base + (behind << 8), prefix, private)
        if network is not None:
            behind = (network.end - private.base) >> 8
            return network
        network = _first_free(taken, private.base, prefix, private)
        if network is None:
            raise _full(link, prefix)
        return network

    return choose


def _emulab_choice(taken: Taken) -> Callable[[int, Link, int], Network]:
    """10.1.1.0, 10.1.2.0 to 10.1.254.0, 10.2.1.0 and so on to 10.253.254.0, in order of creation, skipping what overlaps."""

    def candidates(prefix: int) -> Iterator[Network]:
        for block in range(1, 254):
            base = 10 << 24 | block << 16
            size = 1 << (32 - prefix)
            first = base + 256 if size <= 256 else -(-(base + 256) // size) * size
            for begin in range(first, base + (255 << 8), max(size, 256)):
                yield Network(begin, prefix)

    streams: dict[int, Iterator[Network]] = {}

    def choose(number: int, link: Link, prefix: int) -> Network:
        for network in streams.setdefault(prefix, candidates(prefix)):
            if network.end <= 11 << 24 and not taken.overlapping(network):
                return network
        raise _full(link, prefix)

    return choose


def _first_free(taken: Taken, start: int, prefix: int, within: Network) -> Network | None:
    size = 1 << (32 - prefix)
    step = max(size, 256)
    at = -(-start // step) * step
    while at + size <= within.end:
        network = Network(at, prefix)
        clash = taken.overlapping(network)
        if clash is None:
            return network
        at = -(-max(clash[0].end, at + step) // step) * step
    return None


def _full(link: Link, prefix: int) -> TopologyError:
    return TopologyError(f"no /{prefix} network is left in 10.0.0.0/8 for substrate {link.name}: give its interfaces addresses", link.where)


def _hosts(link: Link, network: Network, first: int, previous: PreviousAddresses) -> dict[tuple[str, str], int]:
    """Number the members of one substrate: the file's addresses, then last time's, then the lowest free ones."""
    found: dict[tuple[str, str], int] = {(m.node, m.name): m.address for m in link.members if m.address is not None}
    used = set(found.values())
    open_members = [m for m in link.members if m.address is None]
    for member in open_members:
        kept = previous.interfaces.get((member.node, member.name, link.name))
        if kept is not None and kept not in used and network.has_host(kept):
            found[member.node, member.name] = kept
            used.add(kept)
    free = _free(network, first, used)
    for member in open_members:
        if (member.node, member.name) not in found:
            number = next(free, None)
            if number is None:
                raise TopologyError(
                    f"network {network} of substrate {link.name} has no address left for {member.node}: it has {len(link.members)} "
                    "interfaces, which need a shorter netmask",
                    link.where,
                )
            found[member.node, member.name] = number
    return found


def _free(network: Network, first: int, used: set[int]) -> Iterator[int]:
    """Yield free host addresses from the ``first`` on, and what lies before it only when nothing else is left."""
    yield from (a for a in range(network.base + first, network.end - 1) if a not in used)
    yield from (a for a in range(network.base + 1, network.base + first) if a not in used)


def private_blocks(addresses: Iterable[int]) -> list[str]:
    """Return the private networks of RFC 1918 that hold one of the addresses."""
    blocks = [parse_network(b) for b in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]
    values = list(addresses)
    return [str(b) for b in blocks if any(b.base <= a < b.end for a in values)]

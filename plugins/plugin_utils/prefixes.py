# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The prefixes that the networks of an experiment fill, and the smallest route tables that can be made of them.

Draves and others' Optimal Routing Table Constructor, for all prefixes of a size at once. Upwards: a larger prefix may go where both its
halves may, or where either may if they agree on nothing. Downwards: it needs a route unless it may go where the larger one around it goes.

A block is a prefix that networks fill without a gap; larger ones do not exist for us, since no route may lead to an address outside. The
units of a block are prefixes of the size of its smallest network. A set of networks is a bit set, an integer, with a bit for each of
their units. The bits of left halves come before those of right halves in the same order, so that a shift brings halves together.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from ipaddress import IPv4Network
from operator import itemgetter, or_
from typing import TypeVar

from .addressing import dotted

Hop = TypeVar("Hop")
Table = list[tuple[Hop, tuple[str, ...]]]  # hops, and the prefixes each is the way to, both in the order of destinations
Place = tuple[int, int]  # address, prefix length
_Known = tuple[int, str]  # what to sort a prefix by, and its text

# A block may have this many units for each network: a large network beside tiny ones would make too many.
_UNITS = 4
_FEW = 32


class Prefixes:
    """All prefixes that routes of one experiment may have.

    ``bits`` has for each network its set. Bit sets of several networks are their unions.
    """

    def __init__(self, networks: Sequence[IPv4Network]) -> None:
        """Take the networks in the order of (address, prefix length); what overlaps is a block of its own, whatever is around it."""
        places = [(int(network.network_address), network.prefixlen) for network in networks]
        nested = _nested(places)
        blocks = _blocks([place for number, place in enumerate(places) if number not in nested])
        blocks[0] += [places[number] for number in sorted(nested)]
        levels = _levels(blocks)
        # The prefixes of each height, which is 0 for units, and how many there are.
        self._known = [[_known(place) for place in level] for level in levels]
        self._widths = [len(level) for level in levels]
        self.bits = [0] * len(networks)
        self._of_first: dict[int, _Known] = {}  # first unit of a network -> the network
        apart = [number for number in range(len(places)) if number not in nested]
        starts = [places[number][0] for number in apart]
        alone = len(levels[0]) - len(nested)
        owners = [apart[bisect_right(starts, address) - 1] for address, dummy in levels[0][:alone]] + sorted(nested)
        for unit, number in enumerate(owners):
            if not self.bits[number]:
                self._of_first[unit] = _known(places[number])
            self.bits[number] |= 1 << unit
        self._firsts = union(1 << unit for unit in self._of_first)

    def count(self, networks: int) -> int:
        """Return how many networks are in a set."""
        return (networks & self._firsts).bit_count()

    def explicit(self, ways: Iterable[tuple[Hop, int]]) -> Table[Hop]:
        """Return a route for each network: the first of the ways that leads there."""
        routes: list[tuple[Hop, list[_Known]]] = []
        left = self._firsts
        for hop, networks in ways:
            routes.append((hop, [self._of_first[unit] for unit in members(networks & left)]))
            left &= ~networks
        return _sorted(routes)

    def smallest(self, ways: Sequence[tuple[Hop, int]], own: int) -> Table[Hop]:
        """Return the fewest routes by which every network goes one of the ways that lead there, the first of several.

        The longest prefix counts. No prefix covers an address of other networks, but for those of ``own``, to which a table needs no
        routes, and has none.
        """
        levels = self._levels_of([networks for dummy, networks in ways], own)
        routes: list[tuple[Hop, list[_Known]]] = [(hop, []) for hop, dummy in ways]
        taken = [0] * len(ways)
        width = 0
        for known, (towards, covered, own_there) in zip(reversed(self._known[: len(levels)]), reversed(levels), strict=True):
            # Both halves of a prefix go where it goes, if they may.
            taken = [(around | around << width) & may for around, may in zip(taken, towards, strict=True)]
            needed = covered ^ (union(taken) | own_there)
            for number, may in enumerate(towards if needed else ()):
                chosen = needed & may
                if chosen:
                    needed ^= chosen
                    taken[number] |= chosen
                    routes[number][1].extend([known[position] for position in members(chosen)])
            width = len(known)
        return _sorted(routes)

    def _levels_of(self, towards: list[int], own: int) -> list[tuple[list[int], int, int]]:
        """Return for each height where each hop may be taken to, what routes may cover, and what of that is ``own`` and needs none.

        Above the last one there is no prefix that a route may cover.
        """
        covered = union(towards) | own
        levels = [(towards, covered, own)]
        for width in self._widths[1:]:
            # Two halves stand ``width`` apart; what is beyond them has no larger prefix around it.
            left = (1 << width) - 1
            covered &= covered >> width & left
            if not covered:
                break
            own &= own >> width & left
            right = [may >> width for may in towards]
            agreed = [one & other & left for one, other in zip(towards, right, strict=True)]
            differing = covered ^ union(agreed)
            towards = [both | (one | other) & differing for both, one, other in zip(agreed, towards, right, strict=True)]
            levels.append((towards, covered, own))
        return levels


def union(sets: Iterable[int]) -> int:
    """Return the union of bit sets."""
    return reduce(or_, sets, 0)


def members(bits: int) -> Iterator[int]:
    """Yield the numbers of the bits that are set, the lowest first."""
    # Each bit by itself takes a walk through all of them, a text takes as long as dozens of walks.
    if bits.bit_count() < _FEW:
        while bits:
            lowest = bits & -bits
            yield lowest.bit_length() - 1
            bits ^= lowest
    else:
        digits = bin(bits)
        at = digits.rfind("1")
        while at >= 0:
            yield len(digits) - 1 - at
            at = digits.rfind("1", 0, at)


def _known(place: Place) -> _Known:
    address, length = place
    return address << 6 | length, f"{dotted(address)}/{length}"


def _sorted(routes: Iterable[tuple[Hop, list[_Known]]]) -> Table[Hop]:
    used = [(hop, sorted(prefixes, key=itemgetter(0))) for hop, prefixes in routes if prefixes]
    used.sort(key=lambda way: way[1][0][0])
    return [(hop, tuple([text for dummy, text in prefixes])) for hop, prefixes in used]


def _nested(places: Sequence[Place]) -> set[int]:
    """Return the numbers of the networks that share addresses with another."""
    found: set[int] = set()
    outer, end = -1, 0
    for number, (address, length) in enumerate(places):
        if address < end:
            found |= {outer, number}
        else:
            outer, end = number, address + (1 << (32 - length))
    return found


def _blocks(places: Iterable[Place]) -> list[list[Place]]:
    """Return the blocks of networks that do not overlap, by their height: one of height 3 has 8 units."""
    filled: list[dict[int, tuple[int, int]]] = [{} for dummy in range(33)]  # by length: address -> length of its units, networks in it
    for address, length in places:
        filled[length][address] = (length, 1)
    for length in range(32, 0, -1):
        bit = 1 << (32 - length)
        for address, (finest, count) in filled[length].items():
            if not address & bit and address | bit in filled[length]:
                beside = filled[length][address | bit]
                larger = (max(finest, beside[0]), count + beside[1])
                if 1 << (larger[0] - length + 1) <= _UNITS * larger[1]:
                    filled[length - 1][address] = larger
    blocks: list[list[Place]] = [[] for dummy in range(33)]
    for length, found in enumerate(filled):
        for address, (finest, dummy) in found.items():
            if not length or address & ~(1 << (32 - length)) not in filled[length - 1]:
                blocks[finest - length].append((address, length))
    return blocks


def _levels(blocks: list[list[Place]]) -> list[list[Place]]:
    """Return all prefixes inside blocks by height, in the order of their bits: left halves, right halves, whole blocks."""
    levels: list[list[Place]] = []
    level: list[Place] = []
    for whole in reversed(blocks):
        left = [(address, length + 1) for address, length in level]
        right = [(address | 1 << (31 - length), length + 1) for address, length in level]
        level = [*left, *right, *whole]
        levels.append(level)
    return [level for level in reversed(levels) if level] or [[]]

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which neighbours are on a shortest way to which subnets, counted in hops.

Every router tells its neighbours, round by round, which subnets it has newly heard of, starting with its own: what arrives in round N
is N hops away. Of that only the remainder by three is kept, since neighbours are at most one hop apart, and so there are three cases.
Routers are names, subnets are numbers, and sets of subnets bit sets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import or_

from .prefixes import union


class Distances:
    """What each router has heard."""

    def __init__(self, together: Iterable[Iterable[str]], attached: Mapping[str, int]) -> None:
        """Take the routers that are neighbours, subnet by subnet, and which subnets each is itself on."""
        self._heard = _spread(together, attached)

    def reached(self, router: str) -> int:
        """Return the subnets that a router reaches or is on."""
        return union(self._heard[router])

    def nearer(self, router: str, neighbour: str) -> int:
        """Return the subnets to which the neighbour is one hop nearer than the router is."""
        own, other = self._heard[router], self._heard[neighbour]
        return own[0] & other[2] | own[1] & other[0] | own[2] & other[1]

    def nearest(self, routers: Sequence[str]) -> list[int]:
        """Return for each router the subnets to which none is nearer; all are neighbours of each other."""
        heard = [self._heard[router] for router in routers]
        some = [union(rounds[turn] for rounds in heard) for turn in range(3)]
        least = [some[turn] & ~some[turn - 1] for turn in range(3)]
        return [rounds[0] & least[0] | rounds[1] & least[1] | rounds[2] & least[2] for rounds in heard]


def _spread(together: Iterable[Iterable[str]], attached: Mapping[str, int]) -> dict[str, list[int]]:
    """Return for each router the subnets that it hears of in the rounds 0, 3, 6 ..., in 1, 4, 7 ... and in 2, 5, 8 ..."""
    numbers = {router: number for number, router in enumerate(attached)}
    speakers: list[set[int]] = [set() for dummy in attached]  # of each router: routers, and beyond their numbers crowds of routers
    crowds: list[list[int]] = []
    for members in together:
        crowd = [numbers[router] for router in members]
        for number in crowd:
            # Two hear each other; in a crowd each hears all, which is itself too, but that is no news.
            speakers[number] |= {*crowd} - {number} if len(crowd) == 2 else {len(numbers) + len(crowds)}
        if len(crowd) > 2:
            crowds.append(crowd)
    everything = union(attached.values())
    heard = [[known, 0, 0] for known in attached.values()]
    missing = {number: everything & ~known for number, known in enumerate(attached.values()) if speakers[number]}
    news = list(attached.values())
    turn = 0
    while missing:
        turn = (turn + 1) % 3
        news += [union(news[number] for number in crowd) for crowd in crowds]
        latest = [0] * len(heard)
        still: dict[int, int] = {}
        for number, unheard in missing.items():
            told = reduce(or_, map(news.__getitem__, speakers[number])) & unheard
            heard[number][turn] |= told
            latest[number] = told
            # Who hears nothing now never will: what is further away lies behind something nearer.
            if told and told != unheard:
                still[number] = unheard ^ told
        missing = still
        news = latest
    return dict(zip(attached, heard, strict=True))

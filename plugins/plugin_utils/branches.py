# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of a network to which only one way leads.

A router that has others on one of its subnets only is a *tip*, and that subnet is its root: what lies behind it is reached through it
and no other way. Without its tips a network may have new ones. A chain or a tree is nothing but tips; what is left in the end, the *core*,
is where there is something to choose. Subnets are numbers, and sets of them bit sets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence


class Branches:
    """The tips of a network.

    ``root`` has the root of each tip, each behind those that lie behind it; ``behind`` the subnets that it leads to. For each subnet
    ``hanging`` has all that lies behind the ``tips`` on it; ``left`` are its routers in the core, and ``up`` is the tip through which
    it reaches the rest, where it lies behind one itself.
    """

    def __init__(self, own: Mapping[str, Sequence[int]], bits: Sequence[int]) -> None:
        """``own`` has the subnets of each router, two or more; ``bits`` for each subnet the bit set that stands for it."""
        self.bits = bits
        self.root: dict[str, int] = {}
        self.behind: dict[str, int] = {}
        self.hanging = [0] * len(bits)
        self.tips: list[list[str]] = [[] for dummy in bits]
        self.up: list[str | None] = [None] * len(bits)
        self.left: list[set[str]] = [set() for dummy in bits]
        for router, numbers in own.items():
            for number in numbers:
                self.left[number].add(router)
        ways = {router: sum(len(self.left[number]) > 1 for number in numbers) for router, numbers in own.items()}
        ready = deque(router for router, found in ways.items() if found == 1)
        while ready:
            router = ready.popleft()
            if ways[router] != 1:
                continue  # its last neighbour became a tip before it
            root = next(number for number in own[router] if len(self.left[number]) > 1)
            self._cut(router, root, own[router])
            if len(self.left[root]) == 1:
                (last,) = self.left[root]
                ways[last] -= 1
                if ways[last] == 1:
                    ready.append(last)
        for tips in self.tips:
            # In which order they were found depends on the order in the file, which is to mean nothing.
            tips.sort()

    def _cut(self, router: str, root: int, own: Sequence[int]) -> None:
        behind = 0
        for number in own:
            if number != root:
                behind |= self.bits[number] | self.hanging[number]
                self.up[number] = router
                self.left[number].discard(router)
        self.root[router], self.behind[router] = root, behind
        self.hanging[root] |= behind
        self.tips[root].append(router)
        self.left[root].discard(router)

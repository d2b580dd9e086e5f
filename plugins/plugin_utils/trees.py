# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A spanning tree of a network, for packets that need not take the shortest way.

In a graph without any order, shortest ways take a route for nearly every subnet in nearly every table. Along a tree, all but the few
subnets that lie behind a router are in one direction. Routers are names, subnets are numbers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence


def spanning_tree(own: Mapping[str, Sequence[int]], names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return for each router the subnets between which it forwards, so that one way leads from any to any, in each part of the network.

    ``own`` has the subnets of each router, ``names`` what subnets are called. A tree grows in breadth, so that ways are short, from the
    router with the most subnets, the first by name; its neighbours join it in the order of the names of subnets, then of their own.
    """
    on: dict[int, list[str]] = {}
    for router in sorted(own):
        for number in own[router]:
            on.setdefault(number, []).append(router)
    tree: dict[str, list[int]] = {}
    for root in sorted(own, key=lambda router: (-len(own[router]), router)):
        if root not in tree:
            tree[root] = []
            _grow(tree, root, own, on, names)
    return {router: tuple(tree[router]) for router in own}


def _grow(tree: dict[str, list[int]], root: str, own: Mapping[str, Sequence[int]], on: dict[int, list[str]], names: Sequence[str]) -> None:
    """Take into the tree whom the root reaches. ``on`` has the routers on each subnet to which nobody has come yet."""
    ready = deque([root])
    while ready:
        router = ready.popleft()
        for number in sorted(own[router], key=names.__getitem__):
            # The first to come to a subnet leads all others there; who was in the tree before stays where it is.
            for other in on.pop(number, ()):
                if other == router:
                    tree[router].append(number)
                elif other not in tree:
                    tree[other] = [number]
                    ready.append(other)

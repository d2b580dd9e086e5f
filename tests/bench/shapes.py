# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Topologies of a shape and size, as TopDL: `python -m tests.bench.shapes SHAPE NODES` prints one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from random import Random

Links = list[list[int]]


def chain(count: int) -> Links:
    """One node after another."""
    return [[number, number + 1] for number in range(count - 1)]


def lan(count: int) -> Links:
    """All in one LAN."""
    return [list(range(count))]


def star(count: int) -> Links:
    """A router in the middle, and a link from it to each other node."""
    return [[0, number] for number in range(1, count)]


def tree(count: int) -> Links:
    """Each node above two others."""
    return [[(number - 1) // 2, number] for number in range(1, count)]


def grid(count: int) -> Links:
    """As square as can be, each node beside up to four."""
    width = max(int(count**0.5), 1)
    right = [[number, number + 1] for number in range(count - 1) if (number + 1) % width]
    return right + [[number, number + width] for number in range(count - width)]


def random(count: int) -> Links:
    """A random tree, and half as many random links: each node has three on average."""
    dice = Random(count)
    links = {(dice.randrange(number), number) for number in range(1, count)}
    while count > 4 and len(links) < count * 3 // 2:
        one, other = sorted(dice.sample(range(count), 2))
        links.add((one, other))
    return [list(ends) for ends in sorted(links)]


def fat_tree(count: int) -> Links:
    """The fat tree of switches with k ports whose size is nearest: k^2/4 cores, k pods of k/2 upper and k/2 lower ones, k^3/4 hosts."""
    k = min(range(2, 64, 2), key=lambda ports: abs(ports**3 // 4 + ports**2 * 5 // 4 - count))
    half = k // 2
    upper, lower, hosts = half * half, half * half + k * half, half * half + 2 * k * half
    links: Links = []
    for pod in range(k):
        for one in range(half):
            links += [[one * half + core, upper + pod * half + one] for core in range(half)]
            links += [[upper + pod * half + other, lower + pod * half + one] for other in range(half)]
            links += [[lower + pod * half + one, hosts + (pod * half + one) * half + host] for host in range(half)]
    return links


SHAPES: dict[str, Callable[[int], Links]] = {
    "chain": chain,
    "lan": lan,
    "star": star,
    "tree": tree,
    "grid": grid,
    "random": random,
    "fat-tree": fat_tree,
}


def topdl(links: Links, routing: str = "") -> str:
    """Return the links as TopDL, routed in this way if one is given."""
    interfaces: dict[int, list[int]] = {node: [] for link in links for node in link}
    for number, link in enumerate(links):
        for node in link:
            interfaces[node].append(number)
    substrates = (f"<substrates><name>l-{number}</name></substrates>\n" for number in range(len(links)))
    computers = (
        f"<elements><computer><name>n-{node}</name>"
        f"{''.join(f'<interface><substrate>l-{number}</substrate></interface>' for number in own)}</computer></elements>\n"
        for node, own in sorted(interfaces.items())
    )
    said = f"<attribute><attribute>benito:routing</attribute><value>{routing}</value></attribute>\n" if routing else ""
    return f"<experiment>\n<version>1.0</version>\n{''.join(substrates)}{''.join(computers)}{said}</experiment>\n"


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in SHAPES:
        sys.exit(f"usage: shapes.py {'|'.join(SHAPES)} NODES")
    print(topdl(SHAPES[sys.argv[1]](int(sys.argv[2]))), end="")

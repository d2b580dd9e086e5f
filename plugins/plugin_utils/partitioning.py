# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Graph partitioning: vertices into parts that stay within a limit, with little traffic between the parts.

METIS finds a cut; it balances only roughly, so its answer is then repaired to the limit and improved. Vertices and links are
numbers from 0. A vertex has a size in one or more dimensions (nodes, MB, processors), a part has a limit in the same dimensions.

The traffic a link of m members carries between parts is counted as if each member talked to every other one equally, m units
in all: a member that leaves the company of x others for that of y costs (x - y) / (m - 1). For a link of two this is the plain cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from .diagnostics import TopologyError

try:
    import pymetis
except ImportError:
    pymetis = None

Size = tuple[int, ...]
Links = Sequence[Sequence[int]]

UNIT = 720720  # one unit of traffic, as an integer, so that sums do not depend on their order; divisible by all of 1 to 16
WIDE = 16  # a link over more parts than this says little about where a member belongs
HUB = 64  # a vertex with more links stays where it is while another one can go: judging its moves takes long and saves nothing
CHOICES = 8  # parts a vertex may look at
EFFORT = 400_000  # links the improvement may look at
ROUNDS = 6


def pack(sizes: Sequence[Size], links: Links, limit: Size) -> list[int]:
    """Partition into as few parts as the limit allows; every vertex must fit into an empty part. Return the part of each vertex.

    With vertices of equal size the number of parts is the smallest possible; otherwise it is never more than first-fit-decreasing's.
    """
    fewest = max(-(-total // most) for total, most in zip(_total(sizes), limit, strict=True))
    enough = max(_first_fit(sizes, limit)) + 1
    if len(set(sizes)) > 1:
        fewest = max(fewest, enough * 19 // 20)  # a tighter fit than this takes long to look for
    tries = (partition(sizes, links, [limit] * parts) for parts in sorted({max(fewest, 1), enough}))
    return next(found for found in tries if found)  # the last one falls back to first fit


def fill(sizes: Sequence[Size], links: Links, limits: Sequence[Size]) -> list[int] | None:
    """Partition into as few of these unlike parts as will do: the first ones, or else the largest; None when no way was found."""
    total = _total(sizes)
    most = _total(limits)
    largest = sorted(range(len(limits)), key=lambda part: (-min(has / all_ for has, all_ in zip(limits[part], most, strict=True)), part))
    for parts in range(1, min(len(limits), len(sizes)) + 1):
        for chosen in dict.fromkeys((tuple(range(parts)), tuple(sorted(largest[:parts])))):
            room = [limits[part] for part in chosen]
            if all(need <= has for need, has in zip(total, _total(room), strict=True)):
                found = partition(sizes, links, room)
                if found:
                    return [chosen[part] for part in found]
    return None


def partition(sizes: Sequence[Size], links: Links, limits: Sequence[Size]) -> list[int] | None:
    """Partition into a part for each limit, none empty (or one vertex a part when there are fewer), or return None when none was found.

    Without links the vertices are dealt out evenly, in order.
    """
    limits = limits[: len(sizes)]
    best: tuple[int, list[int]] | None = None
    starts = list(_starts(sizes, links, limits))
    for start in starts:
        found = _improved(sizes, links, start, limits, EFFORT // len(starts))
        if found and (best is None or found < best):
            best = found
    if best is None:
        unlike = limits if len(set(limits)) > 1 else None
        start = _first_fit(sizes, limits[0], unlike)
        if start and max(start) < len(limits):
            best = _improved(sizes, links, start, limits, EFFORT)
    return best[1] if best else None


def _improved(sizes: Sequence[Size], links: Links, start: list[int], limits: Sequence[Size], effort: int) -> tuple[int, list[int]] | None:
    state = _Parts(sizes, links, start, limits)
    if not (state.fill() and state.repair()):
        return None
    state.improve(effort)
    return state.traffic(), state.part_of


def _starts(sizes: Sequence[Size], links: Links, limits: Sequence[Size]) -> Iterator[list[int]]:
    """Yield first answers: METIS's, each of its two methods, or an even split where there is nothing to cut."""
    parts, limit = len(limits), _total(limits)
    even = [vertex * parts // len(sizes) for vertex in range(len(sizes))]
    # METIS needs room to work in: asked for parts of about one vertex it complains on the standard output.
    if parts < 2 or not links or len(sizes) < 2 * parts:
        yield even
        return
    if pymetis is None:
        raise TopologyError("placing nodes on several pnodes needs the Python library pymetis on the controller: pip install pymetis")
    begins, ends, traffic = _adjacency(len(sizes), links)
    weights = [max(-(-1000 * parts * need // most) for need, most in zip(size, limit, strict=True)) for size in sizes]
    weights += [0] * (len(begins) - 1 - len(sizes))
    slack = min(1000 * most // total - 1000 for total, most in zip(_total(sizes), limit, strict=True) if total)
    # What is scarcest decides how large a share an unlike part can take.
    scarce = max(range(len(limit)), key=lambda d: _total(sizes)[d] / limit[d])
    shares = [part[scarce] / limit[scarce] for part in limits] if len(set(limits)) > 1 else None
    for recursive, tolerance in ((True, 1), (False, 30), (False, min(max(slack, 30), 300))):
        if len(sizes) > 2000 and (recursive or tolerance != 30):
            continue  # one good answer soon
        found = pymetis.part_graph(
            parts,
            pymetis.CSRAdjacency(begins, ends),
            vweights=weights,
            eweights=traffic,
            tpwgts=shares,
            recursive=recursive,
            options=pymetis.Options(seed=1, ufactor=tolerance),
        )
        yield list(found[1][: len(sizes)])


def _total(sizes: Sequence[Size]) -> Size:
    return tuple(map(sum, zip(*sizes, strict=True)))


def _adjacency(vertices: int, links: Links) -> tuple[list[int], list[int], list[int]]:
    """Return METIS's compressed rows of the graph: a link of two is an edge, a larger one a star around a weightless vertex.

    A star has as many edges as the LAN has members, where a clique would have their square, and its cut is within a factor of two.
    """
    rows: list[dict[int, int]] = [{} for dummy in range(vertices)]
    for link in links:
        pairs = [(link[0], link[1])]
        if len(link) > 2:
            pairs = [(len(rows), member) for member in link]
            rows.append({})
        for one, other in pairs:
            rows[one][other] = rows[other][one] = rows[one].get(other, 0) + 1
    begins = [0]
    for row in rows:
        begins.append(begins[-1] + len(row))
    return begins, [end for row in rows for end in row], [weight for row in rows for weight in row.values()]


def _first_fit(sizes: Sequence[Size], limit: Size, limits: Sequence[Size] | None = None) -> list[int]:
    """Put each vertex, the largest first, into the first part with room for it; with the best of three ideas of large.

    The parts are alike and as many as it takes, or these ``limits``: then the answer is empty when they do not suffice.
    """
    shares = [[need / most for need, most in zip(size, limit, strict=True)] for size in sizes]
    measures = (max, sum, len)  # the scarcest share, all shares, or all alike, which leaves the vertices as they come
    orders = (sorted(range(len(sizes)), key=lambda vertex: (-measure(shares[vertex]), vertex)) for measure in measures)
    return min((_first_fit_in(order, sizes, limit, limits) for order in orders), key=lambda found: max(found, default=len(sizes)))


def _first_fit_in(order: Sequence[int], sizes: Sequence[Size], limit: Size, limits: Sequence[Size] | None) -> list[int]:
    part_of = [0] * len(sizes)
    left: list[Size] = list(limits or ())
    first: dict[Size, int] = {}  # where to look first: a size that did not fit into a part never fits there again
    for vertex in order:
        size = sizes[vertex]
        part = first.get(size, 0)
        while part < len(left) and any(need > room for need, room in zip(size, left[part], strict=True)):
            part += 1
        if part == len(left):
            if limits:
                return []
            left.append(limit)
        left[part] = tuple(room - need for need, room in zip(size, left[part], strict=True))
        part_of[vertex] = first[size] = part
    return part_of


class _Parts:
    """Which vertex is in which part, with what is needed to judge a move at once."""

    def __init__(self, sizes: Sequence[Size], links: Links, part_of: Sequence[int], limits: Sequence[Size]) -> None:
        self.sizes = sizes
        self.limits = limits
        self.part_of = list(part_of)
        self.alike = len(set(sizes)) == 1
        self.links_of: list[list[int]] = [[] for dummy in sizes]
        for number, link in enumerate(links):
            for vertex in link:
                self.links_of[vertex].append(number)
        self.unit = [UNIT // (len(link) - 1) for link in links]
        self.count = [Counter(part_of[vertex] for vertex in link) for link in links]  # members of a link in each part
        self.members: list[set[int]] = [set() for dummy in limits]
        self.load = [[0] * len(limit) for limit in limits]
        for vertex, part in enumerate(part_of):
            self._enter(vertex, part)

    def traffic(self) -> int:
        """Traffic between parts, in units of ``UNIT`` / 2."""
        return sum(
            unit * (count.total() ** 2 - sum(n * n for n in count.values())) for unit, count in zip(self.unit, self.count, strict=True)
        )

    def fill(self) -> bool:
        """Give every empty part a vertex, from the parts with most of them."""
        for part, members in enumerate(self.members):
            if not members:
                donor = max(range(len(self.members)), key=lambda p: (len(self.members[p]), -p))
                if len(self.members[donor]) < 2:
                    return False
                self.move(min(self.members[donor], key=lambda v: (self.loss(v, part), -v)), part)
        return True

    def repair(self) -> bool:
        """Move vertices out of parts above the limit, at the least loss found; False when that is not enough."""
        return all(self._relieve(part) for part in range(len(self.members)))

    def improve(self, effort: int) -> None:
        """Move a vertex, or swap two, as long as that saves traffic, and ``effort`` lasts."""
        for dummy in range(ROUNDS):
            before = list(self.part_of)
            for vertex in range(len(self.sizes)):
                effort -= self._better(vertex)
                if effort <= 0:
                    return
            if self.part_of == before:
                return

    def loss(self, vertex: int, part: int) -> int:
        """Traffic between parts that a move would add; below 0 it saves."""
        here = self.part_of[vertex]
        total = 0
        for link in self.links_of[vertex]:
            count = self.count[link]
            total += self.unit[link] * (count[here] - 1 - count[part])
        return total

    def move(self, vertex: int, part: int) -> None:
        here = self.part_of[vertex]
        self.members[here].remove(vertex)
        for d, size in enumerate(self.sizes[vertex]):
            self.load[here][d] -= size
        for link in self.links_of[vertex]:
            count = self.count[link]
            count[part] += 1
            count[here] -= 1
            if not count[here]:
                del count[here]
        self.part_of[vertex] = part
        self._enter(vertex, part)

    def _enter(self, vertex: int, part: int) -> None:
        self.members[part].add(vertex)
        for d, size in enumerate(self.sizes[vertex]):
            self.load[part][d] += size

    def _fits(self, vertex: int, part: int, leaving: int | None = None) -> bool:
        """Tell whether the part has room for the vertex, once another has left."""
        gone = self.sizes[leaving] if leaving is not None else (0,) * len(self.limits[part])
        return all(
            load + size - less <= most
            for load, size, less, most in zip(self.load[part], self.sizes[vertex], gone, self.limits[part], strict=True)
        )

    def _movers(self, part: int) -> list[int]:
        """Return the vertices of a part that may leave it: all but the hubs, unless there are only hubs."""
        members = self.members[part]
        return [vertex for vertex in members if len(self.links_of[vertex]) <= HUB] or list(members)

    def _near(self, vertex: int) -> Counter[int]:
        """Return the other parts that share one of the vertex's links, none of the widest, and how strongly they pull."""
        pull: Counter[int] = Counter()
        for link in self.links_of[vertex]:
            if 1 < len(self.count[link]) <= WIDE:
                for part, members in self.count[link].items():
                    pull[part] += members * self.unit[link]
        del pull[self.part_of[vertex]]
        return pull

    def _nearest(self, vertex: int) -> list[int]:
        """Return the other parts that share the vertex's links, the one that pulls most first."""
        pull = self._near(vertex)
        return sorted(pull, key=lambda part: (-pull[part], part))

    def _relieve(self, part: int) -> bool:
        while any(load > most for load, most in zip(self.load[part], self.limits[part], strict=True)):
            direct = self._cheapest_move(part)
            if direct is None:
                return False
            self.move(*direct)
        return True

    def _cheapest_move(self, part: int) -> tuple[int, int] | None:
        """Return the vertex and target of the move out of an overfull part that loses least."""
        over = [d for d, most in enumerate(self.limits[part]) if self.load[part][d] > most]
        emptiest: dict[Size, int | None] = {}
        found: list[tuple[int, int, int]] = []
        for vertex in self._movers(part):
            size = self.sizes[vertex]
            if not any(size[d] for d in over):
                continue
            target = next((near for near in self._nearest(vertex) if self._fits(vertex, near)), None)
            if target is None:
                if size not in emptiest:
                    emptiest[size] = self._emptiest(vertex)
                target = emptiest[size]
            if target is not None:
                found.append((self.loss(vertex, target), vertex, target))
        return min(found)[1:] if found else None

    def _emptiest(self, vertex: int) -> int | None:
        """Return the emptiest part with room for the vertex."""
        order = ([*self.load[part], part] for part in range(len(self.members)) if self.alike or self._fits(vertex, part))
        part = min(order, default=[-1])[-1]
        return part if part >= 0 and self._fits(vertex, part) else None

    def _better(self, vertex: int) -> int:
        """Make the first move or swap found that saves traffic. Return how many links were looked at."""
        looked = len(self.links_of[vertex])
        here = self.part_of[vertex]
        for part in self._nearest(vertex)[:CHOICES]:
            saved = -self.loss(vertex, part)
            if saved > 0 and len(self.members[here]) > 1 and self._fits(vertex, part):
                self.move(vertex, part)
                break
            others = self._movers(part)
            looked += len(self.links_of[vertex]) + sum(len(self.links_of[other]) for other in others)
            other = min(others, key=lambda v: (self.loss(v, here), v))
            shared = sum(self.unit[link] for link in self.links_of[vertex] if link in self.links_of[other])
            if saved - self.loss(other, here) > 2 * shared and self._fits(vertex, part, other) and self._fits(other, here, vertex):
                self.move(vertex, part)
                self.move(other, here)
                break
        return looked

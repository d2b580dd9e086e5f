# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which node sits on which pnode.

Nodes with a partition sit together, and then nothing is packed. Otherwise physical nodes take a pnode each and the guests are packed,
pass by pass. A process that names a vnode as its host sits where that vnode does and takes no room of its own inside a guest.

pnodes are numbered from 0: partitions in ascending order and then physical nodes, or, without partitions, by their first node.
A node that was placed before keeps its pnode wherever the rules still allow it; a pnode that lost its last node then keeps its
number too, and is the first to be used again.

Where the hosts are known, each pnode number is one of them, with room of its own; physical nodes then take the last ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from .diagnostics import NOWHERE, Location, TopologyError, listing, one_line
from .partitioning import Size, fill, pack, partition

CARRIERS = ("qemu", "physical")
EVEN = 3  # percent by which parts of a given number may exceed their even share: METIS's own tolerance


@dataclass(frozen=True)
class Item:
    """A node to be placed.

    ``kind`` is qemu, process or physical; ``host`` the vnode that carries this process; a ``ghost`` takes its place without running;
    ``memory`` is in MB.
    """

    name: str
    kind: str
    partition: int | None = None
    pass_number: int | None = None
    host: str | None = None
    ghost: bool = False
    memory: int = 0
    cpus: int = 1
    where: Location = NOWHERE


class PlacementError(TopologyError):
    """The nodes do not fit on the hosts there are; with others they would."""


@dataclass(frozen=True)
class Room:
    """What a host has for the guests of an experiment: memory in MB, virtual processors, a number of nodes. None for no limit."""

    name: str
    memory: int | None = None
    cpus: int | None = None
    packing: int | None = None

    def limit(self, most: Size) -> Size:
        """Return the smaller of both in each dimension."""
        own = (self.packing, self.memory, self.cpus)
        return tuple(general if has is None else min(general, has) for general, has in zip(most, own, strict=True))

    def __str__(self) -> str:
        """Return `alpha (2000 MB, 8 processors)`."""
        known = ((self.memory, "MB"), (self.cpus, "processors"), (self.packing, "nodes"))
        words = [f"{has} {unit}" for has, unit in known if has is not None]
        return f"{self.name} ({', '.join(words)})" if words else self.name


@dataclass(frozen=True)
class Packing:
    """How guests are packed.

    ``packing`` is the most guests of one pnode, ``size`` a number of pnodes and stronger; a pass may have its own of either. Nothing said
    means one pnode, or where ``rooms`` are given as few as will do. ``nodes_only`` ignores the links. ``memory`` (MB) and ``cpus`` are
    what any pnode has, None for no limit; ``rooms`` is what the pnode of each number has: there are no others then.
    """

    packing: int | None = None
    size: int | None = None
    pass_pack: Mapping[int, int] = field(default_factory=dict)
    pass_size: Mapping[int, int] = field(default_factory=dict)
    nodes_only: bool = False
    pass_nodes_only: frozenset[int] = frozenset()
    memory: int | None = None
    cpus: int | None = None
    rooms: tuple[Room, ...] = ()


@dataclass(frozen=True)
class Placement:
    """``pnode_of`` each node, a number below ``pnodes``; ``cut`` names the substrates with nodes on several pnodes."""

    pnode_of: Mapping[str, int]
    pnodes: int
    cut: tuple[str, ...]


@dataclass
class _Part:
    """Nodes that share a pnode, and its number once it is known."""

    items: list[Item]
    number: int | None = None


def place(
    items: Sequence[Item], links: Mapping[str, Sequence[str]], packing: Packing, previous: Mapping[str, int] | None = None
) -> Placement:
    """Place every item.

    ``links`` maps a substrate to the names on it; names that are no items (other testbeds) are ignored. ``previous`` is an earlier
    ``pnode_of``. Raises TopologyError when the rules contradict each other or a limit cannot be met.
    """
    _check(items, packing)
    if packing.rooms and any(number >= len(packing.rooms) for number in (previous or {}).values()):
        previous = None  # the pool has shrunk
    standing = [item for item in items if item.host is None]
    carrier = {item.name: item.host or item.name for item in items}
    if any(item.partition is not None for item in standing):
        parts = _pinned(standing, previous or {})
    else:
        between = {name: [carrier[member] for member in members if member in carrier] for name, members in links.items()}
        parts = _packed(standing, between, packing, previous or {})
    _number(parts, packing.rooms)
    pnode_of = {item.name: part.number for part in parts for item in part.items if part.number is not None}
    ordered = {name: pnode_of[carried_by] for name, carried_by in carrier.items()}
    _check_room(parts, items, packing)
    cut = tuple(name for name, members in links.items() if len({ordered[m] for m in members if m in ordered}) > 1)
    return Placement(ordered, max(ordered.values(), default=-1) + 1, cut)


def _check(items: Sequence[Item], packing: Packing) -> None:
    """Refuse what no placement can satisfy."""
    numbers = [("packing", packing.packing), ("size", packing.size), ("memory", packing.memory), ("cpus", packing.cpus)]
    numbers += [(f"packing of pass {k}", v) for k, v in packing.pass_pack.items()]
    numbers += [(f"size of pass {k}", v) for k, v in packing.pass_size.items()]
    for word, number in numbers:
        if number is not None and number < 1:
            raise TopologyError(f"{word} is {number}; it must be at least 1")
    known: dict[str, Item] = {}
    for item in items:
        if item.name in known:
            raise TopologyError(f"there are two nodes named {one_line(item.name)}; names must be unique", item.where)
        known[item.name] = item
    for item in items:
        if item.host is not None:
            _check_carried(item, known)


def _check_carried(item: Item, known: Mapping[str, Item]) -> None:
    name, host = one_line(item.name), one_line(item.host or "")
    carrier = known.get(item.host or "")
    if item.kind != "process":
        raise TopologyError(
            f"node {name} is {item.kind} and names {host} as its host; only a process can be carried by a vnode", item.where
        )
    if carrier is None:
        raise TopologyError(f"process {name} names {host} as its host, but there is no node of that name", item.where)
    if carrier.kind not in CARRIERS:
        raise TopologyError(
            f"process {name} names {host} as its host, which is {carrier.kind}; a host must be {' or '.join(CARRIERS)}", item.where
        )
    if item.partition not in (None, carrier.partition):
        theirs = "none" if carrier.partition is None else carrier.partition
        raise TopologyError(f"process {name} has partition {item.partition} but its host {host} has {theirs}; they must agree", item.where)


# Partitions


def _pinned(standing: Sequence[Item], previous: Mapping[str, int]) -> list[_Part]:
    """One part for each partition, ascending, then one for each physical node without."""
    groups: dict[int, list[Item]] = {}
    alone: list[_Part] = []
    for item in standing:
        if item.partition is not None:
            group = groups.setdefault(item.partition, [])
            if group and "physical" in (group[0].kind, item.kind):
                raise TopologyError(_shared(group[0], item), item.where)
            group.append(item)
        elif item.kind == "physical":
            alone.append(_Part([item]))
        else:
            raise TopologyError(
                f"node {one_line(item.name)} has no partition though others have; give it one, make it physical, or take the others' away",
                item.where,
            )
    parts = [_Part(groups[number]) for number in sorted(groups)] + alone
    # Earlier numbers hold if they tell the same story: each part was together, and apart from the others.
    earlier = [{previous[item.name] for item in part.items if item.name in previous} for part in parts]
    if sum(map(len, earlier)) == len(set().union(*earlier)) and all(len(numbers) <= 1 for numbers in earlier):
        for part, numbers in zip(parts, earlier, strict=True):
            part.number = min(numbers, default=None)
    return parts


def _shared(first: Item, second: Item) -> str:
    both = f"{one_line(first.name)} and {one_line(second.name)} both have partition {second.partition}"
    if first.kind == second.kind:
        return f"physical nodes {both}, but a physical node is a pnode; give each its own partition"
    return (
        f"{both}, but a physical node takes its pnode alone; give the {(first if second.kind == 'physical' else second).kind} node another"
    )


# Packing


class _Key(NamedTuple):
    """Who shares pnodes: the guests of a pass, or one physical node."""

    physical: bool
    which: str | int | None


def _key(item: Item) -> _Key:
    return _Key(True, item.name) if item.kind == "physical" else _Key(False, item.pass_number)


def _packed(standing: Sequence[Item], links: Mapping[str, Sequence[str]], packing: Packing, previous: Mapping[str, int]) -> list[_Part]:
    """A part for each physical node, and parts for the guests of each pass; where an earlier placement no longer holds, all afresh."""
    kept = _kept(standing, previous)
    parts = [_Part([item], kept.get(item.name)) for item in standing if item.kind == "physical"]
    if packing.rooms and not _number_physical(parts, kept, packing.rooms):
        if previous:
            return _packed(standing, links, packing, {})
        raise PlacementError(f"{len(parts)} physical nodes take a host each, and the pool has {len(packing.rooms)}", standing[0].where)
    passes: dict[int | None, list[Item]] = {}
    for item in standing:
        if item.kind != "physical":
            passes.setdefault(item.pass_number, []).append(item)
    for number, guests in sorted(passes.items(), key=lambda entry: (entry[0] is None, entry[0])):
        group = _Group(guests, links, packing, number, {part.number for part in parts} | (set(kept.values()) - _numbers(guests, kept)))
        known = any(item.name in kept for item in guests)
        found = group.settle(kept) if known else group.afresh(guests, group.size)
        if found is None and previous:
            return _packed(standing, links, packing, {})
        if found is None:
            raise PlacementError(group.refusal(), guests[0].where)
        parts += found
    order = {item.name: position for position, item in enumerate(standing)}
    return sorted(parts, key=lambda part: min(order[item.name] for item in part.items))


def _numbers(guests: Iterable[Item], kept: Mapping[str, int]) -> set[int]:
    return {kept[item.name] for item in guests if item.name in kept}


def _number_physical(parts: Sequence[_Part], kept: Mapping[str, int], rooms: Sequence[Room]) -> bool:
    """Let physical nodes take the last hosts of the pool, in order, so that the first are the guests'. False when there are too few."""
    new = [part for part in parts if part.number is None]
    free = [number for number in range(len(rooms)) if number not in set(kept.values())]
    if len(new) > len(free):
        return False
    for part, number in zip(new, free[len(free) - len(new) :], strict=True):
        part.number = number
    return True


def _kept(standing: Sequence[Item], previous: Mapping[str, int]) -> dict[str, int]:
    """Return the earlier pnode of each node that may keep it: groups share none, so it stays with the group that has most nodes there."""
    known = [item for item in standing if item.name in previous]
    there: dict[int, Counter[_Key]] = {}
    for item in known:
        there.setdefault(previous[item.name], Counter())[_key(item)] += 1
    owner = {number: max(groups, key=lambda key: (groups[key], not key.physical)) for number, groups in there.items()}
    return {item.name: previous[item.name] for item in known if owner[previous[item.name]] == _key(item)}


class _Group:
    """The guests of one pass, which share pnodes with nobody else: those ``taken`` are others'."""

    def __init__(
        self, guests: Sequence[Item], links: Mapping[str, Sequence[str]], packing: Packing, number: int | None, taken: set[int | None]
    ) -> None:
        self.guests = guests
        self.rooms_known = bool(packing.rooms)
        self.rooms = {n: room for n, room in enumerate(packing.rooms) if n not in taken}
        most, self.size = _limits(packing, number)
        if self.rooms_known and most is None and packing.size is None and number not in packing.pass_size:
            self.size = None
        if self.size is not None:
            self.size = min(self.size, len(guests))
            most = -(-len(guests) * (100 + EVEN) // (100 * self.size))
        total = _sum(guests)
        self.limit: Size = (most or total[0], packing.memory or max(total[1], 1), packing.cpus or max(total[2], 1))
        ignored = packing.nodes_only or number in packing.pass_nodes_only
        names = {item.name for item in guests}
        inside = [] if ignored else [names.intersection(members) for members in links.values()]
        self.links = [members for members in inside if len(members) > 1]
        for item in guests:
            for need, has, unit in ((item.memory, packing.memory, "MB"), (item.cpus, packing.cpus, "processors")):
                if has is not None and need > has:
                    raise PlacementError(f"node {one_line(item.name)} needs {need} {unit}, but a pnode has {has}", item.where)

    def limit_of(self, number: int | None) -> Size:
        """Return the limit of a pnode: the group's, and its own where the hosts are known."""
        room = self.rooms.get(number) if number is not None else None
        return room.limit(self.limit) if room else self.limit

    def in_rooms(self, needs: Sequence[Size], links: Sequence[Sequence[int]], size: int | None, taken: Iterable[int]) -> list[int] | None:
        """Partition over the hosts that are free; return the number of each guest's."""
        least = tuple(map(min, zip(*needs, strict=True)))
        free = [number for number in self.rooms if number not in taken and _within(least, self.limit_of(number))]
        limits = [self.limit_of(number) for number in free]
        if size is None:
            found = fill(needs, links, limits) if free else None
        elif len(free) < size:
            return None
        else:
            uneven = [(len(needs), *limit[1:]) if self.rooms[n].packing is None else limit for n, limit in zip(free, limits, strict=True)]
            found = partition(needs, links, limits[:size]) or partition(needs, links, uneven[:size])
        return [free[part] for part in found] if found else None

    def afresh(self, guests: Sequence[Item], size: int | None, taken: Iterable[int] = ()) -> list[_Part] | None:
        """Partition guests of this group, into ``size`` parts or as few as can be; None when they do not fit.

        ``taken`` are pnodes that this group uses already.
        """
        position = {item.name: number for number, item in enumerate(guests)}
        here = ([position[name] for name in members if name in position] for members in self.links)
        links = [sorted(members) for members in here if len(members) > 1]
        needs = [_need(item) for item in guests]
        if not guests:
            return []
        uneven = (len(guests), *self.limit[1:])
        if self.rooms_known:
            part_of = self.in_rooms(needs, links, size, set(taken))
        elif size is None:
            part_of = pack(needs, links, self.limit)
        else:
            part_of = partition(needs, links, [self.limit] * size) or partition(needs, links, [uneven] * size)
        if part_of is None:
            return None
        parts: dict[int, _Part] = {}
        for item, number in zip(guests, part_of, strict=True):
            parts.setdefault(number, _Part([], number if self.rooms_known else None)).items.append(item)
        return list(parts.values())

    def settle(self, kept: Mapping[str, int]) -> list[_Part] | None:
        """Leave the known guests where they are and place the others: by their neighbours, where there is room, then on new pnodes.

        Return None when that breaks a limit or the number of pnodes asked for.
        """
        parts: dict[int, _Part] = {}
        for item in self.guests:
            if item.name in kept:
                parts.setdefault(kept[item.name], _Part([], kept[item.name])).items.append(item)
        load = {number: _sum(part.items) for number, part in parts.items()}
        checked = slice(1, None) if self.size else slice(None)
        new = [item for item in self.guests if item.name not in kept]
        missing = self.size - len(parts) if self.size else 0
        if not 0 <= missing <= len(new) or any(not _within(need[checked], self.limit_of(number)[checked]) for number, need in load.items()):
            return None
        home = {name: number for name, number in kept.items() if number in parts}
        links_of: dict[str, list[Counter[int]]] = {}
        for members in self.links:
            around = Counter(home[name] for name in members if name in home)
            for name in members:
                links_of.setdefault(name, []).append(around)
        spilt: list[Item] = []
        for position, item in enumerate(new):
            room = [number for number, need in load.items() if need[0] < self.limit[0]]
            fitting = [number for number in room if _within(_add(load[number], _need(item)), self.limit_of(number))]
            if not fitting or len(spilt) + len(new) - position <= missing:
                spilt.append(item)
                continue
            near = links_of.get(item.name, [])
            best = max(fitting, key=lambda number: (sum(around[number] for around in near), -load[number][0], -number))
            parts[best].items.append(item)
            load[best] = _add(load[best], _need(item))
            for around in near:
                around[best] += 1
        if spilt and self.size and not missing:
            return None
        more = self.afresh(spilt, missing if self.size else None, parts)
        return None if more is None else [*parts.values(), *more]

    def refusal(self) -> str:
        """Say with numbers why the guests do not fit."""
        nodes, memory, cpus = _sum(self.guests)
        names = listing((one_line(item.name) for item in self.guests), 4)
        if self.rooms_known:
            wanted = "" if self.size is None else f"{self.size} of "
            limits = "" if self.limit[0] >= nodes else f", {self.limit[0]} nodes each"
            return (
                f"{nodes} guests ({names}) with {memory} MB and {cpus} processors do not fit on {wanted}the hosts of the pool: "
                f"{listing(map(str, self.rooms.values())) or 'none is free'}{limits}; give more hosts or smaller guests"
            )
        pnodes = "one pnode" if self.size == 1 else f"{self.size} pnodes"
        return (
            f"{nodes} guests ({names}) with {memory} MB and {cpus} processors do not fit on {pnodes} of {self.limit[1]} MB "
            f"and {self.limit[2]} processors; give more pnodes (size, packing) or smaller guests"
        )


def _limits(packing: Packing, number: int | None) -> tuple[int | None, int | None]:
    """Return the packing and the size of a pass: size beats packing, the pass's own beats both, and nothing said is one pnode."""
    if number is not None and number in packing.pass_size:
        return None, packing.pass_size[number]
    if number is not None and number in packing.pass_pack:
        return packing.pass_pack[number], None
    if packing.size is not None:
        return None, packing.size
    return (None, 1) if packing.packing is None else (packing.packing, None)


def _need(item: Item) -> Size:
    return (1, item.memory, item.cpus)


def _add(one: Size, other: Size) -> Size:
    return tuple(a + b for a, b in zip(one, other, strict=True))


def _sum(items: Iterable[Item]) -> Size:
    return tuple(map(sum, zip(*map(_need, items), strict=True)))


def _within(need: Size, limit: Size) -> bool:
    return all(a <= b for a, b in zip(need, limit, strict=True))


def _number(parts: Sequence[_Part], rooms: Sequence[Room] = ()) -> None:
    """Give each part without a number the lowest one that is free."""
    if rooms and len(parts) > len(rooms):
        first = parts[len(rooms)].items[0]
        raise PlacementError(f"the nodes need {len(parts)} hosts, and the pool has {len(rooms)}", first.where)
    taken = {part.number for part in parts}
    free = (number for number in count() if number not in taken)
    for part in parts:
        if part.number is None:
            part.number = next(free)


def _check_room(parts: Sequence[_Part], items: Sequence[Item], packing: Packing) -> None:
    """Refuse pnodes that pinned nodes and the processes carried by a physical node ask too much of."""
    carried: dict[str, list[Item]] = {}
    for item in items:
        if item.host is not None:
            carried.setdefault(item.host, []).append(item)
    for part in parts:
        extra = carried.get(part.items[0].name, []) if part.items[0].kind == "physical" else []
        dummy, memory, cpus = _sum([*part.items, *extra])
        room = packing.rooms[part.number] if part.number is not None and part.number < len(packing.rooms) else Room("a pnode")
        for need, general, own, unit in ((memory, packing.memory, room.memory, "MB"), (cpus, packing.cpus, room.cpus, "processors")):
            has = general if own is None else own
            if has is not None and need > has:
                names = listing((one_line(item.name) for item in [*part.items, *extra]), 4)
                raise PlacementError(f"{names} share a pnode and need {need} {unit}, but {room.name} has {has}", part.items[0].where)

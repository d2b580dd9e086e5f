# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which node sits on which pnode.

Nodes with a partition sit together, and then nothing is packed. Otherwise physical nodes take a pnode each and the guests are packed,
pass by pass. A process that names a vnode as its host sits where that vnode does and takes no room of its own inside a guest.

pnodes are numbered from 0: partitions in ascending order and then physical nodes, or, without partitions, by their first node.
A node that was placed before keeps its pnode wherever the rules still allow it; a pnode that lost its last node then keeps its
number too, and is the first to be used again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from .diagnostics import NOWHERE, Location, TopologyError, listing, one_line
from .partitioning import Size, pack, partition

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


@dataclass(frozen=True)
class Packing:
    """How guests are packed.

    ``packing`` is the most guests of one pnode, ``size`` a number of pnodes and stronger; a pass may have its own of either. Nothing said
    means one pnode. ``nodes_only`` ignores the links. ``memory`` (MB) and ``cpus`` are what one pnode has, None for no limit.
    """

    packing: int | None = None
    size: int | None = None
    pass_pack: Mapping[int, int] = field(default_factory=dict)
    pass_size: Mapping[int, int] = field(default_factory=dict)
    nodes_only: bool = False
    pass_nodes_only: frozenset[int] = frozenset()
    memory: int | None = None
    cpus: int | None = None


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
    standing = [item for item in items if item.host is None]
    carrier = {item.name: item.host or item.name for item in items}
    if any(item.partition is not None for item in standing):
        parts = _pinned(standing, previous or {})
    else:
        between = {name: [carrier[member] for member in members if member in carrier] for name, members in links.items()}
        parts = _packed(standing, between, packing, previous or {})
    _number(parts)
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
    passes: dict[int | None, list[Item]] = {}
    for item in standing:
        if item.kind != "physical":
            passes.setdefault(item.pass_number, []).append(item)
    for number, guests in sorted(passes.items(), key=lambda entry: (entry[0] is None, entry[0])):
        group = _Group(guests, links, packing, number)
        known = any(item.name in kept for item in guests)
        found = group.settle(kept) if known else group.afresh(guests, group.size)
        if found is None and previous:
            return _packed(standing, links, packing, {})
        if found is None:
            raise TopologyError(group.refusal(), guests[0].where)
        parts += found
    order = {item.name: position for position, item in enumerate(standing)}
    return sorted(parts, key=lambda part: min(order[item.name] for item in part.items))


def _kept(standing: Sequence[Item], previous: Mapping[str, int]) -> dict[str, int]:
    """Return the earlier pnode of each node that may keep it: groups share none, so it stays with the group that has most nodes there."""
    known = [item for item in standing if item.name in previous]
    there: dict[int, Counter[_Key]] = {}
    for item in known:
        there.setdefault(previous[item.name], Counter())[_key(item)] += 1
    owner = {number: max(groups, key=lambda key: (groups[key], not key.physical)) for number, groups in there.items()}
    return {item.name: previous[item.name] for item in known if owner[previous[item.name]] == _key(item)}


class _Group:
    """The guests of one pass, which share pnodes with nobody else."""

    def __init__(self, guests: Sequence[Item], links: Mapping[str, Sequence[str]], packing: Packing, number: int | None) -> None:
        self.guests = guests
        most, self.size = _limits(packing, number)
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
                    raise TopologyError(f"node {one_line(item.name)} needs {need} {unit}, but a pnode has {has}", item.where)

    def afresh(self, guests: Sequence[Item], size: int | None) -> list[_Part] | None:
        """Partition guests of this group, into ``size`` parts or as few as can be; None when they do not fit."""
        position = {item.name: number for number, item in enumerate(guests)}
        here = ([position[name] for name in members if name in position] for members in self.links)
        links = [sorted(members) for members in here if len(members) > 1]
        needs = [_need(item) for item in guests]
        if not guests:
            return []
        if size is None:
            part_of = pack(needs, links, self.limit)
        else:
            uneven = (len(guests), *self.limit[1:])
            found = partition(needs, links, size, self.limit) or partition(needs, links, size, uneven)
            if found is None:
                return None
            part_of = found
        parts: dict[int, _Part] = {}
        for item, number in zip(guests, part_of, strict=True):
            parts.setdefault(number, _Part([])).items.append(item)
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
        if not 0 <= missing <= len(new) or any(not _within(need[checked], self.limit[checked]) for need in load.values()):
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
            fitting = [number for number in room if _within(_add(load[number], _need(item)), self.limit)]
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
        more = self.afresh(spilt, missing if self.size else None)
        return None if more is None else [*parts.values(), *more]

    def refusal(self) -> str:
        """Say with numbers why the guests do not fit."""
        nodes, memory, cpus = _sum(self.guests)
        names = listing((one_line(item.name) for item in self.guests), 4)
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


def _number(parts: Sequence[_Part]) -> None:
    """Give each part without a number the lowest one that is free."""
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
        for need, has, unit in ((memory, packing.memory, "MB"), (cpus, packing.cpus, "processors")):
            if has is not None and need > has:
                names = listing((one_line(item.name) for item in [*part.items, *extra]), 4)
                raise TopologyError(f"{names} share a pnode and need {need} {unit}, but a pnode has {has}", part.items[0].where)

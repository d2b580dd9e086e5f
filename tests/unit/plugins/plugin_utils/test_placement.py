# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Placement: limits met exactly, partitions together, the same answer twice, and nobody moves without need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.plugin_utils import partitioning
from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import Location, TopologyError
from ansible_collections.benito.testbed.plugins.plugin_utils.placement import Item, Packing, Placement, PlacementError, Room, place

HERE = Location("lab.topdl", 12, 5)
Links = Mapping[str, Sequence[str]]


def guests(count: int, start: int = 0) -> list[Item]:
    return [Item(f"n-{number}", "qemu") for number in range(start, start + count)]


def chain(count: int) -> dict[str, list[str]]:
    return {f"link-{number}": [f"n-{number}", f"n-{number + 1}"] for number in range(count - 1)}


def sizes(placement: Placement, names: Iterable[str] | None = None) -> list[int]:
    """Return how many nodes each pnode carries, ascending."""
    chosen = placement.pnode_of if names is None else names
    return sorted(Counter(placement.pnode_of[name] for name in chosen).values())


@st.composite
def experiments(draw: st.DrawFn) -> tuple[list[Item], dict[str, list[str]]]:
    items = guests(draw(st.integers(1, 40)))
    names = [item.name for item in items]
    links = draw(st.lists(st.lists(st.sampled_from(names), min_size=1, max_size=8), max_size=40))
    return items, {f"link-{number}": members for number, members in enumerate(links)}


Experiment = tuple[list[Item], dict[str, list[str]]]


# Packing


def test_nothing_said_is_one_pnode() -> None:
    placement = place(guests(50), chain(50), Packing())
    assert placement.pnodes == 1
    assert set(placement.pnode_of.values()) == {0}
    assert placement.cut == ()


def test_no_items() -> None:
    assert place([], {}, Packing(packing=3)) == Placement({}, 0, ())


@given(experiments(), st.integers(1, 12))
@settings(max_examples=150, deadline=None)
def test_packing_is_met_with_the_fewest_pnodes(experiment: Experiment, packing: int) -> None:
    items, links = experiment
    placement = place(items, links, Packing(packing=packing))
    assert list(placement.pnode_of) == [item.name for item in items]
    assert max(sizes(placement)) <= packing
    assert placement.pnodes == -(-len(items) // packing)
    firsts = list(dict.fromkeys(placement.pnode_of.values()))
    assert firsts == list(range(placement.pnodes))
    assert placement.cut == tuple(name for name, members in links.items() if len({placement.pnode_of[m] for m in members}) > 1)
    assert place(items, links, Packing(packing=packing)) == placement


@given(experiments(), st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_size_is_met_and_no_pnode_is_empty(experiment: Experiment, size: int) -> None:
    items, links = experiment
    placement = place(items, links, Packing(packing=1, size=size))
    assert placement.pnodes == len(sizes(placement)) == min(size, len(items))
    assert max(sizes(placement)) <= -(-len(items) * 103 // (100 * placement.pnodes))


def test_a_chain_is_cut_once_per_pnode() -> None:
    placement = place(guests(1000), chain(1000), Packing(packing=10))
    assert sizes(placement) == [10] * 100
    assert len(placement.cut) == 99


def test_islands_are_not_cut() -> None:
    links = {f"lan-{island}": [f"n-{number}" for number in range(island * 7, island * 7 + 7)] for island in range(12)}
    placement = place(guests(84), links, Packing(packing=7))
    assert placement.cut == ()


def test_lans_larger_than_a_pnode_are_spread_little() -> None:
    links = {f"lan-{lan}": [f"n-{number}" for number in range(lan * 40, min(lan * 40 + 41, 1000))] for lan in range(25)}
    placement = place(guests(1000), links, Packing(packing=10))
    cables = sum(len({placement.pnode_of[name] for name in members}) - 1 for members in links.values())
    assert sizes(placement) == [10] * 100
    assert cables <= 110  # 99 is the least there can be, and METIS's answer, repaired but not improved, has 132


def test_nodes_without_links_fill_up() -> None:
    placement = place(guests(25), chain(5), Packing(packing=10))
    assert placement.pnodes == 3
    assert max(sizes(placement)) <= 10
    assert placement.cut == ()


def test_nodes_only_splits_evenly_in_order() -> None:
    placement = place(guests(20), chain(20), Packing(packing=6, nodes_only=True))
    assert list(placement.pnode_of.values()) == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5


def test_ghosts_count_like_others() -> None:
    ghosts = [Item(f"g-{number}", "qemu", ghost=True) for number in range(5)]
    placement = place([*guests(5), *ghosts], {}, Packing(packing=5))
    assert sizes(placement) == [5, 5]


def test_links_to_what_is_no_item_are_ignored() -> None:
    placement = place(guests(2), {"wan": ["n-0", "elsewhere"], "link": ["n-0", "n-1"]}, Packing(packing=1))
    assert placement.cut == ("link",)


@pytest.mark.parametrize("packing", [Packing(packing=0), Packing(size=0), Packing(pass_pack={1: 0}), Packing(pass_size={1: -1})])
def test_packing_below_one_is_refused(packing: Packing) -> None:
    with pytest.raises(TopologyError, match="must be at least 1"):
        place(guests(2), {}, packing)


def test_two_nodes_of_one_name_are_refused() -> None:
    with pytest.raises(TopologyError, match=r"lab\.topdl:12:5: there are two nodes named 'n-0'"):
        place([*guests(1), Item("n-0", "qemu", where=HERE)], {}, Packing())


# Passes


def passes() -> tuple[list[Item], dict[str, list[str]]]:
    """Return three LANs of 20 with a common centre, each in its own pass."""
    items = [Item("centre", "qemu", pass_number=0)]
    items += [Item(f"n-{lan}-{number}", "qemu", pass_number=lan) for lan in (1, 2, 3) for number in range(20)]
    links = {f"lan-{lan}": ["centre", *(f"n-{lan}-{number}" for number in range(20))] for lan in (1, 2, 3)}
    return items, links


def of_pass(items: Sequence[Item], number: int) -> list[str]:
    return [item.name for item in items if item.pass_number == number]


def test_each_pass_has_its_own_packing_and_pnodes() -> None:
    items, links = passes()
    placement = place(items, links, Packing(pass_pack={0: 1, 1: 20, 2: 10, 3: 5}))
    assert placement.pnodes == 8
    assert [sizes(placement, of_pass(items, number)) for number in range(4)] == [[1], [20], [10, 10], [5, 5, 5, 5]]


def test_pass_size_beats_pass_packing_and_both_beat_the_common_ones() -> None:
    items, links = passes()
    placement = place(items, links, Packing(packing=20, size=2, pass_pack={2: 5, 3: 5}, pass_size={3: 1}))
    assert [len(sizes(placement, of_pass(items, number))) for number in range(4)] == [1, 2, 4, 1]


def test_pass_nodes_only() -> None:
    items, links = passes()
    placement = place(items, links, Packing(packing=7, pass_nodes_only=frozenset({2})))
    chosen = [placement.pnode_of[name] for name in of_pass(items, 2)]
    assert chosen == sorted(chosen)
    assert sizes(placement, of_pass(items, 2)) == [6, 7, 7]


def test_nodes_without_a_pass_are_a_pass_of_their_own() -> None:
    items = [*guests(4), Item("first", "qemu", pass_number=1)]
    assert sizes(place(items, {}, Packing())) == [1, 4]


# Physical nodes and partitions


def test_physical_nodes_take_a_pnode_each() -> None:
    items = [Item("p-0", "physical"), *guests(3), Item("p-1", "physical")]
    assert place(items, {}, Packing()).pnode_of == {"p-0": 0, "n-0": 1, "n-1": 1, "n-2": 1, "p-1": 2}


@given(st.lists(st.integers(-5, 9), min_size=1, max_size=20), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_partitions_stay_together_in_ascending_order(numbers: list[int], physical: int) -> None:
    items = [Item(f"n-{position}", "qemu", partition=number) for position, number in enumerate(numbers)]
    items += [Item(f"p-{position}", "physical") for position in range(physical)]
    placement = place(items, {}, Packing(packing=1, size=50))
    order = sorted(set(numbers))
    assert [placement.pnode_of[f"n-{position}"] for position in range(len(numbers))] == [order.index(number) for number in numbers]
    assert [placement.pnode_of[f"p-{position}"] for position in range(physical)] == list(range(len(order), len(order) + physical))


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        (("physical", "physical"), "physical nodes 'a' and 'b' both have partition 4"),
        (("physical", "qemu"), "'a' and 'b' both have partition 4.* give the qemu node another"),
        (("process", "physical"), "'a' and 'b' both have partition 4.* give the process node another"),
    ],
)
def test_a_physical_node_shares_no_partition(kinds: tuple[str, str], message: str) -> None:
    items = [Item("a", kinds[0], partition=4), Item("b", kinds[1], partition=4, where=HERE)]
    with pytest.raises(TopologyError, match=message) as refusal:
        place(items, {}, Packing())
    assert refusal.value.where == HERE


def test_a_guest_without_partition_among_partitions_is_refused() -> None:
    with pytest.raises(TopologyError, match="'n-0' has no partition though others have"):
        place([Item("a", "qemu", partition=0), *guests(1)], {}, Packing())


# Processes with a host


def test_processes_sit_with_their_host_and_take_no_room() -> None:
    items = [*guests(4), Item("metal", "physical")]
    items += [Item(f"p-{number}", "process", host="n-3") for number in range(9)] + [Item("q", "process", host="metal")]
    placement = place(items, {}, Packing(packing=2))
    assert placement.pnodes == 3
    assert {placement.pnode_of[f"p-{number}"] for number in range(9)} == {placement.pnode_of["n-3"]}
    assert placement.pnode_of["q"] == placement.pnode_of["metal"]


def test_links_of_carried_processes_pull_their_hosts_together() -> None:
    items = [*guests(20), *(Item(f"p-{number}", "process", host=f"n-{number}") for number in range(20))]
    links = {f"link-{number}": [f"p-{number}", f"p-{number + 10}"] for number in range(10)}
    assert place(items, links, Packing(packing=2)).cut == ()


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (Item("p", "process", host="nobody", where=HERE), "there is no node of that name"),
        (Item("p", "process", host="p", where=HERE), "which is process; a host must be qemu or physical"),
        (Item("p", "process", host="other", where=HERE), "which is process; a host must be qemu or physical"),
        (Item("p", "qemu", host="n-0", where=HERE), "only a process can be carried"),
        (Item("p", "process", host="n-0", partition=0, where=HERE), "has partition 0 but its host 'n-0' has none"),
    ],
)
def test_impossible_hosts_are_refused(item: Item, message: str) -> None:
    with pytest.raises(TopologyError, match=message) as refusal:
        place([*guests(1), Item("other", "process"), item], {}, Packing())
    assert refusal.value.where == HERE


# Memory and processors


def test_memory_limits_a_pnode() -> None:
    items = [Item(f"n-{number}", "qemu", memory=memory) for number, memory in enumerate([600, 600, 600, 300, 300, 300])]
    placement = place(items, {}, Packing(packing=10, memory=1000))
    needs: Counter[int] = Counter()
    for item in items:
        needs[placement.pnode_of[item.name]] += item.memory
    assert placement.pnodes == 3
    assert set(needs.values()) == {900}


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 4)), min_size=1, max_size=30), st.integers(1, 8))
@settings(max_examples=100, deadline=None)
def test_no_pnode_is_asked_for_more_than_it_has(needs: list[tuple[int, int]], packing: int) -> None:
    items = [Item(f"n-{number}", "qemu", memory=memory, cpus=cpus) for number, (memory, cpus) in enumerate(needs)]
    placement = place(items, chain(len(items)), Packing(packing=packing, memory=1000, cpus=6))
    for pnode in range(placement.pnodes):
        there = [item for item in items if placement.pnode_of[item.name] == pnode]
        assert 1 <= len(there) <= packing
        assert sum(item.memory for item in there) <= 1000
        assert sum(item.cpus for item in there) <= 6


def test_what_cannot_fit_is_refused_with_the_numbers() -> None:
    large = [Item("big", "qemu", memory=3000, where=HERE), Item("other", "qemu", memory=2000)]
    with pytest.raises(TopologyError, match=r"12:5: node 'big' needs 3000 MB, but a pnode has 2500"):
        place(large, {}, Packing(packing=5, memory=2500))
    with pytest.raises(TopologyError, match=r"2 guests .* with 5000 MB and 2 processors do not fit on one pnode of 4000 MB"):
        place(large, {}, Packing(memory=4000))
    pinned = [Item("a", "qemu", partition=0, memory=600, where=HERE), Item("b", "qemu", partition=0, memory=600)]
    with pytest.raises(TopologyError, match=r"12:5: 'a', 'b' share a pnode and need 1200 MB, but a pnode has 1000"):
        place(pinned, {}, Packing(memory=1000))


# Stability


@given(experiments(), st.integers(1, 12), st.data())
@settings(max_examples=100, deadline=None)
def test_adding_and_removing_a_node_moves_nobody(experiment: Experiment, packing: int, data: st.DataObject) -> None:
    items, links = experiment
    rule = Packing(packing=packing)
    before = place(items, links, rule)
    neighbours = data.draw(st.lists(st.sampled_from([item.name for item in items]), max_size=3))
    position = data.draw(st.integers(0, len(items)))
    more = [*items[:position], Item("new", "qemu"), *items[position:]]
    added = place(more, {**links, "more": ["new", *neighbours]}, rule, before.pnode_of)
    assert {name: pnode for name, pnode in added.pnode_of.items() if name != "new"} == dict(before.pnode_of)
    assert max(sizes(added)) <= packing
    gone = data.draw(st.sampled_from([item.name for item in items]))
    removed = place([item for item in items if item.name != gone], links, rule, before.pnode_of)
    assert removed.pnode_of == {name: pnode for name, pnode in before.pnode_of.items() if name != gone}


@given(experiments(), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_adding_a_node_to_a_given_number_of_pnodes_moves_nobody(experiment: Experiment, size: int) -> None:
    items, links = experiment
    before = place(items, links, Packing(size=size))
    added = place([*items, Item("new", "qemu")], links, Packing(size=size), before.pnode_of)
    assert {name: pnode for name, pnode in added.pnode_of.items() if name != "new"} == dict(before.pnode_of)
    assert added.pnodes == min(size, len(items) + 1)


def test_a_new_node_joins_its_neighbours_while_there_is_room() -> None:
    before = {"n-0": 0, "n-1": 0, "n-2": 1, "n-3": 1, "n-4": 1}
    items = [*guests(5), Item("new", "qemu")]
    assert place(items, {"link": ["n-3", "new"]}, Packing(packing=4), before).pnode_of["new"] == 1
    assert place(items, {"link": ["n-3", "new"]}, Packing(packing=3), before).pnode_of["new"] == 0
    assert place(items, {}, Packing(packing=4), before).pnode_of["new"] == 0


def test_a_new_node_opens_a_pnode_when_all_are_full() -> None:
    before = place(guests(20), chain(20), Packing(packing=10))
    after = place(guests(21), chain(21), Packing(packing=10), before.pnode_of)
    assert after.pnode_of == {**before.pnode_of, "n-20": 2}


def test_a_broken_limit_places_afresh() -> None:
    before = place(guests(20), chain(20), Packing(packing=20))
    after = place(guests(20), chain(20), Packing(packing=5), before.pnode_of)
    assert after == place(guests(20), chain(20), Packing(packing=5))
    assert place(guests(20), chain(20), Packing(), after.pnode_of).pnodes == 1


def test_a_pnode_keeps_its_number_when_another_is_left_empty() -> None:
    items = [Item("p-0", "physical"), Item("p-1", "physical"), *guests(2)]
    before = place(items, {}, Packing())
    after = place([items[0], *items[2:]], {}, Packing(), before.pnode_of)
    assert after == Placement({"p-0": 0, "n-0": 2, "n-1": 2}, 3, ())
    again = place([items[0], *items[2:], Item("p-2", "physical")], {}, Packing(), after.pnode_of)
    assert again.pnode_of["p-2"] == 1


def test_a_guest_that_becomes_physical_leaves_the_others() -> None:
    before = {"n-0": 0, "n-1": 0, "n-2": 0}
    items = [*guests(2), Item("n-2", "physical")]
    assert place(items, {}, Packing(), before).pnode_of == {"n-0": 0, "n-1": 0, "n-2": 1}


def test_partitions_keep_their_pnodes_while_they_are_the_same_groups() -> None:
    items = [Item("a", "qemu", partition=3), Item("b", "qemu", partition=7)]
    before = place(items, {}, Packing())
    after = place([*items, Item("c", "qemu", partition=5)], {}, Packing(), before.pnode_of)
    assert after.pnode_of == {"a": 0, "b": 1, "c": 2}
    mixed = place(items, {}, Packing(), {"a": 4, "b": 4})
    assert mixed.pnode_of == {"a": 0, "b": 1}


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitioning, "pymetis", None)
    assert place(guests(6), chain(6), Packing()).pnodes == 1
    with pytest.raises(TopologyError, match="needs the Python library pymetis"):
        place(guests(6), chain(6), Packing(packing=3))


# Hosts that are known


def crowd(count: int, memory: int = 100) -> list[Item]:
    return [Item(f"n-{number}", "qemu", memory=memory, where=HERE) for number in range(count)]


def loads(placement: Placement, items: list[Item]) -> dict[int, int]:
    found: dict[int, int] = {}
    for item in items:
        found[placement.pnode_of[item.name]] = found.get(placement.pnode_of[item.name], 0) + item.memory
    return found


def test_unlike_hosts_are_filled_as_far_as_each_goes() -> None:
    items = crowd(10)
    rooms = (Room("small", memory=250), Room("large", memory=700), Room("medium", memory=450))
    placement = place(items, chain(10), Packing(rooms=rooms))
    load = loads(placement, items)
    assert sum(load.values()) == 1000
    assert all(load[number] <= (rooms[number].memory or 0) for number in load)


def test_as_few_hosts_as_will_do_are_used() -> None:
    rooms = (Room("small", memory=250), Room("large", memory=2000), Room("medium", memory=450))
    assert set(place(crowd(10), chain(10), Packing(rooms=rooms)).pnode_of.values()) == {1}
    alike = (Room("a", memory=1000), Room("b", memory=1000))
    assert set(place(crowd(10), chain(10), Packing(rooms=alike)).pnode_of.values()) == {0}


def test_a_host_may_limit_its_number_of_nodes() -> None:
    items = crowd(6)
    placement = place(items, chain(6), Packing(rooms=(Room("a", packing=2), Room("b", packing=4))))
    assert loads(placement, items) == {0: 200, 1: 400}


def test_a_host_too_small_for_any_guest_is_passed_over() -> None:
    items = crowd(4, memory=200)
    placement = place(items, chain(4), Packing(rooms=(Room("a", memory=100), Room("b", memory=400), Room("c", memory=400))))
    assert loads(placement, items) == {1: 400, 2: 400}


def test_a_number_of_hosts_asked_for_is_used() -> None:
    rooms = tuple(Room(name, memory=5000) for name in "abc")
    items = crowd(9)
    assert loads(place(items, chain(9), Packing(size=3, rooms=rooms)), items) == {0: 300, 1: 300, 2: 300}
    with pytest.raises(PlacementError, match=r"do not fit on 4 of the hosts of the pool"):
        place(items, chain(9), Packing(size=4, rooms=rooms))


def test_what_does_not_fit_is_refused_with_the_numbers() -> None:
    rooms = (Room("alpha", memory=300, cpus=8), Room("beta", memory=200, cpus=8))
    with pytest.raises(
        PlacementError, match=r"10 guests .* with 1000 MB .*: alpha \(300 MB, 8 processors\), beta \(200 MB, 8 processors\)"
    ):
        place(crowd(10), chain(10), Packing(rooms=rooms))


def test_physical_nodes_take_the_last_hosts() -> None:
    items = [Item("real", "physical"), *crowd(2)]
    placement = place(items, {}, Packing(rooms=(Room("a"), Room("b"), Room("c"))))
    assert placement.pnode_of == {"real": 2, "n-0": 0, "n-1": 0}
    with pytest.raises(PlacementError, match="2 physical nodes take a host each, and the pool has 1"):
        place([Item("x", "physical"), Item("y", "physical")], {}, Packing(rooms=(Room("a"),)))


def test_passes_share_no_host() -> None:
    items = [Item(f"n-{n}", "qemu", pass_number=n % 2, memory=100) for n in range(6)]
    placement = place(items, {}, Packing(rooms=tuple(Room(name, memory=300) for name in "abc")))
    assert len({placement.pnode_of[i.name] for i in items if i.pass_number == 0}) == 1
    assert {placement.pnode_of[i.name] for i in items if i.pass_number == 0}.isdisjoint(
        placement.pnode_of[i.name] for i in items if i.pass_number == 1
    )


def test_partitions_respect_the_room_of_their_host() -> None:
    items = [Item(f"n-{n}", "qemu", partition=n, memory=100, where=HERE) for n in range(3)]
    with pytest.raises(PlacementError, match="the nodes need 3 hosts, and the pool has 2"):
        place(items, {}, Packing(rooms=(Room("a"), Room("b"))))
    with pytest.raises(PlacementError, match="'n-1' share a pnode and need 100 MB, but b has 50"):
        place(items, {}, Packing(rooms=(Room("a"), Room("b", memory=50), Room("c"))))


def test_nodes_stay_on_their_host() -> None:
    rooms = tuple(Room(name, memory=600) for name in "abc")
    before = place(crowd(10), chain(10), Packing(rooms=rooms)).pnode_of
    after = place(crowd(11), chain(11), Packing(rooms=rooms), before).pnode_of
    assert all(after[name] == number for name, number in before.items())
    fewer = place(crowd(10), chain(10), Packing(rooms=(Room("a", memory=600), Room("b", memory=600))), {**before, "n-9": 2})
    assert set(fewer.pnode_of.values()) == {0, 1}


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=14),
    st.lists(st.tuples(st.integers(10, 200), st.integers(1, 20)), min_size=1, max_size=4),
)
def test_no_host_gets_more_than_it_has(memories: list[int], hosts: list[tuple[int, int]]) -> None:
    items = [Item(f"n-{number}", "qemu", memory=memory) for number, memory in enumerate(memories)]
    rooms = tuple(Room(f"h{n}", memory=memory, cpus=cpus) for n, (memory, cpus) in enumerate(hosts))
    try:
        placement = place(items, chain(len(items)), Packing(rooms=rooms))
    except PlacementError:
        # Refused only where it is tight: with twice the room on each host it fits.
        assert (
            sum(memories) > sum(memory for memory, dummy in hosts) // 2
            or len(items) > sum(cpus for dummy, cpus in hosts) // 2
            or max(memories) > min(memory for memory, dummy in hosts)
        )
        return
    for number, room in enumerate(rooms):
        there = [item for item in items if placement.pnode_of[item.name] == number]
        assert sum(item.memory for item in there) <= (room.memory or 0) and sum(item.cpus for item in there) <= (room.cpus or 0)

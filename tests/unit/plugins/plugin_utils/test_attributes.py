# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.benito.testbed.plugins.plugin_utils.attributes import ATTRIBUTES, check_attributes, find, table
from ansible_collections.benito.testbed.plugins.plugin_utils.authority import BOTH, FILE, LAB
from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import Location
from ansible_collections.benito.testbed.plugins.plugin_utils.formats.topdl import read_topdl
from ansible_collections.benito.testbed.plugins.plugin_utils.settings import SETTINGS
from ansible_collections.benito.testbed.plugins.plugin_utils.topology import (
    Attribute,
    Computer,
    Interface,
    OperatingSystem,
    Substrate,
    Topology,
)

FIXTURES = Path(__file__).parents[3] / "fixtures" / "topdl"


def on_node(*names: str) -> Topology:
    return Topology(elements=(Computer("a", attributes=tuple(Attribute(name, "x", Location("f", i)) for i, name in enumerate(names, 1))),))


def everything() -> Topology:
    """Return a topology where every object has every attribute it may have, in the usual spelling."""

    def on(place: str) -> tuple[Attribute, ...]:
        return tuple(Attribute(known.spellings[0], "1") for known in ATTRIBUTES if place in known.places)

    computer = Computer(
        "a",
        oses=(OperatingSystem(attributes=on("os")),),
        interfaces=(Interface("i", ("l",), attributes=on("interface")),),
        attributes=on("node"),
    )
    return Topology((Substrate("l", attributes=on("substrate")),), (computer,), on("topology"))


def test_known_attributes_pass_in_silence_where_they_belong() -> None:
    assert check_attributes(everything()) == ()


@pytest.mark.parametrize("known", ATTRIBUTES, ids=lambda known: known.key)
def test_every_spelling_is_found(known) -> None:
    for name in known.spellings:
        attribute = Attribute(name, "x")
        assert find((Attribute("other", "y"), attribute), known.key) is attribute
        assert find((Attribute("other", "y"),), known.key) is None


def test_prefixes_mean_the_same_and_the_first_wins() -> None:
    both = (Attribute("containers:image", "c"), Attribute("benito:image", "b"))
    assert find(both, "image") is both[0]
    assert find(both[::-1], "image") is both[1]


def test_pass_and_partition_have_more_spellings() -> None:
    assert find((Attribute("partition", "1"),), "partition") is not None
    assert find((Attribute("containers:PackingPass", "1"),), "PartitionPass") is not None
    assert find((Attribute("benito:PartitionPass", "1"),), "PackingPass") is not None
    assert find((Attribute("PackingPass", "1"),), "PartitionPass") is None
    assert find((Attribute("image", "1"),), "image") is None
    assert find((Attribute("benito:startup", "1"),), "startup") is None


def test_asking_for_what_nobody_knows_is_a_mistake_in_the_program() -> None:
    with pytest.raises(KeyError):
        find((), "imgae")


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("container:node_type", "containers:node_type"),
        ("container:partition", "containers:partition"),
        ("benitto:partition", "benito:partition"),
        ("Benito:image", "benito:image"),
        ("containers:node_typ", "containers:node_type"),
        ("container:node_typ", "containers:node_type"),
        ("benito:partitionpass", "benito:PartitionPass"),
        ("containers:PackingPas", "containers:PackingPass"),
        ("benito:startup", "startup"),
        ("benito:start_up", "startup"),
        ("start_up", "startup"),
        ("Startup", "startup"),
        ("ip4_adress", "ip4_address"),
        ("failure-action", "failureaction"),
        ("memory", "benito:memory"),
    ],
)
def test_near_misses_are_told_what_they_missed(name: str, better: str) -> None:
    (notice,) = check_attributes(on_node(name))
    assert notice.where == Location("f", 1)
    assert notice.text == f"the attribute {name!r} of node a is not known and does nothing: did you mean {better}?"


@pytest.mark.parametrize("name", ["benito:", "benito:xyz", "containers:colour", "benito:a:b"])
def test_our_prefixes_hold_only_what_we_know(name: str) -> None:
    (notice,) = check_attributes(on_node(name))
    assert notice.text == f"the attribute {name!r} of node a is not known and does nothing"


@pytest.mark.parametrize("name", ["", "colour", "description", "magi:conf", "x:startup", "size", "tests", ":", "urn:x:y"])
def test_names_of_others_are_left_alone(name: str) -> None:
    assert check_attributes(on_node(name)) == ()


@pytest.mark.parametrize(
    ("names", "winner"),
    [
        (("startup", "startup"), 1),
        (("containers:image", "fixed", "benito:image"), 1),
        (("partition", "benito:partition"), 1),
        (("benito:PackingPass", "containers:PartitionPass"), 1),
        (("type", "colour", "colour"), 2),
    ],
)
def test_of_twins_the_first_wins(names: tuple[str, ...], winner: int) -> None:
    (notice,) = check_attributes(on_node(*names))
    assert notice.where == Location("f", len(names))
    assert notice.text == f"node a has the attribute {names[-1]!r} already, from f:{winner}: the first one wins"


@pytest.mark.parametrize(
    ("topology", "expected"),
    [
        (Topology(attributes=(Attribute("benito:image", ""),)), "'benito:image' of the topology does nothing there: it belongs on a node"),
        (Topology((Substrate("l", attributes=(Attribute("startup", ""),)),)), "of substrate l does nothing there: it belongs on a node"),
        (Topology(elements=(Computer("a", attributes=(Attribute("loss", ""),)),)), "it belongs on an interface or a substrate"),
        (Topology(elements=(Computer("a", attributes=(Attribute("containers:packing", ""),)),)), "it belongs on the topology"),
        (Topology(elements=(Computer("a", attributes=(Attribute("osid", ""),)),)), "it belongs on an os"),
        (
            Topology(elements=(Computer("a", interfaces=(Interface("i", (), attributes=(Attribute("startup", ""),)),)),)),
            "'startup' of interface i of node a does nothing there: it belongs on a node",
        ),
        (Topology(elements=(Computer("a", oses=(OperatingSystem(attributes=(Attribute("type", ""),)),)),)), "'type' of the os of node a"),
    ],
)
def test_attributes_in_the_wrong_place(topology: Topology, expected: str) -> None:
    (notice,) = check_attributes(topology)
    assert expected in notice.text


def test_a_hostile_name_stays_on_its_line() -> None:
    (notice,) = check_attributes(on_node("benito:a\nb" + "x" * 500))
    assert "\n" not in str(notice)
    assert len(str(notice)) < 200


def test_every_misspelling_in_a_file_is_reported_where_it_stands() -> None:
    text = (FIXTURES / "misspelt.topdl").read_text()
    topology, dummy = read_topdl(text, "misspelt.topdl")
    lines = text.split("\n")
    stand = [(5, "startup"), (6, "container:node_type"), (7, "benitto:partition")]
    stand += [(11, "containers:node_typ"), (11, "start_up"), (13, "benito:colour")]
    expected = [("misspelt.topdl", line, lines[line - 1].index(f"<attribute><attribute>{name}<") + 1) for line, name in stand]
    assert [(n.where.file, n.where.line, n.where.column) for n in check_attributes(topology)] == expected


def test_the_registry_has_no_name_twice() -> None:
    names = [name for known in ATTRIBUTES for name in known.spellings]
    assert len(names) == len(set(names))


def test_every_setting_that_a_file_may_hold_is_registered() -> None:
    registered = {known.key for known in ATTRIBUTES if "topology" in known.places}
    assert {setting.name for setting in SETTINGS if setting.word.whose != LAB} <= registered
    assert not {setting.name for setting in SETTINGS if setting.word.whose == LAB} & registered


def test_the_table_says_where_and_what() -> None:
    rows = {row[0]: row[1:] for row in table()}
    assert len(rows) == len(ATTRIBUTES)
    assert rows["loss"][0] == "interface, substrate"
    assert "benito:partition, partition" in rows
    assert "benito:PartitionPass, benito:PackingPass" in rows
    for name, (places, meaning, word) in rows.items():
        assert places and word.whose in (FILE, BOTH), name
        assert meaning.endswith("."), name
        assert "(" not in meaning.replace("(computed)", "").replace("(the file)", ""), name

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import Location, TopologyError
from ansible_collections.benito.testbed.plugins.plugin_utils.formats.topdl import read_topdl
from ansible_collections.benito.testbed.plugins.plugin_utils.formats.topdl_writer import write_topdl
from ansible_collections.benito.testbed.plugins.plugin_utils.topology import (
    Attribute,
    Capacity,
    Computer,
    Cpu,
    Interface,
    Latency,
    OperatingSystem,
    Other,
    Segment,
    SegmentId,
    Service,
    ServiceParam,
    Software,
    Storage,
    Substrate,
    Topology,
)
from ansible_collections.benito.testbed.plugins.plugin_utils.topology import Testbed as OtherTestbed  # pytest would take it for tests

FIXTURES = Path(__file__).parents[3] / "fixtures" / "topdl"

EVERY_CONSTRUCT = Topology(
    substrates=(
        Substrate(
            name="big-lan",
            capacity=Capacity(100000.0, "max"),
            latency=Latency(2.5, "average"),
            attributes=(Attribute("loss", "0.01"),),
            localnames=("vlan7", "vlan8"),
            status="active",
            services=(
                Service(
                    "SMB",
                    ("left", "right"),
                    (ServiceParam("share", "string"), ServiceParam("quota", "int"), ServiceParam("load", "float")),
                    "Files & more",
                    "starting",
                ),
            ),
            operations=("release",),
        ),
        Substrate("link0"),
    ),
    elements=(
        Computer(
            name="alpha",
            cpus=(Cpu("x86_64", 2, (Attribute("cache", "4"),)), Cpu("arm64")),
            oses=(OperatingSystem("Linux", "6.1", "Debian", "12", (Attribute("osid", "DEB12"),)),),
            software=(Software("http://example.com/a.tgz", "/opt"), Software("b.rpm", None, (Attribute("sum", "1f"),))),
            storage=(Storage(2048.0, "persistent", (Attribute("disk", "b"),)),),
            interfaces=(
                Interface("eth.1", ("big-lan", "link0"), Capacity(0.5, "average"), Latency(10.0), (Attribute("ip4_address", "10.0.0.1"),)),
            ),
            attributes=(Attribute("startup", 'echo "a < b" && true'),),
            localnames=("pc7",),
            status="inactive",
            services=(Service("hide_hosts"),),
            operations=("reboot",),
        ),
        OtherTestbed(
            uri="http://example.com/other",
            type="emulab",
            interfaces=(Interface("inf000", ("big-lan",)),),
            attributes=(Attribute("portal", "true"),),
            localnames=("other",),
            status="failed",
            services=(Service("seer"),),
            operations=("halt",),
        ),
        Segment(
            id=SegmentId("fedid", "AAECAw=="),
            type="deter",
            uri="http://example.com/segment",
            interfaces=(Interface("inf000", ("link0",)),),
            attributes=(Attribute("dragon_vlan", "5"),),
        ),
        Other(attributes=(Attribute("what", ""),)),
    ),
    attributes=(Attribute("benito:project", "demo"),),
)


def experiment(*parts: str) -> str:
    return f"<experiment><version>1.0</version>{''.join(parts)}</experiment>"


def link(*names: str) -> str:
    return "".join(f"<substrates><name>{name}</name></substrates>" for name in names)


def node(name: str, *parts: str) -> str:
    return f"<elements><computer><name>{name}</name>{''.join(parts)}</computer></elements>"


def on(substrate: str, name: str = "", *parts: str) -> str:
    return f"<interface><substrate>{substrate}</substrate>{f'<name>{name}</name>' if name else ''}{''.join(parts)}</interface>"


PAIR = link("link0") + node("a", on("link0")) + node("b", on("link0"))


def refusal(text: str | bytes) -> TopologyError:
    with pytest.raises(TopologyError) as caught:
        read_topdl(text, "x.topdl")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("x.topdl:")
    return caught.value


def test_every_construct_is_read() -> None:
    topology, notices = read_topdl((FIXTURES / "every-construct.topdl").read_bytes(), "x.topdl")
    assert topology == EVERY_CONSTRUCT
    assert notices == ()


def test_what_is_written_reads_the_same_and_is_readable() -> None:
    text = write_topdl(EVERY_CONSTRUCT)
    assert read_topdl(text, "x.topdl") == (EVERY_CONSTRUCT, ())
    assert text.startswith("<experiment>\n  <version>1.0</version>\n  <substrates>\n    <name>big-lan</name>\n")
    assert text.endswith("</experiment>\n")
    assert "<rate>100000.000000</rate>" in text


def test_written_children_are_in_the_order_of_the_schema() -> None:
    text = write_topdl(EVERY_CONSTRUCT)
    computer = text[text.index("<computer>") : text.index("</computer>")]
    tags = ["name", "cpu", "os", "software", "storage", "interface", "attribute", "localname", "status", "service", "operation"]
    places = [computer.index(f"\n      <{tag}") for tag in tags]
    assert places == sorted(places)
    interface = computer[computer.index("<interface>") : computer.index("</interface>")]
    places = [interface.index(f"<{tag}>") for tag in ("substrate", "name", "capacity", "latency", "attribute")]
    assert places == sorted(places)


@pytest.mark.parametrize(
    "text",
    [
        experiment(PAIR),
        experiment(PAIR).replace("experiment>", "topology>"),
        f'<?xml version="1.0" encoding="UTF-8"?>\n{experiment(PAIR)}',
        "\ufeff" + experiment(PAIR),
        f"<experiment xmlns='http://www.isi.edu/topdl'>{PAIR}<version>1.0</version></experiment>",
        experiment(PAIR)
        .replace("<experiment>", "<t:experiment xmlns:t='urn:x' xmlns:xsi='urn:y' xsi:schemaLocation='z'>")
        .replace("</exp", "</t:exp"),
        experiment(PAIR).replace("<name>a</name>", "<!-- her --><name><!-- name -->a</name><?x y?>"),
        experiment(PAIR).replace(">", ">\n\t").replace("<", "\r\n <"),
        experiment(*reversed([link("link0"), node("a", on("link0")), node("b", on("link0"))]))
        .replace("a</n", "B</n")
        .replace("b</n", "a</n")
        .replace("B</n", "b</n"),
    ],
    ids=["plain", "topology", "declaration", "mark", "namespace", "prefix", "comments", "space", "reversed"],
)
def test_the_same_topology_in_many_guises(text: str) -> None:
    expected = Topology((Substrate("link0"),), tuple(Computer(n, interfaces=(Interface("inf000", ("link0",)),)) for n in "ab"))
    assert read_topdl(text, "x.topdl") == (expected, ())
    assert read_topdl(text.encode(), "x.topdl") == (expected, ())


def test_children_may_stand_in_any_order() -> None:
    text = experiment(
        "<substrates><latency><kind>max</kind><time>1</time></latency><capacity><kind>max</kind><rate>9</rate></capacity><name>l</name></substrates>",
        "<elements><computer><interface><name>i</name><substrate>l</substrate></interface>"
        "<software><install>/o</install><location>x</location></software><attribute><value>v</value><attribute>n</attribute></attribute>"
        "<name>a</name></computer></elements>",
    )
    topology, dummy = read_topdl(text, "x.topdl")
    assert topology.substrates == (Substrate("l", Capacity(9.0), Latency(1.0)),)
    assert topology.elements == (
        Computer("a", software=(Software("x", "/o"),), interfaces=(Interface("i", ("l",)),), attributes=(Attribute("n", "v"),)),
    )


def test_places_are_line_and_column_of_the_start_tag() -> None:
    attributes = "".join(f"<attribute><attribute>{name}</attribute><value/></attribute>" for name in ("é", "b"))
    element = f"<elements><other>{on('l', 'i', attributes)}</other></elements>"
    text = f"<experiment>\n  <version>1.0</version><!-- é\n é --> {link('l')}{element}</experiment>"
    topology, notices = read_topdl(text, "x.topdl")
    line = text.split("\n")[2]
    interface = topology.elements[0].interfaces[0]
    assert topology.where == Location("x.topdl", 1, 1)
    assert topology.substrates[0].where == Location("x.topdl", 3, line.index("<substrates>") + 1)
    assert interface.where == Location("x.topdl", 3, line.index("<interface>") + 1)
    assert interface.attributes[1].where == Location("x.topdl", 3, line.index("<attribute><attribute>b") + 1)
    assert [n.where for n in notices] == [topology.substrates[0].where]


def test_unnamed_interfaces_get_the_lowest_free_names() -> None:
    text = experiment(link("l"), node("a", on("l"), on("l", "inf001"), on("l"), on("l", "inf000"), on("l")), node("b", on("l")))
    topology, dummy = read_topdl(text, "x.topdl")
    assert [i.name for i in topology.computers[0].interfaces] == ["inf002", "inf001", "inf003", "inf000", "inf004"]
    assert [i.name for i in topology.computers[1].interfaces] == ["inf000"]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("<elements><computer><name>c</name><colour>red</colour></computer></elements>", "<colour> is not known in <computer>"),
        ("<nodes/>", "<nodes> is not known in <experiment>"),
        ("<elements><computer id='7'><name>c</name></computer></elements>", "the XML attribute id is not known in <computer>"),
        ("<elements>hello<computer><name>c</name></computer></elements>", "the text 'hello' means nothing in <elements>"),
        ("<elements><computer><name>c</name></computer>hello</elements>", "the text 'hello' means nothing in <elements>"),
        ("<substrates><name>s</name></substrates>", "substrate s has no interface"),
        (link("s") + node("c", on("s")), "substrate s has one interface"),
        ("<elements><computer><name>c</name><cpu><type>x<b/></type></cpu></computer></elements>", "<b> is not known in <type>"),
    ],
)
def test_what_is_strange_is_noticed(part: str, expected: str) -> None:
    dummy, notices = read_topdl(experiment(PAIR, part), "x.topdl")
    assert len(notices) == 1
    assert expected in notices[0].text
    assert notices[0].where.line == 1
    assert notices[0].where.column > 1


def test_words_of_other_programs_are_understood() -> None:
    text = experiment(
        PAIR.replace("</name></substrates>", "</name><capacity><rate>1</rate><kind>avg</kind></capacity></substrates>"),
        node("c", *(f"<storage><amount>1</amount><persistence>{p}</persistence></storage>" for p in ("true", "false"))),
    )
    topology, notices = read_topdl(text, "x.topdl")
    assert topology.substrates[0].capacity == Capacity(1.0, "average")
    assert [s.persistence for s in topology.computers[2].storage] == ["persistent", "temporary"]
    assert [n.text for n in notices] == [
        "<kind> is 'avg', taken for average",
        "<persistence> is 'true', taken for persistent",
        "<persistence> is 'false', taken for temporary",
    ]


@pytest.mark.parametrize(("version", "read"), [("<version>0</version>", "0"), ("", "1.0")])
def test_other_versions_are_read_with_a_notice(version: str, read: str) -> None:
    topology, notices = read_topdl(f"<experiment>{version}{PAIR}</experiment>", "x.topdl")
    assert topology.version == read
    assert [n.where for n in notices] == [Location("x.topdl", 1, 1)]
    assert "version" in notices[0].text


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("<substrates/>", "<substrates> has no <name>"),
        ("<substrates><name>a</name><name>b</name></substrates>", "more than one <name> in <substrates>"),
        ("<substrates><name>s</name><capacity><kind>max</kind></capacity></substrates>", "<capacity> has no <rate>"),
        ("<substrates><name>s</name><capacity><rate>1</rate></capacity></substrates>", "<capacity> has no <kind>"),
        ("<substrates><name>s</name><status>up</status></substrates>", "<status> is 'up': it must be empty, active"),
        ("<elements/>", "<elements> holds none of computer"),
        ("<elements><computer><name>c</name></computer><other/></elements>", "<elements> holds 2 of computer"),
        ("<elements><computer/></elements>", "<computer> has no <name>"),
        (node("c", "<interface/>"), "<interface> has no <substrate>"),
        (node("c", "<cpu count='0'><type>x</type></cpu>"), "the count of <cpu> is '0'"),
        (node("c", "<cpu count='two'><type>x</type></cpu>"), "the count of <cpu> is 'two'"),
        (node("c", f"<cpu count='{'9' * 5000}'><type>x</type></cpu>"), "the count of <cpu> is"),
        (node("c", "<storage><amount>1</amount><persistence>maybe</persistence></storage>"), "<persistence> is 'maybe'"),
        (node("c", "<attribute><attribute>n</attribute></attribute>"), "<attribute> has no <value>"),
        (node("c", "<service><name>s</name><param><name>p</name><type>bool</type></param></service>"), "<type> is 'bool'"),
        ("<elements><segment><id/><type>t</type><uri>u</uri></segment></elements>", "<id> holds 0 identities"),
        (
            "<elements><segment><id><uri>a</uri><uuid>b</uuid></id><type>t</type><uri>u</uri></segment></elements>",
            "<id> holds 2 identities",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_stands(part: str, expected: str) -> None:
    error = refusal(experiment(PAIR, part))
    assert expected in error.message
    assert error.where.line == 1
    assert error.where.column > len(experiment(PAIR)) - len("</experiment>")


@pytest.mark.parametrize("number", ["", "fast", "-1", "nan", "inf", "1e999", "1_000", "1,5", "0x10", "\u0661", "1 0", "5kb"])
def test_numbers_must_be_numbers(number: str) -> None:
    text = experiment(f"<substrates><name>s</name><capacity><rate>{number}</rate><kind>max</kind></capacity></substrates>")
    assert refusal(text).where.column == text.index("<rate>") + 1


@pytest.mark.parametrize(("text", "number"), [("0", 0), (" 5 ", 5), ("100000.000000", 100000), ("1e3", 1000), (".5", 0.5), ("+2.", 2)])
def test_numbers_are_read(text: str, number: float) -> None:
    topology, dummy = read_topdl(
        experiment(f"<substrates><name>s</name><latency><time>{text}</time><kind>max</kind></latency></substrates>"), "x"
    )
    assert topology.substrates[0].latency == Latency(number)


@pytest.mark.parametrize("name", ["", "a..b", "a;b", "{{ a }}", "a,b", "a/b", "a b", "-a", ".a", "a" * 64, "é", "a\nb", "a&#127;b"])
def test_names_that_cannot_be_used(name: str) -> None:
    for text, tag in (experiment(PAIR, node(name)), "<computer>"), (experiment(PAIR, link(name)), "<substrates>"):
        error = refusal(text)
        assert "cannot be used: it must be 1 to 63 letters" in error.message
        assert error.where.column == text.rindex(tag) + 1
    if name:
        assert "the interface name" in refusal(experiment(PAIR, node("c", on("link0", name)))).message


@pytest.mark.parametrize("name", ["a.b", "localhost", "LogHost", "ops", "pnode-0000", "PNODE-7"])
def test_names_that_cannot_be_nodes(name: str) -> None:
    assert name in refusal(experiment(node(name))).message
    read_topdl(experiment(link(name), node("a", on(name, name)), node("b", on(name))), "x.topdl")


@pytest.mark.parametrize("name", ["a", "0", "n-3", "a_b", "A" * 63, "pnode", "opsx"])
def test_names_that_can(name: str) -> None:
    topology, notices = read_topdl(experiment(link(name), node(name, on(name, name)), node("other", on(name))), "x.topdl")
    assert (topology.computers[0].name, notices) == (name, ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (experiment(PAIR, link("link0")), "more than one substrate 'link0'"),
        (experiment(PAIR, node("a")), "more than one node 'a'"),
        (experiment(PAIR, node("A")), "more than one node 'A' but for capitals, which host names ignore, from 'a'"),
        (experiment(PAIR, node("c", on("link0", "i"), on("link0", "i"))), "more than one interface 'i' of node c"),
        (
            experiment(PAIR, node("c", "<interface><substrate>link0</substrate><substrate>link0</substrate></interface>")),
            "on substrate link0 more than once",
        ),
        (
            experiment(PAIR, node("c", on("lnk0"))),
            "interface inf000 of node c is on substrate 'lnk0', which does not exist: did you mean link0?",
        ),
        (experiment(PAIR, node("c", on("zzz"))), "which does not exist: known are link0"),
        (experiment(node("c", on("zzz"))), "which does not exist: known are none"),
    ],
)
def test_twins_and_references_to_nothing(text: str, expected: str) -> None:
    error = refusal(text)
    assert expected in error.message
    assert error.where.column > 1


@pytest.mark.parametrize(
    ("text", "expected", "where"),
    [
        (b"", "the file is empty", "x.topdl:1:1"),
        (b" \n\t\n", "the file is empty", "x.topdl:1:1"),
        (b"\xef\xbb\xbf", "the file is empty", "x.topdl:1:1"),
        (b"\x7fELF\0\0", "binary", "x.topdl:1:1"),
        (b"<experiment>\n\xff</experiment>", "not text in UTF-8", "x.topdl:2"),
        ("<experiment>\ud800</experiment>", "not text in UTF-8", "x.topdl"),
        (b"hello", "not well-formed XML", "x.topdl:1:1"),
        (b"<experiment>\n <version>", "not well-formed XML", "x.topdl:2:11"),
        (b"<experiment>\n  <version></name></experiment>", "not well-formed XML: mismatched tag", "x.topdl:2:14"),
        (b"<experiment>&amount;</experiment>", "not well-formed XML: undefined entity", "x.topdl:1:13"),
        (b"<t:experiment/>", "not well-formed XML", "x.topdl:1"),
        (b"<html><body/></html>", "an HTML page", "x.topdl:1:1"),
        (b"<!DOCTYPE html>\n<html><br></html>", "an HTML page", "x.topdl:1:1"),
        (b"<rspec/>", "starts with <rspec>: a topology in TopDL starts with <experiment>", "x.topdl:1:1"),
        (b"<!DOCTYPE experiment SYSTEM 'file:///etc/passwd'><experiment/>", "DOCTYPE is not allowed", "x.topdl:1:"),
        (b"<!DOCTYPE e [<!ENTITY a 'aa'><!ENTITY b '&a;&a;'>]>\n<experiment>&b;</experiment>", "DOCTYPE is not allowed", "x.topdl:1:1"),
        (b"<experiment>" + b"<a>" * 5000 + b"</a>" * 5000 + b"</experiment>", "nested more than 100 deep", "x.topdl:1"),
    ],
)
def test_what_is_no_topology(text: bytes | str, expected: str, where: str) -> None:
    error = refusal(text)
    assert expected in error.message
    assert str(error.where).startswith(where)


def test_a_topology_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible_collections.benito.testbed.plugins.plugin_utils.formats.xml_tags.LIMIT", 2 * 1024 * 1024)
    assert "more than 2 MB" in refusal(experiment(" " * 2 * 1024 * 1024)).message


def test_text_that_xml_cannot_carry_is_not_written() -> None:
    with pytest.raises(TopologyError, match="cannot carry"):
        write_topdl(Topology(attributes=(Attribute("n", "a\x01b"),)))


# White space around a text is not part of it; within, all of it is kept.
texts = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), include_characters="\t\r\n", exclude_characters="\ufffe\uffff"), max_size=8
).map(lambda text: text.strip(" \t\r\n"))
numbers = st.floats(min_value=0, allow_infinity=False, allow_nan=False)
kinds = st.sampled_from(["max", "average"])
statuses = st.none() | st.sampled_from(["empty", "active", "inactive", "starting", "terminating", "failed"])
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,8}", fullmatch=True)


def some(strategy: st.SearchStrategy, most: int = 2) -> st.SearchStrategy:
    return st.lists(strategy, max_size=most).map(tuple)


capacities = st.none() | st.builds(Capacity, numbers, kinds)
latencies = st.none() | st.builds(Latency, numbers, kinds)
attributes = some(st.builds(Attribute, texts, texts))
services = some(
    st.builds(
        Service,
        texts,
        some(texts),
        some(st.builds(ServiceParam, texts, st.sampled_from(["string", "int", "float"]))),
        st.none() | texts,
        statuses,
    )
)
optional = st.none() | texts


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    substrates = draw(some(st.builds(Substrate, names, capacities, latencies, attributes, some(texts), statuses, services, some(texts)), 3))
    substrates = tuple({s.name: s for s in substrates}.values())
    one_each = st.lists(st.sampled_from([s.name for s in substrates]), min_size=1, unique=True).map(tuple) if substrates else st.nothing()
    interfaces = (
        some(st.builds(Interface, names, one_each, capacities, latencies, attributes)).map(
            lambda all_: tuple({i.name: i for i in all_}.values())
        )
        if substrates
        else st.just(())
    )
    computers = st.builds(
        Computer,
        names.map(lambda name: f"x{name}"),
        some(st.builds(Cpu, texts, st.integers(1, 999999), attributes)),
        some(st.builds(OperatingSystem, optional, optional, optional, optional, attributes)),
        some(st.builds(Software, texts, optional, attributes)),
        some(st.builds(Storage, numbers, st.sampled_from(["temporary", "persistent"]), attributes)),
        interfaces,
        attributes,
        some(texts),
        statuses,
        services,
        some(texts),
    )
    testbeds = st.builds(OtherTestbed, texts, texts, interfaces, attributes, some(texts), statuses, services, some(texts))
    ids = st.builds(SegmentId, st.sampled_from(["uuid", "fedid", "uri", "localname", "kerberosUsername"]), texts)
    elements = draw(
        some(
            computers | testbeds | st.builds(Segment, ids, texts, texts, interfaces, attributes) | st.builds(Other, interfaces, attributes),
            3,
        )
    )
    elements = tuple({e.name.lower() if isinstance(e, Computer) else i: e for i, e in enumerate(elements)}.values())
    return Topology(substrates, elements, draw(attributes), draw(texts))


@settings(max_examples=100, deadline=None)
@given(topologies())
def test_every_topology_survives_a_round_trip(topology: Topology) -> None:
    text = write_topdl(topology)
    read, dummy = read_topdl(text, "x.topdl")
    assert read == topology
    assert write_topdl(read) == text


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=30))
def test_white_space_around_a_text_is_all_that_is_lost(text: str) -> None:
    topology = Topology(attributes=(Attribute("n", text),))
    try:
        written = write_topdl(topology)
    except TopologyError:
        return
    assert read_topdl(written, "x")[0] == replace(topology, attributes=(Attribute("n", text.strip(" \t\r\n")),))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_file_is_read_or_refused_in_one_line(data: st.DataObject) -> None:
    text = bytearray((FIXTURES / "every-construct.topdl").read_bytes())
    for dummy in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text) - 1))
        text[start : start + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=4))
    try:
        topology, dummy = read_topdl(bytes(text), "x.topdl")
    except TopologyError as error:
        assert str(error).startswith("x.topdl:")
        assert "\n" not in str(error)
    else:
        assert read_topdl(write_topdl(topology), "x.topdl")[0] == topology

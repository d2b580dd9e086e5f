# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import math
import os
import re
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import Location, TopologyError
from ansible_collections.benito.testbed.plugins.plugin_utils.formats import tcl
from ansible_collections.benito.testbed.plugins.plugin_utils.formats.ns import read_ns
from ansible_collections.benito.testbed.plugins.plugin_utils.formats.ns_units import (
    decimal,
    parse_address,
    parse_bandwidth,
    parse_delay,
    parse_loss,
    parse_netmask,
)
from ansible_collections.benito.testbed.plugins.plugin_utils.shaping import Direction, shapes
from ansible_collections.benito.testbed.plugins.plugin_utils.topology import Software, find_attribute

FIXTURES = Path(__file__).parents[3] / "fixtures" / "ns"
HERE = Location("x.ns", 7)
# Three nodes, a link and a LAN, for the commands that work on them. Eight lines.
BASE = """set ns [new Simulator]
set a [$ns node]
set b [$ns node]
set c [$ns node]
set wire [$ns duplex-link $a $b 10Mb 20ms DropTail]
set lan [$ns make-lan "$a $b $c" 100Mb 10ms]


"""


def fixture(name):
    return read_ns((FIXTURES / name).read_text(), name)[0]


def read(body, base=BASE):
    """Read the base with some statements more, the first of which is on line 9, and a run."""
    return read_ns(f"{base}{body}\n$ns run\n", "x.ns")


def node(topology, name):
    return next(c for c in topology.computers if c.name == name)


def value(thing, name):
    found = find_attribute(thing.attributes, name)
    return found.value if found else None


def notices(body, base=BASE):
    return [str(n) for n in read(body, base)[1]]


def error(text, base=""):
    with pytest.raises(TopologyError) as caught:
        read_ns(base + text, "x.ns")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def wrong(statement):
    """Return the error of a statement on line 9."""
    return error(f"{statement}\n$ns run\n", BASE)


class TestIdioms:
    def test_star_has_emulabs_link_names_and_no_attributes_nobody_asked_for(self):
        topology = fixture("star.ns")
        assert [c.name for c in topology.computers] == ["hub", "leaf-0", "leaf-1", "leaf-2", "leaf-3"]
        assert [s.name for s in topology.substrates] == ["tblink-l3", "tblink-l5", "tblink-l7", "tblink-l9"]
        hub = topology.computers[0]
        assert [i.name for i in hub.interfaces] == ["inf000", "inf001", "inf002", "inf003"]
        assert [i.substrates for i in hub.interfaces] == [("tblink-l3",), ("tblink-l5",), ("tblink-l7",), ("tblink-l9",)]
        assert not hub.attributes
        assert not hub.oses
        assert not hub.interfaces[0].attributes
        assert {a.name: a.value for a in topology.attributes} == {"benito:addressing": "emulab", "benito:routing": "static"}

    def test_delay_is_halved_at_each_end(self):
        topology = fixture("star.ns")
        link, interface = topology.substrates[0], topology.computers[0].interfaces[0]
        assert (link.capacity.rate, link.capacity.kind, link.latency.time, link.latency.kind) == (100000, "max", 5, "max")
        assert (interface.capacity, interface.latency) == (link.capacity, link.latency)

    def test_places_are_those_of_the_statements(self):
        topology = fixture("star.ns")
        assert topology.computers[0].where == Location("star.ns", 5)
        assert topology.computers[2].where == Location("star.ns", 7)
        assert topology.substrates[0].where == topology.computers[0].interfaces[0].where == Location("star.ns", 8)

    def test_variables_of_a_foreach_and_bare_names(self):
        topology = fixture("names.ns")
        assert [c.name for c in topology.computers] == ["ada", "bob", "cyd"]
        assert [(s.name, s.capacity.rate, s.latency) for s in topology.substrates] == [("office", 1_000_000, None)]
        assert value(node(topology, "bob").oses[0], "osid") == "DEBIAN12"
        assert value(node(topology, "ada"), "benito:routes") == "cyd via bob"
        assert value(topology, "benito:routing") == "manual"

    def test_objects_of_procedures_are_named_by_the_first_global_variable(self):
        topology = fixture("procedures.ns")
        assert [c.name for c in topology.computers] == ["node-a0", "node-a1", "node-a2", "gateway", "tbnode-n7"]
        assert [s.name for s in topology.substrates] == ["link-a1", "link-a2", "tblink-l8"]
        assert [s.capacity.rate for s in topology.substrates] == [100000, 100000, 1500]
        assert value(topology, "benito:routing") == "none"

    def test_members_of_a_lan_keep_their_order_and_substrates_theirs(self):
        topology, dummy = read('set late [$ns make-lan "c a" 1Mb 0]\nset early [$ns duplex-link c a 1Mb 0 DropTail]')
        assert [s.name for s in topology.substrates] == ["wire", "lan", "late", "early"]
        assert [i.substrates[0] for i in node(topology, "a").interfaces] == ["wire", "lan", "late", "early"]

    def test_statements_may_span_lines_and_end_in_returns(self):
        text = 'set ns [new Simulator]\r\nset a [$ns \\\r\n node]\r\ntb-add-node-attribute $a x "€ 😀"\r\n$ns run\r\n'
        topology, dummy = read_ns(text, "x.ns")
        assert value(node(topology, "a"), "x") == "€ 😀"
        assert topology.computers[0].attributes[0].where.line == 4


class TestNames:
    @settings(max_examples=20, deadline=None)
    @given(
        array=st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,5}", fullmatch=True),
        index=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9-]{0,5}", fullmatch=True),
    )
    def test_an_element_of_an_array_gets_a_dash(self, array, index):
        # The prefix keeps clear of Tcl's own commands.
        topology, dummy = read_ns(f"set ns [new Simulator]\nset q{array}({index}) [$ns node]\n$ns run", "x.ns")
        assert [c.name for c in topology.computers] == [f"q{array}-{index}"]

    @pytest.mark.parametrize(
        ("body", "names"),
        [
            ("set x [$ns node]; set y $x", ["x"]),
            ("set y [set x [$ns node]]", ["x"]),
            ("set ::x [$ns node]", ["x"]),
            ("lappend l [$ns node]", ["tbnode-n1"]),
            ("set l [list [$ns node] 5]", ["tbnode-n1"]),
            ("lappend l [$ns node]; set x $l", ["x"]),
            ("lappend l [$ns node]; set i 1; set x [lindex $l 0]", ["tbnode-n1"]),
            ("proc p {} {global ns; set x [$ns node]}; p", ["tbnode-n1"]),
            ("set x 5; proc p {} {global ns; set x [$ns node]}; p", ["tbnode-n1"]),
            ("proc p {} {global ns x; set x [$ns node]}; p", ["x"]),
            ("proc p {} {global ns n; set n(3) [$ns node]}; p", ["n-3"]),
            ("proc p {} {uplevel #0 {set x [$ns node]}}; p", ["x"]),
            ("namespace eval q {variable x; set x [$::ns node]}", ["tbnode-n1"]),
            ("set n(1) [$ns node]; set m(1) [ns node]", ["n-1", "m-1"]),
            ("set x [new Agent/TCP]; set y [$ns node]", ["y"]),
        ],
    )
    def test_which_variable_names_an_object(self, body, names):
        topology, dummy = read(body, "set ns [new Simulator]\n")
        assert [c.name for c in topology.computers] == names

    def test_nodes_links_and_lans_share_one_counter(self):
        topology, dummy = read(
            "foreach i {1 2} {lappend l [$ns node]}\n$ns duplex-link {*}$l 1Mb 0 DropTail\n$ns make-lan $l 1Mb 0\n$ns node",
            "set ns [new Simulator]\n",
        )
        assert [c.name for c in topology.computers] == ["tbnode-n1", "tbnode-n2", "tbnode-n5"]
        assert [s.name for s in topology.substrates] == ["tblink-l3", "tblan-lan4"]

    def test_lans_in_an_array(self):
        assert read('set lan(0) [$ns make-lan "a b" 1Mb 0]', BASE.replace("set lan ", "set net "))[0].substrates[2].name == "lan-0"

    def test_names_are_found_after_a_rename(self):
        topology, dummy = read("set l [$ns duplex-link $a $c 1Mb 0 DropTail]\ntb-set-link-loss [$ns link $c $a] 0.1\nl cost 3")
        assert value(node(topology, "c").interfaces[1], "loss")

    @pytest.mark.parametrize(
        ("statement", "text"),
        [
            ("set my_node [$ns node]", "x.ns:9: the node name 'my_node' cannot be used"),
            ("set n(1,2) [$ns node]", "x.ns:9: the node name 'n-1,2' cannot be used"),
            (f"set {'n' * 64} [$ns node]", "x.ns:9: the node name"),
            ("set my_lan [$ns make-lan {a b} 1Mb 0]", "x.ns:9: the lan name 'my_lan' cannot be used"),
            ("set ops [$ns node]", "x.ns:9: the node name 'ops' is the testbed's own"),
            ("set a [$ns node]", 'x.ns:9: there is already an object "a"'),
            ("set switch [$ns node]", 'x.ns:9: "switch" is the name of a Tcl command'),
            ("proc p {} {}; set p [$ns node]", 'x.ns:9: "p" is the name of a Tcl command'),
        ],
    )
    def test_names_that_cannot_be_used(self, statement, text):
        assert wrong(statement).startswith(text)


class TestUnits:
    @pytest.mark.parametrize(
        ("text", "rate"),
        [
            ("*", 0),
            ("10000", 10),
            ("10000b", 10),
            ("64000bps", 64),
            *((f"100{unit}", 100) for unit in ("k", "kb", "kbps", "K", "Kb", "Kbps")),
            *((f"100{unit}", 100_000) for unit in ("M", "Mb", "Mbps")),
            *((f"2{unit}", 2_000_000) for unit in ("G", "Gb", "Gbps")),
            ("1000000.0kb", 1_000_000),
            ("1.5Mb", 1500),
            ("1.1Mb", 1100),
            (".5Mb", 500),
            ("1e2Mb", 100_000),
            ("10 Mb", 10_000),
            ("10.9kb", 10),
        ],
    )
    def test_bandwidth(self, text, rate):
        assert parse_bandwidth(text, HERE) == rate

    @pytest.mark.parametrize(
        "text", ["100mb", "100MB", "1gb", "1Tb", "5kB", "100Mb/s", "0", "9kb", "9999", "fast", "", "-5Mb", "1Mb2", "**", "9" * 400]
    )
    def test_wrong_bandwidth(self, text):
        with pytest.raises(TopologyError, match=r"^x\.ns:7: .*bandwidth"):
            parse_bandwidth(text, HERE)

    @pytest.mark.parametrize(
        ("text", "delay"),
        [("0", 0), ("0ms", 0), ("0.0s", 0), ("10ms", 10), ("2ms", 2), ("2.9ms", 2), ("1", 1000), ("0.01s", 10), (".05", 50), ("5000ns", 5)],
    )
    def test_delay(self, text, delay):
        assert parse_delay(text, HERE) == delay

    @pytest.mark.parametrize("text", ["1ms", "1.9ms", ".1ms", "0.001s", "10us", "10MS", "10 m s", "soon", "-3ms", ""])
    def test_wrong_delay(self, text):
        with pytest.raises(TopologyError, match=r"^x\.ns:7: .*delay"):
            parse_delay(text, HERE)

    def test_a_delay_too_short_says_what_would_be_right(self):
        with pytest.raises(TopologyError, match=r"the delay of 1\.5 ms is invalid: it must be either 0 or at least 2 ms"):
            parse_delay("1.5ms", HERE)

    @pytest.mark.parametrize(("text", "loss"), [("0", 0), ("0.0", 0), ("1", 1), ("1.0", 1), (".05", 0.05), ("0.000005", 0.000005)])
    def test_loss(self, text, loss):
        assert parse_loss(text, HERE) == loss

    @pytest.mark.parametrize("text", ["1.1", "0.000001", "-0.1", "5%", "1e-3", "", "1.", "nan", "9" * 400])
    def test_wrong_loss(self, text):
        with pytest.raises(TopologyError, match=r"^x\.ns:7: .*loss rate"):
            parse_loss(text, HERE)

    @pytest.mark.parametrize(("text", "address"), [("10.1.2.3", "10.1.2.3"), ("192.168.001.010", "192.168.1.10")])
    def test_address(self, text, address):
        assert parse_address(text, HERE) == address

    @pytest.mark.parametrize("text", ["10.1.2", "10.1.2.256", "10.1.2.3.4", "10.1.2.x", "", "10.1.2.3/24", "1\u0660.1.2.3"])
    def test_wrong_address(self, text):
        with pytest.raises(TopologyError, match=r"^x\.ns:7: .*not a valid IP address"):
            parse_address(text, HERE)

    @pytest.mark.parametrize("text", ["255.255.0.0", "255.255.255.0", "255.255.255.248", "255.255.255.252"])
    def test_netmask(self, text):
        assert parse_netmask(text, HERE) == text

    @pytest.mark.parametrize("text", ["255.0.0.0", "255.254.0.0", "255.255.255.254", "255.255.255.255", "255.255.0.255", "0.0.0.0", "/24"])
    def test_wrong_netmask(self, text):
        with pytest.raises(TopologyError, match=r"^x\.ns:7: "):
            parse_netmask(text, HERE)

    @given(st.floats(0, 1))
    def test_decimals_have_no_exponent(self, number):
        assert re.fullmatch(r"[0-9]+(\.[0-9]+)?", decimal(number))
        assert math.isclose(float(decimal(number)), number, abs_tol=1e-12)


class TestShapes:
    def test_loss_is_shared_by_the_two_ends(self):
        topology, dummy = read("tb-set-link-loss $wire 0.19\ntb-set-lan-loss $lan 0.36")
        for name in "ab":
            wire, lan = node(topology, name).interfaces
            assert (value(wire, "loss"), value(lan, "loss")) == ("0.1", "0.2")
            assert not any(a.name.startswith("benito:") for i in (wire, lan) for a in i.attributes)

    def test_loss_of_the_link_between_two_nodes(self):
        topology, dummy = read("tb-set-link-loss $b $a 0.19")
        assert [value(i, "loss") for i in node(topology, "a").interfaces] == ["0.1", None]

    def test_simplex_parameters_of_a_link_go_one_way(self):
        topology = fixture("shapes.ns")
        a, b = node(topology, "a").interfaces[0], node(topology, "b").interfaces[0]
        assert (a.capacity.rate, a.latency.time, value(a, "loss")) == (1000, 20, "0.2")
        assert [value(a, f"benito:reverse_{what}") for what in ("capacity", "latency", "loss")] == ["10000", "10", "0.1"]
        assert (b.capacity.rate, b.latency.time, value(b, "loss")) == (10000, 10, "0.1")
        assert [value(b, f"benito:reverse_{what}") for what in ("capacity", "latency", "loss")] == ["1000", "20", "0.2"]

    def test_parameters_between_a_node_and_a_lan_are_not_halved(self):
        a, b, c = (node(fixture("shapes.ns"), name).interfaces[-1] for name in "abc")
        assert (a.capacity.rate, a.latency.time, value(a, "loss"), value(a, "benito:reverse_loss")) == (2000, 30, "0.1", None)
        assert (b.capacity.rate, b.latency.time, value(b, "loss")) == (3000, 6, None)
        assert [value(b, f"benito:reverse_{what}") for what in ("capacity", "latency", "loss")] == ["4000", "8", "0.2"]
        assert (c.capacity.rate, c.latency.time, c.attributes) == (100000, 5, ())

    def test_a_substrate_has_the_most_of_its_ends(self):
        wire, lan = fixture("shapes.ns").substrates
        assert (wire.capacity.rate, wire.latency.time) == (10000, 20)
        assert (lan.capacity.rate, lan.latency.time) == (100000, 30)

    def test_an_end_without_delay_says_so_where_others_have_one(self):
        topology, dummy = read("tb-set-node-lan-delay $a $lan 0")
        assert [node(topology, name).interfaces[-1].latency.time for name in "abc"] == [0, 5, 5]

    def test_no_limit(self):
        topology, dummy = read("$ns duplex-link $a $c * 0 DropTail")
        assert (topology.substrates[2].capacity, node(topology, "c").interfaces[1].capacity) == (None, None)


class TestWhoShapes:
    """What a statement makes of `BASE`, whose link and LAN have a delay, and of a link of 10 Mb/s without one."""

    FAST = "set fast [$ns duplex-link $a $c 10Mb 0 DropTail]\n"

    def methods(self, body):
        """Return how each interface of c is shaped: that in the LAN and that at the fast link."""
        topology, dummy = read(self.FAST + body)
        return {i.substrates[0]: shape for i in node(topology, "c").interfaces for shape in [shapes(topology)["c", i.name]]}

    @pytest.mark.parametrize(
        ("body", "lan", "fast"),
        [
            ("", "wirefilter", "wirefilter"),
            ("tb-use-endnodeshaping 1", "netem", "netem"),
            ("tb-force-endnodeshaping on", "netem", "netem"),
            ("tb-use-endnodeshaping 1; tb-use-endnodeshaping 0", "wirefilter", "wirefilter"),
            ("tb-use-endnodeshaping 1; tb-set-endnodeshaping $fast 0", "netem", "wirefilter"),
            ("tb-set-endnodeshaping $lan 1", "netem", "wirefilter"),
            ("tb-set-endnodeshaping $lan 1; tb-set-noshaping $fast 1", "netem", None),
            ("tb-use-endnodeshaping 1; tb-set-noshaping $fast 1", "netem", None),
            ("tb-use-endnodeshaping 1; tb-set-noshaping $lan 1", "netem", "netem"),
            ("tb-set-noshaping $fast 1; tb-set-noshaping $fast 0", "wirefilter", "wirefilter"),
        ],
    )
    def test_where(self, body, lan, fast):
        assert {name: shape and shape.method for name, shape in self.methods(body).items()} == {"lan": lan, "fast": fast}

    def test_without_bounds_on_the_rate_delay_and_loss_remain(self):
        shape = self.methods("tb-set-noshaping $lan 1\ntb-set-lan-loss $lan 0.36")["lan"]
        assert shape.out == shape.into == Direction(latency=5, loss=pytest.approx(0.2))

    def test_a_rate_that_was_all_is_kept_for_readers(self):
        topology, dummy = read(f"{self.FAST}tb-set-noshaping $fast 1")
        fast = topology.substrates[2]
        assert (fast.capacity.rate, value(fast, "benito:shaping"), fast.attributes[0].where) == (10000, "none", Location("x.ns", 10))

    @pytest.mark.parametrize("order", [1, -1])
    def test_both_on_one_link_contradict_each_other(self, order):
        statements = ["tb-set-endnodeshaping $wire 1", "tb-set-noshaping $wire 1"][::order]
        said = error("\n".join([*statements, "$ns run", ""]), BASE)
        assert said.startswith("x.ns:10: the link wire is to be shaped at its end nodes and not to be shaped: it must be either")
        read("tb-set-endnodeshaping $wire 1; tb-set-noshaping $wire 1; tb-set-endnodeshaping $wire 0")

    @pytest.mark.parametrize(
        ("statement", "text"),
        [
            ("tb-use-endnodeshaping perhaps", "'perhaps' neither enables nor disables: it must be 1 or 0"),
            ("tb-set-noshaping $a 1", "'a' is not a link or LAN"),
            ("tb-set-endnodeshaping $wire", "wrong number of arguments: it must be tb-set-endnodeshaping link enable"),
        ],
    )
    def test_wrong(self, statement, text):
        assert wrong(statement).startswith(f"x.ns:9: {text}")


class TestNodes:
    @pytest.mark.parametrize(
        ("statement", "attribute", "expected"),
        [
            ("tb-set-hardware $a MicroCloud", "type", "MicroCloud"),
            ("tb-set-node-startcmd $a {echo $HOME > /tmp/x; [x]}", "startup", "echo $HOME > /tmp/x; [x]"),
            ("tb-set-node-startup $a ls", "startup", "ls"),
            ("$a start-command ls", "startup", "ls"),
            ("a start-command ls", "startup", "ls"),
            ("tb-set-node-failure-action $a nonfatal", "failureaction", "nonfatal"),
            ("tb-set-node-failure-action $a ignore", "failureaction", "ignore"),
            ("tb-set-default-failure-action nonfatal", "failureaction", "nonfatal"),
            ("tb-set-node-testbed $a deter", "testbed", "deter"),
            ("tb-fix-node $a pc7", "fixed", "pc7"),
            ("tb-add-node-attribute $a containers:partition 3", "containers:partition", "3"),
            ("tb-add-node-attribute a x 1; tb-add-node-attribute a x 2", "x", "1"),
        ],
    )
    def test_attributes(self, statement, attribute, expected):
        topology, said = read(statement)
        found = find_attribute(node(topology, "a").attributes, attribute)
        assert (found.value, found.where, said) == (expected, Location("x.ns", 9), ())

    def test_the_files_own_attributes_come_first(self):
        topology, dummy = read("tb-set-node-startup $a ls\ntb-set-hardware $a pc\ntb-add-node-attribute $a z 1")
        assert [a.name for a in node(topology, "a").attributes] == ["z", "type", "startup"]

    def test_a_nodes_failure_action_is_stronger_than_the_default(self):
        topology, dummy = read("tb-set-node-failure-action $a fatal\ntb-set-default-failure-action ignore")
        assert [value(c, "failureaction") for c in topology.computers] == ["fatal", "ignore", "ignore"]

    def test_software(self):
        topology, dummy = read(
            "tb-set-node-rpms $a /p/x.rpm /p/y.rpm\ntb-set-node-tarfiles $a /opt /p/x.tgz\n"
            'tb-set-node-rpms $b "/p/x.rpm /p/y.rpm"\ntb-set-node-tarfiles $b {/opt /p/x.tgz}'
        )
        software = (Software("/p/x.tgz", "/opt"), Software("/p/x.rpm"), Software("/p/y.rpm"))
        assert (node(topology, "a").software, node(topology, "b").software) == (software, software)


class TestAddresses:
    @pytest.mark.parametrize(
        ("statement", "index"),
        [
            ("tb-set-ip-link $a $wire 10.2.0.9", 0),
            ("tb-set-ip-interface $a $b 10.2.0.9", 0),
            ("tb-set-ip-link $a [$ns link $b $a] 10.2.0.9", 0),
            ("tb-set-ip-lan $a $lan 10.2.0.9", 1),
        ],
    )
    def test_given(self, statement, index):
        interfaces = node(read(statement)[0], "a").interfaces
        assert (value(interfaces[index], "ip4_address"), value(interfaces[index], "ip4_netmask")) == ("10.2.0.9", "255.255.255.0")
        assert not interfaces[1 - index].attributes

    def test_of_the_only_link(self):
        topology, dummy = read("tb-set-ip $c 10.2.0.9\ntb-set-netmask $lan 255.255.255.240")
        interfaces = [node(topology, name).interfaces[-1] for name in "abc"]
        assert [value(i, "ip4_netmask") for i in interfaces] == ["255.255.255.240"] * 3
        assert [value(i, "ip4_address") for i in interfaces] == [None, None, "10.2.0.9"]

    @pytest.mark.parametrize(
        ("statement", "text"),
        [
            ("tb-set-ip $a 10.2.0.9", "a has 2 links"),
            ("tb-set-ip-lan $a $wire 10.2.0.9", "'wire' is not a LAN"),
            ("tb-set-ip-link $a $lan 10.2.0.9", "'lan' is not a link"),
            ("tb-set-ip-link $c $wire 10.2.0.9", "c is not connected to wire"),
            ("tb-set-ip-interface $a $c 10.2.0.9", "there is no link between a and c"),
            ("tb-set-ip $c 10.2.0.300", "'10.2.0.300' is not a valid IP address"),
            ("tb-set-ip $c 10.2.0.0", "10.2.0.0 cannot be the address of c"),
            ("tb-set-ip $c 10.2.0.255", "10.2.0.255 cannot be the address of c"),
            ("tb-set-ip $c 10.2.0.15; tb-set-netmask $lan 255.255.255.240", "10.2.0.15 cannot be the address of c"),
            ("tb-set-netmask $lan 255.0.0.0", "'255.0.0.0' is not a netmask"),
            ("tb-set-netmask $a 255.255.255.0", "'a' is not a link or LAN"),
        ],
    )
    def test_wrong(self, statement, text):
        assert wrong(statement).startswith(f"x.ns:9: {text}")


class TestRouting:
    @pytest.mark.parametrize(
        ("word", "routing"),
        [
            ("Static", "static"),
            ("Static-ddijk", "static"),
            ("Static-old", "static"),
            ("Manual", "manual"),
            ("Session", "session"),
            ("ospf", "session"),
        ],
    )
    def test_protocols(self, word, routing):
        topology, said = read(f"$ns rtproto {word}")
        found = find_attribute(topology.attributes, "benito:routing")
        assert (found.value, found.where, said) == (routing, Location("x.ns", 9), ())

    def test_others_are_ignored(self):
        topology, said = read("$ns rtproto DV")
        assert value(topology, "benito:routing") == "none"
        assert str(said[0]).startswith("x.ns:9: routing 'DV' is ignored")

    @pytest.mark.parametrize(
        ("destination", "written"),
        [
            ("$c", "c"),
            ("$lan", "lan"),
            ("[$ns link $a $b]", "wire"),
            ("[$ns lanlink $lan $c]", "c"),
            ("10.9.0.0/16", "10.9.0.0/16"),
            ("10.9.0.1", "10.9.0.1"),
        ],
    )
    def test_routes(self, destination, written):
        topology, said = read(f"$a add-route {destination} $b")
        assert (value(node(topology, "a"), "benito:routes"), said) == (f"{written} via b", ())

    def test_several(self):
        topology, dummy = read("$a add-route $c $b\n$a add-route 10.9.0.0/16 $c")
        assert value(node(topology, "a"), "benito:routes") == "c via b; 10.9.0.0/16 via c"

    def test_to_an_interface_whose_address_is_known(self):
        topology, dummy = read("$c add-route [$ns lanlink $lan $b] $a\ntb-set-ip-lan $b $lan 10.2.0.9")
        assert value(node(topology, "c"), "benito:routes") == "10.2.0.9 via a"

    @pytest.mark.parametrize(
        ("statement", "text"),
        [
            ("$c add-route $a $b", "a route to a is not clear, it has 2 links"),
            ("set d [$ns node]; $a add-route $c $d", "a has no link or LAN with its next hop d"),
            ("$a add-route $c $a", "a has no link or LAN with its next hop a"),
            ("$a add-route nowhere $b", "'nowhere' is no destination"),
            ("$a add-route 10.0.0.0/33 $b", "'10.0.0.0/33' is no destination"),
            ("$a add-route $c nobody", "'nobody' is not a node"),
            ("$a add-route $c", "wrong number of arguments: it must be $node add-route destination next-hop"),
        ],
    )
    def test_wrong(self, statement, text):
        assert wrong(statement).startswith(f"x.ns:9: {text}")


class TestNotices:
    @pytest.mark.parametrize(
        ("statement", "text"),
        [
            ("$ns rtptoto Static", "unsupported NS statement '$ns rtptoto', did you mean $ns rtproto?"),
            ("tb-set-note-os $a x", "unsupported NS statement 'tb-set-note-os', did you mean tb-set-node-os?"),
            ("set q [new Agent/TCP]; $q set window_ 20; [$q foo] bar", "unsupported NS statement 'new Agent/TCP'"),
            ("Queue/RED set bytes_ false", "unsupported NS statement 'Queue/RED'"),
            ("$a set X_ 5", "unsupported NS statement '$node set'"),
            ("$ns at 5.0 {$cbr start}", "$ns at means nothing here and is ignored"),
            ("$a program-agent -command ls", "$node program-agent means nothing here and is ignored"),
            ("[[$ns link $a $b] queue] set limit_ 20", "$link queue means nothing here and is ignored"),
            ("$ns duplex-link $a $c 1Mb 0 RED", "queue type 'RED' is treated as DropTail"),
            ("$ns node 5", "more arguments than $ns node needs are ignored: '5'"),
            ("$ns make-cloud {a b} 1Mb 0", "$ns make-cloud makes a LAN here"),
            ("$ns run; $ns node", "$ns node is ignored: it stands after $ns run"),
        ],
    )
    def test_what_is_ignored_is_said(self, statement, text):
        body = f"{BASE}{statement}\n" + ("" if "$ns run" in statement else "$ns run\n")
        assert [str(n) for n in read_ns(body, "x.ns")[1]] == [f"x.ns:9: {text}"]

    @pytest.mark.parametrize(
        "statement",
        [
            "source tb_compat.tcl",
            "tb-make-soft-vtype fast {pc1 pc2}",
            "tb-set-vlink-emulation vlan",
            "tb-use-endnodeshaping 1",
            "tb-force-endnodeshaping 1",
            "tb-set-endnodeshaping $wire 1; tb-set-noshaping $lan 1",
            "$a add-desire gpu 1.0",
            "puts hello; puts stderr hello; puts -nonewline x",
            "tb-set-colocate-factor 5",
        ],
    )
    def test_what_needs_no_word(self, statement):
        assert notices(statement) == []

    def test_a_loop_is_told_once_a_line(self):
        assert len(notices("for {set i 0} {$i < 9} {incr i} {\n$ns at 5 x\n}")) == 1

    def test_nothing_after_the_run_counts(self):
        topology, dummy = read_ns(f"{BASE}$ns run\nset d [$ns node]\ntb-set-hardware $a pc\n", "x.ns")
        assert [c.name for c in topology.computers] == ["a", "b", "c"]
        assert not topology.computers[0].attributes


class TestErrors:
    @pytest.mark.parametrize(
        ("statement", "text"),
        [
            ("frobnicate", 'unknown command "frobnicate"'),
            ("<html>", 'unknown command "<html>"'),
            ("tb-set-ip $nobody 10.0.0.1", 'can\'t read "nobody": no such variable'),
            ("tb-set-ip nobody 10.0.0.1", "'nobody' is not a node"),
            ("tb-set-hardware wird pc", "'wird' is not a node"),
            ("tb-set-lan-loss lann 0.1", "'lann' is not a LAN, did you mean lan?"),
            ("catch {tb-set-ip nobody 10.0.0.1}", "'nobody' is not a node"),
            ("tb-set-ip $c", "wrong number of arguments: it must be tb-set-ip node address"),
            ("tb-set-ip $c 10.0.0.1 x", "wrong number of arguments: it must be tb-set-ip node address"),
            ("tb-set-link-loss $wire", "wrong number of arguments: it must be tb-set-link-loss link-or-node ?neighbour? loss"),
            ("$ns duplex-link $a $b 1Mb 0", "wrong number of arguments: it must be $ns duplex-link node node bandwidth delay type ..."),
            ("$ns make-lan {a b} 1Mb", "wrong number of arguments: it must be $ns make-lan nodes bandwidth delay"),
            ("$ns rtproto", "wrong number of arguments: it must be $ns rtproto type ..."),
            ("$ns", "ns is a simulator: say what it should do"),
            ("$ns duplex-link $a $lan 1Mb 0 DropTail", "'lan' is not a node"),
            ("$ns duplex-link $a $a 1Mb 0 DropTail", "a link joins two nodes, not a with itself"),
            ("$ns duplex-link $a $b 1mb 0 DropTail", "unknown bandwidth unit 'mb'"),
            ("$ns duplex-link $a $b 1Mb 1ms DropTail", "the delay of 1 ms is invalid"),
            ("$ns make-lan $a 1Mb 0", "a LAN has at least 2 nodes, this one has 1"),
            ("$ns make-lan {} 1Mb 0", "a LAN has at least 2 nodes, this one has 0"),
            ("$ns make-lan {a b a} 1Mb 0", "node a is in the LAN 2 times"),
            ("$ns make-lan {a {b} 1Mb 0", "missing close-brace"),
            ('$ns make-lan "a \\{b" 1Mb 0', "unmatched open brace in list"),
            ("$ns link $a $c", 'there is no link between "a" and "c"'),
            ("tb-set-node-failure-action $a sometimes", "'sometimes' is no failure action"),
            ("tb-set-node-tarfiles $a /opt x /usr", "tb-set-node-tarfiles needs pairs"),
            ("tb-set-node-tarfiles $a opt x", "the directory 'opt' is not an absolute path"),
            ("tb-set-ip-routing rip", "'rip' is no routing"),
            ("tb-set-link-simplex-params $wire $c 2ms 1Mb 0", "c is not connected to wire"),
            ("set x {", "missing close-brace"),
            ("expr {1 +}", "missing operand"),
            ("set x 1 2", 'wrong # args: should be "set varName ?newValue?"'),
            ("proc p {x} {}; p", 'wrong # args: should be "p x"'),
            ('error "two\\nlines"', "two lines"),
            ("exit", 'exit: an NS file ends with "$ns run"'),
            ("catch {exit 0}", 'exit: an NS file ends with "$ns run"'),
        ],
    )
    def test_each_names_its_line(self, statement, text):
        assert wrong(statement).startswith(f"x.ns:9: {text}")

    @pytest.mark.parametrize(
        ("body", "line"),
        [
            ("\n\nfoo", 4),
            ("foreach i {1 2} {\n\n foo\n}", 4),
            ("for {set i 0} {$i < 2} {incr i} {\n\n foo\n}", 4),
            ("if {1} {\n eval {\n  foo\n }\n}", 4),
            ("proc p {} {\n if {1} {\n  foo\n }\n}\n\n\np", 4),
            ("namespace eval q {\n\n foo\n}", 4),
            ("proc p {} {\n\n tb-set-ip nobody x\n}\n\np", 4),
            ("foreach i {1 2} {\n if {1} {\n  $ns duplex-link x y 1Mb 0 DropTail\n }\n}", 4),
        ],
    )
    def test_inside_of_blocks(self, body, line):
        assert error(body, "set ns [new Simulator]\n").startswith(f"x.ns:{line}: ")

    def test_the_first_one_is_told(self):
        assert error("tb-set-ip nobody x\nfoo\n").startswith("x.ns:1: 'nobody' is not a node")

    @pytest.mark.parametrize("text", ["", "# nothing\n", BASE])
    def test_no_run(self, text):
        assert error(text).startswith("x.ns: there is no $ns run")

    def test_two_runs(self):
        assert error("$ns run\n$ns run\n", BASE) == "x.ns:10: $ns run stands twice: it may stand once (the first is at x.ns:9)"

    def test_binary(self):
        assert error("a\nb\0c").startswith("x.ns:2: this is not an NS file")

    def test_without_tcl(self, monkeypatch):
        monkeypatch.setenv("PATH", "/nonexistent")
        assert error("foo") == "x.ns: NS files need tclsh: install the package tcl"


class TestSandbox:
    @pytest.mark.parametrize(
        "command",
        [
            "open /etc/passwd",
            "exec true",
            "socket localhost 22",
            "source /etc/passwd",
            "source other.tcl",
            "glob /*",
            "file exists /etc/passwd",
            "cd /",
            "pwd",
            "load x.so",
            "gets stdin",
            "read stdin",
            "after 100000",
            "vwait forever",
            "update",
            "interp create x",
            "fconfigure stdin",
            "clock seconds",
            "encoding dirs",
            "unload x",
        ],
    )
    def test_ways_out_are_closed(self, command):
        assert error(f"\n{command}").startswith(f"x.ns:2: {command.split()[0]}")

    @pytest.mark.parametrize("command", ["interp", "exec", "open", "source"])
    def test_and_stay_closed(self, command):
        assert error(f"catch {{rename {command} {{}}}}\ninterp invokehidden {{}} {command} x").startswith("x.ns:2: ")
        assert error(f"::sim::{command} /etc/hostname").startswith("x.ns:1: ")

    @pytest.mark.parametrize(
        "command",
        ["hostname", "nameofexecutable", "library", "loaded", "sharedlibextension"],
    )
    def test_the_machine_is_not_seen(self, command):
        for written in (f"info {command}", f"::tcl::info::{command}", f"namespace eval ::tcl::info {{{command}}}"):
            assert error(f"\n{written}").startswith(f"x.ns:2: info {command} is not available in an NS file")

    @pytest.mark.parametrize(
        "command",
        [
            "::tcl::clock::seconds",
            "::tcl::clock::clicks",
            "::tcl::clock::getenv HOME",
            "::tcl::encoding::dirs",
            "::tcl::pkgconfig list",
            "::zlib::pkgconfig list",
            "::tcl::unsupported::representation x",
            "::tcl::chan::names",
            "::tcl::file::exists /etc/passwd",
        ],
    )
    def test_parts_of_commands_are_no_way_around(self, command):
        assert error(f"\n{command}").startswith("x.ns:2: unknown command")

    def test_no_path_of_ours_is_seen(self):
        body = "for {set i 0} {$i <= [info frame]} {incr i} {catch {info frame $i} m; append all $m\\n}"
        topology, dummy = read(f"catch {{error x}}\n{body}\ntb-add-node-attribute $a x $all$errorInfo")
        assert set(re.findall(r"file \S+", value(node(topology, "a"), "x"))) == {"file /dev/stdin"}

    def test_the_environment_is_not_seen(self):
        assert error("set x $env(HOME)").startswith("x.ns:1: can't read")
        assert error("set x $argv").startswith("x.ns:1: can't read")

    def test_files_and_sockets_are_not_touched(self, tmp_path):
        target = tmp_path / "made"
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            listener.setblocking(False)
            port = listener.getsockname()[1]
            read(f"catch {{open {target} w}}\ncatch {{exec touch {target}}}\ncatch {{socket 127.0.0.1 {port}}}")
            with pytest.raises(BlockingIOError):
                listener.accept()
        assert not os.path.exists(target)

    @pytest.mark.parametrize(
        ("body", "line", "text"),
        [
            ("set x 1\nwhile 1 {}", 2, "the file runs for more than"),
            ("set x 1\nwhile 1 {catch {while 1 {incr x}}}", 2, "the file runs for more than"),
            ("proc p {} {\n p\n}\np", 2, "procedures call each other too deeply"),
            ("set ns [new Simulator]\nwhile 1 {\n$ns node\n}", 3, "the file makes too much"),
            ("set ns [new Simulator]\nset x [string repeat a 1000000]\nwhile 1 {catch {\n$ns at 1 $x\n}}", 4, "the file makes too much"),
            ("set x 1\nwhile 1 {\n append x $x\n}", 3, "the file needs more than"),
            ("set x 1\n\nexpr {9 ** 99999999 % 7}", 3, "the file runs for more than"),
        ],
    )
    def test_bombs(self, monkeypatch, body, line, text):
        # Tighter walls, so that the tests need less patience.
        monkeypatch.setattr(tcl, "SECONDS", 3)
        monkeypatch.setattr(tcl, "OUTPUT", 200_000)
        assert error(body).startswith(f"x.ns:{line}: {text}")

    def test_nesting_that_breaks_tcl(self):
        assert error("set x " + "[" * 200_000).startswith("x.ns: Tcl broke down")

    @pytest.mark.parametrize(
        "body",
        [
            "::sim::report x error",
            "::sim::report 1 rename a b",
            "::sim::say {ns make-lan} x 1Mb 0",
            "::sim::report 0 end",
            "::sim::report",
            "::sim::report 5",
            "::sim::report {5, 6} x",
            "::sim::report -5 x",
            "::sim::report 99999999999999999999 x",
            "::sim::report 5 {ns node}",
            "::sim::report 5 {}",
            "::sim::report 0 end; ::sim::report 0 error",
            "::sim::defined p abc; proc p {} {error x}; ::sim::defined p abc; p",
            "::sim::ended 1; ::sim::main; return",
            "proc ::sim::line {} {return x}; exit",
            'error x {    (file "/dev/stdin" line 99999999999)}',
            'error x [string repeat {    (procedure "p" line 1)\n} 100000]',
            "proc p {} {error x}; set ::sim::procs(p) abc; namespace delete ::sim; p",
            "rename ::sim::report {}; set ns [new Simulator]",
            "rename ::sim::set {}; rename ::info {}; error x",
        ],
    )
    def test_forged_statements_do_no_harm(self, body):
        assert error(body).startswith("x.ns")

    def test_a_return_leaves_the_file(self):
        assert (
            error("set ns [new Simulator]\nreturn\nfoo\n")
            == "x.ns: there is no $ns run: an NS file makes one with [new Simulator] and ends with $ns run"
        )

    @pytest.mark.parametrize("before", [0, 199, 200, 201, 1000])
    def test_lines_are_those_of_the_file_however_long_it_is(self, before):
        text = "# remark {\n" + "set x 1\n" * before + "proc p {} {\n  foo\n}\n" + "set x \\\n 2\n" * before + "p\n"
        assert error(text).startswith(f"x.ns:{before + 3}: ")
        assert error("set x 1\n" * before + "set y {\n\n").startswith(f"x.ns:{before + 1}: missing close-brace")

    def test_only_processor_time_counts(self, monkeypatch, tmp_path):
        # On a busy machine the interpreter waits for most of the time.
        for name in ("sandbox.tcl", "simulator.tcl"):
            script = (Path(tcl._SANDBOX).parent / name).read_text()
            (tmp_path / name).write_text(script.replace("if {[catch {$child", "after 2500\nif {[catch {$child"))
        monkeypatch.setattr(tcl, "_SANDBOX", str(tmp_path / "sandbox.tcl"))
        monkeypatch.setattr(tcl, "SECONDS", 1)
        topology, dummy = read("for {set i 0} {$i < 1000} {incr i} {set x $i}")
        assert len(topology.computers) == 3

    def test_random_numbers_are_always_the_same(self):
        body = "tb-add-node-attribute $a x [expr {rand()}]"
        assert read(body) == read(body)

    def test_no_shell_reads_the_file(self, tmp_path):
        command = f"$(touch {tmp_path}/x); `touch {tmp_path}/x`; \"'"
        topology, dummy = read(f"tb-add-node-attribute $a x {{{command}}}")
        assert value(node(topology, "a"), "x") == command
        assert not os.listdir(tmp_path)

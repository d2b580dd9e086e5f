# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the words of a topology make of a link."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import Location, TopologyError
from ansible_collections.benito.testbed.plugins.plugin_utils.formats.ns import read_ns
from ansible_collections.benito.testbed.plugins.plugin_utils.shaping import UNSHAPED, Direction, Shape, shapes
from ansible_collections.benito.testbed.plugins.plugin_utils.topology import (
    Attribute,
    Capacity,
    Computer,
    Interface,
    Latency,
    Substrate,
    Topology,
)

HERE, PLACE = Location("t", 5), Location("t", 9)


def attributes(words):
    return tuple(Attribute(name if name == "loss" else f"benito:{name}", str(value), HERE) for name, value in words.items())


def lan(capacity=None, latency=None, **words):
    return Substrate("lan0", capacity, latency, attributes(words), where=Location("t", 2))


def end(name="a", capacity=None, latency=None, lans=("lan0",), where=PLACE, **words):
    return Computer(name, interfaces=(Interface("inf000", lans, capacity, latency, attributes(words), where),))


def shaped(*ends, substrate=None, **words):
    return shapes(Topology((substrate or lan(),), ends, attributes(words)))


def of(*ends, **more):
    return shaped(*ends, **more)["a", "inf000"]


def one(**values):
    return Direction(**values)


def both(method="wirefilter", **values):
    return Shape(method, one(**values), one(**values))


def test_a_link_without_words_is_not_shaped():
    assert dict(shaped(end("a"), end("b"))) == {("a", "inf000"): None, ("b", "inf000"): None}


@pytest.mark.parametrize("words", [{"loss": 0}, {"jitter": 0}, {"reverse_loss": "0.0"}, {"duplication": "0"}, {"loss_burst": 3}])
def test_words_that_say_nothing_shape_nothing(words):
    assert of(end(**words)) is None
    assert of(end(), substrate=lan(Capacity(0), Latency(0))) is None


def test_what_the_substrate_says_holds_for_its_members():
    substrate = lan(Capacity(10000), Latency(5), loss="0.1", jitter=1, duplication=0.01, loss_burst=2)
    wanted = both(capacity=10000, latency=4, jitter=1, loss=0.1, duplication=0.01, burst=2)
    assert dict(shaped(end("a"), end("b"), substrate=substrate)) == {("a", "inf000"): wanted, ("b", "inf000"): wanted}


def test_what_an_interface_says_is_not_added_to_what_its_substrate_says():
    assert of(end(latency=Latency(5)), substrate=lan(latency=Latency(5))) == both(latency=5)
    assert of(end(latency=Latency(7)), substrate=lan(Capacity(100), Latency(5), loss=0.5)) == both(capacity=100, latency=7, loss=0.5)
    assert of(end(latency=Latency(0)), substrate=lan(latency=Latency(5))) is None


def test_an_interface_may_say_that_it_loses_nothing():
    assert of(end(loss=0), substrate=lan(loss=0.5)) is None


def test_directions_differ_where_the_file_says_so():
    shape = of(end(capacity=Capacity(100), latency=Latency(5), loss="0.5", reverse_capacity=200, reverse_latency="7.5", reverse_loss="0"))
    assert shape == Shape("wirefilter", one(capacity=100, latency=5, loss=0.5), one(capacity=200, latency=7.5))
    assert of(end(reverse_capacity=0), substrate=lan(Capacity(100))) == Shape("wirefilter", one(capacity=100), UNSHAPED)
    assert of(end(reverse_latency=3)) == Shape("wirefilter", UNSHAPED, one(latency=3))
    shape = of(end(latency=Latency(8, "average"), jitter=1, loss=0.1, loss_burst=2, reverse_jitter=3, reverse_loss_burst=4))
    assert shape.into == one(latency=8, jitter=3, loss=0.1, burst=4)


def test_an_average_is_the_mean_and_a_maximum_the_most():
    assert of(end(capacity=Capacity(100, "average"))).out == one(capacity=100, spread=0.25)
    assert of(end(capacity=Capacity(100, "max"))).out == one(capacity=100)
    assert of(end(latency=Latency(10, "average"), jitter=10)).out == one(latency=10, jitter=10)
    assert of(end(latency=Latency(10, "max"), jitter=4)).out == one(latency=6, jitter=4)
    assert of(end(reverse_capacity=50), substrate=lan(Capacity(100, "average"))).into == one(capacity=50, spread=0.25)


@given(latency=st.floats(0, 600000), share=st.floats(0, 1), kind=st.sampled_from(["max", "average"]))
def test_no_packet_is_early_and_none_later_than_the_most(latency, share, kind):
    jitter = latency * share / (2 if kind == "max" else 1)
    shape = of(end(latency=Latency(latency, kind), jitter=f"{jitter:f}")) if float(f"{jitter:f}") <= latency / 2 else None
    if shape:
        mean, swing = shape.out.latency or 0, shape.out.jitter or 0
        assert mean - swing >= -1e-6
        assert kind == "average" or mean + swing <= latency + 1e-6


def test_jitter_has_a_latency_to_vary():
    with pytest.raises(TopologyError, match=r"t:5: the jitter of interface inf000 of a is 6 ms: it may be half its latency.*5 ms"):
        of(end(latency=Latency(10), jitter=6))
    with pytest.raises(TopologyError, match="it may be its latency, 10 ms"):
        of(end(latency=Latency(10, "average"), jitter=11))
    with pytest.raises(TopologyError, match="0 ms"):
        of(end(jitter=1))


def test_runs_of_losses():
    assert of(end(loss=0.5, loss_burst=1)).out == one(loss=0.5, burst=1)
    assert of(end(loss=1, loss_burst=4)).out == one(loss=1)
    with pytest.raises(TopologyError, match=r"t:5: the loss_burst of interface inf000 of a is 2: .* at least 9"):
        of(end(loss=0.9, loss_burst=2))


@pytest.mark.parametrize(
    ("words", "right"),
    [
        ({"loss": "1.1"}, "a fraction from 0 to 1"),
        ({"loss": "-0.1"}, "a fraction from 0 to 1"),
        ({"loss": "nan"}, "a fraction from 0 to 1"),
        ({"loss": "10%"}, "a fraction"),
        ({"loss": ""}, "a fraction"),
        ({"loss": "1e999"}, "a fraction"),
        ({"jitter": "-1"}, "a time"),
        ({"duplication": "1"}, "a fraction from 0 to 0.9"),
        ({"loss_burst": "0.5"}, "a mean number of packets"),
        ({"reverse_capacity": "-1"}, "a rate"),
        ({"reverse_latency": "600001"}, "a time from 0 to 600000 ms"),
        ({"reverse_loss": "2"}, "a fraction"),
        ({"reverse_jitter": "x\ny"}, "a time"),
        ({"loss": "\u0663"}, "a fraction"),
    ],
)
def test_values_that_mean_nothing(words, right):
    with pytest.raises(TopologyError, match=f"t:5: .*{next(iter(words))} of interface inf000 of a is .*it must be {right}") as caught:
        of(end(**words))
    assert "\n" not in str(caught.value)
    if not next(iter(words)).startswith("reverse"):
        with pytest.raises(TopologyError, match="of substrate lan0 is"):
            of(end(), substrate=lan(**words))


@pytest.mark.parametrize(
    ("capacity", "latency"),
    [(Capacity(-1), None), (Capacity(math.nan), None), (Capacity(2e9), None), (None, Latency(-1)), (None, Latency(math.inf))],
)
def test_elements_that_mean_nothing(capacity, latency):
    with pytest.raises(TopologyError, match=r"t:9: (capacity|latency) of interface inf000 of a is"):
        of(end(capacity=capacity, latency=latency))
    with pytest.raises(TopologyError, match=r"t:2: (capacity|latency) of substrate lan0 is"):
        of(end(), substrate=lan(capacity, latency))


def test_who_shapes_is_said_by_the_interface_the_substrate_or_the_topology():
    slow = Latency(5)
    assert of(end(latency=slow, shaping="netem")).method == "netem"
    assert of(end(latency=slow), substrate=lan(shaping="netem")).method == "netem"
    assert of(end(latency=slow), shaping="NetEm ").method == "netem"
    assert of(end(latency=slow, shaping="wirefilter"), substrate=lan(shaping="netem"), shaping="none").method == "wirefilter"
    assert of(end(latency=slow, shaping="none"), substrate=lan(shaping="netem")) is None
    with pytest.raises(TopologyError, match="t:5: benito:shaping is 'dummynet': it must be wirefilter, netem, none"):
        of(end(shaping="dummynet"))


def test_both_on_one_link_do_not_go_together():
    with pytest.raises(TopologyError, match=r"t:4: substrate lan0 is shaped by netem, wirefilter: its members must agree"):
        shaped(end("a", shaping="netem"), end("b", where=Location("t", 4)), substrate=lan(latency=Latency(5)))
    # A member that is not shaped asks for nothing.
    assert shaped(end("a", latency=Latency(5), shaping="netem"), end("b"))["b", "inf000"] is None


def test_what_the_document_says():
    keys = ["capacity", "spread", "latency", "jitter", "loss", "duplication", "burst"]
    document = of(end(capacity=Capacity(100), reverse_latency=2)).document()
    assert list(document) == ["out", "in"]
    assert list(document["out"]) == keys
    assert document["out"] == {**dict.fromkeys(keys), "capacity": 100}
    assert document["in"] == {**dict.fromkeys(keys), "capacity": 100, "latency": 2}
    assert "spread" not in of(end(capacity=Capacity(100, "average"), shaping="netem")).document()["out"]


def test_an_interface_on_no_known_substrate_is_somebody_elses_error():
    assert dict(shapes(Topology((lan(),), (end(lans=("lan0", "lan1")), end("b", lans=("gone",)))))) == {}


def test_the_halves_of_an_ns_link():
    topology = read_ns(
        """
        set ns [new Simulator]
        set a [$ns node]
        set b [$ns node]
        set l [$ns duplex-link $a $b 100Mb 10ms DropTail]
        tb-set-link-loss $l 0.19
        $ns run
        """,
        "x.ns",
    )[0]
    for shape in shapes(topology).values():
        assert (shape.out.capacity, shape.out.latency) == (100000, 5)
        assert shape.out.loss == pytest.approx(0.1)
        assert shape.out == shape.into


def test_an_ns_link_with_another_way_back():
    topology = read_ns(
        """
        set ns [new Simulator]
        set a [$ns node]
        set b [$ns node]
        set l [$ns duplex-link $a $b 100Mb 10ms DropTail]
        tb-set-link-simplex-params $l $a 40ms 10Mb 0
        $ns run
        """,
        "x.ns",
    )[0]
    a, b = shapes(topology).values()
    assert (a.out.capacity, a.out.latency, a.into.capacity, a.into.latency) == (10000, 20, 100000, 5)
    assert (b.out, b.into) == (a.into, a.out)

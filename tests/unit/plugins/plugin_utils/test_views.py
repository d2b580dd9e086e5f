# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

import pytest

from ansible_collections.benito.testbed.plugins.plugin_utils.views import (
    natural,
    node_list,
    placement_table,
    printable,
    status_remarks,
    status_rows,
    status_table,
    topology_graph,
)


def node(name, *addresses, **more):
    interfaces = [{"address": a, "substrate": s} for a, s in addresses]
    return {"name": name, "kind": "qemu", "pnode": "pnode-0000", "guest": True, "ghost": False, "control": {"address": "172.16.0.9"},
            "interfaces": interfaces, "start_command": "run", **more}  # fmt: skip


NODES = [
    node("n-10", ("10.0.0.3", "l0")),
    node("n-2", ("10.0.0.1", "l0"), ("10.0.1.1", "l1")),
    node("c", guest=False, kind="physical", control=None, start_command=""),
]


def test_natural_order():
    assert sorted(["n-10", "n-2", "n", "a1b", "n-2a", "7"], key=natural) == ["7", "a1b", "n", "n-2", "n-2a", "n-10"]


def test_status_table():
    answers = {
        "pnode-0000": [
            {"name": "n-2", "state": "booted", "exit_status": 1, "detail": None},
            {"name": "n-10", "state": "dead", "exit_status": None, "detail": "killed\x1b[31m"},
        ]
    }
    assert status_table(NODES, answers).splitlines() == [
        "NODE  KIND      PNODE       STATE    CONTROL     ADDRESSES          START-COMMAND",
        "c     physical  pnode-0000  planned  -           -                  -",
        "n-2   qemu      pnode-0000  booted   172.16.0.9  10.0.0.1 10.0.1.1  exit 1",
        "n-10  qemu      pnode-0000  dead     172.16.0.9  10.0.0.3           not run",
        "",
        "n-10: killed?[31m",
    ]


@pytest.mark.parametrize(
    ("info", "more", "state", "start"),
    [
        ({}, {}, "unknown", "-"),
        ({"state": "running", "exit_status": "running"}, {}, "running", "running"),
        ({"state": "booted", "exit_status": 0}, {}, "booted", "exit 0"),
        ({"state": "booted", "exit_status": None}, {"start_command": ""}, "booted", "-"),
        ({}, {"ghost": True, "guest": False}, "ghost", "-"),
    ],
)
def test_states(info, more, state, start):
    line = status_table([node("n", **more)], {"pnode-0000": [{"name": "n", **info}] if info else []}).splitlines()[1]
    assert re.split("  +", line)[3::3] == [state, start]


def test_rows_are_the_table_for_programs():
    answers = {"pnode-0000": [{"name": "n", "state": "booted", "exit_status": 3, "detail": "oh"}]}
    [row] = status_rows([node("n", ("10.0.0.1", "l0"))], answers)
    assert row == {
        "name": "n", "kind": "qemu", "pnode": "pnode-0000", "state": "booted", "control": "172.16.0.9", "addresses": ["10.0.0.1"],
        "start_command": "run", "exit_status": 3, "detail": "oh",
    }  # fmt: skip


def test_node_list():
    benito = {"project": "P", "experiment": "e"}
    assert node_list(benito, NODES, {"pnode-0000": "lab-1"}) == (
        "P/e\n    pnode-0000.e.P / lab-1\n  extra nodes:\n    c.e.P\n    n-2.e.P\n    n-10.e.P\n"
    )
    assert "extra" not in node_list(benito, NODES, extra=False)


def test_mermaid():
    lans = (("x", "l0"), ("x", "lan"))
    assert topology_graph(
        [node("a", *lans), node("b", ("x", "l0")), node("c", ("x", "lan"), pnode="pnode-0001"), node("d", ("x", "lan"))]
    ) == (
        'graph LR\n  subgraph p0["pnode-0000"]\n    n0["a"]\n    n1["b"]\n    n3["d"]\n  end\n'
        '  subgraph p1["pnode-0001"]\n    n2["c"]\n  end\n'
        '  s1(("lan"))\n  n0 ---|"l0"| n1\n  s1 --- n0\n  s1 --- n2\n  s1 --- n3\n'
    )


def test_dot():
    assert topology_graph([node("a", ("x", "l0")), node("b", ("x", "l0"))], "dot") == (
        'graph experiment {\n  subgraph cluster_0 {\n    graph [label="pnode-0000"];\n    n0 [label="a"];\n    n1 [label="b"];\n  }\n'
        '  n0 -- n1 [label="l0"];\n}\n'
    )


def test_no_text_escapes_from_a_label():
    hostile = [node('a"]; x', ("x", 'l"|\n')), node("b", ("x", 'l"|\n'))]
    assert 'n0 [label="a\\"]; x"];' in topology_graph(hostile, "dot")
    assert 'n0["a#34;#93;#59; x"]' in topology_graph(hostile)


def test_another_language_is_an_error():
    with pytest.raises(ValueError, match="mermaid or dot"):
        topology_graph(NODES, "svg")


def test_printable():
    assert printable("a\r\n\x1bb") == "a???b"


def test_placement_says_what_goes_where():
    benito = {
        "placement": [
            {"pnode": "pnode-0000", "host": "alpha", "nodes": 2, "memory": 256, "memory_limit": 900, "cpus": 2, "cpus_limit": 64},
            {"pnode": "pnode-0001", "host": None, "nodes": 1, "memory": 128, "memory_limit": None, "cpus": 1, "cpus_limit": None},
        ],
        "cables": [{"substrate": "lan0", "transport": "ssh", "pnodes": ["pnode-0000", "pnode-0001"]}],
    }
    nodes = [{"name": name, "kind": "qemu", "pnode": pnode} for name, pnode in (("n-10", "pnode-0001"), ("n-2", "pnode-0000"))]
    assert placement_table(benito, nodes) == (
        "PNODE       HOST       NODES  MEMORY      PROCESSORS\n"
        "pnode-0000  alpha      2      256 of 900  2 of 64\n"
        "pnode-0001  this host  1      128         1\n"
        "\n"
        "NODE  KIND  PNODE\n"
        "n-2   qemu  pnode-0000\n"
        "n-10  qemu  pnode-0001\n"
        "\n"
        "SUBSTRATE  BETWEEN                CABLE\n"
        "lan0       pnode-0000 pnode-0001  ssh\n"
    )
    assert "SUBSTRATE" not in placement_table({**benito, "cables": []})


def test_remarks_name_what_is_not_well():
    well = {"name": "lan0 pnode-0001", "transport": "ssh", "state": "connected", "remakes": 0, "detail": "old"}
    answers = {
        "pnode-0000": {"switches": [{"name": "lan0", "state": "dead"}, {"name": "lan1", "state": "running"}], "cables": [well]},
        "pnode-0001": {
            "shapers": [{"name": "n-1:inf000", "state": "dead"}, {"name": "n-2:inf000", "state": "running"}],
            "down": ["n-3:inf000"],
            "cables": [{**well, "state": "broken", "remakes": 3, "detail": "refused"}, {**well, "name": "lan1 pnode-0000", "remakes": 1}],
            "server": {"state": "dead"},
            "control": {"detail": "the bridge is gone"},
        },
    }
    assert status_remarks(answers).splitlines() == [
        "pnode-0000: the switch of lan0 is dead",
        "pnode-0001: the shaper of n-1:inf000 is dead",
        "pnode-0001: interface n-3:inf000 was taken down",
        "pnode-0001: the ssh cable lan0 pnode-0001 is broken, made again 3 times (refused)",
        "pnode-0001: the ssh cable lan1 pnode-0000 is connected, made again 1 times",
        "pnode-0001: the server of shared directories is dead",
        "pnode-0001: the bridge is gone",
    ]
    assert status_remarks({"pnode-0000": {"cables": [well], "server": {"state": "running"}}}) == ""

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files made to cost their reader time and memory: each is read or refused by a process that has little of both."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
# Less than a fifth of what such a file took, and several times what it takes.
MEMORY = 400  # MB of address space, 100 of which are the interpreter's and its libraries'
SECONDS = 20  # of processor time
READ = """
import sys
from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import TopologyError
from ansible_collections.benito.testbed.plugins.plugin_utils.plan import make_plan
from ansible_collections.benito.testbed.plugins.plugin_utils.formats.source import read_topology
try:
    if sys.argv[2] == "plan":
        plan = make_plan(sys.argv[1], {"state_dir": sys.argv[1] + ".state"})
        for pnode in plan.pnodes:
            plan.document(pnode)
    else:
        dummy, notices = read_topology(sys.argv[1])
        print("read,", len(notices), "notices")
except TopologyError as error:
    print(error)
"""


def read(path: Path, how: str = "read", memory: int = MEMORY) -> str:
    """Return what a process with little memory and time says of a file."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (memory << 20, memory << 20))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))

    done = subprocess.run(
        [sys.executable, "-c", READ, str(path), how],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limited,
        env={"PYTHONPATH": str(ROOT / ".collections"), "PATH": "/usr/bin:/bin", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, f"status {done.returncode}: {done.stderr[-500:]}"
    return done.stdout.replace(f"{path}:", "")


def experiment(*parts: str) -> str:
    return f"<experiment><version>1.0</version>{''.join(parts)}</experiment>"


def node(name: str, inside: str = "") -> str:
    return f"<elements><computer><name>{name}</name>{inside}</computer></elements>"


def options(count: int) -> str:
    return " ".join(f"a{number}='b'" for number in range(count))


# Made when they are needed: together they have a hundred megabytes.
COSTLY = {
    "a tag or comment has more than 1 MB": lambda: f"<experiment {options(200_000)}/>",
    ": <q> has more than 100 XML attributes": lambda: experiment(f"<q {options(101)}/>"),
    "a part of the topology has more than 500000 tags": lambda: experiment("x<q/>" * 600_000),
    "more than 500000 tags": lambda: experiment("<q/>" * 2_000_000),
    "the file has more than 2000000 tags": lambda: experiment("<attribute><attribute>a</attribute><value/></attribute>" * 700_000),
    "tags are nested more than 100 deep": lambda: experiment("<a>" * 100_000, "</a>" * 100_000),
    "the text of <name> has more than 1048576 characters": lambda: experiment(f"<substrates><name>{'a' * 4_000_000}</name></substrates>"),
    "comment has more than 1 MB": lambda: experiment(f"<!--{'-a' * 2_000_000}-->"),
    "read, 1001 notices": lambda: experiment("".join(f"<elements><other><q{n}/></other></elements>" for n in range(90_000))),
    # Names that are all alike: to compare two of them takes milliseconds.
    "which does not exist: did you mean ": lambda: experiment(
        *(f"<substrates><name>{f'{number:017b}' * 3}</name></substrates>" for number in range(100_000)),
        node("a", f"<interface><substrate>{'01' * 26}</substrate></interface>"),
    ),
    "more than 100000 nodes": lambda: experiment(*(node(f"n{number}") for number in range(100_001))),
}


@pytest.mark.parametrize("said", COSTLY)
def test_costly_topdl(tmp_path, said):
    path = tmp_path / "x.topdl"
    path.write_text(COSTLY[said]())
    assert said in read(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "guesses",
            experiment(
                node("a"), *(f"<attribute><attribute>benito:control_add{n}</attribute><value/></attribute>" for n in range(150_000))
            ),
        ),
        (
            "servers",
            experiment(
                *(f"<substrates><name>s{n}</name></substrates>" for n in range(10_000)),
                *(
                    f"<elements><computer><name>n{n}</name><interface><substrate>s{n % 10_000}</substrate><attribute><attribute>benito:dhcp"
                    f"</attribute><value>{'server' if n < 10_000 else 'client'}</value></attribute></interface></computer></elements>"
                    for n in range(20_000)
                ),
            ),
        ),
    ],
)
def test_costly_plans(tmp_path, name, text):
    path = tmp_path / f"{name}.topdl"
    path.write_text(text)
    assert read(path, "plan", 1200) == ""


NS = "set ns [new Simulator]\n"
HUB = NS + "set h [$ns node]\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # A line for each statement: Tcl looked for the line of each from the top of the file.
        (NS + "".join(f"set n({n}) [$ns node]\n" for n in range(40_000)) + "$ns run\n", "read, 0 notices"),
        # Each statement looks for one of the hub's links.
        (
            HUB + "for {set i 0} {$i < 20000} {incr i} {set n($i) [$ns node]; set l($i) [$ns duplex-link $h $n($i) 1Mb 0 DropTail]; "
            "tb-set-ip-link $h $l($i) 10.0.0.1; tb-set-ip-interface $h $n($i) 10.0.0.1}\n$ns run\n",
            "read, 0 notices",
        ),
        (NS + "for {set i 0} {$i < 100000} {incr i} {tb-what$i}\n$ns run\n", "read, 1001 notices"),
        (HUB + "for {set i 0} {$i < 100001} {incr i} {::sim::report 1 {ns node} $i}\n", "1: the file makes more than 100000 nodes"),
        (
            NS + "for {set i 0} {$i < 3000} {incr i} {lappend l [$ns node]}\nset lan [$ns make-lan $l 1Mb 0]\n"
            "for {set i 0} {$i < 400} {incr i} {tb-set-lan-loss $lan 0.1}\n",
            "4: losses of LANs are set at more than 1000000 ends",
        ),
        (
            NS + "for {set i 0} {$i < 3000} {incr i} {lappend l [$ns node]}\nfor {set i 0} {$i < 140} {incr i} {$ns make-lan $l 1Mb 0}\n",
            "400000 ends",
        ),
    ],
    ids=["lines", "hub", "unknown", "nodes", "losses", "lans"],
)
def test_costly_ns(tmp_path, text, said):
    path = tmp_path / "x.ns"
    path.write_text(text)
    assert said in read(path, memory=800)

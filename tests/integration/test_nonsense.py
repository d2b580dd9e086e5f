# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input: one line that names file and line, an exit code that is not 0, nothing started, within seconds."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from .conftest import ROOT, Lab
from .topologies import attribute, computer, experiment

PAIR = [computer("a", ["link0"]), computer("b", ["link0"])]
WITNESS = Path("/tmp/benito-was-here")


def named(name: str) -> str:
    return experiment(["link0"], [computer(name, ["link0"]), computer("b", ["link0"])])


def addressed(first: str, second: str) -> str:
    def end(name: str, address: str) -> str:
        return (
            f"<elements><computer><name>{name}</name>\n<interface><substrate>link0</substrate>"
            f"{attribute('ip4_address', address)}</interface></computer></elements>\n"
        )

    return experiment(["link0"], [end("a", first), end("b", second)])


def ns(*lines: str) -> str:
    return "\n".join(["set ns [new Simulator]", *lines, ""])


# What the file holds, and what the message must say.
NONSENSE: dict[str, tuple[str, str | bytes, str]] = {
    "an empty file": ("x.topdl", "", "empty"),
    "HTML": ("x.topdl", "<!DOCTYPE html>\n<html><body>not found</body></html>\n", "HTML page"),
    "HTML without a DOCTYPE": ("x.topdl", "<html>\n<body><p>not found</body></html>\n", "HTML|html"),
    "binary": ("x.topdl", bytes(range(256)) * 8, "x.topdl"),
    "entities": ("x.topdl", '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>\n<experiment>&b;</experiment>', "DOCTYPE"),
    "an unfinished file": ("x.topdl", "<experiment>\n<version>1.0</version>\n<substrates><name>l", "x.topdl:3"),
    "an unknown substrate": ("x.topdl", experiment(["link0"], [*PAIR, computer("c", ["link1"])]), "x.topdl:5.*link1"),
    "two nodes of one name": ("x.topdl", experiment(["link0"], [*PAIR, computer("a", ["link0"])]), "x.topdl:5.*'?a'?"),
    "two substrates of one name": ("x.topdl", experiment(["link0", "link0"], PAIR), "x.topdl:3.*link0"),
    "two equal addresses": ("x.topdl", addressed("10.0.0.1", "10.0.0.1"), r"x.topdl:\d+.*10\.0\.0\.1"),
    "an address that is none": ("x.topdl", addressed("10.0.0.1", "10.0.0.999"), r"x.topdl:\d+.*10\.0\.0\.999"),
    "a path for a name": ("x.topdl", named("../../etc"), r"x.topdl:3.*\.\./"),
    "a command for a name": ("x.topdl", named(f"a;touch {WITNESS}"), "x.topdl:3"),
    "a template for a name": ("x.topdl", named(f"{{{{ lookup('pipe', 'touch {WITNESS}') }}}}"), "x.topdl:3"),
    "commas in a name": ("x.topdl", named("a,script=/tmp/x"), "x.topdl:3"),
    "a name of 200 characters": ("x.topdl", named("a" * 200), "x.topdl:3.*63"),
    "an NS file that loops for ever": ("x.tcl", ns("while {1} {}"), r"x.tcl:?\d*.*(time|long|second)"),
    "an NS file that eats memory": ("x.tcl", ns("set a x", "while {1} {append a $a}"), "x.tcl"),
    "an NS file that reads files": ("x.tcl", ns("set f [open /etc/passwd]"), "x.tcl:2.*open"),
    "an NS file that runs programs": ("x.tcl", ns(f"exec touch {WITNESS}"), "x.tcl:2.*exec"),
    "an NS file that opens sockets": ("x.tcl", ns("socket 127.0.0.1 22"), "x.tcl:2.*socket"),
    "an NS file with a wrong unit": (
        "x.tcl",
        ns("set a [$ns node]", "set b [$ns node]", "set l [$ns duplex-link $a $b 10mb 0ms DropTail]", "$ns run"),
        "x.tcl:4",
    ),
    "an NS file that never runs": ("x.tcl", ns("set a [$ns node]"), "x.tcl.*run"),
    "a wrapper with a wrong option": ("x.yml", "plugin: benito.testbed.topdl\ntopology: y.topdl\npacking: many\n", "packing|y.topdl"),
    "a wrapper of a missing file": ("x.yml", "plugin: benito.testbed.topdl\ntopology: y.topdl\n", "y.topdl"),
}


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_is_refused(lab: Lab, tmp_path: Path, what: str) -> None:
    name, content, message = NONSENSE[what]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = lab.listing()
    started = time.monotonic()
    done = lab.play("swapin", path)
    assert time.monotonic() - started < 30
    assert done.code != 0, done.out
    # Ansible wraps long lines of its messages.
    flat = re.sub(r"\s+", " ", done.out)
    assert re.search(message, flat), done.out
    assert "Traceback" not in done.out
    assert "PLAY [Bring the experiment up]" not in done.out
    assert lab.listing() == before
    assert not WITNESS.exists()


def test_the_wrong_directory_is_no_empty_inventory(lab: Lab, tmp_path: Path) -> None:
    elsewhere = Lab(lab.name, lab.home)
    elsewhere.environment = {name: value for name, value in lab.environment.items() if name != "ANSIBLE_CONFIG"}
    for playbook in ("swapin", "status", "swapout"):
        done = elsewhere.run(
            "ansible-playbook", str(ROOT / f"playbooks/{playbook}.yml"), "-i", str(ROOT / "examples/pair.topdl"), cwd=tmp_path
        )
        assert done.code != 0, done.out
        assert "No topology was read" in done.out


def test_a_missing_file_is_no_empty_inventory(lab: Lab) -> None:
    done = lab.play("swapin", "no-such-file.topdl")
    assert done.code != 0
    assert "no-such-file.topdl" in done.out


def test_swapout_wants_names_that_are_names(lab: Lab) -> None:
    done = lab.run("ansible-playbook", "playbooks/swapout.yml", "-e", "project=../../etc", "-e", "experiment=x")
    assert done.code != 0
    assert "letters" in done.out


def test_half_a_name_is_no_name(lab: Lab) -> None:
    done = lab.play("swapout", "examples/pair.topdl", "-e", "experiment=another")
    assert done.code != 0
    assert "or neither" in done.out

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each machine behind its own switch, joined to the link's: uniform wiring."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from .conftest import PROJECT, STATE, Lab
from .topologies import attribute, computer, experiment

pytestmark = pytest.mark.network

NAME = f"{PROJECT}.uniform"


def plugged(switch: Path) -> list[str]:
    """Ask a switch itself who is plugged in; return the descriptions of its endpoints."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(switch / "io/mgmt"))
        heard = b""
        connection.sendall(b"port/print\n")
        while heard.count(b"vde$ ") < 2:
            heard += connection.recv(65536)
    return re.findall(r"prog *: (.*)", heard.decode(errors="replace"))


def test_every_interface_has_a_switch_of_its_own(lab: Lab, tmp_path: Path) -> None:
    before = lab.listing()
    path = tmp_path / "uniform.topdl"
    path.write_text(experiment(["lan0"], [computer("a", ["lan0"]), computer("b", ["lan0"], attribute("startup", "ping -c 2 a"))]))
    options = ("-e", "benito_guest_switches=true")
    try:
        done = lab.play("swapin", path, *options)
        assert done.code == 0, done.out
        switches = sorted((STATE / NAME / "switches").iterdir())
        assert len(switches) == 3
        for switch in switches:
            there = plugged(switch)
            machines = [words for words in there if "qemu" in words.lower()]
            assert len(machines) == (0 if switch.name == "lan0" else 1), there
        assert lab.ssh(NAME, "a", "ping -c 2 -W 5 b").code == 0
        assert done.row("b")[-2:] == ["exit", "0"]
        assert lab.play("swapin", path, *options).changed == 0
    finally:
        lab.play("swapout", path)
    assert lab.listing() == before

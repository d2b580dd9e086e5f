# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Topologies that the end-to-end tests write."""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape


def attribute(name: str, value: object) -> str:
    """Return one attribute element."""
    return f"<attribute><attribute>{escape(name)}</attribute><value>{escape(str(value))}</value></attribute>"


def computer(name: str, substrates: list[str], *attributes: str) -> str:
    """Return one computer with an interface on each substrate."""
    interfaces = "".join(f"<interface><substrate>{s}</substrate></interface>" for s in substrates)
    return f"<elements><computer><name>{name}</name>{interfaces}{''.join(attributes)}</computer></elements>\n"


def experiment(substrates: list[str], computers: list[str]) -> str:
    """Return a whole file."""
    names = "".join(f"<substrates><name>{s}</name></substrates>\n" for s in substrates)
    return f"<experiment><version>1.0</version>\n{names}{''.join(computers)}</experiment>\n"


def lan(commands: Mapping[str, str], memory: Mapping[str, int] | None = None) -> str:
    """Return a LAN of nodes with their start commands."""
    return experiment(
        ["lan0"],
        [
            computer(
                name,
                ["lan0"],
                *([attribute("startup", command)] if command else []),
                *([attribute("benito:memory", memory[name])] if memory and name in memory else []),
            )
            for name, command in commands.items()
        ],
    )


def hub(spokes: int) -> str:
    """Return a node with many interfaces; there is a machine at the end of the first and of the last."""
    links = [f"link{i}" for i in range(spokes)]
    # Every link has two ends; those in between share one machine each with their neighbour.
    ends = [computer(f"leaf-{i}", [links[i]]) for i in (0, spokes - 1)]
    rest = [computer("other", links[1:-1])]
    return experiment(links, [computer("hub", links), *ends, *rest])

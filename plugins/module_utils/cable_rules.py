# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps strangers from the ports of an experiment's cables: a table of nftables rules that names, for each port, its one peer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from . import host_links
from .host_links import LinkError
from .rundir import RunDir


@dataclass(frozen=True)
class Port:
    """A port of this host, ``tcp`` or ``udp``, that only ``peer`` (an IPv4 address) may reach; ``vni``: only where that vxlan is meant."""

    protocol: str
    number: int
    peer: str
    vni: int = 0


def table(rundir: RunDir) -> str:
    """Return the name of an experiment's table."""
    return f"bc{hashlib.sha256(rundir.mark.encode()).hexdigest()[:10]}"


def rules(rundir: RunDir, ports: Sequence[Port]) -> str:
    """Return the table. Several experiments may share a vxlan's port: what counts is the number inside."""
    lines = []
    for port in sorted(ports, key=lambda port: (port.protocol, port.number, port.vni, port.peer)):
        # Behind the 8 bytes of UDP: flags, 3 reserved bytes, the number.
        packets = f"{port.protocol} dport {port.number}" + (f" @th,96,24 {port.vni}" if port.vni else "")
        lines += [f"    ip saddr != {port.peer} {packets} drop\n", f"    meta nfproto ipv6 {packets} drop\n"]
    return f"""table inet {table(rundir)} {{
  comment "{label(rundir.mark)}"
  chain input {{
    type filter hook input priority filter; policy accept;
{"".join(lines)}  }}
}}
"""


def listing(rundir: RunDir) -> str:
    """Return the table as the kernel has it; empty for none."""
    try:
        return host_links.run(["nft", "list", "table", "inet", table(rundir)])
    except LinkError:
        return ""


def put(rundir: RunDir, ports: Sequence[Port]) -> None:
    """Make these the rules, in one transaction; without ports there is no table. Raises LinkError."""
    name = table(rundir)
    if not ports:
        if listing(rundir):
            host_links.run(["nft", "delete", "table", "inet", name])
        return
    host_links.run(["nft", "-f", "-"], f"table inet {name}\ndelete table inet {name}\n{rules(rundir, ports)}")


def label(mark: str) -> str:
    """Return the comment that says whose table it is, as that of the control net does."""
    return f"benito {hashlib.sha256(mark.encode()).hexdigest()[:32]}"

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nftables rules of an experiment's cables: only the peer reaches a cable's port here, and only this host's cables reach the peer's.

The second half protects the peer, which knows this host by its address alone: whatever this host forwards is masqueraded, and every account
of it speaks with the same address.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from . import host_links
from .host_links import LinkError
from .rundir import RunDir


@dataclass(frozen=True)
class Port:
    """A cable's port, ``tcp`` or ``udp``, and the IPv4 address of its peer; ``vni``: only where that vxlan is meant.

    ``here``: it is a port of this host, which only the peer may reach. ``there``: it is one of the peer, which only our cables may reach.
    """

    protocol: str
    number: int
    peer: str
    vni: int = 0
    here: bool = True
    there: bool = False


def table(rundir: RunDir) -> str:
    """Return the name of an experiment's table."""
    return f"bc{hashlib.sha256(rundir.mark.encode()).hexdigest()[:10]}"


def rules(rundir: RunDir, ports: Iterable[Port], accounts: Collection[int] = ()) -> str:
    """Return the table. Several experiments may share a vxlan's port: what counts is the number inside.

    ``accounts`` are the user ids whose programs may reach the peers' ports.
    """
    incoming, forwarded, outgoing = [], [], []
    owners = ", ".join(str(uid) for uid in sorted({0, *accounts}))
    for port in sorted(set(ports), key=lambda port: (port.protocol, port.number, port.vni, port.peer)):
        packets = f"{port.protocol} dport {port.number}"
        if port.here:
            # Behind the 8 bytes of UDP: flags, 3 reserved bytes, the number.
            meant = packets + (f" @th,96,24 {port.vni}" if port.vni else "")
            incoming += [f"ip saddr != {port.peer} {meant} drop", f"meta nfproto ipv6 {meant} drop"]
        if port.there:
            # Cables run from host to host, so nothing that is forwarded is one. The number inside could hide in a second fragment.
            forwarded.append(f"ip daddr {port.peer} {packets} drop")
            # The kernel's own packets, those of a vxlan, belong to no account.
            outgoing.append(f"ip daddr {port.peer} {packets} meta skuid != {{ {owners} }} drop")
    hooks = (("input", incoming), ("forward", forwarded), ("output", outgoing))
    return f"""table inet {table(rundir)} {{
  comment "{label(rundir.mark)}"
{"".join(_chain(hook, lines) for hook, lines in hooks if lines)}}}
"""


def _chain(hook: str, lines: Iterable[str]) -> str:
    text = "".join(f"    {line}\n" for line in dict.fromkeys(lines))
    return f"  chain {hook} {{\n    type filter hook {hook} priority filter; policy accept;\n{text}  }}\n"


def listing(rundir: RunDir) -> str:
    """Return the table as the kernel has it; empty for none."""
    try:
        return host_links.run(["nft", "list", "table", "inet", table(rundir)])
    except LinkError:
        return ""


def put(rundir: RunDir, ports: Sequence[Port], accounts: Collection[int] = ()) -> None:
    """Make these the rules, in one transaction; without ports there is no table. Raises LinkError."""
    name = table(rundir)
    if not ports:
        if listing(rundir):
            host_links.run(["nft", "delete", "table", "inet", name])
        return
    host_links.run(["nft", "-f", "-"], f"table inet {name}\ndelete table inet {name}\n{rules(rundir, ports, accounts)}")


def label(mark: str) -> str:
    """Return the comment that says whose table it is, as that of the control net does."""
    return f"benito {hashlib.sha256(mark.encode()).hexdigest()[:32]}"

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The floor of networks: namespaces, veth and bridges by `ip -batch`, as few processes as it takes."""

from __future__ import annotations

import subprocess
import time
from collections import defaultdict
from collections.abc import Sequence

# For each LAN its members: node and address with prefix.
Lans = Sequence[Sequence[tuple[int, str]]]


def ip(lines: Sequence[str], *where: str) -> None:
    """Run a batch, all of it."""
    subprocess.run(["ip", *where, "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)


def plumb(lans: Lans, direct: bool) -> dict[str, float]:
    """Make it and take it away; return the seconds. ``direct`` makes a LAN of two a veth from node to node."""
    outside, within = [], defaultdict(lambda: ["link set lo up"])
    nodes = sorted({node for lan in lans for node, dummy in lan})
    for number, lan in enumerate(lans):
        ends = [(node, f"l{number}") for node, dummy in lan]
        if direct and len(lan) == 2:
            (one, name), (other, dummy) = ends
            outside.append(f"link add {name} netns p{one} type veth peer name {name} netns p{other}")
        else:
            outside += [f"link add b{number} type bridge", f"link set b{number} up"]
            for node, name in ends:
                outside += [
                    f"link add {name}.{node} type veth peer name {name} netns p{node}",
                    f"link set {name}.{node} master b{number} up",
                ]
        for node, address in lan:
            within[node] += [f"address add {address} dev l{number}", f"link set l{number} up"]
    began = time.monotonic()
    ip([f"netns add p{node}" for node in nodes])
    ip(outside)
    for node in nodes:
        ip(within[node], "-n", f"p{node}")
    up = time.monotonic() - began
    lan = next(lan for lan in lans if len(lan) > 1)
    ping = ["ip", "netns", "exec", f"p{lan[0][0]}", "ping", "-c", "1", "-W", "5", lan[1][1].split("/")[0]]
    works = subprocess.run(ping, check=False, capture_output=True).returncode == 0
    began = time.monotonic()
    bridges = [f"link delete b{number}" for number, lan in enumerate(lans) if not (direct and len(lan) == 2)]
    if bridges:
        ip(bridges)
    ip([f"netns delete p{node}" for node in nodes])
    down = time.monotonic() - began
    if not works:
        raise RuntimeError("the plumbing does not work: no answer in the first LAN")
    return {"up": up, "down": down}

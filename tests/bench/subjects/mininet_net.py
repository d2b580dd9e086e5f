# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same network by Mininet's Python interface: `/usr/bin/python3 mininet_net.py`, with LANs as JSON (see networks.py) on standard input.

A LAN of two nodes is a link between them where `direct` says so, otherwise a Linux bridge. Prints the seconds it takes up and down.
"""

from __future__ import annotations

import json
import resource
import sys
import time

from mininet.net import Mininet
from mininet.nodelib import LinuxBridge


def main() -> None:
    """Build, start and stop it."""
    told = json.load(sys.stdin)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # It would raise limits of the machine, which are none of a measurement's business and large enough.
    Mininet.inited = True
    began = time.monotonic()
    net = Mininet(switch=LinuxBridge, controller=None, build=False, autoSetMacs=True)
    hosts = {node: net.addHost(f"h{node}", ip=None) for lan in told["lans"] for node, dummy in lan}
    for number, lan in enumerate(told["lans"]):
        if told["direct"] and len(lan) == 2:
            (one, first), (other, second) = lan
            net.addLink(hosts[one], hosts[other], params1={"ip": first}, params2={"ip": second})
            continue
        switch = net.addSwitch(f"s{number}")
        for node, address in lan:
            net.addLink(hosts[node], switch, params1={"ip": address})
    net.start()
    up = time.monotonic() - began
    # What was built works: the first LAN of several nodes.
    lan = next(lan for lan in told["lans"] if len(lan) > 1)
    answer = hosts[lan[0][0]].cmd("ping -c 1 -W 5 " + lan[1][1].split("/")[0])
    began = time.monotonic()
    net.stop()
    print(json.dumps({"up": up, "down": time.monotonic() - began, "works": " 0% packet loss" in answer}))


if __name__ == "__main__":
    main()

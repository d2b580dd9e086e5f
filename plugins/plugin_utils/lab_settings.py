# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings by which the lab says what topology files may choose, and what their nodes may reach. No topology file may make any of them."""

from __future__ import annotations

from . import control_options
from .authority import LABS_WORD, Allowed, parse_allowed
from .setting import Setting
from .setting_values import CABLES, parse_count, parse_flag, parse_transports, parse_vlans

_NUMBER = "a whole number from 1 to 1000000"
_NAMES = "true, none, or names such as a,b"

LAB_SETTINGS: tuple[Setting, ...] = (
    Setting(
        "control_networks",
        "raw",
        (),
        control_options.parse_networks,
        "IPv4 networks such as 172.16.0.0/12,10.80.0.0/16, none of them link-local, loopback or multicast",
        "Networks within which a topology file may choose O(control_pool) and O(control_subnet), as C(NETWORK,...) or a list. Without it, "
        "the O(control_pool) of the lab.",
        LABS_WORD,
    ),
    Setting(
        "control_egress",
        "raw",
        "public",
        control_options.parse_egress,
        "none, public, all, or IPv4 networks such as 10.1.0.0/16,192.0.2.0/24",
        "What guests reach beyond their host over the control net, in modes V(nat) and V(ports): V(none) is nothing; V(public) is the "
        "outside without link-local addresses (where clouds keep what they tell their machines) and without private networks, but the "
        "host's resolver; V(all) is what the host reaches; or networks, as C(NETWORK,...) or a list.",
        LABS_WORD,
    ),
    Setting(
        "cable_transports",
        "raw",
        (),
        parse_transports,
        f"words of {', '.join(CABLES)}, such as udp,vxlan",
        "Transports that a topology file may choose for O(cable), besides V(ssh) and the O(cable) of the lab, as C(udp,...) or a list. "
        "V(ssh) alone is fit for every network.",
        LABS_WORD,
    ),
    Setting(
        "cable_vlans",
        "raw",
        (),
        parse_vlans,
        "numbers of VLANs from 1 to 4094 or ranges of them, such as 100-199,300",
        "VLANs of the lab's Ethernet that a topology file may name by C(benito:vlan), as C(FIRST-LAST,...) or a list. Without it, none.",
        LABS_WORD,
    ),
    Setting(
        "physical_hosts",
        "raw",
        Allowed(),
        parse_allowed,
        _NAMES,
        "Hosts that physical nodes may be: names of hosts of O(pool) or of pnodes, as C(NAME,...) or a list, or V(true) for all. Such a "
        "node has its addresses, routes and start command on the host itself. Without it, none.",
        LABS_WORD,
    ),
    Setting(
        "physical_interfaces",
        "raw",
        Allowed(),
        parse_allowed,
        _NAMES,
        "Interfaces of hosts that physical nodes may take by C(benito:device), as C(NAME,...), C(HOST/NAME,...) or a list, or V(true) for "
        "all. Without it, none.",
        LABS_WORD,
    ),
    Setting(
        "physical_networks",
        "raw",
        (),
        control_options.parse_networks,
        "IPv4 networks such as 192.0.2.0/24, none of them link-local, loopback or multicast",
        "Networks outside of the private ones that physical nodes may have addresses in and routes to, as C(NETWORK,...) or a list: these "
        "go into the host's own table of routes. Without it, none.",
        LABS_WORD,
    ),
    Setting("max_memory", "int", 16384, parse_count, _NUMBER, "Memory in MB that a topology file may ask for, for each node.", LABS_WORD),
    Setting("max_cpus", "int", 16, parse_count, _NUMBER, "Virtual processors that a topology file may ask for, for each node.", LABS_WORD),
    Setting(
        "max_processes", "int", 4096, parse_count, _NUMBER, "Processes that a topology file may allow each of its process nodes.", LABS_WORD
    ),
    Setting(
        "max_boot_timeout", "int", 3600, parse_count, _NUMBER, "The longest O(boot_timeout) that a topology file may choose.", LABS_WORD
    ),
    Setting(
        "adjacent_vars",
        "bool",
        False,
        parse_flag,
        "true or false",
        "Whether C(group_vars) and C(host_vars) beside a topology that is given as the inventory itself are used. They are templates that "
        "run on the controller. Without it, such a topology is refused.",
        LABS_WORD,
    ),
)

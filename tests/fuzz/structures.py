# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole topologies by chance, most of whose parts make sense: what damage of an example never reaches. The input is the chance."""

from __future__ import annotations

from random import Random
from typing import Any

from .mutation import ODD

_NODE = {
    "benito:node_type": ("qemu", "process", "process", "physical", "embedded_pnode", "container"),
    "benito:partition": ("0", "1", "2", "7"),
    "benito:PartitionPass": ("0", "1", "2"),
    "benito:ghost": ("true", "false"),
    "benito:image": ("tiny", "debian", "debian", "other"),
    "osid": ("tiny", "debian", "other"),
    "benito:memory": ("128", "512", "100000"),
    "benito:cpus": ("1", "2", "64"),
    "benito:processes": ("10", "1"),
    "benito:host": ("n0", "n1", "nobody"),
    "benito:routes": ("n1 via n0", "10.9.0.0/16 via n1", "s0 via n2; s1 via n2", "n0 via n0", ""),
    "benito:control_address": ("172.20.1.7", "172.20.1.1", "10.0.0.7"),
    "benito:control_mac": ("02:00:00:00:00:01", "02:00:00:00:00:02"),
    "startup": ("true", "sleep 1; echo 'x'"),
    "failureaction": ("fatal", "nonfatal", "ignore"),
}
_INTERFACE = {
    "ip4_address": ("10.0.0.1", "10.0.0.2", "10.0.1.1", "10.1.1.2", "192.168.7.9", "172.20.1.9"),
    "ip4_netmask": ("255.255.255.0", "255.255.0.0", "255.255.255.252"),
    "benito:mac_address": ("02:00:00:00:00:01", "02:00:00:00:00:03"),
    "benito:vde_switch": ("s0", "other"),
    "benito:vde_port": ("1", "2", "7"),
    "benito:device": ("eth1", "eth2"),
    "benito:dhcp": ("server", "client", "client"),
    "benito:reverse_capacity": ("10", "1000"),
    "benito:reverse_latency": ("0", "5"),
    "benito:reverse_loss": ("0", "0.5"),
    "benito:jitter": ("1", "0"),
    "benito:duplication": ("0.1",),
    "benito:loss_burst": ("3",),
    "loss": ("0.1", "0", "1"),
    "benito:shaping": ("none", "netem", "wirefilter"),
}
_SUBSTRATE = {
    "loss": ("0.1", "0"),
    "benito:jitter": ("1",),
    "benito:shaping": ("none", "netem", "wirefilter"),
    "benito:cable": ("ssh", "tcp", "udp", "vxlan", "ethernet"),
    "benito:vlan": ("7", "8"),
}
_TOPOLOGY = {
    "benito:packing": ("1", "2", "3"),
    "benito:size": ("1", "2", "3"),
    "benito:pass_pack": ("1:2", "0:1,1:1"),
    "benito:pass_size": ("1:2",),
    "benito:nodes_only": ("true",),
    "benito:routing": ("static", "tree", "manual", "session", "none"),
    "benito:shaping": ("none", "netem", "wirefilter"),
    "benito:addressing": ("benito", "emulab"),
    "benito:guest_switches": ("true",),
    "benito:control_mode": ("nat", "ports", "none", "bridge"),
    "benito:control_subnet": ("172.20.1.0/24", "0:172.20.1.0/24,1:172.20.2.0/24"),
    "benito:processes_per_machine": ("1", "5"),
    "benito:default_kind": ("process", "qemu"),
    "benito:cable": ("udp", "vxlan", "ethernet"),
    "benito:cable_pairs": ("0/1:udp",),
    "benito:pnode_hosts": ("0=amber,1=birch",),
    "benito:start": ("cold", "warm"),
}
_OPTIONS: dict[str, tuple[Any, ...]] = {
    "packing": (1, 2, 5),
    "size": (1, 3),
    "control_mode": ("nat", "ports", "none", "bridge"),
    "control_subnet": ("192.0.2.0/24", {0: "172.20.1.0/28", 1: "172.20.2.0/28"}),
    "control_addresses": ("192.0.2.10-192.0.2.12", ["192.0.2.10-192.0.2.99"]),
    "control_map": ({"n0": "172.20.1.5", "n1": {"mac": "02:00:00:00:00:09"}},),
    "control_ports": ("30000-30003", "30000-30999"),
    "cable_ports": ("20000-20002",),
    "guest_switches": (True,),
    "processes_per_machine": (1, 2),
    "shares": (["/users:/srv/users:ro"],),
    "share_transport": ("virtio", "diod"),
    "platforms": ({"container": "lab.site.container"},),
    "cable": ("udp", "vxlan", "ethernet", "tcp"),
}
_HOSTS: tuple[dict[str, Any], ...] = (
    {},
    {"benito_memory": 4096, "benito_cores": 4},
    {"benito_packing": 2, "benito_reachable": False},
    {"benito_cable_device": "eth1", "benito_memory": 200},
    {"ansible_connection": "local", "benito_address": "192.0.2.9"},
)

# What few topologies can have without more.
_SELDOM = frozenset(
    ("benito:device", "benito:host", "benito:jitter", "benito:control_address", "benito:control_mode", "benito:mac_address")
)


def structure(data: bytes) -> tuple[bytes, dict[str, Any], dict[str, Any]]:
    """Return a topology, overrides of its settings and a pool of hosts, which all follow from the input."""
    dice = Random(data)
    substrates = [f"s{number}" for number in range(dice.choice((0, 1, 1, 2, 3, 5, 8)))]
    text = "".join(
        f"<substrates><name>{name}</name>{_limits(dice)}{_attributes(dice, _SUBSTRATE, 0.1)}</substrates>" for name in substrates
    )
    for number in range(dice.choice((1, 2, 2, 3, 3, 4, 4, 8, 20))):
        on = [dice.choice(substrates) for dummy in range(dice.choice((0, 1, 1, 2, 3)))] if substrates else []
        interfaces = "".join(
            f"<interface><substrate>{name}</substrate>{_limits(dice)}{_attributes(dice, _INTERFACE, 0.07)}</interface>" for name in on
        )
        text += f"<elements><computer><name>n{number}</name>{interfaces}{_attributes(dice, _NODE, 0.07)}</computer></elements>"
    text = f"<experiment><version>1.0</version>{text}{_attributes(dice, _TOPOLOGY, 0.08)}</experiment>"
    overrides = {name: dice.choice(values) for name, values in _OPTIONS.items() if dice.random() < 0.08}
    pool = {f"host{number}": dice.choice(_HOSTS) for number in range(dice.choice((0, 0, 1, 2, 4)))}
    return text.encode("utf-8", "replace"), overrides, pool


def _limits(dice: Random) -> str:
    rate, time = dice.choice(("1", "10", "100000", "0", "1e6")), dice.choice(("0", "1", "2.5", "1000"))
    return (f"<capacity><rate>{rate}</rate><kind>max</kind></capacity>" if dice.random() < 0.15 else "") + (
        f"<latency><time>{time}</time><kind>max</kind></latency>" if dice.random() < 0.15 else ""
    )


def _attributes(dice: Random, known: dict[str, tuple[str, ...]], part: float) -> str:
    """Return some of the attributes, most with a value that makes sense."""
    found = ""
    for name, values in known.items():
        if dice.random() < (part / 6 if name in _SELDOM else part):
            value = dice.choice(values) if dice.random() < 0.97 else dice.choice(ODD).replace("&", "").replace("<", "")
            found += f"<attribute><attribute>{name}</attribute><value>{value}</value></attribute>"
    return found

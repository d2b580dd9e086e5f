# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an experiment gets of its hosts themselves: physical nodes, and their interfaces, addresses, routes and names.

A physical node is a host of the lab. Its start command runs there, its networks and routes go into the host's table, its interfaces may be
the host's own. A topology file gets none of this unless settings of the lab allow it, and no file can make these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from .addressing import Addressing
from .attributes import find
from .authority import is_private, refusal
from .diagnostics import TopologyError, one_line
from .interpretation import Experiment, Node, NodeInterface
from .placement import Placement
from .platforms import kind_of
from .pool import PoolHost
from .settings import Settings
from .topology import Topology

if TYPE_CHECKING:
    from .diagnostics import Location
    from .routing import Route


def check_physical(
    topology: Topology,
    experiment: Experiment,
    placement: Placement,
    pool: Sequence[PoolHost],
    addressing: Addressing,
    routes: Mapping[str, Sequence[Route]],
    settings: Settings,
) -> None:
    """Check that each physical node is a host that the lab allows, and has no more of it than the lab allows. Raises TopologyError."""
    nodes = [node for node in experiment.nodes if node.kind == "physical" and node.launched]
    if not nodes:
        return
    computers = {c.name: c.attributes for c in topology.computers}
    for node in nodes:
        number = placement.pnode_of[node.name]
        host = pool[number].name if number < len(pool) else "localhost"
        said = find(computers[node.name], "node_type")
        by_itself = said is not None and kind_of(said.value, settings.platforms) == "physical"
        _check_host(node, host, f"pnode-{number:04d}", by_itself, settings)
        for interface in node.interfaces:
            _check_device(interface, host, settings)
            network = IPv4Network(str(addressing.networks[interface.substrate]))
            _check_network(network, f"network {network} of {node.name}", interface.where, settings)
        said = find(computers[node.name], "routes")
        for route in routes.get(node.name, ()):
            for prefix in route.to:
                _check_network(IPv4Network(prefix), f"the route of {node.name} to {prefix}", said.where if said else node.where, settings)
    _check_names(nodes[0], experiment)


def _check_host(node: Node, host: str, pnode: str, by_itself: bool, settings: Settings) -> None:
    if not settings.physical_hosts.has(host, pnode):
        word = "" if by_itself or settings.default_kind == "physical" else ", since other nodes have a partition and it has none"
        raise refusal(
            f"{node.name} is a physical node{word}, and may not be {host} itself ({pnode})",
            "such a node has its addresses, routes and start command on a host of the lab",
            ["physical_hosts"],
            node.where,
        )


def _check_device(interface: NodeInterface, host: str, settings: Settings) -> None:
    if interface.real and not settings.physical_interfaces.has(interface.real, f"{host}/{interface.real}"):
        raise refusal(
            f"interface {interface.name} of {interface.node} may not be {interface.real} of {host}",
            "it is wired into the lab's own network",
            ["physical_interfaces"],
            interface.where,
        )


def _check_network(network: IPv4Network, what: str, where: Location, settings: Settings) -> None:
    """Refuse what would lead packets of the host itself elsewhere, unless that is a private network."""
    if not is_private(network) and not any(network.subnet_of(IPv4Network(text)) for text in settings.physical_networks):
        raise refusal(f"{what} may not be in the table of a host of the lab", "it is not private", ["physical_networks"], where)


def _check_names(node: Node, experiment: Experiment) -> None:
    """Refuse names that would mean hosts elsewhere once they stand in a host's own file of names."""
    for link in experiment.links:
        if "." in link.name:
            raise TopologyError(
                f"substrate {one_line(link.name)} has a dot in its name and {node.name} is a host of the lab: there its members' names "
                "would be those of other hosts; rename it",
                link.where,
            )

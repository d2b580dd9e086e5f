# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan decided, written into the topology, and read back.

The annotated topology is at once a file like any other, which gives the same plan wherever it is read, and
the memory of the last swap-in, by which the next plan leaves alone what need not change.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from .addressing import NO_ADDRESSES, PreviousAddresses, dotted, network_of, parse_network
from .attributes import find
from .authority import written
from .control_options import parse_subnets
from .diagnostics import Location, Notice, TopologyError
from .formats.topdl import read_topdl
from .interpretation import parse_address, parse_netmask
from .ownership import read_own, why_not_own
from .platforms import ON_THEIR_HOST
from .settings import SETTINGS, Settings, as_attributes, default_state_dir
from .topology import Attribute, Computer, Interface, Topology, find_attribute

if TYPE_CHECKING:
    from .addressing import Network
    from .plan import Plan, PlannedInterface, PlannedNode

EMBEDDING = "embedding.topdl"
# What others who read such files call it.
_KIND_WORDS = MappingProxyType({"physical": "embedded_pnode"})


@dataclass(frozen=True)
class Embedding:
    """What the last swap-in chose, by name: it guides, and never binds.

    ``pnodes`` has the number of each node's pnode; ``ports`` are by node, interface and substrate; ``hosts`` has the name of the host that
    a pnode was.
    """

    pnodes: Mapping[str, int] = field(default_factory=dict)
    addresses: PreviousAddresses = NO_ADDRESSES
    ports: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    hosts: Mapping[int, str] = field(default_factory=dict)


NOTHING_EMBEDDED = Embedding()


def experiment_dir(settings: Settings) -> Path:
    """Return the directory where the controller keeps what it must remember of the experiment."""
    return Path(settings.state_dir) / f"{settings.project}.{settings.experiment}"


def embedding_file(settings: Settings) -> Path:
    """Return the file that holds the last swap-in's annotated topology."""
    return experiment_dir(settings) / EMBEDDING


def recorded_names(path: str, overrides: Mapping[str, object], environment: Mapping[str, str]) -> Mapping[str, str]:
    """Return project and experiment where a topology file is our own record of an experiment; nothing for any other file.

    Such a file is called embedding.topdl whatever it describes, and its directory, which nobody but the controller's user writes, has the
    names.
    """
    where = Path(os.path.realpath(path))
    state = overrides.get("state_dir") or default_state_dir(environment)
    if where.name != EMBEDDING or where.parent.parent != Path(os.path.realpath(os.path.expanduser(str(state)))):
        return {}
    project, dot, experiment = where.parent.name.partition(".")
    return {"project": project, "experiment": experiment} if dot else {}


def load_embedding(settings: Settings) -> tuple[Embedding, tuple[Notice, ...]]:
    """Return what the last swap-in chose. A record that cannot be read counts as none, and is told about.

    Raises TopologyError for a directory or a record that others may have written.
    """
    path = embedding_file(settings)
    reason = why_not_own(path.parent)
    if reason:
        raise TopologyError(reason)
    try:
        content = read_own(path)
    except FileNotFoundError:
        return Embedding(), ()
    except OSError as error:
        return Embedding(), (_useless(path, error.strerror),)
    try:
        topology, dummy = read_topdl(content, str(path))
        return read_embedding(topology), ()
    except TopologyError as error:
        return Embedding(), (_useless(path, error.message),)


def _useless(path: Path, reason: str | None) -> Notice:
    return Notice(Location(str(path)), f"the record of the last swap-in is of no use, everything is chosen anew: {reason}")


def addresses_of_others(settings: Settings) -> dict[int, str]:
    """Return the addresses on the control net of other experiments that this controller swapped in, with the experiments' names."""
    found: dict[int, str] = {}
    for path in sorted(Path(settings.state_dir).glob(f"*/{EMBEDDING}")):
        if path == embedding_file(settings):
            continue
        try:
            topology, dummy = read_topdl(read_own(path), str(path))
            found.update(dict.fromkeys(read_embedding(topology).addresses.control.values(), f"experiment {path.parent.name}"))
        except (OSError, TopologyError):
            continue  # whoever swaps that one in again is told
    return found


def read_embedding(topology: Topology) -> Embedding:
    """Return the decisions an annotated topology holds. Raises TopologyError for an annotation that cannot be read."""
    pnodes: dict[str, int] = {}
    networks: dict[str, Network] = {}
    interfaces: dict[tuple[str, str, str], int] = {}
    ports: dict[tuple[str, str, str], int] = {}
    control: dict[str, int] = {}
    for computer in topology.computers:
        partition = find(computer.attributes, "partition")
        if partition is not None:
            pnodes[computer.name] = _number(partition)
        address = find(computer.attributes, "control_address")
        if address is not None:
            control[computer.name] = parse_address(address.value, address.where)
        for interface in computer.interfaces:
            for substrate in interface.substrates[:1]:
                key = (computer.name, interface.name, substrate)
                value, mask = find_attribute(interface.attributes, "ip4_address"), find_attribute(interface.attributes, "ip4_netmask")
                if value is not None and mask is not None:
                    interfaces[key] = parse_address(value.value, value.where)
                    networks[substrate] = network_of(interfaces[key], parse_netmask(mask.value, mask.where))
                port = find(interface.attributes, "vde_port")
                if port is not None:
                    ports[key] = _number(port)
    carriers = (pnodes[name] for name in control if name in pnodes)
    control_networks = _control_networks(find(topology.attributes, "control_subnet"), min(carriers, default=0))
    hosts = find(topology.attributes, "pnode_hosts")
    pairs = [pair.partition("=") for pair in hosts.value.split(",")] if hosts else []
    named = {int(number): name for number, dummy, name in pairs if re.fullmatch("[0-9]{1,9}", number) and name}
    return Embedding(pnodes, PreviousAddresses(networks, interfaces, control_networks, control), ports, named)


def annotate(plan: Plan) -> Topology:
    """Return the topology the plan was made from, with everything the plan decided written in as attributes."""
    planned = {node.name: node for node in plan.nodes}
    elements = tuple(_annotated(e, planned[e.name]) if isinstance(e, Computer) else e for e in plan.topology.elements)
    settled = replace(plan.settings, control_subnet=plan.control.subnets)
    hosts = {int(pnode.rpartition("-")[2]): host.name for pnode in plan.pnodes if (host := plan.host(pnode))}
    own = [*as_attributes(settled)]
    if plan.control.subnets and plan.control.mode != "bridge" and "benito:control_subnet" not in {a.name for a in own}:
        # The next plan keeps it, though it is the lab that allows it.
        own.append(Attribute("benito:control_subnet", written(plan.control.subnets)))
    if hosts:
        own.append(Attribute("benito:pnode_hosts", ",".join(f"{number}={name}" for number, name in hosts.items())))
    # Settings that the plan does not follow, since the lab said otherwise, and hosts that the file named itself, would mislead the next.
    decided = {"pnode_hosts", *(s.name for s in SETTINGS)}
    kept = (a for a in plan.topology.attributes if _key(a.name).removeprefix("benito:") not in decided or ":" not in a.name)
    return replace(plan.topology, elements=elements, attributes=with_attributes(kept, own))


def with_attributes(attributes: Iterable[Attribute], own: Iterable[Attribute]) -> tuple[Attribute, ...]:
    """Return the attributes with ours set: those of the same key, under whatever prefix, give way."""
    own = tuple(own)
    keys = {_key(a.name) for a in own}
    return (*(a for a in attributes if _key(a.name) not in keys), *own)


def _key(name: str) -> str:
    """Return one spelling for names that mean the same; partition is ours even without a prefix."""
    for prefix in ("benito:", "containers:"):
        name = name.removeprefix(prefix) if name == prefix + "partition" else name
    return f"benito:{name.removeprefix('containers:')}" if name.startswith("containers:") else name


def _annotated(computer: Computer, node: PlannedNode) -> Computer:
    kind = _KIND_WORDS.get(node.kind, node.kind)
    own = [Attribute("benito:node_type", kind), Attribute("benito:partition", str(node.pnode_number))]
    sizes = {"image": node.image if node.kind not in ON_THEIR_HOST else None, "memory": node.memory, "cpus": node.cpus}
    own += [Attribute(f"benito:{key}", str(value)) for key, value in sizes.items() if value]
    if node.control is not None:
        own += [Attribute("benito:control_mac", node.control.mac)]
    if node.control is not None and node.control.address is not None:
        own += [Attribute("benito:control_address", dotted(node.control.address))]
    interfaces = tuple(_annotated_interface(i, planned) for i, planned in zip(computer.interfaces, node.interfaces, strict=True))
    return replace(computer, interfaces=interfaces, attributes=with_attributes(computer.attributes, own))


def _annotated_interface(interface: Interface, planned: PlannedInterface) -> Interface:
    mask = 0xFFFFFFFF << (32 - planned.prefix) & 0xFFFFFFFF
    own = [Attribute("ip4_address", dotted(planned.address)), Attribute("ip4_netmask", dotted(mask))]
    if not planned.real:
        own += [
            Attribute("benito:mac_address", planned.mac),
            Attribute("benito:vde_switch", planned.switch),
            Attribute("benito:vde_port", str(planned.port)),
        ]
    return replace(interface, attributes=with_attributes(interface.attributes, own))


def _control_networks(attribute: Attribute | None, only: int) -> Mapping[int, Network]:
    """Return the control networks by number of pnode; where there is one, it is that of pnode ``only``."""
    try:
        subnets = parse_subnets(attribute.value.strip()) if attribute else {}
    except ValueError:
        return {}
    return {n: parse_network(text) for n, text in ({only: subnets} if isinstance(subnets, str) else subnets).items()}


def _number(attribute: Attribute) -> int:
    text = attribute.value.strip()
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise TopologyError(f"{attribute.name} is not a number", attribute.where)
    return int(text)

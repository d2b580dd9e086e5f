# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the words of a topology mean: elements become nodes of a kind, substrates become links.

Nothing is chosen here yet, no place and no address; but every word that decides is checked, and what
this version does not do is said once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

try:
    import netaddr
except ImportError:  # reported when it is needed
    netaddr = None  # type: ignore[assignment]

from .attributes import find
from .diagnostics import Location, Notice, TopologyError, listing, one_line
from .platforms import ON_THEIR_HOST, kind_of
from .real_interfaces import real_interface
from .services import check_dhcp, dhcp_role
from .setting_values import IMAGES, LEAST_MEMORY
from .settings import Settings
from .topology import Attribute, Computer, Interface, Testbed, Topology, find_attribute

ROUTING_WORDS = {
    "static": "computed",
    "static-ddijk": "computed",
    "static-old": "computed",
    "tree": "tree",
    "manual": "manual",
    "none": "none",
}

_FAILURE_ACTIONS = ("fatal", "nonfatal", "ignore")
# Names that mean something else to Ansible, to the inventory's groups or to a resolver.
_RESERVED_NAME = re.compile(r"all|ungrouped|[vp]node|vhost|carrier|pnode-[0-9]+|pnode_[0-9]+_guests|benito_pool|substrate_.*|[0-9]+")
_DOTTED_QUAD = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})")
_YES = ("true", "yes", "on", "1")


@dataclass(frozen=True)
class NodeInterface:
    """Where a node touches a substrate. ``index`` counts the node's interfaces from 0; None means: to be chosen.

    ``real`` names the interface of the host that it is; empty when it is one of ours.
    """

    node: str
    name: str
    substrate: str
    index: int
    address: int | None
    prefix: int | None
    mac: str | None
    port: int | None
    dhcp: str
    where: Location
    real: str = ""


@dataclass(frozen=True)
class Node:
    """A vnode. ``host`` is the vnode that carries it, if any; memory in MB; control address and MAC are those the file demands.

    What runs on its host's kernel has the memory and processors that the file gives it, 0 for no limit, and at most so many ``processes``.
    """

    name: str
    kind: str
    image: str
    memory: int
    cpus: int
    processes: int | None
    partition: int | None
    pass_number: int | None
    ghost: bool
    host: str | None
    start_command: str
    failure_action: str
    testbed: str
    control_address: int | None
    control_mac: str | None
    interfaces: tuple[NodeInterface, ...]
    where: Location

    @property
    def launched(self) -> bool:
        """Whether a platform is to do something about it."""
        return not self.ghost

    @property
    def has_control(self) -> bool:
        """Whether it has an interface on the control net, if there is one."""
        return self.launched and self.kind not in ON_THEIR_HOST


@dataclass(frozen=True)
class Link:
    """A substrate and who touches it, in the order of the file."""

    name: str
    members: tuple[NodeInterface, ...]
    where: Location


@dataclass(frozen=True)
class Experiment:
    """A topology understood. ``routing`` is computed, tree, manual or none."""

    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    routing: str
    notices: tuple[Notice, ...]


def interpret(topology: Topology, settings: Settings) -> Experiment:
    """Return the experiment a topology describes. Raises TopologyError for words that contradict each other or mean nothing."""
    computers = topology.computers
    if not computers:
        raise TopologyError("no computer in this topology: there is nothing to build", topology.where)
    notices: list[Notice] = [*_unrealised(topology)]
    partitioned = any(_partition(c) is not None for c in computers)
    nodes = tuple(_node(c, settings, partitioned) for c in computers)
    notices += _told_about_kinds(computers, settings, partitioned)
    notices += _told_about_images(computers, settings)
    routing, said = _routing(topology)
    notices += said

    members: dict[str, list[NodeInterface]] = {s.name: [] for s in topology.substrates}
    for node in nodes:
        for interface in node.interfaces:
            members[interface.substrate].append(interface)
    links = tuple(Link(s.name, tuple(members[s.name]), s.where) for s in topology.substrates)
    machines = {node.name for node in nodes if node.has_control}
    for link in links:
        check_dhcp(link.name, link.members, machines)
    _check_served(nodes)
    return Experiment(nodes, links, routing, tuple(notices))


def _check_served(nodes: Iterable[Node]) -> None:
    """Refuse to give DHCP to or ask it of nodes that have no agent for it."""
    for node in nodes:
        asked = next((i for i in node.interfaces if i.dhcp and node.kind in ON_THEIR_HOST), None)
        if asked is not None:
            raise TopologyError(
                f"interface {asked.name} of {node.name} has DHCP {asked.dhcp}: only machines have that, not a {node.kind} node; "
                "leave benito:dhcp out",
                asked.where,
            )


def parse_address(text: str, where: Location) -> int:
    """Return an IPv4 address in dotted decimal as a number."""
    quad = _DOTTED_QUAD.fullmatch(text.strip())
    parts = [int(p) for p in quad.groups()] if quad else [256]
    if max(parts) > 255:
        raise TopologyError(f"{one_line(text)} is not an IPv4 address such as 10.0.1.2", where)
    return parts[0] << 24 | parts[1] << 16 | parts[2] << 8 | parts[3]


def parse_netmask(text: str, where: Location) -> int:
    """Return the prefix length of a netmask in dotted decimal."""
    mask = parse_address(text, where)
    inverse = mask ^ 0xFFFFFFFF
    if inverse & (inverse + 1) or not 8 <= mask.bit_count() <= 30:
        raise TopologyError(f"{one_line(text)} is not a netmask from 255.0.0.0 to 255.255.255.252", where)
    return mask.bit_count()


def _node(computer: Computer, settings: Settings, partitioned: bool) -> Node:
    attributes, where = computer.attributes, computer.where
    if _RESERVED_NAME.fullmatch(computer.name.lower()) or computer.name.lower() in settings.platforms:
        raise TopologyError(f"{one_line(computer.name)} cannot name a node: the name is taken for something else", where)
    control_address, control_mac = find(attributes, "control_address"), find(attributes, "control_mac")
    failure = find_attribute(attributes, "failureaction")
    if failure and failure.value not in _FAILURE_ACTIONS:
        raise TopologyError(f"failureaction is {one_line(failure.value)}: it must be {', '.join(_FAILURE_ACTIONS)}", failure.where)
    host = find(attributes, "host")
    kind = _kind(computer, settings, partitioned)
    machine = kind not in ON_THEIR_HOST
    image = _image(computer, settings)
    usual = max(settings.default_memory, IMAGES.get(image, LEAST_MEMORY)) if machine else 0
    return Node(
        name=computer.name,
        kind=kind,
        image=image,
        memory=_number(find(attributes, "memory"), LEAST_MEMORY if machine else 1) or usual,
        cpus=_number(find(attributes, "cpus"), 1) or (settings.default_cpus if machine else 0),
        processes=_number(find(attributes, "processes"), 1),
        partition=_partition(computer),
        pass_number=_number(find(attributes, "PartitionPass"), 0),
        ghost=_flag(find(attributes, "ghost")),
        host=host.value.strip() if host else None,
        start_command=_text(find_attribute(attributes, "startup")),
        failure_action=failure.value if failure else "fatal",
        testbed=_text(find_attribute(attributes, "testbed")),
        control_address=parse_address(control_address.value, control_address.where) if control_address else None,
        control_mac=_mac(control_mac),
        interfaces=tuple(_interface(computer, kind, i, interface) for i, interface in enumerate(computer.interfaces)),
        where=where,
    )


def _interface(computer: Computer, kind: str, index: int, interface: Interface) -> NodeInterface:
    if len(interface.substrates) != 1:
        raise TopologyError(
            f"interface {interface.name} of {computer.name} is on {len(interface.substrates)} substrates: one can be realised",
            interface.where,
        )
    address, mask = find_attribute(interface.attributes, "ip4_address"), find_attribute(interface.attributes, "ip4_netmask")
    return NodeInterface(
        node=computer.name,
        name=interface.name,
        substrate=interface.substrates[0],
        index=index,
        address=parse_address(address.value, address.where) if address else None,
        prefix=parse_netmask(mask.value, mask.where) if mask else None,
        mac=_mac(find(interface.attributes, "mac_address")),
        port=_number(find(interface.attributes, "vde_port"), 1),
        dhcp=dhcp_role(find(interface.attributes, "dhcp")),
        where=(address or interface).where,
        real=real_interface(computer.name, kind, interface),
    )


def _kind(computer: Computer, settings: Settings, partitioned: bool) -> str:
    if partitioned and _unplaced(computer):
        return "physical"
    return kind_of(_text(find(computer.attributes, "node_type")), settings.platforms) or settings.default_kind


def _partition(computer: Computer) -> int | None:
    return _number(find(computer.attributes, "partition"), 0)


def _unplaced(computer: Computer) -> bool:
    """Whether nothing says where the node sits: neither a partition nor a node that carries it."""
    return _partition(computer) is None and find(computer.attributes, "host") is None


def _wanted_image(computer: Computer) -> Attribute | None:
    """Return the attribute that names an image: our own, or the osid of the first operating system that has one."""
    own = find(computer.attributes, "image")
    return own or next((a for os in computer.oses if (a := find_attribute(os.attributes, "osid")) is not None), None)


def _image(computer: Computer, settings: Settings) -> str:
    wanted = _wanted_image(computer)
    # Where nothing names an image, an operating system may be called like one.
    words = [word.lower() for os in computer.oses for word in (os.distribution, os.name) if word] if wanted is None else [_text(wanted)]
    return next((word for word in words if word in IMAGES), settings.default_image)


def _told_about_kinds(computers: tuple[Computer, ...], settings: Settings, partitioned: bool) -> Iterable[Notice]:
    unknown: dict[str, Attribute] = {}
    for computer in computers:
        word = find(computer.attributes, "node_type")
        if word is None:
            continue
        kind = kind_of(word.value, settings.platforms)
        if kind is None:
            unknown.setdefault(word.value.strip(), word)
        if partitioned and _unplaced(computer) and kind != "physical":
            yield Notice(
                word.where,
                f"node {computer.name} is physical, not {one_line(word.value)}: other nodes of the file have a partition and it has none",
            )
    for value, word in unknown.items():
        yield Notice(
            word.where, f"{word.name} {one_line(value)} is a kind that no platform launches: such nodes are {settings.default_kind}"
        )


def _told_about_images(computers: tuple[Computer, ...], settings: Settings) -> Iterable[Notice]:
    unknown: dict[str, Attribute] = {}
    for computer in computers:
        wanted = _wanted_image(computer)
        if wanted is not None and wanted.value.strip() not in (*IMAGES, settings.default_image):
            unknown.setdefault(wanted.value.strip(), wanted)
    for value, wanted in unknown.items():
        yield Notice(wanted.where, f"image {one_line(value)} is not known: such nodes get {settings.default_image}")


def _unrealised(topology: Topology) -> Iterable[Notice]:
    """Say once for each construct that this version reads and keeps it, but does nothing about it."""
    for element in topology.elements:
        if not isinstance(element, Computer):
            what = (
                f"testbed {one_line(element.uri)}"
                if isinstance(element, Testbed)
                else f"an element of kind {type(element).__name__.lower()}"
            )
            yield Notice(element.where, f"{what} is not realised")
    fetched = next((a for c in topology.computers for key in ("qemu_url", "maverick_url") if (a := find(c.attributes, key))), None)
    if fetched:
        yield Notice(fetched.where, f"{fetched.name} is not fetched by this version: image names an image")
    loaded = [c for c in topology.computers if c.software]
    if loaded:
        yield Notice(loaded[0].where, f"software is not installed by this version: {listing(c.name for c in loaded)}")


def _routing(topology: Topology) -> tuple[str, list[Notice]]:
    word = find(topology.attributes, "routing")
    if word is None:
        return "computed", []
    value = word.value.strip().lower()
    if value in ("session", "ospf"):
        return "computed", [
            Notice(word.where, f"routing {value} is not run: routes are computed instead, and stay as they are when a link fails")
        ]
    if value == "computed" or value in ROUTING_WORDS:
        return ROUTING_WORDS.get(value, value), []
    raise TopologyError(f"{word.name} is {one_line(word.value)}: it must be static, tree, manual, session or none", word.where)


def _text(attribute: Attribute | None) -> str:
    return attribute.value.strip() if attribute else ""


def _flag(attribute: Attribute | None) -> bool:
    return _text(attribute).lower() in _YES


def _number(attribute: Attribute | None, least: int) -> int | None:
    if attribute is None:
        return None
    text = attribute.value.strip()
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least):
        raise TopologyError(f"{attribute.name} is {one_line(attribute.value)}: it must be a whole number, {least} or more", attribute.where)
    return int(text)


def _mac(attribute: Attribute | None) -> str | None:
    """Return a MAC as 02:00:00:00:00:01, whatever way it is written."""
    if attribute is None:
        return None
    if netaddr is None:
        raise TopologyError("checking MAC addresses needs the Python library netaddr", attribute.where)
    text = attribute.value.strip()
    mac = netaddr.EUI(text, version=48, dialect=netaddr.mac_unix_expanded) if netaddr.valid_mac(text) else None
    if mac is None or mac.words[0] & 1 or not int(mac):
        raise TopologyError(
            f"{attribute.name} is {one_line(attribute.value)}: it must be a unicast MAC address such as 02:00:00:00:00:01", attribute.where
        )
    return str(mac)

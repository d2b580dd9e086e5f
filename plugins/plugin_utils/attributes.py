# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The attributes Benito knows, and what to tell an author who wrote others.

TopDL leaves the names of attributes open, so a misspelt one says nothing and does nothing. Names under
``benito:`` or ``containers:``, which mean the same, are ours: one that is not known there is worth a notice. Bare names are
shared with other tools, so a bare name is worth one only when it is nearly one of these.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType

from .authority import (
    CABLE_VLAN,
    FILES_WORD,
    LAB,
    PHYSICAL_KIND,
    Word,
    at_most,
    check,
    within,
)
from .diagnostics import Notice, close_to, first_notices, one_line
from .settings import SETTINGS, Settings
from .topology import Attribute, Computer, Element, Other, Segment, Topology, find_attribute

PREFIXES = ("benito:", "containers:")
_MOST_GUESSES = 1000


@dataclass(frozen=True)
class KnownAttribute:
    """A row of the registry: ``key`` is the name without prefix, ``spellings`` all names it may be written as, the usual one first.

    ``places`` are the kinds of object it may stand on: topology, substrate, node, interface, os. ``word`` says within which bounds a file
    may choose its value.
    """

    key: str
    places: tuple[str, ...]
    meaning: str
    spellings: tuple[str, ...]
    word: Word


def _bare(word: Word, key: str, places: str, meaning: str) -> KnownAttribute:
    return KnownAttribute(key, tuple(places.split()), meaning, (key,), word)


def _ours(word: Word, key: str, places: str, meaning: str, *others: str) -> KnownAttribute:
    """Describe an attribute under our prefixes; ``others`` are further spellings, bare where they start with a colon."""
    prefixed = (prefix + name for name in (key, *(o for o in others if not o.startswith(":"))) for prefix in PREFIXES)
    return KnownAttribute(key, tuple(places.split()), meaning, (*prefixed, *(o[1:] for o in others if o.startswith(":"))), word)


def _plain(documentation: str) -> str:
    """Take Ansible's markup out of a setting's documentation."""
    return re.sub(r"\b[A-Z]\(([^)]*)\)", r"\1", documentation)


ATTRIBUTES: tuple[KnownAttribute, ...] = (
    _bare(FILES_WORD, "startup", "node", "Start command, run by the node's shell at each boot."),
    _bare(FILES_WORD, "type", "node", "Hardware type; kept, and without effect here."),
    _bare(FILES_WORD, "failureaction", "node", "What a guest that does not boot does to the swap-in: fatal, nonfatal or ignore."),
    _bare(FILES_WORD, "testbed", "node", "Testbed that should realise the node in a federation; kept, and without effect here."),
    _bare(FILES_WORD, "fixed", "node", "Physical machine wanted for the node; kept, and without effect here."),
    _bare(FILES_WORD, "osid", "os", "Name of the image to run."),
    _bare(within(None, "physical_networks"), "ip4_address", "interface", "IPv4 address in the experiment."),
    _bare(FILES_WORD, "ip4_netmask", "interface", "Netmask of ip4_address, as a dotted quad."),
    _bare(FILES_WORD, "loss", "interface substrate", "Fraction of packets lost, 0 to 1."),
    _bare(FILES_WORD, "portal", "node", "Marks a federation gateway; kept, and without effect here."),
    _bare(FILES_WORD, "active", "node", "Whether a federation gateway opens the connection; kept, and without effect here."),
    _bare(FILES_WORD, "dragon_vlan", "node", "VLAN of a federation gateway; kept, and without effect here."),
    _bare(FILES_WORD, "domain", "node", "Domain of a federation gateway; kept, and without effect here."),
    _bare(FILES_WORD, "masterdomain", "node", "Master domain of a federation gateway; kept, and without effect here."),
    _bare(FILES_WORD, "virtualization_type", "node", "Virtualization asked of ProtoGENI; kept, and without effect here."),
    _bare(FILES_WORD, "exclusive", "node", "Whether ProtoGENI is asked for a machine of one's own; kept, and without effect here."),
    _bare(FILES_WORD, "slots", "node", "Slots asked of ProtoGENI; kept, and without effect here."),
    _ours(
        PHYSICAL_KIND,
        "node_type",
        "node",
        "Kind of the node: qemu, process, physical or embedded_pnode, or another that a platform launches.",
    ),
    _ours(
        within(None, "physical_hosts"),
        "partition",
        "node",
        "Number of the pnode that carries the node; nodes with the same number share one.",
        ":partition",
    ),
    _ours(FILES_WORD, "PartitionPass", "node", "Number of the placement pass the node is placed in.", "PackingPass"),
    _ours(FILES_WORD, "ghost", "node", "true: a place is kept for the node, but it is not started."),
    _ours(FILES_WORD, "image", "node", "Name of the image to run; stronger than osid."),
    _ours(at_most("max_memory"), "memory", "node", "Memory of the guest in MB; of a process node, the most it may use."),
    _ours(at_most("max_cpus"), "cpus", "node", "Number of virtual processors of the guest; of a process node, the most it may use."),
    _ours(at_most("max_processes"), "processes", "node", "Most processes that a process node may have."),
    _ours(FILES_WORD, "host", "node", "Name of the node that carries this process."),
    _ours(within(None, "physical_networks"), "routes", "node", "Static routes of the node, where routing is manual."),
    _ours(within(None, "control_addresses", "control_map"), "control_address", "node", "IPv4 address on the control net."),
    _ours(within(None, "control_map"), "control_mac", "node", "MAC address on the control net."),
    _ours(FILES_WORD, "openvz_template", "node", "OpenVZ template of DETER Containers; kept, and without effect here."),
    _ours(FILES_WORD, "openvz_diskspace", "node", "OpenVZ disk size of DETER Containers; kept, and without effect here."),
    _ours(FILES_WORD, "maverick_url", "node", "Older name of qemu_url."),
    _ours(FILES_WORD, "qemu_url", "node", "Address of the QEMU image of DETER Containers."),
    _ours(FILES_WORD, "qemu_arch", "node", "Architecture of the QEMU image of DETER Containers: i386 or x86_64."),
    _ours(FILES_WORD, "mac_address", "interface", "MAC address of the interface."),
    _ours(FILES_WORD, "vde_switch", "interface", "Switch the interface is plugged into."),
    _ours(FILES_WORD, "vde_port", "interface", "Port of that switch, from 1."),
    _ours(
        within(None, "physical_interfaces"),
        "device",
        "interface",
        "Interface of the host that this one of a physical node is, wired into the lab's own Ethernet.",
    ),
    _ours(
        FILES_WORD,
        "dhcp",
        "interface",
        "server: the node serves DHCP on this substrate; client: it takes the interface's planned address by DHCP.",
    ),
    _ours(FILES_WORD, "reverse_capacity", "interface", "Capacity towards the node in kb/s, where it differs from that away from the node."),
    _ours(FILES_WORD, "reverse_latency", "interface", "Latency towards the node in ms, where it differs from that away from the node."),
    _ours(FILES_WORD, "reverse_loss", "interface", "Loss towards the node, 0 to 1, where it differs from that away from the node."),
    _ours(FILES_WORD, "jitter", "interface substrate", "Variation of the latency in ms."),
    _ours(FILES_WORD, "duplication", "interface substrate", "Fraction of packets that arrive twice, 0 to 0.9."),
    _ours(FILES_WORD, "loss_burst", "interface substrate", "Mean length of a run of lost packets, where losses come in runs."),
    _ours(FILES_WORD, "reverse_jitter", "interface", "Jitter towards the node in ms, where it differs from that away from the node."),
    _ours(FILES_WORD, "reverse_duplication", "interface", "Duplication towards the node, where it differs from that away from the node."),
    _ours(
        FILES_WORD,
        "reverse_loss_burst",
        "interface",
        "Mean run of lost packets towards the node, where it differs from that away from the node.",
    ),
    _ours(
        FILES_WORD,
        "shaping",
        "topology substrate interface",
        "What shapes links: wirefilter on the host, netem in the guest's kernel, or none.",
    ),
    _ours(
        FILES_WORD,
        "routing",
        "topology",
        "Which way packets go: static, the shortest; tree, along a spanning tree; manual, the file's own; session, as static.",
    ),
    _ours(FILES_WORD, "pass_pnodes", "topology", "Types of host for each placement pass; kept, and without effect here."),
    _ours(
        CABLE_VLAN, "vlan", "substrate", "VLAN of the lab's Ethernet that carries the substrate between hosts, where its cable is ethernet."
    ),
    _ours(FILES_WORD, "pnode_hosts", "topology", "Which hosts of the pool the pnodes are; written by swap-in."),
    *(_ours(setting.word, setting.name, setting.places, _plain(setting.meaning)) for setting in SETTINGS if setting.word.whose != LAB),
)

_BY_KEY = MappingProxyType({name.rpartition(":")[2]: known for known in ATTRIBUTES for name in (known.key, *known.spellings)})
_BY_NAME = MappingProxyType({name: known for known in ATTRIBUTES for name in known.spellings})
_BOUNDED = MappingProxyType({name: known for name, known in _BY_NAME.items() if known.word.bound})
_BARE = tuple(name for name in _BY_NAME if ":" not in name)
_ARTICLES = MappingProxyType({"topology": "the ", "substrate": "a ", "node": "a ", "interface": "an ", "os": "an "})
_OURS = tuple(dict.fromkeys(name.partition(":")[2] for name in _BY_NAME if ":" in name))


def find(attributes: tuple[Attribute, ...], key: str) -> Attribute | None:
    """Return the first attribute that bears any spelling of a known key, which is a name without prefix."""
    spellings = _BY_KEY[key].spellings
    # Most objects have none at all, and a large topology is asked half a million times.
    return find_attribute(attributes, *spellings) if attributes else None


def table() -> list[tuple[str, str, str, Word]]:
    """Return a row for each known attribute: its spellings, where it may stand, what it means, whose word it is."""
    return [
        (
            ", ".join(name for name in known.spellings if not name.startswith(PREFIXES[1])),
            ", ".join(known.places),
            known.meaning,
            known.word,
        )
        for known in ATTRIBUTES
    ]


def check_bounds(topology: Topology, settings: Settings) -> None:
    """Check that no part of a topology bears a value beyond what the lab allows. Raises TopologyError.

    What stands on the topology itself is checked where settings are made of it; what follows from hosts and networks, by the plan.
    """
    lab = vars(settings)
    for place, dummy, attributes in _objects(topology):
        for attribute in attributes if place != "topology" else ():
            known = _BOUNDED.get(attribute.name)
            if known is not None and place in known.places:
                check(attribute.name, attribute.value.strip(), known.word, lab, attribute.where)


def check_attributes(topology: Topology) -> tuple[Notice, ...]:
    """Return a notice for each attribute that is probably not what its author meant, in the order of their places in the file."""
    guesses: dict[tuple[str, str], str] = {}
    return tuple(
        sorted(first_notices(n for place, owner, attributes in _objects(topology) for n in _check(place, owner, attributes, guesses)))
    )


def _objects(topology: Topology) -> Iterator[tuple[str, str, tuple[Attribute, ...]]]:
    """Yield each object that can have attributes: its place, what to call it, its attributes."""
    yield "topology", "the topology", topology.attributes
    for substrate in topology.substrates:
        yield "substrate", f"substrate {substrate.name}", substrate.attributes
    for element in topology.elements:
        place, owner = _called(element)
        yield place, owner, element.attributes
        for interface in element.interfaces:
            yield "interface", f"interface {interface.name} of {owner}", interface.attributes
        if isinstance(element, Computer):
            for kind, parts in (("cpu", element.cpus), ("os", element.oses), ("software", element.software), ("storage", element.storage)):
                for part in parts:
                    yield kind, f"the {kind} of {owner}", part.attributes


def _called(element: Element) -> tuple[str, str]:
    if isinstance(element, Computer):
        return "node", f"node {element.name}"
    if isinstance(element, Other):
        return "other", "an element of another kind"
    kind = "segment" if isinstance(element, Segment) else "testbed"
    return kind, f"{kind} {one_line(element.uri)}"


def _check(place: str, owner: str, attributes: tuple[Attribute, ...], guesses: dict[tuple[str, str], str]) -> Iterator[Notice]:
    first: dict[str, Attribute] = {}
    for attribute in attributes:
        known = _BY_NAME.get(attribute.name)
        name = one_line(attribute.name)
        earlier = first.setdefault(known.key if known else attribute.name, attribute)
        if earlier is not attribute:
            yield Notice(attribute.where, f"{owner} has the attribute {name} already, from {earlier.where}: the first one wins")
        elif known is None:
            better = _guess(attribute.name, place, guesses)
            if better:
                yield Notice(attribute.where, f"the attribute {name} of {owner} is not known and does nothing: did you mean {better}?")
            elif attribute.name.startswith(PREFIXES):
                yield Notice(attribute.where, f"the attribute {name} of {owner} is not known and does nothing")
        elif place not in known.places:
            right = " or ".join(_ARTICLES[place] + place for place in known.places)
            yield Notice(attribute.where, f"the attribute {name} of {owner} does nothing there: it belongs on {right}")


def _guess(name: str, place: str, guesses: dict[tuple[str, str], str]) -> str:
    """Return the known name that an unknown one probably was to be, or nothing. Only for the first of them: a guess takes a millisecond."""
    if (name, place) not in guesses and len(guesses) < _MOST_GUESSES:
        guesses[name, place] = _better(name, place)
    return guesses.get((name, place), "")


def _better(name: str, place: str) -> str:
    """Return the known name that an unknown one on this kind of object probably was to be, or nothing."""
    prefix, colon, key = name.rpartition(":")
    if not colon:
        prefixed = _BY_NAME.get(PREFIXES[0] + key)
        return PREFIXES[0] + key if prefixed and place in prefixed.places else _near(key, _BARE, 0.8)
    ours = _near(prefix + colon, PREFIXES, 0.8)
    if not ours:
        return ""
    near = _near(key, (*_OURS, *_BARE), 0.7)
    return ours + near if near in _OURS else near


def _near(word: str, known: tuple[str, ...], cutoff: float) -> str:
    """Return the known word closest to a word, whose capitals may be wrong; nothing when none is close."""
    by_lower = {k.lower(): k for k in known}
    return "".join(by_lower[k] for k in close_to(word.lower(), by_lower, 1, cutoff))

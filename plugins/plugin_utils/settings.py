# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of a whole experiment: one table, from which they are parsed, checked and documented.

In rising strength they come from the defaults here, the ``<attribute>``s of the topology itself
(``benito:packing``) and the caller's options. The inventory plugin gathers those, in rising strength, from a wrapper's YAML, the
environment (``BENITO_PACKING``) and extra variables (``benito_packing``).
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from . import control_options
from .authority import (
    CABLE_TRANSPORT,
    CONTROL_MODE,
    CONTROL_NETWORK,
    FILES_WORD,
    KNOWN_IMAGE,
    LAB,
    LABS_WORD,
    PHYSICAL_KIND,
    Allowed,
    at_most,
    check,
    same,
    written,
)
from .bounds import DEPTH, VALUES, too_large
from .diagnostics import NOWHERE, Location, TopologyError, one_line
from .lab_settings import LAB_SETTINGS
from .platforms import OWN_PLATFORMS, kind_of, parse_platforms
from .services import TRANSPORTS, Share, parse_shares
from .setting import Setting
from .setting_values import (
    CABLES,
    LEAST_MEMORY,
    PortRange,
    matching,
    one_of,
    parse_account,
    parse_count,
    parse_directory,
    parse_flag,
    parse_keys,
    parse_memory,
    parse_pairs,
    parse_passes,
    parse_per_pass,
    parse_port_range,
)
from .topology import Attribute

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_KIND = re.compile(r"[a-z][a-z0-9_]{0,30}")
_PREFIXES = ("benito:", "containers:")
_FORMER_PROJECT = "testbed"


@dataclass(frozen=True)
class Settings:
    """What holds for the whole experiment. Memory in MB, times in s; None means: to be derived."""

    project: str
    experiment: str
    packing: int | None
    size: int | None
    pass_pack: Mapping[int, int]
    pass_size: Mapping[int, int]
    processes_per_machine: int | None
    nodes_only: bool
    pass_nodes_only: frozenset[int]
    platforms: Mapping[str, str]
    default_kind: str
    default_image: str
    default_memory: int
    default_cpus: int
    addressing: str
    pool: str
    vcpus_per_core: int
    cable: str
    cable_pairs: Mapping[str, str]
    cable_ports: PortRange
    guest_switches: bool
    control_mode: str
    control_pool: str
    control_subnet: str | Mapping[int, str] | None
    control_gateway: str | None
    control_addresses: tuple[tuple[int, int], ...]
    control_addressing: str
    control_map: Mapping[str, control_options.Assignment]
    control_ports: tuple[int, int] | None
    control_interface: str | None
    control_deadline: int
    shares: tuple[Share, ...]
    share_transport: str
    share_account: str
    state_dir: str
    authorized_keys: tuple[str, ...]
    boot_timeout: int
    start: str
    control_networks: tuple[str, ...]
    control_egress: str | tuple[str, ...]
    cable_transports: tuple[str, ...]
    cable_vlans: tuple[tuple[int, int], ...]
    physical_hosts: Allowed
    physical_interfaces: Allowed
    physical_networks: tuple[str, ...]
    max_memory: int
    max_cpus: int
    max_processes: int
    max_boot_timeout: int
    adjacent_vars: bool


_NAME = "1 to 63 letters, digits, '-' and '_', the first a letter or digit"
_NUMBER = "a whole number from 1 to 1000000"
_PAIRS = "PASS:NUMBER pairs such as 0:1,1:20, or a mapping of numbers"

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "project",
        "str",
        None,
        matching(_LABEL),
        _NAME,
        "Name of the project the experiment belongs to. Without it, your login name on the controller.",
        same("project"),
    ),
    Setting(
        "experiment",
        "str",
        None,
        matching(_LABEL),
        _NAME,
        "Name of the experiment. Without it, the name of the topology file without its ending.",
        same("experiment"),
    ),
    Setting(
        "packing",
        "int",
        None,
        parse_count,
        _NUMBER,
        "How many vnodes a pnode may carry. Without it and without O(size), one pnode carries all.",
        FILES_WORD,
    ),
    Setting(
        "size",
        "int",
        None,
        parse_count,
        _NUMBER,
        "How many pnodes to use. Stronger than O(packing).",
        FILES_WORD,
    ),
    Setting(
        "processes_per_machine",
        "int",
        None,
        parse_count,
        _NUMBER,
        "Put process nodes that have no place into QEMU machines made for them, at most so many into each.",
        FILES_WORD,
    ),
    Setting(
        "pass_pack",
        "raw",
        MappingProxyType({}),
        parse_per_pass,
        _PAIRS,
        "O(packing) for the nodes of one placement pass, as C(PASS:NUMBER,...) or a mapping.",
        FILES_WORD,
    ),
    Setting(
        "pass_size",
        "raw",
        MappingProxyType({}),
        parse_per_pass,
        _PAIRS,
        "O(size) for the nodes of one placement pass, as C(PASS:NUMBER,...) or a mapping.",
        FILES_WORD,
    ),
    Setting(
        "nodes_only",
        "bool",
        False,
        parse_flag,
        "true or false",
        "Whether placement only counts nodes and does not care how many links it cuts.",
        FILES_WORD,
    ),
    Setting(
        "pass_nodes_only",
        "raw",
        frozenset(),
        parse_passes,
        "numbers of passes such as 1,3",
        "The placement passes that only count nodes, as C(PASS,...) or a list.",
        FILES_WORD,
    ),
    Setting(
        "platforms",
        "raw",
        OWN_PLATFORMS,
        parse_platforms,
        "kinds and the roles that launch them, such as container=lab.site.container_guest, or a mapping",
        "Further platforms: kinds of nodes and the role that launches each, as C(container=lab.site.container_guest) or a mapping.",
        LABS_WORD,
    ),
    Setting(
        "default_kind",
        "str",
        "qemu",
        matching(_KIND),
        "qemu, process, physical or another kind that platforms has",
        "Kind of a node that does not name one.",
        PHYSICAL_KIND,
    ),
    Setting(
        "default_image",
        "str",
        "tiny",
        matching(_WORD),
        "the name of an image",
        "Image of a node that does not name one, or names one that is not known.",
        KNOWN_IMAGE,
    ),
    Setting(
        "default_memory",
        "int",
        128,
        parse_memory,
        f"a whole number from {LEAST_MEMORY} to 1000000",
        "Memory of a guest that does not say, in MB.",
        at_most("max_memory"),
    ),
    Setting(
        "default_cpus",
        "int",
        1,
        parse_count,
        _NUMBER,
        "Virtual processors of a guest that does not say.",
        at_most("max_cpus"),
    ),
    Setting(
        "addressing",
        "str",
        "benito",
        one_of("benito", "emulab"),
        "benito or emulab",
        "Automatic addresses: V(benito) gives substrate N C(10.0.N.0/24) hosts from .1, V(emulab) C(10.1.1.0/24) on and hosts from .2.",
        FILES_WORD,
    ),
    Setting(
        "pool",
        "str",
        "pool",
        matching(_WORD),
        "the name of a group of hosts",
        "Group of the inventory whose hosts are the pnodes, in its order. Without such a group the controller itself is the only one.",
        LABS_WORD,
    ),
    Setting(
        "vcpus_per_core",
        "int",
        32,
        parse_count,
        _NUMBER,
        "How many virtual processors a core of a host of O(pool) may carry: with more it is full.",
        LABS_WORD,
    ),
    Setting(
        "cable",
        "str",
        "ssh",
        one_of(*CABLES),
        ", ".join(CABLES),
        "What joins the switches of a substrate with members on several pnodes: V(ssh) is authenticated and encrypted, V(tcp) is "
        "authenticated when it begins. V(udp), the kernel's V(vxlan) and the lab's own V(ethernet) are for closed networks only.",
        CABLE_TRANSPORT,
        places="topology substrate",
    ),
    Setting(
        "cable_pairs",
        "raw",
        MappingProxyType({}),
        parse_pairs,
        "PNODE/PNODE:TRANSPORT pairs such as 0/1:udp,0/2:vxlan, or a mapping",
        "O(cable) between single pairs of pnodes, as C(0/1:udp,...) or a mapping. Stronger than what substrates say.",
        CABLE_TRANSPORT,
    ),
    Setting(
        "cable_ports",
        "str",
        PortRange(20000, 29999),
        parse_port_range,
        "a range such as 20000-29999, from 1024 to 65535",
        "Ports of UDP and TCP that cables use on the pnodes. Guests do not reach them on any machine. Without it, 20000-29999.",
        LABS_WORD,
    ),
    Setting(
        "guest_switches",
        "bool",
        False,
        parse_flag,
        "true or false",
        "Whether every interface of a guest has a switch of its own in front of it, joined to that of the substrate.",
        FILES_WORD,
    ),
    Setting(
        "control_mode",
        "str",
        "nat",
        one_of(*control_options.MODES),
        "nat, bridge, ports or none",
        "How guests are reached: V(nat) over their pnode, which masquerades them; V(bridge) in the lab's own net, which the control "
        "interface of the pnode is bridged to; V(ports) as V(nat) and by a port of their pnode for ssh; V(none) not at all.",
        CONTROL_MODE,
    ),
    Setting(
        "control_pool",
        "str",
        "172.16.0.0/12",
        control_options.parse_private_subnet,
        "a private IPv4 network of /28 or larger, such as 172.16.0.0/12",
        "Private network from which each experiment's control subnets are taken, one for each pnode.",
        CONTROL_NETWORK,
    ),
    Setting(
        "control_subnet",
        "raw",
        None,
        control_options.parse_subnets,
        "an IPv4 network of /28 or larger, such as 172.20.1.0/24, or PNODE:NETWORK pairs such as 0:172.20.1.0/24,1:172.20.2.0/24",
        "The control subnet; for several pnodes it is divided, or given for each as C(PNODE:NETWORK,...) or a mapping. Without it, subnets "
        "of O(control_pool) that follow from the names of project, experiment and pnode. In mode V(bridge) the network of the lab.",
        CONTROL_NETWORK,
    ),
    Setting(
        "control_gateway",
        "str",
        None,
        control_options.parse_address,
        "an IPv4 address such as 192.0.2.1",
        "In mode V(bridge), the lab's router, which guests send to what is elsewhere. Without it they have no such route.",
        LABS_WORD,
    ),
    Setting(
        "control_addresses",
        "raw",
        (),
        control_options.parse_ranges,
        "ranges such as 192.0.2.100-192.0.2.150,192.0.2.200",
        "In mode V(bridge), addresses of the lab's network that guests may have, as C(FIRST-LAST,...) or a list.",
        LABS_WORD,
    ),
    Setting(
        "control_addressing",
        "str",
        "static",
        one_of("static", "dhcp"),
        "static or dhcp",
        "In mode V(bridge), who chooses the guests' addresses: V(static) is O(control_addresses) or O(control_map), V(dhcp) the "
        "lab's DHCP server.",
        LABS_WORD,
    ),
    Setting(
        "control_map",
        "raw",
        MappingProxyType({}),
        control_options.parse_map,
        "a mapping of nodes to {address, mac}, or a file with it as JSON or with lines NODE ADDRESS MAC",
        "Addresses and MACs on the control net that the lab hands out for nodes, as a mapping or a file. Stronger than attributes of "
        "nodes.",
        LABS_WORD,
    ),
    Setting(
        "control_ports",
        "str",
        None,
        control_options.parse_ports,
        "a range such as 20000-20255, from 1024 to 65535",
        "In mode V(ports), the ports of each pnode that lead to guests: the first one plus the guest's number in the control subnet. "
        "Without it, a range that follows from the names of project and experiment.",
        LABS_WORD,
    ),
    Setting(
        "control_interface",
        "str",
        None,
        control_options.parse_device,
        "the name of a network interface",
        "In mode V(bridge), the interface of the pnodes that is bridged. Without it, that of the default route.",
        LABS_WORD,
    ),
    Setting(
        "control_deadline",
        "int",
        30,
        parse_count,
        _NUMBER,
        "In mode V(bridge), seconds after which a pnode takes its interface back if it cannot be reached again.",
        LABS_WORD,
    ),
    Setting(
        "shares",
        "raw",
        (),
        parse_shares,
        "entries MOUNT-POINT:DIRECTORY:ro (or rw), absolute paths of plain characters, each mount point once and none of the system's own",
        "Directories of the pnodes that guests mount, as C(/users:/srv/users:ro,/proj:/srv/proj:rw), a list of such entries, or a mapping "
        "of mount points to C(DIRECTORY:MODE).",
        LABS_WORD,
    ),
    Setting(
        "share_transport",
        "str",
        "diod",
        one_of(*TRANSPORTS),
        "diod or virtio",
        "How guests reach O(shares): V(diod) is a file server on each pnode, over the control net; V(virtio) hands them in through QEMU.",
        LABS_WORD,
    ),
    Setting(
        "share_account",
        "str",
        "benito-share",
        parse_account,
        "the name of an account other than root and benito",
        "Account of the pnodes that guests act as in O(shares), whoever they are inside.",
        LABS_WORD,
    ),
    Setting(
        "state_dir",
        "path",
        None,
        parse_directory,
        "an absolute directory",
        "Where the controller remembers experiments. Without it, C(benito) in E(XDG_STATE_HOME) or C(~/.local/state).",
        LABS_WORD,
    ),
    Setting(
        "authorized_keys",
        "raw",
        (),
        parse_keys,
        "a list of SSH public keys, one a line",
        "Further SSH public keys that may log in to guests, one a line or a list.",
        LABS_WORD,
    ),
    Setting(
        "boot_timeout",
        "int",
        120,
        parse_count,
        _NUMBER,
        "How long a guest may take to boot, in seconds.",
        at_most("max_boot_timeout"),
    ),
    Setting(
        "start",
        "str",
        "auto",
        one_of("auto", "cold", "warm"),
        "auto, cold or warm",
        "How QEMU guests start: V(cold) boots each, V(warm) boots one of each shape and wakes the others up as copies of it, V(auto) does "
        "so where it is faster.",
        FILES_WORD,
    ),
    *LAB_SETTINGS,
)

_BY_NAME = MappingProxyType({setting.name: setting for setting in SETTINGS})


def resolve_settings(
    stem: str,
    attributes: Iterable[Attribute] = (),
    overrides: Mapping[str, object] = MappingProxyType({}),
    environment: Mapping[str, str] = MappingProxyType({}),
    recorded: Mapping[str, str] = MappingProxyType({}),
) -> Settings:
    """Return the settings for a topology file called ``stem`` (without directory and ending).

    ``attributes`` are those of the topology; where one stands twice the first wins. A None in
    ``overrides`` counts as not given. ``recorded`` has project and experiment where the file is our own record of one.
    ``environment`` has HOME, XDG_STATE_HOME and USER, the login name. Raises TopologyError for a value that cannot be used, naming
    where it came from, and where a file goes beyond what the lab allows.
    """
    lab: dict[str, Any] = {s.name: s.default for s in SETTINGS}
    lab["experiment"] = legal_name(stem)
    lab["state_dir"] = default_state_dir(environment)
    lab.update(recorded)
    given = {name: value for name, value in overrides.items() if value is not None}
    for name, value in overrides.items():
        setting = _BY_NAME.get(name)
        if setting is None:
            raise TopologyError(f"there is no setting {one_line(str(name))}: known are {', '.join(_BY_NAME)}")
        if too_large(value):
            raise TopologyError(
                f"option {name} holds more than {VALUES} values, or is nested more than {DEPTH} deep: it must be {setting.expected}"
            )
        if value is not None:
            lab[name] = _parsed(setting, value, f"option {name}", NOWHERE)
    lab["project"] = lab["project"] or default_project(lab["state_dir"], lab["experiment"], environment)
    values = {**lab, **_of_file(attributes, lab, given)}
    values["default_kind"] = _launched(values["default_kind"], values["platforms"])
    return Settings(**values)


def _of_file(attributes: Iterable[Attribute], lab: Mapping[str, Any], given: Collection[str]) -> dict[str, Any]:
    """Return the settings that a topology file makes. What the lab has ``given`` holds, whatever the file says.

    Raises TopologyError where it makes one that is the lab's, or goes beyond the lab's bounds.
    """
    found: dict[str, Any] = {}
    for attribute in reversed(tuple(attributes)):
        setting = _BY_NAME.get(_unprefixed(attribute.name))
        if setting is None:
            continue
        if setting.word.whose == LAB:
            raise TopologyError(
                f"{attribute.name} may not stand in a topology file: set it by {setting.variable} or in a wrapper", attribute.where
            )
        value = _parsed(setting, attribute.value.strip(), f"attribute {attribute.name}", attribute.where)
        if setting.name not in given:
            check(attribute.name, value, setting.word, lab, attribute.where)
            found[setting.name] = value
    return found


def _launched(word: str, platforms: Mapping[str, str]) -> str:
    """Return the kind that a word means. Raises TopologyError where there is nobody who launches it."""
    kind = kind_of(word, platforms)
    if kind is None:
        raise TopologyError(f"default_kind is {one_line(word)}: it must be one of {', '.join(platforms)}; platforms names others")
    return kind


def _unprefixed(name: str) -> str:
    """Return the key of an attribute of ours, or nothing for anybody else's: bare names are free for other tools."""
    return next((name[len(p) :] for p in _PREFIXES if name.startswith(p)), "")


def _parsed(setting: Setting, value: Any, source: str, where: Location) -> Any:
    try:
        return setting.parse(value)
    except (ValueError, TypeError):
        raise TopologyError(f"{source} is {one_line(str(value))}: it must be {setting.expected}", where) from None


def legal_name(stem: str) -> str:
    """Make a legal name of an experiment from a file's name."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).lstrip("-_")[:63].rstrip("-")
    return name or "experiment"


def default_project(state_dir: str, experiment: str, environment: Mapping[str, str]) -> str:
    """Return the project of an experiment that names none: the login name, so that two users of a host do not meet.

    Before, the project was ``testbed`` for everybody. An experiment that was swapped in under that name keeps it until its swap-out.
    """
    own = legal_name(environment["USER"]) if environment.get("USER") else _FORMER_PROJECT

    def remembered(project: str) -> bool:
        return os.path.exists(os.path.join(state_dir, f"{project}.{experiment}", "embedding.topdl"))

    return _FORMER_PROJECT if remembered(_FORMER_PROJECT) and not remembered(own) else own


def default_state_dir(environment: Mapping[str, str]) -> str:
    """Return the directory the XDG rules give us; a relative XDG_STATE_HOME is to be ignored."""
    base = environment.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):
        home = environment.get("HOME", "")
        base = os.path.join(home if os.path.isabs(home) else os.path.expanduser("~"), ".local", "state")
    return os.path.join(base, "benito")


def as_attributes(settings: Settings, prefix: str = "benito:") -> tuple[Attribute, ...]:
    """Return what must stand in a topology file so that it leads to the same settings: names always, the rest where it is no default.

    What the file would not be allowed to say is the lab's to say again, and so are the names where they are not those of the file.
    """
    lab = {s.name: getattr(settings, s.name) if s.word.whose == LAB else s.default for s in SETTINGS}
    return tuple(Attribute(prefix + s.name, written(getattr(settings, s.name))) for s in SETTINGS if _belongs(s, settings, lab))


def _belongs(setting: Setting, settings: Settings, lab: Mapping[str, Any]) -> bool:
    """Whether a file is to make a setting: one that is its own word, or within the bounds that ``lab`` draws."""
    value = getattr(settings, setting.name)
    if setting.name in ("project", "experiment"):
        return True
    if setting.word.whose == LAB or value == setting.default:
        return False
    return setting.word.bound is None or not setting.word.bound(value, lab)

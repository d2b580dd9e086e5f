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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from . import control_options
from .diagnostics import NOWHERE, Location, TopologyError, one_line
from .platforms import OWN_PLATFORMS, kind_of, parse_platforms
from .services import TRANSPORTS, Share, parse_shares
from .topology import Attribute

# MB; with less no image boots, and hosts refuse it.
LEAST_MEMORY = 64

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_KIND = re.compile(r"[a-z][a-z0-9_]{0,30}")
_PREFIXES = ("benito:", "containers:")
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


CABLES = ("ssh", "tcp", "udp", "vxlan", "ethernet")


@dataclass(frozen=True)
class PortRange:
    """Ports of UDP and TCP, both ends included."""

    low: int
    high: int

    def __str__(self) -> str:
        """Return 20000-29999."""
        return f"{self.low}-{self.high}"


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


@dataclass(frozen=True)
class Setting:
    """One row of the table.

    ``parse`` turns a word, or a plain value of YAML, into the setting's value, or raises ValueError.
    ``expected`` completes "must be ...". ``shared`` says whether a topology file may set it: a file
    that came from elsewhere must not choose directories or let keys in; ``reserved`` are single values it must not choose either.
    ``places`` are the objects of a topology that may bear it as an attribute: what a smaller one says is up to who reads it there.
    """

    name: str
    type: str
    default: Any
    parse: Callable[[Any], Any]
    expected: str
    meaning: str
    shared: bool = True
    reserved: tuple[str, ...] = ()
    places: str = "topology"

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"BENITO_{self.name.upper()}"


def _matching(pattern: re.Pattern[str]) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if not isinstance(value, (str, int)) or not pattern.fullmatch(str(value)):
            raise ValueError
        return str(value)

    return parse


def _one_of(*words: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if value not in words:
            raise ValueError
        return str(value)

    return parse


def _memory(value: Any) -> int:
    number = _count(value)
    if number < LEAST_MEMORY:
        raise ValueError
    return number


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError
    number = int(value)
    if not 1 <= number <= 1_000_000:
        raise ValueError
    return number


def _pass(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError
    return int(value)


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word not in _TRUE + _FALSE:
        raise ValueError
    return word in _TRUE


def _per_pass(value: Any) -> Mapping[int, int]:
    if isinstance(value, str):
        value = dict(item.split(":") for item in value.replace(" ", "").split(",") if item)
    if not isinstance(value, Mapping):
        raise ValueError
    return MappingProxyType({_pass(k): _count(v) for k, v in sorted(value.items(), key=lambda item: _pass(item[0]))})


def _passes(value: Any) -> frozenset[int]:
    items = (
        value.replace(" ", "").split(",")
        if isinstance(value, str)
        else value
        if isinstance(value, (list, tuple, set, frozenset))
        else [value]
    )
    return frozenset(_pass(item) for item in items if item != "")


def _pairs(value: Any) -> Mapping[str, str]:
    """Understand pairs of pnodes and a transport; a pair is kept as 0/1, the lower number first."""
    if isinstance(value, str):
        value = dict(item.split(":") for item in value.replace(" ", "").split(",") if item)
    if not isinstance(value, Mapping):
        raise ValueError
    found = {}
    for pair, transport in value.items():
        low, high = sorted(int(end.removeprefix("pnode-")) for end in str(pair).split("/"))
        if low == high or transport not in CABLES:
            raise ValueError
        found[f"{low}/{high}"] = str(transport)
    return MappingProxyType(dict(sorted(found.items())))


def _port_range(value: Any) -> PortRange:
    if isinstance(value, PortRange):
        return value
    low, high = (int(end) for end in str(value).split("-"))
    if not 1024 <= low <= high <= 65535:
        raise ValueError
    return PortRange(low, high)


def _directory(value: Any) -> str:
    path = os.path.expanduser(str(value))
    if not os.path.isabs(path) or not path.isprintable():
        raise ValueError
    return os.path.normpath(path)


def _account(value: Any) -> str:
    if not isinstance(value, str) or value in ("root", "benito") or not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", value):
        raise ValueError
    return value


def _keys(value: Any) -> tuple[str, ...]:
    lines = value.splitlines() if isinstance(value, str) else value
    if not isinstance(lines, (list, tuple)) or not all(isinstance(line, str) and line.isprintable() for line in lines):
        raise ValueError
    return tuple(line.strip() for line in lines if line.strip())


_NAME = "1 to 63 letters, digits, '-' and '_', the first a letter or digit"
_NUMBER = "a whole number from 1 to 1000000"
_PAIRS = "PASS:NUMBER pairs such as 0:1,1:20, or a mapping of numbers"

SETTINGS: tuple[Setting, ...] = (
    Setting("project", "str", "testbed", _matching(_LABEL), _NAME, "Name of the project the experiment belongs to."),
    Setting(
        "experiment",
        "str",
        None,
        _matching(_LABEL),
        _NAME,
        "Name of the experiment. Without it, the name of the topology file without its ending.",
    ),
    Setting(
        "packing", "int", None, _count, _NUMBER, "How many vnodes a pnode may carry. Without it and without O(size), one pnode carries all."
    ),
    Setting("size", "int", None, _count, _NUMBER, "How many pnodes to use. Stronger than O(packing)."),
    Setting(
        "processes_per_machine",
        "int",
        None,
        _count,
        _NUMBER,
        "Put process nodes that have no place into QEMU machines made for them, at most so many into each.",
    ),
    Setting(
        "pass_pack",
        "raw",
        MappingProxyType({}),
        _per_pass,
        _PAIRS,
        "O(packing) for the nodes of one placement pass, as C(PASS:NUMBER,...) or a mapping.",
    ),
    Setting(
        "pass_size",
        "raw",
        MappingProxyType({}),
        _per_pass,
        _PAIRS,
        "O(size) for the nodes of one placement pass, as C(PASS:NUMBER,...) or a mapping.",
    ),
    Setting(
        "nodes_only", "bool", False, _flag, "true or false", "Whether placement only counts nodes and does not care how many links it cuts."
    ),
    Setting(
        "pass_nodes_only",
        "raw",
        frozenset(),
        _passes,
        "numbers of passes such as 1,3",
        "The placement passes that only count nodes, as C(PASS,...) or a list.",
    ),
    Setting(
        "platforms",
        "raw",
        OWN_PLATFORMS,
        parse_platforms,
        "kinds and the roles that launch them, such as container=lab.site.container_guest, or a mapping",
        "Further platforms: kinds of nodes and the role that launches each, as C(container=lab.site.container_guest) or a mapping.",
        shared=False,
    ),
    Setting(
        "default_kind",
        "str",
        "qemu",
        _matching(_KIND),
        "qemu, process, physical or another kind that platforms has",
        "Kind of a node that does not name one.",
    ),
    Setting(
        "default_image",
        "str",
        "tiny",
        _matching(_WORD),
        "the name of an image",
        "Image of a node that does not name one, or names one that is not known.",
    ),
    Setting(
        "default_memory",
        "int",
        128,
        _memory,
        f"a whole number from {LEAST_MEMORY} to 1000000",
        "Memory of a guest that does not say, in MB.",
    ),
    Setting("default_cpus", "int", 1, _count, _NUMBER, "Virtual processors of a guest that does not say."),
    Setting(
        "addressing",
        "str",
        "benito",
        _one_of("benito", "emulab"),
        "benito or emulab",
        "Automatic addresses: V(benito) gives substrate N C(10.0.N.0/24) hosts from .1, V(emulab) C(10.1.1.0/24) on and hosts from .2.",
    ),
    Setting(
        "pool",
        "str",
        "pool",
        _matching(_WORD),
        "the name of a group of hosts",
        "Group of the inventory whose hosts are the pnodes, in its order. Without such a group the controller itself is the only one.",
        shared=False,
    ),
    Setting(
        "vcpus_per_core",
        "int",
        32,
        _count,
        _NUMBER,
        "How many virtual processors a core of a host of O(pool) may carry: with more it is full.",
    ),
    Setting(
        "cable",
        "str",
        "ssh",
        _one_of(*CABLES),
        ", ".join(CABLES),
        "What joins the switches of a substrate with members on several pnodes: V(ssh) is authenticated and encrypted, V(tcp) and V(udp) "
        "are neither, V(vxlan) is the kernel's, V(ethernet) the lab's own network.",
        places="topology substrate",
    ),
    Setting(
        "cable_pairs",
        "raw",
        MappingProxyType({}),
        _pairs,
        "PNODE/PNODE:TRANSPORT pairs such as 0/1:udp,0/2:vxlan, or a mapping",
        "O(cable) between single pairs of pnodes, as C(0/1:udp,...) or a mapping. Stronger than what substrates say.",
    ),
    Setting(
        "cable_ports",
        "str",
        PortRange(20000, 29999),
        _port_range,
        "a range such as 20000-29999, from 1024 to 65535",
        "Ports of UDP and TCP that cables use on the pnodes. Without it, 20000-29999.",
        shared=False,
    ),
    Setting(
        "guest_switches",
        "bool",
        False,
        _flag,
        "true or false",
        "Whether every interface of a guest has a switch of its own in front of it, joined to that of the substrate.",
    ),
    Setting(
        "control_mode",
        "str",
        "nat",
        _one_of(*control_options.MODES),
        "nat, bridge, ports or none",
        "How guests are reached: V(nat) over their pnode, which masquerades them; V(bridge) in the lab's own net, which the control "
        "interface of the pnode is bridged to; V(ports) as V(nat) and by a port of their pnode for ssh; V(none) not at all.",
        reserved=("bridge",),
    ),
    Setting(
        "control_pool",
        "str",
        "172.16.0.0/12",
        control_options.parse_private_subnet,
        "a private IPv4 network of /28 or larger, such as 172.16.0.0/12",
        "Private network from which each experiment's control subnets are taken, one for each pnode.",
    ),
    Setting(
        "control_subnet",
        "raw",
        None,
        control_options.parse_subnets,
        "an IPv4 network of /28 or larger, such as 172.20.1.0/24, or PNODE:NETWORK pairs such as 0:172.20.1.0/24,1:172.20.2.0/24",
        "The control subnet; for several pnodes it is divided, or given for each as C(PNODE:NETWORK,...) or a mapping. Without it, subnets "
        "of O(control_pool) that follow from the names of project, experiment and pnode. In mode V(bridge) the network of the lab.",
    ),
    Setting(
        "control_gateway",
        "str",
        None,
        control_options.parse_address,
        "an IPv4 address such as 192.0.2.1",
        "In mode V(bridge), the lab's router, which guests send to what is elsewhere. Without it they have no such route.",
        shared=False,
    ),
    Setting(
        "control_addresses",
        "raw",
        (),
        control_options.parse_ranges,
        "ranges such as 192.0.2.100-192.0.2.150,192.0.2.200",
        "In mode V(bridge), addresses of the lab's network that guests may have, as C(FIRST-LAST,...) or a list.",
        shared=False,
    ),
    Setting(
        "control_addressing",
        "str",
        "static",
        _one_of("static", "dhcp"),
        "static or dhcp",
        "In mode V(bridge), who chooses the guests' addresses: V(static) is O(control_addresses) or O(control_map), V(dhcp) the "
        "lab's DHCP server.",
        shared=False,
    ),
    Setting(
        "control_map",
        "raw",
        MappingProxyType({}),
        control_options.parse_map,
        "a mapping of nodes to {address, mac}, or a file with it as JSON or with lines NODE ADDRESS MAC",
        "Addresses and MACs on the control net that the lab hands out for nodes, as a mapping or a file. Stronger than attributes of "
        "nodes.",
        shared=False,
    ),
    Setting(
        "control_ports",
        "str",
        None,
        control_options.parse_ports,
        "a range such as 20000-20255, from 1024 to 65535",
        "In mode V(ports), the ports of each pnode that lead to guests: the first one plus the guest's number in the control subnet. "
        "Without it, a range that follows from the names of project and experiment.",
        shared=False,
    ),
    Setting(
        "control_interface",
        "str",
        None,
        control_options.parse_device,
        "the name of a network interface",
        "In mode V(bridge), the interface of the pnodes that is bridged. Without it, that of the default route.",
        shared=False,
    ),
    Setting(
        "control_deadline",
        "int",
        30,
        _count,
        _NUMBER,
        "In mode V(bridge), seconds after which a pnode takes its interface back if it cannot be reached again.",
        shared=False,
    ),
    Setting(
        "shares",
        "raw",
        (),
        parse_shares,
        "entries MOUNT-POINT:DIRECTORY:ro (or rw), absolute paths of plain characters, each mount point once and none of the system's own",
        "Directories of the pnodes that guests mount, as C(/users:/srv/users:ro,/proj:/srv/proj:rw), a list of such entries, or a mapping "
        "of mount points to C(DIRECTORY:MODE).",
        shared=False,
    ),
    Setting(
        "share_transport",
        "str",
        "diod",
        _one_of(*TRANSPORTS),
        "diod or virtio",
        "How guests reach O(shares): V(diod) is a file server on each pnode, over the control net; V(virtio) hands them in through QEMU.",
    ),
    Setting(
        "share_account",
        "str",
        "benito-share",
        _account,
        "the name of an account other than root and benito",
        "Account of the pnodes that guests act as in O(shares), whoever they are inside.",
        shared=False,
    ),
    Setting(
        "state_dir",
        "path",
        None,
        _directory,
        "an absolute directory",
        "Where the controller remembers experiments. Without it, C(benito) in E(XDG_STATE_HOME) or C(~/.local/state).",
        shared=False,
    ),
    Setting(
        "authorized_keys",
        "raw",
        (),
        _keys,
        "a list of SSH public keys, one a line",
        "Further SSH public keys that may log in to guests, one a line or a list.",
        shared=False,
    ),
    Setting("boot_timeout", "int", 120, _count, _NUMBER, "How long a guest may take to boot, in seconds."),
    Setting(
        "start",
        "str",
        "auto",
        _one_of("auto", "cold", "warm"),
        "auto, cold or warm",
        "How QEMU guests start: V(cold) boots each, V(warm) boots one of each shape and wakes the others up as copies of it, V(auto) does "
        "so where it is faster.",
    ),
)

_BY_NAME = MappingProxyType({setting.name: setting for setting in SETTINGS})


def resolve_settings(
    stem: str,
    attributes: Iterable[Attribute] = (),
    overrides: Mapping[str, object] = MappingProxyType({}),
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Settings:
    """Return the settings for a topology file called ``stem`` (without directory and ending).

    ``attributes`` are those of the topology; where one stands twice the first wins. A None in
    ``overrides`` counts as not given. Raises TopologyError for a value that cannot be used, naming where it came from.
    """
    values: dict[str, Any] = {s.name: s.default for s in SETTINGS}
    values["experiment"] = legal_name(stem)
    values["state_dir"] = default_state_dir(environment)
    for attribute in reversed(tuple(attributes)):
        setting = _BY_NAME.get(_unprefixed(attribute.name))
        if setting is None:
            continue
        if not setting.shared:
            raise TopologyError(
                f"{attribute.name} may not stand in a topology file: set it by {setting.variable} or in a wrapper", attribute.where
            )
        if attribute.value.strip() in setting.reserved:
            raise TopologyError(
                f"{attribute.name} may not be {attribute.value.strip()} in a topology file: set it by {setting.variable} or in a wrapper",
                attribute.where,
            )
        values[setting.name] = _parsed(setting, attribute.value.strip(), f"attribute {attribute.name}", attribute.where)
    for name, value in overrides.items():
        setting = _BY_NAME.get(name)
        if setting is None:
            raise TopologyError(f"there is no setting {one_line(str(name))}: known are {', '.join(_BY_NAME)}")
        if value is not None:
            values[name] = _parsed(setting, value, f"option {name}", NOWHERE)
    values["default_kind"] = _launched(values["default_kind"], values["platforms"])
    return Settings(**values)


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


def default_state_dir(environment: Mapping[str, str]) -> str:
    """Return the directory the XDG rules give us; a relative XDG_STATE_HOME is to be ignored."""
    base = environment.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):
        home = environment.get("HOME", "")
        base = os.path.join(home if os.path.isabs(home) else os.path.expanduser("~"), ".local", "state")
    return os.path.join(base, "benito")


def as_attributes(settings: Settings, prefix: str = "benito:") -> tuple[Attribute, ...]:
    """Return what must stand in a topology file so that it leads to the same settings: names always, the rest where it is no default."""
    return tuple(
        Attribute(prefix + s.name, _word(getattr(settings, s.name)))
        for s in SETTINGS
        if s.shared
        and (s.name in ("project", "experiment") or getattr(settings, s.name) != s.default)
        and getattr(settings, s.name) not in s.reserved
    )


def _word(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{k}:{v}" for k, v in value.items())
    if isinstance(value, frozenset):
        return ",".join(str(v) for v in sorted(value))
    return str(value).lower() if isinstance(value, bool) else str(value)

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
from ipaddress import IPv4Network
from types import MappingProxyType
from typing import Any

from .diagnostics import NOWHERE, Location, TopologyError, one_line
from .services import TRANSPORTS, Share, parse_shares
from .topology import Attribute

# MB; with less no image boots, and hosts refuse it.
LEAST_MEMORY = 64

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_PREFIXES = ("benito:", "containers:")
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


@dataclass(frozen=True)
class Settings:
    """What holds for the whole experiment. Memory in MB, times in s; None means: to be derived."""

    project: str
    experiment: str
    packing: int | None
    size: int | None
    pass_pack: Mapping[int, int]
    pass_size: Mapping[int, int]
    nodes_only: bool
    pass_nodes_only: frozenset[int]
    default_kind: str
    default_image: str
    default_memory: int
    default_cpus: int
    addressing: str
    control_mode: str
    control_pool: str
    control_subnet: str | None
    shares: tuple[Share, ...]
    share_transport: str
    share_account: str
    state_dir: str
    authorized_keys: tuple[str, ...]
    boot_timeout: int


@dataclass(frozen=True)
class Setting:
    """One row of the table.

    ``parse`` turns a word, or a plain value of YAML, into the setting's value, or raises ValueError.
    ``expected`` completes "must be ...". ``shared`` says whether a topology file may set it: a file
    that came from elsewhere must not choose directories or let keys in.
    """

    name: str
    type: str
    default: Any
    parse: Callable[[Any], Any]
    expected: str
    meaning: str
    shared: bool = True

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


def _subnet(value: Any) -> str:
    network = IPv4Network(str(value))
    if network.prefixlen > 28 or not network.is_private:
        raise ValueError
    return str(network)


def _directory(value: Any) -> str:
    path = os.path.expanduser(str(value))
    if not os.path.isabs(path) or not path.isprintable():
        raise ValueError
    return os.path.normpath(path)


def _account(value: Any) -> str:
    if not isinstance(value, str) or value == "root" or not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", value):
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
        "default_kind",
        "str",
        "qemu",
        _one_of("qemu", "process", "physical"),
        "qemu, process or physical",
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
        "control_mode",
        "str",
        "nat",
        _one_of("nat"),
        "nat",
        "How guests are reached: V(nat) is a bridge on the host, masqueraded to the outside.",
    ),
    Setting(
        "control_pool",
        "str",
        "172.16.0.0/12",
        _subnet,
        "a private IPv4 network of /28 or larger, such as 172.16.0.0/12",
        "Private network from which each experiment's control subnet is taken.",
    ),
    Setting(
        "control_subnet",
        "str",
        None,
        _subnet,
        "a private IPv4 network of /28 or larger, such as 172.20.1.0/24",
        "The control subnet. Without it, one of O(control_pool) that follows from the names of project and experiment.",
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
        "benito",
        _account,
        "the name of an account other than root",
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
        values[setting.name] = _parsed(setting, attribute.value.strip(), f"attribute {attribute.name}", attribute.where)
    for name, value in overrides.items():
        setting = _BY_NAME.get(name)
        if setting is None:
            raise TopologyError(f"there is no setting {one_line(str(name))}: known are {', '.join(_BY_NAME)}")
        if value is not None:
            values[name] = _parsed(setting, value, f"option {name}", NOWHERE)
    return Settings(**values)


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
        if s.shared and (s.name in ("project", "experiment") or getattr(settings, s.name) != s.default)
    )


def _word(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{k}:{v}" for k, v in value.items())
    if isinstance(value, frozenset):
        return ",".join(str(v) for v in sorted(value))
    return str(value).lower() if isinstance(value, bool) else str(value)

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts that may carry an experiment: what the lab says of each, what was measured, and which pnode each of them is.

A pool is a group of an ordinary Ansible inventory. What was measured at the last swap-in is in the experiment's state directory,
so that reading an inventory asks no host anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .diagnostics import TopologyError, one_line
from .ownership import read_own
from .placement import Room
from .results import host_facts

# Part of a host's memory that its own system keeps.
RESERVED = 10  # percent
_NUMBER = re.compile("0*[1-9][0-9]{0,12}")


# What is asked of a host's inventory variables; all of them are plain words and numbers.
VARIABLES = (
    "ansible_connection",
    "ansible_host",
    "ansible_port",
    "benito_address",
    "benito_cable_device",
    "benito_cores",
    "benito_memory",
    "benito_packing",
    "benito_reachable",
    "benito_ssh_port",
)


@dataclass(frozen=True)
class PoolHost:
    """A host of the pool.

    ``name`` is its name in the lab's inventory, ``address`` and ``ssh_port`` are where other hosts of the pool reach it; where
    it is not ``reachable`` by them (behind a router that translates addresses) it opens the connections. ``memory`` (MB) and
    ``cores`` bound what it may carry, ``packing`` the number of vnodes; None where nothing is known. ``device`` is the
    interface of the lab's Ethernet that may be plugged into switches; ``host_keys`` are its public SSH keys.
    """

    name: str
    address: str = ""
    ssh_port: int = 22
    reachable: bool = True
    memory: int | None = None
    cores: int | None = None
    packing: int | None = None
    device: str = ""
    host_keys: tuple[str, ...] = ()


def pool_host(name: str, variables: Mapping[str, Any], facts: Mapping[str, Any]) -> PoolHost:
    """Return a host of the pool from its inventory variables, which are stronger, and what was measured of it.

    Raises TopologyError for a variable that cannot be used.
    """

    def number(variable: str, default: object) -> int | None:
        value = variables.get(variable, default)
        if value is None:
            return None
        if isinstance(value, bool) or not _NUMBER.fullmatch(str(value)):
            raise TopologyError(f"{variable} of host {name} is {one_line(str(value))}: it must be a whole number, 1 or more")
        return int(str(value))

    measured = host_facts(facts)
    usable = max(1, measured.memory * (100 - RESERVED) // 100 - measured.held) if measured.memory else None
    local = variables.get("ansible_connection") == "local"
    return PoolHost(
        name=name,
        address=str(variables.get("benito_address") or ("" if local else variables.get("ansible_host") or name)),
        ssh_port=number("benito_ssh_port", variables.get("ansible_port", 22)) or 22,
        reachable=str(variables.get("benito_reachable", True)).lower() not in ("false", "no", "0"),
        memory=number("benito_memory", usable),
        cores=number("benito_cores", measured.cores),
        packing=number("benito_packing", None),
        device=str(variables.get("benito_cable_device", "")),
        host_keys=measured.host_keys,
    )


def order_pool(pool: Iterable[PoolHost], previous: Mapping[int, str]) -> tuple[PoolHost, ...]:
    """Return the hosts in the order of their pnodes' numbers: those of the last swap-in keep theirs, the others follow as they come."""
    hosts = {host.name: host for host in pool}
    kept = {number: hosts[name] for number, name in previous.items() if name in hosts and number < len(hosts)}
    taken = {host.name for host in kept.values()}
    others = iter([host for host in hosts.values() if host.name not in taken])
    return tuple(kept.get(number) or next(others) for number in range(len(hosts)))


def rooms(pool: Sequence[PoolHost], vcpus_per_core: int) -> tuple[Room, ...]:
    """Return what each host has for guests: a core carries several virtual processors."""
    return tuple(Room(h.name, h.memory, h.cores * vcpus_per_core if h.cores else None, h.packing) for h in pool)


def load_facts(directory: Path) -> Mapping[str, Mapping[str, Any]]:
    """Return what was measured of each host at the last swap-in, by name; nothing where there is no such record, or it is damaged.

    Raises TopologyError for a record that others may have written: it has the hosts' SSH keys, by which they know each other.
    """
    try:
        facts = json.loads(read_own(directory / "pool.json"))
    except (OSError, ValueError, RecursionError):
        return {}
    return {str(k): v for k, v in facts.items() if isinstance(v, Mapping)} if isinstance(facts, Mapping) else {}

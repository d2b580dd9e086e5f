# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Platforms: which role launches the nodes of a kind, and what the kinds are called in topologies.

A platform is a role that keeps the contract of docs/adding-a-platform.md. The plan knows of it only that there is such a kind.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

OWN_PLATFORMS: Mapping[str, str] = MappingProxyType(
    {
        "qemu": "benito.testbed.qemu_guest",
        "process": "benito.testbed.process_guest",
        "physical": "benito.testbed.process_guest",
    }
)
# These run on their host's kernel, and are entered by way of it: they have no interface on the control net, and no services of a machine.
ON_THEIR_HOST = frozenset(("process", "physical"))

# What Benito and DETER Containers call kinds.
_WORDS = MappingProxyType({"embedded_pnode": "physical", "pnode": "physical", "openvz": "container"})
_KIND = re.compile(r"[a-z][a-z0-9_]{0,30}")
_ROLE = re.compile(r"[A-Za-z0-9_./-]{1,200}")
# Groups of the inventory and words of a topology that mean something else.
_TAKEN = frozenset(("all", "ungrouped", "vnode", "pnode", "vhost", "carrier", "benito_pool", *_WORDS))


def parse_platforms(value: Any) -> Mapping[str, str]:
    """Understand ``container=lab.site.container_guest`` pairs, or a mapping of kinds to roles; ours are there without being said.

    Raises ValueError.
    """
    if isinstance(value, str):
        value = dict(pair.split("=") for pair in value.replace(" ", "").split(",") if pair)
    if not isinstance(value, Mapping):
        raise ValueError
    for kind, role in value.items():
        if not _KIND.fullmatch(str(kind)) or kind in _TAKEN or str(kind).startswith("substrate_") or not _ROLE.fullmatch(str(role)):
            raise ValueError
    return MappingProxyType({**OWN_PLATFORMS, **{str(kind): str(role) for kind, role in value.items()}})


def kind_of(word: str, platforms: Mapping[str, str]) -> str | None:
    """Return the kind that a topology's word for it means; None when nobody launches such nodes."""
    word = word.strip().lower()
    kind = _WORDS.get(word, word)
    return kind if kind in platforms else None

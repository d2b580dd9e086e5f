# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files by which ssh reaches the guests of an experiment by name, and knows that it is them.

Both files are made of names, addresses and keys that are checked against their alphabets, so that no text of a
topology can become a directive.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .diagnostics import TopologyError, one_line

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_ADDRESS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}")
_PUBLIC_KEY = re.compile(r"([a-z0-9@.-]+) ([A-Za-z0-9+/]+={0,3})( .*)?")
_DIRECTORY = re.compile(r'/[^"$\x00-\x1f\x7f]*')


def ssh_config(benito: Mapping[str, Any], nodes: Iterable[Mapping[str, Any]]) -> str:
    """Return an ssh_config with an entry for each node that has a control address.

    A node is a mapping with ``name`` and ``control``, as ``benito_node`` or a guest of a pnode's document.
    Keys and known hosts are files of the experiment's state directory. Raises TopologyError for what cannot stand in the file.
    """
    state = _checked(_DIRECTORY, benito["state_dir"], "a directory")
    key, known = (_quoted(f"{state}/{name}") for name in ("id_ed25519", "known_hosts"))
    entries = []
    for node in nodes:
        control = node.get("control")
        if control:
            name, full = _names(benito, node)
            address = _checked(_ADDRESS, control["address"], "an address")
            entries.append(
                f"Host {name} {full} {address}\n"
                f"  HostName {address}\n"
                "  User root\n"
                f"  IdentityFile {key}\n"
                "  IdentitiesOnly yes\n"
                f"  UserKnownHostsFile {known}\n"
                f"  HostKeyAlias {full}\n"
                "  StrictHostKeyChecking yes\n"
            )
    return "\n".join(entries)


def known_hosts(benito: Mapping[str, Any], nodes: Iterable[Mapping[str, Any]], keys: Mapping[str, str] | str) -> str:
    """Return a known_hosts file: each node by its full name, under which ssh_config has ssh look for it.

    ``keys`` is a public host key for each node by name, or one that all share. A node without one is left out.
    """
    lines = []
    for node in nodes:
        key = keys if isinstance(keys, str) else keys.get(str(node["name"]))
        if key and node.get("control"):
            found = _PUBLIC_KEY.fullmatch(key.strip())
            if found is None:
                raise TopologyError(f"{one_line(key)} is not a public SSH key")
            lines.append(f"{_names(benito, node)[1]} {found[1]} {found[2]}\n")
    return "".join(lines)


def _names(benito: Mapping[str, Any], node: Mapping[str, Any]) -> tuple[str, str]:
    labels = [_checked(_LABEL, text, "a name") for text in (node["name"], benito["experiment"], benito["project"])]
    return labels[0], ".".join(labels)


def _checked(pattern: re.Pattern[str], text: object, what: str) -> str:
    if not pattern.fullmatch(str(text)):
        raise TopologyError(f"{one_line(str(text))} is not {what} that can stand in an SSH file")
    return str(text)


def _quoted(path: str) -> str:
    """Quote a path for ssh_config, where % begins a token. Paths with a $ never come here."""
    return '"' + path.replace("%", "%%") + '"'

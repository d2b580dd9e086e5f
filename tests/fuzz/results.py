# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Readers of results on the controller: what modules on hosts and in guests returned, through the filters that playbooks use."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.benito.testbed.plugins.filter.known_hosts import known_hosts
from ansible_collections.benito.testbed.plugins.filter.node_list import node_list
from ansible_collections.benito.testbed.plugins.filter.placement_table import placement_table
from ansible_collections.benito.testbed.plugins.filter.ssh_config import ssh_config
from ansible_collections.benito.testbed.plugins.filter.status_remarks import status_remarks
from ansible_collections.benito.testbed.plugins.filter.status_rows import status_rows
from ansible_collections.benito.testbed.plugins.filter.status_table import status_table
from ansible_collections.benito.testbed.plugins.filter.topology_graph import topology_graph

from .target import Target, loaded

_BENITO = {"project": "p", "experiment": "e", "state_dir": "/var/lib/p.e", "control": {"mode": "nat"}}
_NODES = [
    {
        "name": name,
        "kind": kind,
        "pnode": "pnode-0000",
        "carrier": "",
        "guest": True,
        "ghost": False,
        "start_command": "x",
        "control": control,
        "interfaces": [{"name": "e0", "substrate": "s", "address": "10.0.0.1"}],
    }
    for name, kind, control in (
        ("a", "qemu", {"address": "172.20.1.2", "mac": "02:00:00:00:00:01"}),
        ("b", "process", None),
        ("c", "physical", None),
    )
]
_PNODES = {"pnode-0000": {"ansible_host": "192.0.2.1", "ansible_user": "me", "ansible_ssh_common_args": "-o 'A=b c'", "ansible_port": 22}}
_INFOS = [
    {"name": "a", "state": "booted", "exit_status": 0, "detail": "d", "control_address": "172.20.1.3", "ssh_host_key": "ssh-ed25519 AAAA"},
    {"name": "b", "state": "dead", "exit_status": "running", "detail": "", "entry": "/var/lib/benito/x/nodes/enter"},
]
_HOSTS = [
    {
        "pnode": "pnode-0000",
        "switches": [{"name": "s", "state": "dead"}],
        "shapers": [{"name": "a:e0", "state": "running"}],
        "down": ["a:e0"],
        "cables": [{"name": "c", "state": "broken", "remakes": 1, "transport": "ssh", "detail": "x"}],
        "server": {"state": "dead"},
        "control": {"detail": "x"},
    }
]
_KEYS = {"a": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA", "b": "ssh-rsa AAAA comment"}
_PLACEMENT = {
    **_BENITO,
    "placement": [{"pnode": "pnode-0000", "host": None, "nodes": 1, "memory": 1, "cpus": 1, "memory_limit": None, "cpus_limit": 4}],
    "cables": [{"substrate": "s", "transport": "ssh", "pnodes": ["pnode-0000", "pnode-0001"]}],
}


def _call(function: Callable[..., object]) -> Callable[[bytes], None]:
    """Return a target that calls a function with the values of a JSON list, where there is one of the right length."""

    def read(data: bytes) -> None:
        content: Any = loaded(data)
        if isinstance(content, list):
            found = function(*content)
            text = found if isinstance(found, str) else json.dumps(found)
            assert "\x1b" not in text or not isinstance(found, str), "an escape reaches the terminal"

    return read


def _ssh(benito: Any = None, nodes: Any = (), pnodes: Any = None, infos: Any = (), *_: Any) -> str:
    text = ssh_config(benito, nodes, pnodes, infos)
    # Whatever was said, each line begins an entry or is an option of it.
    assert all(re.match(r"Host [a-zA-Z0-9]|  [A-Z][A-Za-z]* .", line) for line in text.split("\n") if line), text
    return text


def targets() -> list[Target]:
    """Return the readers of results."""
    refused = (AnsibleFilterError,)
    words = ("name", "state", "control", "address", "ssh_host_key", "entry", "a", "b", "booted", "detail", "ssh-ed25519 AAAA", "pnode-0000")

    def target(name: str, function: Callable[..., object], *arguments: Any) -> Target:
        return Target(name, _call(function), (json.dumps(arguments).encode(),), refused, words, share=15)

    return [
        target("ssh-config", _ssh, _BENITO, _NODES, _PNODES, _INFOS),
        target("known-hosts", lambda b=None, n=(), k="", *_: known_hosts(b, n, k), _BENITO, _NODES, _KEYS),
        target("status-rows", lambda n=(), i=(), *_: status_rows(n, i), _NODES, _INFOS),
        target("status-table", lambda n=(), i=(), *_: status_table(n, i), _NODES, _INFOS),
        target("status-remarks", lambda h=(), *_: status_remarks(h), _HOSTS),
        target("node-list", lambda b=None, n=(), h=None, *_: node_list(b, n, h), _BENITO, _NODES, {"pnode-0000": "amber"}),
        target("placement-table", lambda b=None, n=(), *_: placement_table(b, n), _PLACEMENT, _NODES),
        target("graph", lambda n=(), f="mermaid", *_: topology_graph(n, f), _NODES, "dot"),
    ]

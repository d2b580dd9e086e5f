# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Readers of results on the controller: what modules on hosts and in guests returned, through the filters that playbooks use."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible.module_utils.json_utils import _filter_non_json_lines

from ansible_collections.benito.testbed.plugins.filter.failure_text import failure_text
from ansible_collections.benito.testbed.plugins.filter.host_facts import host_facts
from ansible_collections.benito.testbed.plugins.filter.host_keys import host_keys
from ansible_collections.benito.testbed.plugins.filter.host_reports import host_reports
from ansible_collections.benito.testbed.plugins.filter.known_hosts import known_hosts
from ansible_collections.benito.testbed.plugins.filter.node_list import node_list
from ansible_collections.benito.testbed.plugins.filter.placement_table import placement_table
from ansible_collections.benito.testbed.plugins.filter.ssh_config import ssh_config
from ansible_collections.benito.testbed.plugins.filter.status_remarks import status_remarks
from ansible_collections.benito.testbed.plugins.filter.status_rows import status_rows
from ansible_collections.benito.testbed.plugins.filter.status_table import status_table
from ansible_collections.benito.testbed.plugins.filter.topology_graph import topology_graph
from ansible_collections.benito.testbed.plugins.plugin_utils.host_output import clean
from ansible_collections.benito.testbed.plugins.plugin_utils.pool import pool_host

from .target import Target, loaded

_BENITO = {"id": "p.e", "project": "p", "experiment": "e", "state_dir": "/var/lib/p.e", "control": {"mode": "nat"}}
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
_GUESTS = [
    {
        "name": "a",
        "state": "booted",
        "exit_status": 0,
        "detail": "d",
        "control_address": "172.20.1.3",
        "ssh_host_key": "ssh-ed25519 AAAA",
        "uptime": 3.5,
        "pid": 7,
    },
    {
        "name": "b",
        "state": "dead",
        "exit_status": "running",
        "detail": "",
        "msg": "no\nway",
        "failed": True,
        "action": "start",
        "changed": True,
    },
]
_HOST = {
    "switches": [{"name": "s", "id": "s", "state": "dead", "pid": 7, "plugged": [1, 2]}],
    "shapers": [{"name": "a:e0", "state": "running", "out": {"capacity": 5.0, "loss": None}, "queued": {"out": 3}, "pids": {"in": 7}}],
    "down": ["a:e0"],
    "cables": [
        {"name": "c", "state": "broken", "remakes": 1, "transport": "ssh", "detail": "x", "since": "2026-01-01T00:00:00Z", "pids": [7]}
    ],
    "server": {"state": "dead", "listen": "x"},
    "control": {"state": "up", "mode": "nat", "detail": "x"},
}
_POOL = {"memory": 8192, "cores": 4, "held": 100, "host_keys": ["ssh-ed25519 AAAA"]}
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
            assert not isinstance(found, str) or _harmless(text), "what a terminal obeys is printed"

    return read


def _ssh(benito: Any = None, nodes: Any = (), pnodes: Any = None, answers: Any = None, *_: Any) -> str:
    text = ssh_config(benito, nodes, pnodes, answers)
    # Whatever was said, each line begins an entry or is an option of it.
    assert all(re.match(r"Host [a-zA-Z0-9]|  [A-Za-z]+ .", line) for line in text.split("\n") if line), text
    return text


def _harmless(text: str) -> bool:
    """Tell whether a terminal only prints it."""
    return all(c.isprintable() or c == "\n" for c in text)


def _answer_about_nodes(data: bytes) -> None:
    """Take what a host says of its nodes. Whatever it says, nothing is refused: the other hosts' nodes are to be seen."""
    answers = {"pnode-0000": loaded(data)}
    assert _ssh(_BENITO, _NODES, _PNODES, answers).count("ProxyCommand") <= len(_NODES)
    known_hosts(_BENITO, _NODES, host_keys(_NODES, answers))
    assert len(status_rows(_NODES, answers)) == len(_NODES)
    assert _harmless(status_table(_NODES, answers))


def _answer_about_itself(data: bytes) -> None:
    """Take what a host says of all but its nodes, and of itself."""
    said = loaded(data)
    answers = {"pnode-0000": said}
    json.dumps(host_reports(answers, {"pnode-0000": "amber"}), allow_nan=False).encode()
    assert _harmless(status_remarks(answers))
    json.dumps(host_facts(answers), allow_nan=False).encode()
    pool_host("amber", {}, said if isinstance(said, dict) else {})
    assert _harmless(failure_text(answers))


def _output(data: bytes) -> None:
    """Clean what a host printed, and look at it as Ansible does."""
    text = clean(data.decode("utf-8", "replace"))
    assert "\x1b" not in text
    try:
        found = json.loads(_filter_non_json_lines(text, objects_only=True)[0])
    except ValueError:
        return
    assert not {"ansible_facts", "add_host", "results"} & set(found), "Ansible finds what it acts upon"


def _encoded(*contents: Any) -> tuple[bytes, ...]:
    return tuple(json.dumps(content).encode() for content in contents)


def targets() -> list[Target]:
    """Return the readers of results."""
    refused = (AnsibleFilterError,)
    words = ("name", "state", "control", "address", "ssh_host_key", "entry", "a", "b", "booted", "detail", "ssh-ed25519 AAAA", "pnode-0000")

    def target(name: str, function: Callable[..., object], *arguments: Any) -> Target:
        return Target(name, _call(function), (json.dumps(arguments).encode(),), refused, words, share=15)

    return [
        Target("answer-nodes", _answer_about_nodes, _encoded(_GUESTS), (), words, share=40),
        Target("answer-host", _answer_about_itself, _encoded(_HOST, _POOL, ["it failed"], "it failed"), (), words, share=40),
        Target(
            "output", _output, _encoded({"changed": True, "guests": _GUESTS, "ansible_facts": {}}), (), (*words, "_ansible_x"), share=30
        ),
        Target(
            "output-lines", _output, (b'x {\n{"ansible_facts": {}}\n', b'[W]: x\n{"changed": true}\n'), (), ("{", "}", '"'), "words", 20
        ),
        target("ssh-config", _ssh, _BENITO, _NODES, _PNODES, {"pnode-0000": _GUESTS}),
        target("known-hosts", lambda b=None, n=(), k="", *_: known_hosts(b, n, k), _BENITO, _NODES, _KEYS),
        target("status-table", lambda n=(), a=None, *_: status_table(n, a), _NODES, {"pnode-0000": _GUESTS}),
        target("node-list", lambda b=None, n=(), h=None, *_: node_list(b, n, h), _BENITO, _NODES, {"pnode-0000": "amber"}),
        target("placement-table", lambda b=None, n=(), *_: placement_table(b, n), _PLACEMENT, _NODES),
        target("graph", lambda n=(), f="mermaid", *_: topology_graph(n, f), _NODES, "dot"),
    ]

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess

import pytest

from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import TopologyError
from ansible_collections.benito.testbed.plugins.plugin_utils.ssh_files import known_hosts, ssh_config

BENITO = {"project": "p", "experiment": "e", "id": "p.e", "state_dir": "/var/my state/50%"}
NODES = [{"name": "n-0", "control": {"address": "172.16.1.2"}}, {"name": "c", "control": None}]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0nqmqgHxbXJMRIFnbKZMMX2tJsl7fQ0PqJmQZ8gS7r"


def test_entry():
    assert ssh_config(BENITO, NODES) == (
        "Host n-0 n-0.e.p 172.16.1.2\n"
        "  HostName 172.16.1.2\n"
        "  User root\n"
        '  IdentityFile "/var/my state/50%%/id_ed25519"\n'
        "  IdentitiesOnly yes\n"
        '  UserKnownHostsFile "/var/my state/50%%/known_hosts"\n'
        "  HostKeyAlias n-0.e.p\n"
        "  StrictHostKeyChecking yes\n"
    )


PNODES = {
    "pnode-0000": {"ansible_connection": "local"},
    "pnode-0001": {"ansible_host": "lab1.example", "ansible_port": 2222, "ansible_user": "ops", "other": object()},
    "pnode-0002": {
        "ansible_host": "2001:db8::7",
        "ansible_ssh_private_key_file": "/home/me/my key",
        "ansible_ssh_common_args": """-o StrictHostKeyChecking=no -o 'ProxyCommand=ssh -W %h:%p "a gate"'""",
        "ansible_ssh_extra_args": "-4",
    },
}


def ways(mode, **control):
    """Return the lines on where each guest is, of one on each pnode and one on a pnode nobody knows."""
    nodes = [{"name": f"n{i}", "pnode": f"pnode-000{i}", "control": {"address": f"172.16.{i}.2", **control}} for i in range(4)]
    lines = ssh_config({**BENITO, "control": {"mode": mode}}, nodes, PNODES).splitlines()
    return [line.strip() for line in lines if line.strip().startswith(("HostName", "Port", "Proxy"))]


def test_guests_of_other_hosts_are_reached_over_them():
    assert ways("nat") == [
        "HostName 172.16.0.2",
        "HostName 172.16.1.2",
        "ProxyCommand ssh -o ClearAllForwardings=yes -l ops -p 2222 -W [%h]:%p -- lab1.example",
        "HostName 172.16.2.2",
        "ProxyCommand ssh -o ClearAllForwardings=yes -o StrictHostKeyChecking=no -o 'ProxyCommand=ssh -W %%h:%%p \"a gate\"' -4"
        " -i '/home/me/my key' -W [%h]:%p -- 2001:db8::7",
        "HostName 172.16.3.2",
    ]


def test_in_the_labs_own_net_there_is_no_way_over_anybody():
    assert ways("bridge") == [f"HostName 172.16.{i}.2" for i in range(4)]


def test_at_ports_of_hosts():
    assert ways("ports", port=10002) == [
        "HostName 172.16.0.2",
        *("HostName lab1.example", "Port 10002"),
        *("HostName 2001:db8::7", "Port 10002"),
        "HostName 172.16.3.2",
    ]


def test_addresses_that_the_labs_server_gave():
    nodes = [{"name": n, "pnode": "pnode-0000", "control": {"address": None, "mac": "m"}} for n in ("a", "b")]
    answers = {"pnode-0000": [{"name": "a", "control_address": "192.0.2.77"}, {"name": "b"}]}
    text = ssh_config({**BENITO, "control": {"mode": "bridge"}}, nodes, answers=answers)
    assert text.startswith("Host a a.e.p 192.0.2.77\n  HostName 192.0.2.77\n")
    assert "Host b" not in text


def test_nodes_without_an_address_are_entered_by_way_of_their_host():
    nodes = [{"name": f"n{i}", "pnode": f"pnode-000{i}", "kind": "process", "control": None} for i in range(3)]
    answers = {f"pnode-000{i}": [{"name": f"n{i}", "state": "booted", "entry": "/any"}] for i in range(2)}
    pnodes = {**PNODES, "pnode-0001": {**PNODES["pnode-0001"], "vhost_root": "/run/x y/50%"}}
    lines = [line.strip() for line in ssh_config(BENITO, nodes, pnodes, answers).splitlines()]
    assert [line for line in lines if line.startswith(("Host ", "HostName", "Proxy"))] == [
        "Host n0 n0.e.p",
        "ProxyCommand /var/lib/benito/p.e/nodes/enter n0",
        "Host n1 n1.e.p",
        "ProxyCommand ssh -o ClearAllForwardings=yes -l ops -p 2222 -- lab1.example ''\"'\"'/run/x y/50%%/p.e/nodes/enter'\"'\"' n1'",
    ]


def test_a_host_that_is_a_node_is_reached_as_a_host():
    nodes = [{"name": f"n{i}", "pnode": f"pnode-000{i}", "kind": "physical", "control": None} for i in range(3)]
    assert ssh_config(BENITO, nodes, PNODES).splitlines() == [
        "Host n1 n1.e.p",
        "  HostName lab1.example",
        '  User "ops"',
        '  Port "2222"',
        "",
        "Host n2 n2.e.p",
        "  HostName 2001:db8::7",
        "  StrictHostKeyChecking no",
        '  ProxyCommand ssh -W %h:%p "a gate"',
        '  IdentityFile "/home/me/my key"',
    ]


def test_the_jump_is_made_as_the_user_would(tmp_path):
    """Let ssh itself run the command, with a stand-in that prints its words."""
    stand_in = tmp_path / "ssh with blanks"
    stand_in.write_text('#!/bin/sh\nfor word in "$@"; do printf \'%s\\n\' "$word" >&2; done\n')
    stand_in.chmod(0o755)
    pnode = {**PNODES["pnode-0002"], "ansible_ssh_executable": str(stand_in), "ansible_user": "$(touch x); 100%"}
    nodes = [{"name": "n0", "pnode": "p", "control": {"address": "172.16.0.2"}}]
    file = tmp_path / "ssh_config"
    file.write_text(ssh_config(BENITO, nodes, {"p": pnode}))
    try:
        done = subprocess.run(["ssh", "-F", str(file), "n0", "true"], capture_output=True, text=True, check=False, cwd=tmp_path)
    except FileNotFoundError:
        pytest.skip("no ssh here")
    words = done.stderr.splitlines()
    expected = [
        *("-o", "ClearAllForwardings=yes", "-o", "StrictHostKeyChecking=no", "-o", 'ProxyCommand=ssh -W %h:%p "a gate"', "-4"),
        *("-l", "$(touch x); 100%", "-i", "/home/me/my key", "-W", "[172.16.0.2]:22", "--", "2001:db8::7"),
    ]
    assert words[: len(expected)] == expected
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"ansible_host": "-oProxyCommand=x"},
        {"ansible_host": "a b"},
        {"ansible_host": ""},
        {"ansible_ssh_common_args": "-o 'x"},
        {"ansible_user": "a\nHost *"},
    ],
)
def test_a_way_that_cannot_be_written_down(change):
    nodes = [{"name": "n0", "pnode": "p", "control": {"address": "172.16.0.2"}}]
    with pytest.raises(TopologyError, match=r"SSH file|cannot be taken apart"):
        ssh_config(BENITO, nodes, {"p": {**PNODES["pnode-0001"], **change}})


def test_ssh_understands_it(tmp_path):
    file = tmp_path / "ssh_config"
    file.write_text(ssh_config(BENITO, NODES))
    try:
        shown = subprocess.run(["ssh", "-G", "-F", str(file), "n-0"], capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip("no ssh here")
    assert {"hostname 172.16.1.2", "user root", "hostkeyalias n-0.e.p", "identitiesonly yes", "stricthostkeychecking true"} <= set(
        shown.splitlines()
    )


@pytest.mark.parametrize(
    ("benito", "node"),
    [
        ({}, {"name": "a\n  ProxyCommand x"}),
        ({}, {"name": "*"}),
        ({}, {"control": {"address": "1.2.3.4\nHost *"}}),
        ({"state_dir": '/x"y'}, {}),
        ({"state_dir": "x"}, {}),
        ({"project": "a b"}, {}),
    ],
)
def test_nothing_can_be_slipped_in(benito, node):
    with pytest.raises(TopologyError, match="that can stand in an SSH file"):
        ssh_config({**BENITO, **benito}, [{**NODES[0], **node}])


def test_known_hosts():
    assert known_hosts(BENITO, NODES, {"n-0": f"{KEY} root@n-0\n"}) == f"n-0.e.p {KEY}\n"
    assert known_hosts(BENITO, NODES, KEY) == f"n-0.e.p {KEY}\n"
    assert known_hosts(BENITO, NODES, {}) == ""
    with pytest.raises(TopologyError, match="not a public SSH key"):
        known_hosts(BENITO, NODES, "x\ny")

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess

import pytest

from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import TopologyError
from ansible_collections.benito.testbed.plugins.plugin_utils.ssh_files import known_hosts, ssh_config

BENITO = {"project": "p", "experiment": "e", "state_dir": "/var/my state/50%"}
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

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.benito.testbed.plugins import filter as package
from ansible_collections.benito.testbed.plugins.filter import (
    annotated_topdl,
    failure_text,
    host_facts,
    host_keys,
    host_reports,
    known_hosts,
    node_list,
    ssh_config,
    status_remarks,
    status_rows,
    status_table,
    topology_graph,
    topology_topdl,
)
from ansible_collections.benito.testbed.plugins.plugin_utils.embedding import read_embedding
from ansible_collections.benito.testbed.plugins.plugin_utils.formats.topdl import read_topdl

MODULES = (
    *(annotated_topdl, failure_text, host_facts, host_keys, host_reports, known_hosts, node_list, ssh_config, status_remarks),
    *(status_rows, status_table, topology_graph, topology_topdl),
)
TEXT = (
    "<experiment><version>1.0</version><substrates><name>l0</name></substrates>"
    "<elements><computer><name>a</name><interface><substrate>l0</substrate><name>i</name></interface></computer></elements>"
    "<elements><computer><name>b</name><interface><substrate>l0</substrate><name>i</name></interface></computer></elements></experiment>"
)


@pytest.fixture
def benito(tmp_path):
    file = tmp_path / "pair.topdl"
    file.write_text(TEXT)
    return {
        "source": str(file),
        "overrides": {"state_dir": str(tmp_path), "project": "p"},
        "project": "p",
        "experiment": "pair",
        "state_dir": "/s",
    }


def call(module, *arguments):
    name = module.__name__.rpartition(".")[2]
    return module.FilterModule().filters()[name](*arguments)


@pytest.mark.parametrize("module", MODULES)
def test_each_filter_is_documented(module):
    name = module.__name__.rpartition(".")[2]
    found = yaml.safe_load((Path(package.__path__[0]) / f"{name}.yml").read_text())
    assert found["DOCUMENTATION"]["name"] == name
    assert name in found["EXAMPLES"] and found["RETURN"]


def test_annotated_topdl(benito):
    topology, notices = read_topdl(call(annotated_topdl, benito), "t")
    assert notices == () and read_embedding(topology).pnodes == {"a": 0, "b": 0}
    assert next(a.value for a in topology.attributes if a.name == "benito:project") == "p"


def test_topology_topdl(benito):
    assert read_topdl(call(topology_topdl, benito), "t")[0] == read_topdl(TEXT, "t")[0]


def test_views(benito):
    nodes = [
        {
            "name": "a",
            "kind": "qemu",
            "pnode": "pnode-0000",
            "guest": True,
            "control": {"address": "172.16.0.2"},
            "interfaces": [],
            "start_command": "",
        }
    ]
    assert "unknown" in call(status_table, nodes)
    assert call(status_rows, nodes)[0]["state"] == "unknown"
    assert "a.pair.p" in call(node_list, benito, nodes)
    assert "subgraph" in call(topology_graph, nodes, "dot")
    assert call(ssh_config, benito, nodes).startswith("Host a a.pair.p 172.16.0.2")
    assert call(host_keys, nodes, {"pnode-0000": [{"name": "a", "ssh_host_key": "ssh-rsa AAAA x"}]}) == {"a": "ssh-rsa AAAA"}
    assert call(host_reports, {"pnode-0000": {}, "b": None})[0]["pnode"] == "pnode-0000"
    assert call(host_facts, {"alpha": {"cores": 2}})["alpha"]["cores"] == 2
    assert call(failure_text, {"alpha": ["no\x1b"]}) == "alpha: no?"
    assert call(status_remarks, {"alpha": {"down": ["a:i"]}}) == "alpha: interface a:i was taken down\n"
    assert call(known_hosts, benito, nodes, "ssh-rsa AAAA") == "a.pair.p ssh-rsa AAAA\n"


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        (annotated_topdl, ({},)),
        (annotated_topdl, ({"source": "/nowhere/x.topdl", "overrides": {}},)),
        (topology_topdl, ({"source": "/nowhere/x.topdl"},)),
        (topology_topdl, (3,)),
        (status_table, ([{}],)),
        (status_rows, ([], [{"name": "a"}])),
        (host_keys, ([], [])),
        (host_reports, ([],)),
        (host_facts, ([],)),
        (failure_text, ([],)),
        (status_remarks, ([],)),
        (topology_graph, ([], "svg")),
        (node_list, ({}, [])),
        (ssh_config, ({"state_dir": "x"}, [])),
        (known_hosts, ({}, [{"name": "a", "control": {}}], 3)),
    ],
)
def test_wrong_input_is_an_error_of_the_filter(module, arguments):
    with pytest.raises(AnsibleFilterError):
        call(module, *arguments)

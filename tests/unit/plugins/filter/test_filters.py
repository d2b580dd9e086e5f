# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.benito.testbed.plugins import filter as package
from ansible_collections.benito.testbed.plugins.filter import (
    annotated_topdl,
    cable_secrets,
    failure_text,
    host_facts,
    host_keys,
    host_reports,
    known_hosts,
    node_list,
    owner_check,
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
    *(
        annotated_topdl,
        cable_secrets,
        failure_text,
        host_facts,
        host_keys,
        host_reports,
        known_hosts,
        node_list,
        owner_check,
        ssh_config,
        status_remarks,
    ),
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


def test_cable_secrets():
    found = call(cable_secrets, [{"id": "a", "transport": "tcp"}, {"id": "b", "transport": "ssh"}], "5e" * 32)
    assert list(found) == ["a"] and found["a"] != "5e" * 32


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        (cable_secrets, ([{"transport": "tcp"}], "5e" * 32)),
        (cable_secrets, ([], "no secret")),
        (cable_secrets, ([3], "5e" * 32)),
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


def record(experiment="demo", owner="ann", **more):
    named = {"owner": {"user": owner, "controller": "desk", "fingerprint": f"SHA256:{owner[0] * 43}", "since": "2026"}} if owner else {}
    return json.dumps({"project": "lab", "experiment": experiment, "id": f"lab.{experiment}", **named, **more})


def asked_by(user, **more):
    owner = {"user": user, "controller": "desk", "fingerprint": f"SHA256:{user[0] * 43}"}
    return {"project": "lab", "experiment": "demo", "id": "lab.demo", "owner": owner, **more}


def test_hosts_that_have_the_experiment_of_another_owner():
    check = owner_check.owner_check
    records = {"alpha": record(), "beta": f"{record('other', 'bob')}\r\n", "gamma": "", "delta": record(owner="")}
    assert check(records, asked_by("ann")) == {"refusals": [], "former": []}
    answer = check(records, asked_by("bob"))
    assert len(answer["refusals"]) == 1 and answer["refusals"][0].startswith("alpha: lab/demo belongs to ann at desk")
    assert check(records, asked_by("bob", take_over=True)) == {
        "refusals": [],
        "former": [f"ann at desk (since 2026, key SHA256:{'a' * 43})"],
    }


def test_a_directory_of_another_experiment_is_refused_beforehand():
    records = {"alpha": record("another", id="lab.demo")}
    assert "/var/lib/benito/lab.demo belongs to lab/another" in owner_check.owner_check(records, asked_by("ann"))["refusals"][0]
    by_name = {key: value for key, value in asked_by("ann").items() if key != "id"}
    assert owner_check.owner_check(records, by_name)["refusals"] == []


@pytest.mark.parametrize("line", ["{", "[" * 100000, "7", "null", '"x"', "{}", '{"project": []}', '{"owner": 7, "id": "lab.demo"}'])
def test_damaged_records_do_not_hide_others(line):
    answer = owner_check.owner_check({"alpha": f"{line}\n{record()}"}, asked_by("bob"))
    assert len(answer["refusals"]) == 1

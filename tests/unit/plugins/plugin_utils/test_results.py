# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine that carries process nodes lies, in each field of each of its answers."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from ansible_collections.benito.testbed.plugins.plugin_utils import results
from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import TopologyError
from ansible_collections.benito.testbed.plugins.plugin_utils.ssh_files import host_keys, known_hosts, ssh_config
from ansible_collections.benito.testbed.plugins.plugin_utils.views import host_reports, status_remarks, status_rows, status_table

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0nqmqgHxbXJMRIFnbKZMMX2tJsl7fQ0PqJmQZ8gS7r"
BENITO = {"project": "p", "experiment": "e", "id": "p.e", "state_dir": "/state"}


def node(name, **more):
    return {"name": name, "kind": "process", "pnode": "pnode-0000", "carrier": "", "guest": True, "control": None, "interfaces": [],
            "start_command": "run", **more}  # fmt: skip


NODES = [
    node("m", kind="qemu", control={"address": "172.16.0.2"}),
    node("inside", carrier="m"),
    node("outside"),
    node("lab", kind="physical"),
    node("far", pnode="pnode-0001"),
]
PNODES = {name: {"ansible_host": f"{name}.example"} for name in ("pnode-0000", "pnode-0001", "m")}
HONEST = {
    "pnode-0000": [
        {"name": "m", "state": "booted", "ssh_host_key": KEY},
        {"name": "outside", "state": "booted", "ssh_host_key": KEY, "entry": "/x"},
    ],
    "pnode-0001": [{"name": "far", "state": "booted", "ssh_host_key": KEY, "entry": "/x"}],
    "m": [{"name": "inside", "state": "booted", "ssh_host_key": KEY, "exit_status": 0, "entry": "/x"}],
}
LIE = "ssh-ed25519 LIELIELIE"


def deep(depth):
    found = []
    for dummy in range(depth):
        found = [found]
    return found


LIES = {
    "escape": "\x1b]0;owned\x07\x1b[31m\x9b31m",
    "lines": "well\nn  qemu  pnode-0000  booted\r\n\x0bx\u2028y",
    "sideways": "\u202egnp\u2066\u200b",
    "surrogate": "\ud800 half",
    "long": "x" * 3_000_000,
    "template": "{{ lookup('pipe', 'id') }}",
    "directive": "x\n  ProxyCommand touch /tmp/owned",
    "option": "-oProxyCommand=touch /tmp/owned",
    "path": "/tmp/owned",
    "word": "booted\x1b[31m",
    "number": 10**400,
    "negative": -(10**400),
    "nan": float("nan"),
    "endless": float("inf"),
    "true": True,
    "none": None,
    "bytes": b"\x1b[31m",
    "list": ["\x1b[31m"] * 3,
    "lists": deep(400),
    "many": list(range(100_000)),
    "dict": {"\x1b[31m": "\x1b[31m", "state": "\x1b[31m", "detail": ["\x1b"]},
    "keys": {1: 2, None: 3},
}
RECORDS = (
    results.GuestReport,
    results.SwitchReport,
    results.ShaperReport,
    results.CableReport,
    results.ServerReport,
    results.ControlReport,
    results.HostReport,
    results.HostFacts,
)
EVERY_FIELD = [(kind, f.metadata["name"] or f.name) for kind in RECORDS for f in fields(kind)]
lying = pytest.mark.parametrize("lie", LIES.values(), ids=LIES)


def harmless(text, lines=False):
    """Tell whether a terminal would obey nothing in a text."""
    return all(c.isprintable() or (lines and c == "\n") for c in text)


def check_plain(value):
    """Check what a record has become: bounded, of JSON, and harmless."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    assert len(text.encode()) < 1_000_000

    def look(found, name=""):
        if isinstance(found, str):
            assert harmless(found, lines=name == "msg") and len(found) <= 4000
        elif isinstance(found, dict):
            for key, inner in found.items():
                assert harmless(key)
                look(inner, key)
        elif isinstance(found, list):
            for inner in found:
                look(inner)

    look(value)


@lying
@pytest.mark.parametrize(("kind", "name"), EVERY_FIELD, ids=[f"{kind.__name__}.{name}" for kind, name in EVERY_FIELD])
def test_a_lie_in_a_field(kind, name, lie):
    record = results._read(kind, {name: lie})
    told = results.plain(record)
    check_plain(told)
    assert set(told) == {f.metadata["name"] or f.name for f in fields(kind)}, "fields that the schema does not know are dropped"
    assert results._read(kind, told) == record, "a checked record passes the check as it is"
    empty = results.plain(results._read(kind, {}))
    assert {key: value for key, value in told.items() if key != name} == {k: v for k, v in empty.items() if k != name}


@lying
def test_a_lie_instead_of_an_answer(lie):
    for said in (lie, [lie], [{"name": lie}], {"guests": lie}):
        answers = {**HONEST, "m": said}
        assert "inside" not in results.guest_reports(NODES, answers)
        assert set(results.guest_reports(NODES, answers)) == {"m", "outside", "far"}
        assert len(status_table(NODES, answers).splitlines()) == 1 + len(NODES)
        assert harmless(status_remarks({"m": said}), lines=True)
        check_plain(host_reports({"m": said}))
        check_plain(results.plain(results.host_facts(said)))
        assert harmless(results.failure_text({"m": said}), lines=True)
        assert len(results.failure_text({"m": said})) < 100_000


def directives(answers):
    """Return the lines of the ssh_config that decide what runs on the controller, and whom it believes."""
    lines = ssh_config(BENITO, NODES, PNODES, answers).splitlines()
    return [line for line in lines if line.strip().startswith(("Host ", "ProxyCommand", "UserKnownHostsFile", "IdentityFile"))]


def test_a_carrier_speaks_of_nodes_that_it_does_not_carry():
    """Such an entry set the ProxyCommand of that node, which runs on the controller, and its host key."""
    lie = {
        "state": "booted",
        "ssh_host_key": LIE,
        "control_address": "203.0.113.66",
        "entry": "/bin/sh -c 'touch /owned'",
        "detail": "well",
    }
    lies = [{**lie, "name": n["name"], "exit_status": 0} for n in NODES if n["name"] != "inside"]
    answers = {**HONEST, "m": [*HONEST["m"], *lies]}
    assert ssh_config(BENITO, NODES, PNODES, answers) == ssh_config(BENITO, NODES, PNODES, HONEST)
    assert host_keys(NODES, answers) == host_keys(NODES, HONEST) == dict.fromkeys(("m", "outside", "far", "inside"), KEY)
    assert status_rows(NODES, answers) == status_rows(NODES, HONEST)
    assert status_table(NODES, answers) == status_table(NODES, HONEST)


def test_the_way_into_a_node_is_no_matter_of_its_carrier():
    answers = {**HONEST, "m": [{**HONEST["m"][0], "entry": "/tmp/owned", "console": "/tmp/owned", "control_address": "203.0.113.66"}]}
    assert ssh_config(BENITO, NODES, PNODES, answers) == ssh_config(BENITO, NODES, PNODES, HONEST)
    ways = [line.strip() for line in directives(answers) if "ProxyCommand" in line]
    assert ways[1] == "ProxyCommand ssh -o ClearAllForwardings=yes -- m.example '/var/lib/benito/p.e/nodes/enter inside'"


@lying
@pytest.mark.parametrize("name", [*(f.name for f in fields(results.GuestReport)), "entry", "console", "root", "pnode", "carrier"])
def test_a_lie_about_its_own_node(name, lie):
    answers = {**HONEST, "m": [{**HONEST["m"][0], name: lie}]}
    if name == "name":
        assert host_keys(NODES, answers) == dict.fromkeys(("m", "outside", "far"), KEY)
        return
    if name == "entry" and "inside" not in ssh_config(BENITO, NODES, PNODES, answers):
        assert set(directives(answers)) < set(directives(HONEST)), "a node that has no way in by its host's word has none"
    else:
        assert directives(answers) == directives(HONEST)
    assert known_hosts(BENITO, NODES, host_keys(NODES, answers)).count("\n") in (3, 4)
    assert harmless(status_table(NODES, answers), lines=True)
    rows = {row["name"]: row for row in status_rows(NODES, answers)}
    check_plain(list(rows.values()))
    honest = {row["name"]: row for row in status_rows(NODES, HONEST)}
    assert {k: v for k, v in rows.items() if k != "inside"} == {k: v for k, v in honest.items() if k != "inside"}


def test_a_key_is_a_key_or_nothing():
    for key in (
        "ssh-ed25519 AAAA\n@cert-authority * ssh-ed25519 AAAA",
        "* ssh-rsa AAAA",
        "ssh-rsa",
        "",
        3,
        ["ssh-rsa AAAA"],
        "ssh-rsa A A",
    ):
        found = results.public_key(key)
        assert found in ("", "ssh-rsa A"), key
        assert "\n" not in found
    assert results.public_key(f"{KEY} root@m\n") == KEY


def test_addresses_that_are_no_nodes():
    for address in ("127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "1.2.3", "1.2.3.4\n", "::1", 16909060, "01.2.3.4"):
        assert results._read(results.GuestReport, {"control_address": address}).control_address == "", address


def test_what_is_honest_stays():
    said = {
        "control": {"state": "up", "mode": "nat", "name": "bn0", "interface": "", "detail": ""},
        "switches": [{"name": "lan0", "id": "lan0", "state": "running", "pid": 3, "plugged": [1, 2]}],
        "shapers": [
            {
                "name": "a:i",
                "id": "a.i",
                "node": "a",
                "interface": "i",
                "substrate": "lan0",
                "state": "running",
                "pid": 4,
                "pids": {"out": 4, "in": 5},
                "out": dict.fromkeys(results._DIRECTION, 1.5),
                "in": None,
                "queued": {"out": 0, "in": 9},
                "down": True,
            }
        ],
        "down": ["a:i"],
        "cables": [
            {
                "name": "lan0 pnode-0001",
                "id": "lan0-1",
                "peer": "pnode-0001",
                "transport": "ssh",
                "state": "connected",
                "remakes": 2,
                "since": "2026-01-31T12:00:00Z",
                "detail": "",
                "pids": [7, 8],
            }
        ],
        "server": {"state": "running", "pid": 9, "listen": "172.20.1.1:5640", "account": "benito"},
        "owner": {"user": "ann", "controller": "lab", "fingerprint": "SHA256:x", "since": "2026-01-01T00:00:00Z", "text": "ann at lab"},
    }
    assert host_reports({"pnode-0000": said, "m": None}, {"pnode-0000": "alpha"}) == [{"pnode": "pnode-0000", "host": "alpha", **said}]
    facts = {"cores": 8, "memory": 32000, "held": 5, "host_keys": [KEY]}
    assert results.plain(results.host_facts(facts)) == facts
    report = results.guest_reports(NODES, HONEST)["inside"]
    assert (report.state, report.exit_status, report.ssh_host_key) == ("booted", 0, KEY)
    assert replace(report, state="dead").state == "dead"


def test_what_is_no_answer_of_hosts_is_an_error_of_the_playbook():
    with pytest.raises(TypeError):
        results.guest_reports(NODES, [{"name": "inside"}])
    with pytest.raises(TopologyError):
        ssh_config({**BENITO, "id": "../../tmp"}, NODES, PNODES, HONEST)

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import gc
import json
import os
import subprocess
import weakref

import pytest
import yaml
from ansible.errors import AnsibleParserError
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import inventory_loader
from ansible.template import Templar, is_trusted_as_template
from ansible.vars.hostvars import HostVarsVars

from ansible_collections.benito.testbed.plugins.inventory import topdl
from ansible_collections.benito.testbed.plugins.plugin_utils.settings import SETTINGS
from ansible_collections.benito.testbed.plugins.plugin_utils.state_files import keep

HOSTILE = "{{ lookup('pipe', 'touch /tmp/never') }}"


def experiment(startup="", osid="", attributes=""):
    def node(name, lan, more=""):
        interface = f"<interface><substrate>{lan}</substrate><name>i</name></interface>"
        return f"<elements><computer><name>{name}</name>{osid}{interface}{more}</computer></elements>"

    command = f"<attribute><attribute>startup</attribute><value>{startup}</value></attribute>"
    return (
        "<experiment><version>1.0</version><substrates><name>a.b</name></substrates><substrates><name>a-b</name></substrates>"
        f"{node('n-0', 'a.b', command)}{node('n-1', 'a.b')}{node('n-2', 'a-b')}{node('n-3', 'a-b')}{attributes}</experiment>"
    )


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Read an inventory file of this content, as Ansible would."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(topdl, "login", lambda environment: "ann")

    def read(name, content, **extra):
        file = tmp_path / name
        file.write_text(content)
        plugin, inventory = inventory_loader.get("benito.testbed.topdl"), InventoryData()
        monkeypatch.setattr("ansible.plugins.inventory.load_extra_vars", lambda loader: extra)
        assert plugin.verify_file(str(file))
        plugin.parse(inventory, DataLoader(), str(file))
        inventory.reconcile_inventory()
        return inventory

    return read


def document(inventory, pnode="pnode-0000"):
    """Return the document as a play sees it, but for the owner, which is no part of the plan."""
    variables = {**inventory.groups["all"].vars, **inventory.hosts[pnode].vars}
    found = seen(inventory, variables["benito_pnode"], **variables)
    found["experiment"].pop("owner", None)
    return found


def described(inventory, node):
    """Return what a play sees of a node."""
    return seen(inventory, inventory.groups["vnode"].vars["benito_node"], **inventory.hosts[node].vars)


def seen(inventory, value, **variables):
    """Return a value of the inventory as a play sees it."""
    # A host that is asked for its variables knows no others.
    hostvars = {name: HostVarsVars(host.vars, DataLoader(), name) for name, host in inventory.hosts.items()}
    return Templar(DataLoader(), {"hostvars": hostvars, **variables}).template(value)


def names(inventory, group):
    return [h.name for h in inventory.groups[group].get_hosts()]


def test_groups(read):
    inventory = read("x.topdl", experiment())
    assert sorted(names(inventory, "vnode")) == ["n-0", "n-1", "n-2", "n-3"] == sorted(names(inventory, "pnode_0000_guests"))
    assert names(inventory, "pnode") == names(inventory, "vhost") == ["pnode-0000"]
    assert names(inventory, "process") == names(inventory, "physical") == []
    assert names(inventory, "substrate_a_b") == ["n-0", "n-1"] and names(inventory, "substrate_a_b_2") == ["n-2", "n-3"]
    below_all = [group.name for group in inventory.groups["all"].child_groups]
    assert len(below_all) == len(set(below_all)) and {"substrate_a_b", "substrate_a_b_2"} <= set(below_all)
    assert inventory.groups["substrate_a_b"].depth == inventory.groups["vnode"].depth == 1


def test_what_is_long_is_kept_once(read):
    """A variable of all hosts is written out for each of them: what grows with the experiment is not among those."""

    def sizes(nodes):
        computers = "".join(
            f"<elements><computer><name>n-{n}</name><interface><substrate>l</substrate></interface></computer></elements>"
            for n in range(nodes)
        )
        topology = f"<experiment><version>1.0</version><substrates><name>l</name></substrates>{computers}</experiment>"
        inventory = read("x.topdl", topology, benito_size=str(nodes // 10))
        hosts = (len(str(h.vars)) for h in inventory.hosts.values() if h.name.startswith("n-"))
        return inventory, max(hosts), len(str(inventory.groups["all"].vars))

    dummy, few_host, few_all = sizes(20)
    many, many_host, many_all = sizes(200)
    assert many_host < few_host * 1.5 and many_all < few_all * 1.5
    assert len(document(many, "pnode-0019")["hosts"]) == 200 and document(many, "pnode-0019")["hosts"] == document(many)["hosts"]
    benito = seen(many, many.groups["all"].vars["benito"])
    assert len(benito["placement"]) == 20 == len(benito["control"]["subnets"])
    assert {c["transport"] for c in benito["cables"]} == {"ssh"} and benito["hosts"] == benito["pool"] == {}


def test_vnodes_and_the_first_pnode_have_the_same_of_the_experiment(read):
    inventory = read("x.topdl", experiment(), benito_packing=2)
    text = inventory.groups["vnode"].vars["benito"]
    pnode = inventory.hosts["pnode-0000"].vars
    by_all = seen(inventory, inventory.groups["all"].vars["benito"])
    assert isinstance(text, str) and len(by_all["placement"]) == 2
    assert by_all == seen(inventory, pnode["benito"], **pnode) == seen(inventory, text)


def test_the_garbage_collector_goes_on(read):
    """It is kept away from an inventory until the next is read, well or not, and goes on with what comes after."""
    first = weakref.ref(read("x.topdl", experiment()).groups["vnode"])  # which knows its hosts, as they know it
    assert gc.isenabled() and gc.get_freeze_count()
    gc.collect()
    assert first() is not None
    with pytest.raises(AnsibleParserError):
        read("x.topdl", "<experiment>")
    assert gc.isenabled() and first() is None


def test_variables(read, tmp_path):
    inventory = read("x.topdl", experiment())
    benito = inventory.groups["all"].vars["benito"]
    assert (benito["project"], benito["experiment"], benito["id"], benito["pnodes"], benito["runnable"]) == (
        "ann",
        "x",
        "ann.x",
        1,
        True,
    )
    assert benito["source"] == str(tmp_path / "x.topdl")
    assert benito["state_dir"] == str(tmp_path / "state/benito/ann.x")
    node = inventory.hosts["n-1"].vars
    assert node["ansible_host"] == described(inventory, "n-1")["control"]["address"]
    assert node["ansible_user"] == "root"
    assert node["ansible_ssh_common_args"] == f"-F {benito['state_dir']}/ssh_config"
    pnode = inventory.hosts["pnode-0000"].vars
    assert pnode["ansible_connection"] == "local"
    assert [g["name"] for g in document(inventory)["guests"]] == ["n-0", "n-1", "n-2", "n-3"]
    assert not (tmp_path / "state").exists()


def test_the_owner_is_read_when_the_document_is_used(read, tmp_path):
    """The key is made after the inventory was read: by the first swap-in."""
    inventory = read("x.topdl", experiment())
    variables = {**inventory.groups["all"].vars, **inventory.hosts["pnode-0000"].vars}

    def owner():
        return seen(inventory, variables["benito_pnode"]["experiment"], **variables)["owner"]

    assert owner()["fingerprint"] == "" and owner()["user"] and owner()["controller"]
    directory = tmp_path / "state/benito/ann.x"
    keep(directory, {}, {"id_ed25519": "x"})
    listed = subprocess.run(["ssh-keygen", "-l", "-f", directory / "id_ed25519"], capture_output=True, text=True, check=True)
    assert owner()["fingerprint"] == listed.stdout.split()[1]


def test_what_is_assumed_is_known_and_plans_the_same(read):
    benito = read("x.topdl", experiment()).groups["all"].vars["benito"]
    assert benito["assumed"] == ["project", "state_dir"] and benito["overrides"]["project"] == "ann"
    assert read("x.topdl", experiment(), benito_project="p").groups["all"].vars["benito"]["assumed"] == ["state_dir"]


def test_text_of_the_file_is_never_a_template(read):
    inventory = read("x.topdl", experiment(HOSTILE, f"<os><attribute><attribute>osid</attribute><value>{HOSTILE}</value></attribute></os>"))

    def strings(value):
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list):
            return [s for v in value for s in strings(v)]
        return [value] if isinstance(value, str) else []

    found = [s for h in inventory.hosts.values() for s in strings(h.vars)] + strings(inventory.groups["all"].vars)
    assert document(inventory)["guests"][0]["start_command"] == described(inventory, "n-0")["start_command"] == HOSTILE
    assert any("touch" in s for s in strings(inventory.groups["all"].vars["benito"]["notices"]))
    templates = [s for s in found if is_trusted_as_template(s) and Templar(DataLoader()).is_possibly_template(s)]
    assert templates and all("benito_" in s and "_json" in s and "pipe" not in s for s in templates)
    assert all(is_trusted_as_template(s) for s in found if "{" not in s and s)


def test_the_document_as_one_text_is_the_document(read):
    inventory = read("x.topdl", experiment(HOSTILE))
    variables = {**inventory.groups["all"].vars, **inventory.hosts["pnode-0000"].vars}
    assert json.loads(seen(inventory, variables["benito_pnode_document"], **variables)) == document(inventory)


def test_strength_of_the_sources(read, monkeypatch):
    file = experiment(attributes="<attribute><attribute>benito:default_cpus</attribute><value>2</value></attribute>")

    def cpus(name, content, **extra):
        return described(read(name, content, **extra), "n-0")["cpus"]

    assert cpus("x.topdl", file) == 2
    wrapper = "plugin: benito.testbed.topdl\ntopology: x.topdl\ndefault_cpus: 3\n"
    assert cpus("w.yml", wrapper) == 3
    monkeypatch.setenv("BENITO_DEFAULT_CPUS", "4")
    assert cpus("w.yml", wrapper) == 4
    assert cpus("w.yml", wrapper, benito_default_cpus="5") == 5


def test_overrides_are_enough_to_plan_again(read, tmp_path):
    from ansible_collections.benito.testbed.plugins.plugin_utils.plan import make_plan

    read("x.topdl", experiment())
    wrapper = "plugin: benito.testbed.topdl\ntopology: x.topdl\nproject: p\nstate_dir: here\npass_pack: {0: 5}\n"
    inventory = read("w.yml", wrapper)
    benito = inventory.groups["all"].vars["benito"]
    assert benito["state_dir"] == str(tmp_path / "here/p.x")
    again = make_plan(benito["source"], benito["overrides"])
    assert again.document("pnode-0000") == document(inventory)
    assert dict(again.settings.pass_pack) == {0: 5}


def test_hosts_beyond_this_one(read):
    inventory = read("x.topdl", experiment(), benito_packing=2)
    assert names(inventory, "vhost") == ["pnode-0000", "pnode-0001"]
    assert "ansible_connection" not in inventory.hosts["pnode-0000"].vars
    benito = inventory.groups["all"].vars["benito"]
    assert benito["runnable"] is False and "need 2 hosts" in benito["obstacle"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.topdl", "", r"^.*x\.topdl"),
        ("x.topdl", "<experiment>\n<", r"^.*x\.topdl:2"),
        (
            "x.topdl",
            experiment(attributes="<attribute><attribute>benito:size</attribute><value>no</value></attribute>"),
            "benito:size is 'no'",
        ),
        ("w.yml", f"plugin: benito.testbed.topdl\n#{' ' * 5_000_000}\n", "a wrapper has at most 4 MB"),
        ("w.yml", "plugin: benito.testbed.topdl\n", r"w\.yml: a wrapper must name its topology"),
        ("w.yml", "plugin: benito.testbed.topdl\ntopology: y.topdl\n", "y.topdl"),
        ("w.yml", "plugin: benito.testbed.topdl\ntopology: y.topdl\npackin: 3\n", "no such|cannot be read|packin"),
    ],
)
def test_errors_are_one_line_and_name_the_file(read, name, content, message):
    with pytest.raises(AnsibleParserError, match=message) as caught:
        read(name, content)
    assert "\n" not in str(caught.value)


def test_a_machine_with_processes_inside_is_a_host_too(read):
    def kind(name, *words):
        attributes = "".join(f"<attribute><attribute>benito:{word}</attribute><value>{value}</value></attribute>" for word, value in words)
        interface = "<interface><substrate>l</substrate></interface>" if name != "m" else ""
        return f"<elements><computer><name>{name}</name>{interface}{attributes}</computer></elements>"

    nodes = (kind("m", ("image", "debian")), kind("p", ("node_type", "process"), ("host", "m")), kind("q", ("node_type", "process")))
    inventory = read("x.topdl", f"<experiment><version>1.0</version><substrates><name>l</name></substrates>{''.join(nodes)}</experiment>")
    assert names(inventory, "carrier") == ["m"] and sorted(names(inventory, "process")) == ["p", "q"]
    assert "owner" not in inventory.hosts["m"].vars["benito_pnode"]["experiment"], "whoever is root in a machine is not believed"
    assert document(inventory, "m")["guests"][0]["name"] == "p" and document(inventory, "m")["pnode"] == "m"
    assert [guest["name"] for guest in document(inventory)["guests"]] == ["m", "q"]
    inside, beside = described(inventory, "p"), described(inventory, "q")
    inner, machine = (inventory.hosts[name].vars for name in "pm")
    assert (inside["carrier"], inside["pnode"], beside["carrier"]) == ("m", "pnode-0000", "")
    assert inner["ansible_host"] == "p.x.ann" and inner["ansible_user"] == "root"
    assert machine["ansible_ssh_common_args"].endswith("/machines_ssh_config")


@pytest.mark.parametrize(
    ("taken", "message"),
    [
        ("n-1", r"x\.topdl:\d+:\d+: node n-1 has the name of a host of the inventory"),
        ("group:n-3", r"x\.topdl:\d+:\d+: node n-3 has the name of a group of the inventory"),
        ("group:substrate_a_b", r"x\.topdl:\d+:\d+: substrate a\.b leads to the group substrate_a_b, which the inventory has already"),
    ],
)
def test_no_node_is_called_as_what_the_operator_has(tmp_path, monkeypatch, taken, message):
    """A file's node would be connected to in place of the operator's host, or together with a group of hosts."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    inventory = InventoryData()
    dummy, colon, name = taken.rpartition(":")
    inventory.add_group(name) if colon else inventory.add_host(name)
    file = tmp_path / "x.topdl"
    file.write_text(experiment())
    with pytest.raises(AnsibleParserError, match=message):
        inventory_loader.get("benito.testbed.topdl").parse(inventory, DataLoader(), str(file))
    assert "vnode" not in inventory.groups


def test_one_topology_at_a_time(read, tmp_path):
    inventory = read("x.topdl", experiment())
    with pytest.raises(AnsibleParserError, match=r"x\.topdl is in this inventory already"):
        inventory_loader.get("benito.testbed.topdl").parse(inventory, DataLoader(), str(tmp_path / "x.topdl"))


def test_what_is_taken(tmp_path):
    plugin = inventory_loader.get("benito.testbed.topdl")
    for name, content, taken in (
        ("a.topdl", "", True),
        ("a.XML", "", True),
        ("a.ns", "", True),
        ("a.tcl", "", True),
        ("a.ini", "", False),
        ("a.yml", "all: {}", False),
        ("b.yml", "plugin: other.one.topdl", False),
        ("c.yaml", "# mine\nplugin: 'benito.testbed.topdl'", True),
    ):
        (tmp_path / name).write_text(content)
        assert plugin.verify_file(str(tmp_path / name)) is taken, name
    assert plugin.verify_file(str(tmp_path / "missing.topdl")) is False
    os.mkfifo(tmp_path / "pipe.yml")
    assert plugin.verify_file(str(tmp_path / "pipe.yml")) is False, "or it would be waited for"


def test_many_notices_are_cut():
    from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import Location, Notice

    found = topdl._shortened(tuple(Notice(Location("f", n), "x") for n in range(1, 26)))
    assert len(found) == 21 and found[-1] == "and 5 more warnings about the topology"


def test_options_are_those_of_the_table():
    options = yaml.safe_load(topdl.DOCUMENTATION)["options"]
    assert set(options) - {"plugin", "topology"} == {s.name for s in SETTINGS}
    for setting in SETTINGS:
        option = options[setting.name]
        assert option["description"].strip() == setting.meaning
        assert option["type"] == setting.type
        assert option.get("default") == (setting.default if isinstance(setting.default, (str, int)) else None)
        assert option["env"] == [{"name": setting.variable}]
        assert option["vars"] == [{"name": f"benito_{setting.name}"}]
        for choice in option.get("choices", []):
            assert setting.parse(choice) == choice

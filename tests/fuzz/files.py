# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Readers of files on the controller: topologies, what stands beside them, and what the plan makes of them."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader

from ansible_collections.benito.testbed.plugins.inventory.topdl import InventoryModule
from ansible_collections.benito.testbed.plugins.plugin_utils import control_options
from ansible_collections.benito.testbed.plugins.plugin_utils.attributes import ATTRIBUTES
from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import TopologyError
from ansible_collections.benito.testbed.plugins.plugin_utils.embedding import annotate
from ansible_collections.benito.testbed.plugins.plugin_utils.formats import tcl
from ansible_collections.benito.testbed.plugins.plugin_utils.formats.ns import _Reader, read_ns
from ansible_collections.benito.testbed.plugins.plugin_utils.formats.topdl import read_topdl
from ansible_collections.benito.testbed.plugins.plugin_utils.formats.topdl_writer import write_topdl
from ansible_collections.benito.testbed.plugins.plugin_utils.plan import Plan, make_plan
from ansible_collections.benito.testbed.plugins.plugin_utils.settings import SETTINGS, resolve_settings
from ansible_collections.benito.testbed.plugins.plugin_utils.trust import json_text
from ansible_collections.benito.testbed.plugins.plugin_utils.views import placement_table, topology_graph

from .structures import structure
from .target import Target, loaded

ROOT = Path(__file__).resolve().parents[2]
_EXAMPLES = sorted([*ROOT.glob("examples/**/*.topdl"), *ROOT.glob("tests/fixtures/topdl/*.topdl")])
_PROGRAMS = sorted([*ROOT.glob("examples/**/*.tcl"), *ROOT.glob("tests/fixtures/ns/*.ns")])
_TAGS = """
experiment topology version substrates elements computer testbed segment other interface substrate name capacity latency rate kind time
attribute value cpu os software storage localname status service operation uri type id uuid location install amount persistence
"""
_NAMES = tuple(name for known in ATTRIBUTES for name in known.spellings)
_VALUES = """
qemu process physical embedded_pnode tiny debian static tree manual session none netem wirefilter ssh tcp udp vxlan ethernet benito emulab
nat bridge ports true false server client diod virtio auto cold warm 1:2,2:3 0/1:udp 10.0.7.0/24 0:172.20.1.0/24,1:172.20.2.0/24 via a b
10.9.0.0/16 20000-20255 512 2 64 300 0.5 eth1 max average empty active 255.255.255.0 10.0.1.2 02:00:00:00:00:07
"""
_ALL = "".join(
    f"<attribute><attribute>{name}</attribute><value>{value}</value></attribute>"
    for name, value in (("benito:packing", "2"), ("benito:routing", "manual"), ("benito:shaping", "netem"), ("benito:control_mode", "nat"))
)
# A node of each kind, with what each can have, over two hosts.
_RICH = f"""<experiment><version>1.0</version>
<substrates><name>lan</name><capacity><rate>1000</rate><kind>max</kind></capacity><latency><time>5</time><kind>max</kind></latency></substrates>
<substrates><name>wire</name><attribute><attribute>benito:cable</attribute><value>udp</value></attribute></substrates>
{
    "".join(
        f'''<elements><computer><name>{name}</name><os><attribute><attribute>osid</attribute><value>tiny</value></attribute></os>
<interface><substrate>lan</substrate><name>e0</name><attribute><attribute>ip4_address</attribute><value>10.0.5.{number}</value></attribute>
<attribute><attribute>ip4_netmask</attribute><value>255.255.255.0</value></attribute></interface>
<interface><substrate>wire</substrate><capacity><rate>100</rate><kind>max</kind></capacity></interface>
<attribute><attribute>startup</attribute><value>true</value></attribute>
<attribute><attribute>benito:node_type</attribute><value>{kind}</value></attribute>
<attribute><attribute>benito:routes</attribute><value>10.9.0.0/16 via a</value></attribute>
<attribute><attribute>benito:memory</attribute><value>128</value></attribute></computer></elements>'''
        for number, (name, kind) in enumerate((("a", "qemu"), ("b", "process"), ("c", "qemu")), 1)
    )
}
{_ALL}</experiment>""".encode()


@cache
def _directory() -> Path:
    """Return a directory of this process."""
    path = Path(tempfile.mkdtemp(prefix="benito-fuzz-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def _read_topdl(data: bytes) -> None:
    topology, notices = read_topdl(data, "x.topdl")
    assert all("\n" not in str(notice) for notice in notices)
    assert read_topdl(write_topdl(topology), "x.topdl")[0] == topology


def _use(plan: Plan) -> None:
    """Do with a plan what the inventory and the playbooks do."""
    for pnode in plan.pnodes:
        json.loads(json_text(plan.document(pnode)))
    for carrier in plan.carriers:
        json.loads(json_text(plan.inner_document(carrier)))
    nodes = [
        {"name": n.name, "kind": n.kind, "pnode": n.pnode, "interfaces": [{"substrate": i.substrate} for i in n.interfaces]}
        for n in plan.nodes
    ]
    topology_graph(nodes)
    placement_table({"placement": plan.loads, "cables": []}, nodes)
    written = write_topdl(annotate(plan))
    read_topdl(written, "written.topdl")


def _plan(data: bytes, name: str = "x.topdl", overrides: dict[str, Any] | None = None, pool: dict[str, Any] | None = None) -> None:
    path = _directory() / name
    path.write_bytes(data)
    _use(make_plan(str(path), {"state_dir": str(_directory() / "state"), **(overrides or {})}, pool=pool or {}))


def _structure(data: bytes) -> None:
    """Plan a topology made by chance."""
    text, overrides, pool = structure(data)
    _plan(text, overrides=overrides, pool=pool)


def _run_ns(data: bytes) -> None:
    topology, dummy = read_ns(data.decode("utf-8", "replace"), "x.ns")
    read_topdl(write_topdl(topology), "x.topdl")


def _statements(data: bytes) -> None:
    """Read statements as the sandbox writes them, a JSON list a line."""
    reader = _Reader("x.ns")
    for statement in tcl._statements(data, "x.ns"):
        reader.read(statement)
    write_topdl(reader.topology())


def _recorded(text: str) -> bytes:
    """Return what the sandbox writes for an NS file."""
    output, problem = tcl._run("tclsh", text, 5)
    assert not problem, problem
    return output


def _settings(data: bytes) -> None:
    content = loaded(data)
    if isinstance(content, dict):
        settings = resolve_settings("x", (), content)
        assert settings.project


def _wrapper(data: bytes) -> None:
    """Read a YAML file that sets options, as the inventory does."""
    path = _directory() / "x.yml"
    # Of what is no UTF-8, Ansible says that it is deprecated, each time.
    path.write_bytes(data.decode("utf-8", "replace").encode())
    plugin = InventoryModule()
    plugin.loader = DataLoader()
    dummy, overrides = plugin._wrapped(str(path))
    resolve_settings("x", (), overrides)


def _configured(data: bytes) -> None:
    content = loaded(data)
    if isinstance(content, dict):
        content = {name: value for name, value in content.items() if name != "state_dir"}
        pool = content.pop("pool_hosts", None)
        _plan(_RICH, overrides=content, pool=pool if isinstance(pool, dict) and all(isinstance(v, dict) for v in pool.values()) else {})


def _map(data: bytes) -> None:
    path = _directory() / "map"
    path.write_bytes(data)
    control_options.parse_map(str(path))


def _remembered(data: bytes) -> None:
    """Plan with a record of the last swap-in, ours or that of another experiment, that may be damaged."""
    state = _directory() / "remembered"
    for name in ("testbed.x", "testbed.other"):
        (state / name).mkdir(parents=True, exist_ok=True)
        (state / name / "embedding.topdl").write_bytes(data)
    _plan(_RICH, overrides={"state_dir": str(state)})


def _measured(data: bytes) -> None:
    """Plan with a record of the hosts that may be damaged."""
    state = _directory() / "measured"
    (state / "testbed.x").mkdir(parents=True, exist_ok=True)
    (state / "testbed.x" / "pool.json").write_bytes(data)
    _plan(_RICH, overrides={"state_dir": str(state)}, pool={"amber": {}, "birch": {"benito_memory": 4096}})


_SETTINGS = {
    "project": "p",
    "experiment": "e",
    "packing": 2,
    "size": 2,
    "pass_pack": "1:2",
    "pass_size": {1: 2},
    "cable": "udp",
    "cable_pairs": "0/1:tcp",
    "cable_ports": "20000-21000",
    "control_mode": "ports",
    "control_pool": "172.16.0.0/12",
    "control_subnet": "0:172.20.1.0/24,1:172.20.2.0/24",
    "control_addresses": ["10.0.0.5-10.0.0.9"],
    "control_map": {"a": {"address": "172.20.1.7", "mac": "02:00:00:00:00:01"}, "c": "172.20.1.8"},
    "control_ports": "30000-30100",
    "shares": ["/users:/srv/users:ro"],
    "authorized_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA me"],
    "platforms": {"container": "lab.site.container"},
    "boot_timeout": 60,
    "guest_switches": True,
    "start": "cold",
}
_BRIDGED = {
    "control_mode": "bridge",
    "control_subnet": "192.0.2.0/24",
    "control_gateway": "192.0.2.1",
    "control_addresses": "192.0.2.10-192.0.2.20",
    "control_interface": "eth0",
    "control_deadline": 30,
    "size": 2,
    "pool_hosts": {"amber": {"benito_memory": 4096, "benito_cores": 4, "ansible_host": "192.0.2.2", "ansible_port": 22}, "birch": {}},
}
_FACTS = {
    name: {"memory": 8192, "cores": 4, "held": 100, "host_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA"]} for name in ("amber", "birch")
}
_MAPS = (
    b"a 10.0.0.1 02:00:00:00:00:01\nb 10.0.0.2 # remark\n\nc 02-00-00-00-00-02\n",
    json.dumps({"a": {"address": "10.0.0.1", "mac": "02:00:00:00:00:01"}, "b": "10.0.0.2"}).encode(),
)
_ODD_XML = (
    b"<experiment><version>1.0</version>" + b"<a>" * 90 + b"</a>" * 90 + b"</experiment>",
    b"<!DOCTYPE experiment [<!ENTITY a 'b'>]><experiment>&a;</experiment>",
    b"<experiment xmlns:x='urn:x' x:y='z' w='v'><![CDATA[text]]><?pi x?><!-- c --></experiment>",
)


def targets() -> list[Target]:
    """Return the readers of files on the controller."""
    topologies = (*(path.read_bytes() for path in _EXAMPLES), _RICH)
    programs = tuple(path.read_bytes() for path in _PROGRAMS)
    words = (*_TAGS.split(), *_NAMES, *_VALUES.split(), "b via a")
    commands = tuple(dict.fromkeys(w for text in programs for w in text.decode().split()))
    statements = (
        *_Reader("x")._commands,
        "end",
        "error",
        "at",
        "10Mb",
        "2ms",
        "DropTail",
        "0.1",
        "255.255.255.0",
        "::sim::report",
        "$ns run",
    )
    names = tuple(setting.name for setting in SETTINGS)
    wrappers = tuple(
        yaml.safe_dump({"plugin": "benito.testbed.topdl", "topology": "x.topdl", **content}).encode() for content in (_SETTINGS, _BRIDGED)
    )
    refused = (TopologyError,)
    return [
        Target("topdl", _read_topdl, (*topologies, *_ODD_XML), refused, words, "xml", 15),
        Target("plan", _plan, topologies, refused, words, "xml", 6),
        Target("structures", _structure, (b"1", b"22"), refused, (), "bytes", 15),
        Target("ns-statements", _statements, tuple(_recorded(text.decode()) for text in programs), refused, statements, "words", 20),
        Target(
            "ns", _run_ns, programs, refused, (*commands, *statements, "catch", "while 1 {}", "proc", "info frame", "rename"), "words", 1
        ),
        Target(
            "settings",
            _settings,
            (json.dumps(_SETTINGS).encode(), json.dumps(_BRIDGED).encode()),
            refused,
            (*names, *_VALUES.split()),
            share=30,
        ),
        Target(
            "configured",
            _configured,
            (json.dumps(_SETTINGS).encode(), json.dumps(_BRIDGED).encode()),
            refused,
            (*names, *_VALUES.split()),
            share=5,
        ),
        Target(
            "wrapper",
            _wrapper,
            wrappers,
            (*refused, AnsibleError),
            (*names, *_VALUES.split(), "&a", "*a", "!!python/object:x", "- ", "<<:"),
            "words",
            3,
        ),
        Target("control-map", _map, _MAPS, refused, ("a", "b", "address", "mac", "#", "{"), "words", 20),
        Target("embedding", _remembered, topologies, refused, words, "xml", 3),
        Target(
            "pool-facts", _measured, (json.dumps(_FACTS).encode(),), refused, ("memory", "cores", "held", "host_keys", "amber"), share=3
        ),
    ]

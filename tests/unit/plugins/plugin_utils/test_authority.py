# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file from a stranger tries every setting and every attribute: whose word each is, and where its bounds are."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest

from ansible_collections.benito.testbed.plugins.plugin_utils.attributes import ATTRIBUTES
from ansible_collections.benito.testbed.plugins.plugin_utils.authority import BOTH, FILE, LAB, parse_allowed
from ansible_collections.benito.testbed.plugins.plugin_utils.diagnostics import TopologyError
from ansible_collections.benito.testbed.plugins.plugin_utils.embedding import annotate, embedding_file
from ansible_collections.benito.testbed.plugins.plugin_utils.formats.topdl_writer import write_topdl
from ansible_collections.benito.testbed.plugins.plugin_utils.plan import make_plan
from ansible_collections.benito.testbed.plugins.plugin_utils.settings import SETTINGS
from ansible_collections.benito.testbed.plugins.plugin_utils.topology import Attribute, Computer, Interface, Substrate, Topology


@dataclass(frozen=True)
class Case:
    """What a file tries. ``honest`` is a value that any file may have, ``attack`` one that it has only where the lab ``allows`` it.

    ``beside`` are further attributes that the file has, ``lab`` what the lab says in any case.
    """

    whose: str
    honest: str | None = None
    attack: str | None = None
    allows: dict[str, object] = field(default_factory=dict)
    beside: dict[str, str] = field(default_factory=dict)
    lab: dict[str, object] = field(default_factory=dict)


PHYSICAL = {"benito:node_type": "physical"}
HOSTS = {"physical_hosts": True}
BRIDGE = {"control_mode": "bridge", "control_subnet": "192.0.2.0/24", "control_addresses": "192.0.2.100-192.0.2.120"}

# A new setting needs a row here: think of the file of a stranger.
OF_SETTINGS = {
    "project": Case(BOTH, "testbed", "others", {"project": "others"}),
    "experiment": Case(BOTH, "star", "running", {"experiment": "running"}),
    **dict.fromkeys(("packing", "size", "processes_per_machine"), Case(FILE, "3")),
    **dict.fromkeys(("pass_pack", "pass_size"), Case(FILE, "0:4")),
    "nodes_only": Case(FILE, "true"),
    "pass_nodes_only": Case(FILE, "0"),
    "platforms": Case(LAB, attack="evil=evil.evil.role"),
    "default_kind": Case(BOTH, "process", "embedded_pnode", HOSTS),
    "default_image": Case(BOTH, "debian", "golden-master", {"default_image": "golden-master"}),
    "default_memory": Case(BOTH, "512", "900000", {"max_memory": 900000}),
    "default_cpus": Case(BOTH, "2", "900", {"max_cpus": 900}),
    "addressing": Case(FILE, "emulab"),
    "pool": Case(LAB, attack="production"),
    "vcpus_per_core": Case(LAB, attack="100000"),
    "cable": Case(BOTH, "ssh", "udp", {"cable_transports": "udp"}),
    "cable_pairs": Case(BOTH, "0/1:ssh", "0/1:ssh,0/2:ethernet", {"cable_transports": ["ethernet"]}),
    "cable_ports": Case(LAB, attack="2049-2100"),
    "guest_switches": Case(FILE, "true"),
    "control_mode": Case(BOTH, "none", "ports", {"control_mode": "ports"}),
    "control_pool": Case(BOTH, "172.20.0.0/16", "10.0.0.0/8", {"control_networks": "10.0.0.0/8"}),
    "control_subnet": Case(BOTH, "172.20.1.0/24", "192.168.1.0/24", {"control_networks": "192.168.0.0/16"}),
    **{
        name: Case(LAB, attack=attack)
        for name, attack in (
            ("control_gateway", "192.0.2.1"),
            ("control_addresses", "192.0.2.1-192.0.2.9"),
            ("control_addressing", "dhcp"),
            ("control_map", "/etc/passwd"),
            ("control_ports", "3000-3300"),
            ("control_interface", "eth0"),
            ("control_deadline", "1000000"),
            ("control_networks", "10.0.0.0/8"),
            ("control_egress", "all"),
            ("cable_transports", "udp"),
            ("cable_vlans", "1-4094"),
            ("physical_hosts", "true"),
            ("physical_interfaces", "true"),
            ("physical_networks", "8.0.0.0/8"),
            ("max_memory", "900000"),
            ("max_cpus", "900"),
            ("max_processes", "900000"),
            ("max_boot_timeout", "900000"),
            ("adjacent_vars", "true"),
            ("shares", "/etc:/etc2:rw"),
            ("share_transport", "virtio"),
            ("share_account", "operator"),
            ("state_dir", "/tmp"),
            ("authorized_keys", "ssh-ed25519 AAAA stranger"),
        )
    },
    "boot_timeout": Case(BOTH, "600", "1000000", {"max_boot_timeout": 1000000}),
    "start": Case(FILE, "cold"),
}

# So does a new attribute. None is what has no effect here, whatever it says.
OF_ATTRIBUTES = {
    "startup": Case(FILE, "rm -rf /"),
    "failureaction": Case(FILE, "ignore"),
    "osid": Case(FILE, "debian"),
    "ip4_address": Case(BOTH, "192.168.7.1", "8.8.8.1", {"physical_networks": "8.8.8.0/24"}, PHYSICAL, HOSTS),
    "ip4_netmask": Case(FILE, "255.255.0.0"),
    "loss": Case(FILE, "0.1"),
    "node_type": Case(BOTH, "process", "embedded_pnode", HOSTS),
    # Where one node has a partition, those without are hosts.
    "partition": Case(BOTH, None, "0", HOSTS),
    "PartitionPass": Case(FILE, "1"),
    "ghost": Case(FILE, "false"),
    "image": Case(FILE, "debian"),
    "memory": Case(BOTH, "256", "900000", {"max_memory": 900000}),
    "cpus": Case(BOTH, "2", "900", {"max_cpus": 900}),
    "processes": Case(BOTH, "100", "900000", {"max_processes": 900000}, {"benito:node_type": "process"}),
    "host": Case(FILE, "other", beside={"benito:node_type": "process"}, lab={"default_image": "debian"}),
    "routes": Case(
        BOTH, "10.3.0.0/16 via other", "8.8.8.0/24 via other", {"physical_networks": "8.0.0.0/8"}, PHYSICAL, {**HOSTS, "routing": "manual"}
    ),
    "control_address": Case(BOTH, "192.0.2.110", "192.0.2.7", {"control_map": {"a": "192.0.2.7"}}, {}, BRIDGE),
    "control_mac": Case(BOTH, "02:00:00:00:00:aa", "00:16:3e:00:00:01", {"control_map": {"a": "00:16:3e:00:00:01"}}),
    "mac_address": Case(FILE, "02:00:00:00:00:ab"),
    "vde_switch": Case(FILE, "any"),
    "vde_port": Case(FILE, "7"),
    "device": Case(BOTH, None, "eth0", {"physical_interfaces": "localhost/eth0"}, PHYSICAL, HOSTS),
    "dhcp": Case(FILE, "server"),
    **dict.fromkeys(("reverse_capacity", "reverse_latency"), Case(FILE, "5")),
    **dict.fromkeys(("jitter", "reverse_jitter"), Case(FILE, "0")),
    **dict.fromkeys(("reverse_loss", "duplication", "reverse_duplication"), Case(FILE, "0.1")),
    **dict.fromkeys(("loss_burst", "reverse_loss_burst"), Case(FILE, "2")),
    "shaping": Case(FILE, "none"),
    "routing": Case(FILE, "none"),
    "vlan": Case(BOTH, None, "17", {"cable_vlans": "10-19"}),
    "pnode_hosts": Case(FILE, "0=other"),
    **dict.fromkeys(
        (
            "type", "testbed", "fixed", "portal", "active", "dragon_vlan", "domain", "masterdomain", "virtualization_type", "exclusive",
            "slots", "openvz_template", "openvz_diskspace", "maverick_url", "qemu_url", "qemu_arch", "pass_pnodes",
        ),
        Case(FILE, "{{ lookup('pipe', 'id') }}"),
    ),
}  # fmt: skip


def test_each_setting_has_a_row_that_agrees() -> None:
    assert {s.name: s.word.whose for s in SETTINGS} == {name: case.whose for name, case in OF_SETTINGS.items()}
    assert all(bool(s.word.settings) == (s.word.whose == BOTH) for s in SETTINGS)


def test_each_attribute_has_a_row_that_agrees() -> None:
    settings = {s.name for s in SETTINGS}
    registry = {known.key: known.word.whose for known in ATTRIBUTES if known.key not in settings}
    assert registry == {name: case.whose for name, case in OF_ATTRIBUTES.items()}


def test_what_draws_a_bound_is_the_labs_or_the_thing_itself() -> None:
    words = {s.name: s.word.whose for s in SETTINGS}
    rows = [(s.name, s.word) for s in SETTINGS] + [(known.key, known.word) for known in ATTRIBUTES]
    beyond = [(name, by) for name, word in rows for by in word.settings if words[by] != LAB and by != name]
    assert beyond == []


class Stranger:
    """Writes files and plans them."""

    def __init__(self, path) -> None:
        self.path = path
        self.file = path / "star.topdl"

    def plan(self, attributes, lab, pool=None):
        """``attributes`` are (place, name, value)."""

        def at(*places):
            return tuple(Attribute(name, value) for place, name, value in attributes if place in places)

        lab = dict(lab)
        if "routing" in lab:
            attributes = [*attributes, ("topology", "benito:routing", lab.pop("routing"))]
        text = write_topdl(
            Topology(
                (Substrate("lan0", attributes=at("substrate")),),
                (
                    Computer(
                        "a", attributes=at("node"), interfaces=(Interface("i", ("lan0",), attributes=at("interface")),)
                    ),
                    Computer("other", interfaces=(Interface("i", ("lan0",)),)),
                ),
                at("topology"),
            )
        )  # fmt: skip
        os_attributes = "".join(
            f"<os><attribute><attribute>{n}</attribute><value>{v}</value></attribute></os>" for p, n, v in attributes if p == "os"
        )
        self.file.write_text(text.replace("<name>a</name>", f"<name>a</name>{os_attributes}", 1))
        return make_plan(str(self.file), {"state_dir": str(self.path / "state"), **lab}, {}, pool=pool or {})


@pytest.fixture
def stranger(tmp_path):
    return Stranger(tmp_path)


PLACE_OF = {known.key: known.places[0] for known in ATTRIBUTES}
SPELLING_OF = {known.key: known.spellings[0] for known in ATTRIBUTES}


def tried(name, value, case):
    """Return the attributes of a file that tries this."""
    beside = [("node", key, text) for key, text in case.beside.items()]
    place = PLACE_OF.get(name, "topology")
    return [*beside, (place, SPELLING_OF.get(name, f"benito:{name}"), value)]


EVERY = [*OF_SETTINGS.items(), *OF_ATTRIBUTES.items()]


@pytest.mark.parametrize(("name", "case"), [(n, c) for n, c in EVERY if c.honest is not None], ids=str)
def test_an_honest_file_has_its_way(stranger, name, case) -> None:
    stranger.plan(tried(name, case.honest, case), case.lab)


@pytest.mark.parametrize(("name", "case"), [(n, c) for n, c in EVERY if c.attack is not None], ids=str)
def test_a_file_does_not_choose_what_is_not_its_own(stranger, name, case) -> None:
    words = {s.name: s.word for s in SETTINGS} | {known.key: known.word for known in ATTRIBUTES}
    by = words[name].settings if case.whose == BOTH else (name,)
    variables = "|".join(f"BENITO_{setting.upper()}" for setting in by)
    with pytest.raises(TopologyError, match=rf"star\.topdl:\d+:\d+: .*({variables})\b") as caught:
        stranger.plan(tried(name, case.attack, case), case.lab)
    assert "\n" not in str(caught.value)
    if case.whose == LAB:
        return
    plan = stranger.plan(tried(name, case.attack, case), {**case.lab, **case.allows})
    assert plan.nodes


@pytest.mark.parametrize(
    "network",
    [
        "169.254.169.240/28",
        "169.254.0.0/16",
        "127.0.0.0/8",
        "0.0.0.0/8",
        "224.0.0.0/24",
        "240.0.0.0/8",
        "8.8.8.0/24",
        "192.0.2.0/24",
        "10.0.2.0/28",
    ],
)
@pytest.mark.parametrize("setting", ["control_subnet", "control_pool"])
def test_guests_take_over_no_address_that_the_host_talks_to(stranger, network, setting) -> None:
    with pytest.raises(TopologyError, match=rf"star\.topdl:\d+:\d+: .*benito:{setting}"):
        stranger.plan([("topology", f"benito:{setting}", network)], {})
    with pytest.raises(TopologyError, match=rf"star\.topdl:\d+:\d+: .*benito:{setting}"):
        # Whatever the lab allows, this is never a file's.
        stranger.plan([("topology", f"benito:{setting}", network)], {"control_networks": "192.0.0.0/8,8.0.0.0/8"})


def test_a_lab_says_anything_legal_itself(stranger) -> None:
    assert str(stranger.plan([], {"control_subnet": "10.0.2.0/28"}).control.first.network) == "10.0.2.0/28"
    for network in ("169.254.169.240/28", "127.1.0.0/16", "0.1.0.0/16", "224.0.0.0/24"):
        with pytest.raises(TopologyError, match="option control_subnet is"):
            stranger.plan([], {"control_subnet": network})


def test_no_file_names_the_lab_s_own_network_in_mode_bridge(stranger) -> None:
    lab = {"control_mode": "bridge", "control_addresses": "172.20.1.100-172.20.1.120"}
    with pytest.raises(TopologyError, match="in control_mode bridge it is the lab's own network"):
        stranger.plan([("topology", "benito:control_subnet", "172.20.1.0/24")], lab)


def test_what_the_lab_has_said_holds_whatever_the_file_says(stranger) -> None:
    said = [("topology", "benito:project", "others"), ("topology", "containers:boot_timeout", "900000")]
    plan = stranger.plan(said, {"project": "ours", "boot_timeout": 7})
    assert (plan.settings.project, plan.settings.boot_timeout) == ("ours", 7)


def test_the_second_of_two_attributes_is_bounded_too(stranger) -> None:
    with pytest.raises(TopologyError, match="BENITO_PROJECT"):
        stranger.plan([("topology", "benito:project", "testbed"), ("topology", "containers:project", "others")], {})


def test_a_number_too_long_to_be_read_is_no_crash(stranger) -> None:
    with pytest.raises(TopologyError, match="must be a whole number"):
        stranger.plan([("node", "benito:memory", "9" * 5000)], {})
    stranger.plan([("node", "benito:memory", "256"), ("node", "containers:memory", "9" * 5000)], {})


def test_our_own_record_of_an_experiment_has_its_names(stranger) -> None:
    """It is called embedding.topdl whatever it describes: status and swap-out work by it when the file is lost."""
    plan = stranger.plan([], {"project": "ours", "experiment": "named"})
    record = embedding_file(plan.settings)
    record.parent.mkdir(parents=True)
    record.write_text(write_topdl(annotate(plan)))
    lab = {"state_dir": plan.settings.state_dir}
    again = make_plan(str(record), lab, {})
    assert (again.settings.project, again.settings.experiment, again.nodes) == ("ours", "named", plan.nodes)
    # Such a file anywhere else is a stranger's.
    elsewhere = record.parent.parent.parent / "ours.named" / record.name
    elsewhere.parent.mkdir()
    elsewhere.write_text(record.read_text())
    with pytest.raises(TopologyError, match=r"BENITO_(PROJECT|EXPERIMENT)"):
        make_plan(str(elsewhere), lab, {})


def test_a_record_does_not_keep_hosts_that_a_file_named(stranger) -> None:
    plan = stranger.plan([("topology", "containers:pnode_hosts", "0=bank"), ("topology", "benito:packing", "1")], {"packing": 2})
    names = [a.name for a in annotate(plan).attributes]
    assert not [name for name in names if name.endswith("pnode_hosts")]
    assert next(a.value for a in annotate(plan).attributes if a.name == "benito:packing") == "2"


@pytest.mark.parametrize(
    ("value", "has", "lacks"),
    [
        (True, {"a", "b"}, set()),
        ("true", {"a"}, set()),
        ("none", set(), {"a", "none"}),
        (False, set(), {"a"}),
        ("a, b", {"a", "b"}, {"c"}),
        (["a"], {"a"}, {"b"}),
    ],
)
def test_what_is_allowed_by_name(value, has, lacks) -> None:
    allowed = parse_allowed(value)
    assert all(map(allowed.has, has)) and not any(map(allowed.has, lacks))
    assert bool(allowed) == bool(has) and parse_allowed(allowed) == allowed


@pytest.mark.parametrize("value", [["a b"], "a;b", 1.5, {"a": 1}, [True], ["../x"]])
def test_what_allows_nothing_that_there_is(value) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        parse_allowed(value)


def test_the_words_are_three() -> None:
    assert {case.whose for dummy, case in EVERY} == {FILE, LAB, BOTH}
    assert re.fullmatch("file|lab|both within bounds", FILE) and (LAB, BOTH) == ("lab", "both within bounds")

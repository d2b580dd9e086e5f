# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cable is told, what is refused, and what is compared with what. Real cables are in tests/integration/test_cables.py."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.module_utils import cable as one_cable
from ansible_collections.benito.testbed.plugins.module_utils import cable_rules, cable_status, cables, ssh_access, sweep, tunnels, vde
from ansible_collections.benito.testbed.plugins.module_utils.cable import Cable
from ansible_collections.benito.testbed.plugins.module_utils.cables import Keys
from ansible_collections.benito.testbed.plugins.module_utils.control_net import tables
from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.processes import alive
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir, write_json

Run = Callable[[Callable[[], None]], None]
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKDHNEbXzcZJTBVPjxpOlcESx8VqNNOhCNT6pQJ1wuy1"
PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJfHcB+KbWkT2m0qkOStSP7Jt4sFp7ZJ+YQhE7SDPqkC experiment\n"
HERE = RunDir("lab", "demo", "lab.demo", "/srv/b")
SECRETS = Keys(secrets={id_: f"{number:064x}" for number, id_ in enumerate(("lan0-1", "b", "tcp", "udp"), 1)})


def options(transport: str = "ssh", role: str = "dial", **more: Any) -> dict[str, Any]:
    """One entry of the document's ``cables``."""
    return {
        "name": "lan0 pnode-0001",
        "id": "lan0-1",
        "substrate": "lan0",
        "switch": "lan0",
        "port": 5,
        "peer": "pnode-0001",
        "peer_port": 6,
        "transport": transport,
        "role": role,
        "peer_address": "192.0.2.7",
        "peer_ssh_port": 2222,
        "peer_host_keys": [f"{HOST_KEY} root@there"],
        "number": 77,
        "socket": 20077,
        "device": "eth3" if transport == "ethernet" else None,
        "vlan": None,
        **more,
    }


def cable(*words: str, **more: Any) -> Cable:
    return Cable.from_options(options(*words, **more))


def test_only_what_a_transport_needs_is_taken_over() -> None:
    assert cable().peer_host_keys == (HOST_KEY,)
    assert (cable().number, cable().socket, cable().device) == (0, 0, "")
    listening = cable("ssh", "listen", peer_address="", peer_host_keys=[])
    assert (listening.peer_address, listening.peer_host_keys) == ("", ())
    assert (cable("udp", "peer").number, cable("udp", "peer").socket) == (77, 20077)
    outside = cable("ethernet", "peer", peer="", peer_address="", number=None, socket=None, vlan=12)
    assert (outside.device, outside.vlan, outside.number, outside.peer_address) == ("eth3", 12, 0, "")


@pytest.mark.parametrize(
    ("transport", "role", "change", "said"),
    [
        ("ssh", "peer", {}, "no role 'peer'"),
        ("udp", "dial", {}, "no role"),
        ("gre", "peer", {}, "no role"),
        ("ssh", "dial", {"id": "../x"}, "id must be"),
        ("ssh", "dial", {"id": "x" * 21}, "id must be"),
        ("ssh", "dial", {"switch": "a b"}, "id must be"),
        ("ssh", "dial", {"port": 0}, "port must be a number from 1"),
        ("ssh", "dial", {"port": None}, "port must be"),
        ("ssh", "dial", {"port": True}, "port must be"),
        ("ssh", "dial", {"peer_address": "-oProxyCommand=id"}, "peer_address must be"),
        ("ssh", "dial", {"peer_address": "a b"}, "peer_address must be"),
        ("ssh", "dial", {"peer_address": "host\n"}, "peer_address must be"),
        ("ssh", "dial", {"peer_address": ""}, "peer_address must be"),
        ("ssh", "dial", {"peer_ssh_port": 65536}, "peer_ssh_port must be"),
        ("ssh", "dial", {"peer_host_keys": []}, "peer_host_keys is empty"),
        ("ssh", "dial", {"peer_host_keys": ["AAAA"]}, "not a public key"),
        ("ssh", "dial", {"peer_host_keys": [f"{HOST_KEY}\nevil {HOST_KEY}"]}, "not a public key"),
        ("tcp", "dial", {"socket": 0}, "socket must be"),
        ("udp", "peer", {"number": 1 << 24}, "number must be"),
        ("vxlan", "peer", {"number": None}, "number must be"),
        ("ethernet", "peer", {"device": ""}, "device must be"),
        ("ethernet", "peer", {"device": "eth0 up"}, "device must be"),
        ("ethernet", "peer", {"device": "../../x"}, "device must be"),
        ("ethernet", "peer", {"device": "e" * 16}, "device must be"),
        ("ethernet", "peer", {"vlan": 4095}, "vlan must be"),
    ],
)
def test_what_could_be_anything_else_is_refused(transport: str, role: str, change: dict[str, Any], said: str) -> None:
    with pytest.raises(HostError, match=said) as caught:
        cable(transport, role, **change)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=40))
def test_no_address_becomes_an_option_or_another_word(text: str) -> None:
    try:
        taken = cable(peer_address=text)
    except HostError:
        return
    assert taken.peer_address == text
    assert text[0].isalnum()
    assert not set(text) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-")


def test_ssh_is_told_to_trust_nobody_else_and_to_do_nothing_else() -> None:
    argv = one_cable.ssh_command(HERE, cable())
    assert argv[:3] == ["ssh", "-F", "none"]
    assert argv[argv.index("-i") + 1] == "/srv/b/lab.demo/cables/key"
    assert argv[-7:] == ["-p", "2222", "-l", "benito", "--", "192.0.2.7", "lan0-1"]
    told = dict(word.split("=", 1) for flag, word in itertools.pairwise(argv) if flag == "-o")
    wanted = {
        "IdentitiesOnly": "yes",
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": "/srv/b/lab.demo/cables/known_hosts",
        "GlobalKnownHostsFile": "none",
        "HostKeyAlias": "benito-lan0-1",
        "ClearAllForwardings": "yes",
        "Compression": "no",
        "ControlPath": "none",
    }
    assert wanted.items() <= told.items()
    assert int(told["ServerAliveInterval"]) * int(told["ServerAliveCountMax"]) <= 15


@pytest.mark.parametrize(
    ("words", "how"),
    [
        (("ssh", "dial"), "pipe"),
        (("tcp", "listen"), "listen"),
        (("tcp", "dial"), "dial"),
        (("udp", "peer"), "datagram"),
        (("vxlan", "peer"), "plug"),
    ],
)
def test_every_process_names_its_experiment_and_its_port(words: tuple[str, str], how: str) -> None:
    entry = one_cable.entry(HERE, cable(*words), 3)
    assert (entry["how"], entry["id"], entry["made"]) == (how, "lan0-1", 3)
    assert entry["plug"][:2] == ["vde_plug", "vde:///srv/b/lab.demo/switches/lan0/io/ctl[5]"]
    assert "/srv/b/lab.demo/" in " ".join(entry.get("far", entry["plug"]))


@pytest.mark.parametrize("words", [("tcp", "listen"), ("tcp", "dial"), ("udp", "peer")])
def test_a_cable_that_proves_itself_needs_its_secret(rundir: RunDir, words: tuple[str, str]) -> None:
    wanted = {"lan0-1": (cable(*words), 0)}
    with pytest.raises(HostError, match="secrets has none for lan0-1"):
        cables._files(rundir, wanted, Keys())
    with pytest.raises(HostError, match="must be 64 hexadecimal digits"):
        cables._files(rundir, wanted, Keys(secrets={"lan0-1": "5e"}))
    content, mode = cables._files(rundir, wanted, SECRETS)["keeper.json"]
    assert json.loads(content)["cables"][0]["secret"] == SECRETS.secrets["lan0-1"]
    assert mode & 0o007 == 0
    # Where it is there already, nobody has to give it again.
    os.makedirs(one_cable.home(rundir))
    Path(f"{one_cable.home(rundir)}/keeper.json").write_bytes(content)
    assert cables._files(rundir, wanted, Keys())["keeper.json"][0] == content
    without = cables._files(rundir, {"lan0-1": (cable("vxlan", "peer"), 0)}, SECRETS)["keeper.json"][0]
    assert "secret" not in json.loads(without)["cables"][0]


def test_what_a_cable_claims_of_its_host() -> None:
    assert cable().claim is None
    assert cable("tcp", "dial").claim is None
    assert cable("tcp", "listen").claim == ("tcp", 20077, 0)
    assert cable("udp", "peer").claim == ("udp", 20077, 0)
    assert cable("vxlan", "peer").claim == ("udp", 20077, 77)


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (("udp", "peer"), ("udp", "peer"), "UDP port 20077 is taken on this host by lab/first"),
        (("tcp", "listen"), ("tcp", "listen"), "TCP port 20077 is taken on this host by lab/first"),
        (("udp", "peer"), ("vxlan", "peer"), "UDP port 20077 is taken"),
        (("vxlan", "peer"), ("udp", "peer"), "UDP port 20077 is taken"),
        (("vxlan", "peer"), ("vxlan", "peer"), "the vxlan 77 on UDP port 20077 is taken on this host by lab/first"),
        (("tcp", "listen"), ("udp", "peer"), ""),
        (("tcp", "dial"), ("tcp", "listen"), ""),
    ],
)
def test_claims_of_another_experiment_are_met_by_name(root: str, one: tuple[str, str], other: tuple[str, str], said: str) -> None:
    first, second = RunDir("lab", "first", "lab.first", root), RunDir("lab", "second", "lab.second", root)
    for made in (first, second):
        made.create()
    os.makedirs(one_cable.home(first))
    cables._write_record(first, {"lan0-1": (cable(*one), 0)}, set(), {})
    if said:
        with pytest.raises(HostError, match=said):
            cables._conflict(second, cable(*other), [])
    else:
        cables._conflict(second, cable(*other), [])
    # Two vxlans with other numbers share a port.
    if one[0] == other[0] == "vxlan":
        cables._conflict(second, cable("vxlan", "peer", number=78), [])
    cables._conflict(first, cable(*one), [cable(*one)])


def test_a_record_is_read_back_and_a_damaged_one_is_none(rundir: RunDir) -> None:
    os.makedirs(one_cable.home(rundir))
    cables._write_record(rundir, {"lan0-1": (cable(), 4)}, {"lan0-1"}, {})
    assert cable_status.record(rundir)["cables"] == {"lan0-1": {"cable": cable(), "made": 4, "done": False}}
    write_json(f"{one_cable.home(rundir)}/cables.json", {"cables": {"a": {"cable": {"x": 1}}, "b": 3}})
    assert cable_status.known(rundir) == []


def test_a_check_run_says_what_would_be_and_touches_nothing(rundir: RunDir) -> None:
    wanted = [cable(), cable("ssh", "listen", id="other", name="other")]
    results = cables.present(rundir, wanted, Keys("secret", PUBLIC), purge=True, check=True)
    assert [(r["name"], r["action"], r["reason"]) for r in results] == [
        ("lan0 pnode-0001", "make", "not there"),
        ("other", "make", "not there"),
    ]
    assert not os.path.exists(one_cable.home(rundir))


def test_two_of_one_id_are_refused(rundir: RunDir) -> None:
    with pytest.raises(HostError, match="lan0-1 is listed twice"):
        cables.present(rundir, [cable(), cable()], Keys(), purge=True, check=True)


def test_without_a_key_nothing_is_begun(rundir: RunDir) -> None:
    with pytest.raises(HostError, match="key is empty"):
        cables._files(rundir, {"lan0-1": (cable(), 0)}, Keys())
    with pytest.raises(HostError, match="public_key is empty"):
        cables._lines(rundir, [cable("ssh", "listen")], Keys())


def test_what_is_compared_of_shared_lists_is_the_own_part(rundir: RunDir) -> None:
    one, two = cable("udp", "peer"), cable("udp", "peer", id="b", socket=20078)
    both = cables._files(rundir, {"lan0-1": (one, 0), "b": (two, 0)}, SECRETS)["keeper.json"][0]
    alone = cables._files(rundir, {"b": (two, 0)}, SECRETS)["keeper.json"][0]
    changed = cables._files(rundir, {"b": (two, 1)}, SECRETS)["keeper.json"][0]
    assert cables._holds(both, "keeper.json", alone)
    assert not cables._holds(both, "keeper.json", changed)
    assert not cables._holds(alone, "keeper.json", both)
    assert not cables._holds(b"{", "keeper.json", alone)
    assert cables._holds(b"a\nb\n", "known_hosts", b"b\n")
    assert not cables._holds(b"a\n", "known_hosts", b"b\n")


def test_what_the_service_account_wrote_is_not_believed(rundir: RunDir) -> None:
    os.makedirs(f"{one_cable.home(rundir)}/io")
    cables._write_record(rundir, {"lan0-1": (cable(), 0)}, set(), {})
    told = {
        "pid": 1,
        "config": "",
        "cables": {"lan0-1": {"state": "\x1b[2J", "pids": [1, "x", -1], "since": "now", "connections": [], "detail": "a\x1bb"}},
    }
    Path(f"{one_cable.home(rundir)}/io/state.json").write_text(json.dumps(told))
    (found,) = cable_status.state(rundir)
    assert found["state"] == "broken"
    assert found["detail"] == "its supervisor is not running"
    assert (found["pids"], found["remakes"], found["since"]) == ([], 0, "")
    for text in ("", "[]", "{", '{"cables": 3}', '{"cables": {"lan0-1": 3}}'):
        Path(f"{one_cable.home(rundir)}/io/state.json").write_text(text)
        assert cable_status.state(rundir)[0]["state"] == "broken"


def test_a_peer_that_never_came(rundir: RunDir) -> None:
    os.makedirs(f"{one_cable.home(rundir)}/io")
    cables._write_record(rundir, {"lan0-1": (cable("ssh", "listen"), 0)}, set(), {})
    assert [(c["state"], c["detail"]) for c in cable_status.state(rundir)] == [("connecting", "the peer has not come")]
    # A record that names somebody else's process names nobody.
    record = {"pid": os.getpid(), "started": 1, "boot": "x", "connections": 3, "since": 1700000000}
    Path(f"{one_cable.home(rundir)}/io/gate-lan0-1.json").write_text(json.dumps(record))
    (found,) = cable_status.state(rundir)
    assert (found["state"], found["remakes"], found["pids"]) == ("broken", 2, [])
    assert cable_status.processes(rundir) == []


@pytest.mark.parametrize("text", ["", "1 2 3", "198.51.100.1 5 198.51.100.2 22; id", "a b c d e"])
def test_a_connection_that_is_none_is_not_asked_for(text: str) -> None:
    assert cable_status._silent(text) == 0.0


# Who is let in


def test_a_line_lets_a_key_do_one_thing() -> None:
    line = ssh_access.line(HERE, "/usr/bin/python3", ssh_access.public_key(PUBLIC))
    assert line == (
        f'restrict,command="/usr/bin/python3 -I /srv/b/lab.demo/cables/gate.py" {" ".join(PUBLIC.split()[:2])} benito:/srv/b:lab/demo'
    )


@pytest.mark.parametrize(
    "text", ["", "x", "ssh-dss AAAAB3NzaC1kc3MAAACB", "no-pty ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA", f"{PUBLIC}{PUBLIC}"]
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(HostError, match="not a public key"):
        ssh_access.public_key(text)


def test_lines_of_others_stay_and_the_file_goes_with_the_last(root: str) -> None:
    one, two = RunDir("lab", "one", "lab.one", root), RunDir("lab", "two", "lab.two", root)
    path = Path(ssh_access.location(root))
    lines = {d.experiment: ssh_access.line(d, "/usr/bin/python3", key) for d, key in ((one, " ".join(PUBLIC.split()[:2])), (two, HOST_KEY))}
    ssh_access.let_in(root, one.mark, [])
    assert not path.parent.exists()
    ssh_access.let_in(root, one.mark, [lines["one"]])
    ssh_access.let_in(root, two.mark, [lines["two"]])
    with pytest.raises(HostError, match=f"let in already, for benito:{one.mark}"):
        ssh_access.let_in(root, two.mark, [ssh_access.line(two, "/usr/bin/python3", " ".join(PUBLIC.split()[:2]))])
    assert ssh_access.lines(root, one.mark) == [lines["one"]]
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o644, 0o755)
    path.write_text(f"# a person's\n{path.read_text()}ssh-ed25519 AAAA me@home\n")
    before = path.stat().st_mtime_ns
    ssh_access.let_in(root, two.mark, [])
    assert path.read_text().splitlines() == ["# a person's", lines["one"], "ssh-ed25519 AAAA me@home"]
    assert path.stat().st_mtime_ns >= before
    path.write_text(f"{lines['one']}\n")
    ssh_access.let_in(root, one.mark, [])
    assert not path.parent.exists()


# Rules


def test_each_port_has_one_peer() -> None:
    ports = [cable_rules.Port("udp", 4789, "192.0.2.7", 77), cable_rules.Port("tcp", 20001, "192.0.2.8")]
    text = cable_rules.rules(HERE, ports)
    assert "ip saddr != 192.0.2.8 tcp dport 20001 drop" in text
    assert "ip saddr != 192.0.2.7 udp dport 4789 @th,96,24 77 drop" in text
    assert "meta nfproto ipv6 tcp dport 20001 drop" in text
    assert text == cable_rules.rules(HERE, ports[::-1])
    assert "chain forward" not in text


def test_only_our_cables_reach_the_peers_ports() -> None:
    listening = cables._ports([cable("tcp", "listen")])
    assert "chain input" in cable_rules.rules(HERE, listening)
    assert "ip daddr" not in cable_rules.rules(HERE, listening)
    for words in (("tcp", "dial"), ("udp", "peer"), ("vxlan", "peer")):
        text = cable_rules.rules(HERE, cables._ports([cable(*words)]), [998])
        protocol = "tcp" if words[0] == "tcp" else "udp"
        assert f"ip daddr 192.0.2.7 {protocol} dport 20077 drop" in text.partition("chain forward")[2]
        assert f"ip daddr 192.0.2.7 {protocol} dport 20077 meta skuid != {{ 0, 998 }} drop" in text.partition("chain output")[2]
        assert ("chain input" in text) == (words[0] != "tcp")
    assert cables._ports([cable(), cable("ssh", "listen"), cable("ethernet", "peer")]) == []


def test_tables_of_different_experiments_differ() -> None:
    assert cable_rules.table(HERE) != cable_rules.table(RunDir("lab", "demo2", "lab.demo", "/srv/b"))


def test_rules_come_and_go_and_are_known_by_their_mark(rundir: RunDir, own_network: Run) -> None:
    def inside() -> None:
        assert cable_rules.listing(rundir) == ""
        cable_rules.put(rundir, [])
        cable_rules.put(rundir, [cable_rules.Port("udp", 4789, "192.0.2.7", 77), cable_rules.Port("tcp", 20001, "192.0.2.8")])
        assert tables(rundir.mark) == [cable_rules.table(rundir)]
        assert "20001" in cable_rules.listing(rundir)
        cable_rules.put(rundir, [cable_rules.Port("udp", 5, "192.0.2.7")])
        assert "20001" not in cable_rules.listing(rundir)
        cable_rules.put(rundir, [])
        assert tables(rundir.mark) == []

    own_network(inside)


# Devices


def test_names_of_devices_fit_and_differ() -> None:
    found = [name for id_ in ("a", "b") for name in tunnels.names(HERE, id_)]
    found += tunnels.names(RunDir("lab", "demo2", "lab.demo", "/srv/b"), "a")
    assert len(set(found)) == 6
    assert all(len(name) <= 15 for name in found)


def test_a_vxlan_is_made_found_mended_and_removed(
    rundir: RunDir, account: str, tun: Path, own_network: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunnels, "ACCOUNT", account)

    def inside() -> None:
        tunnel = tunnels.vxlan(rundir, "a", 77, 4789)
        assert "is gone" in tunnels.missing(rundir, tunnel, "192.0.2.7")
        tunnels.set_up(rundir, tunnel, "192.0.2.7")
        assert tunnels.missing(rundir, tunnel, "192.0.2.7") == ""
        assert "leads elsewhere" in tunnels.missing(rundir, tunnel, "192.0.2.8")
        tunnels.set_up(rundir, tunnel, "192.0.2.8")
        assert tunnels.missing(rundir, tunnel, "192.0.2.8") == ""
        tunnels.run(["tc", "qdisc", "del", "dev", tunnel.tap, "ingress"])
        assert "not joined" in tunnels.missing(rundir, tunnel, "192.0.2.8")
        tunnels.run(["ip", "link", "set", "dev", tunnel.outer, "down"])
        assert "is down" in tunnels.missing(rundir, tunnel, "192.0.2.8")
        tunnels.set_up(rundir, tunnel, "192.0.2.8")
        assert tunnels.missing(rundir, tunnel, "192.0.2.8") == ""
        tun.chmod(0o600)
        assert "may not open" in tunnels.missing(rundir, tunnel, "192.0.2.8")
        tunnels.set_up(rundir, tunnel, "192.0.2.8")
        assert tunnels.missing(rundir, tunnel, "192.0.2.8") == ""
        # The number is the host's, whoever has it.
        other = RunDir("lab", "other", "lab.other", rundir.root)
        with pytest.raises(HostError, match=rf"the vxlan 77 on UDP port 4789 is on this host already, as {tunnel.outer} of {rundir.mark}"):
            tunnels.set_up(other, tunnels.vxlan(other, "a", 77, 4789), "192.0.2.8")
        assert tunnels.host_links.marked(other.mark) == []
        tunnels.take_down(rundir, "a")
        assert tunnels.host_links.marked(rundir.mark) == []
        tunnels.take_down(rundir, "a")

    own_network(inside)


@pytest.mark.parametrize("up", [True, False])
def test_an_interface_is_given_back_as_it_was(
    rundir: RunDir, account: str, tun: Path, own_network: Run, monkeypatch: pytest.MonkeyPatch, up: bool
) -> None:
    monkeypatch.setattr(tunnels, "ACCOUNT", account)

    def facts() -> tuple[Any, ...]:
        ipv6 = Path("/proc/sys/net/ipv6/conf/lab0/disable_ipv6")
        shown = json.loads(tunnels.run(["ip", "-json", "-details", "link", "show", "dev", "lab0"]))[0]
        return (
            "UP" in shown["flags"],
            shown["promiscuity"],
            ipv6.read_text() if ipv6.exists() else "",
            "ingress" in tunnels.run(["tc", "qdisc"]),
        )

    def inside() -> None:
        tunnels.run(["ip", "link", "add", "lab0", "type", "veth", "peer", "name", "lab1"])
        tunnels.run(["ip", "link", "set", "dev", "lab0", "up" if up else "down"])
        before = facts()
        tunnel = tunnels.ethernet(rundir, "a", "lab0", 0)
        tunnels.set_up(rundir, tunnel, "")
        assert facts()[:2] == (True, before[1] + 1)
        assert tunnels.missing(rundir, tunnel, "") == ""
        assert tunnels.taken_by(rundir.root, rundir.mark) == ["lab0"]
        # The interface is not ours to remove.
        assert tunnels.host_links.marked(rundir.mark) == [tunnel.tap]
        other = RunDir("lab", "other", "lab.other", rundir.root)
        with pytest.raises(HostError, match=rf"plugged in already for {rundir.mark}"):
            tunnels.set_up(other, tunnels.ethernet(other, "a", "lab0", 0), "")
        tunnels.set_up(rundir, tunnel, "")
        tunnels.take_down(rundir, "a")
        assert facts() == before
        assert not os.path.exists(f"{rundir.root}/.interfaces")

    own_network(inside)


def test_a_vlan_of_one_experiment_is_no_others(
    rundir: RunDir, account: str, tun: Path, own_network: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunnels, "ACCOUNT", account)
    other = RunDir("lab", "other", "lab.other", rundir.root)
    real = tunnels.run

    def run(words: list[str], *more: str) -> str:
        # A kernel without VLANs has other devices upon a device: it is their place that counts here.
        if words[-4:-1] == ["type", "vlan", "id"]:
            words = [*words[:-3], "macvlan"]
        return real(words, *more)

    monkeypatch.setattr(tunnels, "run", run)

    def take(experiment: RunDir, vlan: int) -> None:
        tunnels.set_up(experiment, tunnels.ethernet(experiment, "a", "lab0", vlan), "")

    def inside() -> None:
        real(["ip", "link", "add", "lab0", "type", "veth", "peer", "name", "lab1"])
        take(rundir, 12)
        # The whole interface would be that VLAN too, and all the others.
        with pytest.raises(HostError, match=f"lab0 carries bo.* of {rundir.mark}"):
            take(other, 0)
        take(other, 13)
        tunnels.take_down(other, "a")
        # Also when both look at the same moment, and each finds it free.
        monkeypatch.setattr(tunnels, "check_free", lambda *words: None)
        for vlan in (0, 12):
            with pytest.raises(HostError, match=f"plugged in already for {rundir.mark}, as lab0.12"):
                take(other, vlan)
            tunnels.take_down(other, "a")
        tunnels.take_down(rundir, "a")
        take(rundir, 0)
        for vlan in (0, 12):
            with pytest.raises(HostError, match=f"plugged in already for {rundir.mark}, as lab0"):
                take(other, vlan)
            tunnels.take_down(other, "a")
        assert tunnels.missing(rundir, tunnels.ethernet(rundir, "a", "lab0", 0), "") == ""

    own_network(inside)


def test_an_address_that_is_not_known_is_one_cables_failure(rundir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*words: object) -> object:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(one_cable.socket, "getaddrinfo", unknown)
    with pytest.raises(HostError, match=r"the address of pnode-0001, nowhere.example, is not known here"):
        one_cable.address_of(cable("udp", "peer", peer_address="nowhere.example"))


# All of it


def test_rules_are_there_before_and_after_what_they_protect(
    rundir: RunDir, account: str, tun: Path, own_network: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (cables, tunnels):
        monkeypatch.setattr(module, "ACCOUNT", account)
    seen: list[str] = []

    def watched(module: Any, name: str) -> None:
        real = getattr(module, name)

        def look(*words: Any, **more: Any) -> Any:
            listing = cable_rules.listing(rundir)
            seen.append(f"{name} " + " ".join(number for number in ("20077", "20078", "20079") if number in listing))
            return real(*words, **more)

        monkeypatch.setattr(module, name, look)

    def inside() -> None:
        for module, name in ((tunnels, "set_up"), (tunnels, "take_down"), (cables, "_start"), (cables, "_nudge")):
            watched(module, name)
        first = [
            cable("vxlan", "peer", id="vxlan", peer_address="127.0.0.1"),
            cable("tcp", "listen", id="tcp", socket=20078, peer_address="127.0.0.1"),
        ]
        assert not [r for r in cables.present(rundir, first, SECRETS, purge=True, check=False) if r.get("failed")]
        assert seen == ["set_up 20077 20078", "_start 20077 20078"]
        # The port of one that goes or moves is closed until its listener has gone.
        del seen[:]
        moved = [cable("tcp", "listen", id="tcp", socket=20079, peer_address="127.0.0.1")]
        assert not [r for r in cables.present(rundir, moved, SECRETS, purge=True, check=False) if r.get("failed")]
        assert {word for word in seen if word.startswith("_nudge")} == {"_nudge 20077 20078 20079"}
        assert all("20077 20078" in word for word in seen)
        assert not any(old in cable_rules.listing(rundir) for old in ("20077", "20078"))
        cables.present(rundir, [], SECRETS, purge=True, check=False)
        assert cable_rules.listing(rundir) == ""
        # Without rules there is nothing: neither device nor supervisor.
        del seen[:]

        def broken(*words: Any) -> None:
            raise HostError("no nft here")

        monkeypatch.setattr(cable_rules, "put", broken)
        assert [r.get("msg") for r in cables.present(rundir, first, SECRETS, purge=True, check=False)] == ["no nft here"] * 2
        assert seen == []
        assert cable_status.keeper(rundir) is None

    own_network(inside)


@pytest.mark.parametrize("lost", [False, True], ids=["with its records", "with its records lost"])
def test_a_sweep_finds_everything(
    rundir: RunDir, unprivileged: None, account: str, tun: Path, own_network: Run, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    for module in (cables, tunnels):
        monkeypatch.setattr(module, "ACCOUNT", account)
    wanted = [
        cable("tcp", "listen", id="tcp", name="tcp", peer_address="127.0.0.1"),
        cable("vxlan", "peer", id="vxlan", name="vxlan", port=6, peer_address="127.0.0.1"),
        cable("ethernet", "peer", id="lab", name="lab", port=7, device="lab0"),
        cable("ssh", "listen", id="door", name="door", port=8),
    ]

    def inside() -> None:
        tun.chmod(0o600)
        tunnels.run(["ip", "link", "add", "lab0", "type", "veth", "peer", "name", "lab1"])
        vde.start(rundir, vde.Switch("lan0", "lan0", 16))
        keys = Keys("", PUBLIC, SECRETS.secrets)
        with rundir.locked():
            results = cables.present(rundir, wanted, keys, purge=True, check=False)
        assert not [r for r in results if r.get("failed")], results
        assert [r["changed"] for r in cables.present(rundir, wanted, keys, purge=True, check=False)] == [False] * 4
        assert tun.stat().st_mode & 0o777 == 0o660
        running = cable_status.processes(rundir)
        assert any("keeper.py" in word for word in running[0].argv)
        if lost:
            shutil.rmtree(rundir.path)
        remains = sweep.find("lab", "demo", rundir.root)
        said = remains.lines()
        assert {"key that is let in for cables", "interface lab0, which goes back to the host", "switch lan0"} - set(said) == (
            {"switch lan0"} if lost else set()
        )
        if not lost:
            assert {f"cable {name}" for name in ("tcp", "vxlan", "lab", "door")} <= set(said)
            assert not remains.strays
        sweep.sweep(remains, rundir.root)
        assert sweep.find("lab", "demo", rundir.root).lines() == []
        assert not any(map(alive, running))
        assert os.listdir(rundir.root) == []
        assert tun.stat().st_mode & 0o777 == 0o600
        assert {link["ifname"] for link in tunnels.host_links.links()} == {"lo", "lab0", "lab1"}

    own_network(inside)


def test_only_one_cable_fails_where_one_is_wrong(
    rundir: RunDir, account: str, tun: Path, own_network: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (cables, tunnels):
        monkeypatch.setattr(module, "ACCOUNT", account)

    def inside() -> None:
        wrong = cable("ethernet", "peer", id="lab", name="lab", port=7, device="lab0")
        right = cable("tcp", "dial", peer_address="127.0.0.1")
        first = cables.present(rundir, [wrong, right], SECRETS, purge=True, check=False)
        assert [(r["name"], r.get("msg", "")) for r in first] == [("lab", "this host has no interface lab0"), ("lan0 pnode-0001", "")]
        second = cables.present(rundir, [wrong, right], Keys(), purge=True, check=False)
        assert [(r["changed"], r["reason"]) for r in second] == [(True, "not finished"), (False, "")]
        assert cable_status.keeper(rundir)
        results = cables.absent(rundir, ["lab", "lan0-1", "never"], check=False)
        assert [(r["id"], r["changed"]) for r in results] == [("lab", True), ("lan0-1", True), ("never", False)]
        assert not cable_status.keeper(rundir)
        assert cable_status.known(rundir) == []

    own_network(inside)

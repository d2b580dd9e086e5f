# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole playbooks with a carrier that lies: Ansible runs as always, but its ssh and its hosts' Python are programs of this test.

No host is needed: the program in the place of ssh runs the command here, and the one in the place of Python reads the module that it is
sent, does nothing, and prints the results that the test wants of that host.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0nqmqgHxbXJMRIFnbKZMMX2tJsl7fQ0PqJmQZ8gS7r"
LIE = "ssh-ed25519 LIELIELIE"
TOPOLOGY = """<experiment><version>1.0</version><substrates><name>lan</name></substrates>
<elements><computer><name>m</name>
  <attribute><attribute>benito:node_type</attribute><value>qemu</value></attribute>
  <attribute><attribute>benito:image</attribute><value>debian</value></attribute></computer></elements>
<elements><computer><name>inside</name><interface><substrate>lan</substrate><name>i</name></interface>
  <attribute><attribute>benito:node_type</attribute><value>process</value></attribute>
  <attribute><attribute>benito:host</attribute><value>m</value></attribute></computer></elements>
<elements><computer><name>outside</name><interface><substrate>lan</substrate><name>i</name></interface>
  <attribute><attribute>benito:node_type</attribute><value>process</value></attribute></computer></elements>
</experiment>
"""
SSH = """#!/bin/sh
for command; do :; done
case $* in *-O\\ *|*-V*) exit 0 ;; esac
case $* in *\\ m.invalid\\ *) if [ -e "$HOME/refused" ]; then cat "$HOME/refused" >&2; exit 255; fi ;; esac
exec /bin/sh -c "$command"
"""
INTERPRETER = """#!{python} -I
import pathlib, sys
sys.stdin.read()
print(pathlib.Path({answer!r}).read_text())
"""
ESCAPES = "\x1b]0;owned\x07\x1b[31m"


def guest(name: str, **more: object) -> dict[str, object]:
    return {"name": name, "state": "booted", "ssh_host_key": KEY, "action": "none", "changed": False, "detail": "", **more}


ENTRY = "/var/lib/benito/liars.liars/nodes/enter"
HONEST: dict[str, dict[str, object]] = {
    "pnode-0000": {
        "changed": False,
        "guests": [guest("m"), guest("outside", entry=ENTRY)],
        "control": {"state": "up"},
        "kernel": "/k",
        "initrd": "/i",
    },
    "m": {"changed": False, "guests": [guest("inside", entry=ENTRY)]},
}
FACTS = {
    "benito": {"state_dir": "/owned", "id": "owned", "experiment": "owned", "project": "owned", "platforms": {}, "control": {}},
    "benito_node_json": json.dumps({"name": "owned", "control": {"address": "203.0.113.66"}, "kind": "qemu", "interfaces": []}),
    "vhost_root": "/owned",
    "ansible_ssh_common_args": "-o ProxyCommand=/owned",
    "swapin_guests": [guest("outside", ssh_host_key=LIE)],
}
LIES: dict[str, dict[str, object]] = {
    "all that succeeds": {
        "guests": [
            guest("inside", entry="/owned; touch /owned", console="/owned", control_address="203.0.113.66", detail=ESCAPES, state=ESCAPES),
            *(guest(n, ssh_host_key=LIE, entry="/owned", control_address="203.0.113.66", state="dead") for n in ("outside", "m")),
            guest("{{ lookup('pipe', 'touch /owned') }}", detail="{{ lookup('pipe', 'touch /owned') }}"),
        ],
        "warnings": [ESCAPES],
        "deprecations": [{"msg": ESCAPES, "version": "9"}],
        "invocation": {"module_args": {ESCAPES: ESCAPES}},
        "control": {"detail": ESCAPES},
        "switches": [{"name": ESCAPES, "state": "dead"}],
        "_ansible_x": ESCAPES,
        "ansible_facts": FACTS,
        "add_host": {"host_name": "localhost", "groups": ["vhost"], "host_vars": {"ansible_python_interpreter": "/owned", **FACTS}},
        "ansible_stats": {"data": {ESCAPES: ESCAPES}, "per_host": False},
    },
    "a failure": {"failed": True, "msg": f"one {ESCAPES}\n{ESCAPES} two", "exception": ESCAPES},
    "wrong types": {"guests": {"inside": 1}, "control": [1], "switches": 3, "kinds": {}},
}


class Stage:
    """A controller whose hosts are programs of ours."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.file = home / "liars.topdl"
        self.file.write_text(TOPOLOGY)
        self._write("ssh", SSH)
        for host in ("pnode-0000", "m"):
            self._write(f"python-{host}", INTERPRETER.format(python=sys.executable, answer=str(home / f"{host}.json")))

    def _write(self, name: str, text: str) -> None:
        (self.home / name).write_text(text)
        (self.home / name).chmod(0o755)

    def play(self, playbook: str, answers: dict[str, dict[str, object]], settings: dict[str, str], *more: str) -> tuple[int, str]:
        for host, answer in answers.items():
            (self.home / f"{host}.json").write_text(json.dumps(answer))
        variables = {
            "ansible_connection": "ssh",
            "ansible_host": "{{ inventory_hostname }}.invalid",
            "ansible_ssh_executable": str(self.home / "ssh"),
            "ansible_become": False,
            "ansible_pipelining": True,
            "ansible_python_interpreter": str(self.home / "python-{{ inventory_hostname }}"),
            "vhost_packages": [],
            "vhost_image_packages": [],
        }
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "BENITO_"))},
            "HOME": str(self.home),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "BENITO_STATE_DIR": str(self.home / "state"),
            "BENITO_PROJECT": "liars",
            "LC_ALL": "C.UTF-8",
            "NO_COLOR": "1",
            **settings,
        }
        done = subprocess.run(
            ["ansible-playbook", f"playbooks/{playbook}.yml", "-i", str(self.file), "-e", json.dumps(variables), *more],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=300,
        )
        return done.returncode, done.stdout.decode()

    def files(self) -> dict[str, str]:
        """What the controller keeps on how nodes are reached."""
        directory = self.home / "state" / "liars.liars"
        names = ("ssh_config", "known_hosts", "machines_ssh_config", "machines_known_hosts")
        return {name: (directory / name).read_text() for name in names}


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> tuple[Stage, dict[str, str]]:
    """What the controller keeps when nobody lies."""
    stage = Stage(tmp_path_factory.mktemp("liars"))
    code, out = stage.play("swapin", HONEST, {})
    assert code == 0, out
    files = stage.files()
    assert re.findall(r"^Host (\S+)", files["ssh_config"], re.MULTILINE) == ["m", "inside", "outside"], files["ssh_config"]
    assert files["known_hosts"].count(KEY) == 3
    return stage, files


def harmless(out: str) -> bool:
    return all(c.isprintable() or c in "\n\t" for c in out)


def check_terminal(out: str) -> None:
    """Check that a terminal obeys nothing of an output."""
    assert [line for line in out.split("\n") if not harmless(line)] == [], out


@pytest.mark.parametrize("lie", LIES)
def test_a_swap_in_with_a_lying_carrier(honest: tuple[Stage, dict[str, str]], lie: str) -> None:
    stage, before = honest
    code, out = stage.play("swapin", {**HONEST, "m": {"changed": False, **LIES[lie]}}, {})
    check_terminal(out)
    after = stage.files()
    assert LIE not in "".join(after.values()) and "owned" not in "".join(after.values())
    if lie == "all that succeeds":
        assert code == 0, out
        assert after == before
    else:
        # There is no word on that node, so there is no way into it: all else is as it was.
        assert code != 0 and "\n  m: " in out.replace("m: ", "\n  m: "), out
        assert all(after[name] == before[name] for name in before if name.startswith("machines"))
        assert set(after["known_hosts"].splitlines()) < set(before["known_hosts"].splitlines())
        assert set(after["ssh_config"].splitlines()) < set(before["ssh_config"].splitlines())
    assert not Path("/owned").exists()
    if lie == "a failure":
        assert "m: one ?]0;owned??[31m" in out, out


def test_a_status_with_a_lying_carrier(honest: tuple[Stage, dict[str, str]]) -> None:
    stage, dummy = honest
    code, out = stage.play("status", {**HONEST, "m": {"changed": False, **LIES["all that succeeds"]}}, {})
    check_terminal(out)
    assert code == 0, out
    rows = {line.split()[0]: line.split()[3] for line in out.splitlines() if re.match(r"(m|inside|outside) +(qemu|process) ", line)}
    assert rows == {"m": "booted", "inside": "unknown", "outside": "booted"}
    assert "inside: ?]0;owned??[31m" in out and "m: the switch of ?]0;owned??[31m is dead" in out


def test_facts_of_a_carrier_are_no_variables(honest: tuple[Stage, dict[str, str]]) -> None:
    """Users without our ansible.cfg have another setting: with it, what any module returns as facts are variables of its host."""
    stage, dummy = honest
    before = stage.files()
    lying = {**HONEST, "m": {"changed": False, "guests": [guest("inside")], "ansible_facts": FACTS}}
    code, out = stage.play("swapin", lying, {"ANSIBLE_INJECT_FACT_VARS": "true"})
    assert code != 0 and "inject_facts_as_vars" in out, out
    assert stage.files() == before


@pytest.mark.parametrize("playbook", ["swapin", "status"])
def test_a_carrier_says_that_it_cannot_be_reached(honest: tuple[Stage, dict[str, str]], playbook: str) -> None:
    """With exit status 255 its shell is ssh to Ansible, which prints what it says as the cause."""
    stage, dummy = honest
    (stage.home / "refused").write_text(ESCAPES)
    code, out = stage.play(playbook, HONEST, {})
    (stage.home / "refused").unlink()
    check_terminal(out)
    assert (code != 0) == (playbook == "swapin"), out
    assert "?]0;owned??[31m" in out

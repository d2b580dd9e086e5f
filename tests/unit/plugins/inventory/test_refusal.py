# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file from a stranger as the inventory of Ansible itself: nothing of it runs on the controller."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
# What a person may have who needs other inventories as well, ours first.
MANY = "benito.testbed.topdl,host_list,script,auto,yaml,ini,toml"
NODE = "<elements><computer><name>a</name></computer></elements>"
GOOD = f"<experiment><version>1.0</version>{NODE}</experiment>"
WRAPPER = "plugin: benito.testbed.topdl\ntopology: good.topdl\n"


class Ansible:
    """Runs programs of Ansible with the checkout's configuration."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.trace = home / "ran"
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "BENITO_"))},
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_HOME": str(home / "ansible"),
            "BENITO_STATE_DIR": str(home / "state"),
            "LC_ALL": "C.UTF-8",
            "NO_COLOR": "1",
        }

    def run(self, program: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).parent / program), *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, env={**self.environment, **environment})

    def write(self, name: str, text: str, mode: int = 0o644) -> str:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return str(path)


@pytest.fixture
def ansible(tmp_path: Path) -> Ansible:
    return Ansible(tmp_path)


@pytest.mark.parametrize("enabled", ["", MANY])
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("evil.ns", "set ns [new Simulator]\n"),
        ("evil.tcl", ""),
        ("evil.topdl", ""),
        ("evil.XML", ""),
        # Our plugin runs into an error that is no TopologyError, for want of an option that can be read.
        ("option.topdl", ""),
        ("wrapper.yml", "plugin: benito.testbed.topdl\ntopology: [\n"),
    ],
)
def test_an_executable_topology_that_cannot_be_read_is_not_executed(ansible: Ansible, name: str, more: str, enabled: str) -> None:
    script = f"#!/bin/sh\ntouch {ansible.trace}\necho '{{}}'\n{more}"
    path = ansible.write(name, GOOD if name == "option.topdl" else script, 0o755)
    extra = {"ANSIBLE_INVENTORY_ENABLED": enabled} if enabled else {}
    if name == "option.topdl":
        extra["BENITO_PACKING"] = "many"
    done = ansible.run("ansible-inventory", "--list", "-i", path, **extra)
    assert not ansible.trace.exists(), done.stderr
    assert done.returncode != 0 and "[ERROR]" in done.stderr and path in done.stderr, done.stderr
    assert done.stdout.strip() == ""


def test_a_file_that_is_not_ours_is_not_executed_either(ansible: Ansible) -> None:
    path = ansible.write("inventory", f"#!/bin/sh\ntouch {ansible.trace}\necho '{{}}'\n", 0o755)
    done = ansible.run("ansible-inventory", "--list", "-i", path)
    assert not ansible.trace.exists() and done.returncode != 0


def test_nothing_of_an_archive_given_as_the_inventory_is_executed(ansible: Ansible) -> None:
    script = f"#!/bin/sh\ntouch {ansible.trace}\necho '{{}}'\n"
    for name in ("a.sh", "b.ns", "c"):
        ansible.write(f"archive/{name}", script, 0o755)
    done = ansible.run("ansible-inventory", "--list", "-i", str(ansible.home / "archive"))
    assert not ansible.trace.exists() and done.returncode != 0


def test_a_refusal_ends_the_run_wherever_ansible_would_go_on(ansible: Ansible) -> None:
    """Stock configuration goes on without the source, and takes up the variables beside it for this machine."""
    path = ansible.write("bad.topdl", "<experiment>")
    play = ansible.write("play.yml", "- hosts: localhost\n  gather_facts: false\n  tasks: [{ansible.builtin.debug: {msg: went on}}]\n")
    done = ansible.run(
        "ansible-playbook", play, "-i", path, ANSIBLE_INVENTORY_ENABLED=MANY, ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED="false"
    )
    assert done.returncode != 0 and "went on" not in done.stdout and "bad.topdl:1" in done.stderr


def test_hosts_files_and_wrappers_work_as_before(ansible: Ansible) -> None:
    ansible.write("good.topdl", GOOD)
    wrapper = ansible.write("wrapper.yml", WRAPPER, 0o755)
    hosts = ansible.write("hosts.yml", "pool: {hosts: {alpha: {ansible_host: 192.0.2.1}}}\n")
    done = ansible.run("ansible-inventory", "--graph", "-i", hosts, "-i", wrapper)
    assert done.returncode == 0 and "alpha" in done.stdout and "--a\n" in done.stdout, done.stderr
    # The stock configuration knows no topology, and hands a wrapper to our plugin.
    done = ansible.run("ansible-inventory", "--graph", "-i", wrapper, ANSIBLE_INVENTORY_ENABLED="host_list,auto,yaml,ini")
    assert done.returncode == 0 and "--a\n" in done.stdout, done.stderr


@pytest.mark.parametrize("kind", ["group_vars/all.yml", "group_vars/vnode/x.yml", "host_vars/localhost.yml", "host_vars/a.yml"])
def test_variables_beside_a_topology_do_not_run(ansible: Ansible, kind: str) -> None:
    """They are templates: those of ``all`` and ``localhost`` run with the first task of any playbook."""
    path = ansible.write("archive/good.topdl", GOOD)
    ansible.write(f"archive/{kind}", f"ansible_python_interpreter: \"{{{{ lookup('ansible.builtin.pipe', 'touch {ansible.trace}') }}}}\"\n")
    play = str(ROOT / "playbooks/status.yml")
    for program, words in (("ansible-inventory", ["--list"]), ("ansible-playbook", [play, "--check"])):
        done = ansible.run(program, *words, "-i", path)
        assert not ansible.trace.exists(), done.stdout
        assert done.returncode != 0 and "BENITO_ADJACENT_VARS" in done.stderr and kind.partition("/")[0] in done.stderr, done.stderr
    done = ansible.run("ansible-inventory", "--graph", "-i", path, BENITO_ADJACENT_VARS="true")
    assert done.returncode == 0 and "WARNING" not in done.stderr


@pytest.mark.parametrize("name", ["wrapper.yml", "hosts.yml"])
def test_variables_beside_the_operators_own_files_are_used_and_told(ansible: Ansible, name: str) -> None:
    topology = ansible.write("good.topdl", GOOD)
    ansible.write("group_vars/all.yml", "greeting: hello\n")
    own = ansible.write(name, WRAPPER if name == "wrapper.yml" else "pool: {hosts: {alpha: {}}}\n")
    sources = ["-i", own] if name == "wrapper.yml" else ["-i", own, "-i", topology]
    done = ansible.run("ansible-inventory", "--host", "a", *sources)
    assert done.returncode == 0 and '"greeting": "hello"' in done.stdout, done.stderr
    assert "group_vars holds templates that run on this machine" in " ".join(done.stderr.split())


def test_a_wrapper_elsewhere_leaves_them_alone(ansible: Ansible) -> None:
    ansible.write("archive/good.topdl", GOOD)
    ansible.write("archive/group_vars/all.yml", "greeting: hello\n")
    wrapper = ansible.write("mine/wrapper.yml", WRAPPER.replace("good", "../archive/good"))
    done = ansible.run("ansible-inventory", "--host", "a", "-i", wrapper)
    assert done.returncode == 0 and "greeting" not in done.stdout and "WARNING" not in done.stderr

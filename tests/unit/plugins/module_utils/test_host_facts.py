# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host says of itself."""

from __future__ import annotations

import os
import subprocess
import sys

from ansible_collections.benito.testbed.plugins.module_utils import host_facts
from ansible_collections.benito.testbed.plugins.module_utils.processes import look
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir, passage, write_json


def test_memory_and_cores_are_the_kernel_s(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal:        2048000 kB\nMemFree: 1 kB\n")
    assert host_facts.memory(str(tmp_path / "meminfo")) == 2000
    assert host_facts.memory() == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    assert host_facts.cores() == int(subprocess.check_output(["nproc"]))


def test_keys_are_those_of_sshd_without_remarks(tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "root@alpha", "-f", tmp_path / "ssh_host_ed25519_key"], check=True)
    (tmp_path / "ssh_host_rsa_key.pub").write_text("nonsense")
    words = (tmp_path / "ssh_host_ed25519_key.pub").read_text().split()
    assert host_facts.host_keys(f"{tmp_path}/ssh_host_*_key.pub") == [" ".join(words[:2])]


def test_what_others_hold_is_what_their_guests_were_started_with(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()", "-m", "256"], stdin=subprocess.PIPE) as running:
        while not (found := look(running.pid)) or "256" not in found.argv:
            pass
        rundir = RunDir("lab", "one", "lab.one", str(tmp_path))
        rundir.create()
        passage(rundir.guest("a"))
        passage(rundir.guest("b"))
        write_json(f"{rundir.guest('a')}/launch.json", {"process": found.to_record()})
        assert host_facts.held("lab", "two", str(tmp_path)) == 256
        assert host_facts.held("lab", "one", str(tmp_path)) == 0
        running.stdin.close()
    assert host_facts.held("lab", "two", str(tmp_path)) == 0

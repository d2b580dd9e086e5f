# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of these tests are hosts: what the other files take for granted."""

from __future__ import annotations

from .machines import ADDRESSES, NAMES, Host, Network


def test_the_hosts_are_three_and_separate(hosts: list[Host]) -> None:
    assert [host.address for host in hosts] == [ADDRESSES[name] for name in NAMES]
    for fact in (
        ["uname", "-n"],
        ["cat", "/proc/sys/kernel/random/boot_id"],
        ["cat", "/etc/machine-id"],
        ["readlink", "/proc/self/ns/net"],
    ):
        assert len({host.run(*fact).out for host in hosts}) == 3
    for host in hosts:
        assert host.run("cat", "/proc/1/comm").out.strip() == "systemd"
        assert host.run("systemctl", "is-system-running", "--wait").out.strip() == "running"
        assert host.run("ping", "-c1", "-W2", "192.0.2.1").code != 0, "no packet leaves the lab"


def test_a_host_key_that_is_not_known_is_refused(hosts: list[Host], network: Network) -> None:
    words = ["ssh", "-i", f"{network.home}/id_ed25519", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
    known = network.run(*words, "-o", f"UserKnownHostsFile={network.home}/known_hosts", f"root@{hosts[0].address}", "uname", "-n")
    assert known.out.strip() == hosts[0].name
    assert network.run(*words, "-o", "UserKnownHostsFile=/dev/null", f"root@{hosts[0].address}", "true").code == 255


def test_the_roles_find_nothing_to_do(hosts: list[Host], network: Network) -> None:
    again = network.run("ansible-playbook", "-i", str(network.pool), "tests/hosts/prepare.yml")
    assert again.code == 0, again.out
    assert again.changed == 0, again.out


def test_a_host_whose_plug_is_pulled_keeps_its_files_and_nothing_else(hosts: list[Host]) -> None:
    host = hosts[2]
    host.run("sh", "-c", "sync; echo kept >/var/lib/kept; echo lost >/run/lost")
    host.run("systemd-run", "--quiet", "sleep", "1000")
    sleeping = [pid for pid, words in host.processes().items() if words == ["/usr/bin/sleep", "1000"]]
    assert len(sleeping) == 1
    assert host.cgroup(sleeping[0]).startswith("/system.slice/run-")
    before = host.run("cat", "/proc/sys/kernel/random/boot_id").out
    with host.off():
        assert host.network.run("ping", "-c1", "-W1", host.address).code != 0
        assert host.network.run("ping", "-c1", "-W1", hosts[0].address).code == 0
    assert host.run("cat", "/proc/sys/kernel/random/boot_id").out != before
    assert host.run("cat", "/var/lib/kept").out == "kept\n"
    assert host.run("cat", "/run/lost").code != 0
    assert ["/usr/bin/sleep", "1000"] not in host.processes().values()
    host.run("rm", "/var/lib/kept")
    assert host.network.run("ping", "-c1", "-W1", host.address).code == 0


def test_hosts_have_a_second_interface_on_a_wire_of_their_own(hosts: list[Host]) -> None:
    try:
        for number, host in enumerate(hosts):
            assert host.run("ip", "address", "add", f"203.0.113.{number + 1}/24", "dev", "wire0").code == 0
        assert hosts[0].run("ping", "-c1", "-W2", "203.0.113.3").code == 0
    finally:
        for host in hosts:
            host.run("ip", "address", "flush", "dev", "wire0")

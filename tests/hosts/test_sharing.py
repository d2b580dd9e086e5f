# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The experiment of another user on one host of a pool: no host is touched."""

from __future__ import annotations

from pathlib import Path

from ..integration.topologies import attribute, computer, experiment
from .machines import Host, Network

PROCESS = attribute("benito:node_type", "process")


def test_a_refusal_of_one_host_keeps_all_hosts_as_they_are(network: Network, hosts: list[Host], tmp_path: Path) -> None:
    network.write_pool({host.name: {} for host in hosts})
    before = {host.name: host.listing() for host in hosts}
    file = tmp_path / "shared.topdl"
    file.write_text(experiment(["lan0"], [computer(name, ["lan0"], PROCESS) for name in "abc"]))
    other = ("-e", f"benito_state_dir={tmp_path}/other")
    spread = ("-e", "benito_size=3")
    try:
        first = network.play("swapin", file)
        assert first.code == 0, first.out
        running = {host.name: host.listing() for host in hosts}
        assert [host.name for host in hosts if host.news(before[host.name])] == ["amber"]

        for command in (("swapin", *spread), ("swapin", *spread, "--check"), ("swapout",), ("swapout", "--check")):
            done = network.play(command[0], file, *other, *command[1:])
            assert done.code != 0, done.out
            assert "Nothing was changed. amber: benito-test/shared belongs to" in done.out, done.out
            assert not any(host.news(running[host.name]) for host in hosts)
            assert not (tmp_path / "other").exists()

        taken = network.play("swapin", file, *other, *spread, "-e", "benito_take_over=true")
        assert taken.code == 0, taken.out
        assert "benito-test/shared is taken over from" in taken.out
        refused = network.play("swapout", file)
        assert refused.code != 0
        assert all(f"{host.name}: benito-test/shared belongs to" in refused.out for host in hosts)
    finally:
        network.play("swapout", file, "-e", "benito_take_over=true")
    assert not any(host.news(before[host.name]) for host in hosts)

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of an experiment: ten machines in a star, brought up, looked at, damaged, repaired, changed, taken away."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import LAB, OUTSIDE, PROJECT, STATE, Done, Lab, wait_for

STAR = Path("examples/star.tcl")
NAME = f"{PROJECT}.star"
NODES = ["center", *(f"n-{i}" for i in range(9))]


@pytest.fixture(scope="module")
def before(lab: Lab) -> dict[str, set[str]]:
    return lab.listing()


@pytest.fixture(scope="module")
def predicted(lab: Lab, before: dict[str, set[str]]) -> Done:
    """A check run on the untouched host."""
    return lab.play("swapin", STAR, "--check", "--diff")


@pytest.fixture(scope="module")
def star(lab: Lab, predicted: Done) -> Iterator[Done]:
    yield lab.play("swapin", STAR)
    lab.play("swapout", STAR)


def pids() -> dict[str, int]:
    """The process of each guest, from the command lines that the kernel shows."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if words[0] == "qemu-system-x86_64" and any(f"/{NAME}/" in word for word in words):
                found[words[words.index("-name") + 1].removeprefix("guest=")] = int(entry.name)
    return found


def switch_pid(substrate: str) -> int:
    """The process of a switch, found by the directory it serves."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if words[0] == "vde_switch" and f"{STATE}/{NAME}/switches/{substrate}/io/ctl" in words:
                return int(entry.name)
    raise AssertionError(f"no switch of {substrate}")


def test_a_check_run_predicts_and_touches_nothing(lab: Lab, before: dict[str, set[str]], predicted: Done) -> None:
    assert predicted.code == 0, predicted.out
    assert predicted.changed > 0
    assert lab.listing() == before


def test_it_comes_up_with_a_table_and_what_to_try_next(star: Done) -> None:
    assert star.code == 0, star.out
    for node in NODES:
        assert star.row(node)[1:4] == ["qemu", "pnode-0000", "booted"]
    assert "ssh -F" in star.out
    assert "playbooks/swapout.yml" in star.out


def test_the_check_run_was_right(star: Done, predicted: Done) -> None:
    assert predicted.recap("pnode-0000")["changed"] == star.recap("pnode-0000")["changed"]


@pytest.mark.parametrize("node", NODES)
def test_every_node_is_reached_by_its_name_and_knows_it(lab: Lab, star: Done, node: str) -> None:
    done = lab.ssh(NAME, node, "hostname; cat /var/benito/config/pid_eid")
    assert done.code == 0, done.out
    assert done.out.split() == [node, PROJECT, "star"]


def test_clocks_go_by_the_hosts(lab: Lab, star: Done) -> None:
    # Where the processor is emulated, how fast its counter goes is not to be found out reliably.
    clock = lab.ssh(NAME, "n-0", "cat /sys/devices/system/clocksource/clocksource0/current_clocksource").out.strip()
    assert clock in ("hpet", "acpi_pm", "kvm-clock")


def test_leaves_reach_each_other_over_the_centre(lab: Lab, star: Done) -> None:
    done = lab.ssh(NAME, "n-0", "ping -c 3 -i 0.2 n-8")
    assert done.code == 0, done.out
    assert "ttl=63" in done.out, "one router between them takes one from the time to live"
    trace = lab.ssh(NAME, "n-0", "traceroute -n -w 2 -q 1 n-8")
    assert len(re.findall(r"^ *\d+  10\.", trace.out, re.MULTILINE)) == 2, trace.out


def test_routes_are_explicit(lab: Lab, star: Done) -> None:
    routes = lab.ssh(NAME, "n-3", "ip -4 route show type unicast").out.splitlines()
    networks = {line.split()[0] for line in routes if line.startswith("10.")}
    assert networks == {f"10.1.{i}.0/24" for i in range(1, 10)}
    assert any(line.startswith("default via 172.") for line in routes)


def test_a_missing_route_does_not_lead_out_by_the_control_net(lab: Lab, star: Done) -> None:
    done = lab.ssh(NAME, "n-0", "ip route get 10.200.0.1; ping -c 1 -W 1 10.200.0.1")
    assert done.code != 0
    assert "No route to host" in done.out or "unreachable" in done.out


def test_the_outside_is_reached_masqueraded_and_reaches_nobody(lab: Lab, star: Done) -> None:
    address = star.row("n-0")[4]
    script = (
        "import socket; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1);"
        f"s.bind(('{OUTSIDE}', 8123)); s.listen(); s.settimeout(60); print('up', flush=True); c, a = s.accept(); print(a[0], flush=True)"
    )
    server = lab.world.start("python3", "-c", script)
    assert server.stdout.readline().strip() == "up"
    lab.ssh(NAME, "n-0", f"echo hello | nc -w 5 {OUTSIDE} 8123")
    assert server.communicate(timeout=60)[0].strip() == LAB
    lab.world.run("ip", "route", "add", "172.16.0.0/12", "via", LAB)
    assert lab.world.run("ping", "-c", "1", "-W", "2", address).code != 0
    assert lab.run("ping", "-c", "1", "-W", "2", address).code == 0


def test_guests_reach_no_service_of_the_host_nor_each_other_by_the_control_net(lab: Lab, star: Done) -> None:
    gateway = ".".join([*star.row("n-0")[4].split(".")[:3], "1"])
    script = (
        f"import socket; s = socket.socket(); s.bind(('{gateway}', 8124)); s.listen(); print('up', flush=True);s.settimeout(20); s.accept()"
    )
    server = lab.start("python3", "-c", script)
    try:
        assert server.stdout.readline().strip() == "up"
        assert lab.ssh(NAME, "n-0", f"nc -w 2 {gateway} 8124 < /dev/null").code != 0
    finally:
        server.kill()
        server.wait()
    assert lab.ssh(NAME, "n-0", f"ping -c 1 -W 2 {star.row('n-1')[4]}").code != 0


def test_no_host_key_is_taken_on_trust(lab: Lab, star: Done) -> None:
    done = lab.run(
        "ssh", "-F", str(lab.state / NAME / "ssh_config"), "-o", "BatchMode=yes", "-o", "UserKnownHostsFile=/dev/null", "n-0", "true"
    )
    assert done.code == 255
    assert "Host key verification failed" in done.out


def test_guests_run_as_an_account_without_rights(star: Done) -> None:
    assert len(pids()) == len(NODES)
    for pid in pids().values():
        status = Path(f"/proc/{pid}/status").read_text()
        assert "Uid:\t0" not in status
        assert re.search(r"CapEff:\t0+\n", status)
        assert re.search(r"Seccomp:\t2", status)


def test_the_second_swapin_changes_nothing(lab: Lab, star: Done) -> None:
    running = pids()
    again = lab.play("swapin", STAR)
    assert again.code == 0, again.out
    assert again.changed == 0, again.out
    assert pids() == running
    assert lab.play("swapin", STAR, "--check", "--diff").changed == 0


def test_what_dies_is_said_and_repaired_and_nothing_else_is_touched(lab: Lab, star: Done) -> None:
    running = pids()
    os.kill(running["n-4"], signal.SIGKILL)
    victim = "tblink-l5"
    os.kill(switch_pid(victim), signal.SIGKILL)
    assert wait_for(lambda: "n-4" not in pids())

    status = lab.play("status", STAR)
    assert status.code == 0, status.out
    assert status.row("n-4")[3] == "dead"
    assert status.row("n-0")[3] == "booted"
    assert victim in status.out
    report = json.loads(lab.play("status", STAR, "-e", "format=json").out.split("\n{", 1)[1].join(["{", ""]).split("\n}\n", 1)[0] + "}")
    assert {node["name"]: node["state"] for node in report["nodes"]}["n-4"] == "dead"

    repaired = lab.play("swapin", STAR)
    assert repaired.code == 0, repaired.out
    now = pids()
    assert now.pop("n-4") != running.pop("n-4")
    assert now == running
    for target in ("n-1", "n-4"):
        assert lab.ssh(NAME, "n-8", f"ping -c 2 -i 0.2 {target}").code == 0
    assert lab.play("swapin", STAR).changed == 0


def test_a_reboot_inside_a_guest_comes_back_by_itself(lab: Lab, star: Done) -> None:
    running = pids()
    first = lab.ssh(NAME, "n-2", "cat /proc/sys/kernel/random/boot_id").out
    lab.ssh(NAME, "n-2", "reboot")
    assert wait_for(lambda: (again := lab.ssh(NAME, "n-2", "cat /proc/sys/kernel/random/boot_id")).code == 0 and again.out != first, 90)
    assert pids() == running
    assert wait_for(lambda: lab.ssh(NAME, "n-2", "ping -c 1 n-7").code == 0)


def test_the_console_is_reachable_and_logged(star: Done) -> None:
    with socket.socket(socket.AF_UNIX) as console:
        console.settimeout(20)
        console.connect(f"{STATE}/{NAME}/guests/n-5/io/console")
        console.sendall(b"\n\nuname -n\n")
        heard = b""
        while b"n-5" not in heard:
            heard += console.recv(4096)
    log = Path(f"{STATE}/{NAME}/guests/n-5/io/console.log")
    assert wait_for(lambda: "n-5" in log.read_text(errors="replace"))


def test_swapout_leaves_nothing(lab: Lab, before: dict[str, set[str]], star: Done) -> None:
    gone = lab.play("swapout", STAR)
    assert gone.code == 0, gone.out
    assert "guest n-0" in gone.out
    assert lab.listing() == before
    again = lab.play("swapout", STAR)
    assert again.code == 0, again.out
    assert again.changed == 0
    assert lab.listing() == before

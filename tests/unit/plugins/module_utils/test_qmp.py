# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client of QEMU's monitor against monitors of every temper; the real one is met where plugs are pulled."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.qmp import Qmp, QmpError

EVENT = b'{"event": "RESUME", "data": {}, "timestamp": {"seconds": 1, "microseconds": 2}}\n'


@pytest.fixture
def path(root: str) -> str:
    return f"{root}/qmp"


def test_a_command_and_its_result(monitor: Callable, path: str) -> None:
    server = monitor(path, **{"query-status": {"return": {"running": True}}})
    with Qmp(path) as qmp:
        assert qmp.execute("query-status") == {"running": True}
        assert qmp.execute("netdev_del", id="plug0") == {}
    assert server.heard == [
        {"execute": "qmp_capabilities", "arguments": {}},
        {"execute": "query-status", "arguments": {}},
        {"execute": "netdev_del", "arguments": {"id": "plug0"}},
    ]


def test_a_refusal_says_which_command_and_why_and_the_next_one_works(monitor: Callable, path: str) -> None:
    monitor(path, netdev_del={"error": {"class": "DeviceNotFound", "desc": "Device 'plug0' not found"}})
    with Qmp(path) as qmp:
        with pytest.raises(QmpError, match="netdev_del: Device 'plug0' not found"):
            qmp.execute("netdev_del", id="plug0")
        assert qmp.execute("stop") == {}


def test_a_monitor_that_refuses_us(monitor: Callable, path: str) -> None:
    monitor(path, qmp_capabilities={"error": {"class": "CommandNotFound", "desc": "not now"}})
    with pytest.raises(QmpError, match="qmp_capabilities: not now"):
        Qmp(path)


def test_events_in_between_are_passed_over(monitor: Callable, path: str) -> None:
    monitor(path, greeting=EVENT + b'{"QMP": {}}\n', stop=EVENT + EVENT + b'{"return": {"late": 1}}\n')
    with Qmp(path) as qmp:
        assert qmp.execute("stop") == {"late": 1}


def test_a_monitor_that_is_busy_with_another_client(root: str, path: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with pytest.raises(QmpError, match="does not answer: timed out"):
            Qmp(path, patience=0.1)


def test_a_monitor_that_falls_silent(monitor: Callable, path: str) -> None:
    monitor(path, stop=b"")
    with Qmp(path, patience=0.1) as qmp, pytest.raises(QmpError, match=r"stop: .*does not answer"):
        qmp.execute("stop")


def test_a_monitor_that_hangs_up(monitor: Callable, path: str) -> None:
    server = monitor(path)
    with Qmp(path) as qmp:
        server.close()
        with pytest.raises(QmpError, match="does not answer"):
            qmp.execute("stop")


@pytest.mark.parametrize("nonsense", [b"what?\n", b"\xff\xfe\n", b'{"return": \n'])
def test_a_monitor_that_talks_nonsense(monitor: Callable, path: str, nonsense: bytes) -> None:
    monitor(path, stop=nonsense)
    with Qmp(path) as qmp, pytest.raises(QmpError, match="stop"):
        qmp.execute("stop")


def test_no_monitor_and_a_dead_one(path: str) -> None:
    with pytest.raises(QmpError, match="No such file"):
        Qmp(path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
    assert Path(path).exists()
    with pytest.raises(HostError, match="refused"):
        Qmp(path)

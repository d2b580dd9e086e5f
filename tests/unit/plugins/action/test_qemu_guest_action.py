# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The batch of guests is run by the module; meanwhile somebody reads how far it is."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleConnectionFailure

from ansible_collections.benito.testbed.plugins.action import qemu_guest

EXPERIMENT = {"project": "lab", "experiment": "demo", "id": "lab.demo"}
Answer = tuple[int, bytes, bytes]


class Connection:
    """A host that gives these answers, one a time, and notes what it was asked."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.asked: list[str] = []
        self.done = threading.Event()
        self._answers = list(answers)

    def exec_command(self, command: str, sudoable: bool = True) -> Answer:
        assert sudoable is False
        self.asked.append(command)
        if not self._answers:
            self.done.set()
            return 1, b"", b"cat: no such file"
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            self.done.set()
            raise answer
        return answer


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(qemu_guest, "display", SimpleNamespace(display=lines.append))
    monkeypatch.setattr(qemu_guest, "INTERVAL", 0.01)
    return lines


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, object]]:
    """Run the action; its module is busy until the host has given its last answer."""

    def start(connection: Connection, check: bool = False, error: Exception | None = None, **arguments: object) -> dict[str, object]:
        monkeypatch.setattr(qemu_guest.HostAction, "run", lambda self, tmp=None, task_vars=None: {"from": "base"})
        action = object.__new__(qemu_guest.ActionModule)
        action._task = SimpleNamespace(args=arguments, check_mode=check)
        action._connection = connection

        def execute(task_vars: dict[str, object]) -> dict[str, object]:
            if not check and isinstance(arguments.get("experiment"), dict):
                assert connection.done.wait(10), "nobody looked"
            if error:
                raise error
            return {"changed": True, "host": task_vars["inventory_hostname"]}

        action._execute_module = execute
        return action.run(task_vars={"inventory_hostname": "pnode-0000"})

    return start


def test_progress_is_printed_when_it_changes(printed: list[str], run: Callable[..., dict[str, object]]) -> None:
    connection = Connection((1, b"", b"none"), (0, b"0 of 2 up\n", b""), (0, b"0 of 2 up\n", b""), (0, b"", b""), (0, b"2 of 2 up\n", b""))
    assert run(connection, experiment=EXPERIMENT) == {"from": "base", "changed": True, "host": "pnode-0000"}
    assert printed == ["pnode-0000: 0 of 2 up", "pnode-0000: 2 of 2 up"]
    assert set(connection.asked) == {"head -c 200 /var/lib/benito/lab.demo/progress"}


def test_what_a_host_says_does_not_reach_the_terminal_as_it_is(printed: list[str], run: Callable[..., dict[str, object]]) -> None:
    run(Connection((0, b"\x1b]0;title\x07\xff" + b"x" * 5000, b"")), experiment=EXPERIMENT)
    [line] = printed
    assert line.isprintable()
    assert len(line) <= len("pnode-0000: ") + 200


@pytest.mark.parametrize("error", [AnsibleConnectionFailure("gone"), OSError("broken pipe")])
def test_a_host_that_cannot_be_asked_is_asked_no_more(printed: list[str], run: Callable[..., dict[str, object]], error: Exception) -> None:
    connection = Connection(error)
    assert run(connection, experiment=EXPERIMENT)["changed"] is True
    assert len(connection.asked) == 1
    assert printed == []


def test_names_are_data_for_the_hosts_shell(printed: list[str], run: Callable[..., dict[str, object]]) -> None:
    connection = Connection()
    run(connection, experiment={**EXPERIMENT, "id": "x; reboot"}, root="/a $(b)")
    assert [shlex.split(command) for command in connection.asked] == [["head", "-c", "200", "/a $(b)/x; reboot/progress"]] * len(
        connection.asked
    )


@pytest.mark.parametrize(("check", "arguments"), [(True, {"experiment": EXPERIMENT}), (False, {}), (False, {"experiment": "text"})])
def test_nobody_looks_in_check_mode_or_without_an_experiment(
    printed: list[str], run: Callable[..., dict[str, object]], check: bool, arguments: dict[str, object]
) -> None:
    connection = Connection()
    assert run(connection, check=check, **arguments)["changed"] is True
    assert connection.asked == []


def test_the_watch_ends_with_the_module_even_when_that_fails(printed: list[str], run: Callable[..., dict[str, object]]) -> None:
    before = threading.active_count()
    with pytest.raises(RuntimeError, match="no module"):
        run(Connection(), error=RuntimeError("no module"), experiment=EXPERIMENT)
    assert threading.active_count() == before

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real processes: started, known again, stopped, and never taken for somebody else's."""

from __future__ import annotations

import dataclasses
import os
import pwd
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.benito.testbed.plugins.module_utils import processes
from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.processes import (
    Process,
    ProcessError,
    alive,
    look,
    marked,
    slice_of,
    spawn,
    stop,
    tail,
)


def wait_until(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.01)


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is nobody's of ours."""
    with subprocess.Popen(["sleep", "300"]) as child:
        yield child
        child.kill()


@pytest.fixture
def sleeper(root: str) -> Process:
    return spawn(["sleep", "300"], mark=f"{root}:lab/demo", log=f"{root}/log")


def test_a_process_is_known_again_from_its_record(sleeper: Process) -> None:
    assert sleeper.argv == ("sleep", "300")
    assert alive(sleeper)
    again = Process.from_record(sleeper.to_record())
    assert again == sleeper
    assert alive(again)


@pytest.mark.parametrize(
    "record", [None, {}, {"pid": 1}, {"pid": "x", "started": 1, "boot": "b", "argv": []}, {"pid": 1, "started": 1, "boot": "b", "argv": 7}]
)
def test_a_damaged_record_is_nobody(record: dict[str, object] | None) -> None:
    assert Process.from_record(record) is None


def test_a_process_leads_a_session_of_its_own_and_has_our_environment(root: str, sleeper: Process) -> None:
    assert os.getsid(sleeper.pid) != os.getsid(0)
    assert os.readlink(f"/proc/{sleeper.pid}/cwd") == "/"
    environment = Path(f"/proc/{sleeper.pid}/environ").read_bytes().split(b"\0")
    assert f"BENITO_MARK={root}:lab/demo".encode() in environment


@pytest.mark.parametrize("change", [{"started": 1}, {"boot": "another"}, {"argv": ("sleep", "301")}, {"argv": ()}])
def test_a_pid_that_was_used_again_is_not_ours_and_gets_no_signal(bystander: subprocess.Popen[bytes], change: dict[str, object]) -> None:
    there = look(bystander.pid)
    assert there is not None
    remembered = dataclasses.replace(there, **change)
    assert not alive(remembered)
    assert stop(remembered, first=signal.SIGKILL) is False
    assert bystander.poll() is None
    assert alive(there)


def test_a_zombie_is_not_alive(bystander: subprocess.Popen[bytes]) -> None:
    there = look(bystander.pid)
    os.kill(bystander.pid, signal.SIGKILL)
    wait_until(lambda: ") Z " in Path(f"/proc/{bystander.pid}/stat").read_text())
    assert look(bystander.pid) is None
    assert not alive(there)
    assert stop(there) is False


def test_nobody_is_not_alive() -> None:
    assert look(2**22 + 1) is None
    assert not alive(None)
    assert stop(None) is False


def test_a_name_that_looks_like_a_state_line_is_read_right(root: str) -> None:
    program = f"{root}/x) Z 1 2"
    Path(program).symlink_to("/bin/sleep")
    process = spawn([program, "300"], mark=f"{root}:lab/demo", log=f"{root}/log")
    assert alive(process)
    assert stop(process)


def test_stop_ends_it_and_leaves_no_zombie(sleeper: Process) -> None:
    assert stop(sleeper) is True
    assert not os.path.exists(f"/proc/{sleeper.pid}")
    assert stop(sleeper) is False


def test_one_that_ignores_the_first_signal_is_killed(root: str) -> None:
    script = f"trap '' TERM; echo ready > {root}/ready; while :; do sleep 1; done"
    process = spawn(["sh", "-c", script], mark=f"{root}:lab/demo", log=f"{root}/log")
    wait_until(lambda: os.path.exists(f"{root}/ready"))
    assert stop(process, patience=0.2) is True
    assert not alive(process)


def test_one_that_obeys_is_not_killed(root: str) -> None:
    script = f"trap 'echo asked > {root}/asked; exit' TERM; echo > {root}/ready; while :; do sleep 0.05; done"
    process = spawn(["sh", "-c", script], mark=f"{root}:lab/demo", log=f"{root}/log")
    wait_until(lambda: os.path.exists(f"{root}/ready"))
    assert stop(process, patience=10) is True
    assert os.path.exists(f"{root}/asked")


def test_a_missing_program(root: str) -> None:
    with pytest.raises(ProcessError, match="no-such-program"):
        spawn(["no-such-program", "x"], mark="m", log=f"{root}/log")


def test_a_log_that_cannot_be_written(root: str) -> None:
    with pytest.raises(ProcessError, match="No such file"):
        spawn(["sleep", "1"], mark="m", log=f"{root}/nowhere/log")


def test_one_that_ends_at_once_is_reported_with_what_it_said(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Looked at only when it is over, as on a busy host.
    popen = subprocess.Popen

    def start(*arguments: object, **more: object) -> subprocess.Popen[bytes]:
        child = popen(*arguments, **more)
        child.wait(10)
        return child

    monkeypatch.setattr(processes.subprocess, "Popen", start)
    with pytest.raises(ProcessError, match=r"sh ended at once with exit status 3: first\nthat is broken"):
        spawn(["sh", "-c", "echo first; echo that is broken >&2; exit 3"], mark="m", log=f"{root}/log")


def test_one_that_never_becomes_what_was_asked_for_is_ended(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    popen = subprocess.Popen

    def start(*arguments: object, **more: object) -> subprocess.Popen[bytes]:
        started.append(popen(["sleep", "300"], stdin=subprocess.DEVNULL))
        return started[0]

    times = iter([0.0, 1.0, 11.0])
    monkeypatch.setattr(processes.subprocess, "Popen", start)
    monkeypatch.setattr(processes.time, "monotonic", lambda: next(times))
    with pytest.raises(ProcessError, match="did not start within 10 s"):
        spawn(["another", "program"], mark="m", log=f"{root}/log")
    assert started[0].wait() == -signal.SIGKILL


def test_an_input_of_ones_own_ends_when_its_other_end_does(root: str) -> None:
    mark = f"{root}:lab/demo"
    reader, writer = os.pipe()
    process = spawn(["sh", "-c", "cat; sleep 300"], mark=mark, log=f"{root}/log", stdin=reader)
    os.close(reader)
    os.write(writer, b"heard\n")
    os.close(writer)
    wait_until(lambda: Path(f"{root}/log").read_text() == "heard\n")
    assert alive(process)


def test_a_console_never_ends(root: str) -> None:
    mark = f"{root}:lab/demo"
    waiting = spawn(["sh", "-c", "cat; echo end; sleep 300"], mark=mark, log=f"{root}/log", console=True)
    other = spawn(["sh", "-c", "cat; echo end; sleep 300"], mark=mark, log=f"{root}/other")
    wait_until(lambda: tail(f"{root}/other") == "end")
    assert tail(f"{root}/log") == ""
    assert stop(waiting)
    assert stop(other)


def test_descriptors_are_inherited_only_when_named(root: str) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        script = f"test -e /proc/self/fd/{writer} && echo has it; sleep 300"
        with_it = spawn(["sh", "-c", script], mark=f"{root}:lab/demo", log=f"{root}/with", handles=[writer])
        without = spawn(["sh", "-c", f"{script.replace('has', 'had')}"], mark=f"{root}:lab/demo", log=f"{root}/without")
        assert os.path.exists(f"/proc/{with_it.pid}/fd/{writer}")
        assert not os.path.exists(f"/proc/{without.pid}/fd/{writer}")
    finally:
        os.close(reader)
        os.close(writer)


def identity(process: Process) -> tuple[int, int]:
    """Return user and group of a process, which must not have kept root's groups."""
    facts = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
    assert "0" not in facts["Groups"].split()
    [uid], [gid] = set(facts["Uid"].split()), set(facts["Gid"].split())
    return int(uid), int(gid)


def test_it_runs_as_the_account(root: str, account: str, root_user: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "SYSTEMD", "/nonexistent")
    process = spawn(["sleep", "300"], mark=f"{root}:lab/demo", log=f"{root}/log", user=account)
    assert identity(process) == (pwd.getpwnam(account).pw_uid, pwd.getpwnam(account).pw_gid)


def test_an_account_that_is_missing(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "SYSTEMD", "/nonexistent")
    with pytest.raises(HostError, match="no account no-such-account"):
        spawn(["sleep", "300"], mark=f"{root}:lab/demo", log=f"{root}/log", user="no-such-account")


@pytest.fixture
def systemd(root: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in for systemd-run, which becomes the program as well; return the file that says what it was asked for."""
    program, said = Path(f"{root}/systemd-run"), Path(f"{root}/said")
    program.write_text(f"""#!/bin/sh
echo "$@" > {shlex.quote(str(said))}
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
""")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{root}:{os.environ['PATH']}")
    monkeypatch.setattr(processes, "SYSTEMD", root)
    return said


def test_an_experiment_has_a_slice_of_its_own() -> None:
    assert slice_of("/var/lib/benito:lab/demo") == "benito-lab:demo.slice"
    assert slice_of("/var/lib/benito:my-lab/a_b") == "benito-my\\x2dlab:a_b.slice"
    others = {slice_of(f"{root}:{name}") for root in ("/tmp/x", "/tmp/y", "/var/lib/benito") for name in ("lab/demo", f"{'-' * 60}/a")}
    assert len(others) == 6
    assert all(re.fullmatch(r"benito-[A-Za-z0-9:_.\\]{1,220}\.slice", name) for name in others)


def test_where_systemd_runs_it_gets_a_scope(root: str, systemd: Path) -> None:
    process = spawn(["sleep", "300"], mark=f"{root}:lab/demo", log=f"{root}/log", unit="benito-guest")
    words = systemd.read_text().split()
    assert {"--scope", "--collect", f"--slice={slice_of(f'{root}:lab/demo')}"} <= set(words)
    assert any(word.startswith("--unit=benito-guest-") and word.endswith(".scope") for word in words)
    assert process.argv == ("sleep", "300")
    assert alive(process)


def test_in_a_scope_too_it_runs_as_the_account_without_roots_groups(root: str, systemd: Path, account: str, root_user: None) -> None:
    process = spawn(["sleep", "300"], mark=f"{root}:lab/demo", log=f"{root}/log", user=account)
    assert systemd.exists()
    assert identity(process) == (pwd.getpwnam(account).pw_uid, pwd.getpwnam(account).pw_gid)


def test_only_our_own_are_found_by_their_mark(root: str, bystander: subprocess.Popen[bytes]) -> None:
    def start(mark: str, directory: str) -> Process:
        # Waits without a child: one just forked would bear the mark and the command line too.
        return spawn(["sh", "-c", "read line", f"{directory}/"], mark=mark, log=f"{root}/log", console=True)

    mine = start(f"{root}:lab/demo", f"{root}/lab.demo")
    others = [start(f"{root}:lab/demo2", f"{root}/lab.demo"), start(f"{root}:lab/demo", f"{root}/elsewhere")]
    assert list(marked(f"{root}:lab/demo", f"{root}/lab.demo/")) == [mine]
    assert list(marked(f"{root}:lab/dem", f"{root}/lab.demo/")) == []
    assert all(alive(other) for other in others)
    stop(mine)
    assert list(marked(f"{root}:lab/demo", f"{root}/lab.demo/")) == []


def test_we_ourselves_are_not_found(root: str) -> None:
    code = f"""
import sys
sys.path[:0] = {[str(path) for path in __import__("sys").path]!r}
from ansible_collections.benito.testbed.plugins.module_utils.processes import marked
print(len(list(marked("m", "{root}/"))))
"""
    done = subprocess.run(
        ["python3", "-c", code, f"{root}/"], env={**os.environ, "BENITO_MARK": "m"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "0"


def test_the_end_of_a_log(root: str) -> None:
    Path(f"{root}/log").write_bytes(b"one\n\n two \x1b[31mred\x07\n\xff\nthree\n")
    assert tail(f"{root}/log") == "one\ntwo red\n\ufffd\nthree"
    assert tail(f"{root}/log", lines=1) == "three"
    assert tail(f"{root}/nothing") == ""


def test_a_link_in_place_of_a_log_is_not_followed(root: str) -> None:
    Path(f"{root}/secret").write_text("secret")
    Path(f"{root}/log").symlink_to(f"{root}/secret")
    assert tail(f"{root}/log") == ""


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_has_no_end(root: str, make: Callable[[str], None]) -> None:
    make(f"{root}/log")
    assert tail(f"{root}/log") == ""


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=400), lines=st.integers(1, 4))
def test_the_end_of_any_log_can_be_printed(tmp_path_factory: pytest.TempPathFactory, content: bytes, lines: int) -> None:
    path = tmp_path_factory.getbasetemp() / "any-log"
    path.write_bytes(content)
    said = tail(str(path), lines=lines)
    assert len(said.splitlines()) <= lines
    assert all(line.isprintable() for line in said.split("\n"))

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The floor: QEMU's own command lines, all started at once, and eyes on what the guests say. No Ansible, nothing compared, nothing kept."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.benito.testbed.plugins.module_utils import boot_state, host_links

PATIENCE = 1800


@dataclass(frozen=True)
class Guest:
    """A guest that was booted cold, as its command line says."""

    argv: Sequence[str]
    tap: str

    def option(self, name: str) -> str:
        """Return the first word behind an option."""
        return self.argv[self.argv.index(name) + 1]

    @property
    def name(self) -> str:
        """What it is called."""
        return self.option("-name").removeprefix("guest=")

    @property
    def config(self) -> Path:
        """The archive it is handed at boot."""
        return Path(self.option("-fw_cfg").partition("file=")[2])

    @property
    def state(self) -> Path:
        """The file of its state port."""
        return self.config.with_name("io") / "state"


def booted(state: Path) -> bool:
    """Tell whether a guest has said that it is up."""
    return boot_state.read(str(state)).booted


def wait(states: Sequence[Path], began: float) -> float:
    """Wait until all guests are up; return the seconds since it began."""
    waiting = list(states)
    while waiting:
        waiting = [state for state in waiting if not booted(state)]
        if time.monotonic() - began > PATIENCE:
            raise RuntimeError(f"{len(waiting)} of {len(states)} guests did not boot within {PATIENCE} s")
        time.sleep(0.1)
    return time.monotonic() - began


def kill(pids: Sequence[int]) -> None:
    """End processes and wait until they have ended."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    while any(running(pid) for pid in pids):
        time.sleep(0.05)


def running(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@contextlib.contextmanager
def started(guests: Sequence[Guest]) -> Iterator[float]:
    """Start all of them on the switches and TAPs that are there; yields the seconds until all are up."""
    for guest in guests:
        guest.state.unlink(missing_ok=True)
    processes = []
    began = time.monotonic()
    try:
        for guest in guests:
            handles = [host_links.open_tap(guest.tap)] if guest.tap else []
            processes.append(
                subprocess.Popen(
                    guest.argv, pass_fds=handles, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
            )
            for handle in handles:
                os.close(handle)
        yield wait([guest.state for guest in guests], began)
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()

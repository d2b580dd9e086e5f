# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Swap-in and swap-out as a user does it, with the time that takes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STATE = Path("/var/lib/benito")
PROJECT = "bench"


def environment(home: Path) -> dict[str, str]:
    """Return what our programs run with."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "BENITO_"))},
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "BENITO_STATE_DIR": str(home / "state"),
        "BENITO_PROJECT": PROJECT,
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
    }


@dataclass(frozen=True)
class Experiment:
    """An experiment, described by a file."""

    topology: Path
    home: Path

    @property
    def run_directory(self) -> Path:
        """Where its host keeps what it has of it."""
        return STATE / f"{PROJECT}.{self.topology.stem}"

    @property
    def ssh_config(self) -> Path:
        """How its guests are reached, as the last swap-in wrote it down."""
        return self.home / "state" / f"{PROJECT}.{self.topology.stem}" / "ssh_config"

    def swap_in(self, *more: str) -> float:
        """Bring it up until all have booted; return the seconds."""
        return self._play("swapin", *more)

    def swap_out(self) -> float:
        """Take it away; return the seconds."""
        return self._play("swapout")

    def _play(self, playbook: str, *more: str) -> float:
        began = time.monotonic()
        done = subprocess.run(
            ["ansible-playbook", f"playbooks/{playbook}.yml", "-i", str(self.topology), *more],
            cwd=ROOT,
            env=environment(self.home),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - began
        if done.returncode:
            raise RuntimeError(f"{playbook} failed: {(done.stdout + done.stderr)[-1500:]}")
        return seconds

    def guests(self) -> Iterator[tuple[int, list[str]]]:
        """Yield process id and command line of each of its QEMU guests."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
                except OSError:
                    continue
                if words[0] == "qemu-system-x86_64" and any(f"{self.run_directory}/" in word for word in words):
                    yield int(entry.name), words

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may come in by ssh to plug in a cable: the service account's ``authorized_keys``, one line for each experiment.

The account's home is the root of all experiments. Directory and file are root's, so that a guest that breaks out of QEMU can let
nobody in. A line bears the experiment's mark as its comment and lets its key run the experiment's gate and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence

from .errors import HostError
from .rundir import RunDir, host_lock, remove, write_file

# One line, one type, one body; the comment is not taken over.
PUBLIC_KEY = re.compile(r"(?P<key>(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) [A-Za-z0-9+/]{16,8192}={0,3})(?: [^\n\r]*)?\s*\Z")


def public_key(text: object) -> str:
    """Return type and body of a public key. Raises HostError."""
    found = PUBLIC_KEY.match(str(text))
    if not found:
        raise HostError(f"not a public key of ssh (ssh-ed25519 AAAA...): {str(text)[:60]!r}")
    return found.group("key")


def location(root: str) -> str:
    """Where the lines are: the service account's home is the root of all experiments."""
    return f"{root}/.ssh/authorized_keys"


def line(rundir: RunDir, python: str, key: str) -> str:
    """Return what lets a key run the gate of an experiment, and nothing else."""
    return f'restrict,command="{python} -I {rundir.path}/cables/gate.py" {key} {comment(rundir.mark)}'


def comment(mark: str) -> str:
    """Return what says whose line it is."""
    return f"benito:{mark}"


def lines(root: str, mark: str) -> list[str]:
    """Return the lines of an experiment."""
    return [each for each in _read(root) if _owner(each) == comment(mark)]


def let_in(root: str, mark: str, wanted: Sequence[str]) -> None:
    """Make these the lines of an experiment; those of others and of people stay. File and directory go with the last line."""
    path = location(root)
    if not wanted and not os.path.exists(path):
        return
    with host_lock(root):
        before = _read(root)
        # sshd takes the first line that fits: with one key for two experiments, one would plug into the other's switches.
        for body in (each.split()[-2] for each in wanted):
            whose = next((_owner(each) for each in before if body in each.split() and _owner(each) != comment(mark)), "")
            if whose:
                raise HostError(f"the public key of the cables is let in already, for {whose}: each experiment needs a key of its own")
        after = [each for each in before if _owner(each) != comment(mark)] + list(wanted)
        if after == before:
            return
        if any(each.strip() for each in after):
            directory = os.path.dirname(path)
            os.makedirs(directory, exist_ok=True)
            # sshd reads it as the account: for everybody to read, and for root to write.
            os.chmod(directory, 0o755)  # noqa: S103
            write_file(path, "".join(f"{each}\n" for each in after).encode(), 0o644)
        else:
            remove(path)
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(path))


def known_host(alias: str, key: str) -> str:
    """Return the line that says which key a peer has."""
    return f"{alias} {key}"


def _read(root: str) -> list[str]:
    try:
        with open(location(root), encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []


def _owner(text: str) -> str:
    return text.rpartition(" ")[2]

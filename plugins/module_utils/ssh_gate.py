# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an experiment's key may do on this host: plug a cable of the experiment into its switch. A program of its own.

It is copied into the experiment's directory; sshd runs it, as the service account, for whoever comes with the key:
``python3 -I .../cables/gate.py``, with the id of the cable as the command that was asked for. Beside it lies ``gate.json``, what may
be asked for. It becomes the plug, whose standard input and output are the connection.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import stat
import time
from typing import Any

# The supervisor at the other end waits for this line.
CONNECTED = "benito: plugged in"
# Seconds to wait for another connection that is just coming in.
PATIENCE = 15.0
# Bytes of a record that this account wrote; honest ones have a few hundred.
LARGEST_RECORD = 1 << 16


class Refused(Exception):
    """What was asked for is not done; the text says why."""


def choose(gate: dict[str, Any], asked: str) -> dict[str, str]:
    """Return the cable that was asked for: ``plug``, the URL of its port, and ``control``, the socket of its switch. Raises Refused."""
    cable = gate.get("cables", {}).get(asked)
    if not isinstance(cable, dict):
        raise Refused("this key opens the cables of one experiment on this host, and no such cable is among them")
    return {"plug": str(cable["plug"]), "control": str(cable["control"])}


def started(pid: int) -> int:
    """Return when a living process started, in clock ticks after the boot; 0 for none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def boot() -> str:
    """Return the identity of this boot of the host."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def read(path: str) -> bytes:
    """Return a record that another program of this account wrote: no link is followed, no FIFO waited for. Raises OSError, ValueError."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(handle, "rb") as file:
        text = file.read(LARGEST_RECORD + 1) if stat.S_ISREG(os.fstat(handle).st_mode) else b""
    if len(text) > LARGEST_RECORD:
        raise ValueError(path)
    return text


def replace(path: str) -> int:
    """End the plug that the record at ``path`` names, if it is still that one, and return how many connections there were."""
    try:
        record = json.loads(read(path))
        pid, when, connections = int(record["pid"]), int(record["started"]), int(record["connections"])
        if not 0 < pid < 1 << 31:
            return 0
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return 0
    if record.get("boot") == boot() and when and started(pid) == when:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while started(pid) == when and time.monotonic() < deadline:
            time.sleep(0.01)
    return connections


def register(home: str, asked: str) -> None:
    """Take the place of an earlier connection of the same cable, and write down who we are, which the plug will be."""
    path = f"{home}/io/gate-{asked}.json"
    lock = os.open(f"{home}/io/gate.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Refused("another connection of this experiment holds the lock of its cables there") from None
            time.sleep(0.05)
    record = {
        "pid": os.getpid(),
        "started": started(os.getpid()),
        "boot": boot(),
        "connections": replace(path) + 1,
        "since": int(time.time()),
        "connection": os.environ.get("SSH_CONNECTION", ""),
    }
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(record, file)
    os.replace(f"{path}.new", path)
    os.close(lock)


def main(home: str) -> None:
    """Let one connection in. Raises Refused."""
    with open(f"{home}/gate.json", encoding="utf-8") as file:
        gate = json.load(file)
    asked = os.environ.get("SSH_ORIGINAL_COMMAND", "")
    cable = choose(gate, asked)
    with socket.socket(socket.AF_UNIX) as switch:
        try:
            switch.connect(cable["control"])
        except OSError as error:
            raise Refused(f"the switch there does not run: {error.strerror}") from error
    register(home, asked)
    os.write(2, f"{CONNECTED}\n".encode())
    os.execvpe("vde_plug", ["vde_plug", cable["plug"]], {"PATH": gate["path"], "LANG": "C.UTF-8", "BENITO_MARK": gate["mark"]})  # noqa: S606


if __name__ == "__main__":
    try:
        main(os.path.dirname(os.path.abspath(__file__)))
    except (Refused, OSError, ValueError, KeyError) as problem:
        raise SystemExit(f"benito: {problem}") from None

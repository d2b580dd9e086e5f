# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who works on an experiment from this controller, and whose the files are by which they do so.

An experiment belongs to the holder of its SSH key, which is in its state directory. What stands there is believed, so it must be
nobody else's to write.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import pwd
import re
import socket
import stat
from collections.abc import Mapping
from pathlib import Path

from .diagnostics import Location, TopologyError

KEY = "id_ed25519"
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_LARGEST = 64 << 20


def login(environment: Mapping[str, str]) -> str:
    """Return the login name of the person at this controller: for root by sudo, of the one who called it."""
    name = _account(os.geteuid())
    return environment.get("SUDO_USER") or name if os.geteuid() == 0 else name


def owner(directory: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return who works on the experiment with this state directory, for the option ``owner`` of modules."""
    user = re.sub(r"[^!-~]", "_", login(environment))[:64]
    return {"user": user, "controller": socket.gethostname()[:255] or "localhost", "fingerprint": fingerprint(directory / f"{KEY}.pub")}


def fingerprint(public_key: Path) -> str:
    """Return the fingerprint of a public key as ssh-keygen shows it; nothing where there is none."""
    try:
        blob = base64.b64decode(public_key.read_text(encoding="ascii").split()[1], validate=True)
    except (OSError, ValueError, IndexError, binascii.Error):
        return ""
    return f"SHA256:{base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip('=')}"


def read_own(path: Path) -> bytes:
    """Read a file of a state directory. Raises FileNotFoundError, OSError, or TopologyError where others may have written it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        reason = why_not_own(path.parent) or _foreign(path, os.fstat(descriptor))
        if reason:
            raise TopologyError(reason, Location(str(path)))
        return file.read(_LARGEST)


def why_not_own(directory: Path) -> str:
    """Say why a state directory that is there cannot be relied on; nothing when it can, or is not there."""
    try:
        # Of a link, both ends: who owns it chooses where it leads.
        link, there = os.lstat(directory), os.stat(directory)
    except OSError:
        return ""
    return (_foreign(directory, link, link_only=True) if stat.S_ISLNK(link.st_mode) else "") or _foreign(directory, there)


def _foreign(path: Path, status: os.stat_result, link_only: bool = False) -> str:
    if status.st_uid not in _own_ids():
        return f"{path} belongs to {_account(status.st_uid)}, and its content is to be believed: give a state directory of your own"
    if not link_only and status.st_mode & _OTHERS_WRITE:
        return f"{path} can be written by others, and its content is to be believed: look whether it is as it was, then chmod go-w {path}"
    return ""


def _own_ids() -> set[int]:
    """Return the accounts that may write what is read here. Root by sudo works with the files of the one who called it."""
    ids = {0, os.geteuid()}
    caller = os.environ.get("SUDO_UID", "")
    return ids | {int(caller)} if os.geteuid() == 0 and caller.isdecimal() else ids


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The device node of all TAPs, which the plugs of cables open for themselves: no descriptor can be handed to them.

Where udev made the node, everybody may open it: that gives nobody a TAP but one of his own. Where nothing did, it is root's alone. Then
the group of the service account gets it until the last experiment has left this host; what it was like before is kept in ROOT/tun.json.
"""

from __future__ import annotations

import os
import stat
import subprocess

from .accounts import account, identity
from .errors import HostError
from .rundir import ACCOUNT, existing, host_lock, read_json, remove, write_json

NODE = "/dev/net/tun"


def admitted() -> bool:
    """Tell whether the service account may open the node, as the kernel says: mode and owner need not be all there is."""
    asked = subprocess.run(["test", "-r", NODE, "-a", "-w", NODE], check=False, **identity(ACCOUNT).popen)
    return asked.returncode == 0


def groups() -> tuple[int, ...]:
    """Return what a program of other ids must belong to in order to open the node: nothing where everybody may."""
    found = os.stat(NODE)
    return () if found.st_mode & 0o006 == 0o006 else (found.st_gid,)


def admit(root: str) -> None:
    """Make sure that the service account may open the node. Raises HostError."""
    if admitted():
        return
    with host_lock(root):
        before, group = _facts(), account(ACCOUNT).pw_gid
        after = {"group": group, "mode": before["mode"] | 0o060}
        write_json(_record(root), {"before": before, "after": after})
        try:
            _set(after)
        except OSError as error:
            remove(_record(root))
            raise HostError(
                f"the account {ACCOUNT} may not open {NODE}, nor can this be changed ({error.strerror}): give it mode 0666, as udev does"
            ) from error


def restore(root: str) -> bool:
    """Give the node back as it was when no experiment is left. True when something was done."""
    if not os.path.lexists(_record(root)):
        return False
    with host_lock(root):
        record = read_json(_record(root))
        if existing(root):
            return False
        # A node that somebody changed since, or that a boot made anew, is not ours to change.
        before = record.get("before", {})
        sound = [type(before.get(key)) for key in ("group", "mode")] == [int, int]
        if sound and os.path.exists(NODE) and _facts() == record.get("after"):
            _set(before)
        return remove(_record(root))


def _facts() -> dict[str, int]:
    found = os.stat(NODE)
    return {"group": found.st_gid, "mode": stat.S_IMODE(found.st_mode)}


def _set(facts: dict[str, int]) -> None:
    os.chown(NODE, -1, facts["group"])
    os.chmod(NODE, facts["mode"])


def _record(root: str) -> str:
    return f"{root}/tun.json"

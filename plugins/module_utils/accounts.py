# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ids that programs of ours run as: those of an account, or bare numbers that no account has."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass
from typing import Any

from .errors import HostError


@dataclass(frozen=True)
class Identity:
    """A user id, a group id and further groups."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    @property
    def words(self) -> list[str]:
        """The words of a program that takes these ids and then becomes another: no program it runs ever gains rights."""
        further = f"--groups={','.join(map(str, self.groups))}" if self.groups else "--clear-groups"
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", further, "--no-new-privs", "--"]

    @property
    def popen(self) -> dict[str, Any]:
        """The same as arguments of the module subprocess, for programs that end soon."""
        return {"user": self.uid, "group": self.gid, "extra_groups": list(self.groups)}


def account(name: str) -> pwd.struct_passwd:
    """Return the entry of an account. Raises HostError when the host has none of that name."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise HostError(f"this host has no account {name}: prepare it with the role benito.testbed.vhost first") from None


def groups(name: str) -> list[int]:
    """Return the groups of an account."""
    return os.getgrouplist(name, account(name).pw_gid)


def identity(name: str) -> Identity:
    """Return the ids of an account. Raises HostError when the host has none of that name."""
    entry = account(name)
    return Identity(entry.pw_uid, entry.pw_gid, tuple(groups(name)))


def uid_of(name: str) -> int | None:
    """Return the id of an account; None when the host has none of that name."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def group(name: str) -> int | None:
    """Return the id of a group; None when the host has none of that name."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The account that guests and switches run as."""

from __future__ import annotations

import os
import pwd

from .errors import HostError


def account(name: str) -> pwd.struct_passwd:
    """Return the entry of an account. Raises HostError when the host has none of that name."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise HostError(f"this host has no account {name}: prepare it with the role benito.testbed.vhost first") from None


def groups(name: str) -> list[int]:
    """Return the groups of an account."""
    return os.getgrouplist(name, account(name).pw_gid)

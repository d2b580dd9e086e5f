# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ids that machines, switches and shapers of an experiment run as: its own, so that none reaches what another experiment has.

An experiment whose first parts were started under the account ``benito``, by an earlier release, keeps running under it until swap-out:
switches and machines of different ids could not be plugged together.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from .accounts import Identity, account, group, groups
from .id_ranges import id_range
from .rundir import ACCOUNT, RunDir

# Whoever is in it may open /dev/kvm.
KVM = "kvm"
# Directories shared with machines by virtio are opened by QEMU itself: this group lets it in.
SHARE_GROUP = "benito-share"


def service(rundir: RunDir, shares: bool = False) -> Identity:
    """Return the ids of an experiment's programs; with ``shares`` those of a machine that has directories of the host. Raises HostError."""
    if started_under_the_account(rundir):
        return Identity(account(ACCOUNT).pw_uid, account(ACCOUNT).pw_gid, _further(shares))
    own = id_range(rundir).service
    return Identity(own, own, _further(shares))


def template_maker(rundir: RunDir) -> Identity:
    """Return the ids of the machine that becomes a template. All experiments use it, so no machine of this one may reach it."""
    own = id_range(rundir).template_maker
    return Identity(own, own, _further(shares=False))


def _further(shares: bool) -> tuple[int, ...]:
    """Return what the lab's administrator lets the account do beside its own, and the group of shared directories."""
    own = account(ACCOUNT).pw_gid
    found = {*(gid for gid in groups(ACCOUNT) if gid != own), group(KVM), group(SHARE_GROUP) if shares else None}
    return tuple(sorted(gid for gid in found if gid is not None))


def started_under_the_account(rundir: RunDir) -> bool:
    """Tell whether an experiment was first swapped in by a release that had one account for all."""
    with contextlib.suppress(OSError):
        for path in _homes(rundir):
            with contextlib.suppress(FileNotFoundError):
                return os.stat(f"{path}/io", follow_symlinks=False).st_uid == account(ACCOUNT).pw_uid
    return False


def _homes(rundir: RunDir) -> Iterator[str]:
    """Name the directories of switches and guests, one after the other: the first that has sockets decides."""
    for kind in ("switches", "guests"):
        with contextlib.suppress(FileNotFoundError), os.scandir(f"{rundir.path}/{kind}") as entries:
            for entry in entries:
                yield entry.path

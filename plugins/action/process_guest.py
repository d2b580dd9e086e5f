# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show how far a batch of process nodes has got while the module is busy with it."""

from __future__ import annotations

from ansible_collections.benito.testbed.plugins.action import qemu_guest


class ActionModule(qemu_guest.ActionModule):
    """Run the module of the same name, as for machines: they keep the same file."""

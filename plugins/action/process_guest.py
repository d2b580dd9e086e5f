# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show how far a batch of process nodes has got: as for machines, and the file is the same."""

from __future__ import annotations

from ansible_collections.benito.testbed.plugins.action.qemu_guest import ActionModule as ActionModule

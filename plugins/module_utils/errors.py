# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong on a host, for the modules to report."""

from __future__ import annotations


class HostError(Exception):
    """Something on this host is not as it must be; the text says what, and what would be right."""

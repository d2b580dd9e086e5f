# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measurements, each a script that prints a table for the documentation, and what they share."""

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmark measures: a file for each subject, whose `tables(bench)` yields its tables, and what they compare with."""

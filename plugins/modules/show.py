#!/usr/bin/python
# Copyright (c) 2026 The Benito developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: show
short_description: Print a table or other text for people as it is
version_added: 0.1.0
description:
  - Prints text on the controller, without the indentation and quoting that M(ansible.builtin.debug) gives it.
options:
  text:
    description: What to print.
    type: str
    required: true
attributes:
  check_mode:
    description: Prints in check mode too.
    support: full
  diff_mode:
    description: Has nothing to show, since nothing is changed.
    support: none
  action:
    description: Runs on the controller.
    support: full
author:
  - The Benito developers (@benito)
seealso:
  - module: ansible.builtin.debug
"""

EXAMPLES = r"""
- name: Show a table
  benito.testbed.show:
    text: |
      NODE  STATE
      n-0   booted
"""

RETURN = r""" # """

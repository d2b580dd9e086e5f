#!/usr/bin/python
# Copyright (c) 2026 The Benito developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ask
short_description: Run a command that only looks at a host
version_added: 0.1.0
description:
  - Runs a command that changes nothing, without starting a module, as M(ansible.builtin.raw) does. The host needs no Python.
  - The host may be a machine of the experiment, which prints what it likes. Its output, and the error where it cannot be reached, come
    without characters that a terminal obeys, and are cut.
options:
  argv:
    description: The program and its arguments; no shell takes them apart.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    description: Looks in check mode too.
    support: full
  diff_mode:
    description: Has nothing to show, since nothing is changed.
    support: none
  action:
    description: Runs on the controller, and the command on the host.
    support: full
author:
  - The Benito developers (@benito)
seealso:
  - module: ansible.builtin.raw
"""

EXAMPLES = r"""
- name: Reach the host
  benito.testbed.ask:
    argv: ["true"]
"""

RETURN = r"""
rc:
  description: Exit status; one that is not 0 is a failure.
  returned: success
  type: int
  sample: 0
stdout:
  description: What it printed.
  returned: success
  type: str
  sample: "group kvm"
stdout_lines:
  description: The same in lines.
  returned: success
  type: list
  elements: str
  sample: [group kvm]
"""

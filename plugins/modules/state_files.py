#!/usr/bin/python
# Copyright (c) 2026 The Benito developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: state_files
short_description: Keep texts and SSH keys of an experiment on the controller
version_added: 0.1.0
description:
  - Makes a directory on the controller that only its owner may enter, and texts, pairs of SSH keys and secrets in it that only their owner
    may read.
  - What is right already stays as it is; a key or a secret that is there is never made again. Other files of the directory are left alone.
  - It is an action, which runs where the playbook runs, whatever host the task is for, without the start of a module for each file.
options:
  directory:
    description: Where they are kept. It is made, with what leads to it, and has mode C(0700).
    type: path
    required: true
  texts:
    description: Texts by file name. Each is written whole or not at all, with mode C(0600).
    type: dict
    default: {}
  state:
    description: V(absent) removes the directory with all that is in it.
    type: str
    choices: [present, absent]
    default: present
  keys:
    description: Comments of pairs of SSH keys (ed25519), by the file name of the private one; the public one's name ends in C(.pub).
    type: dict
    default: {}
  random:
    description: Names of files that each hold a secret, 64 hexadecimal digits drawn at random.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Tells what would change.
    support: full
  diff_mode:
    description: Shows the texts that change.
    support: full
  action:
    description: Runs on the controller.
    support: full
author:
  - The Benito developers (@benito)
requirements:
  - ssh-keygen, for O(keys)
seealso:
  - module: ansible.builtin.copy
"""

EXAMPLES = r"""
- name: Keep a key and a note
  benito.testbed.state_files:
    directory: ~/.local/state/benito/lab.demo
    keys:
      id_ed25519: lab.demo
    texts:
      note: "swapped in by hand\n"

- name: Keep nothing of it any more
  benito.testbed.state_files:
    directory: ~/.local/state/benito/lab.demo
    state: absent
"""

RETURN = r"""
paths:
  description: What was made, altered or removed.
  type: list
  elements: str
  returned: always
  sample: [/home/ann/.local/state/benito/lab.demo/note]
"""

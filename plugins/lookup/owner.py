# Copyright (c) 2026 The Benito developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Thin door: who works on an experiment from this controller."""

from __future__ import annotations

DOCUMENTATION = r"""
name: owner
short_description: The owner of an experiment, as this controller knows it
version_added: 0.1.0
author:
  - The Benito developers (@benito)
description:
  - Returns the login name, the name of the controller, and the fingerprint of the experiment's SSH key in its state directory.
  - Hosts record it, and refuse changes by others. The key decides; the names are for people.
options:
  _terms:
    description: State directories of experiments, the inventory's C(benito.state_dir).
    type: list
    elements: path
    required: true
"""

EXAMPLES = r"""
- name: Bring up switches that nobody else takes by mistake
  benito.testbed.vde_switch:
    experiment:
      project: lab
      experiment: demo
      id: lab.demo
      owner: "{{ lookup('benito.testbed.owner', '~/.local/state/benito/lab.demo') }}"
    switches:
      - {name: lan0, id: lan0}
  become: true
"""

RETURN = r"""
_raw:
  description: One mapping for each directory.
  type: list
  elements: dict
  contains:
    user:
      description: Login name; for root by sudo, that of the one who called it.
      type: str
    controller:
      description: Host name of the controller.
      type: str
    fingerprint:
      description: Fingerprint of the key C(id_ed25519) in the directory, C(SHA256:...); empty when there is none yet.
      type: str
"""

import os
from pathlib import Path

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ..plugin_utils.ownership import owner, why_not_own


class LookupModule(LookupBase):
    """The door of the lookup."""

    def run(self, terms, variables=None, **kwargs):
        """Return the owner for each state directory."""
        found = []
        for term in terms:
            directory = Path(os.path.expanduser(str(term)))
            reason = why_not_own(directory)
            if reason:
                raise AnsibleLookupError(reason)
            found.append(owner(directory, os.environ))
        return found

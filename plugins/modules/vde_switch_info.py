#!/usr/bin/python
# Copyright (c) 2026 The Benito developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Thin door: facts about the VDE switches of an experiment."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vde_switch_info
short_description: Facts about the VDE switches of an experiment on a host
version_added: 0.1.0
description:
  - Says of each switch of an experiment whether it runs, and which of its ports are plugged in as the switch itself knows it.
extends_documentation_fragment:
  - benito.testbed.experiment
  - benito.testbed.experiment.info
author:
  - The Benito developers (@benito)
seealso:
  - module: benito.testbed.vde_switch
"""

EXAMPLES = r"""
- name: Look at the switches
  benito.testbed.vde_switch_info:
    experiment: {project: lab, experiment: demo, id: lab.demo}
  become: true
  register: result
"""

RETURN = r"""
switches:
  description: One entry for each switch.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the substrate.
      type: str
      sample: lan0
    id:
      description: Short name of the switch.
      type: str
      sample: lan0
    state:
      description: V(running), or V(dead) when its process is gone.
      type: str
      sample: running
    pid:
      description: Its process.
      type: int
      sample: 4711
    plugged:
      description: The ports something is plugged into.
      type: list
      elements: int
      sample: [1, 2]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.benito.testbed.plugins.module_utils import vde
from ansible_collections.benito.testbed.plugins.module_utils.options import EXPERIMENT, inform


def main():
    """Run the module."""
    module = AnsibleModule(argument_spec=EXPERIMENT, supports_check_mode=True)
    inform(module, lambda rundir: {"switches": [vde.state(rundir, id_) for id_ in vde.known(rundir)]})


if __name__ == "__main__":
    main()

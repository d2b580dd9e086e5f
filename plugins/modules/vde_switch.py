#!/usr/bin/python
# Copyright (c) 2026 The Benito developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Thin door: the VDE switches of an experiment."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vde_switch
short_description: The VDE switches of an experiment on a host
version_added: 0.1.0
description:
  - Starts one C(vde_switch) for each substrate of an experiment, and stops those that are no longer wanted.
  - The whole list is one batch. A switch that is right and running is left alone; one that died is started again, and the guests
    that were plugged into it are plugged in again by M(benito.testbed.qemu_guest) without a restart.
extends_documentation_fragment:
  - benito.testbed.experiment
  - benito.testbed.experiment.attributes
options:
  switches:
    description: The switches.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the substrate the switch carries.
        type: str
        required: true
      id:
        description: A short name for paths, at most 20 characters.
        type: str
        required: true
      ports:
        description: How many ports the switch has.
        type: int
        default: 32
  state:
    description:
      - V(present) starts the switches that do not run as wanted.
      - V(absent) stops the listed switches and removes what they leave.
    type: str
    choices: [present, absent]
    default: present
  purge:
    description: Also stop the switches of this experiment that are not listed.
    type: bool
    default: false
requirements:
  - vde_switch (Debian package vde-switch)
  - a system account C(benito), which the switches run as
author:
  - The Benito developers (@benito)
seealso:
  - module: benito.testbed.vde_switch_info
"""

EXAMPLES = r"""
- name: One LAN
  benito.testbed.vde_switch:
    experiment: {project: lab, experiment: demo, id: lab.demo}
    switches:
      - {name: lan0, id: lan0, ports: 32}
    purge: true
  become: true

- name: And away with it
  benito.testbed.vde_switch:
    experiment: {project: lab, experiment: demo, id: lab.demo}
    switches:
      - {name: lan0, id: lan0}
    state: absent
  become: true
"""

RETURN = r"""
switches:
  description: One result for each switch that was listed or removed.
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
    action:
      description: What was done, V(none) when nothing.
      type: str
      sample: start
    reason:
      description: Why it was done.
      type: str
      sample: dead
    changed:
      description: Whether this switch was touched.
      type: bool
kinds:
  description: The kinds of nodes that the experiment has on this host, from earlier runs.
  returned: success
  type: list
  elements: str
  sample: [process, qemu]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.benito.testbed.plugins.module_utils import guest_status, vde
from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.options import EXPERIMENT, difference, failures, open_experiment

SWITCH = {
    "name": {"type": "str", "required": True},
    "id": {"type": "str", "required": True},
    "ports": {"type": "int", "default": 32},
}


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **EXPERIMENT,
            "switches": {"type": "list", "elements": "dict", "required": True, "options": SWITCH},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "purge": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        switches = [vde.Switch.from_options(entry) for entry in params["switches"]]
        rundir, lock = open_experiment(params, module.check_mode)
        with lock:
            if params["state"] == "present":
                results = vde.present(rundir, switches, params["purge"], module.check_mode)
            else:
                results = vde.absent(rundir, [switch.id for switch in switches], module.check_mode)
    except HostError as error:
        module.fail_json(msg=str(error))
    # Swap-in asks what else there is to look after, and a module of its own would take it half a second.
    kinds = guest_status.kinds(rundir)
    report = {"changed": any(r["changed"] for r in results), "switches": results, "kinds": kinds, "diff": difference(results)}
    if failures(results):
        module.fail_json(msg=failures(results), **report)
    module.exit_json(**report)


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright (c) 2026 The Benito developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Thin door: what placement must know of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_info
short_description: What a host has for guests
version_added: 0.1.0
description:
  - Says what placement must know of a host before an experiment is put on it.
options:
  project:
    description: Project of the experiment that is to be placed.
    type: str
    required: true
  experiment:
    description: Name of the experiment that is to be placed. What its own guests take does not count.
    type: str
    required: true
  root:
    description: Directory on the host that holds the records, sockets and logs of all experiments.
    type: str
    default: /var/lib/benito
extends_documentation_fragment:
  - benito.testbed.experiment.info
author:
  - The Benito developers (@benito)
"""

EXAMPLES = r"""
- name: Look at the host
  benito.testbed.host_info:
    project: lab
    experiment: demo
  become: true
  register: result
"""

RETURN = r"""
cores:
  description: Processors of the host.
  returned: always
  type: int
  sample: 8
memory:
  description: Memory of the host in MB.
  returned: always
  type: int
  sample: 32000
held:
  description: Memory in MB that guests of other experiments take.
  returned: always
  type: int
  sample: 2048
host_keys:
  description: Public SSH keys of the host, type and key.
  returned: always
  type: list
  elements: str
  sample: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI...]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.benito.testbed.plugins.module_utils import host_facts
from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.rundir import ROOT


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "experiment": {"type": "str", "required": True},
            "root": {"type": "str", "default": ROOT},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        held = host_facts.held(given["project"], given["experiment"], given["root"])
        facts = {"cores": host_facts.cores(), "memory": host_facts.memory(), "held": held, "host_keys": host_facts.host_keys()}
    except (HostError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **facts)


if __name__ == "__main__":
    main()

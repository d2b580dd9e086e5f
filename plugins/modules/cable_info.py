#!/usr/bin/python
# Copyright (c) 2026 The Benito developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Thin door: facts about the cables of an experiment."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cable_info
short_description: Facts about the cables of an experiment on a host
version_added: 0.1.0
description:
  - Says of each cable of an experiment whether it is connected, as this end sees it, and how often it was made again since it was set up.
  - A dead peer is noticed within 20 seconds, by V(udp) and V(vxlan) only where the network says that nobody is there.
extends_documentation_fragment:
  - benito.testbed.experiment
  - benito.testbed.experiment.info
author:
  - The Benito developers (@benito)
seealso:
  - module: benito.testbed.cable
"""

EXAMPLES = r"""
- name: Look at the cables
  benito.testbed.cable_info:
    experiment: {project: lab, experiment: demo, id: lab.demo}
  become: true
  register: result
"""

RETURN = r"""
cables:
  description: One entry for each cable.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the cable.
      type: str
      sample: lan0 pnode-0001
    id:
      description: Its short name.
      type: str
      sample: lan0-1
    peer:
      description: The other host.
      type: str
      sample: pnode-0001
    transport:
      description: How frames travel.
      type: str
      sample: ssh
    state:
      description: V(connected), V(connecting) when it never was yet and nothing is known to be wrong, or V(broken).
      type: str
      sample: connected
    remakes:
      description: How often it was made again.
      type: int
      sample: 0
    since:
      description: Since when it is so, in UTC; empty when it never came about.
      type: str
      sample: "2026-01-31T12:00:00Z"
    detail:
      description: What is wrong; empty when nothing is.
      type: str
      sample: "ssh: connect to host 192.0.2.7 port 22: Connection refused"
    pids:
      description: Its processes on this host, without the supervisor.
      type: list
      elements: int
      sample: [4711, 4712]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.benito.testbed.plugins.module_utils import cable_status
from ansible_collections.benito.testbed.plugins.module_utils.options import EXPERIMENT, inform


def main():
    """Run the module."""
    module = AnsibleModule(argument_spec=EXPERIMENT, supports_check_mode=True)
    inform(module, lambda rundir: {"cables": cable_status.state(rundir)})


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright (c) 2026 The Benito developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Thin door: facts about the process nodes of an experiment."""

from __future__ import annotations

DOCUMENTATION = r"""
module: process_guest_info
short_description: Facts about the process nodes of an experiment on a host
version_added: 0.1.0
description:
  - Says of each process node of an experiment on this host how it is, what became of its start command, and whether it is plugged in.
extends_documentation_fragment:
  - benito.testbed.experiment
  - benito.testbed.experiment.info
options:
  names:
    description: Only these nodes; one that is not there is reported as V(absent). All nodes the host knows of when not given.
    type: list
    elements: str
author:
  - The Benito developers (@benito)
seealso:
  - module: benito.testbed.process_guest
"""

EXAMPLES = r"""
- name: How are they
  benito.testbed.process_guest_info:
    experiment: {project: lab, experiment: demo, id: lab.demo}
  become: true
  register: result
"""

RETURN = r"""
guests:
  description: One entry for each node.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the node.
      type: str
      sample: n-0
    state:
      description: V(booted), V(running) (being made), V(dead), V(stopped) (on request) or V(absent).
      type: str
      sample: booted
    pid:
      description: Process of the start command, as the host sees it; null when none runs.
      type: int
      sample: 4711
    uptime:
      description: Seconds it took to make the node.
      type: float
      sample: 0.02
    exit_status:
      description: Exit status of the start command, V(running) while it runs, null when there is none.
      type: raw
      sample: 0
    detail:
      description: A remark for people, empty when all is well.
      type: str
    ssh_host_key:
      description: The public host key that the node is known by, one for all process nodes of the experiment on this host.
      type: str
      sample: ssh-ed25519 AAAA...
    entry:
      description:
        - The program of the host that leads into nodes. With the name of a node it is a shell in it, or, without a terminal, an ssh server
          for the one connection that its standard input and output are.
      type: str
      sample: /var/lib/benito/lab.demo/nodes/enter
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.benito.testbed.plugins.module_utils.options import EXPERIMENT, inform, of_names
from ansible_collections.benito.testbed.plugins.module_utils.process_nodes import infos


def main():
    """Run the module."""
    module = AnsibleModule(argument_spec={**EXPERIMENT, "names": {"type": "list", "elements": "str"}}, supports_check_mode=True)
    inform(module, lambda rundir: {"guests": of_names(infos(rundir), module.params["names"])})


if __name__ == "__main__":
    main()

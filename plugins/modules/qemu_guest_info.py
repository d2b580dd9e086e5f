#!/usr/bin/python
# Copyright (c) 2026 The Benito developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Thin door: facts about the QEMU guests of an experiment."""

from __future__ import annotations

DOCUMENTATION = r"""
module: qemu_guest_info
short_description: Facts about the QEMU guests of an experiment on a host
version_added: 0.1.0
description:
  - Says of each guest of an experiment what can be seen from outside, its process, its state port, its plugs in the switches.
extends_documentation_fragment:
  - benito.testbed.experiment
  - benito.testbed.experiment.info
options:
  names:
    description: Only these guests; one that is not there is reported as V(absent). All guests the host knows of when not given.
    type: list
    elements: str
author:
  - The Benito developers (@benito)
seealso:
  - module: benito.testbed.qemu_guest
"""

EXAMPLES = r"""
- name: How are they
  benito.testbed.qemu_guest_info:
    experiment: {project: lab, experiment: demo, id: lab.demo}
  become: true
  register: result
"""

RETURN = r"""
guests:
  description: One entry for each guest.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the node.
      type: str
      sample: n-0
    state:
      description: V(booted), V(running) (started, not booted), V(dead) (its process is gone), V(stopped) (on request) or V(absent).
      type: str
      sample: booted
    pid:
      description: Process of the guest's QEMU.
      type: int
      sample: 4711
    uptime:
      description: Seconds the guest's kernel had run when it had booted.
      type: float
      sample: 1.9
    exit_status:
      description: Exit status of the start command, V(running) while it runs, null when there is none.
      type: raw
      sample: 0
    detail:
      description: A remark for people, empty when all is well.
      type: str
    control_address:
      description: What the lab's DHCP server gave to its control interface, where that is asked.
      type: str
      sample: 192.0.2.100
    ssh_host_key:
      description: The guest's public host key.
      type: str
      sample: ssh-ed25519 AAAA...
    console:
      description: UNIX socket of the guest's serial console.
      type: str
      sample: /var/lib/benito/lab.demo/guests/n-0/io/console
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.benito.testbed.plugins.module_utils.guest_status import QEMU, describe, known, plugged
from ansible_collections.benito.testbed.plugins.module_utils.options import EXPERIMENT, inform, of_names


def main():
    """Run the module."""
    module = AnsibleModule(argument_spec={**EXPERIMENT, "names": {"type": "list", "elements": "str"}}, supports_check_mode=True)
    inform(module, lambda rundir: {"guests": of_names(look(rundir), module.params["names"])})


def look(rundir):
    """Return the guests of the experiment."""
    ports = plugged(rundir)
    return [describe(rundir, id_, ports) for id_ in known(rundir, QEMU)]


if __name__ == "__main__":
    main()

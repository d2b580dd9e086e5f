#!/usr/bin/python
# Copyright (c) 2026 The Benito developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Thin door: facts about the shapers of an experiment."""

from __future__ import annotations

DOCUMENTATION = r"""
module: shaper_info
short_description: Facts about the shapers of an experiment's links on a host
version_added: 0.1.0
description:
  - Says of each shaper of an experiment whether it runs and what it does, as the shaper itself says.
  - Says which interfaces of guests were taken down by M(benito.testbed.link).
extends_documentation_fragment:
  - benito.testbed.experiment
  - benito.testbed.experiment.info
author:
  - The Benito developers (@benito)
seealso:
  - module: benito.testbed.shaper
"""

EXAMPLES = r"""
- name: Look at the shapers
  benito.testbed.shaper_info:
    experiment: {project: lab, experiment: demo, id: lab.demo}
  become: true
  register: result
"""

RETURN = r"""
shapers:
  description: One entry for each shaper.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the shaper, node and interface.
      type: str
      sample: a:inf000
    id:
      description: Short name of the shaper.
      type: str
      sample: a.inf000
    node:
      description: Name of the node.
      type: str
      sample: a
    interface:
      description: Name of the interface.
      type: str
      sample: inf000
    substrate:
      description: Name of the link or LAN.
      type: str
      sample: lan0
    state:
      description: V(running), or V(dead) when one of its processes is gone or not plugged in.
      type: str
      sample: running
    pid:
      description: Its process for packets away from the node.
      type: int
      sample: 4711
    pids:
      description: Its processes, by direction.
      type: dict
      sample: {out: 4711, in: 4712}
    out:
      description: What it does to packets away from the node, null when it cannot say.
      type: dict
      sample: {capacity: 10000.0, spread: null, latency: 5.0, jitter: null, loss: null, duplication: null, burst: null}
    in:
      description: What it does to packets towards the node, null when it cannot say.
      type: dict
      sample: {capacity: 10000.0, spread: null, latency: 5.0, jitter: null, loss: null, duplication: null, burst: null}
    queued:
      description: Bytes that are under way, by direction.
      type: dict
      sample: {out: 0, in: 1516}
    down:
      description: Whether the interface was taken down.
      type: bool
down:
  description: The interfaces that were taken down, shaped or not, as node and interface.
  returned: always
  type: list
  elements: str
  sample: ["a:inf000"]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.benito.testbed.plugins.module_utils import link_changes, shapers
from ansible_collections.benito.testbed.plugins.module_utils.guest_status import plugged
from ansible_collections.benito.testbed.plugins.module_utils.options import EXPERIMENT, inform


def main():
    """Run the module."""
    inform(AnsibleModule(argument_spec=EXPERIMENT, supports_check_mode=True), look)


def look(rundir):
    """Return the shapers, and the interfaces that are down."""
    down = sorted(":".join(end) for end in link_changes.down(rundir))
    found = shapers.known(rundir)
    ports = plugged(rundir) if found else {}
    return {"shapers": [shapers.state(rundir, id_, ports, down) for id_ in found], "down": down}


if __name__ == "__main__":
    main()

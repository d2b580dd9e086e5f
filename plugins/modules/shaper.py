#!/usr/bin/python
# Copyright (c) 2026 The Benito developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Thin door: the shapers of an experiment."""

from __future__ import annotations

DOCUMENTATION = r"""
module: shaper
short_description: The shapers of an experiment's links on a host
version_added: 0.1.0
description:
  - Puts a shaper between the own switch of an interface and the switch of its substrate. It limits the capacity, delays, loses and
    duplicates packets, each direction for itself.
  - A shaper is two C(wirefilter) processes back to back, one for each direction.
  - The whole list is one batch. A shaper that is right and running is left alone. Where values differ from what the shaper itself says
    that it does, it is retuned while it runs, without a lost packet. What died, or lost its switch, is started again.
  - Interfaces that M(benito.testbed.link) took down are taken up again.
extends_documentation_fragment:
  - benito.testbed.experiment
  - benito.testbed.experiment.attributes
options:
  shapers:
    description: The shapers.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: How the shaper is called in results, node and interface.
        type: str
        required: true
      id:
        description: A short name for paths, at most 20 characters.
        type: str
        required: true
      node:
        description: Name of the node.
        type: str
        default: ""
      interface:
        description: Name of the interface in the topology.
        type: str
        default: ""
      substrate:
        description: Name of the link or LAN.
        type: str
        default: ""
      edge:
        description: Id of the switch that is the interface's own.
        type: str
        required: true
      edge_port:
        description: Port of that switch for the shaper.
        type: int
        default: 2
      switch:
        description: Id of the switch of the substrate.
        type: str
        required: true
      port:
        description: Port of that switch for the shaper.
        type: int
        required: true
      out:
        description: What happens to packets away from the node.
        type: dict
        suboptions: &direction
          capacity:
            description: Rate in kb/s, counting whole frames. No limit when not given.
            type: float
          spread:
            description: Fraction of the capacity that each frame finds more or less, at random.
            type: float
          latency:
            description: Delay in ms.
            type: float
          jitter:
            description: How many ms the delay is more or less, at random. Packets are not reordered.
            type: float
          loss:
            description: Fraction of packets that is lost.
            type: float
          duplication:
            description: Fraction of packets that arrive twice.
            type: float
          burst:
            description: Mean length of a run of lost packets. Losses are independent of each other when not given.
            type: float
      in:
        description: What happens to packets towards the node.
        type: dict
        suboptions: *direction
  state:
    description:
      - V(present) starts and retunes the shapers that are not as wanted.
      - V(absent) stops the listed shapers and removes what they leave. Their interfaces are cut off.
    type: str
    choices: [present, absent]
    default: present
  purge:
    description: Also stop the shapers of this experiment that are not listed.
    type: bool
    default: false
requirements:
  - wirefilter (Debian package vde-wirefilter)
  - libvdeplug 4 with its module ptp (Debian package libvdeplug2)
  - a system account C(benito), which the shapers run as
author:
  - The Benito developers (@benito)
seealso:
  - module: benito.testbed.shaper_info
  - module: benito.testbed.link
  - module: benito.testbed.vde_switch
"""

EXAMPLES = r"""
- name: An interface with 10 Mb/s, 5 ms and, towards the node, one lost packet of a hundred
  benito.testbed.shaper:
    experiment: {project: lab, experiment: demo, id: lab.demo}
    shapers:
      - name: a:inf000
        id: a.inf000
        node: a
        interface: inf000
        substrate: lan0
        edge: a.inf000
        switch: lan0
        port: 1
        out: {capacity: 10000, latency: 5}
        in: {capacity: 10000, latency: 5, loss: 0.01}
    purge: true
  become: true
"""

RETURN = r"""
shapers:
  description: One result for each shaper that was listed or removed, and for each interface that was taken up again.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the shaper.
      type: str
      sample: a:inf000
    id:
      description: Short name of the shaper.
      type: str
      sample: a.inf000
    action:
      description: What was done, one of V(none), V(start), V(retune), V(remove), V(up).
      type: str
      sample: retune
    reason:
      description: Why it was done.
      type: str
      sample: "out: latency 5 ms -> latency 20 ms"
    before:
      description: What there was, where something was done.
      type: str
      sample: "out: latency 5 ms"
    after:
      description: What there is now, where something was done.
      type: str
      sample: "out: latency 20 ms"
    changed:
      description: Whether this shaper was touched.
      type: bool
    msg:
      description: What went wrong.
      type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.benito.testbed.plugins.module_utils import link_changes, shapers
from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.options import EXPERIMENT, failures, open_experiment

TEXT = {"type": "str", "required": True}
NAME = {"type": "str", "default": ""}
DIRECTION = {
    "type": "dict",
    "options": {key: {"type": "float"} for key in ("capacity", "spread", "latency", "jitter", "loss", "duplication", "burst")},
}
SHAPER = {
    "name": TEXT,
    "id": TEXT,
    "node": NAME,
    "interface": NAME,
    "substrate": NAME,
    "edge": TEXT,
    "edge_port": {"type": "int", "default": 2},
    "switch": TEXT,
    "port": {"type": "int", "required": True},
    "out": DIRECTION,
    "in": DIRECTION,
}


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **EXPERIMENT,
            "shapers": {"type": "list", "elements": "dict", "required": True, "options": SHAPER},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "purge": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    params, check = module.params, module.check_mode
    try:
        wanted = [shapers.Shaper.from_options(entry) for entry in params["shapers"]]
        rundir, lock = open_experiment(params, check)
        with lock:
            if params["state"] == "present":
                results = shapers.present(rundir, wanted, params["purge"], check) + link_changes.restore(rundir, check)
            else:
                results = shapers.absent(rundir, [shaper.id for shaper in wanted], check)
    except HostError as error:
        module.fail_json(msg=str(error))
    report = {"changed": any(r["changed"] for r in results), "shapers": results, "diff": shapers.difference(results)}
    if failures(results):
        module.fail_json(msg=failures(results), **report)
    module.exit_json(**report)


if __name__ == "__main__":
    main()

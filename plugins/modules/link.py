#!/usr/bin/python
# Copyright (c) 2026 The Benito developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Thin door: change links while the experiment runs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: link
short_description: Change links of an experiment while it runs
version_added: 0.1.0
description:
  - Gives the ends of a link, or the interfaces of a node, other capacity, latency or loss, or takes them down and up.
  - Nothing is restarted. A guest sees the carrier of an interface that is down go.
  - A change lasts until the next swap-in, or O(state=up), which bring back what the file says.
extends_documentation_fragment:
  - benito.testbed.experiment
  - benito.testbed.experiment.attributes
options:
  guests:
    description:
      - The guests of the host, as in M(benito.testbed.qemu_guest). Of these it uses C(name), C(id) and, of each of C(interfaces), in their
        order, C(name) and C(substrate).
    type: list
    elements: dict
    required: true
  shapers:
    description: The shapers of the host, as in M(benito.testbed.shaper).
    type: list
    elements: dict
    default: []
  link:
    description: Name of the link or LAN whose ends are changed. At least one of O(link) and O(node) is needed; with both, that end.
    type: str
  node:
    description: Name of the node whose interfaces are changed.
    type: str
  interface:
    description: Name of the one interface to change, for a node that has several in O(link), or without O(link).
    type: str
  state:
    description:
      - V(down) takes the interfaces down, V(up) takes them up and brings back the values of O(shapers).
      - Without it, the interfaces stay up or down.
    type: str
    choices: [up, down]
  direction:
    description: Whether values hold for packets away from the node (V(out)), towards it (V(in)) or V(both).
    type: str
    choices: [both, out, in]
    default: both
  capacity:
    description: Rate in kb/s. V(0) takes the limit away.
    type: float
  latency:
    description: Delay in ms, one way between node and substrate. A packet from node to node passes two ends.
    type: float
  jitter:
    description: How many ms the delay is more or less.
    type: float
  loss:
    description: Fraction of packets that is lost, 0 to 1.
    type: float
  duplication:
    description: Fraction of packets that arrive twice, 0 to 0.9.
    type: float
  burst:
    description: Mean length of a run of lost packets. V(0) makes losses independent of each other.
    type: float
author:
  - The Benito developers (@benito)
seealso:
  - module: benito.testbed.shaper
  - module: benito.testbed.qemu_guest
"""

EXAMPLES = r"""
- name: Make a LAN slow
  benito.testbed.link:
    experiment: {project: lab, experiment: demo, id: lab.demo}
    guests: &guests
      - name: n-1
        interfaces:
          - {name: inf000, substrate: lan0}
    shapers:
      - {name: "n-1:inf000", id: n-1.inf000, node: n-1, interface: inf000, substrate: lan0, edge: n-1.inf000, switch: lan0, port: 1}
    link: lan0
    latency: 20
    loss: 0.1
  become: true

- name: Cut a node off
  benito.testbed.link:
    experiment: {project: lab, experiment: demo, id: lab.demo}
    guests: *guests
    node: n-1
    state: down
  become: true
"""

RETURN = r"""
interfaces:
  description: One result for each interface that was meant.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Node and interface.
      type: str
      sample: n-1:inf000
    action:
      description: What was done, one of V(none), V(retune), V(down), V(up).
      type: str
      sample: retune
    reason:
      description: Why it was done.
      type: str
      sample: asked for
    before:
      description: What there was, where something was done.
      type: str
      sample: "out: latency 5 ms"
    after:
      description: What there is now, where something was done.
      type: str
      sample: "out: latency 20 ms"
    changed:
      description: Whether this interface was touched.
      type: bool
    msg:
      description: What went wrong.
      type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.benito.testbed.plugins.module_utils import link_changes, shapers
from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.options import EXPERIMENT, failures, open_experiment

VALUES = ("capacity", "latency", "jitter", "loss", "duplication", "burst")


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **EXPERIMENT,
            "guests": {"type": "list", "elements": "dict", "required": True},
            "shapers": {"type": "list", "elements": "dict", "default": []},
            "link": {"type": "str"},
            "node": {"type": "str"},
            "interface": {"type": "str"},
            "state": {"type": "str", "choices": ["up", "down"]},
            "direction": {"type": "str", "choices": ["both", "out", "in"], "default": "both"},
            **{key: {"type": "float"} for key in VALUES},
        },
        required_one_of=[("link", "node"), ("state", *VALUES)],
        supports_check_mode=True,
    )
    params, check = module.params, module.check_mode
    values = {key: params[key] for key in VALUES if params[key] is not None}
    directions = shapers.HALVES if params["direction"] == "both" else (params["direction"],)
    try:
        meant = link_changes.select(
            link_changes.interfaces(params["guests"], params["shapers"]), params["link"], params["node"], params["interface"]
        )
        rundir, lock = open_experiment(params, check or not meant)
        with lock:
            results = link_changes.change(rundir, meant, params["state"], values, directions, check)
    except HostError as error:
        module.fail_json(msg=str(error))
    report = {"changed": any(r["changed"] for r in results), "interfaces": results, "diff": shapers.difference(results)}
    if failures(results):
        module.fail_json(msg=failures(results), **report)
    module.exit_json(**report)


if __name__ == "__main__":
    main()

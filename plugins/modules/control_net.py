#!/usr/bin/python
# Copyright (c) 2026 The Benito developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Thin door: the control net of an experiment."""

from __future__ import annotations

DOCUMENTATION = r"""
module: control_net
short_description: The control net of an experiment on a host
version_added: 0.1.0
description:
  - Makes the net over which an experimenter reaches the guests of an experiment. It is never part of the topology.
  - In mode V(nat) it is a bridge with a private subnet of its own and nftables rules. The host reaches every guest; guests reach
    what O(control.egress) says through the host, masqueraded, each with its own address as source; nobody outside reaches a guest, guests
    reach no service of the host, and they do not reach each other over it. In mode V(ports), ports of the host lead to the guests' ssh
    besides.
  - Guests that are listed in O(control.guests) send and get IPv4 and ARP for their own MAC and address alone, and serve no DHCP.
  - It switches IPv4 forwarding on. If it was off, the table C(benito_forward) drops what is neither from nor to a control net.
    M(benito.testbed.experiment) puts all settings back when the last experiment leaves the host.
  - In mode V(bridge) the host's interface is put into the bridge C(control0), which gets its MAC, addresses and routes in one step. A
    watchdog that was started before puts everything back unless this is confirmed in time. The action that belongs to this module connects
    to the host anew and confirms. All experiments of a host share the bridge; M(benito.testbed.experiment) gives the host
    its interface back, exactly as it was, when the last of them leaves.
  - What another experiment of this host has (a subnet, ports, addresses, MACs) is refused, and that experiment named.
  - What the host itself uses is refused, too - a subnet with a name server, a gateway, a routed network or the machine that is logged in by
    ssh, or one that is not private; an address or a MAC of such a machine. In mode V(bridge) the lab's net is asked whether an address is
    in use before a guest gets it; check mode does not ask.
extends_documentation_fragment:
  - benito.testbed.experiment
  - benito.testbed.experiment.control
  - benito.testbed.experiment.attributes
options:
  control:
    required: true
  state:
    description:
      - V(present) makes the net.
      - V(confirmed) tells the watchdog of mode V(bridge) that the host was reached; it changes nothing else. The action does so by itself.
    type: str
    choices: [present, confirmed]
    default: present
requirements:
  - ip and bridge (Debian package iproute2)
  - nft (Debian package nftables)
author:
  - The Benito developers (@benito)
seealso:
  - module: benito.testbed.control_net_info
"""

EXAMPLES = r"""
- name: A control net
  benito.testbed.control_net:
    experiment: {project: lab, experiment: demo, id: lab.demo}
    control: {bridge: bn12ab34cd, address: 172.20.5.1, prefix: 24}
  become: true

- name: Guests in the lab's own net
  benito.testbed.control_net:
    experiment: {project: lab, experiment: demo, id: lab.demo}
    control:
      mode: bridge
      bridge: control0
      table: bn12ab34cd
      address: 192.0.2.1
      prefix: 24
      guests:
        - {name: a, tap: bntap0, mac: "02:00:00:00:00:01", address: 192.0.2.100}
  become: true
"""

RETURN = r"""
control:
  description: The net.
  returned: always
  type: dict
  contains:
    name:
      description: Name of the bridge.
      type: str
      sample: bn12ab34cd
    action:
      description: What was made or mended, V(none) when nothing.
      type: str
      sample: bridge, rules, forwarding
    reason:
      description: Why.
      type: str
    changed:
      description: Whether something was touched.
      type: bool
    pending:
      description: Whether the host takes its interface back unless this is confirmed.
      type: bool
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.benito.testbed.plugins.module_utils import control_bridge
from ansible_collections.benito.testbed.plugins.module_utils.control_net import ControlNet, check_free, create, needs
from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.options import CONTROL_NET, EXPERIMENT, difference, open_experiment


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **EXPERIMENT,
            "control": {**CONTROL_NET, "required": True},
            "state": {"type": "str", "choices": ["present", "confirmed"], "default": "present"},
        },
        supports_check_mode=True,
    )
    try:
        net = ControlNet.from_options(module.params["control"])
        rundir, lock = open_experiment(module.params, module.check_mode)
        if module.params["state"] == "confirmed":
            pending = control_bridge.pending(rundir.root)
            if not module.check_mode:
                control_bridge.confirm(rundir.root)
            module.exit_json(changed=pending, control={"name": net.bridge, "action": "confirm" if pending else "none", "changed": pending})
        check_free(rundir, net)
        with lock:
            todo = needs(rundir, net)
            if todo and not module.check_mode:
                create(rundir, net)
    except HostError as error:
        module.fail_json(msg=str(error))
    result = {"name": net.bridge, "action": ", ".join(todo) or "none", "reason": "not as wanted" if todo else "", "changed": bool(todo)}
    result["pending"] = net.mode == "bridge" and not module.check_mode and control_bridge.pending(rundir.root)
    module.exit_json(changed=bool(todo), control=result, diff=difference([result]))


if __name__ == "__main__":
    main()

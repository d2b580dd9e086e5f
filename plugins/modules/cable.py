#!/usr/bin/python
# Copyright (c) 2026 The Benito developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Thin door: the cables of an experiment."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cable
short_description: The cables between an experiment's switches on several hosts
version_added: 0.1.0
description:
  - Links VDE switches on this host with those of the same substrates on other hosts, or with an interface of the lab.
  - The whole list is one batch. A cable that is right and looked after is left alone, whatever state the other end is in; one that changed
    is made anew, and the others are not touched.
  - One supervisor for each experiment and host, which runs as the account C(benito), makes a cable again by itself when it breaks;
    M(benito.testbed.cable_info) says how each one is.
extends_documentation_fragment:
  - benito.testbed.experiment
  - benito.testbed.experiment.attributes
options:
  cables:
    description: The cables.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What reports call it; by custom the substrate and the peer.
        type: str
        required: true
      id:
        description: A short name for paths, the same at both ends; at most 20 letters, digits, dots, underscores and dashes.
        type: str
        required: true
      substrate:
        description: Name of the substrate.
        type: str
      switch:
        description: Id of the switch on this host.
        type: str
        required: true
      port:
        description: The switch's port that the cable is plugged into.
        type: int
        required: true
      peer:
        description: The other host, for people.
        type: str
      peer_port:
        description: The port at the other end, for people.
        type: int
      transport:
        description:
          - How frames travel.
          - V(ssh) is authenticated and encrypted. The side with O(cables[].role=dial) comes in at the other as the account C(benito), with
            a key that may do nothing else.
          - V(tcp) is authenticated at its beginning, by O(secrets), and not encrypted. The connection that follows is as safe as TCP is
            from those that cannot listen in.
          - V(udp) looks for its peer in the same way, and not at each datagram after that. Whoever can send with the peer's address to
            a host of such a cable can send it frames, so it is for networks that nobody else is in.
          - V(vxlan) is the kernel's, at UDP port O(cables[].socket) with O(cables[].number) as its identifier. It is neither authenticated
            nor encrypted, and for networks that nobody else is in.
          - V(ethernet) plugs in a network interface of this host, or a VLAN of it, which the host must not use itself. All that is in that
            network is on the substrate.
          - For V(tcp), V(udp) and V(vxlan), only the peer's address is let in to the port on this host, and nothing but the cable gets
            from this host to the peer's, neither what it forwards nor programs of other accounts than root's and C(benito).
        type: str
        choices: [ssh, tcp, udp, vxlan, ethernet]
        default: ssh
      role:
        description: This side's part. For V(ssh) and V(tcp) one side is V(dial) and the other V(listen); all else is V(peer).
        type: str
        choices: [dial, listen, peer]
        required: true
      peer_address:
        description: Host name or IPv4 address of the peer as this host reaches it. Not needed to let V(ssh) in, nor for V(ethernet).
        type: str
      peer_ssh_port:
        description: Port of the peer's ssh server.
        type: int
        default: 22
      peer_host_keys:
        description: The peer's ssh host keys, type and body. Needed to dial by V(ssh); nobody else is trusted.
        type: list
        elements: str
        default: []
      number:
        description: Number of the cable, the same at both ends, from 1 to 16777215. Needed for V(tcp), V(udp) and V(vxlan).
        type: int
      socket:
        description: TCP or UDP port of the cable, the same at both ends. Needed for V(tcp), V(udp) and V(vxlan).
        type: int
      device:
        description: The network interface, for V(ethernet).
        type: str
      vlan:
        description: The VLAN of that interface, 1 to 4094; none for the interface as a whole.
        type: int
  key:
    description: Private key of the experiment's cables. Needed where this host dials by ssh. An empty one leaves the one that is there.
    type: str
    default: ''
  public_key:
    description: Its public half. Needed where this host lets cables in by ssh. An empty one leaves the one that is there.
    type: str
    default: ''
  secrets:
    description:
      - Secrets of the cables by O(cables[].id), each of 64 hexadecimal digits and the same at both ends. Needed for V(tcp) and V(udp).
      - A cable that has none here keeps the one that it has. The filter P(benito.testbed.cable_secrets#filter) makes them.
    type: dict
    default: {}
  state:
    description:
      - V(present) makes the cables that are not as wanted.
      - V(absent) removes the listed cables.
    type: str
    choices: [present, absent]
    default: present
  purge:
    description: Also remove the cables of this experiment that are not listed.
    type: bool
    default: true
requirements:
  - vde_plug (Debian package vdeplug)
  - ssh (Debian package openssh-client) where this host dials by ssh, an ssh server where it lets cables in
  - ip and tc (Debian package iproute2) for V(vxlan) and V(ethernet), nft (Debian package nftables) for V(tcp), V(udp) and V(vxlan)
  - a system account C(benito), which the cables run as; to let cables in by ssh its home must be O(root), and its shell a real one
author:
  - The Benito developers (@benito)
seealso:
  - module: benito.testbed.cable_info
  - module: benito.testbed.vde_switch
"""

EXAMPLES = r"""
- name: The end that dials
  benito.testbed.cable:
    experiment: {project: lab, experiment: demo, id: lab.demo}
    key: "{{ lookup('ansible.builtin.file', 'cable_key') }}"
    cables:
      - name: lan0 pnode-0001
        id: lan0-1
        switch: lan0
        port: 5
        peer: pnode-0001
        transport: ssh
        role: dial
        peer_address: 192.0.2.7
        peer_host_keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKDHNEbXzcZJTBVPjxpOlcESx8VqNNOhCNT6pQJ1wuy1]
  become: true

- name: The end that lets it in
  benito.testbed.cable:
    experiment: {project: lab, experiment: demo, id: lab.demo}
    public_key: "{{ lookup('ansible.builtin.file', 'cable_key.pub') }}"
    cables:
      - {name: lan0 pnode-0000, id: lan0-1, switch: lan0, port: 5, peer: pnode-0000, transport: ssh, role: listen}
  become: true

- name: A machine of the lab on a substrate
  benito.testbed.cable:
    experiment: {project: lab, experiment: demo, id: lab.demo}
    purge: false
    cables:
      - {name: lan0 outside, id: lan0-outside, switch: lan0, port: 6, transport: ethernet, role: peer, device: eth3}
  become: true
"""

RETURN = r"""
cables:
  description: One result for each cable that was listed or removed.
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
    action:
      description: What was done, V(none) when nothing.
      type: str
      sample: make
    reason:
      description: Why it was done.
      type: str
      sample: not there
    changed:
      description: Whether this cable was touched.
      type: bool
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.benito.testbed.plugins.module_utils import cables
from ansible_collections.benito.testbed.plugins.module_utils.cable import Cable
from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.options import EXPERIMENT, difference, failures, open_experiment

CABLE = {
    "name": {"type": "str", "required": True},
    "id": {"type": "str", "required": True},
    "substrate": {"type": "str"},
    "switch": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "peer": {"type": "str"},
    "peer_port": {"type": "int"},
    "transport": {"type": "str", "choices": ["ssh", "tcp", "udp", "vxlan", "ethernet"], "default": "ssh"},
    "role": {"type": "str", "choices": ["dial", "listen", "peer"], "required": True},
    "peer_address": {"type": "str"},
    "peer_ssh_port": {"type": "int", "default": 22},
    "peer_host_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "number": {"type": "int"},
    "socket": {"type": "int"},
    "device": {"type": "str"},
    "vlan": {"type": "int"},
}


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **EXPERIMENT,
            "cables": {"type": "list", "elements": "dict", "required": True, "options": CABLE},
            "key": {"type": "str", "default": "", "no_log": True},
            "public_key": {"type": "str", "default": "", "no_log": False},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "purge": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        rundir, lock = open_experiment(params, module.check_mode)
        wanted = [Cable.from_options(options) for options in params["cables"]]
        with lock:
            if params["state"] == "present":
                secrets = {str(id_): str(secret) for id_, secret in params["secrets"].items()}
                keys = cables.Keys(params["key"], params["public_key"], secrets)
                results = cables.present(rundir, wanted, keys, params["purge"], module.check_mode)
            else:
                results = cables.absent(rundir, [cable.id for cable in wanted], module.check_mode)
    except HostError as error:
        module.fail_json(msg=str(error))
    report = {"changed": any(r["changed"] for r in results), "cables": results, "diff": difference(results)}
    if failures(results):
        module.fail_json(msg=failures(results), **report)
    module.exit_json(**report)


if __name__ == "__main__":
    main()

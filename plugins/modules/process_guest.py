#!/usr/bin/python
# Copyright (c) 2026 The Benito developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Thin door: the process nodes of an experiment on one host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: process_guest
short_description: The process nodes of an experiment on a host
version_added: 0.1.0
description:
  - Brings a list of process nodes to the state that is asked for, as one batch. A process node is a network of its own, with interfaces
    that are plugged into VDE switches, addresses, routes, names and a home directory, and with the file system of its host, which it
    can read. In it runs
    the start command, and whoever enters it.
  - A node that is as wanted is left alone. One whose interfaces changed is made anew, one whose addresses, routes or names changed is
    changed while it runs; a changed start command is run at the next boot of the node.
  - All nodes are kept by one process of the host's root, the supervisor, and plugged in by another one of the account C(benito).
    A node has no process of its own but its start command. Root in a node is, outside of it, an id that only this experiment has.
extends_documentation_fragment:
  - benito.testbed.experiment
  - benito.testbed.experiment.document
  - benito.testbed.experiment.attributes
options:
  guests:
    description: The nodes, as the plan describes them. Either these or O(document) must be given.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the node.
        type: str
        required: true
      id:
        description: A short name for paths, at most 20 characters. The name when not given.
        type: str
      kind:
        description: Kind of the node.
        type: str
        choices: [process, physical]
        default: process
      interfaces:
        description: The interfaces on the links of the topology.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: Name in the topology.
            type: str
            required: true
          substrate:
            description: The link it is on.
            type: str
            required: true
          switch:
            description: Short name of the switch it is plugged into; empty for a real interface.
            type: str
            required: true
          port:
            description: The switch's port; 0 for a real interface.
            type: int
            required: true
          mac:
            description: MAC address, in lower case; empty for a real interface, which keeps its own.
            type: str
            required: true
          device:
            description: Name of the interface in the node.
            type: str
            required: true
          real:
            description:
              - Of a physical node, whether the interface is the host's own O(guests[].interfaces[].device). It gets the address and is
                set up, and is as before when the node is removed. One that the host uses is refused.
            type: bool
            default: false
          address:
            description: IPv4 address.
            type: str
            required: true
          prefix:
            description: Prefix length.
            type: int
            required: true
          dhcp:
            description: What machines have.
            type: str
          netem:
            description: What machines have.
            type: dict
      routes:
        description: The route table.
        type: list
        elements: dict
        default: []
        suboptions:
          to:
            description: Networks. A longer prefix inside another one counts before it.
            type: list
            elements: str
            required: true
          via:
            description: Address of the next hop.
            type: str
            required: true
          device:
            description: Interface it is reached through.
            type: str
            required: true
      plain_names:
        description: For other nodes, the substrate on which this node knows them by plain name, if not on their first interface.
        type: dict
        default: {}
      lab_routes:
        description:
          - For V(physical) nodes, whether the lab allows networks and routes outside the private blocks in the host's own network.
          - Without it a node that has one is refused, since the host would lose its way to the real one.
        type: bool
        default: false
      start_command:
        description: What the node's shell runs at each boot of the node.
        type: str
        default: ""
      failure_action:
        description: Whether a node that does not come up fails the module (V(fatal)) or is only reported.
        type: str
        choices: [fatal, nonfatal, ignore]
        default: fatal
      limits:
        description: Hard limits of what runs in the node, where the host's control groups allow that; none when not given.
        type: dict
        suboptions:
          memory:
            description: Memory in MB.
            type: int
          cpus:
            description: Number of processors, which may be a fraction.
            type: float
          processes:
            description: Number of processes.
            type: int
      image:
        description: Of no effect here, as are the following.
        type: str
      memory:
        description: What machines have; see O(guests[].limits).
        type: int
      cpus:
        description: What machines have; see O(guests[].limits).
        type: int
      control:
        description: What machines have. Nodes are entered by way of their host.
        type: dict
      unreachable:
        description: What machines have. There is no way out of a node's network but the links of the topology.
        type: list
        elements: str
      mounts:
        description: What machines have; must be empty.
        type: list
        elements: dict
      shares:
        description: What machines have; see O(shares).
        type: list
        elements: dict
      dhcp:
        description: What machines have; must be empty.
        type: list
        elements: dict
  kinds:
    description: The kinds of nodes that are taken from O(document).
    type: list
    elements: str
    default: [process, physical]
  hosts:
    description: The hosts table of the experiment, entries of node, substrate, index of the interface and address.
    type: list
    elements: list
    default: []
  shares:
    description: Directories of the host that the nodes have under another name.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Where the nodes have it.
        type: str
        required: true
      path:
        description: The directory.
        type: str
        required: true
      writable:
        description: Whether they may write there, as far as everybody may.
        type: bool
        default: false
  limits:
    description: What nodes may take of their host. O(guests[].limits) gives a node more or less.
    type: dict
    default: {}
    suboptions:
      memory:
        description:
          - Memory, in MB, of all nodes of the experiment on this host together that have no O(guests[].limits) of their own. V(0) is three
            quarters of what the host has. It holds where the host's control groups allow that.
        type: int
        default: 0
      processes:
        description: Processes of each account in each node. All nodes together may have half of what the host can have.
        type: int
        default: 4096
      files:
        description: Files that a program may have open.
        type: int
        default: 16384
      space:
        description: What a node may have in C(/tmp), C(/var/tmp), C(/dev/shm) and C(/run) together, in MB.
        type: int
        default: 256
  authorized_keys:
    description: Public SSH keys that may log in to the nodes as root.
    type: list
    elements: str
    default: []
  state:
    description:
      - V(started) makes the nodes that are not as wanted.
      - V(stopped) asks whatever runs in them to end, and then ends it.
      - V(restarted) makes them anew, and runs their start commands.
      - V(absent) ends them and removes everything they had.
    type: str
    choices: [started, stopped, restarted, absent]
    default: started
  purge:
    description: Also remove the process nodes of this experiment that are not listed.
    type: bool
    default: false
  boot_timeout:
    description: Seconds without any progress after which the module gives up.
    type: int
    default: 120
  command_wait:
    description: Seconds to wait for start commands to end, so that their exit status can be reported. One that runs longer is no error.
    type: int
    default: 10
requirements:
  - ip (Debian package iproute2)
  - dropbear, to log in by ssh (Debian package dropbear-bin)
  - ssh-keygen (Debian package openssh-client)
  - system account C(benito), as the role P(benito.testbed.vhost#role) makes it
author:
  - The Benito developers (@benito)
seealso:
  - module: benito.testbed.process_guest_info
  - module: benito.testbed.vde_switch
  - module: benito.testbed.qemu_guest
"""

EXAMPLES = r"""
- name: Two process nodes on a LAN
  benito.testbed.process_guest:
    experiment: {project: lab, experiment: demo, id: lab.demo}
    hosts:
      - [a, lan0, 0, 10.0.0.1]
      - [b, lan0, 0, 10.0.0.2]
    guests:
      - name: a
        start_command: ping -c 3 b
        interfaces:
          - {name: inf000, substrate: lan0, switch: lan0, port: 1, mac: "02:00:00:00:00:01", device: eth1, address: 10.0.0.1, prefix: 24}
      - name: b
        interfaces:
          - {name: inf000, substrate: lan0, switch: lan0, port: 2, mac: "02:00:00:00:00:02", device: eth1, address: 10.0.0.2, prefix: 24}
  become: true
"""

RETURN = r"""
guests:
  description: One result for each node that was listed or removed.
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
    action:
      description: What was done, one of V(none), V(start), V(reconfigure), V(replug), V(stop), V(remove).
      type: str
      sample: start
    reason:
      description: Why it was done.
      type: str
      sample: dead
    changed:
      description: Whether this node was touched.
      type: bool
    msg:
      description: What went wrong.
      type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.benito.testbed.plugins.module_utils import process_nodes
from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.node_limits import Limits
from ansible_collections.benito.testbed.plugins.module_utils.node_supervisor import Pace
from ansible_collections.benito.testbed.plugins.module_utils.options import (
    DOCUMENT,
    EXPERIMENT,
    INTERFACE,
    ROUTE,
    TEXT,
    Progress,
    difference,
    failures,
    open_experiment,
    take_document,
)

NIC = {
    **INTERFACE,
    "dhcp": {"type": "str"},
    "netem": {"type": "dict"},
    "real": {"type": "bool", "default": False},
}
LIMITS = {"memory": {"type": "int"}, "cpus": {"type": "float"}, "processes": {"type": "int"}}
GUEST = {
    "name": TEXT,
    "id": {"type": "str"},
    "kind": {"type": "str", "choices": ["process", "physical"], "default": "process"},
    "interfaces": {"type": "list", "elements": "dict", "default": [], "options": NIC},
    "routes": {"type": "list", "elements": "dict", "default": [], "options": ROUTE},
    "plain_names": {"type": "dict", "default": {}},
    "lab_routes": {"type": "bool", "default": False},
    "start_command": {"type": "str", "default": ""},
    "failure_action": {"type": "str", "choices": ["fatal", "nonfatal", "ignore"], "default": "fatal"},
    "limits": {"type": "dict", "options": LIMITS},
    "image": {"type": "str"},
    "memory": {"type": "int"},
    "cpus": {"type": "int"},
    "control": {"type": "dict"},
    "unreachable": {"type": "list", "elements": "str"},
    "mounts": {"type": "list", "elements": "dict"},
    "shares": {"type": "list", "elements": "dict"},
    "dhcp": {"type": "list", "elements": "dict"},
}
SHARED_LIMITS = {
    "memory": {"type": "int", "default": 0},
    "processes": {"type": "int", "default": 4096},
    "files": {"type": "int", "default": 16384},
    "space": {"type": "int", "default": 256},
}
SHARE = {"name": TEXT, "path": TEXT, "writable": {"type": "bool", "default": False}}


def work(params, rundir, nodes, check, progress):
    """Bring the batch to the state that is asked for; returns the results."""
    around = process_nodes.Around(
        rundir=rundir,
        hosts=params["hosts"],
        authorized_keys="".join(f"{key.strip()}\n" for key in params["authorized_keys"]),
        shares=[(share["name"], share["path"], share["writable"]) for share in params["shares"]],
        limits=Limits.from_options(params["limits"] or {}),
    )
    pace = Pace(boot_timeout=params["boot_timeout"], command_wait=params["command_wait"], progress=progress)
    state, purge = params["state"], params["purge"]
    if state in ("started", "restarted"):
        return process_nodes.started(around, nodes, pace, purge, check, restart=state == "restarted")
    wanted = [node.guest.id for node in nodes]
    gone = [id_ for id_ in process_nodes.mine(rundir) if id_ not in wanted] if purge else []
    if state == "absent":
        return process_nodes.absent(around, gone + wanted, pace, check)
    results = process_nodes.absent(around, gone, pace, check)
    return results + process_nodes.stopped(around, nodes, pace, check)


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **EXPERIMENT,
            "guests": {"type": "list", "elements": "dict", "options": GUEST},
            **DOCUMENT,
            "kinds": {"type": "list", "elements": "str", "default": ["process", "physical"]},
            "hosts": {"type": "list", "elements": "list", "default": []},
            "shares": {"type": "list", "elements": "dict", "default": [], "options": SHARE},
            "limits": {"type": "dict", "default": {}, "options": SHARED_LIMITS},
            "authorized_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "state": {"type": "str", "choices": ["started", "stopped", "restarted", "absent"], "default": "started"},
            "purge": {"type": "bool", "default": False},
            "boot_timeout": {"type": "int", "default": 120},
            "command_wait": {"type": "int", "default": 10},
        },
        mutually_exclusive=[("guests", "document")],
        required_one_of=[("guests", "document")],
        supports_check_mode=True,
    )
    try:
        take_document(module, ArgumentSpecValidator)
        nodes = process_nodes.distinct([process_nodes.Node.from_options(entry) for entry in module.params["guests"]])
        rundir, lock = open_experiment(module.params, module.check_mode)
        with lock, Progress(rundir, module.check_mode) as progress:
            results = work(module.params, rundir, nodes, module.check_mode, progress)
    except HostError as error:
        module.fail_json(msg=str(error))
    report = {"changed": any(r["changed"] for r in results), "guests": results, "diff": difference(results)}
    if failures(results):
        module.fail_json(msg=failures(results), **report)
    module.exit_json(**report)


if __name__ == "__main__":
    main()

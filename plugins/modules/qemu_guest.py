#!/usr/bin/python
# Copyright (c) 2026 The Benito developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Thin door: the QEMU guests of an experiment on one host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: qemu_guest
short_description: The QEMU guests of an experiment on a host
version_added: 0.1.0
description:
  - Brings a list of QEMU virtual machines to the state that is asked for, as one batch that works on several at a time.
  - A guest that runs as wanted is left alone. One whose machine changed is restarted, one whose names or routes changed is told so
    while it runs, one whose switch was replaced is plugged in again while it runs, one that died is started again.
  - For O(state=started) and O(state=restarted) the module waits until each guest says that it has booted, and fails with the last lines
    of the console of those that do not, telling apart guests that never started, are silent, crashed or are misconfigured.
  - The guests run as the system account C(benito), without the right to open interfaces or start programs, confined by QEMU's sandbox.
extends_documentation_fragment:
  - benito.testbed.experiment
  - benito.testbed.experiment.document
  - benito.testbed.experiment.control
  - benito.testbed.experiment.attributes
attributes:
  check_mode:
    support: partial
    details: A check run cannot know which guests will lose their plugs by a switch that the same run would replace.
options:
  guests:
    description: The guests. Either these or O(document) must be given.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the node, which becomes its host name.
        type: str
        required: true
      id:
        description: A short name for paths, at most 20 characters. The name when not given.
        type: str
      kind:
        description: Kind of the node.
        type: str
        choices: [qemu]
        default: qemu
      image:
        description: Name of the image, one of O(images).
        type: str
        default: tiny
      memory:
        description: Memory in MB.
        type: int
        default: 128
      cpus:
        description: Number of virtual processors.
        type: int
        default: 1
      limits:
        description: What nodes without a machine of their own may use; of no effect here.
        type: dict
      control:
        description: The interface of the control net; none when not given.
        type: dict
        suboptions:
          mac:
            description: MAC address, in lower case.
            type: str
            required: true
          address:
            description: IPv4 address. The guest asks the lab's DHCP server for one when empty.
            type: str
            default: ""
          tap:
            description: Name of the TAP interface on the host, at most 15 characters.
            type: str
            required: true
          port:
            description: Port of the host that leads to its ssh; it is M(benito.testbed.control_net) that sees to it.
            type: int
      interfaces:
        description: The experimental interfaces, up to 147.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: Name of the interface in the topology.
            type: str
            required: true
          substrate:
            description: Name of the link or LAN.
            type: str
            required: true
          switch:
            description: Id of the switch it is plugged into.
            type: str
            required: true
          port:
            description: Port of the switch, from 1.
            type: int
            required: true
          mac:
            description: MAC address, in lower case.
            type: str
            required: true
          device:
            description: Name of the interface inside the guest.
            type: str
            required: true
          address:
            description: IPv4 address, empty for an interface that only leads a substrate into the machine.
            type: str
            required: true
          prefix:
            description: Prefix length.
            type: int
            required: true
          dhcp:
            description:
              - V(client) takes the address from a DHCP server on the link, which is to lease the one that is given here. The guest has
                booted whether or not it has come, and goes on asking.
              - V(server) serves addresses to others, as O(guests[].dhcp) says.
            type: str
            choices: ["", server, client]
            default: ""
          netem:
            description:
              - Shaping by the guest's own kernel, for C(out) (what the guest sends) and C(in) (what it gets). Each is a mapping of
                C(capacity) (kb/s), C(latency) and C(jitter) (ms), C(loss) and C(duplication) (fractions) and C(burst) (packets lost in a
                row, in the mean); what is null or absent is not limited.
            type: dict
            suboptions:
              out:
                description: What the guest sends.
                type: dict
              in:
                description: What it gets.
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
            description: Interface inside the guest.
            type: str
            required: true
      mounts:
        description:
          - File systems the guest mounts, as in an fstab. One that cannot be mounted is named in the guest's RV(guests[].detail), and
            is tried again.
        type: list
        elements: dict
        default: []
        suboptions:
          source:
            description: What is mounted, the address of a server or the tag of a device.
            type: str
            required: true
          directory:
            description: Where, an absolute path.
            type: str
            required: true
          type:
            description: Kind of file system.
            type: str
            required: true
          options:
            description: Its options, with commas between them.
            type: str
            default: defaults
      shares:
        description: Directories of the host that QEMU hands in by virtio-9p. The account C(benito) must be able to read them.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: What the share is called, for people.
            type: str
          tag:
            description: What the guest mounts it by, at most 31 characters.
            type: str
            required: true
          path:
            description: The directory on the host.
            type: str
            required: true
          writable:
            description: Whether the guest may write.
            type: bool
            default: false
      dhcp:
        description: What the guest leases to others.
        type: list
        elements: dict
        default: []
        suboptions:
          device:
            description: Interface inside the guest.
            type: str
            required: true
          prefix:
            description: Prefix length of the link's network.
            type: int
            required: true
          leases:
            description: MAC address, IPv4 address and name of each client.
            type: list
            elements: list
            required: true
      unreachable:
        description: Networks whose unrouted addresses must not leave by the control net.
        type: list
        elements: str
        default: []
      plain_names:
        description: For other nodes, the substrate on which this guest knows them by plain name, if not on their first interface.
        type: dict
        default: {}
      start_command:
        description: What the guest's shell runs at each boot.
        type: str
        default: ""
      failure_action:
        description: Whether a guest that does not boot fails the module (V(fatal)) or is only reported.
        type: str
        choices: [fatal, nonfatal, ignore]
        default: fatal
  kinds:
    description: The kinds of nodes that are taken from O(document).
    type: list
    elements: str
    default: [qemu]
  hosts:
    description: The hosts table of the experiment, entries of node, substrate, index of the interface and address.
    type: list
    elements: list
    default: []
  images:
    description:
      - The images guests are started from, by name, as M(benito.testbed.guest_image) returns them, each with C(kernel), C(initrd) and
        C(arguments) of the kernel. Needed to start guests.
      - An image with a C(disk) is booted from it; C(disk_format) is V(raw), the default, or V(qcow2). Guests read it, and write to disks of
        their own, which are kept until the guest is removed or gets another image. The account C(benito) must be able to read it.
    type: dict
    default: {}
  accelerator:
    description:
      - What executes the guests' instructions.
      - V(auto) finds out once per boot of the host whether KVM works, by running a guest under it.
    type: str
    choices: [auto, kvm, tcg]
    default: auto
  authorized_keys:
    description: Public SSH keys that may log in to the guests as root.
    type: list
    elements: str
    default: []
  nameservers:
    description: Addresses of name servers for the guests. Those of the host when not given.
    type: list
    elements: str
  state:
    description:
      - V(started) starts the guests that do not run as wanted and waits until all have booted.
      - V(stopped) lets the guests power off and stops those that do not.
      - V(restarted) stops and starts them.
      - V(absent) stops them at once and removes everything they had.
    type: str
    choices: [started, stopped, restarted, absent]
    default: started
  purge:
    description: Also remove the guests of this experiment that are not listed.
    type: bool
    default: false
  boot_timeout:
    description: Seconds a guest may take from its start until it says that it has booted.
    type: int
    default: 120
  start:
    description:
      - How guests are started.
      - V(cold) boots each. V(warm) boots one guest of each shape (image, memory, processors, interfaces), without name and network, keeps
        what it was as a template, and wakes the guests up as copies of it. V(auto) does so where it is faster, which is where a template is
        there already or three guests of a shape are to be started.
      - A guest that cannot be woken up is booted, and C(detail) says why.
    type: str
    choices: [auto, cold, warm]
    default: auto
  templates:
    description: Directory of the templates, shared by all experiments of the host.
    type: path
    default: /var/cache/benito/templates
  boot_window:
    description: Guests that may be booting at a time. Twice the number of cores when not given.
    type: int
  command_wait:
    description: Seconds to wait for start commands to end, so that their exit status can be reported. One that runs longer is no error.
    type: int
    default: 10
  stop_timeout:
    description: Seconds a guest may take to power off.
    type: int
    default: 15
requirements:
  - qemu-system-x86_64 (Debian package qemu-system-x86)
  - ssh-keygen (Debian package openssh-client)
  - ip and bridge (Debian package iproute2)
author:
  - The Benito developers (@benito)
seealso:
  - module: benito.testbed.qemu_guest_info
  - module: benito.testbed.guest_image
  - module: benito.testbed.vde_switch
  - module: benito.testbed.control_net
"""

EXAMPLES = r"""
- name: Build the image
  benito.testbed.guest_image:
    name: tiny
    guest_files: /usr/local/share/benito/guest
  become: true
  register: image

- name: Two guests on a LAN
  benito.testbed.qemu_guest:
    experiment: {project: lab, experiment: demo, id: lab.demo}
    images:
      tiny: "{{ image }}"
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
  description: One result for each guest that was listed or removed.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the node.
      type: str
      sample: n-0
    state:
      description: V(booted), V(running) (started, not booted), V(dead), V(stopped) or V(absent).
      type: str
      sample: booted
    pid:
      description: Process of the guest's QEMU.
      type: int
      sample: 4711
    start:
      description: V(warm) for a guest that was woken up from a template, else V(cold).
      type: str
      sample: cold
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
    action:
      description: What was done, one of V(none), V(start), V(reconfigure), V(replug), V(reattach), V(stop), V(remove).
      type: str
      sample: start
    reason:
      description: Why it was done.
      type: str
      sample: dead
    changed:
      description: Whether this guest was touched.
      type: bool
    msg:
      description: What went wrong, with the last lines of the console.
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
accelerator:
  description: What executes the guests' instructions.
  returned: when guests were to be started
  type: str
  sample: tcg
accelerator_reason:
  description: Why that was chosen.
  returned: when guests were to be started
  type: str
  sample: no /dev/kvm
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.benito.testbed.plugins.module_utils import guests as batch
from ansible_collections.benito.testbed.plugins.module_utils.acceleration import choose
from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.guest import Guest
from ansible_collections.benito.testbed.plugins.module_utils.guest_config import host_resolver
from ansible_collections.benito.testbed.plugins.module_utils.guest_status import QEMU, known
from ansible_collections.benito.testbed.plugins.module_utils.lifecycle import Surroundings
from ansible_collections.benito.testbed.plugins.module_utils.options import (
    CONTROL_NET,
    DOCUMENT,
    EXPERIMENT,
    INTERFACE,
    NUMBER,
    ROUTE,
    TEXT,
    Progress,
    difference,
    failures,
    open_experiment,
    take_document,
)
from ansible_collections.benito.testbed.plugins.module_utils.qemu import Machine
from ansible_collections.benito.testbed.plugins.module_utils.templates import CACHE, checked

CONTROL_NIC = {"mac": TEXT, "address": {"type": "str", "default": ""}, "tap": TEXT, "port": {"type": "int"}}
NIC = {
    **INTERFACE,
    "dhcp": {"type": "str", "choices": ["", "server", "client"], "default": ""},
    "netem": {"type": "dict", "options": {"out": {"type": "dict"}, "in": {"type": "dict"}}},
}
MOUNT = {"source": TEXT, "directory": TEXT, "type": TEXT, "options": {"type": "str", "default": "defaults"}}
ATTACHED = {"name": {"type": "str"}, "tag": TEXT, "path": TEXT, "writable": {"type": "bool", "default": False}}
LEASED = {"device": TEXT, "prefix": NUMBER, "leases": {"type": "list", "elements": "list", "required": True}}
GUEST = {
    "name": TEXT,
    "id": {"type": "str"},
    "kind": {"type": "str", "choices": ["qemu"], "default": "qemu"},
    "image": {"type": "str", "default": "tiny"},
    "memory": {"type": "int", "default": 128},
    "cpus": {"type": "int", "default": 1},
    "limits": {"type": "dict"},
    "control": {"type": "dict", "options": CONTROL_NIC},
    "interfaces": {"type": "list", "elements": "dict", "default": [], "options": NIC},
    "routes": {"type": "list", "elements": "dict", "default": [], "options": ROUTE},
    "mounts": {"type": "list", "elements": "dict", "default": [], "options": MOUNT},
    "shares": {"type": "list", "elements": "dict", "default": [], "options": ATTACHED},
    "dhcp": {"type": "list", "elements": "dict", "default": [], "options": LEASED},
    "unreachable": {"type": "list", "elements": "str", "default": []},
    "plain_names": {"type": "dict", "default": {}},
    "start_command": {"type": "str", "default": ""},
    "failure_action": {"type": "str", "choices": ["fatal", "nonfatal", "ignore"], "default": "fatal"},
}


def surroundings(module, rundir, guests):
    """Gather what the guests of this host share; returns it with what is to be reported about the accelerator."""
    params = module.params
    images = {guest.image for guest in guests}
    missing = images - set(params["images"])
    if missing:
        raise HostError(f"no image {', '.join(sorted(missing))} among images: build it with benito.testbed.guest_image first")
    report = {}
    machines = {}
    for name in sorted(images):
        image = params["images"][name]
        kernel, initrd, disk_format = image.get("kernel", ""), image.get("initrd", ""), image.get("disk_format", "raw")
        if disk_format not in ("raw", "qcow2"):
            raise HostError(f"image {name}: disk_format must be raw or qcow2, not {str(disk_format)[:64]!r}")
        accelerator, reason = choose(params["accelerator"], kernel, initrd, rundir.root, module.check_mode)
        machines[name] = Machine(accelerator, kernel, initrd, image.get("arguments", ""), image.get("disk") or "", disk_format)
        report = {"accelerator": accelerator, "accelerator_reason": reason}
    around = Surroundings(
        rundir=rundir,
        machines=machines,
        templates=checked(params["templates"]),
        hosts=params["hosts"],
        control=params["control"],
        authorized_keys="".join(f"{key.strip()}\n" for key in params["authorized_keys"]),
        resolver=host_resolver() if params["nameservers"] is None else "".join(f"nameserver {a}\n" for a in params["nameservers"]),
    )
    return around, report


def work(module, rundir, guests, pace):
    """Bring the batch to the state that is asked for; returns the results and what else is to be reported."""
    state, check = module.params["state"], module.check_mode
    wanted = {guest.id for guest in guests}
    results = batch.absent(rundir, [id_ for id_ in known(rundir, QEMU) if id_ not in wanted], check) if module.params["purge"] else []
    if state == "absent":
        return results + batch.absent(rundir, [guest.id for guest in guests], check), {}
    if state == "stopped":
        return results + batch.stopped(rundir, guests, pace, check), {}
    around, report = surroundings(module, rundir, guests)
    return results + batch.started(around, guests, pace, check, restart=state == "restarted"), report


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **EXPERIMENT,
            "guests": {"type": "list", "elements": "dict", "options": GUEST},
            **DOCUMENT,
            "kinds": {"type": "list", "elements": "str", "default": ["qemu"]},
            "hosts": {"type": "list", "elements": "list", "default": []},
            "control": CONTROL_NET,
            "images": {"type": "dict", "default": {}},
            "accelerator": {"type": "str", "choices": ["auto", "kvm", "tcg"], "default": "auto"},
            "authorized_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "nameservers": {"type": "list", "elements": "str"},
            "state": {"type": "str", "choices": ["started", "stopped", "restarted", "absent"], "default": "started"},
            "purge": {"type": "bool", "default": False},
            "boot_timeout": {"type": "int", "default": 120},
            "start": {"type": "str", "choices": ["auto", "cold", "warm"], "default": "auto"},
            "templates": {"type": "path", "default": CACHE},
            "boot_window": {"type": "int"},
            "command_wait": {"type": "int", "default": 10},
            "stop_timeout": {"type": "int", "default": 15},
        },
        mutually_exclusive=[("guests", "document")],
        required_one_of=[("guests", "document")],
        supports_check_mode=True,
    )
    params = module.params
    try:
        take_document(module, ArgumentSpecValidator)
        guests = batch.distinct([Guest.from_options(entry) for entry in params["guests"]])
        rundir, lock = open_experiment(params, module.check_mode)
        with lock, Progress(rundir, module.check_mode) as progress:
            pace = batch.Pace(
                window=params["boot_window"] or batch.default_window(),
                boot_timeout=params["boot_timeout"],
                command_wait=params["command_wait"],
                stop_timeout=params["stop_timeout"],
                start=params["start"],
                progress=progress,
            )
            results, report = work(module, rundir, guests, pace)
    except HostError as error:
        module.fail_json(msg=str(error))
    report.update(changed=any(r["changed"] for r in results), guests=results, diff=difference(results))
    if failures(results):
        module.fail_json(msg=failures(results), **report)
    module.exit_json(**report)


if __name__ == "__main__":
    main()

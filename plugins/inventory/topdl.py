# Copyright (c) 2026 The Benito developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory of an experiment: a thin door to the plan."""

from __future__ import annotations

DOCUMENTATION = r"""
name: topdl
short_description: Nodes and physical hosts of a network experiment
version_added: 0.1.0
author:
  - The Benito developers (@benito)
description:
  - Reads a topology, plans the experiment it describes, and offers its nodes and the physical hosts that carry them.
  - A topology is a TopDL file (C(.topdl), C(.xml)) or an Emulab NS file (C(.tcl), C(.ns)).
    It is given as the inventory itself, or named by a YAML file, the wrapper, which may set options.
  - Reading writes nothing. What the last swap-in chose (pnodes, addresses, switch ports) is kept where that is still possible.
  - Text of the topology is data. It is never templated.
  - In rising strength, options come from the defaults, the attributes of the topology (C(benito:packing)), the wrapper,
    environment variables (E(BENITO_PACKING)) and extra variables (C(benito_packing)).
requirements:
  - lxml
  - netaddr
  - pymetis
  - tclsh (for NS files)
notes:
  - A TopDL file needs this plugin in C(enable_plugins), first of all, and no C(script), C(ini) or C(toml) beside it, as in
    C(enable_plugins = benito.testbed.topdl, yaml). The C(ansible.cfg) of a checkout does so. A wrapper works with the stock configuration,
    whose plugin C(script) runs any inventory file that is executable.
  - A file that this plugin refuses is handed to no other plugin, and ends the run.
  - C(group_vars) and C(host_vars) beside a topology are templates. A topology that is given as the inventory itself is refused where there
    are such directories beside it; see O(adjacent_vars).
  - "Groups: C(vnode) with C(qemu), C(process) and C(physical) below it, C(pnode) with C(vhost) (those that carry guests) below it,
    C(pnode_0000_guests) and so on, C(substrate_NAME)."
  - "Variables: C(benito) for all hosts, C(benito_node) for each vnode, C(benito_pnode) for each pnode: the document it is handed,
    and C(benito_pnode_document): the same as one JSON text. All but the first are made when they are used, from texts
    (C(benito_..._json)). What grows with the experiment is kept once, with the first pnode, and so is what vnodes have in common."
options:
  plugin:
    description: Says that a YAML file is a wrapper for this plugin.
    type: str
    choices: [benito.testbed.topdl]
  topology:
    description: In a wrapper, the topology file, relative to the wrapper's directory.
    type: str
  project:
    description: Name of the project the experiment belongs to. Without it, your login name on the controller.
    type: str
    env: [{name: BENITO_PROJECT}]
    vars: [{name: benito_project}]
  experiment:
    description: Name of the experiment. Without it, the name of the topology file without its ending.
    type: str
    env: [{name: BENITO_EXPERIMENT}]
    vars: [{name: benito_experiment}]
  packing:
    description: How many vnodes a pnode may carry. Without it and without O(size), one pnode carries all.
    type: int
    env: [{name: BENITO_PACKING}]
    vars: [{name: benito_packing}]
  size:
    description: How many pnodes to use. Stronger than O(packing).
    type: int
    env: [{name: BENITO_SIZE}]
    vars: [{name: benito_size}]
  processes_per_machine:
    description: Put process nodes that have no place into QEMU machines made for them, at most so many into each.
    type: int
    env: [{name: BENITO_PROCESSES_PER_MACHINE}]
    vars: [{name: benito_processes_per_machine}]
  pass_pack:
    description: "O(packing) for the nodes of one placement pass, as C(PASS:NUMBER,...) or a mapping."
    type: raw
    env: [{name: BENITO_PASS_PACK}]
    vars: [{name: benito_pass_pack}]
  pass_size:
    description: "O(size) for the nodes of one placement pass, as C(PASS:NUMBER,...) or a mapping."
    type: raw
    env: [{name: BENITO_PASS_SIZE}]
    vars: [{name: benito_pass_size}]
  nodes_only:
    description: Whether placement only counts nodes and does not care how many links it cuts.
    type: bool
    default: false
    env: [{name: BENITO_NODES_ONLY}]
    vars: [{name: benito_nodes_only}]
  pass_nodes_only:
    description: The placement passes that only count nodes, as C(PASS,...) or a list.
    type: raw
    env: [{name: BENITO_PASS_NODES_ONLY}]
    vars: [{name: benito_pass_nodes_only}]
  platforms:
    description: "Further platforms: kinds of nodes and the role that launches each, as C(container=lab.site.container_guest) or a mapping."
    type: raw
    env: [{name: BENITO_PLATFORMS}]
    vars: [{name: benito_platforms}]
  default_kind:
    description: Kind of a node that does not name one.
    type: str
    default: qemu
    env: [{name: BENITO_DEFAULT_KIND}]
    vars: [{name: benito_default_kind}]
  default_image:
    description: Image of a node that does not name one, or names one that is not known.
    type: str
    default: tiny
    env: [{name: BENITO_DEFAULT_IMAGE}]
    vars: [{name: benito_default_image}]
  default_memory:
    description: Memory of a guest that does not say, in MB.
    type: int
    default: 128
    env: [{name: BENITO_DEFAULT_MEMORY}]
    vars: [{name: benito_default_memory}]
  default_cpus:
    description: Virtual processors of a guest that does not say.
    type: int
    default: 1
    env: [{name: BENITO_DEFAULT_CPUS}]
    vars: [{name: benito_default_cpus}]
  addressing:
    description: >-
      Automatic addresses: V(benito) gives substrate N C(10.0.N.0/24) hosts from .1, V(emulab) C(10.1.1.0/24) on and hosts from .2.
    type: str
    choices: [benito, emulab]
    default: benito
    env: [{name: BENITO_ADDRESSING}]
    vars: [{name: benito_addressing}]
  pool:
    description: >-
      Group of the inventory whose hosts are the pnodes, in its order. Without such a group the controller itself is the only one.
    type: str
    default: pool
    env: [{name: BENITO_POOL}]
    vars: [{name: benito_pool}]
  vcpus_per_core:
    description: "How many virtual processors a core of a host of O(pool) may carry: with more it is full."
    type: int
    default: 32
    env: [{name: BENITO_VCPUS_PER_CORE}]
    vars: [{name: benito_vcpus_per_core}]
  cable:
    description: >-
      What joins the switches of a substrate with members on several pnodes: V(ssh) is authenticated and encrypted, V(tcp) is
      authenticated when it begins. V(udp), the kernel's V(vxlan) and the lab's own V(ethernet) are for closed networks only.
    type: str
    choices: [ssh, tcp, udp, vxlan, ethernet]
    default: ssh
    env: [{name: BENITO_CABLE}]
    vars: [{name: benito_cable}]
  cable_pairs:
    description: O(cable) between single pairs of pnodes, as C(0/1:udp,...) or a mapping. Stronger than what substrates say.
    type: raw
    env: [{name: BENITO_CABLE_PAIRS}]
    vars: [{name: benito_cable_pairs}]
  cable_ports:
    description: Ports of UDP and TCP that cables use on the pnodes. Guests do not reach them on any machine. Without it, 20000-29999.
    type: str
    env: [{name: BENITO_CABLE_PORTS}]
    vars: [{name: benito_cable_ports}]
  guest_switches:
    description: Whether every interface of a guest has a switch of its own in front of it, joined to that of the substrate.
    type: bool
    default: false
    env: [{name: BENITO_GUEST_SWITCHES}]
    vars: [{name: benito_guest_switches}]
  control_mode:
    description: >-
      How guests are reached: V(nat) over their pnode, which masquerades them; V(bridge) in the lab's own net, which the control interface
      of the pnode is bridged to; V(ports) as V(nat) and by a port of their pnode for ssh; V(none) not at all.
    type: str
    choices: [nat, bridge, ports, none]
    default: nat
    env: [{name: BENITO_CONTROL_MODE}]
    vars: [{name: benito_control_mode}]
  control_pool:
    description: Private network from which each experiment's control subnets are taken, one for each pnode.
    type: str
    default: 172.16.0.0/12
    env: [{name: BENITO_CONTROL_POOL}]
    vars: [{name: benito_control_pool}]
  control_subnet:
    description: >-
      The control subnet; for several pnodes it is divided, or given for each as C(PNODE:NETWORK,...) or a mapping. Without it, subnets of
      O(control_pool) that follow from the names of project, experiment and pnode. In mode V(bridge) the network of the lab.
    type: raw
    env: [{name: BENITO_CONTROL_SUBNET}]
    vars: [{name: benito_control_subnet}]
  control_gateway:
    description: In mode V(bridge), the lab's router, which guests send to what is elsewhere. Without it they have no such route.
    type: str
    env: [{name: BENITO_CONTROL_GATEWAY}]
    vars: [{name: benito_control_gateway}]
  control_addresses:
    description: In mode V(bridge), addresses of the lab's network that guests may have, as C(FIRST-LAST,...) or a list.
    type: raw
    env: [{name: BENITO_CONTROL_ADDRESSES}]
    vars: [{name: benito_control_addresses}]
  control_addressing:
    description: >-
      In mode V(bridge), who chooses the guests' addresses: V(static) is O(control_addresses) or O(control_map), V(dhcp) the
      lab's DHCP server.
    type: str
    choices: [static, dhcp]
    default: static
    env: [{name: BENITO_CONTROL_ADDRESSING}]
    vars: [{name: benito_control_addressing}]
  control_map:
    description: >-
      Addresses and MACs on the control net that the lab hands out for nodes, as a mapping or a file. Stronger than attributes of nodes.
    type: raw
    env: [{name: BENITO_CONTROL_MAP}]
    vars: [{name: benito_control_map}]
  control_ports:
    description: >-
      In mode V(ports), the ports of each pnode that lead to guests: the first one plus the guest's number in the control subnet. Without
      it, a range that follows from the names of project and experiment.
    type: str
    env: [{name: BENITO_CONTROL_PORTS}]
    vars: [{name: benito_control_ports}]
  control_interface:
    description: In mode V(bridge), the interface of the pnodes that is bridged. Without it, that of the default route.
    type: str
    env: [{name: BENITO_CONTROL_INTERFACE}]
    vars: [{name: benito_control_interface}]
  control_deadline:
    description: In mode V(bridge), seconds after which a pnode takes its interface back if it cannot be reached again.
    type: int
    default: 30
    env: [{name: BENITO_CONTROL_DEADLINE}]
    vars: [{name: benito_control_deadline}]
  shares:
    description: >-
      Directories of the pnodes that guests mount, as C(/users:/srv/users:ro,/proj:/srv/proj:rw), a list of such entries, or a mapping
      of mount points to C(DIRECTORY:MODE).
    type: raw
    env: [{name: BENITO_SHARES}]
    vars: [{name: benito_shares}]
  share_transport:
    description: >-
      How guests reach O(shares): V(diod) is a file server on each pnode, over the control net; V(virtio) hands them in through QEMU.
    type: str
    choices: [diod, virtio]
    default: diod
    env: [{name: BENITO_SHARE_TRANSPORT}]
    vars: [{name: benito_share_transport}]
  share_account:
    description: Account of the pnodes that guests act as in O(shares), whoever they are inside.
    type: str
    default: benito-share
    env: [{name: BENITO_SHARE_ACCOUNT}]
    vars: [{name: benito_share_account}]
  state_dir:
    description: Where the controller remembers experiments. Without it, C(benito) in E(XDG_STATE_HOME) or C(~/.local/state).
    type: path
    env: [{name: BENITO_STATE_DIR}]
    vars: [{name: benito_state_dir}]
  authorized_keys:
    description: Further SSH public keys that may log in to guests, one a line or a list.
    type: raw
    env: [{name: BENITO_AUTHORIZED_KEYS}]
    vars: [{name: benito_authorized_keys}]
  boot_timeout:
    description: How long a guest may take to boot, in seconds.
    type: int
    default: 120
    env: [{name: BENITO_BOOT_TIMEOUT}]
    vars: [{name: benito_boot_timeout}]
  start:
    description: >-
      How QEMU guests start: V(cold) boots each, V(warm) boots one of each shape and wakes the others up as copies of it, V(auto) does so
      where it is faster.
    type: str
    choices: [auto, cold, warm]
    default: auto
    env: [{name: BENITO_START}]
    vars: [{name: benito_start}]
  control_networks:
    description: >-
      Networks within which a topology file may choose O(control_pool) and O(control_subnet), as C(NETWORK,...) or a list. Without it, the
      O(control_pool) of the lab.
    type: raw
    env: [{name: BENITO_CONTROL_NETWORKS}]
    vars: [{name: benito_control_networks}]
  control_egress:
    description: >-
      What guests reach beyond their host over the control net, in modes V(nat) and V(ports): V(none) is nothing; V(public) is the outside
      without link-local addresses (where clouds keep what they tell their machines) and without private networks, but the host's resolver;
      V(all) is what the host reaches; or networks, as C(NETWORK,...) or a list.
    type: raw
    default: public
    env: [{name: BENITO_CONTROL_EGRESS}]
    vars: [{name: benito_control_egress}]
  cable_transports:
    description: >-
      Transports that a topology file may choose for O(cable), besides V(ssh) and the O(cable) of the lab, as C(udp,...) or a list. V(ssh)
      alone is fit for every network.
    type: raw
    env: [{name: BENITO_CABLE_TRANSPORTS}]
    vars: [{name: benito_cable_transports}]
  cable_vlans:
    description: >-
      VLANs of the lab's Ethernet that a topology file may name by C(benito:vlan), as C(FIRST-LAST,...) or a list. Without it, none.
    type: raw
    env: [{name: BENITO_CABLE_VLANS}]
    vars: [{name: benito_cable_vlans}]
  physical_hosts:
    description: >-
      Hosts that physical nodes may be: names of hosts of O(pool) or of pnodes, as C(NAME,...) or a list, or V(true) for all. Such a node
      has its addresses, routes and start command on the host itself. Without it, none.
    type: raw
    env: [{name: BENITO_PHYSICAL_HOSTS}]
    vars: [{name: benito_physical_hosts}]
  physical_interfaces:
    description: >-
      Interfaces of hosts that physical nodes may take by C(benito:device), as C(NAME,...), C(HOST/NAME,...) or a list, or V(true) for all.
      Without it, none.
    type: raw
    env: [{name: BENITO_PHYSICAL_INTERFACES}]
    vars: [{name: benito_physical_interfaces}]
  physical_networks:
    description: >-
      Networks outside of the private ones that physical nodes may have addresses in and routes to, as C(NETWORK,...) or a list: these go
      into the host's own table of routes. Without it, none.
    type: raw
    env: [{name: BENITO_PHYSICAL_NETWORKS}]
    vars: [{name: benito_physical_networks}]
  max_memory:
    description: Memory in MB that a topology file may ask for, for each node.
    type: int
    default: 16384
    env: [{name: BENITO_MAX_MEMORY}]
    vars: [{name: benito_max_memory}]
  max_cpus:
    description: Virtual processors that a topology file may ask for, for each node.
    type: int
    default: 16
    env: [{name: BENITO_MAX_CPUS}]
    vars: [{name: benito_max_cpus}]
  max_processes:
    description: Processes that a topology file may allow each of its process nodes.
    type: int
    default: 4096
    env: [{name: BENITO_MAX_PROCESSES}]
    vars: [{name: benito_max_processes}]
  max_boot_timeout:
    description: The longest O(boot_timeout) that a topology file may choose.
    type: int
    default: 3600
    env: [{name: BENITO_MAX_BOOT_TIMEOUT}]
    vars: [{name: benito_max_boot_timeout}]
  adjacent_vars:
    description: >-
      Whether C(group_vars) and C(host_vars) beside a topology that is given as the inventory itself are used. They are templates that run
      on the controller. Without it, such a topology is refused.
    type: bool
    default: false
    env: [{name: BENITO_ADJACENT_VARS}]
    vars: [{name: benito_adjacent_vars}]
"""

EXAMPLES = r"""
# ansible-inventory --graph -i star.topdl
#
# The same from a wrapper, star.yml, which sets options:
---
plugin: benito.testbed.topdl
topology: star.topdl
project: demo
packing: 20
pass_pack:
  1: 5
"""

import os
import re
import shlex
import sys
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError, AnsibleParserError
from ansible.inventory.helpers import get_group_vars, sort_groups
from ansible.plugins.inventory import BaseInventoryPlugin
from ansible.template import trust_as_template
from ansible.utils.vars import combine_vars
from ansible.vars.plugins import get_vars_from_inventory_sources

from ..plugin_utils.addressing import dotted
from ..plugin_utils.collector import made_to_stay
from ..plugin_utils.diagnostics import Notice, TopologyError
from ..plugin_utils.embedding import experiment_dir
from ..plugin_utils.ownership import login
from ..plugin_utils.plan import Plan, PlannedControl, PlannedNode, make_plan, pnode_name
from ..plugin_utils.pool import VARIABLES
from ..plugin_utils.settings import SETTINGS
from ..plugin_utils.trust import json_text, plain

_TOPOLOGIES = (".topdl", ".xml", ".tcl", ".ns")
_WRAPPERS = (".yml", ".yaml")
_PLUGIN_LINE = re.compile(rb"^plugin\s*:\s*[\"']?benito\.testbed\.topdl\b", re.MULTILINE)
_MOST_WARNINGS = 20
# What Ansible reads beside each source of an inventory.
_ADJACENT = ("group_vars", "host_vars")
_LARGEST_WRAPPER = 4 * 1024 * 1024  # bytes; YAML takes a second for each megabyte
# What is the same for all hosts is kept once, with the first pnode: a variable of all hosts is written out for each of them. Vnodes are
# many, and seldom ask; others have all at hand but what is long.
_BENITO = "{{{{ hostvars['{keeper}'].benito }}}}"
_FETCHED = "hostvars['{keeper}'].benito_details_json"
# What Ansible looks at value by value takes seconds with thousands of nodes: what a node or a document is, is kept as text, and read where
# it is asked for.
_NODE = "{{ benito_node_json | ansible.builtin.from_json }}"
_PART = "{{{{ (benito_pnode_json | ansible.builtin.from_json).{name} }}}}"
_EXPERIMENT = (
    "{{ (benito_pnode_json | ansible.builtin.from_json).experiment "
    "| ansible.builtin.combine({'owner': lookup('benito.testbed.owner', benito.state_dir)}) }}"
)
_GUESTS = "{{ benito_pnode_guests_json | ansible.builtin.from_json }}"
_HOSTS = "hostvars['{keeper}'].benito_hosts_json"
_DOCUMENT = "{{{{ benito_pnode_json[:-1] ~ ', \"guests\": ' ~ benito_pnode_guests_json ~ ', \"hosts\": ' ~ {hosts} ~ '}}' }}}}"


class Refusal(AnsibleParserError):
    """An error that ends the reading of all sources.

    Ansible hands a file that one plugin does not read to the next, and one of them runs it where it is executable. Before that, Ansible
    notes in the error where it comes from: doing so raises it anew, out of the loop over the plugins.
    """

    @property
    def obj(self) -> Any:
        """Where it comes from, which its text says."""
        return None

    @obj.setter
    def obj(self, value: Any) -> None:
        if value is not None:
            raise self


class InventoryModule(BaseInventoryPlugin):
    """Options in, plan, hosts and groups out."""

    NAME = "benito.testbed.topdl"

    def verify_file(self, path: str) -> bool:
        """Take topologies by their ending, and YAML files that name this plugin."""
        # A named pipe of an archive would be waited for.
        if not super().verify_file(path) or not os.path.isfile(path):
            return False
        if path.lower().endswith(_WRAPPERS):
            with open(path, "rb") as file:
                return _PLUGIN_LINE.search(file.read(65536)) is not None
        return path.lower().endswith(_TOPOLOGIES)

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Plan the topology and fill the inventory."""
        try:
            super().parse(inventory, loader, path, cache)
            other = inventory.groups["all"].vars.get("benito")
            if other is not None:
                raise TopologyError(f"{other['source']} is in this inventory already: give one topology at a time")
            with made_to_stay():
                self._read(path)
        except TopologyError as error:
            raise Refusal(str(error) if error.where.file else f"{path}: {error}") from None
        except AnsibleError as error:
            raise Refusal(f"{path} cannot be used.") from error
        except Exception as error:
            raise Refusal(f"{path} cannot be read, by a fault of this plugin ({type(error).__name__}).") from error

    def _read(self, path: str) -> None:
        wrapped = path.lower().endswith(_WRAPPERS)
        topology, overrides = self._wrapped(path) if wrapped else (path, {})
        overrides.update(self._strong_options())
        environment = {name: os.environ[name] for name in ("HOME", "XDG_STATE_HOME") if name in os.environ}
        environment["USER"] = login(os.environ)
        pool = self._pool(str(overrides.get("pool") or "pool"))
        asked = {name: {k: v for k, v in variables.items() if k in VARIABLES} for name, variables in pool.items()}
        plan = make_plan(topology, overrides, environment, pool=asked)
        self._look_beside(path, wrapped, plan.settings.adjacent_vars)
        notices = _shortened(plan.notices)
        for notice in notices:
            self.display.warning(notice)
        # What it takes to plan the same again, for the filters that do so; nobody has to say it for the next command.
        assumed = {"state_dir": plan.settings.state_dir}
        if overrides.get("project") is None:
            assumed["project"] = plan.settings.project
        self._fill(plan, {**overrides, **assumed}, sorted(assumed), notices, pool, asked)

    def _look_beside(self, path: str, wrapped: bool, wanted: bool) -> None:
        """Refuse a topology with variables of Ansible beside it, which are templates, unless the operator's own files are beside it too."""
        directory = os.path.realpath(os.path.dirname(os.path.abspath(path)))
        found = next((where for name in _ADJACENT if os.path.lexists(where := os.path.join(directory, name))), None)
        if found is None or wanted:
            return
        others = (os.path.dirname(os.path.abspath(source)) for source in self.inventory.processed_sources if os.path.isfile(source))
        if wrapped or directory in map(os.path.realpath, others):
            self.display.warning(f"{found} holds templates that run on this machine, and Ansible uses them for the nodes of {path}")
            return
        raise TopologyError(
            f"{found} beside the topology holds templates that would run on this machine: move the topology elsewhere, or, if they are "
            "your own, set BENITO_ADJACENT_VARS=true or name the topology in a wrapper"
        )

    def _wrapped(self, path: str) -> tuple[str, dict[str, object]]:
        """Return the topology a wrapper names, and the settings it makes."""
        if os.path.getsize(path) > _LARGEST_WRAPPER:
            raise TopologyError(f"a wrapper has at most {_LARGEST_WRAPPER // 1024 // 1024} MB")
        config = self.loader.load_from_file(path, cache="none")
        if not isinstance(config, Mapping):
            raise TopologyError("a wrapper must be a mapping of options")
        config = {str(name): value for name, value in config.items() if name != "plugin"}
        topology = config.pop("topology", None)
        if not isinstance(topology, str) or not topology:
            raise TopologyError("a wrapper must name its topology file: topology: experiment.topdl")
        directory = os.path.dirname(os.path.abspath(path))
        for name in ("state_dir", "control_map"):
            if isinstance(config.get(name), str):
                config[name] = os.path.join(directory, os.path.expanduser(config[name]))
        return os.path.join(directory, topology), config

    def _strong_options(self) -> dict[str, object]:
        """Return the settings made by environment and extra variables, which beat a wrapper's."""
        self.set_options(var_options=self._vars)
        found = {s.name: self.get_option_and_origin(s.name) for s in SETTINGS}
        return {name: value for name, (value, origin) in found.items() if origin != "default"}

    def _pool(self, group: str) -> dict[str, dict[str, Any]]:
        """Return the hosts of the lab's group, in its order, each with all its variables: those that plays would see."""
        found: dict[str, dict[str, Any]] = {}
        if group not in self.inventory.groups:
            return found
        sources = self.inventory.processed_sources
        for host in self.inventory.groups[group].get_hosts():
            groups = sort_groups({self.inventory.groups["all"], *host.get_groups()})
            variables = get_group_vars(groups)
            for entities, own in ((groups, {}), ([host], host.vars)):
                variables = combine_vars(variables, get_vars_from_inventory_sources(self.loader, sources, entities, "inventory"))
                variables = combine_vars(variables, own)
            self.templar.available_variables = {"inventory_hostname": host.name, **variables}
            found[host.name] = {**variables, **{k: self.templar.template(variables[k]) for k in VARIABLES if k in variables}}
        return found

    def _fill(
        self,
        plan: Plan,
        overrides: Mapping[str, object],
        assumed: list[str],
        notices: list[str],
        pool: Mapping[str, Mapping[str, Any]],
        asked: Mapping[str, Mapping[str, Any]],
    ) -> None:
        inventory = self.inventory
        substrates = group_names([s.name for s in plan.topology.substrates])
        self._refuse_taken(plan, substrates)
        inventory.add_group("benito_pool")
        for name in pool:
            inventory.add_host(name, group="benito_pool")
        for parent, children in (("vnode", plan.settings.platforms), ("pnode", ("vhost",))):
            inventory.add_group(parent)
            for child in children:
                inventory.add_group(child)
                inventory.add_child(parent, child)
        keeper = plan.pnodes[0]
        details = _details(plan, asked)
        benito = plain(_experiment_variables(plan, overrides, assumed, notices))
        inventory.set_variable("all", "benito", _with_details(benito, details, _FETCHED.format(keeper=keeper)))
        inventory.set_variable("vnode", "benito", trust_as_template(_BENITO.format(keeper=keeper)))
        inventory.set_variable("vnode", "benito_node", trust_as_template(_NODE))

        vhosts = plan.vhosts
        for pnode in plan.pnodes:
            inventory.add_host(pnode, group="vhost" if pnode in vhosts else "pnode")
            self._hand(pnode, plan.document(pnode), keeper, _EXPERIMENT)
            inventory.add_group(_guests_group(pnode))
            host = plan.host(pnode)
            for name, value in pool[host.name].items() if host else ():
                inventory.set_variable(pnode, name, value)
            if host and pool[host.name].get("ansible_connection") != "local":
                inventory.set_variable(pnode, "ansible_host", pool[host.name].get("ansible_host", host.name))
        inventory.set_variable(keeper, "benito", _with_details(benito, details, "benito_details_json"))
        inventory.set_variable(keeper, "benito_details_json", json_text(details))
        inventory.set_variable(keeper, "benito_hosts_json", json_text(plan.hosts))
        for pnode in vhosts if len(vhosts) == 1 and not pool else ():
            inventory.set_variable(pnode, "ansible_connection", plain("local"))
            inventory.set_variable(pnode, "ansible_python_interpreter", plain(sys.executable))

        for group in substrates.values():
            self._add_below_all(group)
        config = plain(f"-F {shlex.quote(str(experiment_dir(plan.settings) / 'ssh_config'))}")
        user = plain("root")
        groups = inventory.groups
        for node in plan.nodes:
            inventory.add_host(node.name, group=node.kind)
            # Not through the inventory, which would walk through every value again to note the file that it is from.
            host = inventory.hosts[node.name]
            host.set_variable("benito_node_json", json_text(_node_variables(node)))
            if node.control is not None or node.entered:
                groups[_guests_group(node.pnode)].add_host(host)
                # Where there is no address of its own, ssh_config knows the way by the name.
                address = dotted(node.control.address) if node.control and node.control.address is not None else node.full_name
                host.set_variable("ansible_host", plain(address))
                if node.kind != "physical":
                    host.set_variable("ansible_user", user)
                host.set_variable("ansible_ssh_common_args", config)
            for substrate in dict.fromkeys(i.substrate for i in node.interfaces):
                groups[substrates[substrate]].add_host(host)

        inventory.add_group("carrier")
        # Processes are reached through their machine: the way to that one is written down before there is anything inside.
        machines = plain(f"-F {shlex.quote(str(experiment_dir(plan.settings) / 'machines_ssh_config'))}")
        for carrier in plan.carriers:
            inventory.add_host(carrier, group="carrier")
            inventory.set_variable(carrier, "ansible_ssh_common_args", machines)
            # No owner: root inside a machine writes the record there.
            self._hand(carrier, plan.inner_document(carrier), keeper, _PART.format(name="experiment"))

    def _refuse_taken(self, plan: Plan, substrates: Mapping[str, str]) -> None:
        """Refuse names that are the operator's own: a node called so would take over a host, or join in where a group of hosts is meant."""
        hosts, groups = self.inventory.hosts, self.inventory.groups
        for computer in plan.topology.computers:
            if computer.name in hosts or computer.name in groups:
                what = "host" if computer.name in hosts else "group"
                raise TopologyError(
                    f"node {computer.name} has the name of a {what} of the inventory: one of the two needs another", computer.where
                )
        for substrate in plan.topology.substrates:
            group = substrates[substrate.name]
            if group in groups:
                raise TopologyError(
                    f"substrate {substrate.name} leads to the group {group}, which the inventory has already", substrate.where
                )

    def _add_below_all(self, name: str) -> None:
        """Add a group below ``all``, as the inventory would in the end, which for each new one looks through all that are there."""
        group, top = self.inventory.groups[self.inventory.add_group(name)], self.inventory.groups["all"]
        if not group.parent_groups:
            group.parent_groups.append(top)
            group.depth = top.depth + 1
            top.child_groups.append(group)

    def _hand(self, host: str, document: Mapping[str, Any], keeper: str, experiment: str) -> None:
        """Give a host its document; the hosts table, which all have in common, is where ``keeper`` has it.

        ``experiment`` is the template of that part: the owner is read where it is used, for swap-in makes the key after this.
        """
        rest = {name: value for name, value in document.items() if name not in ("guests", "hosts")}
        hosts = _HOSTS.format(keeper=keeper) if host != keeper else "benito_hosts_json"
        parts = {
            **{name: _PART.format(name=name) for name in rest},
            "experiment": experiment,
            "guests": _GUESTS,
            "hosts": f"{{{{ {hosts} | ansible.builtin.from_json }}}}",
        }
        self.inventory.set_variable(host, "benito_pnode_json", json_text(rest))
        self.inventory.set_variable(host, "benito_pnode_guests_json", json_text(document["guests"]))
        self.inventory.set_variable(host, "benito_pnode", {name: trust_as_template(text) for name, text in parts.items()})
        self.inventory.set_variable(host, "benito_pnode_document", trust_as_template(_DOCUMENT.format(hosts=hosts)))


def group_names(substrates: list[str]) -> dict[str, str]:
    """Return a group for each substrate: Ansible wants letters, digits and underscores. No two are the same."""
    found: dict[str, str] = {}
    used: set[str] = set()
    for name in substrates:
        group = base = "substrate_" + re.sub(r"[^A-Za-z0-9_]", "_", name)
        count = 1
        while group in used:
            count += 1
            group = f"{base}_{count}"
        found[name] = group
        used.add(group)
    return found


def _guests_group(pnode: str) -> str:
    return pnode.replace("-", "_") + "_guests"


def _shortened(notices: tuple[Notice, ...]) -> list[str]:
    more = len(notices) - _MOST_WARNINGS
    return [str(notice) for notice in notices[:_MOST_WARNINGS]] + ([f"and {more} more warnings about the topology"] if more > 0 else [])


def _details(plan: Plan, pool: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return what of the experiment grows with it: parts of the variable ``benito`` that each host only knows where to find."""
    return {
        "pool": pool,
        "hosts": {pnode: host.name for pnode in plan.pnodes if (host := plan.host(pnode))},
        "placement": plan.loads,
        "cables": [
            {"substrate": c.substrate, "transport": c.transport, "pnodes": [pnode_name(end) for end in c.ends]} for c in plan.cables
        ],
        "subnets": {f"pnode-{number:04d}": str(net.network) for number, net in plan.control.nets.items()},
    }


def _with_details(benito: Mapping[str, Any], details: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    """Return the variable ``benito`` with templates that take the details from their text, ``source``."""
    taken = {name: trust_as_template(f"{{{{ ({source} | ansible.builtin.from_json).{name} }}}}") for name in details}
    return {**benito, "control": {**benito["control"], "subnets": taken.pop("subnets")}, **taken}


def _experiment_variables(plan: Plan, overrides: Mapping[str, object], assumed: list[str], notices: list[str]) -> dict[str, Any]:
    settings = plan.settings
    return {
        "project": settings.project,
        "experiment": settings.experiment,
        "id": plan.id,
        "source": plan.path,
        "overrides": overrides,
        "assumed": assumed,
        "state_dir": str(experiment_dir(settings)),
        "platforms": dict(settings.platforms),
        "control": {"mode": plan.control.mode, "bridge": plan.bridge, "addressing": settings.control_addressing},
        "boot_timeout": settings.boot_timeout,
        "start": settings.start,
        "authorized_keys": list(settings.authorized_keys),
        "pnodes": len(plan.pnodes),
        "runnable": not plan.obstacle,
        "obstacle": plan.obstacle,
        "notices": notices,
    }


def _control_variables(control: PlannedControl) -> Mapping[str, Any]:
    return {"address": None if control.address is None else dotted(control.address), "mac": control.mac, "port": control.port}


def _node_variables(node: PlannedNode) -> Mapping[str, Any]:
    return {
        "name": node.name,
        "id": node.id,
        "full_name": node.full_name,
        "kind": node.kind,
        "pnode": node.pnode,
        "carrier": node.carrier,
        "guest": node.launched,
        "ghost": node.ghost,
        "image": node.image,
        "memory": node.memory,
        "cpus": node.cpus,
        "control": _control_variables(node.control) if node.control else None,
        "interfaces": [
            {"name": i.name, "substrate": i.substrate, "device": i.device, "mac": i.mac, "address": dotted(i.address), "prefix": i.prefix}
            for i in node.interfaces
        ],
        "start_command": node.start_command,
        "failure_action": node.failure_action,
    }

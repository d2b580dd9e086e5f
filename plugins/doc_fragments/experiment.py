# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that the modules of an experiment share."""

from __future__ import annotations


class ModuleDocFragment:
    """Options O(experiment) and O(root)."""

    DOCUMENTATION = r"""
options:
  experiment:
    description:
      - Which experiment this is about.
    type: dict
    required: true
    suboptions:
      project:
        description: First level of the name.
        type: str
        required: true
      experiment:
        description: Second level of the name.
        type: str
        required: true
      id:
        description:
          - A short name that is unique on the host, used in paths; at most 24 letters, digits, dots, underscores and dashes.
        type: str
        required: true
      owner:
        description:
          - The owner of the experiment, as P(benito.testbed.owner#lookup) gives it. It is recorded on the host, and a module that changes
            something fails where another owner is recorded.
          - Without it the experiment is changed whoever the owner is, and none is recorded. Modules that only look do not use it.
        type: dict
        suboptions:
          user:
            description: Login name on the controller, for people.
            type: str
            required: true
          controller:
            description: Host name of the controller, for people.
            type: str
            required: true
          fingerprint:
            description: Fingerprint of the experiment's SSH key, C(SHA256:...). Its holder is the owner; without a key there is none.
            type: str
            default: ""
      take_over:
        description: Makes O(experiment.owner) the owner of an experiment that has another one.
        type: bool
        default: false
  root:
    description:
      - Directory on the host that holds the records, sockets and logs of all experiments.
      - A plain absolute path of at most 30 characters, since paths of UNIX sockets are short.
    type: str
    default: /var/lib/benito
"""

    DOCUMENT = r"""
options:
  document:
    description:
      - The document that the plan makes for a host, as one JSON text (the inventory's C(benito_pnode_document)). O(guests), O(hosts) and
        what else it says of this host are taken from there. It spares Ansible the templating of every value of every node.
    type: json
"""

    CONTROL = r"""
options:
  control:
    description: The control net on this host.
    type: dict
    suboptions:
      mode:
        description:
          - Kind of control net.
          - V(nat) is a bridge behind the host, which masquerades the guests.
          - V(ports) is V(nat), and ports of the host lead to the guests' ssh.
          - V(bridge) puts the host's own interface into a bridge with the guests, so that these are in the lab's net.
          - V(none) is none; what there was is removed.
        type: str
        choices: [nat, bridge, ports, none]
        default: nat
      bridge:
        description: Name of the bridge, at most 15 letters and digits; C(control0) for V(bridge).
        type: str
        required: true
      table:
        description: Name of the experiment's nftables tables. Needed for V(bridge); elsewhere that of the bridge.
        type: str
      address:
        description: The guests' gateway, for V(nat) and V(ports) the address of the bridge. Empty for none, which only V(bridge) allows.
        type: str
        default: ""
      prefix:
        description: Prefix length of the subnet.
        type: int
        default: 0
      subnet:
        description: The subnet. For V(bridge) without a gateway it is the network that the guests' addresses must be in.
        type: str
      addressing:
        description: Whether the guests have the addresses that are given, or take the lab's by DHCP, for V(bridge) only.
        type: str
        choices: [static, dhcp]
        default: static
      interface:
        description: For V(bridge), the host's interface. That of the default route when empty.
        type: str
        default: ""
      deadline:
        description: For V(bridge), seconds after which the host takes its interface back if it could not be reached over a new connection.
        type: int
        default: 30
      ports:
        description: For V(ports), the first and the last port of the host that are this experiment's.
        type: list
        elements: int
        default: []
      egress:
        description:
          - For V(nat) and V(ports), where guests may connect to. V(public) when it is not given.
        type: dict
        suboptions:
          mode:
            description:
              - V(public) is the Internet without private, link-local (metadata of clouds), multicast and reserved networks.
              - V(networks) are those of O(control.egress.networks) alone.
              - With both, guests reach the name servers of the host at port 53.
              - V(all) is whatever the host reaches, but for other control nets and nodes that are the host itself.
              - With V(none) guests answer those that come to them, and begin nothing.
            type: str
            choices: [none, public, all, networks]
            default: public
          networks:
            description: For the mode V(networks), the networks.
            type: list
            elements: str
            default: []
      cable_ports:
        description:
          - For V(nat) and V(ports), the first and the last of the ports that cables of this host and others have. Guests, which would come
            there with this host's address, do not reach them on any machine.
        type: list
        elements: int
        default: [20000, 29999]
      guests:
        description: The guests on this host, whose addresses nobody else may use. Without them nothing is said about senders.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: Name of the node.
            type: str
            required: true
          tap:
            description: Name of its TAP interface.
            type: str
            required: true
          mac:
            description: MAC address, in lower case.
            type: str
            required: true
          address:
            description: IPv4 address; empty when the lab's DHCP server gives it.
            type: str
            default: ""
          port:
            description: For V(ports), the port of the host that leads to its ssh.
            type: int
"""

    ATTRIBUTES = r"""
attributes:
  check_mode:
    description: Can run in check mode and predict what would change without changing it.
    support: full
  diff_mode:
    description: Says what changes, object by object.
    support: full
"""

    INFO = r"""
attributes:
  check_mode:
    description: Can run in check mode; nothing is ever changed.
    support: full
  diff_mode:
    description: Has nothing to show, since nothing is changed.
    support: none
"""

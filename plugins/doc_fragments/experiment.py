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
  root:
    description:
      - Directory on the host that holds the records, sockets and logs of all experiments.
      - A plain absolute path of at most 30 characters, since paths of UNIX sockets are short.
    type: str
    default: /var/lib/benito
"""

    CONTROL = r"""
options:
  control:
    description: The control net on this host.
    type: dict
    suboptions:
      mode:
        description: Kind of control net.
        type: str
        choices: [nat]
        default: nat
      bridge:
        description: Name of the bridge and of the table, at most 15 letters and digits.
        type: str
        required: true
      address:
        description: Address of the bridge, the guests' gateway.
        type: str
        required: true
      prefix:
        description: Prefix length of the subnet.
        type: int
        required: true
      subnet:
        description: The subnet, for people; the address and the prefix length say the same.
        type: str
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

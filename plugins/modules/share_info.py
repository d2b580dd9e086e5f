#!/usr/bin/python
# Copyright (c) 2026 The Benito developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Thin door: facts about the shared directories of an experiment."""

from __future__ import annotations

DOCUMENTATION = r"""
module: share_info
short_description: Facts about the directories that the guests of an experiment mount from a host
version_added: 0.1.0
description:
  - Says whether the server of an experiment's shared directories runs, where it listens, and what it exports.
extends_documentation_fragment:
  - benito.testbed.experiment
  - benito.testbed.experiment.info
author:
  - The Benito developers (@benito)
seealso:
  - module: benito.testbed.share
"""

EXAMPLES = r"""
- name: Look at what is shared
  benito.testbed.share_info:
    experiment: {project: lab, experiment: demo, id: lab.demo}
  become: true
  register: result
"""

RETURN = r"""
server:
  description: The server.
  returned: always
  type: dict
  contains:
    state:
      description: V(running), V(dead) when its process is gone, V(absent) when nothing is shared.
      type: str
      sample: running
    pid:
      description: Its process.
      type: int
      sample: 4711
    listen:
      description: Its address and port.
      type: str
      sample: 172.20.1.1:5640
    account:
      description: The account of this host that guests act as.
      type: str
      sample: benito-share
shares:
  description: What it exports.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: What guests ask for, and where they mount it.
      type: str
      sample: /users
    path:
      description: The directory on this host.
      type: str
      sample: /srv/users
    writable:
      description: Whether guests may write.
      type: bool
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.benito.testbed.plugins.module_utils import shares as files
from ansible_collections.benito.testbed.plugins.module_utils.options import EXPERIMENT, inform


def main():
    """Run the module."""
    inform(AnsibleModule(argument_spec=EXPERIMENT, supports_check_mode=True), look)


def look(rundir):
    """Return the server, and the shares beside it."""
    server = files.state(rundir)
    return {"shares": server.pop("shares"), "server": server}


if __name__ == "__main__":
    main()

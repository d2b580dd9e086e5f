#!/usr/bin/python
# Copyright (c) 2026 The Benito developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Thin door: facts about the control net of an experiment."""

from __future__ import annotations

DOCUMENTATION = r"""
module: control_net_info
short_description: Facts about the control net of an experiment on a host
version_added: 0.1.0
description:
  - Says whether the control net is as it was made, and what is missing when it is not.
extends_documentation_fragment:
  - benito.testbed.experiment
  - benito.testbed.experiment.info
author:
  - The Benito developers (@benito)
seealso:
  - module: benito.testbed.control_net
"""

EXAMPLES = r"""
- name: Look at the control net
  benito.testbed.control_net_info:
    experiment: {project: lab, experiment: demo, id: lab.demo}
  become: true
  register: result
"""

RETURN = r"""
control:
  description: The net.
  returned: always
  type: dict
  contains:
    state:
      description:
        - V(up), V(broken) when something of it is missing, or V(absent) when the experiment has none on this host.
      type: str
      sample: up
    mode:
      description: Kind of control net; empty when there is none.
      type: str
      sample: nat
    name:
      description: Name of the bridge.
      type: str
      sample: bn12ab34cd
    interface:
      description: The host's interface that is bridged, for mode V(bridge).
      type: str
      sample: eth0
    detail:
      description: A remark for people, empty when all is well.
      type: str
      sample: "the control net is not as it was made: bridge, rules"
owner:
  description: The owner of the experiment here, and as C(text) all of it as one line. Empty for none.
  returned: always
  type: dict
  sample: {user: ann, controller: desk, fingerprint: "SHA256:...", since: "2026-03-01T09:30:00Z", text: "ann at desk (...)"}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.benito.testbed.plugins.module_utils.control_net import described
from ansible_collections.benito.testbed.plugins.module_utils.options import EXPERIMENT, inform


def main():
    """Run the module."""
    module = AnsibleModule(argument_spec=EXPERIMENT, supports_check_mode=True)
    inform(module, lambda rundir: {"control": described(rundir), "owner": owner.report() if (owner := rundir.recorded_owner) else {}})


if __name__ == "__main__":
    main()

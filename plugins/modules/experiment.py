#!/usr/bin/python
# Copyright (c) 2026 The Benito developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Thin door: an experiment's place on a host, and its complete removal."""

from __future__ import annotations

DOCUMENTATION = r"""
module: experiment
short_description: Take an experiment off a host
version_added: 0.1.0
description:
  - Removes an experiment with everything it has on a host. What makes a part of one makes the experiment's place, too.
  - Removal goes by the experiment's mark, which every process, interface, table and directory of it carries. It needs neither the
    topology nor intact records, and works after a crash, after half a swap-in, and twice.
  - The experiment of another owner is left as it is, and the module fails with the owner's name.
extends_documentation_fragment:
  - benito.testbed.experiment.attributes
options:
  project:
    description: First level of the name.
    type: str
    required: true
  experiment:
    description: Second level of the name.
    type: str
    required: true
  owner:
    description:
      - Who asks, as P(benito.testbed.owner#lookup) gives it. Without it the recorded owner does not matter.
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
        description: Fingerprint of the experiment's SSH key, C(SHA256:...). The holder of the key is the owner.
        type: str
        default: ""
  take_over:
    description: Whether the experiment of another owner is removed as well.
    type: bool
    default: false
  root:
    description: Directory on the host that holds the records, sockets and logs of all experiments.
    type: str
    default: /var/lib/benito
  state:
    description: The experiment shall leave no trace.
    type: str
    choices: [absent]
    required: true
author:
  - The Benito developers (@benito)
"""

EXAMPLES = r"""
- name: Take an experiment off this host, whatever state it is in
  benito.testbed.experiment:
    project: lab
    experiment: demo
    state: absent
  become: true

- name: Take an experiment off this host, but not one that another user has swapped in
  benito.testbed.experiment:
    project: lab
    experiment: demo
    owner: {user: ann, controller: desk, fingerprint: "SHA256:UO4ryM4gEBdoXpPmBvFnUwUS4JNnZc6FWEPh0MlXoNU"}
    state: absent
  become: true
"""

RETURN = r"""
removed:
  description: What was there and is gone, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: ["guest n-0", "switch lan0", "interface bn12ab34cd"]
owner:
  description: The owner that was recorded, and as C(text) all of it as one line. Empty for none.
  returned: success
  type: dict
  sample: {user: ann, controller: desk, fingerprint: "SHA256:...", since: "2026-03-01T09:30:00Z", text: "ann at desk (...)"}
"""

import contextlib

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.options import OWNER
from ansible_collections.benito.testbed.plugins.module_utils.rundir import ROOT, RunDir
from ansible_collections.benito.testbed.plugins.module_utils.sweep import check_owner_of, find, owner_of, sweep


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "experiment": {"type": "str", "required": True},
            **OWNER,
            "root": {"type": "str", "default": ROOT},
            "state": {"type": "str", "choices": ["absent"], "required": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        # In which directories it is, is found out: its short name does not matter.
        rundir = RunDir.from_options({**params, "id": "none"}, params["root"])
        remains = find(rundir.project, rundir.experiment, rundir.root)
        check_owner_of(remains, rundir)
        owner = owner_of(remains)
        if not module.check_mode:
            with contextlib.ExitStack() as locks:
                for directory in remains.directories:
                    locks.enter_context(directory.locked())
                # Looked at again under the lock: a run that was still busy may have added to it.
                remains = find(rundir.project, rundir.experiment, rundir.root)
                check_owner_of(remains, rundir)
                sweep(remains, rundir.root)
    except HostError as error:
        module.fail_json(msg=str(error))
    lines = remains.lines()
    diff = {"before": "".join(f"{line}\n" for line in lines), "after": ""}
    module.exit_json(changed=bool(lines), removed=lines, owner=owner.report() if owner else {}, diff=diff)


if __name__ == "__main__":
    main()

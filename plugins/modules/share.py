#!/usr/bin/python
# Copyright (c) 2026 The Benito developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Thin door: directories of a host that the guests of an experiment mount."""

from __future__ import annotations

DOCUMENTATION = r"""
module: share
short_description: Directories of a host that the guests of an experiment mount
version_added: 0.1.0
description:
  - Exports directories by 9P to the guests of one experiment on this host, and to nobody else. One C(diod) serves them all; it listens on
    the address of the control net, and a table of nftables lets the guests alone reach it.
  - The server sees nothing of the host but the exported directories. It acts as O(account) whoever a guest's user is, so the root of a
    guest is nobody special here.
  - The list is exact. What is no longer on it is withdrawn. A change starts the server anew, and guests mount again by themselves.
  - A directory that is not there is left out with a warning, and guests report what they cannot mount.
extends_documentation_fragment:
  - benito.testbed.experiment
  - benito.testbed.experiment.control
  - benito.testbed.experiment.attributes
options:
  shares:
    description: The directories.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What guests ask for, an absolute path, which is also where they mount it.
        type: str
        required: true
      path:
        description: The directory on this host. The one called O(shares[].name) when not given.
        type: str
      writable:
        description: Whether guests may write.
        type: bool
        default: false
  clients:
    description: Addresses of the guests on the control net.
    type: list
    elements: str
    default: []
  account:
    description:
      - Account of this host that guests act as. Neither V(root) nor V(benito).
      - Whatever it is, files that guests write cannot become setuid or setgid.
    type: str
    default: benito-share
  port:
    description: TCP port, above 1023.
    type: int
    default: 5640
  state:
    description:
      - V(present) exports the directories that are listed and no others.
      - V(absent) stops the server and removes what it had.
    type: str
    choices: [present, absent]
    default: present
requirements:
  - the account C(benito-share), as the role P(benito.testbed.vhost#role) makes it, unless O(account) is another
  - diod (Debian package diod)
  - unshare, setpriv and mount (Debian packages util-linux and mount)
  - nft (Debian package nftables)
author:
  - The Benito developers (@benito)
seealso:
  - module: benito.testbed.share_info
  - module: benito.testbed.control_net
"""

EXAMPLES = r"""
- name: One directory to read, one to write
  benito.testbed.share:
    experiment: {project: lab, experiment: demo, id: lab.demo}
    control: {bridge: bt0, address: 172.20.1.1, prefix: 24}
    clients: [172.20.1.2, 172.20.1.3]
    shares:
      - {name: /users, path: /srv/users}
      - {name: /proj, path: /srv/proj, writable: true}
  become: true

- name: Nothing any more
  benito.testbed.share:
    experiment: {project: lab, experiment: demo, id: lab.demo}
    state: absent
  become: true
"""

RETURN = r"""
server:
  description: What was done to the server.
  returned: always
  type: dict
  contains:
    action:
      description: One of V(none), V(start), V(admit) (its rules alone), V(remove).
      type: str
      sample: start
    reason:
      description: Why it was done.
      type: str
      sample: dead
    changed:
      description: Whether it was touched.
      type: bool
    msg:
      description: What went wrong.
      type: str
      returned: on failure
shares:
  description: One result for each directory that was listed or withdrawn.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: What guests ask for.
      type: str
      sample: /users
    action:
      description: One of V(none), V(export), V(withdraw).
      type: str
      sample: export
    reason:
      description: Why it was done.
      type: str
      sample: not there
    changed:
      description: Whether guests see another directory than before.
      type: bool
    missing:
      description: Whether there is no such directory on this host.
      type: bool
      returned: when it is missing
    msg:
      description: The warning about it.
      type: str
      returned: when it is missing
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.benito.testbed.plugins.module_utils import shares as files
from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.options import (
    CONTROL_NET,
    EXPERIMENT,
    difference,
    failures,
    open_experiment,
)

SHARE = {
    "name": {"type": "str", "required": True},
    "path": {"type": "str"},
    "writable": {"type": "bool", "default": False},
}


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **EXPERIMENT,
            "control": CONTROL_NET,
            "shares": {"type": "list", "elements": "dict", "default": [], "options": SHARE},
            "clients": {"type": "list", "elements": "str", "default": []},
            "account": {"type": "str", "default": "benito-share"},
            "port": {"type": "int", "default": 5640},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        shares = files.distinct([files.Share.from_options(entry, params["root"]) for entry in params["shares"]])
        rundir, lock = open_experiment(params, module.check_mode)
        with lock:
            if params["state"] == "absent" or not shares:
                report = files.absent(rundir, module.check_mode)
            else:
                server = files.Server.from_options(params["control"] or {}, params["port"], params["account"], params["clients"])
                report = files.present(rundir, server, shares, module.check_mode)
    except HostError as error:
        module.fail_json(msg=str(error))
    results = [report["server"], *report["shares"]]
    for share in report["shares"]:
        if share.get("missing"):
            module.warn(share["msg"])
    report.update(changed=any(r["changed"] for r in results), diff=difference(results))
    if failures(results):
        module.fail_json(msg=failures(results), **report)
    module.exit_json(**report)


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright (c) 2026 The Benito developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at the containers of an experiment on a host."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.benito_containers import KIND, describe

from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.guest_status import known, plugged
from ansible_collections.benito.testbed.plugins.module_utils.options import EXPERIMENT
from ansible_collections.benito.testbed.plugins.module_utils.rundir import RunDir


def main():
    """Run the module."""
    module = AnsibleModule(argument_spec=EXPERIMENT, supports_check_mode=True)
    try:
        rundir = RunDir.from_options(module.params["experiment"], module.params["root"])
    except HostError as error:
        module.fail_json(msg=str(error))
    ports = plugged(rundir)
    module.exit_json(changed=False, guests=[describe(rundir, id_, ports) for id_ in known(rundir, KIND)])


if __name__ == "__main__":
    main()

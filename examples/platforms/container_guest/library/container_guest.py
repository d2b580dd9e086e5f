#!/usr/bin/python
# Copyright (c) 2026 The Benito developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring the containers of an experiment on a host to the wanted state, as one batch. The options are described in the role's README."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.benito_containers import KIND, Ground, absent, container, started, stopped

from ansible_collections.benito.testbed.plugins.module_utils.errors import HostError
from ansible_collections.benito.testbed.plugins.module_utils.guest_config import host_resolver
from ansible_collections.benito.testbed.plugins.module_utils.guest_status import known
from ansible_collections.benito.testbed.plugins.module_utils.guests import Pace, default_window, distinct
from ansible_collections.benito.testbed.plugins.module_utils.options import (
    CONTROL_NET,
    EXPERIMENT,
    Progress,
    difference,
    failures,
    open_experiment,
)


def work(module, rundir, guests, progress):
    """Bring the batch to the state that is asked for; returns one result for each container that was listed or removed."""
    params, check = module.params, module.check_mode
    wanted = {guest.id for guest in guests}
    results = absent(rundir, [id_ for id_ in known(rundir, KIND) if id_ not in wanted], check) if params["purge"] else []
    if params["state"] == "absent":
        return results + absent(rundir, [guest.id for guest in guests], check)
    if params["state"] == "stopped":
        return results + stopped(rundir, guests, check)
    ground = Ground(
        rundir=rundir,
        base=params["base"],
        programs=params["programs"],
        hosts=params["hosts"],
        control=params["control"],
        shares=params["shares"],
        authorized_keys="".join(f"{key.strip()}\n" for key in params["authorized_keys"]),
        resolver=host_resolver(),
    )
    pace = Pace(default_window(), params["boot_timeout"], params["command_wait"], progress=progress)
    return results + started(ground, guests, pace, check, restart=params["state"] == "restarted")


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **EXPERIMENT,
            "guests": {"type": "list", "elements": "dict", "required": True},
            "hosts": {"type": "list", "elements": "list", "default": []},
            "control": CONTROL_NET,
            "shares": {"type": "list", "elements": "dict", "default": []},
            "authorized_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "base": {"type": "path", "required": True},
            "programs": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["started", "stopped", "restarted", "absent"], "default": "started"},
            "purge": {"type": "bool", "default": False},
            "boot_timeout": {"type": "int", "default": 120},
            "command_wait": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    try:
        guests = distinct([container(entry) for entry in module.params["guests"]])
        rundir, lock = open_experiment(module.params, module.check_mode)
        with lock, Progress(rundir, module.check_mode) as progress:
            results = work(module, rundir, guests, progress)
    except HostError as error:
        module.fail_json(msg=str(error))
    report = {"changed": any(r["changed"] for r in results), "guests": results, "diff": difference(results)}
    if failures(results):
        module.fail_json(msg=failures(results), **report)
    module.exit_json(**report)


if __name__ == "__main__":
    main()

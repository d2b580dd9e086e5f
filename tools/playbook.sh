#!/usr/bin/env bash
# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Run one of the playbooks from this checkout: TOPOLOGY=FILE tools/playbook.sh PLAYBOOK [ARGUMENT...]
# This is `ansible-playbook playbooks/PLAYBOOK.yml -i FILE` with the surroundings it needs.
set -euo pipefail
cd "$(dirname "$0")/.."

playbook=${1:?which playbook?}
shift
if [[ -z ${TOPOLOGY:-} ]]; then
    echo "Name the experiment: make $playbook TOPOLOGY=examples/pair.topdl" >&2
    exit 2
fi
if [[ ! -f $TOPOLOGY ]]; then
    echo "There is no file $TOPOLOGY" >&2
    exit 2
fi

# Asked for only where sudo would ask, and somebody is there to answer.
become=()
if ((EUID != 0)) && [[ -t 0 ]] && ! sudo -n true 2>/dev/null; then
    become=(--ask-become-pass)
fi

export PATH="$PWD/.venv/bin:$PATH"
export ANSIBLE_CONFIG="$PWD/ansible.cfg" # without this Ansible skips the file where others may write to the checkout
export LC_ALL=C.UTF-8                    # Ansible refuses any other encoding
exec ansible-playbook "playbooks/$playbook.yml" -i "$TOPOLOGY" "${become[@]}" "$@"

#!/usr/bin/env bash
# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Build the collection, install it elsewhere as a user would, and see that it works there without this checkout.
set -euo pipefail
cd "$(dirname "$0")/.."

checkout=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ansible-galaxy collection build --output-path "$work" >/dev/null
cp -r examples "$work"

cd "$work"
unset ANSIBLE_CONFIG
export ANSIBLE_COLLECTIONS_PATH=$work/collections
ansible-galaxy collection install benito-testbed-*.tar.gz --offline --collections-path "$work/collections"

export ANSIBLE_INVENTORY_ENABLED=benito.testbed.topdl
export ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED=true
for topology in examples/*.{topdl,tcl} examples/*/*.topdl; do
    echo "reading $topology"
    ansible-inventory -i "$topology" --graph >graph
    grep -q '@vnode:' graph || { echo "the installed collection found no nodes in it:" && cat graph && exit 1; } >&2
done
for playbook in "$checkout"/playbooks/*.yml; do
    ansible-playbook "benito.testbed.$(basename "$playbook" .yml)" -i examples/pair.topdl --syntax-check
done

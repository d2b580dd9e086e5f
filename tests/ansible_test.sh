#!/usr/bin/env bash
# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Run ansible-test on a copy of this tree, e.g.: tests/ansible_test.sh sanity
#
# ansible-test insists on a path that ends in ansible_collections/benito/testbed, on a git tree, and on its own directory in the
# user's home. It gets a copy without the link that makes a checkout usable, and a home of its own under the user's cache.
set -euo pipefail
cd "$(dirname "$0")/.."

export PATH="$PWD/.venv/bin:$PATH"
unset ANSIBLE_CONFIG # it reads no configuration but its own

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/ansible_collections/benito/testbed
mkdir -p "$tree"
git ls-files -z --cached --others --exclude-standard -- ':!:.collections' ':!:playbooks/collections' |
    while IFS= read -r -d '' file; do [[ -e $file ]] && printf '%s\0' "$file"; done |
    xargs -0 cp --parents --no-dereference -t "$tree"
git init -q "$tree"
git -C "$tree" add -A

home=${XDG_CACHE_HOME:-$HOME/.cache}/benito
cache=$home/.ansible/test/cache
mkdir -p "$cache" "$home/.config"
for name in .config/pip .pip; do # pip must go on finding its package index
    if [[ -e $HOME/$name ]]; then ln -sfn "$HOME/$name" "$home/$name"; fi
done
# It would download a script to install pip; every Python here brings its own.
for version in 24_2 25_2; do cp tests/get_pip.py "$cache/get_pip_$version.py"; done

# The other Pythons of the host, each by its real directory: a pyenv shim in PATH is no interpreter but answers to its name.
if command -v pyenv >/dev/null; then
    PYENV_VERSION=$(pyenv versions --bare --skip-aliases | paste -sd:)
    export PYENV_VERSION
fi
pythons=$PWD/.venv/bin
for version in 3.9 3.10 3.11 3.12 3.13; do
    directory=$("python$version" -c 'import ensurepip, os, sys; print(os.path.dirname(os.path.realpath(sys.executable)))' 2>/dev/null) || continue
    [[ :$pythons: == *":$directory:"* ]] || pythons+=:$directory
done
unset PYENV_VERSION

cd "$tree"
HOME=$home PATH=$pythons:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin ansible-test "$@"

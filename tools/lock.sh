#!/usr/bin/env bash
# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Renew the lock files: all versions that setup.sh installs, with the hashes of every file that the index has of them.
#
#   tools/lock.sh                    take over what requirements*.txt say, and change nothing else
#   tools/lock.sh --upgrade          and the newest of everything that they do not pin
#   tools/lock.sh -P jinja2          and the newest of one of these
#
# A lock holds for every Python from 3.11 on and for every platform. Look at the difference before you commit it: it is what others run.
set -euo pipefail
cd "$(dirname "$0")/.."

locker=.cache/lock
wanted=$(sha256sum <tools/locker.lock)
if [[ $(cat "$locker/stamp" 2>/dev/null) != "$wanted" ]]; then
    rm -rf "$locker"
    "${PYTHON:-python3}" -m venv "$locker"
    "$locker/bin/python" -m pip install -qq --disable-pip-version-check --require-hashes --only-binary :all: -r tools/locker.lock
    echo "$wanted" >"$locker/stamp"
fi

# The file of runtime libraries bounds that of the tests, so that both have the same versions.
compile() { # FILE OPTION...
    local file=$1
    shift
    "$locker/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url \
        --custom-compile-command tools/lock.sh --output-file "${file%.txt}.lock" "$file" "$@"
}

compile requirements.txt "$@"
compile requirements-dev.txt --constraints requirements.lock "$@"
# Only one file is taken out of this one, and nothing is run.
compile tests/bench/requirements.txt --no-deps "$@"
compile tools/builders.txt "$@"
compile tools/locker.txt "$@"

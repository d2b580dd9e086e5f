#!/usr/bin/env bash
# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Prepare this checkout: host packages by apt, Python libraries in .venv, nothing else.
#
#   tools/setup.sh         what swapin, swapout and status need on the controller
#   tools/setup.sh tests   and what the tests need
#   tools/setup.sh bench   and what the benchmark compares with
#
# Runs again before every command, so it must cost next to nothing when there is nothing to do.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
lock='requirements.lock'
# python3-apt: without it Ansible cannot say in a check run which packages it would install here.
packages=(openssh-client python3-apt tcl)
if [[ ${1:-} == tests || ${1:-} == bench ]]; then
    lock='requirements-dev.lock'
    packages+=(
        busybox-static cpio diod dropbear-bin e2fsprogs iproute2 iputils-ping kmod mmdebstrap nftables openssh-server openssh-sftp-server procps
        qemu-system-x86 qemu-utils shellcheck systemd-container tcpdump vde-switch vde-wirefilter vde2 vdeplug
    )
fi
if [[ ${1:-} == bench ]]; then
    packages+=(bridge-utils iperf3 libvirt-daemon libvirt-daemon-driver-qemu mininet python3-libvirt python3-lxml)
fi

die() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

as_root() {
    if ((EUID == 0)); then
        "$@"
    else
        command -v sudo >/dev/null || die "needs root, or a user who may use sudo, to run: $*"
        sudo "$@"
    fi
}

install_packages() {
    local missing
    missing=$(comm -23 <(printf '%s\n' "$@" | sort) \
        <(dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null | sed -n 's/^installed //p' | sort -u))
    [[ -n $missing ]] || return 0
    command -v apt-get >/dev/null || die "needs a Debian-like host, to install these packages by apt: ${missing//$'\n'/ }"
    echo "setup: installing the packages ${missing//$'\n'/ }"
    as_root apt-get -qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 update
    # shellcheck disable=SC2086 # a list of package names, meant to be split
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 install --yes --no-install-recommends $missing >/dev/null
}

# False as well when the checkout was moved (the scripts in .venv bear its old path) or the host's Python was upgraded.
venv_is_sound() {
    grep -qsF -- "-m venv $PWD/.venv" .venv/pyvenv.cfg && .venv/bin/python -c 'import pip' 2>/dev/null
}

check_python() {
    command -v "$python" >/dev/null || die "found no $python; install Python 3.11 or newer, or name one: make setup PYTHON=/usr/bin/python3.11"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "needs Python 3.11 or newer, and $python is $("$python" --version 2>&1); name another: make setup PYTHON=/usr/bin/python3.11"
}

make_venv() {
    echo "setup: creating .venv with $("$python" --version)"
    rm -rf .venv
    "$python" -m venv "$PWD/.venv" || die "$python cannot create a virtual environment; Debian's own needs the package python3-venv"
}

if venv_is_sound; then
    install_packages "${packages[@]}"
else
    check_python
    "$python" -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
    install_packages "${packages[@]}"
    make_venv
fi

# Nothing is installed that is not, to the byte, what a lock names. So what builds libraries is locked as well, and installed before
# them: pip would fetch it without looking at its hashes.
locked() { .venv/bin/python -m pip "$1" -qq --disable-pip-version-check --require-hashes "${@:2}"; }

stamp=.venv/.$lock.sha256
wanted=$(cat "$lock" tools/builders.lock | sha256sum)
if [[ $(cat "$stamp" 2>/dev/null) != "$wanted" ]]; then
    echo "setup: installing $lock into .venv"
    locked install --only-binary :all: -r tools/builders.lock
    PATH="$PWD/.venv/bin:$PATH" locked install --no-build-isolation -r "$lock"
    echo "$wanted" >"$stamp"
fi

# The collection community.libvirt, out of PyPI's package of all collections: unpacked for the benchmark alone, and not into .venv.
# Without it the benchmark leaves out what it would measure with it.
if [[ ${1:-} == bench ]]; then
    wanted=$(cat tests/bench/requirements.lock)
    if [[ $(cat .cache/bench/collections.stamp 2>/dev/null) != "$wanted" ]]; then
        echo "setup: fetching the collection community.libvirt"
        rm -rf .cache/bench/collections .cache/bench/wheel
        if locked download --only-binary :all: --no-deps --dest .cache/bench/wheel -r tests/bench/requirements.lock; then
            .venv/bin/python -c '
import pathlib, zipfile
(wheel,) = pathlib.Path(".cache/bench/wheel").glob("*.whl")
with zipfile.ZipFile(wheel) as file:
    names = [name for name in file.namelist() if name.startswith("ansible_collections/community/libvirt/")]
    file.extractall(".cache/bench/collections", names)'
            echo "$wanted" >.cache/bench/collections.stamp
        fi
        rm -rf .cache/bench/wheel
    fi
fi

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The root file system that the hosts of the tests have in common: Debian with systemd, sshd and all that the roles would install.

It is built once for each recipe, by mmdebstrap and with this machine's own sources of packages, and never written to afterwards: a host
is an overlay over it. It has no sources of packages itself, because a host of the tests has no way to any.

    python -m tests.hosts.root      build it, unless it is there
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

ROLES = Path(__file__).resolve().parents[2] / "roles"
CACHE = Path("/var/cache/benito-tests")
# What makes a host of it: an init system, a way in, what Ansible's modules need, and what the tests look with.
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "openssh-server", "python3", "python3-apt"),
    *("iproute2", "iputils-ping", "procps", "nftables", "kmod", "tcpdump", "ethtool", "iperf3"),
)
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
# Run when all is installed, in the directory $1: no keys and no identity that hosts would share, and no way to fetch anything.
FINISH = (
    'rm -rf "$1"/etc/ssh/ssh_host_* "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*',
    'rm -f "$1"/etc/apt/apt.conf.d/99mmdebstrap; : >"$1"/etc/machine-id',
    'chroot "$1" systemctl --quiet enable systemd-networkd.service',
    'chroot "$1" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer e2scrub_all.timer',
    'mkdir -p "$1"/etc/systemd/journald.conf.d; printf "[Journal]\\nStorage=volatile\\n" >"$1"/etc/systemd/journald.conf.d/volatile.conf',
)


def wanted_packages() -> list[str]:
    """Return the packages of a host: its own and those that our roles install, so that they find nothing to do."""
    found = set(PACKAGES)
    for defaults in (*ROLES.glob("*/defaults/main.yml"), *ROLES.parent.glob("examples/platforms/*/defaults/main.yml")):
        for name, value in (yaml.safe_load(defaults.read_text(encoding="utf-8")) or {}).items():
            if name.endswith("_packages"):
                found.update(value)
    return sorted(found)


def release() -> str:
    """Return the code name of this machine's release, which is also the hosts'."""
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    return next(line.partition("=")[2].strip('"') for line in lines if line.startswith("VERSION_CODENAME="))


def apt_options() -> Iterator[str]:
    """Find how this machine's apt fetches, as lines of its configuration: proxies, retries, what it does not check.

    Nothing that is run after an installation.
    """
    dump = subprocess.run(["apt-config", "dump", "--no-empty", "Acquire"], check=True, capture_output=True, text=True).stdout
    for line in dump.splitlines():
        if not line.startswith(("Acquire::IndexTargets", "Acquire::Changelogs", "Acquire::cdrom")):
            yield f"{line}\n"


def sources() -> list[str]:
    """Return the files that name this machine's sources of packages."""
    etc = Path("/etc/apt")
    found = [etc / "sources.list", *sorted(etc.glob("sources.list.d/*.list")), *sorted(etc.glob("sources.list.d/*.sources"))]
    return [str(path) for path in found if path.is_file() and path.stat().st_size]


def place() -> Path:
    """Return where the root file system for today's recipe belongs."""
    recipe = json.dumps([wanted_packages(), LEFT_OUT, FINISH, release()])
    return CACHE / f"host-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def ensure() -> Path:
    """Return the root file system, built if need be. It is complete or absent."""
    root = place()
    if root.exists():
        return root
    CACHE.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=CACHE))
    draft.chmod(0o755)
    try:
        # A file that root alone reads: command lines are seen by everybody, and the address of a proxy may hold a password.
        with tempfile.NamedTemporaryFile("w", prefix="benito-apt-") as options:
            options.writelines(apt_options())
            options.flush()
            subprocess.run(
                [
                    "mmdebstrap",
                    "--quiet",
                    "--variant=minbase",
                    f"--include={','.join(wanted_packages())}",
                    f"--aptopt={options.name}",
                    *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
                    *(f"--customize-hook={command}" for command in FINISH),
                    release(),
                    str(draft),
                    *sources(),
                ],
                check=True,
                stdin=subprocess.DEVNULL,
            )
        # Another run may have been faster.
        if not root.exists():
            draft.rename(root)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return root


if __name__ == "__main__":
    if os.geteuid() != 0:
        raise SystemExit("the root file system of the test hosts is built by root")
    print(ensure())

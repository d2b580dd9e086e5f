# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which accelerator works on this host: found by running a guest, once per boot of the host.

A /dev/kvm that opens, and even creates virtual processors, says nothing: nested or filtered KVM may abort or spin for
ever when a kernel really runs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Any

from .accounts import account, groups
from .processes import boot_id
from .rundir import ACCOUNT, host_lock, read_json, write_json

SAID = "benito-probe-ok"
PATIENCE = 15.0


def choose(wish: str, kernel: str, initrd: str, root: str, check: bool = False) -> tuple[str, str]:
    """Return the accelerator (``kvm`` or ``tcg``) and why.

    ``wish`` is ``auto`` or one of them, which is then believed. A check run starts nothing: it knows what an earlier run found.
    """
    if wish != "auto":
        return wish, "asked for"
    cache = f"{root}/accelerator.json"
    circumstances = [boot_id(), _version()]

    def look() -> dict[str, Any]:
        known = read_json(cache)
        kernels = known.get("kernels")
        if known.get("circumstances") != circumstances or not isinstance(kernels, dict):
            return {}
        return {path: found for path, found in kernels.items() if isinstance(found, dict) and {"accelerator", "why"} <= set(found)}

    known = look()
    if kernel not in known:
        if check:
            return "tcg", "not tried in a check run"
        with host_lock(root):
            # Looked at again under the lock: a run beside this one may have found out by now.
            known = look()
            if kernel not in known:
                works, why = probe(kernel, initrd)
                known = {**known, kernel: {"accelerator": "kvm" if works else "tcg", "why": why}}
                write_json(cache, {"circumstances": circumstances, "kernels": known})
    return str(known[kernel]["accelerator"]), str(known[kernel]["why"])


def probe(kernel: str, initrd: str, patience: float = PATIENCE) -> tuple[bool, str]:
    """Boot the tiny kernel under KVM as the service account and see whether it says so."""
    if not os.path.exists("/dev/kvm"):
        return False, "no /dev/kvm"
    argv = [
        "qemu-system-x86_64",
        "-machine",
        "pc,usb=off,graphics=off",
        "-accel",
        "kvm",
        "-cpu",
        "host",
        "-m",
        "128",
        "-nodefaults",
        "-no-user-config",
    ]
    argv += ["-display", "none", "-no-reboot", "-serial", "stdio", "-kernel", kernel, "-initrd", initrd]
    argv += ["-append", "console=ttyS0 quiet panic=-1 benito.probe"]
    identity: dict[str, Any] = {"user": account(ACCOUNT).pw_uid, "group": account(ACCOUNT).pw_gid, "extra_groups": groups(ACCOUNT)}
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=patience,
            check=False,
            cwd="/",
            **identity,
        )
    except subprocess.TimeoutExpired:
        return False, f"a guest under KVM did not come up within {patience:.0f} s"
    except OSError as error:
        return False, f"cannot run QEMU: {error.strerror}"
    said = done.stdout.decode(errors="replace")
    if SAID in said:
        return True, "a guest ran under KVM"
    last = [line.strip() for line in said.splitlines() if line.strip()]
    return False, f"a guest under KVM failed: {last[-1][:160] if last else f'exit status {done.returncode}'}"


def _version() -> str:
    path = shutil.which("qemu-system-x86_64")
    if not path:
        return "none"
    facts = os.stat(path)
    return f"{path}:{facts.st_size}:{int(facts.st_mtime)}"

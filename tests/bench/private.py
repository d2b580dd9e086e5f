# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A place of its own for what is measured: network, mounts and processes that end with it, however it ends.

Inside, /tmp, /run and /var/lib/benito are empty, templates and libvirt's files lie in a directory that is emptied afterwards, no
interface leads anywhere, and no systemd of the machine is to be seen: it would start things outside.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INSIDE = "BENITO_BENCH_INSIDE"
STATE = Path("/var/lib/benito")
TEMPLATES = Path("/var/cache/benito/templates")
# A libvirt that was installed for something else is not looked at.
LIBVIRT = ("/etc/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt")


def enter(work: Path, body: Callable[[], int]) -> int:
    """Run the body in namespaces of its own, in a program that is this one started again; return its exit status.

    ``work`` is a directory on a disk, for templates; it is empty when the body begins and when it has ended.
    """
    if INSIDE not in os.environ:
        clear(work)
        made = mount_points()
        words = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--propagation", "private"]
        # A Ctrl-C reaches everybody; what is inside takes everything away and says how it ended.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        child = subprocess.Popen(
            [*words, sys.executable, "-B", "-m", "tests.bench", *sys.argv[1:]],
            cwd=ROOT,
            env={**os.environ, INSIDE: "1"},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        signal.signal(signal.SIGTERM, lambda number, frame: end(child.pid))
        try:
            return child.wait()
        finally:
            child.kill()
            clear(work)
            for path in reversed(made):
                # What is not empty was used by somebody else meanwhile.
                with contextlib.suppress(OSError):
                    path.rmdir()
    furnish(work)
    # The first process of a process namespace inherits all orphans, and is to bury them.
    worker = os.fork()
    if not worker:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        # Where memory runs out, it is not others who have to go.
        Path("/proc/self/oom_score_adj").write_text("900")
        return body()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(worker, number))
    while True:
        pid, status = os.wait()
        if pid == worker:
            os._exit(os.waitstatus_to_exitcode(status) & 255)


def end(unshare: int) -> None:
    """Ask what ``unshare`` has started to end: it takes no notice of the signal itself."""
    for pid in Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split():
        os.kill(int(pid), signal.SIGTERM)


def mount_points() -> list[Path]:
    """Make the directories that things are to be mounted on and that are not there; return them."""
    made = []
    for goal in (STATE, TEMPLATES, *map(Path, LIBVIRT)):
        for path in (*reversed(goal.parents), goal):
            if not path.exists():
                path.mkdir(mode=0o711 if path == STATE else 0o755)
                made.append(path)
    return made


def clear(work: Path) -> None:
    """Empty the directory."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)


def furnish(work: Path) -> None:
    """Mount what is to be the namespace's own, and bring its loopback up."""

    def mount(*words: str) -> None:
        subprocess.run(["mount", *words], check=True)

    known = STATE / "accelerator.json"
    accelerator = known.read_bytes() if known.exists() else b""
    checkout = os.open(ROOT, os.O_PATH)
    for path, mode in (("/tmp", "1777"), ("/run", "755"), (str(STATE), "711")):
        mount("-t", "tmpfs", "-o", f"mode={mode}", "tmpfs", path)
    if not ROOT.exists():
        # The checkout lay in one of them.
        ROOT.mkdir(parents=True)
        subprocess.run(["mount", "--no-canonicalize", "--rbind", f"/proc/self/fd/{checkout}", str(ROOT)], check=True, pass_fds=[checkout])
        os.chdir(ROOT)
    os.close(checkout)
    Path("/run/lock").mkdir(mode=0o1777)
    if accelerator:
        known.write_bytes(accelerator)
    for path in (*map(Path, LIBVIRT), TEMPLATES):
        own = work / path.name / path.parent.name
        own.mkdir(parents=True)
        own.chmod(0o755)
        mount("--bind", str(own), str(path))
    # What /sys shows of interfaces is that of the namespace it was mounted in; control groups are the machine's.
    groups = Path("/run/cgroup")
    groups.mkdir()
    mount("--rbind", "/sys/fs/cgroup", str(groups))
    mount("-t", "sysfs", "sysfs", "/sys")
    mount("--rbind", str(groups), "/sys/fs/cgroup")
    subprocess.run(["umount", "--lazy", str(groups)], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    # Frames that a socket may hold: what systemd sets at boot.
    Path("/proc/sys/net/unix/max_dgram_qlen").write_text("512")

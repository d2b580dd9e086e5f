# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same guests by a playbook that loops over `community.libvirt.virt`: one task defines each, the next starts each.

Kernel, memory, devices, MACs and what a guest is told are the same. libvirt knows no VDE: its guests are on two bridges, one for the
control net and one for the experiment.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import yaml

from .. import ours
from ..machine import accelerator
from ..results import Unavailable
from .bare_guests import Guest, running, wait

COLLECTIONS = ours.ROOT / ".cache" / "bench" / "collections"
SETTINGS = """
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
stdio_handler = "file"
cgroup_controllers = []
namespaces = []
"""
# It wants an account that the package libvirt-daemon-system makes, which also starts services: what it is told to use is root's.
ACCOUNTS = {"passwd": "libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin\n", "group": "libvirt-qemu:x:64055:\n"}
# Where KVM does not work, libvirt asks it again and again, a minute each time, as long as there is a /dev/kvm at all: there, it gets a /dev
# without one.
START = """
for name in passwd group; do grep -q ^libvirt-qemu: /etc/$name || mount --bind /run/$name /etc/$name; done
if [ "$1" != kvm ] && [ -e /dev/kvm ]; then
    dev=/run/libvirt-dev
    mkdir -p $dev && mount -t tmpfs -o mode=755 tmpfs $dev && mkdir $dev/net $dev/pts $dev/shm
    cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty $dev/ && cp -a /dev/net/tun $dev/net/
    mount --rbind /dev/pts $dev/pts && mount --rbind /dev/shm $dev/shm && ln -s pts/ptmx $dev/ptmx && ln -s /proc/self/fd $dev/fd
    mount --rbind $dev /dev || exit 1
fi
exec libvirtd
"""
PLAYBOOK = [
    {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [
            {
                "name": "Define the guests",
                "community.libvirt.virt": {"command": "define", "xml": "{{ lookup('ansible.builtin.file', item) }}"},
                "loop": "{{ files }}",
            },
            {
                "name": "Start the guests",
                "community.libvirt.virt": {"name": "{{ item | basename | splitext | first }}", "state": "running"},
                "loop": "{{ files }}",
            },
        ],
    }
]


def domain(guest: Guest, home: Path) -> str:
    """Return a guest's definition."""
    macs = re.findall(r'"driver":"virtio-net-pci"[^}]*"mac":"([0-9a-f:]+)"', " ".join(guest.argv))
    bridges = (["control0"] if guest.tap else []) + ["lan0"] * len(macs)
    kvm = guest.option("-accel") == "kvm"
    cards = "".join(
        f"<interface type='bridge'><mac address='{mac}'/><source bridge='{bridge}'/><model type='virtio'/><rom enabled='no'/></interface>"
        for mac, bridge in zip(macs, bridges, strict=False)
    )
    return f"""<domain type='{"kvm" if kvm else "qemu"}'>
<name>{guest.name}</name><memory unit='MiB'>{guest.option("-m")}</memory><vcpu>{guest.option("-smp")}</vcpu>
<cpu mode='{"host-passthrough" if kvm else "maximum"}'/><clock offset='utc'/>
<os><type arch='x86_64' machine='pc'>hvm</type><kernel>{guest.option("-kernel")}</kernel><initrd>{guest.option("-initrd")}</initrd>
<cmdline>{escape(guest.option("-append"))}</cmdline></os>
<sysinfo type='fwcfg'><entry name='opt/benito/config' file='{home}/{guest.name}.config'/></sysinfo>
<features><acpi/>{"" if kvm else "<tcg><tb-cache unit='MiB'>64</tb-cache></tcg>"}</features>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{cards}
<serial type='file'><source path='{home}/{guest.name}.console'/></serial>
<channel type='file'><source path='{home}/{guest.name}.state'/><target type='virtio' name='benito.state'/></channel>
<channel type='unix'><target type='virtio' name='benito.config'/></channel>
<memballoon model='none'/><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
</devices></domain>
"""


@contextlib.contextmanager
def libvirt() -> Iterator[None]:
    """Run libvirt, with two bridges for its guests; all of both is gone afterwards."""
    if not shutil.which("libvirtd") or not COLLECTIONS.is_dir():
        raise Unavailable("libvirt or the collection community.libvirt is not installed")
    Path("/etc/libvirt/qemu.conf").write_text(SETTINGS)
    for bridge in ("control0", "lan0"):
        for words in (["add", bridge, "type", "bridge"], ["set", bridge, "up"]):
            subprocess.run(["ip", "link", *words], check=True)
    for name, line in ACCOUNTS.items():
        Path(f"/run/{name}").write_text(Path(f"/etc/{name}").read_text() + line)
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", START, "sh", accelerator()]
    with open("/run/libvirtd.log", "ab") as log:
        daemon = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while not Path("/run/libvirt/libvirt-sock").exists():
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"libvirtd does not run here: {Path('/run/libvirtd.log').read_text(errors='replace')[-200:]}")
            time.sleep(0.1)
        yield
    finally:
        daemon.terminate()
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
        for bridge in ("control0", "lan0"):
            subprocess.run(["ip", "link", "delete", bridge], check=False)


def up(guests: Sequence[Guest], configs: Path, home: Path) -> float:
    """Define and start guests by playbook; return the seconds from its start until all are up. ``configs`` has their archives."""
    with libvirt():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        for guest in guests:
            shutil.copy(configs / f"{guest.name}.config", home)
            (home / f"{guest.name}.xml").write_text(domain(guest, home))
        (home / "play.yml").write_text(yaml.safe_dump(PLAYBOOK, sort_keys=False))
        (home / "ansible.cfg").write_text(f"[defaults]\ncollections_path = {COLLECTIONS}\n[connection]\npipelining = true\n")
        environment = {
            **ours.environment(home),
            "ANSIBLE_CONFIG": str(home / "ansible.cfg"),
        }
        files = json.dumps({"files": [f"{home}/{guest.name}.xml" for guest in guests]})
        python = ["-e", "ansible_python_interpreter=/usr/bin/python3"]
        began = time.monotonic()
        done = subprocess.run(
            [*("ansible-playbook", "-c", "local"), *python, "-e", files, str(home / "play.yml")],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        try:
            if done.returncode:
                raise RuntimeError(f"the playbook failed: {(done.stdout + done.stderr)[-800:]}")
            return wait([home / f"{guest.name}.state" for guest in guests], began)
        finally:
            kill_guests(home)


def kill_guests(home: Path) -> None:
    """End the guests, and wait until they have."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and running(int(entry.name)):
            with contextlib.suppress(OSError):
                if f"{home}/".encode() in (entry / "cmdline").read_bytes() and b"qemu-system" in (entry / "cmdline").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)
    time.sleep(1)


__all__ = ["domain", "up"]

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image ``tiny``: a kernel and an initramfs made from Debian packages, for guests of 100 MB that boot in seconds.

An initramfs stays in memory, and is there twice while the kernel unpacks it. So only what it takes to mount a squashfs lies in it as it
is; all other programs, libraries and kernel modules are in a squashfs file inside it, mounted on /usr/extra, with symbolic links
from the usual places.

An image has ``vmlinux`` and ``initramfs``. Its key is a hash of the recipe: this builder, its package list, the guest's files.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import debian_packages as debian
from . import image_store
from .debian_packages import PackageError
from .image_parts import (
    KERNEL_PACKAGE,
    TOOL_PACKAGES,
    Unpacked,
    copy,
    kernel_package,
    own_files,
    pack,
    put,
    require_debian,
    squash,
    unpack_kernel,
    with_dependencies,
)
from .image_store import Image, listing

NAME = "tiny"
HAS_DISK = False
# Raise this when the same packages and guest files would give another image.
BUILDER = 1

PACKAGES = (
    "busybox",  # the shell: looks its commands up in PATH, which busybox-static's does not
    "busybox-static",  # everything small
    "dropbear-bin",
    "iperf3",
    "iproute2",
    "iputils-ping",
    "openssh-sftp-server",  # what scp talks to
    "tcpdump",
    "traceroute",
)

# Where each program goes, and a pattern of where its package has it, with or without usr/.
PROGRAMS = {
    "usr/bin/ash": "busybox/**/bin/busybox",
    "usr/bin/bridge": "iproute2/**/sbin/bridge",
    "usr/bin/busybox": "busybox-static/**/bin/busybox",
    "usr/bin/dbclient": "dropbear-bin/**/bin/dbclient",
    "usr/bin/dropbearconvert": "dropbear-bin/**/bin/dropbearconvert",
    "usr/bin/dropbearkey": "dropbear-bin/**/bin/dropbearkey",
    "usr/bin/ip": "iproute2/**/bin/ip",
    "usr/bin/iperf3": "iperf3/**/bin/iperf3",
    "usr/bin/ping": "iputils-ping/**/bin/ping",
    "usr/bin/ss": "iproute2/**/bin/ss",
    "usr/bin/tcpdump": "tcpdump/**/bin/tcpdump",
    "usr/bin/traceroute": "traceroute/**/bin/traceroute.db",
    "usr/lib/sftp-server": "openssh-sftp-server/**/sftp-server",  # where dropbear looks
    "usr/sbin/dropbear": "dropbear-bin/**/sbin/dropbear",
    "usr/sbin/tc": "iproute2/**/sbin/tc",
}
# Static: the one that runs before the others' libraries are there.
FIRST_PROGRAM = "usr/bin/busybox"
EXTRA = "usr/extra"
LINKS = {
    "usr/bin/sh": "ash",
    "usr/bin/ping4": "ping",
    "usr/bin/ping6": "ping",
    "usr/bin/ssh": "dbclient",
    "bin": "usr/bin",
    "sbin": "usr/sbin",
    "lib": "usr/lib",
    "lib64": "usr/lib64",
    "var/run": "/run",
    "var/containers": "benito",
    "etc/mtab": "/proc/self/mounts",
}
DIRECTORIES = (
    *("dev", "etc/dropbear", "home", "mnt", "proc", "root/.ssh", "run", "sys", "tmp", "var/log", "var/www"),
    *("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "usr/local/bin", "usr/local/sbin", EXTRA),
    *("var/benito/config/route", "var/benito/launch", "var/benito/log", "var/emulab/boot"),
)

# The guest's own files: where they go, and their mode.
GUEST_FILES = {
    "init": ("init", 0o755),
    "inittab": ("etc/inittab", 0o644),
    "profile": ("etc/profile", 0o644),
    "benito-agent": ("usr/sbin/benito-agent", 0o755),
    # Bears its traditional name, which says nothing of the language it is written in.
    "routes.sh": ("var/benito/launch/routes.py", 0o755),
}
ETC = {
    "passwd": "root:*:0:0:root:/root:/bin/sh\ntcpdump:*:100:100::/nonexistent:/bin/false\nnobody:*:65534:65534::/nonexistent:/bin/false\n",
    "group": "root:x:0:\ntty:x:5:\ntcpdump:x:100:\nnogroup:x:65534:\n",
    "shells": "/bin/sh\n/bin/ash\n",
    "hosts": "127.0.0.1\tlocalhost\n",
    "nsswitch.conf": "hosts: files dns\n",
    "os-release": 'ID=benito-tiny\nID_LIKE=debian\nPRETTY_NAME="Benito tiny"\n',
}

# Kernel modules, as paths below /lib/modules/RELEASE/kernel. What they need comes along.
MODULES = re.compile(
    r"drivers/virtio/virtio(_ring|_pci|_pci_.*)?|drivers/net/(virtio_net|dummy|ifb|macvlan|macvtap|tap|tun|veth|vxlan|bonding/bonding)|"
    r"drivers/block/(virtio_blk|loop)|fs/squashfs/squashfs|drivers/char/virtio_console|drivers/char/hw_random/virtio-rng|drivers/firmware/qemu_fw_cfg|"
    r"fs/9p/9p|net/9p/9pnet(_fd|_virtio)?|net/8021q/8021q|net/bridge/bridge|net/mpls/mpls_.*|"
    r"net/ipv4/(ip_gre|ipip|gre|tcp_(bbr|vegas|westwood|htcp|bic|dctcp|illinois|scalable|yeah)|(tcp|udp|inet|raw)_diag)|"
    r"net/(packet/af_packet|unix/unix)_diag|net/sched/(sch_.*|cls_(basic|bpf|flow|flower|fw|matchall|route|u32)|em_(cmp|meta|nbyte|u32)|"
    r"act_(bpf|csum|gact|mirred|nat|pedit|police|sample|simple|skbedit|vlan))"
)
FIRST_MODULES = re.compile("drivers/block/loop|fs/squashfs/squashfs")
# For the kernel's command line. Tracing's files in /sys would take 6 MB and half a second, and its absence is what makes 100 MB enough; the
# others are tests, hardening and accounting that a throwaway guest has no use for, and half a second more.
ARGUMENTS = (
    "initcall_blacklist=tracer_init_tracefs cryptomgr.notests mitigations=off init_on_alloc=0 lsm=capability audit=0 cgroup_disable=memory "
    "rcupdate.rcu_expedited=1"
)
# Where those and what they need are looked for: unpacking all of them would take 400 MB.
MODULE_PLACES = re.compile(
    r"(drivers/(virtio|block|char|firmware|net/[^/]+\.ko|net/bonding)|fs/(9p|netfs|fscache|squashfs)|net|lib|crypto|arch)\b"
)


def take_files(files: Mapping[str, str]) -> dict[str, bytes]:
    """Return those of the guest's own files that an image is made with, by name."""
    return own_files(files, GUEST_FILES)


def recipe_key(guest_files: Mapping[str, bytes]) -> str:
    """Return the key of the image that this builder makes with these guest files."""
    recipe: dict[str, Any] = {
        "builder": BUILDER,
        "kernel": KERNEL_PACKAGE,
        "packages": PACKAGES,
        "tools": TOOL_PACKAGES,
        "first": (FIRST_PROGRAM, FIRST_MODULES.pattern),
        "programs": PROGRAMS,
        "links": LINKS,
        "directories": DIRECTORIES,
        "etc": ETC,
        "modules": MODULES.pattern,
        "arguments": ARGUMENTS,
    }
    for name, (place, mode) in GUEST_FILES.items():
        recipe[f"file {place} {mode:o}"] = hashlib.sha256(guest_files[name]).hexdigest()
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]


def ensure(cache: Path, guest_files: Mapping[str, bytes], refresh: bool = False) -> tuple[Image, bool]:
    """Return the image for these guest files, built if need be, and whether anything changed.

    ``refresh`` asks apt again and builds a new one when a package has a newer version.
    """
    key = recipe_key(guest_files)
    return image_store.ensure(
        cache,
        NAME,
        key,
        lambda: build(cache, key, guest_files, wanted_packages()),
        lambda image: image.packages != listing(wanted_packages()),
        refresh,
        "about 400 MB for a minute",
    )


def wanted_packages() -> dict[str, debian.Package]:
    """Return every package an image is made of today, by name."""
    require_debian(NAME)
    packages = debian.with_libraries((*PACKAGES, *TOOL_PACKAGES))
    packages.update(kernel_package())
    return packages


def build(cache: Path, key: str, guest_files: Mapping[str, bytes], packages: dict[str, debian.Package]) -> Image:
    """Build the image and put it in its place. The caller holds the lock."""
    with image_store.draft(cache, NAME, key) as work:
        image, debs, source, root, extra = (work / name for name in ("image", "debs", "source", "root", "extra"))
        for directory in (image, debs, source, root, extra):
            directory.mkdir(mode=0o755)
        files = debian.download(packages, debs)
        kernel = next(name for name in packages if name.startswith("linux-image-"))
        kernel_deb = files.pop(kernel)
        for name, deb in files.items():
            debian.extract(deb, source / name)
        unpacked = Unpacked(source)
        lay_out(root, unpacked, guest_files)
        release, vmlinux, first_modules = add_kernel(root, kernel_deb)
        (image / "vmlinux").write_bytes(vmlinux)
        set_aside(root, extra, {FIRST_PROGRAM, *first_modules})
        squash(unpacked, extra, root / f"{EXTRA}.squashfs")
        pack(unpacked, root, image / "initramfs")
        facts = {"builder": BUILDER, "release": release, "arguments": ARGUMENTS, "packages": listing(packages)}
        return image_store.settle(cache, NAME, key, image, facts)


def lay_out(root: Path, unpacked: Unpacked, guest_files: Mapping[str, bytes]) -> None:
    """Fill the guest's root directory, but for the kernel's modules."""
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, target in LINKS.items():
        (root / name).symlink_to(target)
    copy(unpacked.linker, root, f"usr/lib64/{unpacked.linker.name}", 0o755)
    for name, original in PROGRAMS.items():
        program = unpacked.only(original)
        copy(program, root, name, 0o755)
        if name != FIRST_PROGRAM:
            for library, path in unpacked.needed(program).items():
                copy(path, root, f"usr/lib/x86_64-linux-gnu/{library}", 0o755)
    for table in unpacked.source.glob("iproute2/**/tc/*.dist"):  # the distributions of netem
        copy(table, root, str(table.relative_to(unpacked.source / "iproute2")))
    for name in ("rt_protos", "rt_scopes", "rt_tables"):
        copy(unpacked.only(f"iproute2/etc/iproute2/{name}", f"iproute2/usr/share/iproute2/{name}"), root, f"etc/iproute2/{name}")
    for name, text in ETC.items():
        (root / "etc" / name).write_text(text, encoding="utf-8")
    for name, (place, mode) in GUEST_FILES.items():
        put(guest_files[name], root, place, mode)
    # The first process starts before there is a /bin/sh: that one lies in the squashfs.
    first = root / "init"
    first.write_bytes(first.read_bytes().replace(b"#!/bin/sh", b"#!/bin/busybox ash", 1))
    taken = {Path(name).name for name in (*PROGRAMS, *LINKS)}
    for applet in debian.run([str(root / "usr/bin/busybox"), "--list-full"]).split():
        # A busybox applet must not stand in the way of the real thing in another directory.
        if Path(applet).name not in taken:
            link = root / (applet if applet.startswith("usr/") else f"usr/{applet}")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(f"/{FIRST_PROGRAM}")


def set_aside(root: Path, extra: Path, first: set[str]) -> None:
    """Move all programs, libraries and kernel modules but the first ones from ``root`` to ``extra``, and link to them."""
    places = ("usr/lib/x86_64-linux-gnu", "usr/lib64", "usr/lib/modules")
    files = [path for place in places for path in (root / place).rglob("*") if path.is_file() and not path.name.startswith("modules.")]
    for path in sorted({*files, *(root / name for name in PROGRAMS)}):
        name = str(path.relative_to(root))
        if name not in first:
            (extra / name).parent.mkdir(parents=True, exist_ok=True)
            path.rename(extra / name)
            path.symlink_to(f"/{EXTRA}/{name}")


def add_kernel(root: Path, package: Path) -> tuple[str, bytes, set[str]]:
    """Put the kernel modules into ``root``; return the kernel's release, the kernel as an ELF file and the first modules."""
    vmlinux, release = b"", ""
    modules: dict[str, bytes] = {}  # by path below /lib/modules/RELEASE/kernel, without .ko
    keep = re.compile(r"boot/vmlinuz-|(usr/)?lib/modules/[^/]+/(modules\.(builtin|order)$|kernel/" + MODULE_PLACES.pattern + ")")
    for path, content in debian.read_files(package, lambda path: bool(keep.match(path))):
        if path.startswith("boot/vmlinuz-"):
            release, vmlinux = path[len("boot/vmlinuz-") :], unpack_kernel(content)
            continue
        below = re.sub(r"^(usr/)?lib/modules/[^/]+/", "", path)
        if below.startswith("kernel/"):
            modules[re.sub(r"^kernel/|\.ko(\.xz)?$", "", below)] = lzma.decompress(content) if below.endswith(".xz") else content
        else:
            (root / "usr/lib/modules").mkdir(parents=True, exist_ok=True)
            (root / "usr/lib/modules" / below).write_bytes(content)
    if not vmlinux:
        raise PackageError(f"{package.name} holds no kernel")
    base = root / "usr/lib/modules" / release
    base.mkdir(parents=True)
    for loose in (root / "usr/lib/modules").glob("modules.*"):
        loose.rename(base / loose.name)
    for path in with_dependencies(modules, MODULES):
        target = base / "kernel" / f"{path}.ko"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(modules[path])
    debian.run([str(root / "usr/bin/busybox"), "depmod", "-b", str(root), release])
    for name in ("modules.order", "modules.symbols"):  # read by depmod alone
        (base / name).unlink(missing_ok=True)
    for index in base.glob("modules.*"):  # depmod lists files as the directory does, in no order
        index.write_text("".join(sorted(index.read_text(encoding="utf-8").splitlines(keepends=True))), encoding="utf-8")
    first = {str((base / "kernel" / f"{path}.ko").relative_to(root)) for path in with_dependencies(modules, FIRST_MODULES)}
    return release, vmlinux, first

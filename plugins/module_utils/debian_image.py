# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image ``debian``: a whole Debian with systemd, OpenSSH, Python and apt, on a disk that guests share and write past.

mmdebstrap installs the packages from the host's own sources of Debian packages; the kernel's modules and the guest's files come on top. The
kernel is handed to QEMU as it is for ``tiny``, with an initramfs that does nothing but mount the disk.

An image has ``vmlinux``, ``initramfs`` and ``disk.img``, a sparse ext4 file system which no guest ever writes to: what it changes goes
to a disk of its own on top. The key is a hash of the recipe: this builder, its package list, the release of Debian, the guest's files.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
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
    unpack_kernel,
)
from .image_store import DISK, Image, listing

NAME = "debian"
HAS_DISK = True
# Raise this when the same packages and guest files would give another image.
BUILDER = 1

PACKAGES = (
    # The system.
    *("systemd", "systemd-sysv", "udev", "dbus", "kmod", "mount", "login", "passwd", "e2fsprogs", "netbase", "util-linux", "sudo"),
    *(
        "openssh-server",
        "openssh-sftp-server",
        "openssh-client",
        "python3",
        "python3-apt",
        "apt",
        "ca-certificates",
        "debian-archive-keyring",
    ),
    # The network, and to look at it.
    *("iproute2", "iputils-ping", "traceroute", "tcpdump", "iperf3", "curl", "ethtool", "netcat-openbsd", "nftables", "procps", "psmisc"),
    *("busybox-static", "less", "vim-tiny"),
    # So that it can carry nodes itself.
    *("vde2", "vde-switch", "vde-wirefilter", "vdeplug", "dropbear-bin", "diod"),
)
# For the initramfs. Its busybox also runs the agent, which then starts no process for most of its commands.
FIRST_PACKAGES = ("busybox-static",)
# Room for the system and for what a guest adds to it; a host has to have what is really written.
DISK_SIZE = 8 << 30
# While it is built: packages, the system, and its image.
BUILD_SPACE = 3 << 30
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/lintian/*")

# For the kernel's command line: without tests, hardening and accounting that a throwaway guest has no use for. The agent names interfaces.
ARGUMENTS = "cryptomgr.notests mitigations=off init_on_alloc=0 lsm=capability audit=0 rcupdate.rcu_expedited=1 net.ifnames=0"
# What a machine without other hardware can use, as paths below /lib/modules/RELEASE/kernel.
MODULE_PLACES = re.compile(
    r"(drivers/(virtio|block|char|firmware|md|net/[^/]+\.ko|net/(bonding|team|vxlan|wireguard|ppp|phy|vmxnet3))|fs|net|lib|crypto|arch/x86/crypto)\b"
)
# What the initramfs loads: the disk's driver and file system, and what the agent should not have to wait for.
FIRST_MODULES = (
    *("virtio_ring", "virtio_pci", "virtio_blk", "crc32c_generic", "ext4"),
    *("virtio_console", "qemu_fw_cfg", "virtio_net", "virtio_rng"),
)

# The guest's own files: where they go, and their mode.
GUEST_FILES = {
    "benito-agent": ("usr/sbin/benito-agent", 0o755),
    "benito-agent.service": ("etc/systemd/system/benito-agent.service", 0o644),
    "routes.sh": ("var/benito/launch/routes.py", 0o755),
}
FIRST_FILE = "disk-init"
FILES = {
    "etc/hostname": "debian\n",
    "etc/hosts": "127.0.0.1\tlocalhost\n",
    # Made at the first boot of each guest.
    "etc/machine-id": "",
    "etc/ssh/sshd_config.d/benito.conf": (
        "# The host gives the key of this guest and says who may log in: as root, by key alone.\n"
        "HostKey /etc/ssh/ssh_host_ed25519_key\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nUseDNS no\n"
    ),
    # The root shell needs no password: only the host reaches the serial console.
    "etc/systemd/system/serial-getty@ttyS0.service.d/benito.conf": (
        "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --keep-baud 115200 - vt220\n"
    ),
    "etc/default/locale": "LANG=C.UTF-8\n",
    # Addresses and routes are the agent's.
    "etc/systemd/network/00-benito.network": "[Match]\nName=*\n\n[Link]\nUnmanaged=yes\n",
    # Of the many devices that a PC has, those that a guest uses: each costs time where the processor is emulated.
    "etc/systemd/system/systemd-udev-trigger.service.d/benito.conf": (
        "[Service]\nExecStart=\n"
        "ExecStart=-udevadm trigger --action=add --sysname-match=ttyS0\n"
        "ExecStart=-udevadm trigger --action=add --subsystem-match=block --subsystem-match=misc --subsystem-match=net\n"
    ),
    "etc/systemd/journald.conf.d/benito.conf": "[Journal]\nStorage=volatile\nRuntimeMaxUse=8M\n",
    "etc/systemd/system.conf.d/benito.conf": "[Manager]\nDefaultTimeoutStopSec=5s\nDefaultTimeoutStartSec=60s\n",
    # As the agent sets it; interfaces that appear later get the same.
    "etc/sysctl.d/99-benito.conf": "".join(
        f"net.ipv4.conf.{which}.{key} = {value}\n"
        for key, value in (("arp_ignore", 1), ("arp_announce", 2), ("rp_filter", 0), ("send_redirects", 0), ("accept_redirects", 0))
        for which in ("all", "default", "*")
    )
    + "net.ipv4.ip_forward = 1\n"
    # A guest that does nothing is to take no processor time: what looks after memory and the processor every second finds nothing to do.
    + "vm.compaction_proactiveness = 0\nvm.stat_interval = 120\nkernel.watchdog = 0\n",
}
# For each its reason: fetches or writes on its own; serves what nobody asked for; serves hardware and boots that are not a guest's. What is
# left boots in seconds where the processor is emulated; a user can unmask any.
MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer", "e2scrub_all.timer", "e2scrub_reap.service"),
    *("diod.service", "iperf3.service", "systemd-networkd-wait-online.service"),
    *("getty@tty1.service", "getty-static.service", "systemd-user-sessions.service"),
    *("systemd-update-utmp.service", "systemd-update-utmp-runlevel.service", "systemd-pstore.service", "systemd-random-seed.service"),
    *("systemd-journal-flush.service", "systemd-sysusers.service", "systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount"),
    *("systemd-pcrphase.service", "systemd-pcrphase-sysinit.service", "systemd-repart.service", "systemd-firstboot.service"),
    *("sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount", "sys-fs-fuse-connections.mount"),
    *("dev-hugepages.mount", "dev-mqueue.mount", "systemd-ask-password-console.path", "systemd-ask-password-wall.path"),
    *("modprobe@configfs.service", "modprobe@dm_mod.service", "modprobe@drm.service", "modprobe@efi_pstore.service"),
    *("modprobe@fuse.service", "modprobe@loop.service", "systemd-remount-fs.service", "kmod-static-nodes.service"),
    *("systemd-tmpfiles-setup-dev.service",),
)
# Each is a process at every boot, for disks and firmware that are not a guest's.
MASKED_GENERATORS = (
    "bless-boot",
    "cryptsetup",
    "debug",
    "getty",
    "gpt-auto",
    "hibernate-resume",
    "integritysetup",
    "rc-local",
    "run",
    "system-update",
    "veritysetup",
)
# The initramfs has loaded the drivers of all that a guest has; others would come for each feature of the processor.
MASKED_RULES = ("80-drivers.rules",)
# Keeps everybody but root out until a service, which is masked, ends it.
MASKED_FILES = ("systemd-nologin.conf",)
# What starts each by itself: the target, and the file of the unit.
ENABLED = {
    "benito-agent.service": ("sysinit.target", "/etc/systemd/system/benito-agent.service"),
    "serial-getty@ttyS0.service": ("getty.target", "/lib/systemd/system/serial-getty@.service"),
}
# Whose keys and what its own fetching these would be.
REMOVED = (
    # Started when somebody speaks to them.
    "usr/lib/systemd/system/multi-user.target.wants/dbus.service",
    "usr/lib/systemd/system/multi-user.target.wants/systemd-logind.service",
    # Empty, each with a service that reads it.
    "etc/fstab",
    "etc/modules-load.d/modules.conf",
    "etc/ssh/ssh_host_*",
    "etc/apt/sources.list",
    "etc/apt/sources.list.d/*",
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
)
LINKS = {"var/containers": "benito"}
DIRECTORIES = ("root/.ssh", "var/benito/config/route", "var/benito/log", "var/emulab/boot")


def take_files(files: Mapping[str, str]) -> dict[str, bytes]:
    """Return those of the guest's own files that an image is made with, by name."""
    return own_files(files, (*GUEST_FILES, FIRST_FILE))


def recipe_key(guest_files: Mapping[str, bytes]) -> str:
    """Return the key of the image that this builder makes with these guest files on this host."""
    recipe: dict[str, Any] = {
        "builder": BUILDER,
        "release": release(),
        "kernel": KERNEL_PACKAGE,
        "packages": (PACKAGES, FIRST_PACKAGES),
        "left out": LEFT_OUT,
        "size": DISK_SIZE,
        "arguments": ARGUMENTS,
        "modules": (MODULE_PLACES.pattern, FIRST_MODULES),
        "files": FILES,
        "units": (MASKED, MASKED_GENERATORS, MASKED_RULES, MASKED_FILES, ENABLED),
        "removed": REMOVED,
        "links": LINKS,
        "directories": DIRECTORIES,
    }
    for name, (place, mode) in {**GUEST_FILES, FIRST_FILE: ("init", 0o755)}.items():
        recipe[f"file {place} {mode:o}"] = hashlib.sha256(guest_files[name]).hexdigest()
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]


def release(path: str = "/etc/os-release") -> str:
    """Return the code name of this host's release of Debian, which is also the guests'."""
    try:
        with open(path, encoding="utf-8") as file:
            words = dict(line.strip().partition("=")[::2] for line in file)
    except OSError:
        words = {}
    name = words.get("VERSION_CODENAME", "").strip('"')
    if not re.fullmatch(r"[a-z]+", name):
        raise PackageError("this host does not say which release of Debian it is: an image can be built on a Debian host only")
    return name


def ensure(cache: Path, guest_files: Mapping[str, bytes], refresh: bool = False) -> tuple[Image, bool]:
    """Return the image for these guest files, built if need be, and whether anything changed.

    ``refresh`` asks apt again and builds a new one when a package has a newer version.
    """
    key = recipe_key(guest_files)
    return image_store.ensure(cache, NAME, key, lambda: build(cache, key, guest_files), outdated, refresh, "about 3 GB for two minutes")


def outdated(image: Image) -> bool:
    """Tell whether apt knows another version of a package of the image than it has."""
    today = debian.describe(package["name"] for package in image.packages)
    return any(package["name"] in today and today[package["name"]].version != package["version"] for package in image.packages)


def build(cache: Path, key: str, guest_files: Mapping[str, bytes]) -> Image:
    """Build the image and put it in its place. The caller holds the lock."""
    require_debian(NAME)
    for tool, package in {"mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs"}.items():
        if not shutil.which(tool):
            raise PackageError(
                f"{tool} is missing on this host: install the package {package}, or prepare the host with the role benito.testbed.vhost"
            )
    if shutil.disk_usage(cache).free < BUILD_SPACE:
        raise PackageError(f"no space left to build an image in {cache}: it takes about 3 GB for two minutes")
    targets = sources()
    kernel = kernel_package()
    with image_store.draft(cache, NAME, key) as work:
        image, debs, source, root, first = (work / name for name in ("image", "debs", "source", "root", "first"))
        for directory in (image, debs, source, first):
            directory.mkdir(mode=0o755)
        install(root, targets)
        tools = debian.with_libraries((*FIRST_PACKAGES, *TOOL_PACKAGES))
        files = debian.download({**tools, **kernel}, debs)
        kernel_deb = files.pop(next(iter(kernel)))
        for name, deb in files.items():
            debian.extract(deb, source / name)
        lay_out(root, guest_files, targets)
        version, vmlinux = add_kernel(root, kernel_deb)
        (image / "vmlinux").write_bytes(vmlinux)
        unpacked = Unpacked(source)
        copy(unpacked.only("busybox-static/**/bin/busybox"), first, "bin/busybox", 0o755)
        (first / "bin/sh").symlink_to("busybox")
        put(guest_files[FIRST_FILE], first, "init", 0o755)
        first_modules(root / "usr/lib/modules" / version, first)
        pack(unpacked, first, image / "initramfs")
        packages = installed(root, kernel)
        write_disk(root, image / DISK, key)
        facts = {"builder": BUILDER, "release": version, "arguments": ARGUMENTS, "packages": packages}
        return image_store.settle(cache, NAME, key, image, facts)


def sources() -> list[dict[str, str]]:
    """Return the host's sources of Debian's own packages: the ``file`` of each, ``uri``, ``release``, ``component``, ``key`` (a path)."""
    fields = ("SOURCESENTRY", "REPO_URI", "RELEASE", "COMPONENT", "SIGNED_BY", "ORIGIN")
    text = debian.run(["apt-get", "indextargets", "--format", "\t".join(f"$({field})" for field in fields), "Created-By: Packages"])
    found = []
    for line in text.splitlines():
        # A field that a source has not is printed as it was asked for.
        words = ["" if word.startswith("$(") else word for word in line.split("\t")]
        if len(words) == len(fields) and words[5] == "Debian":
            file, uri, suite, component, key, dummy = words
            found.append({"file": file.rpartition(":")[0], "uri": uri, "release": suite, "component": component, "key": key})
    if not found:
        raise PackageError("apt has no source of Debian's packages: add a Debian mirror to its sources and run apt-get update")
    return found


def install(root: Path, targets: Iterable[Mapping[str, str]]) -> None:
    """Install the packages into a new directory, with the host's way to fetch them."""
    command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
    options = debian.run(["apt-config", "dump", "--no-empty", "Acquire"]).splitlines()
    unwanted = ("Acquire::IndexTargets", "Acquire::Changelogs", "Acquire::cdrom")
    # In a file of root's, beside the directory: the address of a proxy may hold a password, and everybody sees command lines.
    kept = root.with_name("apt.conf")
    with open(os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in options if not line.startswith(unwanted))
    command += [f"--aptopt={kept}"]
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
    command += ["--dpkgopt=force-unsafe-io"]
    files = list(dict.fromkeys(target["file"] for target in targets))
    # With all that it starts it goes when this builder is killed, rather than work on in a directory that the next one clears away.
    together = ["setpriv", "--pdeathsig", "KILL", "--", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
    debian.run([*together, *command, release(), str(root), *files], name="mmdebstrap")


def lay_out(root: Path, guest_files: Mapping[str, bytes], targets: Iterable[Mapping[str, str]]) -> None:
    """Make an installed system a guest's: its files and units, and nothing that guests would share or that is the host's."""
    for pattern in REMOVED:
        for path in root.glob(pattern):
            path.unlink()
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "root/.ssh").chmod(0o700)
    for name, target in LINKS.items():
        (root / name).symlink_to(target)
    for name, text in {**FILES, "etc/apt/sources.list": sources_list(targets, root)}.items():
        write(root, name, text)
    for name, (place, mode) in GUEST_FILES.items():
        put(guest_files[name], root, place, mode)
    units = root / "etc/systemd/system"
    masked = [units / unit for unit in MASKED]
    masked += [root / f"etc/systemd/system-generators/systemd-{name}-generator" for name in MASKED_GENERATORS]
    masked += [root / f"etc/udev/rules.d/{name}" for name in MASKED_RULES]
    masked += [root / f"etc/tmpfiles.d/{name}" for name in MASKED_FILES]
    for path in masked:
        path.parent.mkdir(parents=True, exist_ok=True)
        link(path, "/dev/null")
    for unit, (target, file) in ENABLED.items():
        (units / f"{target}.wants").mkdir(exist_ok=True)
        link(units / f"{target}.wants" / unit, file)
    # Started by the agent, when the guest has its key.
    for wanted in units.glob("*.wants/ssh.service"):
        wanted.unlink()
    (units / "sshd.service").unlink(missing_ok=True)


def sources_list(targets: Iterable[Mapping[str, str]], root: Path) -> str:
    """Return apt's sources for a guest: the host's, but for those with a password and those that only the host itself reaches."""
    lines: dict[tuple[str, str, str], list[str]] = {}
    for target in targets:
        if re.match(r"https?://[^/@]+(/|\Z)", target["uri"]):
            key = target["key"] if target["key"].startswith("/") and (root / target["key"].lstrip("/")).exists() else ""
            lines.setdefault((key, target["uri"], target["release"]), []).append(target["component"])
    return "".join(
        f"deb {f'[signed-by={key}] ' if key else ''}{uri} {suite} {' '.join(parts)}\n" for (key, uri, suite), parts in lines.items()
    )


def write(root: Path, name: str, text: str) -> None:
    """Write a file below ``root`` in place of what is there; no link is followed."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)


def link(path: Path, target: str) -> None:
    """Make a symbolic link in place of what is there."""
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def add_kernel(root: Path, package: Path) -> tuple[str, bytes]:
    """Put the kernel's modules into ``root``; return the kernel's release and the kernel as an ELF file."""
    vmlinux, version = b"", ""
    keep = re.compile(r"boot/vmlinuz-|(usr/)?lib/modules/[^/]+/(modules\.(builtin.*|order)$|kernel/" + MODULE_PLACES.pattern + ")")
    for path, content in debian.read_files(package, lambda path: bool(keep.match(path))):
        if path.startswith("boot/vmlinuz-"):
            version, vmlinux = path[len("boot/vmlinuz-") :], unpack_kernel(content)
            continue
        target = root / (path if path.startswith("usr/") else f"usr/{path}")
        data = content
        if path.endswith(".xz"):
            target, data = target.with_suffix(""), lzma.decompress(content)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    if not vmlinux:
        raise PackageError(f"{package.name} holds no kernel")
    debian.run(["chroot", str(root), "depmod", version])
    return version, vmlinux


def first_modules(base: Path, first: Path) -> None:
    """Copy the modules that the initramfs loads, and the list of them in the order in which they need each other."""
    needs = {}
    for line in (base / "modules.dep").read_text(encoding="utf-8").splitlines():
        path, dummy, others = line.partition(":")
        needs[path.rpartition("/")[2].removesuffix(".ko").replace("-", "_")] = [path, *others.split()]
    builtin = (base / "modules.builtin").read_text(encoding="utf-8").replace("-", "_")
    order: dict[str, None] = {}
    for name in FIRST_MODULES:
        if name not in needs and f"/{name}.ko" not in builtin:
            raise PackageError(f"the kernel has no module {name}")
        # modules.dep names last what has to be loaded first.
        order.update(dict.fromkeys(reversed(needs.get(name, []))))
    names = [path.rpartition("/")[2] for path in order]
    for directory in ("proc", "dev", "system", "modules"):
        (first / directory).mkdir(exist_ok=True)
    for path, name in zip(order, names):
        copy(base / path, first, f"modules/{name}")
    (first / "modules/order").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def installed(root: Path, kernel: Mapping[str, debian.Package]) -> list[dict[str, str]]:
    """Return what is installed below ``root``, and the kernel, as the manifest has it. The sum is empty for what apt has no more."""
    text = debian.run(["chroot", str(root), "dpkg-query", "--show", "--showformat", "${Package} ${Version}\n"])
    versions = dict(line.split(" ", 1) for line in text.splitlines())
    today = debian.describe(versions)
    packages = {
        name: debian.Package(name, version, "", (), today[name].sha256 if name in today and today[name].version == version else "")
        for name, version in versions.items()
    }
    return listing({**packages, **kernel})


def write_disk(root: Path, target: Path, key: str) -> None:
    """Write the directory as an ext4 file system, sparse. What is written by the clock or at random follows from the key instead."""
    identity = hashlib.sha256(key.encode()).hexdigest()
    uuid = "-".join((identity[:8], identity[8:12], f"4{identity[13:16]}", f"8{identity[17:20]}", identity[20:32]))
    with target.open("wb") as file:
        file.truncate(DISK_SIZE)
    # No work left for the first mount, which would be done in each guest again and written to each guest's own disk.
    options = f"lazy_itable_init=0,lazy_journal_init=0,hash_seed={uuid},root_owner=0:0"
    command = ["mke2fs", "-q", "-F", "-t", "ext4", "-d", str(root), "-U", uuid, "-L", "benito", "-m", "1", "-J", "size=32"]
    command += ["-O", "^metadata_csum", "-E", options, str(target)]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "LC_ALL": "C.UTF-8", "E2FSPROGS_FAKE_TIME": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise PackageError(f"mke2fs cannot be run: {error.strerror}") from error
    if done.returncode:
        raise PackageError(f"mke2fs failed: {debian.last_words(done.stderr)}")

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image ``tiny``: a kernel and an initramfs made from Debian packages, for guests of 100 MB that boot in seconds.

An initramfs stays in memory, and is there twice while the kernel unpacks it. So only what it takes to mount a squashfs lies in it as it
is; all other programs, libraries and kernel modules are in a squashfs file inside it, mounted on /usr/extra, with symbolic links
from the usual places.

An image is a directory ``tiny-KEY`` below a cache: ``vmlinux``, ``initramfs`` and ``manifest.json``. KEY is a hash of the recipe (this
builder, its package list, the guest's files), so an image which is there is right and needs neither apt nor network. It is built in a
hidden directory beside its place and renamed into it: it is complete or absent.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gzip
import hashlib
import json
import lzma
import os
import re
import shutil
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import debian_packages as debian
from .debian_packages import PackageError

# Raise this when the same packages and guest files would give another image.
BUILDER = 1

KERNEL_PACKAGE = "linux-image-amd64"
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
# Run here, out of their packages: the host need not have them.
TOOLS = {"cpio": "cpio/**/bin/cpio", "mksquashfs": "squashfs-tools/**/bin/mksquashfs"}
TOOL_PACKAGES = ("cpio", "squashfs-tools")

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


@dataclass(frozen=True)
class Image:
    """A complete image.

    ``packages`` are the manifest's: name, version and sha256 of each. ``arguments`` belong on its kernel's command line.
    """

    path: Path
    key: str
    release: str
    packages: list[dict[str, str]]
    arguments: str

    @property
    def kernel(self) -> Path:
        """The kernel, an ELF file: unpacking the usual one costs seconds where the processor is emulated."""
        return self.path / "vmlinux"

    @property
    def initrd(self) -> Path:
        """The initramfs."""
        return self.path / "initramfs"


def recipe_key(guest_files: Path) -> str:
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
        try:
            recipe[f"file {place} {mode:o}"] = hashlib.sha256((guest_files / name).read_bytes()).hexdigest()
        except OSError as error:
            raise PackageError(f"the guest's file {guest_files / name} cannot be read: {error.strerror}") from error
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]


def find(cache: Path, key: str) -> Image | None:
    """Return the image of that key, or None when there is no complete one."""
    path = cache / f"tiny-{key}"
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        whole = all((path / name).stat().st_size == size for name, size in manifest["sizes"].items())
    except (OSError, ValueError, KeyError):
        return None
    return Image(path, key, manifest["release"], manifest["packages"], manifest["arguments"]) if whole else None


def ensure(cache: Path, guest_files: Path, refresh: bool = False) -> tuple[Image, bool]:
    """Return the image for these guest files, built if need be, and whether anything changed.

    ``refresh`` asks apt again and builds a new one when a package has a newer version.
    """
    key = recipe_key(guest_files)
    image = find(cache, key)
    if image and not refresh:
        return image, False
    with locked(cache):
        image = find(cache, key)  # perhaps built by another while this one waited for the lock
        if image and not refresh:
            return image, False
        packages = wanted_packages()
        if image and image.packages == listing(packages):
            return image, False
        try:
            return build(cache, key, guest_files, packages), True
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise PackageError(f"no space left to build an image in {cache}: it takes about 400 MB for a minute") from error
            raise PackageError(f"the image cannot be built: {error}") from error


def remove(cache: Path, guest_files: Path) -> bool:
    """Remove the image for these guest files; return whether there was one."""
    path = cache / f"tiny-{recipe_key(guest_files)}"
    if not path.exists():
        return False
    with locked(cache):
        discard(path)
    return True


@contextlib.contextmanager
def locked(cache: Path) -> Iterator[None]:
    """Keep other builders out, and clear away what a crashed one left."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = (cache / ".lock").open("w", encoding="utf-8")
    except OSError as error:
        raise PackageError(f"{cache} cannot be written: {error.strerror}") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for stale in cache.glob(".tiny-*"):
            shutil.rmtree(stale, ignore_errors=True)
        yield


def discard(path: Path) -> None:
    """Remove an image; it is never seen half removed."""
    aside = path.with_name(f".{path.name}.old")
    path.rename(aside)
    shutil.rmtree(aside)


def wanted_packages() -> dict[str, debian.Package]:
    """Return every package an image is made of today, by name."""
    if os.uname().machine != "x86_64":
        raise PackageError(f"the tiny image is made for x86_64, this host is {os.uname().machine}")
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if not shutil.which(tool):
            raise PackageError(f"{tool} is missing on this host: an image can be built on a Debian host only")
    meta = debian.require([KERNEL_PACKAGE])[KERNEL_PACKAGE]
    kernels = [name for name in meta.depends if name.startswith("linux-image-")]
    if not kernels:
        raise PackageError(f"{KERNEL_PACKAGE} names no kernel package")
    packages = debian.with_libraries((*PACKAGES, *TOOL_PACKAGES))
    packages.update(debian.require(kernels[:1]))
    return packages


def listing(packages: dict[str, debian.Package]) -> list[dict[str, str]]:
    """Return the packages as the manifest has them."""
    return [{"name": p.name, "version": p.version, "sha256": p.sha256} for dummy, p in sorted(packages.items())]


def build(cache: Path, key: str, guest_files: Path, packages: dict[str, debian.Package]) -> Image:
    """Build the image and put it in its place. The caller holds the lock."""
    work = Path(tempfile.mkdtemp(prefix=f".tiny-{key}.", dir=cache))
    try:
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
        manifest = {
            "name": "tiny",
            "key": key,
            "builder": BUILDER,
            "release": release,
            "arguments": ARGUMENTS,
            "packages": listing(packages),
            "sizes": {name: (image / name).stat().st_size for name in ("vmlinux", "initramfs")},
        }
        (image / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        os.sync()  # a crash of the host must not leave an image whose blocks never reached the disk
        place = cache / f"tiny-{key}"
        if place.exists():
            discard(place)
        image.rename(place)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Image(place, key, release, listing(packages), ARGUMENTS)


class Unpacked:
    """The unpacked packages, each in the directory of its name."""

    def __init__(self, source: Path) -> None:
        self.source = source
        linker = "x86_64-linux-gnu/ld-linux-x86-64.so.2"
        self.linker = self.only(f"libc6/lib/{linker}", f"libc6/usr/lib/{linker}")
        self.libraries = sorted(str(path) for place in ("lib", "usr/lib") for path in source.glob(f"*/{place}/x86_64-linux-gnu"))

    def only(self, *patterns: str) -> Path:
        """Return the file that matches the first pattern which matches any."""
        for pattern in patterns:
            found = sorted(self.source.glob(pattern))
            if found:
                return found[0]
        raise PackageError(f"the packages hold no {patterns[0]}: this release of Debian has moved it")

    def command(self, program: Path) -> list[str]:
        """Return the words that run a program with the packages' libraries instead of the host's."""
        return [str(self.linker), "--library-path", ":".join(self.libraries), str(program)]

    def needed(self, program: Path) -> dict[str, Path]:
        """Return the libraries a program needs, by name."""
        *linker, name = self.command(program)
        found = {}
        for library, path in re.findall(r"^\s*(\S+) => (.+?)(?: \(0x|$)", debian.run([*linker, "--list", name]), re.MULTILINE):
            if not path.startswith(str(self.source)):
                raise PackageError(f"{program.name} needs the library {library}, which no package of the image holds")
            # The linker itself is listed by its absolute path, and root / "/lib64/x" would be a file of this host.
            if "/" not in library:
                found[library] = Path(path)
        return found


def lay_out(root: Path, unpacked: Unpacked, guest_files: Path) -> None:
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
        copy(guest_files / name, root, place, mode)
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


def copy(original: Path, root: Path, name: str, mode: int = 0o644) -> None:
    """Copy a file's content to a relative path below ``root``, whose directory need not exist yet.

    Names come out of packages, and the image's own links point to absolute paths: nothing may be written outside of ``root``.
    """
    target = root / name
    base = os.path.realpath(root)
    if os.path.commonpath([base, os.path.realpath(target)]) != base:
        raise PackageError(f"{name} would be written outside of the image")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(original, target)
    target.chmod(mode)


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


def with_dependencies(modules: dict[str, bytes], wanted: re.Pattern[str]) -> list[str]:
    """Return the paths of the modules whose path matches, and of all that they depend on."""
    paths = {path.rsplit("/", 1)[-1].replace("-", "_"): path for path in modules}
    front = [path for path in modules if wanted.fullmatch(path)]
    chosen = set(front)
    while front:
        needed = re.search(rb"\0depends=([^\0]*)\0", modules[front.pop()])
        for name in needed[1].decode().replace("-", "_").split(",") if needed and needed[1] else []:
            if name not in paths:
                raise PackageError(f"a kernel module needs {name}, which is not where modules are looked for")
            if paths[name] not in chosen:
                chosen.add(paths[name])
                front.append(paths[name])
    return sorted(chosen)


def unpack_kernel(image: bytes) -> bytes:
    """Return the ELF kernel inside a bzImage.

    The setup header (Documentation/arch/x86/boot.rst) tells where the payload is; its last four bytes are the unpacked size.
    """
    if image[0x202:0x206] != b"HdrS" and image[0x1FE:0x200] != b"\x55\xaa":
        raise PackageError("the kernel is no bzImage")
    sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (sectors + 1) * 512 + offset
    payload = image[start : start + length]
    if payload.startswith(b"\x7fELF"):
        kernel = payload
    elif payload.startswith(b"\xfd7zXZ"):
        kernel = lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(payload)
    elif payload.startswith(b"\x1f\x8b"):
        kernel = zlib.decompressobj(31).decompress(payload)
    elif payload.startswith(b"\x28\xb5\x2f\xfd"):
        kernel = pipe(["zstd", "-dcq"], payload[:-4])
    else:
        raise PackageError(f"the kernel is packed in a way not known here (it begins {payload[:4].hex()})")
    if not kernel.startswith(b"\x7fELF"):
        raise PackageError("the kernel's payload is no ELF file")
    return kernel


def fix_times(root: Path) -> list[str]:
    """Set every time below a directory to 1970; return the names of everything in it, sorted, from ``.`` on."""
    names = ["."]
    for directory, subdirectories, files in os.walk(root):
        names += [os.path.relpath(os.path.join(directory, name), root) for name in (*subdirectories, *files)]
    for name in names:
        os.utime(root / name, (0, 0), follow_symlinks=False)
    return sorted(names)


def squash(unpacked: Unpacked, root: Path, target: Path) -> None:
    """Write the directory as a squashfs. The same files make the same bytes."""
    fix_times(root)
    tool = unpacked.command(unpacked.only(TOOLS["mksquashfs"]))
    options = ["-comp", "zstd", "-Xcompression-level", "22", "-b", "128K"]
    fixed = ["-all-root", "-all-time", "0", "-mkfs-time", "0", "-no-xattrs", "-no-progress", "-quiet", "-processors", "1"]
    debian.run([*tool, str(root), str(target), *options, *fixed])


def pack(unpacked: Unpacked, root: Path, target: Path) -> None:
    """Write the directory as an initramfs. The same files make the same bytes."""
    names = fix_times(root)
    tool = unpacked.command(unpacked.only(TOOLS["cpio"]))
    options = ["--create", "--quiet", "--null", "--format=newc", "--reproducible", "--owner=+0:+0"]
    archive = pipe([*tool, *options], "".join(f"{name}\0" for name in names).encode(), cwd=root)
    target.write_bytes(gzip.compress(archive, 9, mtime=0))


def pipe(command: list[str], data: bytes, cwd: Path | None = None) -> bytes:
    """Return what a filter makes of the data."""
    try:
        done = subprocess.run(command, input=data, cwd=cwd, capture_output=True, check=False)
    except OSError as error:
        raise PackageError(f"{command[0]} cannot be run: {error.strerror}") from error
    if done.returncode:
        raise PackageError(f"{command[0]} failed: {debian.last_words(done.stderr.decode(errors='replace'))}")
    return done.stdout

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What images are made of: programs run out of unpacked packages, kernels and their modules, archives that come out the same each time."""

from __future__ import annotations

import gzip
import lzma
import os
import re
import shutil
import struct
import subprocess
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from . import debian_packages as debian
from .debian_packages import PackageError

KERNEL_PACKAGE = "linux-image-amd64"
# Run here, out of their packages: the host need not have them.
TOOLS = {"cpio": "cpio/**/bin/cpio", "mksquashfs": "squashfs-tools/**/bin/mksquashfs"}
TOOL_PACKAGES = ("cpio", "squashfs-tools")


def require_debian(name: str) -> None:
    """Refuse a host on which no image can be built."""
    if os.uname().machine != "x86_64":
        raise PackageError(f"the {name} image is made for x86_64, this host is {os.uname().machine}")
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if not shutil.which(tool):
            raise PackageError(f"{tool} is missing on this host: an image can be built on a Debian host only")


def kernel_package() -> dict[str, debian.Package]:
    """Return today's kernel, by the name of its package."""
    meta = debian.require([KERNEL_PACKAGE])[KERNEL_PACKAGE]
    kernels = [name for name in meta.depends if name.startswith("linux-image-")]
    if not kernels:
        raise PackageError(f"{KERNEL_PACKAGE} names no kernel package")
    return debian.require(kernels[:1])


def own_files(files: Mapping[str, str], names: Iterable[str]) -> dict[str, bytes]:
    """Return those of the guest's own files, by name, that an image is made with. Raises PackageError when one is not there."""
    wanted = tuple(names)
    missing = [name for name in wanted if name not in files]
    if missing:
        raise PackageError(f"the guest's files lack {', '.join(missing)}: give the role's files/guest, all of it")
    return {name: files[name].encode() for name in wanted}


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


def copy(original: Path, root: Path, name: str, mode: int = 0o644) -> None:
    """Copy a file's content to a relative path below ``root``, whose directory need not exist yet.

    Names come out of packages, and the image's own links point to absolute paths: nothing may be written outside of ``root``.
    """
    target = place(root, name)
    shutil.copyfile(original, target)
    target.chmod(mode)


def put(content: bytes, root: Path, name: str, mode: int = 0o644) -> None:
    """Write a file to a relative path below ``root``, as `copy` does."""
    target = place(root, name)
    target.write_bytes(content)
    target.chmod(mode)


def place(root: Path, name: str) -> Path:
    """Return the path of a file below ``root``, whose directory is made if need be. Raises PackageError."""
    target = root / name
    base = os.path.realpath(root)
    if os.path.commonpath([base, os.path.realpath(target)]) != base:
        raise PackageError(f"{name} would be written outside of the image")
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


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

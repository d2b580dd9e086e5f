# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where images are kept: a cache of directories NAME-KEY, each complete or absent.

KEY is a hash of what the image is made with, so an image which is there is right and needs neither apt nor network. It is built in a hidden
directory beside its place and renamed into it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from . import debian_packages as debian
from .debian_packages import PackageError
from .locks import open_lock_file
from .untrusted import UntrustedError, read_object

DISK = "disk.img"
# Seconds to wait for another run that builds an image: the largest takes minutes.
PATIENCE = 1800.0


@dataclass(frozen=True)
class Image:
    """A complete image.

    ``packages`` are the manifest's: name, version and sha256 of each. ``arguments`` belong on its kernel's command line. ``disk`` is the
    root file system's disk, which guests only read, or None for an image that is all in its initramfs.
    """

    path: Path
    key: str
    release: str
    packages: list[dict[str, str]]
    arguments: str
    disk: Path | None = None

    @property
    def kernel(self) -> Path:
        """The kernel, an ELF file: unpacking the usual one costs seconds where the processor is emulated."""
        return self.path / "vmlinux"

    @property
    def initrd(self) -> Path:
        """The initramfs."""
        return self.path / "initramfs"


def find(cache: Path, name: str, key: str) -> Image | None:
    """Return the image of that name and key, or None when there is no complete one."""
    path = cache / f"{name}-{key}"
    try:
        manifest = read_object(str(path / "manifest.json"))
        whole = all((path / part).stat().st_size == size for part, size in manifest["sizes"].items())
        disk = path / DISK if DISK in manifest["sizes"] else None
        return Image(path, key, manifest["release"], manifest["packages"], manifest["arguments"], disk) if whole else None
    except (UntrustedError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def ensure(
    cache: Path,
    name: str,
    key: str,
    build: Callable[[], Image],
    outdated: Callable[[Image], bool],
    refresh: bool = False,
    room: str = "",
) -> tuple[Image, bool]:
    """Return the image of that name and key, built if need be, and whether anything changed.

    ``refresh`` asks whether the one that is there is outdated, and builds it anew if so. ``room`` says what a build takes.
    """
    image = find(cache, name, key)
    if image and not refresh:
        return image, False
    with locked(cache):
        image = find(cache, name, key)  # perhaps built by another while this one waited for the lock
        if image and not (refresh and outdated(image)):
            return image, False
        try:
            return build(), True
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise PackageError(f"no space left to build an image in {cache}: it takes {room}") from error
            raise PackageError(f"the image cannot be built: {error}") from error


def remove(cache: Path, name: str, key: str) -> bool:
    """Remove an image; return whether there was one."""
    path = cache / f"{name}-{key}"
    if not path.exists():
        return False
    with locked(cache):
        discard(path)
    return True


@contextlib.contextmanager
def locked(cache: Path) -> Iterator[None]:
    """Keep other builders out, and clear away what a crashed one left. Raises PackageError, LockError."""
    try:
        cache.mkdir(mode=0o755, parents=True, exist_ok=True)
        lock = open_lock_file(str(cache / ".lock"), PATIENCE, f"another run is building an image in {cache}")
    except OSError as error:
        raise PackageError(f"{cache} cannot be written: {error.strerror}") from error
    with open(lock, "rb"):
        for stale in cache.glob(".*-*"):
            shutil.rmtree(stale, ignore_errors=True)
        yield


@contextlib.contextmanager
def draft(cache: Path, name: str, key: str) -> Iterator[Path]:
    """Give a directory to build in, gone afterwards whatever happens. The caller holds the lock."""
    work = Path(tempfile.mkdtemp(prefix=f".{name}-{key}.", dir=cache))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def settle(cache: Path, name: str, key: str, parts: Path, facts: Mapping[str, Any]) -> Image:
    """Put a finished image, the files in the directory ``parts``, in its place with a manifest of ``facts``."""
    sizes = {part.name: part.stat().st_size for part in sorted(parts.iterdir())}
    manifest = {"name": name, "key": key, **facts, "sizes": sizes}
    (parts / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    os.sync()  # a crash of the host must not leave an image whose blocks never reached the disk
    place = cache / f"{name}-{key}"
    if place.exists():
        discard(place)
    parts.rename(place)
    image = find(cache, name, key)
    if image is None:
        raise PackageError(f"{place} is not what was just put there: something else works in {cache}")
    return image


def discard(path: Path) -> None:
    """Remove an image; it is never seen half removed."""
    aside = path.with_name(f".{path.name}.old")
    path.rename(aside)
    shutil.rmtree(aside)


def listing(packages: Mapping[str, debian.Package]) -> list[dict[str, str]]:
    """Return the packages as the manifest has them."""
    return [{"name": p.name, "version": p.version, "sha256": p.sha256} for dummy, p in sorted(packages.items())]

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian packages as a source of files: found, fetched and verified by the host's own apt, never installed."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Callable


class PackageError(Exception):
    """Packages cannot be had. The text is one line and says what would help."""


@dataclass(frozen=True)
class Package:
    """What apt would install today under that name. ``depends`` holds names only, the first of each alternative."""

    name: str
    version: str
    section: str
    depends: tuple[str, ...]
    sha256: str


def run(command: list[str], cwd: Path | None = None, name: str = "") -> str:
    """Return what a command prints; raise PackageError with its last words when it fails or is missing.

    ``name`` is the program it is about, where the first word is one that starts it.
    """
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise PackageError(f"{command[0]} cannot be run: {error.strerror}") from error
    if done.returncode:
        raise PackageError(f"{name or command[0]} failed: {last_words(done.stderr)}")
    return done.stdout


def last_words(text: str) -> str:
    """Return the lines of an error that say something, joined into one."""
    lines = [line.strip() for line in without_passwords(text).splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E:", "dpkg-deb: error", "tar: "))] or lines
    return "; ".join(errors[-3:]) or "it said nothing"


def without_passwords(text: str) -> str:
    """Return a text without what stands before the @ of an address: apt names proxies and mirrors as they were given to it."""
    return re.sub(r"(?<=://)[^\s/@]+@", "", text)


def read_packages(text: str) -> dict[str, Package]:
    """Read the stanzas ``apt-cache show`` prints, by name; the first stanza of a name wins."""
    found: dict[str, Package] = {}
    for stanza in re.split(r"\n\s*\n", text):
        field = dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", stanza, re.MULTILINE))
        name = field.get("Package", "")
        if not name or name in found or "SHA256" not in field:
            continue
        wanted = ",".join(field[key] for key in ("Pre-Depends", "Depends") if key in field)
        found[name] = Package(name, field.get("Version", ""), field.get("Section", ""), names_of(wanted), field["SHA256"])
    return found


def names_of(wanted: str) -> tuple[str, ...]:
    """Return the names in a dependency field, the first of each alternative: ``a (>= 1) | b, c`` gives a and c."""
    return tuple(dict.fromkeys(re.findall(r"(?:^|,)\s*([a-z0-9][a-z0-9+.-]*)", wanted)))


def describe(names: Iterable[str]) -> dict[str, Package]:
    """Return today's candidate of each name that apt knows."""
    wanted = sorted(set(names))
    if not wanted:
        return {}
    # apt-cache fails when one of many is unknown, and still prints the others.
    try:
        done = subprocess.run(
            ["apt-cache", "show", "--no-all-versions", "--", *wanted],
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise PackageError(f"apt-cache cannot be run: {error.strerror}; this host is no Debian") from error
    return read_packages(done.stdout)


def require(names: Iterable[str]) -> dict[str, Package]:
    """Return today's candidates; a name that apt does not know is an error."""
    wanted = list(names)
    found = describe(wanted)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise PackageError(f"apt knows no package {', '.join(missing)}: run apt-get update, or add a Debian mirror to apt's sources")
    return found


def with_libraries(names: Iterable[str]) -> dict[str, Package]:
    """Return the packages and the shared libraries they need, and the libraries' own.

    Only packages of the section ``libs`` are followed: what else a package depends on (users, debconf, init scripts) serves its
    installation, and nothing is installed here.
    """
    found = require(names)
    seen = set(found)
    front = list(found.values())
    while front:
        names_ahead = {name for package in front for name in package.depends} - seen
        seen |= names_ahead
        front = [package for package in describe(names_ahead).values() if package.section.split("/")[-1] == "libs"]
        found.update((package.name, package) for package in front)
    return found


def download(packages: Mapping[str, Package], directory: Path) -> dict[str, Path]:
    """Fetch the packages into ``directory``; return each one's file, verified against apt's signed lists."""
    # Fetching as root: apt's own user need not reach this directory.
    wanted = [f"{package.name}={package.version}" for package in packages.values()]
    run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *wanted], cwd=directory)
    by_sum = {package.sha256: package.name for package in packages.values()}
    files = {}
    for file in directory.glob("*.deb"):
        name = by_sum.get(sha256_of(file))
        if name:
            files[name] = file
    missing = [name for name in packages if name not in files]
    if missing:
        raise PackageError(f"not what apt's lists promise: {', '.join(missing)}; run apt-get update and try again")
    return files


def extract(package: Path, directory: Path) -> None:
    """Unpack all of a package's files below ``directory``."""
    run(["dpkg-deb", "--extract", str(package), str(directory)])


def read_files(package: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of the package's regular files whose path (``boot/config-6.1``) is wanted, one at a time."""
    try:
        source = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise PackageError(f"dpkg-deb cannot be run: {error.strerror}") from error
    with source:
        try:
            with tarfile.open(fileobj=source.stdout, mode="r|") as archive:
                for member in archive:
                    name = member.name[2:] if member.name.startswith("./") else member.name
                    content = archive.extractfile(member) if member.isfile() and wanted(name) else None
                    if content is not None:
                        yield name, content.read()
        except tarfile.TarError as error:
            raise PackageError(f"{package.name} cannot be unpacked: {error}") from error


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()

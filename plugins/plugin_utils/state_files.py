# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller keeps of an experiment: a directory that only its owner may enter, with texts, pairs of SSH keys and secrets."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .ownership import why_not_own

_DIRECTORY, _FILE = 0o700, 0o600


class StateError(Exception):
    """What could not be kept, and why."""


@dataclass(frozen=True)
class Change:
    """A path that was made or altered: its text before and after, nothing for directories, keys and secrets."""

    path: str
    before: str = ""
    after: str = ""


def keep(
    directory: Path, texts: Mapping[str, str], keys: Mapping[str, str], check: bool = False, random: Sequence[str] = ()
) -> tuple[Change, ...]:
    """Bring the directory to what is wanted and return what that changed, or would in a check.

    ``texts`` are by file name, the comments of ``keys`` too; ``random`` are names of files with a secret of 64 hexadecimal digits. A key
    or a secret that is there stays. Raises StateError.
    """
    for name in (*texts, *keys, *random):
        if name in ("", ".", "..") or "/" in name:
            raise StateError(f"{name!r} is not the name of a file in {directory}")
    try:
        return (*_changes(directory, texts, keys, check), *_secrets(directory, random, check))
    except (OSError, UnicodeError) as error:
        raise StateError(f"{directory}: {error}") from None


def remove(directory: Path, check: bool = False) -> tuple[Change, ...]:
    """Remove the directory with all that is in it; return it if it was there. Of a link, only the link. Raises StateError."""
    if not os.path.lexists(directory):
        return ()
    try:
        if not check and (directory.is_symlink() or not directory.is_dir()):
            directory.unlink()
        elif not check:
            shutil.rmtree(directory)
    except OSError as error:
        raise StateError(f"{directory}: {error}") from None
    return (Change(str(directory), before=f"{directory}\n"),)


def _changes(directory: Path, texts: Mapping[str, str], keys: Mapping[str, str], check: bool) -> Iterator[Change]:
    reason = why_not_own(directory)
    if reason:
        raise StateError(reason)
    if not directory.is_dir() or _mode(directory) != _DIRECTORY:
        yield Change(str(directory))
        if not check:
            directory.mkdir(mode=_DIRECTORY, parents=True, exist_ok=True)
            directory.chmod(_DIRECTORY)
    for name, comment in keys.items():
        yield from _key_changes(directory / name, comment, check)
    for name, text in texts.items():
        path = directory / name
        before = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
        if before != text or _mode(path) != _FILE:
            yield Change(str(path), before or "", text)
            if not check:
                _write(path, text)


def _secrets(directory: Path, names: Sequence[str], check: bool) -> Iterator[Change]:
    for name in names:
        path = directory / name
        if not path.exists():
            yield Change(str(path))
            if not check:
                _write(path, f"{secrets.token_hex(32)}\n")
        elif _mode(path) != _FILE:
            yield Change(str(path))
            if not check:
                path.chmod(_FILE)


def _key_changes(path: Path, comment: str, check: bool) -> Iterator[Change]:
    public = path.with_name(f"{path.name}.pub")
    if not path.exists():
        yield Change(str(path))
        if not check:
            _make_key(path, comment)
        return
    if _mode(path) & 0o077:
        # ssh refuses a private key that others may read.
        yield Change(str(path))
        if not check:
            path.chmod(_FILE)
    if not public.exists():
        yield Change(str(public))
        if not check:
            _write(public, _keygen("-y", "-f", str(path)))


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.touch(mode=_FILE)
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _make_key(path: Path, comment: str) -> None:
    """Make a pair of keys; the private one is in its place last, so that there is none without the other."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    public = draft.with_name(f"{draft.name}.pub")
    try:
        _keygen("-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(draft))
        public.replace(path.with_name(f"{path.name}.pub"))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
        public.unlink(missing_ok=True)


def _keygen(*words: str) -> str:
    done = subprocess.run(["ssh-keygen", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StateError(f"no SSH key could be made: {' '.join(done.stderr.split()) or 'ssh-keygen failed'}")
    return done.stdout

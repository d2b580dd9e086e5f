# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""An experiment's own copy of the memory of a template.

QEMU opens the file for writing even where its guests write to none of it. All experiments wake their guests up from one template, so
none of them may have a file that it could change: each gets a copy, at ROOT/ID/memory/KEY-VERSION, once for all its guests.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from dataclasses import replace

from .accounts import Identity
from .rundir import RunDir, passage, remove
from .template import Template

# Linux's request to let two files share their blocks, where the file system can.
FICLONE = 0x40049409


def own_copy(rundir: RunDir, template: Template, owner: Identity) -> Template:
    """Return a template whose memory is the experiment's own file, copied if need be. Raises OSError."""
    source = f"{template.path}/memory"
    facts = os.stat(source)
    key = os.path.basename(template.path)
    home = f"{rundir.path}/memory"
    place = f"{home}/{key}-{facts.st_ino:x}-{facts.st_mtime_ns:x}"
    passage(home)
    if not _is_usable(place, owner, facts.st_size):
        for name in os.listdir(home):
            if name.startswith(f"{key}-"):
                # Guests that were woken up from it keep what they have of it.
                remove(f"{home}/{name}")
        draft = f"{place}.new"
        remove(draft)
        copy(source, draft)
        os.chown(draft, owner.uid, owner.gid)
        os.replace(draft, place)
    return replace(template, memory=place)


def _is_usable(path: str, owner: Identity, size: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        facts = os.stat(path, follow_symlinks=False)
        return (facts.st_uid, facts.st_size) == (owner.uid, size)
    return False


def copy(source: str, path: str) -> None:
    """Copy a file without its holes: blocks are shared where the file system can do that. Raises OSError."""
    taken = os.open(source, os.O_RDONLY | os.O_NOFOLLOW)
    made = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.ioctl(made, FICLONE, taken)
        except OSError:
            _copy_data(taken, made)
    except OSError:
        os.unlink(path)
        raise
    finally:
        os.close(taken)
        os.close(made)


def _copy_data(taken: int, made: int) -> None:
    size = os.fstat(taken).st_size
    end = 0
    while end < size:
        try:
            start = os.lseek(taken, end, os.SEEK_DATA)
        except OSError:
            break  # only a hole is left
        end = os.lseek(taken, start, os.SEEK_HOLE)
        os.lseek(made, start, os.SEEK_SET)
        while start < end:
            start += os.sendfile(made, taken, start, end - start)
    os.ftruncate(made, size)

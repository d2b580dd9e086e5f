# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs an NS file in Tcl, behind walls, and returns the statements it made.

The file runs in a safe child interpreter (`sandbox.tcl`) that has no files, processes or sockets. Its processor time is bounded twice:
by the interpreter, which knows the line, and by the kernel, for a single Tcl command that takes too long. Memory is
bounded by the kernel, and what the file may make us read by the sandbox.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

from ..diagnostics import Location, TopologyError

SECONDS = 5  # of processor time: a busy machine makes no difference; 50,000 nodes with a link each take half of it
PATIENCE = 300  # seconds on the clock, for what waits instead of computing
MEMORY = 512 * 1024  # KiB of address space
OUTPUT = 16 * 1024 * 1024  # bytes of statements; 50,000 nodes with a link each make 12 MB

_SANDBOX = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sandbox.tcl")
# The shell only sets limits: preexec_fn is unsafe in a process with threads, such as ansible's. A shell without one of them goes on.
_LIMITS = f'ulimit -c 0; ulimit -v {MEMORY}; ulimit -H -t $(($1 + 2)); ulimit -S -t $(($1 + 1)); shift; exec "$@"'
_REACHED = re.compile(rb'^\[([1-9][0-9]{0,8}), "at"\]$', re.MULTILINE)
_PLAINER = {
    "time limit exceeded": f"the file runs for more than {SECONDS} seconds: does a loop never end?",
    "too many nested evaluations (infinite loop?)": "procedures call each other too deeply: does a recursion never end?",
}


@dataclass(frozen=True)
class Statement:
    """What the file asked the simulator for. The name of an object it made for that comes first in ``arguments``."""

    line: int
    command: str
    arguments: tuple[str, ...]


def run_tcl(text: str, name: str) -> Iterator[Statement]:
    """Yield the statements of an NS file in the order they were run.

    Raises TopologyError for the error that ended the run, if one did, when there is no Tcl, and when Tcl itself was brought down.
    """
    tclsh = shutil.which("tclsh")
    if tclsh is None:
        raise TopologyError("NS files need tclsh: install the package tcl", Location(name))
    if "\0" in text:
        raise TopologyError("this is not an NS file: it holds a NUL character", Location(name, text.count("\n", 0, text.index("\0")) + 1))
    output, problem = _run(tclsh, text, SECONDS)
    if problem:
        # Tcl died without a word: run once more, slowly, to learn how far the file got.
        line = 0
        for reached in _REACHED.finditer(_run(tclsh, text, SECONDS // 2, "trace")[0]):
            line = int(reached[1])
        raise TopologyError(problem, Location(name, line))
    yield from _statements(output, name)


def _statements(output: bytes, name: str) -> Iterator[Statement]:
    """Yield the statements that the sandbox wrote; the last line is its own, and tells how the run ended."""
    last = None
    for record in BytesIO(output):
        if last is not None:
            yield last
        last = _statement(record, name)
    if last is None or last.command not in ("end", "error"):
        raise TopologyError("Tcl broke down in the middle of the file", Location(name, last.line if last else 0))
    if last.command == "error":
        message = last.arguments[0] if last.arguments else ""
        raise TopologyError(_plain(_PLAINER.get(message, message)), Location(name, last.line))


def _statement(record: bytes, name: str) -> Statement:
    try:
        line, *words = json.loads(record.decode("utf-8", "replace"), strict=False)
        if isinstance(line, int) and words and all(isinstance(word, str) for word in words):
            return Statement(line, words[0], tuple(words[1:]))
    except (ValueError, TypeError, RecursionError):
        pass
    raise TopologyError("the file made a statement that cannot be read", Location(name))


def _run(tclsh: str, text: str, seconds: int, *mode: str) -> tuple[bytes, str]:
    """Return what the sandbox wrote, and what brought it down; empty when nothing did."""
    command = ["/bin/sh", "-c", _LIMITS, "sh", str(seconds), tclsh, _SANDBOX, str(seconds), str(OUTPUT), *mode]
    try:
        # The sandbox puts parts of the file there: see run_file.
        with tempfile.TemporaryFile() as file:
            file.write(text.encode("utf-8", "replace"))
            file.seek(0)
            done = subprocess.run(command, stdin=file, capture_output=True, timeout=PATIENCE, env={}, cwd="/", check=False)
    except subprocess.TimeoutExpired as error:
        return error.stdout or b"", f"the file runs for more than {PATIENCE} seconds on the clock: is this machine very busy?"
    except OSError as error:
        return b"", f"tclsh cannot be started: {error.strerror}"
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return done.stdout, _PLAINER["time limit exceeded"]
    if b"unable to alloc" in done.stderr or b"unable to realloc" in done.stderr:
        return done.stdout, f"the file needs more than {MEMORY // 1024} MB of memory: does a loop never end?"
    if done.returncode not in (0, 1) or not done.stdout.endswith(b"]\n"):
        reason = _plain(done.stderr.decode("utf-8", "replace")) or "is something nested very deeply?"
        return done.stdout, f"Tcl broke down (exit status {done.returncode}): {reason}"
    return done.stdout, ""


def _plain(message: str) -> str:
    """Put a message of Tcl on one printable line, with Tcl's own names for the commands we stand before."""
    line = " ".join(message[:10_000].replace("::sim::", "").split())
    return "".join(c if c.isprintable() else "?" for c in line[:200])

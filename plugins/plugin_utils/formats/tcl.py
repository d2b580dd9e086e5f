# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs an NS file in Tcl, behind walls, and returns the statements it made.

The file runs in a safe child interpreter (`sandbox.tcl`) that has no files, processes or sockets. Time is bounded twice:
by the interpreter, which knows the line, and by a timeout, for a single Tcl command that takes too long. Memory is
bounded by the kernel, and what the file may make us read by the sandbox.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass

from ..diagnostics import Location, TopologyError

SECONDS = 5
MEMORY = 512 * 1024  # KiB of address space
OUTPUT = 16 * 1024 * 1024  # bytes of statements; 5000 nodes with a link each make 1 MB

_SANDBOX = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sandbox.tcl")
# The shell only sets limits: preexec_fn is unsafe in a process with threads, such as ansible's. A shell without one of them goes on.
_LIMITS = f'ulimit -c 0; ulimit -v {MEMORY}; ulimit -t {2 * SECONDS}; exec "$@"'
_REACHED = re.compile(rb'^\[([1-9][0-9]*), "at"\]$', re.MULTILINE)
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


def run_tcl(text: str, name: str) -> tuple[list[Statement], TopologyError | None]:
    """Return the statements of an NS file in the order they were run, and the error that ended the run, if one did.

    Raises TopologyError when there is no Tcl, or when Tcl itself was brought down.
    """
    tclsh = shutil.which("tclsh")
    if tclsh is None:
        raise TopologyError("NS files need tclsh: install the package tcl", Location(name))
    if "\0" in text:
        raise TopologyError("this is not an NS file: it holds a NUL character", Location(name, text.count("\n", 0, text.index("\0")) + 1))
    output, problem = _run(tclsh, text, SECONDS)
    if problem:
        # Tcl died without a word: run once more, slowly, to learn how far the file got.
        lines = _REACHED.findall(_run(tclsh, text, SECONDS // 2, "trace")[0])
        raise TopologyError(problem, Location(name, int(lines[-1]) if lines else 0))
    statements = [_statement(record) for record in output.decode("utf-8", "replace").split("\n") if record]
    last = statements.pop()
    if last.command == "end":
        return statements, None
    message = last.arguments[0]
    return statements, TopologyError(_plain(_PLAINER.get(message, message)), Location(name, last.line))


def _run(tclsh: str, text: str, seconds: int, *mode: str) -> tuple[bytes, str]:
    """Return what the sandbox wrote, and what brought it down; empty when nothing did."""
    command = ["/bin/sh", "-c", _LIMITS, "sh", tclsh, _SANDBOX, str(seconds), str(OUTPUT), *mode]
    try:
        done = subprocess.run(
            command, input=text.encode("utf-8", "replace"), capture_output=True, timeout=seconds + 1, env={}, cwd="/", check=False
        )
    except subprocess.TimeoutExpired as error:
        return error.stdout or b"", _PLAINER["time limit exceeded"]
    except OSError as error:
        return b"", f"tclsh cannot be started: {error.strerror}"
    if b"unable to alloc" in done.stderr or b"unable to realloc" in done.stderr:
        return done.stdout, f"the file needs more than {MEMORY // 1024} MB of memory: does a loop never end?"
    if done.returncode not in (0, 1) or not done.stdout.endswith(b"]\n"):
        reason = _plain(done.stderr.decode("utf-8", "replace")) or "is something nested very deeply?"
        return done.stdout, f"Tcl broke down (exit status {done.returncode}): {reason}"
    return done.stdout, ""


def _statement(record: str) -> Statement:
    line, command, *arguments = json.loads(record, strict=False)
    return Statement(line, command, tuple(arguments))


def _plain(message: str) -> str:
    """Put a message of Tcl on one printable line, with Tcl's own names for the commands we stand before."""
    line = " ".join(message.replace("::sim::", "").split())
    return "".join(c if c.isprintable() else "?" for c in line[:200])

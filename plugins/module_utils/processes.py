# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Long-running processes: start them, know them again, stop them, and never touch anybody else's.

A pid alone means nothing: pids are used again. A process is ours when its pid, its start time, the boot it
was started in and its command line all agree with what was recorded. Everything started here also carries a mark in its
environment, so that it is found when the records are lost.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import select
import signal
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from . import plain_modes
from .accounts import Identity, identity
from .errors import HostError

MARK = "BENITO_MARK"
# What firmware and shells tell a terminal, which is not for people to read.
ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|[@-Z\\^_a-z])")
SYSTEMD = "/run/systemd/system"
LARGEST_PID = 1 << 31


class ProcessError(HostError):
    """A process could not be started or stopped; the text says why."""


@dataclass(frozen=True)
class Process:
    """A process as the kernel knows it. ``started`` is in clock ticks after the boot named by ``boot``."""

    pid: int
    started: int
    boot: str
    argv: tuple[str, ...]

    def to_record(self) -> dict[str, Any]:
        """Return what goes into a record on disk."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any] | None) -> Process | None:
        """Read a record; None when it is damaged, which means the process is not known to be ours."""
        try:
            pid, started, boot, argv = (record[key] for key in ("pid", "started", "boot", "argv")) if record else (0, 0, "", [])
        except (KeyError, TypeError):
            return None
        numbers = not any(isinstance(n, bool) or not isinstance(n, int) for n in (pid, started)) and 0 < pid < LARGEST_PID
        words = isinstance(boot, str) and isinstance(argv, (list, tuple)) and bool(argv) and all(isinstance(word, str) for word in argv)
        return cls(pid, started, boot, tuple(argv)) if numbers and words else None


def boot_id() -> str:
    """Return the identity of this boot of the host: records of an earlier one are history."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def look(pid: int) -> Process | None:
    """Return the living process with this pid; None when there is none, or only a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            # The second field is a name in parentheses that may itself hold anything.
            fields = file.read().rpartition(")")[2].split()
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            argv = file.read().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return None
    if fields[0] in "ZX":
        return None
    return Process(pid, int(fields[19]), boot_id(), tuple(argv))


def alive(process: Process | None) -> bool:
    """Tell whether exactly this process still runs."""
    return process is not None and look(process.pid) == process


def spawn(
    argv: Sequence[str],
    *,
    mark: str,
    log: str,
    user: str | Identity | None = None,
    unit: str = "",
    console: bool = False,
    stdin: int | None = None,
    handles: Sequence[int] = (),
    largest: int = 0,
    within: Sequence[str] = (),
    delegate: bool = False,
    plain_files: bool = False,
) -> Process:
    """Start a process that outlives us, with its output in the file ``log``.

    Where systemd runs, the process gets a scope of its own in the experiment's slice, below ``benito.slice``, so that limits
    and clean stops are systemd's; elsewhere it is a session of its own. This is the one place that decides.
    ``user`` is an account, or ids that none has; such a process never gains rights by what it runs, and leaves no dump of its memory.
    ``handles`` are descriptors it inherits under their numbers. ``console`` gives it a standard input that never ends:
    vde_switch takes the end of its input for a wish to stop. ``stdin`` is a descriptor it reads from instead.
    ``largest`` bounds, in bytes, each file it writes.
    ``delegate`` lets it have control groups of its own below its scope, where systemd runs.
    ``plain_files`` keeps it from making files setuid or setgid, see `plain_modes`.
    ``within`` are the words of a program that prepares something and then becomes ``argv``, as unshare does.
    Raises ProcessError when it ends at once or cannot be started.
    """
    argv = tuple(argv)
    command: list[str] = []
    ids = identity(user) if isinstance(user, str) else user
    if os.path.isdir(SYSTEMD):
        command = ["systemd-run", "--scope", "--quiet", "--collect", f"--slice={slice_of(mark)}"]
        command += [f"--unit={unit}-{os.urandom(3).hex()}.scope"] if unit else []
        command += ["--property=Delegate=yes"] if delegate else []
        # In a scope its own --uid would leave the process root's groups, and it would replace the program's name by its path.
        # These two take the argument vector as it is.
        command += ["--", *([] if ids else ["env"])]
    command += ids.words if ids else []
    limits = [*(["--core=0"] if ids else []), *([f"--fsize={largest}"] if largest else [])]
    command += ["prlimit", *limits, "--"] if limits else []
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", MARK: mark}
    reader, writer = os.pipe()
    try:
        # What programs say can be nobody's business but the operator's.
        with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as output:
            os.fchmod(output.fileno(), 0o600)
            begin = functools.partial(
                subprocess.Popen,
                [*command, *within, *argv],
                stdin=reader if console else subprocess.DEVNULL if stdin is None else stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[*handles, writer] if console else list(handles),
                cwd="/",
                env=environment,
                start_new_session=True,
                # Python ignores the signal of a file that grew too large, and so shall what we start: the write fails instead.
                restore_signals=False,
            )
            child = plain_modes.started_by(begin) if plain_files else begin()
    except OSError as error:
        raise ProcessError(f"cannot start {argv[0]}: {error.strerror or error}") from error
    finally:
        os.close(reader)
        os.close(writer)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise ProcessError(f"{os.path.basename(argv[0])} ended at once with exit status {child.returncode}: {tail(log) or 'no output'}")
        process = look(child.pid)
        # Until it has become the program we asked for, the child is still a copy of us or of systemd-run.
        if process and process.argv == argv:
            return process
        time.sleep(0.005)
    child.kill()
    raise ProcessError(f"{os.path.basename(argv[0])} did not start within 10 s: {tail(log) or 'no output'}")


def slice_of(mark: str) -> str:
    """Return the name of systemd's slice for the processes with a mark, ``benito-lab:demo.slice``.

    A dash means depth in such a name; it and whatever else is special is escaped as systemd does. A name that gets too long so,
    or belongs to another root than the usual one, is a hash.
    """
    root, dummy, name = mark.partition(":")
    escaped = "".join(c if re.match(r"[A-Za-z0-9_.:]", c) else f"\\x{ord(c):02x}" for c in name.replace("/", ":"))
    if root != "/var/lib/benito" or len(escaped) > 200:
        escaped = hashlib.sha256(mark.encode()).hexdigest()[:16]
    return f"benito-{escaped}.slice"


def end_slice(mark: str) -> None:
    """Take the slice of a mark away, where systemd runs: it would stay when it is empty."""
    if os.path.isdir(SYSTEMD):
        subprocess.run(["systemctl", "stop", slice_of(mark)], check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)


def stop(process: Process | None, patience: float = 5.0, first: int = signal.SIGTERM) -> bool:
    """Stop a process of ours: ask with the signal ``first``, insist after ``patience`` seconds. True when it ran."""
    if process is None:
        return False
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    except (OSError, AttributeError) as error:
        raise ProcessError(f"cannot watch process {process.pid} ({process.argv[0]}): {error}") from error
    try:
        # Looked at after the descriptor was opened: from here on the pid cannot become somebody else's.
        if not alive(process):
            return False
        for wish, seconds in ((first, patience), (signal.SIGKILL, 10.0)):
            try:
                signal.pidfd_send_signal(handle, wish)
            except ProcessLookupError:
                return True
            if select.select([handle], [], [], seconds)[0]:
                reap(process.pid)
                return True
    finally:
        os.close(handle)
    raise ProcessError(f"process {process.pid} ({process.argv[0]}) does not end, not even by SIGKILL")


def reap(pid: int) -> None:
    """Take the exit status of a child of ours, so that no zombie stays; nothing for other processes."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def marked(mark: str, directory: str) -> Iterator[Process]:
    """Find the processes with our mark whose command line speaks of our directory, in this pid namespace."""
    ours = os.readlink("/proc/self/ns/pid")
    wanted = f"{MARK}={mark}".encode()
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                if wanted not in file.read().split(b"\0"):
                    continue
            if os.readlink(f"/proc/{entry}/ns/pid") != ours:
                continue
        except OSError:
            continue
        process = look(int(entry))
        if process and any(directory in word for word in process.argv):
            yield process


def end_of(path: str, limit: int) -> bytes:
    """Return the last bytes of a regular file that somebody else may own: no link is followed, and nothing is waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        facts = os.fstat(descriptor)
        return os.pread(descriptor, limit, max(0, facts.st_size - limit)) if stat.S_ISREG(facts.st_mode) else b""
    finally:
        os.close(descriptor)


def tail(path: str, lines: int = 5, limit: int = 8192) -> str:
    """Return the last printable lines of a log; empty when there is none. Never follows a symbolic link."""
    plain = ESCAPES.sub("", end_of(path, limit).decode(errors="replace"))
    kept = ["".join(c for c in line if c.isprintable()).strip() for line in plain.splitlines()]
    return "\n".join([line for line in kept if line][-lines:])

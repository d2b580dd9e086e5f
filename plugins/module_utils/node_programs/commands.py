# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The start commands of nodes: when they are due, how they are run, and how they ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import NoReturn

from .children import Children
from .confinement import bound, close_all_but, confine
from .node import Node, Wanted
from .spaces import ENVIRONMENT, inhabit

# Seconds that a start command waits for its node to be plugged in.
PLUGGED = 5.0
LOG = "/var/benito/log/start_command"


class Commands:
    """The start commands that are due, and those that run, by pid."""

    def __init__(self, children: Children, changed: Callable[[], None]) -> None:
        self.children = children
        self.changed = changed
        self.due: list[Node] = []
        self.running: dict[int, Node] = {}

    def proceed(self, wanted: Wanted) -> None:
        """Run those that are due and whose node is plugged in, or takes too long for that."""
        due, self.due = self.due, []
        for node in due:
            if node.state == "booted" and any(node.plugs.values()) and time.time() < node.booted + PLUGGED:
                self.due.append(node)
            elif node.state == "booted":
                self.start(node, wanted)

    def start(self, node: Node, wanted: Wanted) -> None:
        """Run the start command of a node, in it, with its output in the node's log files."""
        try:
            pid = self.children.fork_inside()
        except OSError as error:
            node.error = f"its start command cannot be run: {error.strerror}"
            return
        if pid == 0:
            try:
                self.become(node, wanted)
            finally:
                os._exit(126)
        self.running[pid] = node
        node.command, node.status = pid, "running"
        self.changed()

    def become(self, node: Node, wanted: Wanted) -> NoReturn:
        """Become the start command."""
        os.setsid()
        bound(node.entry, wanted.limits, wanted.groups)
        inhabit(node.spaces, wanted.ids[0])
        text = f"command: {node.entry['command']}\nstarted: {stamp()}\n"
        os.umask(0o022)
        append(f"{LOG}.log", text)
        os.chdir("/root")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        handles = [os.open("/dev/null", os.O_RDONLY), os.open(f"{LOG}.out", flags, 0o644), os.open(f"{LOG}.err", flags, 0o644)]
        for number, handle in enumerate(handles):
            os.dup2(handle, number)
        close_all_but()
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        if "user" in node.spaces:
            confine()
        mark = {"BENITO_MARK": os.environ.get("BENITO_MARK", "")}
        os.execve("/bin/sh", ["/bin/sh", "-c", node.entry["command"]], {**ENVIRONMENT, **mark})  # noqa: S606

    def ended(self, pid: int, status: int, wanted: Wanted) -> None:
        """Note how a start command ended."""
        node = self.running.pop(pid)
        code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        node.command, node.status = 0, code
        self.changed()
        if node.state == "booted" and node.spaces:

            def note(channel: socket.socket) -> None:
                inhabit(node.spaces, wanted.ids[0])
                append(f"{LOG}.log", f"ended: {stamp()}\nexit status: {code}\n")

            with contextlib.suppress(OSError):
                self.children.work(node, note, lambda fault: None)


def stamp() -> str:
    """Return the time, as logs have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def append(path: str, text: str) -> None:
    """Add to a file that its owner's account may have replaced by something else."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The children of the supervisor, in the nodes' pid namespace or outside of it: all end when it ends, however that comes."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterable
from typing import NoReturn

from .node import Node
from .spaces import CLONE_NEWPID, call, die_with_parent

# Seconds that making or changing a node may take.
PATIENCE = 30.0


class Child:
    """A child that makes or changes a node, and what it says."""

    def __init__(self, pid: int, channel: socket.socket, node: Node, then: Callable[[str], None]) -> None:
        self.pid = pid
        self.channel = channel
        self.node = node
        self.then = then
        self.text = b""
        self.until = time.monotonic() + PATIENCE


class Children:
    """All of them. ``working``, by pid, make or change a node. ``inside`` is the nodes' pid namespace, ``init`` its first process."""

    def __init__(self, selector: selectors.BaseSelector, changed: Callable[[], None]) -> None:
        self.selector = selector
        self.changed = changed
        self.pid = os.getpid()
        self.working: dict[int, Child] = {}
        self.outside = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self.init = self.start_init()
        self.inside = os.open(f"/proc/{self.init}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)

    def start_init(self) -> int:
        """Make the pid namespace of the nodes, with an init that only reaps, and ends when we end."""
        call("unshare", CLONE_NEWPID)
        pid = self.fork()
        if pid == 0:
            try:
                # Who ignores the end of children has none left over. It is all that this init does.
                signal.signal(signal.SIGCHLD, signal.SIG_IGN)
                os.execvp("sleep", ["sleep", "infinity"])  # noqa: S606
            finally:
                os._exit(1)
        call("setns", self.outside, CLONE_NEWPID)
        return pid

    def fork_inside(self) -> int:
        """Fork a child in the pid namespace of the nodes."""
        call("setns", self.inside, CLONE_NEWPID)
        pid = -1
        try:
            pid = self.fork()
        finally:
            if pid:
                call("setns", self.outside, CLONE_NEWPID)
        return pid

    def fork(self) -> int:
        """Fork a child that ends with us."""
        pid = os.fork()
        if pid == 0:
            try:
                signal.set_wakeup_fd(-1)
                for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                    signal.signal(number, signal.SIG_DFL)
                die_with_parent(self.pid)
            except BaseException:
                os._exit(1)
        return pid

    def work(self, node: Node, task: Callable[[socket.socket], object], then: Callable[[str], None]) -> None:
        """Do something for a node in a child, in the nodes' pid namespace; ``then`` gets what went wrong. Raises OSError."""
        ours, theirs = socket.socketpair()
        try:
            pid = self.fork_inside()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if pid == 0:
            self.do(task, ours, theirs)
        theirs.close()
        ours.setblocking(False)
        made = Child(pid, ours, node, then)
        self.working[pid] = made
        self.selector.register(ours, selectors.EVENT_READ, lambda: self.hear(made))

    def ask(self, task: Callable[[socket.socket], object]) -> int:
        """Let a child make something, wait for it, and return the descriptor that it hands out. Raises OSError."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            pid = self.fork_inside()
            if pid == 0:
                self.do(task, ours, theirs)
            theirs.close()
            ours.settimeout(PATIENCE)
            text, handles, dummy, dummy = socket.recv_fds(ours, 8192, 1)
            os.waitpid(pid, 0)
        if not handles:
            raise OSError(0, complaint(text, 1))
        os.set_inheritable(handles[0], False)
        return handles[0]

    def do(self, task: Callable[[socket.socket], object], ours: socket.socket, theirs: socket.socket) -> NoReturn:
        """Do something in a child, and say what went wrong."""
        status = 1
        try:
            ours.close()
            task(theirs)
            status = 0
        except BaseException as error:
            with contextlib.suppress(OSError):
                text = error.strerror if isinstance(error, OSError) and error.strerror else f"{type(error).__name__}: {error}"
                theirs.sendall(f"{text}\n".encode())
        os._exit(status)

    def hear(self, child: Child) -> None:
        """Take what a child says: first the descriptors of its node, if it makes one, then complaints, then its end."""
        try:
            text, handles, flags, dummy = socket.recv_fds(child.channel, 8192, 250)
        except BlockingIOError:
            return
        except OSError:
            text, handles, flags = b"", [], 0
        if flags & socket.MSG_CTRUNC:
            child.text += b"this host lets a process have too few open files for so many nodes\n"
        if handles:
            child.node.take(text.decode().split(), handles)
            child.channel.send(b"+")
        elif text:
            child.text += text[: max(0, 8192 - len(child.text))]
        else:
            self.selector.unregister(child.channel)
            child.channel.close()
            # It may have closed its mouth and live on: its end is what counts.
            dummy, status = os.waitpid(child.pid, 0)
            del self.working[child.pid]
            self.changed()
            child.then(complaint(child.text, status))

    def overdue(self) -> None:
        """End children that take too long."""
        for child in self.working.values():
            if time.monotonic() > child.until:
                child.text += b"\ntook too long\n"
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGKILL)

    def reap(self, others: Iterable[int]) -> list[tuple[int, int]]:
        """Take the ends of all but those that work, who are waited for where they are heard: pid and status.

        ``others`` are the children that we know of besides.
        """
        ended: list[tuple[int, int]] = []
        while True:
            try:
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return ended
            if info is None:
                return ended
            if info.si_pid in self.working:
                # Another may have ended behind it: look at each that we know.
                return ended + [end for pid in others if pid and pid not in self.working for end in wait_for(pid)]
            ended += wait_for(info.si_pid)


def wait_for(pid: int) -> list[tuple[int, int]]:
    """Take the end of one child, if it has ended."""
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return []
    return [(ended, status)] if ended else []


def complaint(text: bytes, status: int) -> str:
    """Return what an ``ip`` or one of our children had to say; empty when all went well."""
    said = [line for line in text.decode(errors="replace").splitlines() if line.strip() and not line.startswith("Command failed")]
    if status == 0:
        return ""
    return "".join(c for c in (said[0] if said else f"ended with status {status}")[:300] if c.isprintable())

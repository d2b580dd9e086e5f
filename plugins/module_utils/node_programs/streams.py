# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Between a program in a node and us: pipes, and a terminal of the node's own, in the place of our descriptors 0, 1 and 2.

A program that has one of our descriptors can do more than read or write: it types into a terminal what our shell then runs, cuts off a
file that it was to add to, or locks it. So it gets none, and this process carries what is said.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import stat
import termios
import tty
from typing import Any

# Who may be written to takes so much at once.
PIECE = 4096
END_OF_INPUT = b"\x04"


class Stream:
    """A way from one descriptor to another. ``waiting`` was read and is not written yet."""

    def __init__(self, source: int, drain: int, last: bytes = b"") -> None:
        self.source = source
        self.drain = drain
        self.last = last
        self.waiting = b""
        self.ended = False

    def read(self) -> None:
        """Take some, or the end."""
        try:
            self.waiting = os.read(self.source, PIECE)
        except OSError:
            # A terminal that nobody has any more.
            self.ended = True
            return
        if not self.waiting:
            # A terminal's end of input is a sign, and more can follow.
            self.waiting, self.ended = self.last, not self.last

    def write(self) -> None:
        """Hand on what waits; who does not want it ends the stream."""
        try:
            self.waiting = self.waiting[os.write(self.drain, self.waiting) :]
        except OSError:
            self.waiting, self.ended = b"", True


class Streams:
    """All of a program's: made in the child that becomes it, and carried by us. ``serve``: it wants one socket as input and output."""

    def __init__(self, serve: bool) -> None:
        self.serve = serve
        self.terminals = [] if serve else [number for number in (0, 1, 2) if os.isatty(number)]
        # A program that has the whole screen.
        self.raw = {0, 1} <= set(self.terminals)
        # Nothing comes of these, and it is not for us to wait for it.
        self.silent = os.isatty(0) is False and _is_null(0)
        self.ends: list[int] = []
        self.inward: list[Stream] = []
        self.outward: list[Stream] = []

    def open(self, channel: socket.socket) -> None:
        """Get descriptors 0, 1 and 2 of our own, and hand the other ends out; in the node, as who it is there."""
        theirs, ends = {}, []
        if self.terminals:
            terminal, own = os.openpty()
            ends.append(terminal)
            theirs.update(dict.fromkeys(self.terminals, own))
            if not self.raw:
                _make_plain(own)
            fcntl.ioctl(own, termios.TIOCSCTTY, 0)
        if self.serve:
            end, own = (made.detach() for made in socket.socketpair())
            ends.append(end)
            theirs.update({0: own, 1: own})
        for number in [number for number in (0, 1, 2) if number not in theirs]:
            if number == 0 and self.silent:
                theirs[0] = os.open("/dev/null", os.O_RDONLY)
                continue
            reader, writer = os.pipe()
            theirs[number], end = (reader, writer) if number == 0 else (writer, reader)
            ends.append(end)
        # A message has at least a byte, which the other side waits for.
        socket.send_fds(channel, [b"+"], ends)
        for number, handle in theirs.items():
            os.dup2(handle, number)

    def take(self, channel: socket.socket) -> None:
        """Take the other ends, in the same order; none when the child could not enter."""
        handles = socket.recv_fds(channel, 1, 8)[1]
        channel.close()
        self.ends = list(handles)
        if not handles:
            return
        if self.terminals:
            terminal = handles.pop(0)
            out = next((number for number in (1, 2) if number in self.terminals), self.terminals[0])
            self.outward.append(Stream(terminal, out))
            if 0 in self.terminals:
                self.inward.append(Stream(0, terminal, b"" if self.raw else END_OF_INPUT))
        if self.serve:
            self.inward.append(Stream(0, handles[0]))
            self.outward.append(Stream(handles.pop(0), 1))
        for number in [number for number in (0, 1, 2) if number not in self.terminals and not (self.serve and number < 2)]:
            if number == 0 and not self.silent:
                self.inward.append(Stream(0, handles.pop(0)))
            elif number:
                self.outward.append(Stream(handles.pop(0), number))

    def carry(self, child: int) -> None:
        """Carry what is said until the child has ended, and all that it had said by then."""
        before = termios.tcgetattr(0) if self.raw else []
        if self.terminals and self.ends:
            self._fit()
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, lambda number, frame: _pass_on(child, number))
        watch = os.pidfd_open(child)
        try:
            if self.raw:
                tty.setraw(0, termios.TCSADRAIN)
            while self._turn(watch):
                pass
        finally:
            os.close(watch)
            if self.raw:
                termios.tcsetattr(0, termios.TCSADRAIN, before)

    def _fit(self) -> None:
        """Let the node's terminal have the size of ours, now and whenever ours changes."""
        ours, theirs = self.terminals[0], self.ends[0]

        def fit(*dummy: Any) -> None:
            with contextlib.suppress(OSError):
                fcntl.ioctl(theirs, termios.TIOCSWINSZ, fcntl.ioctl(ours, termios.TIOCGWINSZ, bytes(8)))

        fit()
        signal.signal(signal.SIGWINCH, fit)

    def _turn(self, watch: int) -> bool:
        """Carry what can be carried; False when there is no more to come."""
        streams = [*self.inward, *self.outward]
        reads = [stream.source for stream in streams if not stream.waiting]
        readable, writable, dummy = select.select([*reads, watch], [stream.drain for stream in streams if stream.waiting], [])
        over = watch in readable and not any(stream.waiting or stream.source in readable for stream in self.outward)
        for stream in streams:
            if stream.waiting and stream.drain in writable:
                stream.write()
            elif not stream.waiting and stream.source in readable:
                stream.read()
            if stream.ended and not stream.waiting:
                self._drop(stream)
        return not over

    def _drop(self, stream: Stream) -> None:
        """Let go of a stream, so that both sides see its end."""
        inward = stream in self.inward
        (self.inward if inward else self.outward).remove(stream)
        end = stream.drain if inward else stream.source
        shared = any(end in (other.source, other.drain) for other in [*self.inward, *self.outward])
        if shared and self.serve:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(end)) as connection:
                connection.shutdown(socket.SHUT_WR if inward else socket.SHUT_RD)
        elif not shared:
            os.close(end)


def _is_null(number: int) -> bool:
    try:
        facts = os.fstat(number)
    except OSError:
        # It is not even open.
        return True
    return stat.S_ISCHR(facts.st_mode) and facts.st_rdev == os.makedev(1, 3)


def _make_plain(terminal: int) -> None:
    """Let a terminal neither show what is typed nor change what is written: ours, which is before it, does that."""
    modes = termios.tcgetattr(terminal)
    modes[1] &= ~termios.OPOST
    modes[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSANOW, modes)


def _pass_on(child: int, number: int) -> None:
    """Let a program in the node have a signal that was meant for it."""
    with contextlib.suppress(OSError):
        os.killpg(child, number)

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way into a process node: a program of its own, with nothing but the standard library, run by the host's root.

    enter NODE                   a shell in the node, or, where standard input is no terminal, an ssh server for the one connection
                                 that standard input and output are: what an ssh_config gives as ProxyCommand
    enter NODE -- COMMAND...     a command in the node

It goes by the descriptors that the supervisor of the nodes holds, into all of the node's namespaces and control groups.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import sys
import termios
import tty
from typing import Any, NoReturn

from .spaces import ENVIRONMENT, be, die_with_parent, enter, write


class NoWay(Exception):
    """The node cannot be entered; the text says why."""


def read(path: str) -> Any:
    """Read a record of the supervisor. Raises NoWay."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise NoWay(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def find(home: str, name: str) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the entry of a node, and descriptors of its namespaces. Raises NoWay."""
    entry = next((entry for entry in read(f"{home}/nodes.json")["nodes"] if name in (entry["name"], entry["id"])), None)
    if entry is None:
        raise NoWay(f"there is no node {name} that is up here")
    if entry["kind"] != "process":
        raise NoWay(f"node {name} is this host itself: you are there")
    state = read(f"{home}/state.json")
    keeper, facts = state["pid"], state["nodes"].get(entry["id"], {})
    try:
        with open(f"/proc/{keeper}/cmdline", "rb") as file:
            ours = file.read().endswith(f"\0{home}/programs\0keeper\0".encode())
    except OSError:
        ours = False
    if not ours:
        raise NoWay(f"node {name} is dead: the supervisor of the nodes is gone")
    if facts.get("state") != "booted":
        raise NoWay(f"node {name} is not up: {facts.get('error') or facts.get('state') or 'unknown'}")
    wanted = {**facts["spaces"], "pid": state["inside"]}
    spaces = {}
    for space, number in wanted.items():
        path = f"/proc/{keeper}/fd/{number}"
        if not os.readlink(path).startswith(f"{space}:["):
            raise NoWay(f"node {name} has just changed: try again")
        spaces[space] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return entry, spaces


def carry(pairs: dict[int, int], far: int) -> None:
    """Copy streams, each from one descriptor to another, until that of the node, ``far``, ends.

    No threads: who has gone into another pid namespace can start none.
    """
    with contextlib.suppress(OSError):
        while True:
            for source in select.select(list(pairs), [], [])[0]:
                piece = os.read(source, 65536)
                if not piece and source == far:
                    return
                drain = pairs[source] if piece else pairs.pop(source)
                if not piece:
                    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(drain)) as connection:
                        connection.shutdown(socket.SHUT_WR)
                while piece:
                    piece = piece[os.write(drain, piece) :]


def talk(terminal: int) -> None:
    """Be the terminal of a program that has one of the node's own: it cannot use ours, which it does not see."""
    before = termios.tcgetattr(0)

    def fit(*dummy: object) -> None:
        with contextlib.suppress(OSError):
            fcntl.ioctl(terminal, termios.TIOCSWINSZ, fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))

    fit()
    signal.signal(signal.SIGWINCH, fit)
    try:
        tty.setraw(0, termios.TCSADRAIN)
        carry({0: terminal, terminal: 1}, terminal)
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def take_terminal(channel: socket.socket) -> None:
    """Get a terminal of the node's for ourselves, and hand its other end out."""
    terminal, own = os.openpty()
    socket.send_fds(channel, [b"+"], [terminal])
    os.close(terminal)
    os.setsid()
    fcntl.ioctl(own, termios.TIOCSCTTY, 0)
    for number in (0, 1, 2):
        os.dup2(own, number)


def become(argv: list[str], mark: str, key: bytes, channel: socket.socket | None) -> NoReturn:
    """Be the node's root and become a program, which ends with us who wait for it."""
    be(0, 0)
    # Who waits is outside of the node's pid namespace.
    die_with_parent(0)
    environment = {**ENVIRONMENT, "BENITO_MARK": mark, **({"TERM": os.environ["TERM"]} if "TERM" in os.environ else {})}
    os.chdir("/root")
    if channel:
        take_terminal(channel)
    if key:
        # A file that only this process has, and the node's root may read.
        handle = os.memfd_create("host_key", 0)
        os.write(handle, key)
        argv = [*argv, "-r", f"/proc/self/fd/{handle}"]
    try:
        os.execvpe(argv[0], argv, environment)  # noqa: S606
    except OSError as error:
        sys.stderr.write(f"{argv[0]}: {error.strerror}\n")
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def main(home: str, words: list[str]) -> NoReturn:
    """Enter a node, and end with the exit status of what ran there."""
    try:
        code = go(home, words)
    except (NoWay, OSError) as failure:
        sys.stderr.write(f"enter: {failure}\n")
        code = 255
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as damage:
        sys.stderr.write(f"enter: the records of the nodes are damaged: {type(damage).__name__} {damage}\n")
        code = 255
    os._exit(code)


def go(home: str, words: list[str]) -> int:
    """Enter a node. Returns the exit status. Raises NoWay, OSError."""
    if not words or (len(words) > 1 and (words[1] != "--" or len(words) == 2)):
        raise NoWay("usage: enter NODE [-- COMMAND...]")
    if os.geteuid() != 0:
        os.execvp("sudo", ["sudo", "-n", f"{home}/enter", *words])  # noqa: S606
    entry, spaces = find(home, words[0])
    told = read(f"{home}/nodes.json")
    interactive = os.isatty(0) and os.isatty(1)
    serve = len(words) == 1 and not interactive
    argv = ["dropbear", "-i", "-s"] if serve else words[2:] or ["/bin/sh", "-l"]
    key = b""
    if serve:
        with open(f"{home}/host_key", "rb") as file:
            key = file.read()
    for group in told["groups"].get(entry["id"], []):
        write(f"{group}/cgroup.procs", "0")
    try:
        enter(spaces)
    except OSError as error:
        raise NoWay(f"node {words[0]} cannot be entered: {os.strerror(error.errno or 0)}") from error
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            if serve:
                # It wants one socket for both directions.
                os.dup2(theirs.fileno(), 0)
                os.dup2(theirs.fileno(), 1)
            become(argv, told["mark"], key, theirs if interactive else None)
        finally:
            os._exit(126)
    theirs.close()
    if serve:
        carry({0: ours.fileno(), ours.fileno(): 1}, ours.fileno())
        ours.close()
    elif interactive:
        terminals = socket.recv_fds(ours, 1, 1)[1]
        if terminals:
            talk(terminals[0])
    status = os.waitpid(child, 0)[1]
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way into a process node: a program of its own, with nothing but the standard library, run by the host's root.

    enter NODE                   a shell in the node, or, where standard input is no terminal, an ssh server for the one connection
                                 that standard input and output are: what an ssh_config gives as ProxyCommand
    enter NODE -- COMMAND...     a command in the node

It goes by the descriptors that the supervisor of the nodes holds, into all of the node's namespaces and control groups. The program
in the node gets nothing of ours: it has a session of its own, and instead of our descriptors those that `streams` makes.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from typing import Any, NoReturn

from .confinement import bound, close_all_but, confine
from .spaces import CLONE_NEWPID, ENVIRONMENT, be, call, die_with_parent, enter
from .streams import Streams


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
    try:
        return _find(home, name)
    except (KeyError, TypeError, AttributeError) as error:
        raise NoWay(f"{home}: the records of the nodes are damaged: {error!r}") from error


def _find(home: str, name: str) -> tuple[dict[str, Any], dict[str, int]]:
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


def become(argv: list[str], mark: str, key: bytes) -> NoReturn:
    """Become a program of the node's root, which ends with us who wait for it."""
    # Who waits is outside of the node's pid namespace.
    die_with_parent(0)
    environment = {**ENVIRONMENT, "BENITO_MARK": mark, **({"TERM": os.environ["TERM"]} if "TERM" in os.environ else {})}
    os.chdir("/root")
    handle = -1
    if key:
        # A file that only this process has, and the node's root may read.
        handle = os.memfd_create("host_key", 0)
        os.write(handle, key)
        argv = [*argv, "-r", f"/proc/self/fd/{handle}"]
    close_all_but(handle)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    confine()
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
    # What is missing of the first three must not become something else.
    while os.open("/dev/null", os.O_RDWR) < 3:
        pass
    close_all_but()
    if os.geteuid() != 0:
        os.execvp("sudo", ["sudo", "-n", f"{home}/enter", *words])  # noqa: S606
    entry, spaces = find(home, words[0])
    told = read(f"{home}/nodes.json")
    serve = len(words) == 1 and not (os.isatty(0) and os.isatty(1))
    argv = ["dropbear", "-i", "-s"] if serve else words[2:] or ["/bin/sh", "-l"]
    key = b""
    if serve:
        with open(f"{home}/host_key", "rb") as file:
            key = file.read()
    streams = Streams(serve)
    ours, theirs = socket.socketpair()
    # We stay outside, and only our children are in the node.
    call("setns", spaces.pop("pid"), CLONE_NEWPID)
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            ours.close()
            bound(entry, told["limits"], told["groups"])
            enter(spaces)
            be(0, 0)
            streams.open(theirs)
            become(argv, told["mark"], key)
        except OSError as error:
            sys.stderr.write(f"enter: node {words[0]} cannot be entered: {error.strerror}\n")
        finally:
            os._exit(126)
    theirs.close()
    for handle in spaces.values():
        os.close(handle)
    streams.take(ours)
    streams.carry(child)
    status = os.waitpid(child, 0)[1]
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

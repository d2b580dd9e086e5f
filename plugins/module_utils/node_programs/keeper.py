# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor of an experiment's process nodes on one host: a program of its own, with nothing but the standard library.

It is copied into the experiment's directory and runs as root: ``python3 -I -B .../nodes/programs keeper``. In ``nodes`` lie
``nodes.json``, what is wanted (read again on SIGHUP; only nodes whose entry differs are touched; `node` has its form), and
``state.json``, what is.

A node is a set of namespaces that this process holds by open descriptors, and nothing else: no process, no mount on the host. All
nodes share one pid namespace, whose init ends with the supervisor by the kernel's hand, and takes with it whatever runs in any node. Who
is root in a node is an id of the experiment's own outside, with all rights over the node's network and none over the host. A node that is
``physical`` is in the host's own network: it has TAPs there, and a mount namespace for its start command.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import selectors
import signal
import sys
import time
from typing import Any

from .children import Children
from .commands import Commands
from .inhabitants import inhabitants
from .making import alter, build, prepare
from .mounts import layout
from .node import Node, Wanted, differs, key_of
from .state import PAUSE, State
from .wiring import Wiring

# Nodes that are made at a time.
WINDOW = 16
# Seconds until those who do not end by themselves are ended.
GRACE = 2.0


class Keeper:
    """All process nodes of the experiment on this host."""

    def __init__(self, home: str) -> None:
        self.home = home
        self.wanted = Wanted("", {}, [0, 0], {}, [], [0, 0], {})
        self.nodes: dict[str, Node] = {}
        # Those that are wanted in place of one that is still ending, or that wait for their turn.
        self.waiting: dict[str, dict[str, Any]] = {}
        self.ending: list[Node] = []
        # By what decides them.
        self.mounts: dict[tuple[str, ...], int] = {}
        self.scanned = 0.0
        self.news = self.stop = False
        self.state = State(f"{home}/state.json")
        self.selector = selectors.DefaultSelector()
        self.children = Children(self.selector, self.state.changed)
        self.commands = Commands(self.children, self.state.changed)
        self.wiring = Wiring(home, self.nodes, self.children, self.selector, self.state.changed)

    # What is wanted

    def reload(self) -> None:
        """Take the list over: what is in it as before is not touched."""
        try:
            self.wanted = Wanted.read(f"{self.home}/nodes.json")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            sys.stderr.write(f"nodes.json: {error}\n")
            sys.stderr.flush()
            return
        self.wiring.user = self.wanted.plug_user
        self.forget_mounts()
        self.waiting, entries = {}, self.wanted.entries
        for id_, node in list(self.nodes.items()):
            entry = entries.get(id_)
            unfinished = node.state == "failed" or (node.state == "making" and node.entry != entry)
            if entry is None or unfinished or differs(node.entry, entry):
                self.end(node)
        for id_, entry in entries.items():
            there = self.nodes.get(id_)
            if there is None:
                self.waiting[id_] = entry
            elif there.entry != entry or there.error:
                self.change(there, entry)
            else:
                # Equal, and to be held once.
                there.entry = entry
        self.state.changed()
        self.proceed()

    def proceed(self) -> None:
        """Make what waits for its turn."""
        busy = {node.entry["id"] for node in self.ending}
        for id_ in list(self.waiting):
            if len(self.children.working) >= WINDOW:
                return
            if id_ not in busy:
                self.make(self.waiting.pop(id_))

    def make(self, entry: dict[str, Any]) -> None:
        """Begin with a node."""
        node = Node(entry)
        self.nodes[entry["id"]] = node
        try:
            prepared = self.prepared(entry)
            self.children.work(node, lambda channel: build(entry, self.wanted, prepared, channel), lambda fault: self.made(node, fault))
        except OSError as error:
            node.state, node.error = "failed", str(error)
            self.state.changed()

    def prepared(self, entry: dict[str, Any]) -> int:
        """Return the mounts that a node begins with, a descriptor. Raises OSError."""
        key = layout(entry)
        if key not in self.mounts:
            self.mounts[key] = self.children.ask(lambda channel: prepare(entry, self.wanted.covered, channel))
        return self.mounts[key]

    def forget_mounts(self) -> None:
        """Let go of mounts that nodes began with: what comes next shall see the host as it is then."""
        for handle in self.mounts.values():
            os.close(handle)
        self.mounts.clear()

    def made(self, node: Node, fault: str) -> None:
        """Go on with a node whose namespaces and network are there, or are not."""
        if node.state == "ending":
            return
        if not fault and len(node.taps) != len(node.entry["plugs"]):
            fault = "it was not made"
        if fault:
            node.state, node.error = "failed", fault
            node.close()
            return
        node.state = "booted"
        node.booted = time.time()
        node.took = round(time.monotonic() - node.began, 3)
        self.wiring.add(node)
        if node.entry["command"]:
            self.commands.due.append(node)

    def change(self, node: Node, entry: dict[str, Any]) -> None:
        """Let a node that runs become as an entry that differs in what can be changed meanwhile."""
        old, node.entry, node.key = node.entry, entry, key_of(entry)
        undo = [pair[0] for pair in old["network"] if pair not in entry["network"] and pair[0]]
        again, node.error = bool(node.error), ""
        # All of it: a route goes with the address it leads over.
        lines = [done for dummy, done in entry["network"]] if again or entry["network"] != old["network"] else []
        files = [pair for pair in entry["files"] if again or pair not in old["files"]]
        if not undo and not lines and not files:
            return
        node.state = "making"

        def then(fault: str) -> None:
            if node.state == "making":
                node.state, node.error = "booted", fault

        try:
            self.children.work(node, lambda channel: alter(node.spaces, files, undo, lines, channel), then)
        except OSError as error:
            then(str(error))

    # The end of a node

    def end(self, node: Node) -> None:
        """Begin to end a node: whoever runs in it is asked to."""
        del self.nodes[node.entry["id"]]
        self.wiring.drop(node)
        if not node.spaces and not any(child.node is node for child in self.children.working.values()):
            node.close()
            return
        node.state = "ending"
        node.deadline = time.monotonic() + GRACE
        self.ending.append(node)
        self.scanned = 0.0

    def finish(self) -> None:
        """End whoever runs in the nodes that end, and let go of those where nobody does any more."""
        if not self.ending or time.monotonic() < self.scanned + 0.05:
            return
        self.scanned = time.monotonic()
        living = inhabitants(self.ending)
        making = {id(child.node) for child in self.children.working.values()}
        for node in list(self.ending):
            if living.get(id(node)):
                first = not node.asked
                if first or time.monotonic() > node.deadline:
                    node.asked = True
                    for pid in living[id(node)]:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGTERM if first else signal.SIGKILL)
            elif id(node) not in making:
                node.close()
                self.ending.remove(node)
                self.state.changed()
        self.proceed()

    # The loop

    def reap(self) -> None:
        """Take the ends of our children."""
        for pid, status in self.children.reap([*self.commands.running, self.wiring.pid, self.children.init]):
            if pid in self.commands.running:
                self.commands.ended(pid, status, self.wanted)
            elif pid == self.children.init:
                sys.stderr.write("the init of the nodes has ended\n")
                self.stop = True

    def start_commands(self) -> None:
        """Run the start commands that are due, when all nodes are made."""
        if not self.waiting and not any(node.state == "making" for node in self.nodes.values()):
            self.commands.proceed(self.wanted)

    def write_state(self) -> None:
        """Write down what is, if it is time."""
        settled = not self.waiting and not self.children.working and not self.ending and not self.commands.due
        if self.state.due(settled):
            self.state.write(
                {
                    "pid": self.children.pid,
                    "plug": self.wiring.pid,
                    "inside": self.children.inside,
                    "config": self.wanted.digest,
                    "settled": settled,
                    "left": len(self.waiting) + len(self.children.working) + len(self.ending),
                    "nodes": {id_: node.facts() for id_, node in self.nodes.items()},
                }
            )

    def run(self) -> None:
        """Keep the nodes until told to stop."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self.selector.register(reader, selectors.EVENT_READ, lambda: os.read(reader, 4096))
        signal.signal(signal.SIGCHLD, lambda *dummy: None)
        signal.signal(signal.SIGHUP, lambda *dummy: setattr(self, "news", True))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *dummy: setattr(self, "stop", True))
        self.news = True
        # What is there from now on is there for long: our children need not look at it.
        gc.freeze()
        while not self.stop:
            if self.news:
                self.news = False
                self.reload()
            busy = self.state.dirty or self.wiring.again or self.children.working or self.commands.due
            for key, dummy in self.selector.select(0.05 if self.ending else PAUSE if busy else None):
                key.data()
            self.reap()
            self.children.overdue()
            self.finish()
            self.proceed()
            self.start_commands()
            self.wiring.proceed()
            self.write_state()


def main(home: str, words: list[str]) -> int:
    """Run the supervisor."""
    # Some descriptors for each node and interface: as many as the host allows.
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))
    Keeper(home).run()
    return 0

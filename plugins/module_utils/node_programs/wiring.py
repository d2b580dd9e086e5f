# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nodes at their switches: their TAPs are handed to the plug, which is started, listened to and replaced."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from .children import Children
from .node import Node
from .spaces import be, die_with_parent

# Seconds until a plug that ended is started again.
AGAIN = 0.3


class Wiring:
    """The plug as its supervisor has it. ``nodes`` are all that there are, by short name; ``user`` is the service account."""

    def __init__(
        self, home: str, nodes: Mapping[str, Node], children: Children, selector: selectors.BaseSelector, changed: Callable[[], None]
    ) -> None:
        self.home = home
        self.nodes = nodes
        self.children = children
        self.selector = selector
        self.changed = changed
        self.user = [0, 0]
        self.channel: socket.socket | None = None
        self.pid = 0
        # When it is to be started again; 0 while it runs, or nobody needs it.
        self.again = 0.0

    def add(self, node: Node) -> None:
        """Hand the TAPs of a node to the plug."""
        if self.channel is None:
            self.start()
        for (device, dummy, switch, port, label), tap in zip(node.entry["plugs"], node.taps):
            self.tell({"add": f"{node.entry['id']}:{device}", "switch": switch, "port": port, "label": label}, tap)

    def drop(self, node: Node) -> None:
        """Let the plug let go of a node's TAPs."""
        for key in node.plugs:
            self.tell({"drop": key})

    def proceed(self) -> None:
        """Start the plug again when it is time, and hand it all TAPs."""
        if self.again and time.monotonic() >= self.again:
            self.start()
            for node in self.nodes.values():
                if node.taps and node.state != "failed":
                    self.add(node)

    def tell(self, order: dict[str, Any], *handles: int) -> None:
        """Give an order to the plug; when it is gone, its successor gets them all."""
        if self.channel:
            with contextlib.suppress(OSError):
                socket.send_fds(self.channel, [json.dumps(order).encode()], list(handles))

    def start(self) -> None:
        """Start the plug, as the service account, outside of the nodes."""
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            pid = self.children.fork()
        except OSError:
            self.again = time.monotonic() + AGAIN
            return
        if pid == 0:
            try:
                be(*self.user)
                # The kernel forgets it when the account changes.
                die_with_parent(self.children.pid)
                os.set_inheritable(theirs.fileno(), True)
                argv = [sys.executable, "-I", "-B", f"{self.home}/programs", "plug", str(theirs.fileno())]
                os.execv(sys.executable, argv)  # noqa: S606
            finally:
                os._exit(126)
        theirs.close()
        self.channel, self.pid, self.again = ours, pid, 0.0
        self.selector.register(ours, selectors.EVENT_READ, self.hear)
        self.changed()

    def hear(self) -> None:
        """Take what the plug says of its TAPs."""
        try:
            text = self.channel.recv(65536, socket.MSG_DONTWAIT) if self.channel else b""
        except BlockingIOError:
            return
        except OSError:
            text = b""
        if not text:
            self.lose()
            return
        # The plug is a process of the service account: whatever it says must not end the supervisor, which is root's.
        with contextlib.suppress(ValueError, RecursionError, AttributeError):
            for key, why in json.loads(text).items():
                node = self.nodes.get(key.split(":", 1)[0])
                if node and key in node.plugs:
                    node.plugs[key] = str(why)[:200]
                    self.changed()

    def lose(self) -> None:
        """The plug is gone: the TAPs are still ours, and it is started again."""
        if self.channel:
            self.selector.unregister(self.channel)
            self.channel.close()
        self.channel, self.pid = None, 0
        self.again = time.monotonic() + AGAIN
        for node in self.nodes.values():
            node.plugs = dict.fromkeys(node.plugs, "the plug is gone")
        self.changed()

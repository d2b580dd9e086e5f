# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small client of QEMU's monitor protocol.

A monitor socket serves one client at a time and a second one waits without a greeting, hence the deadline on everything.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from .errors import HostError
from .unix_sockets import connect


class QmpError(HostError):
    """QEMU refused a command or does not answer; the text says which."""


class Qmp:
    """A connection to one QEMU, used as a context manager."""

    def __init__(self, path: str, patience: float = 5.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(patience)
        try:
            connect(self._socket, path)
            self._lines = self._socket.makefile("r", encoding="utf-8", errors="replace")
            self._answer()
            self.execute("qmp_capabilities")
        except (OSError, ValueError) as error:
            self._socket.close()
            raise QmpError(f"the monitor of QEMU does not answer: {error}") from error

    def __enter__(self) -> Qmp:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._lines.close()
        self._socket.close()

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run one command and return its result. Raises QmpError."""
        return self._execute(command, arguments, [])

    def hand_over(self, name: str, descriptor: int) -> None:
        """Give QEMU a descriptor, which other commands then know by ``name``. Raises QmpError."""
        self._execute("getfd", {"fdname": name}, [descriptor])

    def _execute(self, command: str, arguments: Mapping[str, Any], handles: list[int]) -> Any:
        message = json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n"
        try:
            if handles:
                socket.send_fds(self._socket, [message], handles)
            else:
                self._socket.sendall(message)
            answer = self._answer()
        except (OSError, ValueError) as error:
            raise QmpError(f"{command}: the monitor of QEMU does not answer: {error}") from error
        if "error" in answer:
            raise QmpError(f"{command}: {answer['error'].get('desc', 'refused')}")
        return answer.get("return")

    def _answer(self) -> dict[str, Any]:
        while True:
            line = self._lines.readline()
            if not line:
                raise OSError("connection closed")
            message = json.loads(line)
            # Events arrive in between whenever they like.
            if isinstance(message, dict) and "event" not in message:
                return message

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small client of QEMU's monitor protocol.

A monitor socket serves one client at a time and a second one waits without a greeting, hence the deadline on everything. A guest may
have taken its QEMU over: an answer that is too long, too deep, slow, or of another shape is an error like no answer.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from .errors import HostError
from .untrusted import UntrustedError, loads

# Bytes of an answer.
LARGEST = 4 << 20


class QmpError(HostError):
    """QEMU refused a command or does not answer; the text says which."""


class Qmp:
    """A connection to one QEMU, used as a context manager."""

    def __init__(self, path: str, patience: float = 5.0) -> None:
        self._patience = patience
        self._heard = bytearray()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(patience)
        try:
            self._socket.connect(path)
            self._answer(time.monotonic() + patience)
            self.execute("qmp_capabilities")
        except (OSError, UntrustedError) as error:
            self._socket.close()
            raise QmpError(f"the monitor of QEMU does not answer: {error}") from error
        except QmpError:
            self._socket.close()
            raise

    def __enter__(self) -> Qmp:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run one command and return its result. Raises QmpError."""
        return self._execute(command, arguments, [])

    def status(self, command: str) -> str:
        """Run a command whose result has a status, and return that; empty when there is none. Raises QmpError."""
        found = self.execute(command)
        return str(found.get("status", "")) if isinstance(found, dict) else ""

    def hand_over(self, name: str, descriptor: int) -> None:
        """Give QEMU a descriptor, which other commands then know by ``name``. Raises QmpError."""
        self._execute("getfd", {"fdname": name}, [descriptor])

    def _execute(self, command: str, arguments: Mapping[str, Any], handles: list[int]) -> Any:
        message = json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n"
        deadline = time.monotonic() + self._patience
        try:
            self._socket.settimeout(self._patience)
            if handles:
                socket.send_fds(self._socket, [message], handles)
            else:
                self._socket.sendall(message)
            answer = self._answer(deadline)
        except (OSError, UntrustedError) as error:
            raise QmpError(f"{command}: the monitor of QEMU does not answer: {error}") from error
        if "error" in answer:
            said = answer["error"].get("desc") if isinstance(answer["error"], dict) else ""
            raise QmpError(f"{command}: {''.join(c for c in str(said or 'refused')[:300] if c.isprintable())}")
        return answer.get("return")

    def _answer(self, deadline: float) -> dict[str, Any]:
        while True:
            message = loads(self._line(deadline), LARGEST)
            # Events arrive in between whenever they like.
            if isinstance(message, dict) and "event" not in message:
                return message

    def _line(self, deadline: float) -> bytes:
        while (end := self._heard.find(b"\n")) < 0:
            left = deadline - time.monotonic()
            if left <= 0 or len(self._heard) > LARGEST:
                raise TimeoutError("no end of its answer")
            self._socket.settimeout(left)
            piece = self._socket.recv(65536)
            if not piece:
                raise OSError("connection closed")
            self._heard += piece
        if time.monotonic() > deadline:
            raise TimeoutError("no end of its events")
        line = bytes(self._heard[:end])
        del self._heard[: end + 1]
        return line

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the host half share: short directories, processes that end with the test, networks of their own."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.benito.testbed.plugins.module_utils import (
    acceleration,
    processes,
    service_ids,
    shapers,
    tun_node,
    vde,
)
from ansible_collections.benito.testbed.plugins.module_utils.accounts import Identity
from ansible_collections.benito.testbed.plugins.module_utils.guest import Guest
from ansible_collections.benito.testbed.plugins.module_utils.lifecycle import Surroundings
from ansible_collections.benito.testbed.plugins.module_utils.qemu import Machine
from ansible_collections.benito.testbed.plugins.module_utils.rundir import ACCOUNT, RunDir

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000


@pytest.fixture
def root_user() -> None:
    """For what only root may do; the project's own test run is root's."""
    if os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.fixture
def root() -> Iterator[str]:
    """A short directory in place of /var/lib/benito: paths of UNIX sockets end at 107 bytes."""
    directory = tempfile.mkdtemp(prefix="bn-", dir="/tmp")
    os.chmod(directory, 0o711)
    yield directory
    end_processes(directory)
    shutil.rmtree(directory, ignore_errors=True)


def end_processes(directory: str) -> None:
    """Kill what a test left running, known by the mark that holds its own temporary directory."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                marks = [word for word in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0") if word.startswith(b"BENITO_MARK=")]
                if any(word.startswith(f"BENITO_MARK={directory}:".encode()) for word in marks):
                    os.kill(int(entry), signal.SIGKILL)
                    processes.reap(int(entry))


@pytest.fixture
def rundir(root: str) -> RunDir:
    """An experiment with its directory."""
    made = RunDir("lab", "demo", "lab.demo", root)
    made.create()
    return made


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> str:
    """The service account, or another one that owns nothing where the host has none."""
    try:
        pwd.getpwnam(ACCOUNT)
        name = ACCOUNT
    except KeyError:
        name = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        for module in (acceleration, service_ids, vde):
            monkeypatch.setattr(module, "ACCOUNT", name, raising=False)
    return name


@pytest.fixture
def tun(account: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file in place of the node of all TAPs, which is the machine's own."""
    with tempfile.TemporaryDirectory(prefix="bn-", dir="/tmp") as directory:
        os.chmod(directory, 0o711)
        made = Path(directory) / "tun"
        made.touch()
        monkeypatch.setattr(tun_node, "NODE", str(made))
        monkeypatch.setattr(tun_node, "ACCOUNT", account)
        yield made


@pytest.fixture
def unprivileged(monkeypatch: pytest.MonkeyPatch, account: str) -> None:
    """Let switches run as whoever runs the tests, if that is not root."""
    if os.geteuid() != 0:
        monkeypatch.setattr(vde, "ACCOUNT", pwd.getpwuid(os.geteuid()).pw_name)
        for module in (shapers, vde):
            monkeypatch.setattr(module, "service", lambda rundir: Identity(os.geteuid(), os.getegid()))
            monkeypatch.setattr(module, "spawn", lambda argv, **more: processes.spawn(argv, **{**more, "user": None}))


def nic(index: int, switch: str = "lan0", port: int | None = None, **more: Any) -> dict[str, Any]:
    """One entry of a guest's ``interfaces``; every other port stays free."""
    return {
        "name": f"inf{index:03d}",
        "substrate": switch,
        "switch": switch,
        "port": 2 * index + 1 if port is None else port,
        "mac": f"02:00:00:00:{index >> 8:02x}:{index & 255:02x}",
        "device": f"eth{index + 1}",
        "address": f"10.{index >> 8}.{index & 255}.1",
        "prefix": 24,
        **more,
    }


@pytest.fixture
def make_guest() -> Callable[..., Guest]:
    """Make a guest of the document's words, with so many interfaces on switch ``lan0``."""

    def make(name: str = "n-0", interfaces: int = 1, **more: Any) -> Guest:
        return Guest.from_options({"name": name, "interfaces": [nic(index) for index in range(interfaces)], **more})

    return make


@pytest.fixture
def kernel(root: str) -> tuple[str, str]:
    """A kernel that QEMU takes for Linux and that only halts the processor, and an initrd: a guest that costs nothing."""
    setup = bytearray(1024)
    setup[0x1F1] = 1
    setup[0x1FE:0x202] = b"\x55\xaa\xeb\x66"  # the last two: a jump to 0x268
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x206, 0x020C)
    setup[0x211] = 1
    struct.pack_into("<I", setup, 0x22C, 0x7FFFFFFF)
    struct.pack_into("<I", setup, 0x238, 2047)
    setup[0x268:0x26C] = b"\xfa\xf4\xeb\xfd"  # cli; hlt; once more
    paths = f"{root}/bzImage", f"{root}/initrd"
    for path, content in zip(paths, (bytes(setup) + bytes(4096), b"initrd" * 100), strict=True):
        Path(path).write_bytes(content)
        os.chmod(path, 0o644)
    return paths


class Monitor:
    """A QEMU monitor as far as a client can tell. ``answers``: by command, what follows the ``execute``, as raw lines or objects."""

    def __init__(self, path: str, greeting: bytes = b'{"QMP": {"version": {}, "capabilities": []}}\n', **answers: Any) -> None:
        self.heard: list[dict[str, Any]] = []
        self.answers = {"qmp_capabilities": {"return": {}}, **answers}
        self._greeting = greeting
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while True:
                connection, dummy = self._listener.accept()
                self._connections.append(connection)
                connection.sendall(self._greeting)
                with contextlib.suppress(OSError), connection.makefile("r") as lines:
                    for line in lines:
                        message = json.loads(line)
                        self.heard.append(message)
                        answer = self.answers.get(message["execute"], {"return": {}})
                        if callable(answer):
                            answer = answer(message)
                        connection.sendall(answer if isinstance(answer, bytes) else json.dumps(answer).encode() + b"\n")

    def close(self) -> None:
        """Hang up."""
        for connection in [self._listener, *self._connections]:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._thread.join(5)


@pytest.fixture
def monitor() -> Iterator[Callable[..., Monitor]]:
    """Start monitors that end with the test."""
    with contextlib.ExitStack() as stack:

        def start(path: str, **more: Any) -> Monitor:
            made = Monitor(path, **more)
            stack.callback(made.close)
            return made

        yield start


@pytest.fixture
def own_network(root_user: None) -> Callable[[Callable[[], None]], None]:
    """Run a function of the test in a child process with a network and a view of /sys of its own, where nothing but lo is."""

    def run(function: Callable[[], None]) -> None:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            said = b""
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.unshare(CLONE_NEWNET | CLONE_NEWNS):
                    raise OSError(ctypes.get_errno(), "unshare")
                for command in ("mount --make-rprivate /", "mount -t sysfs sysfs /sys", "ip link set lo up"):
                    subprocess.run(command.split(), check=True)
                function()
            except BaseException:
                said = traceback.format_exc().encode()
            os.write(writer, said[-60000:])
            os._exit(0)
        os.close(writer)
        with open(reader, "rb") as file:
            said = file.read().decode(errors="replace")
        os.waitpid(child, 0)
        if said:
            pytest.fail(said, pytrace=False)

    return run


@pytest.fixture
def around(rundir: RunDir, kernel: tuple[str, str]) -> Surroundings:
    """What guests of one host share, without a control net, with a kernel that does nothing."""
    return Surroundings(rundir, {"tiny": Machine("tcg", *kernel)}, [["a", "lan0", 0, "10.0.0.1"]], None, "ssh-ed25519 A\n", "")

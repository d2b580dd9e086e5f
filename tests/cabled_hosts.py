# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two hosts with a wire between them, for cables: each is a network namespace with a root of its own.

On each one a machine, a further namespace, is plugged into its host's switch: what one machine sends the other gets only through
the cable. Tests break it, and benches measure it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ansible_collections.benito.testbed.plugins.module_utils import tun_node

from .integration.conftest import ROOT, wait_for

EXPERIMENT = {"project": "benito-test", "experiment": "cables", "id": "benito-test.cables"}
RUN_MODULE = """
import importlib, sys
from ansible.module_utils import basic
basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = sys.argv[2].encode(), "legacy"
importlib.import_module(f"ansible_collections.benito.testbed.plugins.modules.{sys.argv[1]}").main()
"""
SOCKET, NUMBER = 20077, 4711


def sh(*words: str, check: bool = True, **more: Any) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, **more)
    if check:
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


class Host:
    """One of the two hosts. ``index`` 1 or 2."""

    def __init__(self, index: int, home: Path, keys: dict[str, str]) -> None:
        self.index = index
        self.name = f"benito-cable{index}-{os.getpid()}"
        self.address = f"198.51.100.{index}"
        self.home = home
        self.keys = keys
        # Paths of UNIX sockets are short.
        self.root = tempfile.mkdtemp(prefix=f"x{index}-", dir="/tmp")
        os.chmod(self.root, 0o711)
        self.machines: dict[str, subprocess.Popen[bytes]] = {}
        self.server: subprocess.Popen[bytes] | None = None
        sh("ip", "netns", "add", self.name)
        sh("ip", "-n", self.name, "link", "set", "lo", "up")

    def inside(self, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, *words]

    def run(self, *words: str) -> str:
        return sh(*self.inside(*words))

    def packed(self, name: str, **options: Any) -> dict[str, Any]:
        """Run one of our modules as Ansible does: packed, with the host's Python."""
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "BENITO_"))},
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "LC_ALL": "C.UTF-8",
            "NO_COLOR": "1",
        }
        words = ["ansible", "localhost", "-c", "local", "-e", "ansible_python_interpreter=/usr/bin/python3"]
        words += ["-m", f"benito.testbed.{name}", "-a", json.dumps({"root": self.root, **options})]
        out = sh(*self.inside(*words), check=False, env=environment, cwd=ROOT)
        assert " => {" in out, out
        return json.loads("{" + out.rpartition(" => {")[2])

    def module(self, name: str, check: bool = False, **options: Any) -> dict[str, Any]:
        """Run one of our modules in a process of its own, without the second that it takes Ansible to pack it."""
        arguments = json.dumps({"ANSIBLE_MODULE_ARGS": {"root": self.root, **options, "_ansible_check_mode": check}})
        environment = {**os.environ, "PYTHONPATH": str(ROOT / ".collections")}
        out = sh(*self.inside(sys.executable, "-B", "-c", RUN_MODULE, name, arguments), check=False, env=environment)
        assert out.strip().startswith("{"), out
        return json.loads(out)

    def switch(self, experiment: dict[str, str] | None = None, names: tuple[str, ...] = ("lan0",)) -> dict[str, Any]:
        return self.module(
            "vde_switch", experiment=experiment or EXPERIMENT, switches=[{"name": name, "id": name, "ports": 32} for name in names]
        )

    def cables(self, *cables: dict[str, Any], experiment: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
        key = "other" if experiment else "key"
        more.setdefault("secrets", {entry["id"]: hashlib.sha256(f"{key} {entry['id']}".encode()).hexdigest() for entry in cables})
        return self.module(
            "cable",
            experiment=experiment or EXPERIMENT,
            cables=list(cables),
            key=self.keys[key],
            public_key=self.keys[f"{key}_pub"],
            **more,
        )

    def info(self, experiment: dict[str, str] | None = None) -> dict[str, Any]:
        found = self.module("cable_info", experiment=experiment or EXPERIMENT)["cables"]
        return found[0] if found else {}

    def says(self, state: str, experiment: dict[str, str] | None = None) -> Callable[[], bool]:
        return lambda: self.info(experiment).get("state") == state

    def swap_out(self) -> dict[str, Any]:
        return self.module("experiment", project=EXPERIMENT["project"], experiment=EXPERIMENT["experiment"], state="absent")

    def plug_in(self, experiment: dict[str, str] | None = None) -> str:
        """Plug a machine into the switch: a namespace of its own, with the address 10.0.0.INDEX."""
        experiment = experiment or EXPERIMENT
        name = f"{self.name}-{experiment['experiment']}"
        if name in self.machines:
            before = self.machines.pop(name)
            before.kill()
            # Its TAP is in use until it is gone.
            before.wait()
        else:
            sh("ip", "netns", "add", name)
        url = f"vde://{self.root}/{experiment['id']}/switches/lan0/io/ctl[1]"
        self.machines[name] = subprocess.Popen(["ip", "netns", "exec", name, "vde_plug", url, "tap://t0"], stdin=subprocess.DEVNULL)
        assert wait_for(lambda: "t0" in sh("ip", "-n", name, "-br", "link"))
        sh("ip", "-n", name, "address", "replace", f"10.0.0.{self.index}/24", "dev", "t0")
        # Whoever is plugged in again is the same machine: nobody has to forget an address of it.
        mac = f"02:00:00:00:{len(experiment['experiment']):02x}:{self.index:02x}"
        sh("ip", "-n", name, "link", "set", "t0", "address", mac, "up")
        return name

    def processes(self) -> dict[int, str]:
        """What runs for experiments of this root, by their environment and command line, as root sees it from outside."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if f"BENITO_MARK={self.root}:".encode() in (entry / "environ").read_bytes() and command:
                        found[int(entry.name)] = command
        return found

    def cable_processes(self) -> dict[int, str]:
        return {pid: command for pid, command in self.processes().items() if not command.startswith("vde_switch")}

    def kill(self, word: str) -> int:
        """Kill the processes whose command lines begin so, and say how many there were."""
        pids = [pid for pid, command in self.processes().items() if command.startswith(word)]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return len(pids)

    def serve_ssh(self) -> None:
        """Run an ssh server that knows only the account of the cables."""
        config = self.home / f"sshd{self.index}"
        config.write_text(
            f"ListenAddress {self.address}\nHostKey {self.keys['host']}\nPidFile none\nUsePAM no\nPasswordAuthentication no\n"
            f"KbdInteractiveAuthentication no\nStrictModes no\n"
            f"AuthorizedKeysFile {self.root}/.ssh/authorized_keys\nAllowUsers benito\nMaxStartups 100\nSubsystem sftp internal-sftp\n"
        )
        script = f"mount -t tmpfs none /run && mkdir /run/sshd && exec /usr/sbin/sshd -D -e -f {config}"
        log = (self.home / f"sshd{self.index}.log").open("ab")
        self.server = subprocess.Popen(self.inside("sh", "-c", script), stdin=subprocess.DEVNULL, stderr=log)
        assert wait_for(lambda: ":22 " in self.run("ss", "-Hltn"))

    def links(self) -> set[str]:
        return {link["ifname"] for link in json.loads(self.run("ip", "-json", "link"))}

    def remove(self) -> None:
        for process in [*self.machines.values(), *([self.server] if self.server else [])]:
            process.kill()
            process.wait()
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for name in [*self.machines, self.name]:
            sh("ip", "netns", "delete", name, check=False)
        shutil.rmtree(self.root, ignore_errors=True)


def make_keys(home: Path) -> dict[str, str]:
    """Make the keys of two experiments' cables, the servers' host key and one that is none of these."""
    for name in ("key", "other", "host", "foreign"):
        sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / name))
    return {
        "key": (home / "key").read_text(),
        "key_pub": (home / "key.pub").read_text(),
        "other": (home / "other").read_text(),
        "other_pub": (home / "other.pub").read_text(),
        "file": str(home / "key"),
        "host": str(home / "host"),
        "host_pub": " ".join((home / "host.pub").read_text().split()[:2]),
        "foreign_pub": " ".join((home / "foreign.pub").read_text().split()[:2]),
    }


@contextlib.contextmanager
def two_hosts(keys: dict[str, str], home: Path) -> Iterator[tuple[Host, Host]]:
    """Make two hosts with a wire between them, switches running, a machine on each."""
    with contextlib.ExitStack() as stack:
        # A node of the machine's own, which no namespace keeps apart.
        node = os.stat(tun_node.NODE)
        stack.callback(os.chmod, tun_node.NODE, stat.S_IMODE(node.st_mode))
        stack.callback(os.chown, tun_node.NODE, node.st_uid, node.st_gid)
        made = []
        for index in (1, 2):
            made.append(Host(index, home, keys))
            stack.callback(made[-1].remove)
        one, two = made
        sh("ip", "-n", one.name, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", two.name)
        for host in made:
            sh("ip", "-n", host.name, "address", "add", f"{host.address}/24", "dev", "wire")
            sh("ip", "-n", host.name, "link", "set", "wire", "up")
            host.switch()
            host.plug_in()
        yield one, two


def cable(host: Host, peer: Host, transport: str, **more: Any) -> dict[str, Any]:
    """One end of the cable, as the document has it: host 1 dials."""
    side = "dial" if host.index == 1 else "listen"
    return {
        "name": f"lan0 pnode-{peer.index}",
        "id": "lan0-1",
        "substrate": "lan0",
        "switch": "lan0",
        "port": 10 + host.index,
        "peer": f"pnode-{peer.index}",
        "peer_port": 10 + peer.index,
        "transport": transport,
        "role": side if transport in ("ssh", "tcp") else "peer",
        "peer_address": peer.address,
        "peer_host_keys": [host.keys["host_pub"]],
        "number": NUMBER,
        "socket": SOCKET,
        **more,
    }


def pings(host: Host, peer: Host, experiment: str = "cables", *options: str) -> bool:
    """Tell whether the machine at one host reaches the machine at the other."""
    words = ["ip", "netns", "exec", f"{host.name}-{experiment}", "ping", "-c", "1", "-W", "1", *options, f"10.0.0.{peer.index}"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def connect(one: Host, two: Host, transport: str) -> None:
    if transport == "ssh" and not two.server:
        two.serve_ssh()
    for host, peer in ((two, one), (one, two)):
        result = host.cables(cable(host, peer, transport))
        assert [(c["action"], c["reason"]) for c in result.get("cables", [])] == [("make", "not there")], result
        assert not result.get("failed"), result
    assert wait_for(lambda: pings(one, two)), (one.info(), two.info())

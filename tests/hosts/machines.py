# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts for tests: systemd-nspawn machines with systemd as PID 1 and sshd, on one network that leads nowhere else.

A host has its own process ids, network, mounts, accounts and boots; it shares this machine's kernel, so that it starts in a second. What
it writes goes to a directory of its own over the common root file system. Nothing here uses the code that is tested: hosts are looked at,
damaged and switched off from this machine, over nsenter, and not over ssh.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..integration.conftest import ROOT, Done, Lab, wait_for

CONTROLLER = "198.51.100.2"
NAMES = ("amber", "birch", "cedar")
# The tests use three; who measures has more.
ALL_NAMES = (*NAMES, "dogwood")
ADDRESSES = {name: f"198.51.100.{11 + number}" for number, name in enumerate(ALL_NAMES)}
IMAGES = Path("/var/cache/benito/images")
# Root directories of the example platform's containers.
CONTAINERS = Path("/var/cache/benito/containers")
STATE = "/var/lib/benito"
# What a host writes by itself, whatever runs on it, and what is found out about it once for all experiments.
RESTLESS = (
    "var/lib/benito/accelerator.json",
    "var/cache/apt",
    "tmp",
    "var/tmp",
    "var/log",
    "var/lib/systemd",
    "root/.ansible",
    "var/cache/benito",
    "usr",
)
CAPABILITIES = ("CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_NET_RAW")
# Runs a machine: a mount that ends with it, and a place of its own among the control groups, because hosts have slices of equal names.
# $1 the mount's options, $2 where to, $3... the directories of its control groups, then -- and the command.
START = """
mount -t overlay overlay -o "$1" "$2" && shift 2 || exit 1
while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs" || exit 1; shift; done
shift
exec "$@"
"""


class Network(Lab):
    """The network of the hosts, a namespace with a bridge, and the controller on it: what plays run on."""

    def __init__(self, name: str, home: Path) -> None:
        super().__init__(name, home)
        self.pool = home / "hosts.yml"

    def create(self) -> None:
        """Make the namespace, the bridge of the hosts' own network and one for their second interfaces."""
        for command in (
            f"ip netns add {self.name}",
            f"ip -n {self.name} link set lo up",
            f"ip -n {self.name} link add lan type bridge",
            f"ip -n {self.name} link add wire type bridge",
            f"ip -n {self.name} address add {CONTROLLER}/24 dev lan",
            f"ip -n {self.name} link set lan up",
            f"ip -n {self.name} link set wire up",
        ):
            subprocess.run(command.split(), check=True)

    def remove(self) -> None:
        """End the controller's ssh connections and remove the namespace."""
        for path in (self.home / ".ansible" / "cp").glob("*"):
            self.run("ssh", "-O", "exit", "-o", f"ControlPath={path}", "any")
        subprocess.run(["ip", "netns", "delete", self.name], check=False)

    def write_pool(self, hosts: Mapping[str, Mapping[str, Any]], **variables: Any) -> Path:
        """Write the pool of hosts, an ordinary inventory: variables by host, and for all of them."""
        common = {
            "ansible_user": "root",
            "ansible_python_interpreter": "auto_silent",
            "ansible_ssh_private_key_file": str(self.home / "id_ed25519"),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={self.home}/known_hosts -o StrictHostKeyChecking=yes -o BatchMode=yes",
            **variables,
        }
        known = {name: {"ansible_host": ADDRESSES[name], **more} for name, more in hosts.items()}
        self.pool.write_text(yaml.safe_dump({"pool": {"hosts": known, "vars": common}}, sort_keys=False))
        return self.pool

    def play(self, playbook: str, topology: Path | str, *more: str) -> Done:
        """Run one of our playbooks on the pool."""
        return self.run("ansible-playbook", f"playbooks/{playbook}.yml", "-i", str(self.pool), "-i", str(topology), *more)


@dataclass
class Host:
    """One host. It is off until it is started, and keeps its files when it is off."""

    name: str
    network: Network
    root: Path
    directory: Path
    supervisor: subprocess.Popen[bytes] | None = None
    leader: int = 0
    groups: list[Path] = field(default_factory=list)

    @property
    def address(self) -> str:
        """The address on the hosts' own network."""
        return ADDRESSES[self.name]

    @property
    def wire(self) -> str:
        """The other end, in the network's namespace, of the host's second interface ``wire0``."""
        return f"wire-{self.name}"

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Give it a file. Only while it is off."""
        assert self.supervisor is None
        file = self.directory / "upper" / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def prepare(self) -> None:
        """Make what is this host's own: its address, its ssh key, who may log in."""
        for name in ("upper", "work", "root"):
            (self.directory / name).mkdir(parents=True)
        key = self.directory / "host_key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", str(key)], check=True)
        self.write("/etc/ssh/ssh_host_ed25519_key", key.read_text(), 0o600)
        self.write("/etc/ssh/ssh_host_ed25519_key.pub", key.with_suffix(".pub").read_text())
        self.write("/root/.ssh/authorized_keys", (self.network.home / "id_ed25519.pub").read_text(), 0o600)
        (self.directory / "upper/root").chmod(0o700)
        (self.directory / "upper/root/.ssh").chmod(0o700)
        self.write("/etc/hostname", f"{self.name}\n")
        self.write("/etc/hosts", f"127.0.0.1 localhost\n{self.address} {self.name}\n")
        self.write("/etc/machine-id", hashlib.md5(f"{self.network.name} {self.name}".encode()).hexdigest() + "\n")
        self.write(
            "/etc/systemd/network/10-host0.network",
            f"[Match]\nName=host0\n[Network]\nAddress={self.address}/24\nGateway={CONTROLLER}\nLinkLocalAddressing=no\nLLDP=no\n",
        )

    @property
    def host_key(self) -> str:
        """The public part of its ssh key, ``ssh-ed25519 AAAA...``."""
        return " ".join((self.directory / "host_key.pub").read_text().split()[:2])

    def start(self) -> None:
        """Switch it on and return at once."""
        assert self.supervisor is None
        self.groups = make_groups(f"{self.network.name}-{self.name}")
        files = self.directory
        command = [
            *("nsenter", f"--net=/run/netns/{self.network.name}", "--"),
            *("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--console=pipe"),
            *("--directory", str(files / "root"), "--machine", f"{self.network.name}-{self.name}", "--hostname", self.name),
            *("--bind=/dev/net/tun", f"--bind-ro={IMAGES}", f"--capability={','.join(CAPABILITIES)}"),
            *(f"--bind-ro={path}" for path in CONTAINERS.glob("debian-" + "[0-9a-f]" * 12)),
            *("--resolv-conf=off", "--timezone=off", "--network-bridge=lan", f"--network-veth-extra={self.wire}:wire0"),
        ]
        overlay = f"lowerdir={self.root},upperdir={files / 'upper'},workdir={files / 'work'}"
        # It ends with us, however we end: its process namespace ends with its first process, that with its parent, and that with us.
        alone = ["setpriv", "--pdeathsig=KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
        with (files / "console").open("ab") as console:
            self.supervisor = subprocess.Popen(
                [*alone, "sh", "-c", START, "sh", overlay, str(files / "root"), *map(str, self.groups), "--", *command],
                env={"PATH": os.environ["PATH"], "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Wait until it has booted and its second interface is on the wire."""
        assert self.supervisor is not None
        services = ("ssh.service", "systemd-networkd.service")
        up = wait_for(lambda: self.find_leader() and self.run("systemctl", "is-active", *services).code == 0, 60)
        assert up, f"{self.name} does not boot: {(self.directory / 'console').read_text(errors='replace')[-2000:]}"
        subprocess.run(["ip", "-n", self.network.name, "link", "set", self.wire, "master", "wire", "up"], check=True)
        self.run("ip", "link", "set", "wire0", "up")
        assert wait_for(lambda: self.network.run("ping", "-c1", "-W1", self.address).code == 0), f"{self.name} has no network"

    def find_leader(self) -> bool:
        """Look for the process that is PID 1 inside."""
        assert self.supervisor is not None
        assert self.supervisor.poll() is None, (self.directory / "console").read_text(errors="replace")[-2000:]
        with contextlib.suppress(OSError, ValueError):
            for nspawn in children(self.supervisor.pid):
                for child in children(nspawn):
                    if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                        self.leader = child
                        return True
        return False

    def power_off(self) -> None:
        """Pull the plug: nothing on it is told, and its files stay as they are."""
        assert self.supervisor is not None
        self.supervisor.kill()
        self.supervisor.wait(20)
        assert wait_for(lambda: not Path(f"/proc/{self.leader}").exists(), 20)
        self.supervisor, self.leader = None, 0
        remove_groups(self.groups)

    @contextlib.contextmanager
    def off(self) -> Iterator[None]:
        """Switch it off, and on again in the end."""
        self.power_off()
        try:
            yield
        finally:
            self.start()
            self.wait()

    def argv(self, *words: str) -> list[str]:
        """Return the command that runs something on it."""
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return ["nsenter", "--target", str(self.leader), "--all", "--wd=/", "env", "-i", path, "LC_ALL=C.UTF-8", *words]

    def run(self, *words: str, timeout: float = 60, text: str = "") -> Done:
        """Run a command on it, as root."""
        done = subprocess.run(
            self.argv(*words),
            input=text,
            text=True,
            errors="replace",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=timeout,
        )
        return Done(done.returncode, done.stdout)

    def popen(self, *words: str) -> subprocess.Popen[str]:
        """Start a command on it, as root."""
        return subprocess.Popen(
            self.argv(*words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )

    def processes(self) -> dict[int, list[str]]:
        """Return the command lines of its processes, by the ids they have inside."""
        return {pid: words for pid, (words, dummy) in self._processes().items()}

    def ours(self, mark: str = "") -> dict[int, list[str]]:
        """Return the processes that experiments have on it, all or those with this mark (``project/experiment``)."""
        return {pid: words for pid, (words, found) in self._processes().items() if found and found.endswith(mark)}

    def _processes(self) -> dict[int, tuple[list[str], str]]:
        found = json.loads(self.run("python3", "-Ic", PROCESSES).out)
        return {int(pid): (words, mark) for pid, (words, mark) in found.items()}

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        """Kill a process by the id it has inside."""
        assert self.run("kill", f"-{int(number)}", str(pid)).code == 0

    def cgroup(self, pid: int) -> str:
        """Return where a process sits in systemd's tree of control groups."""
        lines = self.run("cat", f"/proc/{pid}/cgroup").out.splitlines()
        return next((line.split(":", 2)[2] for line in lines if ":name=systemd:" in line), lines[-1].split(":", 2)[2])

    def news(self, before: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Return what is not as in an earlier listing: what it was, what it is."""
        found = {}
        for key, now in self.listing().items():
            old = before[key]
            if isinstance(now, dict):
                now, old = set(now.items()), set(old.items())
            if now != old:
                found[key] = (old - now, now - old) if isinstance(now, set) else (old, now)
        return found

    def listing(self) -> dict[str, Any]:
        """Everything an experiment could leave behind, as the host itself shows it."""
        units = self.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "*benito*")
        return {
            "processes": {" ".join(words) for words in self.ours().values()},
            "links": {link["ifname"] + " " + link.get("ifalias", "") for link in json.loads(self.run("ip", "-json", "link", "show").out)},
            "addresses": {
                f"{link['ifname']} {address['local']}/{address['prefixlen']}"
                for link in json.loads(self.run("ip", "-json", "address", "show").out)
                for address in link["addr_info"]
                if address["family"] == "inet"
            },
            # Those of IPv6's own addresses come when the kernel has made sure of them.
            "routes": {
                line
                for line in self.run("ip", "route", "show", "table", "all", "type", "unicast").out.splitlines()
                if not line.startswith("fe80::")
            },
            "firewall": self.run("nft", "list", "ruleset").out,
            "mounts": {line.split()[1] for line in self.run("cat", "/proc/mounts").out.splitlines()},
            # The slice of all experiments is the host's, and stays when it is empty.
            "units": {line.split()[0] for line in units.out.splitlines()} - {"benito.slice"},
            "listening": set(self.run("ss", "-Hlntu").out.splitlines()),
            "forwarding": self.run("sysctl", "-n", "net.ipv4.ip_forward").out.strip(),
            "files": self.files(),
        }

    def files(self) -> dict[str, str]:
        """Return the files that are not those of a fresh Debian, with what is in them."""
        upper = self.directory / "upper"
        found = {}
        for path in upper.rglob("*"):
            name = str(path.relative_to(upper))
            if not name.startswith(RESTLESS) and name != STATE.lstrip("/"):
                with contextlib.suppress(OSError):
                    found[name] = hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path.is_file() and not path.is_symlink() else ""
        return found


# Prints every process with its words and the mark in its environment.
PROCESSES = """
import json, os
found = {}
for entry in os.listdir("/proc"):
    if entry.isdigit():
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                words = file.read().decode(errors="replace").rstrip(chr(0)).split(chr(0))
            with open(f"/proc/{entry}/environ", "rb") as file:
                variables = file.read().decode(errors="replace").split(chr(0))
        except OSError:
            continue
        if words != [""]:
            marks = [word.partition("=")[2] for word in variables if word.startswith("BENITO_MARK=")]
            found[entry] = words, (marks or [""])[0]
print(json.dumps(found))
"""


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def make_groups(name: str) -> list[Path]:
    """Make a control group in each of the trees that systemd uses."""
    made = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        dummy, place, kind, options = line.split()[:4]
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            path = Path(place) / name
            path.mkdir(exist_ok=True)
            made.append(path)
    return made


def remove_groups(groups: list[Path]) -> None:
    """Remove control groups and what is below them; the processes in them have ended or are about to."""
    for group in groups:
        deadline = time.monotonic() + 10
        while group.exists() and time.monotonic() < deadline:
            for path in [*sorted(group.rglob("*"), reverse=True), group]:
                with contextlib.suppress(OSError):
                    if path.is_dir():
                        path.rmdir()
            time.sleep(0.05)


def make_hosts(network: Network, root: Path, directory: Path, names: Sequence[str] = NAMES) -> list[Host]:
    """Make the hosts and a key for them, and switch them on."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "controller", "-f", str(network.home / "id_ed25519")], check=True)
    hosts = [Host(name, network, root, directory / name) for name in names]
    for host in hosts:
        host.prepare()
    (network.home / "known_hosts").write_text("".join(f"{host.address} {host.host_key}\n" for host in hosts))
    for host in hosts:
        host.start()
    for host in hosts:
        host.wait()
    return hosts


def remove_hosts(hosts: list[Host], directory: Path) -> None:
    """Switch the hosts off and remove their files."""
    for host in hosts:
        if host.supervisor:
            host.power_off()
        subprocess.run(["rm", "-rf", f"/run/systemd/nspawn/propagate/{host.network.name}-{host.name}"], check=False)
    shutil.rmtree(directory, ignore_errors=True)


__all__ = [
    "ADDRESSES",
    "ALL_NAMES",
    "CONTROLLER",
    "NAMES",
    "ROOT",
    "STATE",
    "Done",
    "Host",
    "Network",
    "make_hosts",
    "remove_hosts",
    "wait_for",
]

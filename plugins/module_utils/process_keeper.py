# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor of an experiment's process nodes on one host: a program of its own, with nothing but the standard library.

It is copied into the experiment's directory and runs as root: ``python3 -I .../nodes/keeper.py``. Beside it lie ``nodes.json``, what is
wanted (read again on SIGHUP; only nodes whose entry differs are touched), and ``state.json``, what is.

A node is a set of namespaces that this process holds by open descriptors, and nothing else: no process, no mount on the host. All
nodes share one pid namespace, whose init ends with the supervisor by the kernel's hand, and takes with it whatever runs in any node. Who
is root in a node is an unprivileged account outside (``account``: uid, gid and the first of 65535 further ids; uid 0 for the host's own
root), with all rights over the node's network and none over the host. A node that is ``physical`` is in the host's own network: it has
TAPs there, and a mount namespace for its start command.

An entry of ``nodes``:

    id, name, kind, home         its short name, its name, process or physical, its directory
    boot                         a number: the node boots again when it differs
    plugs                        [DEVICE, MAC, DIRECTORY of a switch, PORT, LABEL]
    network                      [UNDO, DO] pairs of lines for ``ip -batch``; those that are gone are undone, those that are new done
    mounts                       [SOURCE, PLACE, WRITABLE]
    files                        [SOURCE, PLACE]: single files, exchanged while the node runs
    command                      what its shell runs at each boot

``groups`` are, by short name of a node, directories of the control groups that its processes join.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import hashlib
import json
import os
import resource
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x04000000, 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC, MS_SLAVE = 1, 2, 4, 8, 32, 4096, 8192, 16384, 1 << 19
MNT_DETACH = 2
PR_SET_PDEATHSIG = 1
TUNSETIFF, TUNSETPERSIST, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x400454CB, 0x0002, 0x1000
NS_GET_PARENT = 0xB702
# In this order a node is entered: the user namespace last, since in it there is no right to the others.
SPACES = {"mnt": CLONE_NEWNS, "uts": CLONE_NEWUTS, "net": CLONE_NEWNET, "pid": CLONE_NEWPID, "user": CLONE_NEWUSER}
# Nodes that are made at a time, and seconds that making one may take.
WINDOW, PATIENCE = 16, 30.0
# Seconds between two writings of the state, and until those who do not end by themselves are ended.
PAUSE, GRACE = 0.2, 2.0
# Seconds until a plug that ended is started again.
AGAIN = 0.3
# Seconds that a start command waits for its node to be plugged in.
PLUGGED = 5.0
LOG = "/var/benito/log/start_command"
# Where a new root can be put together: a place that is covered afterwards.
SPARE = "/sys"
# What every node's network is like: it forwards, answers for the interface asked and speaks for the address asked for, takes packets
# from wherever they come, and neither gives nor takes hints about shorter ways.
INTERFACE = {
    "ipv4/conf/{}/arp_ignore": "1",
    "ipv4/conf/{}/arp_announce": "2",
    "ipv4/conf/{}/rp_filter": "0",
    "ipv4/conf/{}/send_redirects": "0",
    "ipv4/conf/{}/accept_redirects": "0",
    "ipv6/conf/{}/disable_ipv6": "1",
}
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "SHELL": "/bin/sh",
    "LANG": "C.UTF-8",
}
LIBC = ctypes.CDLL(None, use_errno=True)
LIMIT = (1024, 4096)


def call(name: str, *words: Any) -> None:
    """Call the kernel through the C library. Raises OSError."""
    if getattr(LIBC, name)(*words) < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")


def mount(source: str, place: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount something. Raises OSError, which names the place."""
    try:
        call("mount", source.encode(), place.encode(), kind.encode() or None, ctypes.c_ulong(flags), options.encode() or None)
    except OSError as error:
        raise OSError(error.errno, f"cannot mount {source} at {place}: {os.strerror(error.errno or 0)}") from error


def digest(text: bytes) -> str:
    """Return by what the state says which configuration it is about."""
    return hashlib.sha256(text).hexdigest()[:16]


def key_of(entry: dict[str, Any]) -> str:
    """Return by what the state says which entry a node is made by."""
    return digest(json.dumps(entry, sort_keys=True).encode())


def die_with_parent(parent: int) -> None:
    """Let the kernel end this child when the supervisor ends, however that comes."""
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() not in (parent, 0):  # 0: it is outside of our pid namespace
        os._exit(1)


def enter(spaces: dict[str, int]) -> None:
    """Go into a node."""
    for name in SPACES:
        if name in spaces:
            call("setns", spaces[name], SPACES[name])


def inhabit(spaces: dict[str, int], account: list[int]) -> None:
    """Go into a node as its root; where it has no user namespace, as the account itself."""
    enter(spaces)
    uid, gid = (0, 0) if "user" in spaces else account[:2]
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def tune(which: str) -> None:
    """Let an interface, those that there are or those to come, behave as every node's do."""
    for name, value in INTERFACE.items():
        if which == "all" and name.startswith("ipv6"):
            continue  # Whoever talks to itself may do so by either.
        with contextlib.suppress(FileNotFoundError):
            write(f"/proc/sys/net/{name.format(which)}", value)


def become(account: list[int]) -> dict[str, int]:
    """Make the namespaces user, net and uts, owned by an account, and go into the latter two. Returns descriptors of all.

    They are made by a child in the user namespace, so that it owns them, and entered by us, who stay the host's root outside of it.
    """
    uid, gid, first = account
    if uid == 0:
        call("unshare", CLONE_NEWNET | CLONE_NEWUTS)
        return {name: os.open(f"/proc/self/ns/{name}", os.O_RDONLY) for name in ("net", "uts")}
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            call("unshare", CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWUTS)
            os.write(writer, b"+")
            signal.pause()
        finally:
            os._exit(1)
    try:
        os.close(writer)
        if not os.read(reader, 1):
            raise OSError(0, "namespaces cannot be made")
        os.close(reader)
        for what, outside in (("uid", uid), ("gid", gid)):
            write(f"/proc/{child}/{what}_map", f"0 {outside} 1\n1 {first} 65535\n")
        spaces = {name: os.open(f"/proc/{child}/ns/{name}", os.O_RDONLY) for name in ("user", "net", "uts")}
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    for name in ("net", "uts"):
        call("setns", spaces[name], SPACES[name])
    return spaces


def write(path: str, text: str) -> None:
    """Write to a file of the kernel."""
    handle = os.open(path, os.O_WRONLY)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)


class Grafts:
    """Places for mounts that the host lacks, made without touching its file system, in a mount namespace.

    The directory above such a place is covered by a small file system in memory, where everything that is in the directory has its
    place again, and the new one too.
    """

    def __init__(self) -> None:
        self.ours: set[int] = set()

    def provide(self, place: str) -> None:
        """Make sure of a directory. Raises OSError."""
        upper = place
        while not os.path.isdir(upper):
            upper = os.path.dirname(upper)
        if upper != place:
            if os.stat(upper).st_dev not in self.ours:
                self.cover(upper)
            os.makedirs(place, 0o755)

    def cover(self, upper: str) -> None:
        """Cover a directory. That of all is made elsewhere, where we have something of our own later, and then put into its place."""
        handle = os.open(upper, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        below = f"/proc/self/fd/{handle}"
        entries = [(entry.name, entry.is_symlink(), entry.is_dir()) for entry in os.scandir(upper)]
        target = upper if upper != "/" else SPARE
        mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, f"size=1m,mode={os.stat(upper).st_mode & 0o7777:o}")
        for name, link, folder in entries:
            path = f"{target}/{name}"
            if link:
                os.symlink(os.readlink(f"{below}/{name}"), path)
                continue
            if folder:
                os.mkdir(path)
            else:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC))
            if path != f"{SPARE}{SPARE}":
                mount(f"{below}/{name}", path, flags=MS_BIND | MS_REC)
        os.close(handle)
        if target != upper:
            os.chdir(target)
            mount(".", "/", flags=MS_MOVE)
            os.chroot(".")
        self.ours.add(os.stat(upper).st_dev)


def furnish(entry: dict[str, Any], account: list[int]) -> None:
    """Make the mounts of a node, in its mount namespace."""
    grafts = Grafts()
    for dummy, place, dummy in entry["mounts"]:
        grafts.provide(place)
    # The host's own is right for who is in the host's network, but where it gave its place away.
    if entry["kind"] == "process" or not os.path.ismount(SPARE):
        mount("sysfs", SPARE, "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY)
    if entry["kind"] == "process":
        uid, dummy, first = account
        # Groups inside are counted from the first further id, which is 1.
        tty = first + 4 if uid else 5
        mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, f"newinstance,ptmxmode=0666,mode=0620,gid={tty}")
    for source, place, writable in entry["mounts"]:
        mount(source, place, flags=MS_BIND)
        if not writable:
            mount("none", place, flags=MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)
    for source, place in entry["files"]:
        if os.path.exists(place):
            mount(source, place, flags=MS_BIND)


def open_taps(entry: dict[str, Any]) -> list[int]:
    """Make the TAPs of a node, in its network namespace."""
    taps = []
    for plug in entry["plugs"]:
        if os.path.exists(f"/proc/sys/net/ipv4/conf/{plug[0]}"):
            raise OSError(0, f"there is an interface {plug[0]} already")
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", plug[0].encode(), IFF_TAP | IFF_NO_PI))
        if entry["kind"] == "process":
            # It stays when it is closed, and goes with the network: the kernel removes many at once in the time that one alone takes.
            fcntl.ioctl(tap, TUNSETPERSIST, 1)
        taps.append(tap)
    return taps


def run_ip(lines: list[str], output: int) -> NoReturn:
    """Become an ``ip`` that carries out these lines."""
    batch = os.memfd_create("batch")
    os.write(batch, "".join(f"{line}\n" for line in lines).encode())
    os.lseek(batch, 0, os.SEEK_SET)
    for handle, number in ((batch, 0), (output, 1), (output, 2)):
        os.dup2(handle, number)
    os.execvpe("ip", ["ip", "-force", "-batch", "-"], ENVIRONMENT)  # noqa: S606


def build(entry: dict[str, Any], account: list[int], channel: socket.socket) -> NoReturn:
    """Make a node, in a child: hand its namespaces and TAPs to the supervisor, and set up its network."""
    call("unshare", CLONE_NEWNS)
    mount("none", "/", flags=MS_REC | MS_SLAVE)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    spaces, lines = {}, []
    if entry["kind"] == "process":
        spaces, lines = become(account), ["link set dev lo up"]
        write("/proc/sys/net/ipv4/ip_forward", "1")
        tune("all")
        tune("default")
        socket.sethostname(entry["name"])
    taps = open_taps(entry)
    for plug in entry["plugs"]:
        tune(plug[0])
    furnish(entry, account)
    spaces["mnt"] = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    socket.send_fds(channel, [" ".join(spaces).encode()], [*spaces.values(), *taps])
    channel.recv(1)
    for device, mac, *dummy in entry["plugs"]:
        lines += [f"link set dev {device} address {mac}", f"link set dev {device} alias {os.environ.get('BENITO_MARK', '-')}"]
    run_ip(lines + [done for dummy, done in entry["network"]], channel.fileno())


def complaint(text: bytes, status: int) -> str:
    """Return what an ``ip`` or one of our children had to say; empty when all went well."""
    said = [line for line in text.decode(errors="replace").splitlines() if line.strip() and not line.startswith("Command failed")]
    if status == 0:
        return ""
    return "".join(c for c in (said[0] if said else f"ended with status {status}")[:300] if c.isprintable())


class Node:
    """A node as the supervisor keeps it. ``state``: making, booted, failed, ending."""

    def __init__(self, entry: dict[str, Any]) -> None:
        self.entry = entry
        self.key = key_of(entry)
        self.state = "making"
        self.error = ""
        self.began = time.monotonic()
        self.took: float | None = None
        self.booted = 0.0
        self.spaces: dict[str, int] = {}
        self.taps: list[int] = []
        self.command = 0
        self.status: int | str | None = None
        self.plugs: dict[str, str] = {f"{entry['id']}:{plug[0]}": "not yet" for plug in entry["plugs"]}
        # When it ends: until when it may do so by itself, and whether it was asked to.
        self.deadline = 0.0
        self.asked = False

    def facts(self) -> dict[str, Any]:
        """Return what the state says of it."""
        return {
            "entry": self.key,
            "state": self.state,
            "error": self.error,
            "took": self.took,
            "since": self.booted,
            "spaces": self.spaces,
            "command": self.command,
            "exit_status": self.status,
            "unplugged": {key.split(":", 1)[1]: why for key, why in self.plugs.items() if why},
        }

    def close(self) -> None:
        """Let go of everything: with the last descriptor the kernel takes the node apart."""
        for handle in [*self.spaces.values(), *self.taps]:
            os.close(handle)
        self.spaces, self.taps = {}, []


class Child:
    """A child that makes or changes a node, and what it says."""

    def __init__(self, pid: int, channel: socket.socket, node: Node, then: Callable[[str], None]) -> None:
        self.pid = pid
        self.channel = channel
        self.node = node
        self.then = then
        self.text = b""
        self.first = True
        self.until = time.monotonic() + PATIENCE


class Keeper:
    """All process nodes of the experiment on this host."""

    def __init__(self, home: str) -> None:
        self.home = home
        self.pid = os.getpid()
        self.selector = selectors.DefaultSelector()
        self.config = ""
        self.account = [0, 0, 0]
        self.plug_user = [0, 0]
        self.groups: dict[str, list[str]] = {}
        self.nodes: dict[str, Node] = {}
        # Those that are wanted in place of one that is still ending, or that wait for their turn.
        self.waiting: dict[str, dict[str, Any]] = {}
        self.ending: list[Node] = []
        self.children: dict[int, Child] = {}
        self.commands: dict[int, Node] = {}
        self.commands_due: list[Node] = []
        self.news = self.stop = False
        self.dirty = True
        self.written = 0.0
        self.pause = PAUSE
        self.scanned = 0.0
        self.plug: socket.socket | None = None
        self.plug_pid = 0
        self.plug_again = 0.0
        self.outside = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self.init = self.start_init()
        self.inside = os.open(f"/proc/{self.init}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)

    def start_init(self) -> int:
        """Make the pid namespace of the nodes, with an init that only reaps, and ends when we end."""
        call("unshare", CLONE_NEWPID)
        pid = self.fork()
        if pid == 0:
            try:
                # Who ignores the end of children has none left over. It is all that this init does.
                signal.signal(signal.SIGCHLD, signal.SIG_IGN)
                os.execvp("sleep", ["sleep", "infinity"])  # noqa: S606
            finally:
                os._exit(1)
        call("setns", self.outside, CLONE_NEWPID)
        return pid

    def fork_inside(self) -> int:
        """Fork a child in the pid namespace of the nodes."""
        call("setns", self.inside, CLONE_NEWPID)
        pid = -1
        try:
            pid = self.fork()
        finally:
            if pid:
                call("setns", self.outside, CLONE_NEWPID)
        return pid

    def fork(self) -> int:
        """Fork a child that ends with us."""
        pid = os.fork()
        if pid == 0:
            try:
                signal.set_wakeup_fd(-1)
                for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                    signal.signal(number, signal.SIG_DFL)
                die_with_parent(self.pid)
            except BaseException:
                os._exit(1)
        return pid

    def child(self, node: Node, work: Callable[[socket.socket], object], then: Callable[[str], None]) -> None:
        """Run something in a child, in the nodes' pid namespace; ``then`` gets what went wrong."""
        ours, theirs = socket.socketpair()
        try:
            pid = self.fork_inside()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if pid == 0:
            status = 1
            try:
                ours.close()
                work(theirs)
                status = 0
            except BaseException as error:
                with contextlib.suppress(OSError):
                    text = error.strerror if isinstance(error, OSError) and error.strerror else f"{type(error).__name__}: {error}"
                    theirs.sendall(f"{text}\n".encode())
            os._exit(status)
        theirs.close()
        ours.setblocking(False)
        made = Child(pid, ours, node, then)
        self.children[pid] = made
        self.selector.register(ours, selectors.EVENT_READ, lambda: self.hear(made))

    def hear(self, child: Child) -> None:
        """Take what a child says: first the descriptors of its node, if it makes one, then complaints, then its end."""
        try:
            text, handles, flags, dummy = socket.recv_fds(child.channel, 8192, 250)
        except BlockingIOError:
            return
        except OSError:
            text, handles, flags = b"", [], 0
        if flags & socket.MSG_CTRUNC:
            child.text += b"this host lets a process have too few open files for so many nodes\n"
        if handles:
            names = text.decode().split()
            child.node.spaces = dict(zip(names, handles))
            child.node.taps = handles[len(names) :]
            for handle in handles:
                os.set_inheritable(handle, False)
            child.channel.send(b"+")
        elif text:
            child.text += text[: max(0, 8192 - len(child.text))]
        else:
            self.selector.unregister(child.channel)
            child.channel.close()
            # It may have closed its mouth and live on: its end is what counts.
            dummy, status = os.waitpid(child.pid, 0)
            del self.children[child.pid]
            self.dirty = True
            child.then(complaint(child.text, status))

    # What is wanted

    def reload(self) -> None:
        """Take the list over: what is in it as before is not touched."""
        try:
            with open(f"{self.home}/nodes.json", "rb") as file:
                text = file.read()
            wanted = json.loads(text)
            entries = {entry["id"]: entry for entry in wanted["nodes"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            sys.stderr.write(f"nodes.json: {error}\n")
            sys.stderr.flush()
            return
        self.config = digest(text)
        self.account, self.plug_user, self.groups = wanted["account"], wanted["plug_user"], wanted["groups"]
        self.waiting = {}
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
        self.dirty = True
        self.proceed()

    def proceed(self) -> None:
        """Make what waits for its turn."""
        busy = {node.entry["id"] for node in self.ending}
        for id_ in list(self.waiting):
            if len(self.children) >= WINDOW:
                return
            if id_ not in busy:
                self.make(self.waiting.pop(id_))

    def make(self, entry: dict[str, Any]) -> None:
        """Begin with a node."""
        node = Node(entry)
        self.nodes[entry["id"]] = node
        try:
            self.child(node, lambda channel: build(entry, self.account, channel), lambda fault: self.made(node, fault))
        except OSError as error:
            node.state, node.error = "failed", str(error)
            self.dirty = True

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
        self.plug_in(node)
        if node.entry["command"]:
            self.commands_due.append(node)

    def change(self, node: Node, entry: dict[str, Any]) -> None:
        """Let a node that runs become as an entry that differs in what can be changed meanwhile."""
        old, node.entry, node.key = node.entry, entry, key_of(entry)
        undo = [pair[0] for pair in old["network"] if pair not in entry["network"] and pair[0]]
        again, node.error = bool(node.error), ""
        lines = [done for dummy, done in entry["network"]] if again or entry["network"] != old["network"] else []
        files = [pair for pair in entry["files"] if again or pair not in old["files"]]
        if not undo and not lines and not files:
            return
        node.state = "making"

        def work(channel: socket.socket) -> None:
            enter({name: handle for name, handle in node.spaces.items() if name != "user"})
            for source, place in files:
                with contextlib.suppress(OSError):
                    call("umount2", place.encode(), MNT_DETACH)
                if os.path.exists(place):
                    mount(source, place, flags=MS_BIND)
            if undo:
                # What went with something else need not be an error.
                argv = ["ip", "-force", "-batch", "-"]
                subprocess.run(argv, input="\n".join(undo).encode(), capture_output=True, env=ENVIRONMENT, check=False)
            if lines:
                # All of it: a route goes with the address it leads over.
                run_ip(lines, channel.fileno())

        def then(fault: str) -> None:
            if node.state == "making":
                node.state, node.error = "booted", fault

        try:
            self.child(node, work, then)
        except OSError as error:
            then(str(error))

    # The start command

    def start_commands(self) -> None:
        """Run the start commands that are due, when all nodes are made and their own is plugged in, or takes too long for that."""
        if self.waiting or any(node.state == "making" for node in self.nodes.values()):
            return
        due, self.commands_due = self.commands_due, []
        for node in due:
            if node.state == "booted" and any(node.plugs.values()) and time.time() < node.booted + PLUGGED:
                self.commands_due.append(node)
            elif node.state == "booted":
                self.start_command(node)

    def start_command(self, node: Node) -> None:
        """Run the start command of a node, in it, with its output in the node's log files."""
        try:
            pid = self.fork_inside()
        except OSError as error:
            node.error = f"its start command cannot be run: {error.strerror}"
            return
        if pid == 0:
            try:
                self.be_command(node)
            finally:
                os._exit(126)
        self.commands[pid] = node
        node.command, node.status = pid, "running"
        self.dirty = True

    def be_command(self, node: Node) -> NoReturn:
        """Become the start command."""
        os.setsid()
        resource.setrlimit(resource.RLIMIT_NOFILE, LIMIT)
        for group in self.groups.get(node.entry["id"], []):
            write(f"{group}/cgroup.procs", "0")
        inhabit(node.spaces, self.account)
        text = f"command: {node.entry['command']}\nstarted: {stamp()}\n"
        os.umask(0o022)
        append(f"{LOG}.log", text)
        os.chdir("/root")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        handles = [os.open("/dev/null", os.O_RDONLY), os.open(f"{LOG}.out", flags, 0o644), os.open(f"{LOG}.err", flags, 0o644)]
        for number, handle in enumerate(handles):
            os.dup2(handle, number)
        mark = {"BENITO_MARK": os.environ.get("BENITO_MARK", "")}
        os.execve("/bin/sh", ["/bin/sh", "-c", node.entry["command"]], {**ENVIRONMENT, **mark})  # noqa: S606

    def command_ended(self, node: Node, status: int) -> None:
        """Note how a start command ended."""
        code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        node.command, node.status = 0, code
        self.dirty = True
        if node.state == "booted" and node.spaces:

            def work(channel: socket.socket) -> None:
                inhabit(node.spaces, self.account)
                append(f"{LOG}.log", f"ended: {stamp()}\nexit status: {code}\n")

            with contextlib.suppress(OSError):
                self.child(node, work, lambda fault: None)

    # The end of a node

    def end(self, node: Node) -> None:
        """Begin to end a node: whoever runs in it is asked to."""
        del self.nodes[node.entry["id"]]
        for id_ in node.plugs:
            self.tell_plug({"drop": id_})
        if not node.spaces and not any(child.node is node for child in self.children.values()):
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
        living = self.inhabitants(self.ending)
        making = {id(child.node) for child in self.children.values()}
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
                self.dirty = True
        self.proceed()

    def inhabitants(self, nodes: list[Node]) -> dict[int, list[int]]:
        """Find the processes in nodes: those in one of their namespaces, or in a user namespace below."""
        whose = {}
        for node in nodes:
            for name, handle in node.spaces.items():
                whose[name, os.fstat(handle).st_ino] = id(node)
        found: dict[int, list[int]] = {}
        ours = os.stat("/proc/self/ns/pid").st_ino
        mine = os.stat("/proc/self/ns/user").st_ino
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            with contextlib.suppress(OSError):
                spaces = f"/proc/{entry}/ns"
                if os.stat(f"{spaces}/pid").st_ino == ours:
                    continue
                where = [(name, os.stat(f"{spaces}/{name}").st_ino) for name in ("net", "mnt", "uts")]
                owner = next((whose[space] for space in where if space in whose), 0) or above(f"{spaces}/user", whose, mine)
                if owner:
                    found.setdefault(owner, []).append(int(entry))
        return found

    # The plug

    def plug_in(self, node: Node) -> None:
        """Hand the TAPs of a node to the plug."""
        if self.plug is None:
            self.start_plug()
        for (device, dummy, switch, port, label), tap in zip(node.entry["plugs"], node.taps):
            self.tell_plug({"add": f"{node.entry['id']}:{device}", "switch": switch, "port": port, "label": label}, tap)

    def tell_plug(self, order: dict[str, Any], *handles: int) -> None:
        """Give an order to the plug; when it is gone, its successor gets them all."""
        if self.plug:
            with contextlib.suppress(OSError):
                socket.send_fds(self.plug, [json.dumps(order).encode()], list(handles))

    def start_plug(self) -> None:
        """Start the plug, as the service account, outside of the nodes."""
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            pid = self.fork()
        except OSError:
            self.plug_again = time.monotonic() + AGAIN
            return
        if pid == 0:
            try:
                os.setgroups([])
                os.setresgid(self.plug_user[1], self.plug_user[1], self.plug_user[1])
                os.setresuid(self.plug_user[0], self.plug_user[0], self.plug_user[0])
                # The kernel forgets it when the account changes.
                die_with_parent(self.pid)
                os.set_inheritable(theirs.fileno(), True)
                os.execv(sys.executable, [sys.executable, "-I", f"{self.home}/plug.py", str(theirs.fileno())])  # noqa: S606
            finally:
                os._exit(126)
        theirs.close()
        self.plug, self.plug_pid, self.plug_again = ours, pid, 0.0
        self.selector.register(ours, selectors.EVENT_READ, self.hear_plug)
        self.dirty = True

    def hear_plug(self) -> None:
        """Take what the plug says of its TAPs."""
        try:
            text = self.plug.recv(65536, socket.MSG_DONTWAIT) if self.plug else b""
        except BlockingIOError:
            return
        except OSError:
            text = b""
        if not text:
            self.lose_plug()
            return
        with contextlib.suppress(ValueError):
            for key, why in json.loads(text).items():
                node = self.nodes.get(key.split(":", 1)[0])
                if node and key in node.plugs:
                    node.plugs[key] = str(why)[:200]
                    self.dirty = True

    def lose_plug(self) -> None:
        """The plug is gone: the TAPs are still ours, and it is started again."""
        if self.plug:
            self.selector.unregister(self.plug)
            self.plug.close()
        self.plug, self.plug_pid = None, 0
        self.plug_again = time.monotonic() + AGAIN
        for node in self.nodes.values():
            node.plugs = dict.fromkeys(node.plugs, "the plug is gone")
        self.dirty = True

    # The loop

    def reap(self) -> None:
        """Take the ends of our children."""
        while True:
            try:
                # Children that still speak are waited for where they are heard.
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if info is None:
                return
            pid = info.si_pid
            if pid in self.children:
                # Another may have ended behind it: look at each that we know.
                for other in [*self.commands, self.plug_pid, self.init]:
                    if other and other not in self.children:
                        self.reap_one(other)
                return
            self.reap_one(pid)

    def reap_one(self, pid: int) -> None:
        """Take the end of one child, if it has ended."""
        try:
            ended, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return
        if not ended:
            return
        if pid in self.commands:
            self.command_ended(self.commands.pop(pid), status)
        elif pid == self.init:
            sys.stderr.write("the init of the nodes has ended\n")
            self.stop = True

    def write_state(self) -> None:
        """Write the state, whole or not at all, and not too often."""
        settled = not self.waiting and not self.children and not self.ending and not self.commands_due
        if not self.dirty or (not settled and time.monotonic() < self.written + self.pause):
            return
        began = time.monotonic()
        state = {
            "pid": self.pid,
            "plug": self.plug_pid,
            "inside": self.inside,
            "config": self.config,
            "settled": settled,
            "left": len(self.waiting) + len(self.children) + len(self.ending),
            "nodes": {id_: node.facts() for id_, node in self.nodes.items()},
        }
        draft = f"{self.home}/state.json.new"
        self.written = time.monotonic()
        try:
            with open(draft, "w", encoding="utf-8") as file:
                json.dump(state, file)
            os.replace(draft, f"{self.home}/state.json")
        except OSError:
            # No space, perhaps: the nodes live on, and it is tried again.
            return
        self.dirty, self.written = False, time.monotonic()
        # The more there is to write, the less often: nodes are waiting to be made.
        self.pause = max(PAUSE, 20 * (self.written - began))

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
            timeout = 0.05 if self.ending else PAUSE if self.dirty or self.plug_again or self.children or self.commands_due else None
            for key, dummy in self.selector.select(timeout):
                key.data()
            self.reap()
            self.overdue()
            self.finish()
            self.proceed()
            self.start_commands()
            if self.plug_again and time.monotonic() >= self.plug_again:
                self.start_plug()
                for node in self.nodes.values():
                    if node.taps and node.state != "failed":
                        self.plug_in(node)
            self.write_state()

    def overdue(self) -> None:
        """End children that take too long."""
        for child in self.children.values():
            if time.monotonic() > child.until:
                child.text += b"\ntook too long\n"
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGKILL)


def differs(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tell whether a node must be made anew to become as the other entry: what is not listed here can change while it runs."""
    soft = ("network", "files", "command", "told")
    return {k: v for k, v in one.items() if k not in soft} != {k: v for k, v in other.items() if k not in soft}


def above(path: str, whose: dict[tuple[str, int], int], mine: int) -> int:
    """Return whose user namespace this is or is below of; 0 for nobody's."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while True:
            inode = os.fstat(handle).st_ino
            if inode == mine or ("user", inode) in whose:
                return whose.get(("user", inode), 0)
            upper = fcntl.ioctl(handle, NS_GET_PARENT)
            os.close(handle)
            handle = upper
    finally:
        os.close(handle)


def stamp() -> str:
    """Return the time, as logs have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def append(path: str, text: str) -> None:
    """Add to a file that its owner's account may have replaced by something else."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)


if __name__ == "__main__":
    # Some descriptors for each node and interface: as many as the host allows. Start commands get what was usual.
    LIMIT = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT[1], LIMIT[1]))
    Keeper(os.path.dirname(os.path.abspath(__file__))).run()

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Templates: guests that were booted once, without an identity, and put to sleep, for others of the same shape to be woken up from.

A template is a directory KEY with ``memory``, which clones map copy-on-write, ``state``, of the devices, ``manifest.json``, and for an
image with a disk ``disk.qcow2``, which has what the template wrote there, and over which clones write. KEY is a hash of everything that a
sleeping guest knows: the content of the files it was booted from and of QEMU, the processor, the machine with its number and kind of
devices. It is made in a directory .KEY beside its place, which is also the lock, and renamed when it is whole; one that is not as its
manifest says, or that does not load, is thrown away. It has nothing of an experiment: no name, no key, no network.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from . import disks
from .accounts import account
from .boot_state import read
from .digests import digests
from .errors import HostError
from .guest import Guest
from .processes import Process, alive, marked, spawn, stop, tail
from .qemu import Machine, files_in, template_command
from .qmp import Qmp, QmpError
from .rundir import ACCOUNT, PASSAGE, RunDir, own_directory, passage, read_json, remove, write_file, write_json

CACHE = "/var/cache/benito/templates"
# Raise this when the same inputs would give another template.
RECIPE = 2
# A template takes as long as a guest that is booted, and a little: it pays from this number of guests on, if no later swap-in uses it.
PAYS = 3
# How many are kept.
MOST = 16
# MB beside the memory, and beside that for what is written to a disk.
SLACK, DISK_SLACK = 32, 256
# What an image with a disk adds to a template.
DISK = "disk.qcow2"
# For how long, in seconds, nobody tries again by himself to make one that could not be made.
REMEMBERED = 24 * 3600
# What a template says and prints.
LARGEST_LOG = 1 << 20
TICK = 0.005
PIECE = 1 << 16


class TemplateError(HostError):
    """There is no template, or no guest can be woken up from it; the text says why."""


class NoSleep(TemplateError):
    """The guest that was to become a template did not fall asleep in time: perhaps its image cannot."""


@dataclass(frozen=True)
class Template:
    """A whole template.

    ``size`` is the guests' memory in MB, ``state`` the devices' state with the MACs of the template, ``disk`` the path of its disk.
    """

    path: str
    size: int
    state: bytes
    disk: str = ""

    def options(self) -> list[str]:
        """Return the words that make a command line of this shape a clone's, at its end."""
        return [*memory_options(self.size, type="file", share=False, **{"mem-path": f"{self.path}/memory"}), "-incoming", "defer"]

    def state_for(self, guest: Guest) -> bytes:
        """Return the devices' state with a guest's own MACs, which QEMU does not take from the command line then. Raises TemplateError."""
        state = self.state
        for place, mac in enumerate(macs(guest)):
            if unhex(template_mac(place)) not in state:
                raise TemplateError(f"the MAC of interface {place} is not in the state of its template")
            state = state.replace(unhex(template_mac(place)), unhex(mac))
        return state


def macs(guest: Guest) -> list[str]:
    """Return the MACs of a guest's interfaces in the order in which its machine has them."""
    return [*([guest.control.mac] if guest.control else []), *(nic.mac for nic in guest.nics)]


def template_mac(place: int) -> str:
    """Return the MAC that a template's interface has: a word that is found again in its state."""
    return f"b2:65:6e:69:74:{place:02x}"


def unhex(mac: str) -> bytes:
    """Return the bytes of a MAC."""
    return bytes.fromhex(mac.replace(":", ""))


def memory_options(size: int, type: str, **backend: Any) -> list[str]:
    """Return the words that give a guest its memory. The last device is what tells the guest's kernel that it is another one now."""
    words = json.dumps({"qom-type": f"memory-backend-{type}", "id": "ram", "size": size << 20, **backend})
    return ["-object", words, "-machine", "memory-backend=ram", "-device", '{"driver":"vmgenid","guid":"auto"}']


def cold_part(argv: Sequence[str]) -> list[str]:
    """Return the command line that a running guest would have if it had been booted."""
    words = list(argv)
    return words[: words.index("-object")] if words[-2:] == ["-incoming", "defer"] and "-object" in words else words


def shape(guest: Guest, home: str) -> Guest:
    """Return the guest that all of this one's shape have in common; what it shares are empty directories of ``home``."""
    control = replace(guest.control, mac=template_mac(0), address="", tap="control") if guest.control else None
    return Guest(
        name="template",
        id="template",
        image=guest.image,
        memory=guest.memory,
        cpus=guest.cpus,
        control=control,
        nics=tuple(replace(nic, mac=template_mac(place)) for place, nic in enumerate(guest.nics, start=1 if control else 0)),
        routes=(),
        unreachable=(),
        plain_names={},
        start_command="",
        failure_action="fatal",
        shares=tuple(replace(share, path=f"{home}/io") for share in guest.shares),
    )


def checked(directory: str) -> str:
    """Check the directory of templates, which becomes part of QEMU's options. Raises TemplateError."""
    if not re.match(r"(/[A-Za-z0-9._-]+)+\Z", directory) or ".." in directory:
        raise TemplateError(f"templates must be a plain absolute path, not {directory[:80]!r}")
    return directory


def inputs(machine: Machine, directory: str) -> dict[str, Any]:
    """Return what a template is made with, beside its shape: files, each with its digest, and the host's processor.

    Digests are remembered in the ``directory`` of templates. Raises TemplateError.
    """
    program = shutil.which("qemu-system-x86_64")
    if not program:
        raise TemplateError("there is no qemu-system-x86_64 on this host: the package qemu-system-x86 has it")
    paths = [path for path in (machine.kernel, machine.initrd, machine.disk, os.path.realpath(program)) if path]
    found = digests(directory, paths)
    missing = [path for path in paths if path not in found]
    if missing:
        raise TemplateError(f"{missing[0]} cannot be read")
    return {"files": [[path, found[path]] for path in paths], "processor": processor()}


def processor() -> str:
    """Return the host's processor: its name, and what it can do."""
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        lines = file.read().split("\n\n", 1)[0].splitlines()
    return "\n".join(line for line in lines if line.startswith(("vendor_id", "cpu family", "model", "stepping", "microcode", "flags")))


def key_of(guest: Guest, machine: Machine, made_with: Mapping[str, Any]) -> str:
    """Return the key of the template for a guest. ``made_with`` are the machine's `inputs`."""
    # Where the files lie does not matter, only what is in them; but the template's disk says over which it lies.
    nowhere = replace(machine, kernel="", initrd="")
    argv = template_command("", shape(guest, ""), nowhere, "own")
    content = [digest for dummy, digest in made_with["files"]]
    whole = [RECIPE, argv, memory_options(guest.memory, type="memfd", share=True), content, made_with["processor"]]
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:16]


def find(directory: str, key: str) -> Template | None:
    """Return a template that is there, whole and untouched; one that is not is thrown away."""
    path = f"{directory}/{key}"
    if not os.path.isdir(path):
        return None
    try:
        manifest = read_json(f"{path}/manifest.json")
        if manifest.get("parts") == parts(path):
            disk = f"{path}/{DISK}" if DISK in manifest["parts"] else ""
            with open(f"{path}/state", "rb") as file:
                found = Template(path, int(manifest["memory"]), file.read(), disk)
            os.utime(path)
            return found
    except (OSError, KeyError, ValueError):
        pass
    discard(path)
    return None


def parts(path: str) -> dict[str, list[int]]:
    """Return what the files of a template are known by. Whoever writes to them, as guests' account may to the memory, changes it."""
    found = {}
    for name in ("memory", "state"):
        status = os.stat(f"{path}/{name}")
        found[name] = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    if os.path.exists(f"{path}/{DISK}"):
        # Its inode changes with each guest that takes it as its own.
        found[DISK] = disks.facts(f"{path}/{DISK}")
    return found


def discard(path: str) -> None:
    """Throw a template away; it is never seen half removed. Clones that run keep what they have of it."""
    aside = f"{os.path.dirname(path)}/.old-{os.path.basename(path)}-{os.urandom(4).hex()}"
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, aside)
    remove(aside)


@contextlib.contextmanager
def drafting(directory: str, key: str) -> Iterator[str]:
    """Give an empty directory to make a template in, to one at a time. It is gone afterwards if it was not renamed."""
    passage(directory)
    draft = f"{directory}/.{key}"
    while True:
        with contextlib.suppress(FileExistsError):
            os.mkdir(draft)
        try:
            descriptor = os.open(draft, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # whoever was before us has just put it in its place
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if is_at(descriptor, draft):
            break
        os.close(descriptor)
    try:
        for leftover in os.listdir(draft):
            remove(f"{draft}/{leftover}")
        os.chmod(draft, PASSAGE)
        yield draft
    finally:
        if is_at(descriptor, draft):
            remove(draft)
        os.close(descriptor)


def failure(directory: str, key: str) -> str:
    """Return the path of what is remembered of a template that could not be made."""
    return f"{directory}/{key}.failed"


def failed(directory: str, key: str) -> str:
    """Return why a template could not be made, if it was tried lately; else nothing."""
    path = failure(directory, key)
    with contextlib.suppress(OSError):
        if abs(time.time() - os.stat(path).st_mtime) < REMEMBERED:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
        os.unlink(path)
    return ""


def is_at(descriptor: int, path: str) -> bool:
    """Tell whether a path leads to an open directory."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    return False


def ensure(rundir: RunDir, directory: str, guest: Guest, machine: Machine, patience: float) -> Template:
    """Return the template for a guest, made if need be. Raises TemplateError, ProcessError, QmpError, OSError."""
    made_with = inputs(machine, directory)
    key = key_of(guest, machine, made_with)
    found = find(directory, key)
    if found:
        return found
    with drafting(directory, key) as draft:
        found = find(directory, key)  # perhaps made by another while this one waited
        if found:
            return found
        space = os.statvfs(directory)
        free = space.f_bavail * space.f_frsize >> 20
        wanted = guest.memory + SLACK + (DISK_SLACK if machine.disk else 0)
        if free < wanted:
            raise TemplateError(f"{directory} has {free} MB free, and a template takes up to {wanted} MB")
        home = f"{rundir.path}/templates/{key}"
        try:
            make(rundir, home, draft, guest, machine, patience)
        except NoSleep as error:
            write_file(failure(directory, key), str(error).encode())
            raise
        finally:
            remove(home)
        if inputs(machine, directory) != made_with:
            raise TemplateError("what it is made with changed meanwhile")
        write_json(f"{draft}/manifest.json", {"memory": guest.memory, "parts": parts(draft), **made_with})
        os.rename(draft, f"{directory}/{key}")
    tidy(directory, key)
    made = find(directory, key)
    if not made:
        raise TemplateError(f"{directory}/{key} is not what was just put there: something else works in {directory}")
    return made


def make(rundir: RunDir, home: str, draft: str, guest: Guest, machine: Machine, patience: float) -> None:
    """Boot a guest of the shape and put its memory and state into ``draft``. Its sockets are below ``home``."""
    path = files_in(home)
    passage(os.path.dirname(home))
    passage(home)
    own_directory(path["io"], ACCOUNT)
    for stray in marked(rundir.mark, f"{home}/"):
        stop(stray, first=signal.SIGKILL)
    disk = f"{draft}/{DISK}" if machine.disk else ""
    if disk:
        own_file(disk)
        disks.create(disk, machine.disk, machine.disk_format)
    # Not in the file at once: a disk that is full would kill the guest, and one that is slow would slow it down.
    argv = template_command(home, shape(guest, home), machine, disk) + memory_options(guest.memory, type="memfd", share=True)
    largest = max(guest.memory << 20, disks.most_written(machine)) + LARGEST_LOG
    process = spawn(argv, mark=rundir.mark, log=path["log"], user=ACCOUNT, unit="benito-template", largest=largest)
    try:
        deadline = time.monotonic() + patience
        with monitor(path["qmp"], process, path["log"]) as qmp, line_to(path["agent"]):
            while not read(path["state"]).asleep:
                if not alive(process):
                    raise TemplateError(f"its QEMU has ended: {last_words(path)}")
                if time.monotonic() > deadline:
                    raise NoSleep(f"it did not fall asleep within {patience:.0f} s: {last_words(path)}")
                time.sleep(0.05)
            settle(process)
            write_file(f"{draft}/state", save(qmp))
            copy_memory(process, f"{draft}/memory")
            qmp.execute("quit")
    finally:
        stop(process, patience=5.0, first=signal.SIGTERM)
    if disk:
        disks.protect(disk)
    for name in os.listdir(draft):
        with open(f"{draft}/{name}", "rb") as file:
            os.fsync(file.fileno())


def last_words(path: Mapping[str, str]) -> str:
    """Return what a guest or its QEMU printed last."""
    return tail(path["console_log"], 1) or tail(path["log"], 1) or "nothing on its console"


def own_file(path: str) -> None:
    """Make a file that the guests' account may write to, where it may make none."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        os.fchown(descriptor, account(ACCOUNT).pw_uid, account(ACCOUNT).pw_gid)
    finally:
        os.close(descriptor)


def copy_memory(process: Process, path: str) -> None:
    """Copy a stopped guest's memory into a file that guests can use, without its empty pages."""
    source = ""
    for entry in os.scandir(f"/proc/{process.pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            source = entry.path if os.readlink(entry.path).startswith("/memfd:") else source
    if not source:
        raise TemplateError("the memory of its QEMU cannot be found")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(source, "rb", buffering=0) as memory, open(descriptor, "wb", buffering=0) as file:
        os.fchmod(descriptor, 0o600)
        os.fchown(descriptor, account(ACCOUNT).pw_uid, account(ACCOUNT).pw_gid)
        nothing = bytes(PIECE)
        while piece := memory.read(PIECE):
            if piece == nothing[: len(piece)]:
                file.seek(len(piece), os.SEEK_CUR)
            else:
                file.write(piece)
        file.truncate(memory.tell())


def settle(process: Process, patience: float = 3.0) -> None:
    """Wait until a guest that has booted has nothing to do any more."""

    def spent() -> int:
        with open(f"/proc/{process.pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    deadline, last = time.monotonic() + patience, spent()
    while time.monotonic() < deadline:
        time.sleep(0.2)
        now = spent()
        if now - last <= 1:
            return
        last = now


def save(qmp: Qmp) -> bytes:
    """Stop a guest and return the state of its devices, without its memory."""
    qmp.execute("stop")
    qmp.execute("migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}])
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(20)
        qmp.hand_over("state", theirs.fileno())
        theirs.close()
        qmp.execute("migrate", uri="fd:state")
        pieces = []
        while piece := ours.recv(1 << 16):
            pieces.append(piece)
    deadline = time.monotonic() + 20
    while (status := qmp.execute("query-migrate").get("status")) != "completed":
        if status in ("failed", "cancelled") or time.monotonic() > deadline:
            raise TemplateError(f"its state cannot be saved: {status}")
        time.sleep(TICK)
    return b"".join(pieces)


def load(state: bytes, path: dict[str, str], process: Process) -> socket.socket:
    """Give a clone that waits for it its template's state and let it run; return the line to its agent.

    Whoever speaks there stays until the guest has answered. Raises TemplateError, QmpError, OSError.
    """
    with monitor(path["qmp"], process, path["log"]) as qmp:
        try:
            qmp.execute("migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}])
            # The guest comes to its network as new: nobody there has to learn where it went.
            qmp.execute("migrate-set-parameters", **{"announce-rounds": 0})
            ours, theirs = socket.socketpair()
            with ours, theirs:
                ours.settimeout(20)
                qmp.hand_over("state", theirs.fileno())
                theirs.close()
                qmp.execute("migrate-incoming", uri="fd:state")
                ours.sendall(state)
            deadline = time.monotonic() + 20
            while (status := qmp.execute("query-status")["status"]) == "inmigrate":
                if time.monotonic() > deadline:
                    raise TemplateError("the state of its template does not load within 20 s")
                time.sleep(TICK)
            if status != "paused":
                raise TemplateError(f"with the state of its template it is {status}")
            # The template had a listener at this end: the agent hears at once.
            line = line_to(path["agent"])
            try:
                qmp.execute("cont")
            except QmpError:
                line.close()
                raise
            return line
        except (QmpError, OSError) as error:
            said = tail(path["log"], 1)
            raise TemplateError(f"the state of its template does not load: {said or error}") from error


def line_to(path: str) -> socket.socket:
    """Return a connection to the agent's port."""
    line = socket.socket(socket.AF_UNIX)
    try:
        line.settimeout(20)
        line.connect(path)
    except OSError:
        line.close()
        raise
    return line


def monitor(path: str, process: Process, log: str, patience: float = 20.0) -> Qmp:
    """Return the monitor of a QEMU that has just been started."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return Qmp(path, patience)
        except QmpError as error:
            if not alive(process):
                raise TemplateError(f"its QEMU has ended: {tail(log, 1) or 'no output'}") from error
            if time.monotonic() > deadline:
                raise
        time.sleep(TICK)


def tidy(directory: str, keep: str) -> None:
    """Throw away templates whose files have changed, those not used for longest if there are many, and what a crash has left."""
    old: list[tuple[float, str]] = []
    for entry in os.scandir(directory):
        if entry.name.endswith(".failed"):
            failed(directory, entry.name[: -len(".failed")])
        if not entry.is_dir(follow_symlinks=False) or entry.name == keep:
            continue
        if entry.name.startswith("."):
            abandon(entry.path)
        elif unchanged(directory, read_json(f"{entry.path}/manifest.json").get("files")):
            with contextlib.suppress(FileNotFoundError):
                old.append((os.stat(entry.path).st_mtime, entry.path))
        else:
            discard(entry.path)
    for dummy, path in sorted(old, reverse=True)[MOST - 1 :]:
        discard(path)


def unchanged(directory: str, files: Any) -> bool:
    """Tell whether the files of a manifest are still the same."""
    try:
        wanted = {str(path): digest for path, digest in files}
    except (TypeError, ValueError):
        return False
    return bool(wanted) and digests(directory, wanted) == wanted


def abandon(path: str) -> None:
    """Remove a draft that nobody works in."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(path)
        finally:
            os.close(descriptor)


def worthwhile(wish: str, number: int, there: bool) -> bool:
    """Tell whether so many guests of a shape shall be woken up from a template, which may be there already."""
    return wish == "warm" or (wish == "auto" and (there or number >= PAYS))


class Stock:
    """The templates that the guests of one batch are started from; they are made side by side while other guests boot.

    ``wish`` is ``cold``, ``warm`` or ``auto``; ``patience`` is what a template may take to boot, in seconds.
    """

    def __init__(self, rundir: RunDir, directory: str, machines: Mapping[str, Machine], wish: str, patience: float) -> None:
        self._rundir, self._directory, self._machines = rundir, directory, machines
        self._wish, self._patience = wish, patience
        self._pool = ThreadPoolExecutor(max(1, os.cpu_count() or 1))
        self._making: dict[str, Future[Template]] = {}
        self._keys: dict[str, str] = {}
        self._obstacles: dict[str, str] = {}

    def __enter__(self) -> Stock:
        return self

    def __exit__(self, *dummy: object) -> None:
        self._pool.shutdown()

    def order(self, guests: Sequence[Guest], unfit: Mapping[str, str] | None = None) -> None:
        """Decide which of these guests shall be woken up, and begin to make the templates that are missing.

        ``unfit``: why those with these ids cannot be.
        """
        if self._wish == "cold":
            return
        if self._wish == "warm":
            self._obstacles.update(unfit or {})
        shapes: dict[str, list[Guest]] = {}
        images: dict[str, tuple[dict[str, Any], str]] = {}
        for guest in (guest for guest in guests if guest.id not in (unfit or {})):
            if guest.image not in images:
                images[guest.image] = self._usable(self._machines[guest.image])
            made_with, why = images[guest.image]
            if made_with:
                shapes.setdefault(key_of(guest, self._machines[guest.image], made_with), []).append(guest)
            elif self._wish == "warm":
                self._obstacles[guest.id] = why
        for key, alike in shapes.items():
            there = find(self._directory, key) is not None
            why = "" if there or self._wish == "warm" else failed(self._directory, key)
            if why and worthwhile(self._wish, len(alike), there):
                self._obstacles.update((guest.id, f"no template could be made lately: {why}") for guest in alike)
            elif worthwhile(self._wish, len(alike), there):
                self._keys.update((guest.id, key) for guest in alike)
                machine = self._machines[alike[0].image]
                self._making[key] = self._pool.submit(ensure, self._rundir, self._directory, alike[0], machine, self._patience)

    def _usable(self, machine: Machine) -> tuple[dict[str, Any], str]:
        """Return what templates of an image are made with, or nothing, and why there can be none."""
        try:
            return inputs(machine, self._directory), ""
        except (HostError, OSError) as error:
            return {}, str(error)

    def ready(self, guest: Guest) -> bool:
        """Tell whether it is settled how a guest starts."""
        making = self._making.get(self._keys.get(guest.id, ""))
        return making is None or making.done()

    def take(self, guest: Guest) -> tuple[Template | None, str]:
        """Return the template that a guest is woken up from; for none, why that is so although it was to be."""
        making = self._making.get(self._keys.get(guest.id, ""))
        if making is None:
            return None, self._obstacles.get(guest.id, "")
        try:
            return making.result(), ""
        except (HostError, OSError) as error:
            return None, f"no template could be made: {error}"

    def refuse(self, guest: Guest, why: str) -> None:
        """Throw away the template of a guest which could not be woken up; the others of its shape are booted."""
        key = self._keys.get(guest.id, "")
        with contextlib.suppress(OSError):
            discard(f"{self._directory}/{key}")
        self._obstacles.update((id_, why) for id_, other in self._keys.items() if other == key)
        self._keys = {id_: other for id_, other in self._keys.items() if other != key}

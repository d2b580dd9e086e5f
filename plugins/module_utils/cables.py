# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cables of an experiment on this host: VDE links from its switches to those of the same substrates on other pnodes.

A supervisor (`cable_keeper.py`) holds all cables of the experiment that this side makes; those that a peer makes to us by ssh come in by
the gate (`ssh_gate.py`). Here the list that is wanted is compared with what is there, and the difference is done.

    ROOT/ID/cables/                   root's
        cables.json                   what was made, and what it claims of the host
        keeper.py keeper.json         the supervisor and its list; launch.json, keeper.log
        gate.py gate.json             what comes in by ssh may do
        key known_hosts               what goes out by ssh: the experiment's key, the account's to read
        io/                           of the service account: state.json, gate-ID.json
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

from . import cable_keeper, cable_rules, host_links, ssh_access, ssh_gate, tunnels
from .accounts import account
from .errors import HostError
from .processes import Process, ProcessError, alive, boot_id, end_of, look, marked, spawn, stop, tail
from .rundir import ACCOUNT, RunDir, existing, host_lock, own_directory, part_id, passage, read_json, remove, write_file, write_json
from .vde import control_directory

ROLES = {"ssh": ("dial", "listen"), "tcp": ("dial", "listen"), "udp": ("peer",), "vxlan": ("peer",), "ethernet": ("peer",)}
HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?\Z")
DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}\Z")
# A peer of whom nothing was heard for so long is gone: its keepalives come three times as often.
SILENCE = cable_keeper.SILENCE + 5


@dataclass(frozen=True)
class Cable:
    """One cable as seen from this side. ``role`` is ``dial``, ``listen`` (for ssh: let in) or ``peer``; other fields as in the document."""

    name: str
    id: str
    substrate: str
    switch: str
    port: int
    peer: str
    transport: str
    role: str
    peer_address: str = ""
    peer_ssh_port: int = 22
    peer_host_keys: tuple[str, ...] = ()
    number: int = 0
    socket: int = 0
    device: str = ""
    vlan: int = 0

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Cable:
        """Take one entry of the document's ``cables`` and check all that becomes an argument. Raises HostError."""
        name = str(options["name"])
        transport, role = str(options["transport"]), str(options["role"])
        if role not in ROLES.get(transport, ()):
            raise HostError(f"cable {name}: a cable of transport {transport} has no role {role!r}; there are {ROLES.get(transport, ())}")

        def number(key: str, least: int, most: int) -> int:
            value = options.get(key) or 0
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise HostError(f"cable {name}: {key} must be a number from {least} to {most}, not {value!r}")
            return value

        def word(key: str, pattern: re.Pattern[str], what: str) -> str:
            value = str(options.get(key) or "")
            if not pattern.match(value):
                raise HostError(f"cable {name}: {key} must be {what}, not {value[:80]!r}")
            return value

        network = transport in ("tcp", "udp", "vxlan")
        dialing = (transport, role) == ("ssh", "dial")
        keys = tuple(ssh_access.public_key(key) for key in options.get("peer_host_keys") or ()) if dialing else ()
        if dialing and not keys:
            raise HostError(f"cable {name}: peer_host_keys is empty: without the peer's host keys it cannot be known who answers")
        return cls(
            name=name,
            id=part_id(options["id"]),
            substrate=str(options.get("substrate") or ""),
            switch=part_id(options["switch"]),
            port=number("port", 1, 65535),
            peer=str(options.get("peer") or ""),
            transport=transport,
            role=role,
            peer_address=word("peer_address", HOST, "a host name or an IPv4 address") if network or dialing else "",
            peer_ssh_port=number("peer_ssh_port", 1, 65535) if dialing else 22,
            peer_host_keys=keys,
            number=number("number", 1, 0xFFFFFF) if network else 0,
            socket=number("socket", 1, 65535) if network else 0,
            device=word("device", DEVICE, "the name of an interface") if transport == "ethernet" else "",
            vlan=number("vlan", 0, 4094) if transport == "ethernet" else 0,
        )

    @classmethod
    def from_record(cls, facts: Mapping[str, Any]) -> Cable:
        """Take what was written down. Raises TypeError when that is damaged."""
        return cls(**{**facts, "peer_host_keys": tuple(facts.get("peer_host_keys", ()))})

    @property
    def kept(self) -> bool:
        """Whether our supervisor holds it; else the peer's does, and comes in by ssh."""
        return (self.transport, self.role) != ("ssh", "listen")

    @property
    def claim(self) -> tuple[str, int, int] | None:
        """What it takes of the host for itself: protocol, port, and the number inside for a vxlan (0: the whole port)."""
        if self.transport in ("udp", "vxlan"):
            return "udp", self.socket, self.number if self.transport == "vxlan" else 0
        return ("tcp", self.socket, 0) if (self.transport, self.role) == ("tcp", "listen") else None


@dataclass(frozen=True)
class Keys:
    """The experiment's key for cables: ``private`` goes to those who dial, ``public`` to those who let in. Empty where not needed."""

    private: str = ""
    public: str = ""


def home(rundir: RunDir) -> str:
    """Directory of an experiment's cables."""
    return f"{rundir.path}/cables"


def plug_url(rundir: RunDir, cable: Cable) -> str:
    """Return the URL of this side's port, for vde_plug."""
    return f"vde://{control_directory(rundir, cable.switch)}[{cable.port}]"


def python() -> str:
    """Return the interpreter of supervisor and gate: the host's own, which the service account can run too."""
    return next((path for path in ("/usr/bin/python3", "/usr/libexec/platform-python") if os.access(path, os.X_OK)), sys.executable)


def ssh_command(rundir: RunDir, cable: Cable) -> list[str]:
    """Return the argument vector of the ssh that carries a cable: it trusts the listed host keys and nothing else, and forwards nothing."""
    options = {
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "BatchMode": "yes",
        "PreferredAuthentications": "publickey",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": f"{home(rundir)}/known_hosts",
        "GlobalKnownHostsFile": "none",
        "HostKeyAlias": _alias(cable),
        "CheckHostIP": "no",
        "UpdateHostKeys": "no",
        "ClearAllForwardings": "yes",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "ControlMaster": "no",
        "ControlPath": "none",
        "PermitLocalCommand": "no",
        "EscapeChar": "none",
        "Compression": "no",
        "ConnectTimeout": "10",
        "ServerAliveInterval": str(cable_keeper.SILENCE // 3),
        "ServerAliveCountMax": "3",
        "LogLevel": "ERROR",
    }
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    target = ["-p", str(cable.peer_ssh_port), "-l", ACCOUNT, "--", cable.peer_address, cable.id]
    return ["ssh", "-F", "none", "-T", "-a", "-x", "-i", f"{home(rundir)}/key", *words, *target]


def greeting(rundir: RunDir, cable: Cable) -> str:
    """Return by what the ends of a cable by TCP or UDP know each other: no secret, but no two cables have the same."""
    return hashlib.sha256(f"{rundir.project}/{rundir.experiment}/{cable.id}/{cable.number}".encode()).hexdigest() + "\n"


def entry(rundir: RunDir, cable: Cable, made: int) -> dict[str, Any]:
    """Return what the supervisor is told of a cable; ``made`` counts how often it was to be done anew."""
    plug = ["vde_plug", plug_url(rundir, cable)]
    facts: dict[str, Any] = {"id": cable.id, "made": made}
    if cable.transport == "ssh":
        # Whom to trust is not on the command line, but one who is trusted no more is to be cut off.
        return {**facts, "how": "pipe", "plug": plug, "far": ssh_command(rundir, cable), "trusted": list(cable.peer_host_keys)}
    where = {"address": cable.peer_address, "socket": cable.socket}
    if cable.transport in ("tcp", "udp"):
        # Not the plug's own udp://: while nobody is at the other end, it takes a processor for itself.
        how = cable.role if cable.transport == "tcp" else "datagram"
        return {**facts, "how": how, "plug": plug, **where, "greeting": greeting(rundir, cable)}
    tap = [*plug, f"tap://{tunnels.names(rundir, cable.id)[1]}"]
    return {**facts, "how": "plug", "plug": tap, **(where if cable.transport == "vxlan" else {})}


def _alias(cable: Cable) -> str:
    return f"benito-{cable.id}"


def _source(module: ModuleType) -> bytes:
    """Return the text of one of our programs, wherever Ansible put it."""
    return inspect.getsource(module).encode()


def _tunnel(rundir: RunDir, cable: Cable) -> tunnels.Tunnel | None:
    if cable.transport == "vxlan":
        return tunnels.vxlan(rundir, cable.id, cable.number, cable.socket)
    return tunnels.ethernet(rundir, cable.id, cable.device, cable.vlan) if cable.transport == "ethernet" else None


def _address(cable: Cable) -> str:
    """Return the IPv4 address of the peer. Raises HostError."""
    try:
        return str(socket.getaddrinfo(cable.peer_address, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise HostError(f"the address of {cable.peer or 'the peer'}, {cable.peer_address}, is not known here: {error.strerror}") from error


def _ports(cables: Iterable[Cable]) -> list[cable_rules.Port]:
    """Return the ports of this host that only one peer each may reach. Raises HostError."""
    return [cable_rules.Port(cable.claim[0], cable.claim[1], _address(cable), cable.claim[2]) for cable in cables if cable.claim]


# What is there


def record(rundir: RunDir) -> dict[str, Any]:
    """Return what was written down: ``cables``, by id with ``cable``, ``made`` and ``done``; ``listing`` of the rules."""
    found = read_json(f"{home(rundir)}/cables.json")
    cables: dict[str, Any] = {}
    for id_, facts in (found.get("cables") or {}).items():
        with contextlib.suppress(TypeError, KeyError, ValueError):
            cables[id_] = {"cable": Cable.from_record(facts["cable"]), "made": int(facts["made"]), "done": bool(facts["done"])}
    return {"cables": cables, "listing": str(found.get("listing", ""))}


def known(rundir: RunDir) -> list[str]:
    """Return the ids of the cables that were made or begun."""
    return sorted(record(rundir)["cables"])


def keeper(rundir: RunDir) -> Process | None:
    """Return the living supervisor."""
    process = Process.from_record(read_json(f"{home(rundir)}/launch.json").get("process"))
    return process if alive(process) else None


def processes(rundir: RunDir) -> list[Process]:
    """Return all living processes of the cables: the supervisor, what it started, and what the gate let in."""
    supervisor = keeper(rundir)
    children = [p for p in marked(rundir.mark, f"{rundir.path}/") if _parent(p.pid) == supervisor.pid] if supervisor else []
    plugs = [_gate_process(rundir, id_) for id_ in known(rundir)]
    return [*([supervisor] if supervisor else []), *children, *(p for p in plugs if p)]


def _parent(pid: int) -> int:
    """Return the process that started this one; 0 when it is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        return int(file.read().rpartition(")")[2].split()[1])
    return 0


def _report(rundir: RunDir) -> dict[str, dict[str, Any]]:
    """Return what the supervisor says of its cables. It is the service account's word, so nothing is taken for granted."""
    with contextlib.suppress(ValueError, AttributeError):
        cables = json.loads(end_of(f"{home(rundir)}/io/state.json", 1 << 24)).get("cables")
        return {id_: facts for id_, facts in cables.items() if isinstance(facts, dict)}
    return {}


def _gate_record(rundir: RunDir, id_: str) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        found = json.loads(end_of(f"{home(rundir)}/io/gate-{id_}.json", 1 << 16))
        return found if isinstance(found, dict) else {}
    return {}


def _gate_process(rundir: RunDir, id_: str) -> Process | None:
    """Return the living plug that the gate let in for a cable."""
    found = _gate_record(rundir, id_)
    pid = next(iter(_numbers([found.get("pid")])), 0)
    process = look(pid) if pid else None
    ours = process and found.get("boot") == boot_id() and found.get("started") == process.started
    return process if process and ours and any(f"{rundir.path}/" in word for word in process.argv) else None


def _numbers(values: Any) -> Iterator[int]:
    for value in values if isinstance(values, list) else []:
        if isinstance(value, int) and not isinstance(value, bool) and value > 1:
            yield value


def state(rundir: RunDir) -> list[dict[str, Any]]:
    """Describe each cable: ``connected``, ``connecting`` (never was yet) or ``broken``, how often it was made again, and why not."""
    supervisor, report = keeper(rundir), _report(rundir)
    found = []
    for id_, facts in record(rundir)["cables"].items():
        cable: Cable = facts["cable"]
        if not cable.kept:
            said = _let_in(rundir, cable)
        elif supervisor:
            said = report.get(id_, {})
        else:
            said = {**report.get(id_, {}), "state": "broken", "detail": "its supervisor is not running", "pids": []}
        tunnel = _tunnel(rundir, cable)
        if tunnel and facts["done"]:
            with contextlib.suppress(HostError):
                trouble = tunnels.missing(rundir, tunnel, _address(cable) if cable.peer_address else "")
                said = {**said, "state": "broken", "detail": trouble} if trouble else said
        since, connections = said.get("since"), said.get("connections")
        found.append(
            {
                "name": cable.name,
                "id": cable.id,
                "peer": cable.peer,
                "transport": cable.transport,
                "state": said["state"] if said.get("state") in ("connected", "connecting", "broken") else "connecting",
                "remakes": max(0, connections - 1) if isinstance(connections, int) else 0,
                "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since)) if isinstance(since, int) and 0 < since < 1 << 40 else "",
                "detail": "".join(c for c in str(said.get("detail", "")) if c.isprintable())[:300],
                "pids": list(_numbers(said.get("pids"))),
            }
        )
    return found


def _let_in(rundir: RunDir, cable: Cable) -> dict[str, Any]:
    """Return what is known of a cable that the peer makes to us."""
    told = _gate_record(rundir, cable.id)
    process = _gate_process(rundir, cable.id)
    facts = {**told, "pids": [process.pid] if process else []}
    if not process:
        waiting = (
            {"state": "broken", "detail": "the peer's connection ended"}
            if told
            else {"state": "connecting", "detail": "the peer has not come"}
        )
        return {**facts, **waiting}
    silent = _silent(str(told.get("connection", "")))
    if silent > SILENCE:
        return {**facts, "state": "broken", "detail": f"nothing was heard of the peer for {silent:.0f} s"}
    return {**facts, "state": "connected", "detail": ""}


def _silent(connection: str) -> float:
    """Return for how many seconds nothing came by a TCP connection, given as sshd gives it to its children; 0 where that is not known."""
    words = connection.split()
    if len(words) != 4 or not all(re.match(r"[0-9A-Fa-f:.]+\Z", word) for word in words):
        return 0.0
    with contextlib.suppress(HostError):
        wanted = f"src {words[2]} and sport = :{words[3]} and dst {words[0]} and dport = :{words[1]}"
        shown = host_links.run(["ss", "-Htni", *wanted.split()])
        heard = [int(value) for value in re.findall(r"\blast(?:rcv|ack):(\d+)", shown)]
        return min(heard) / 1000 if heard else float(SILENCE + 1)
    return 0.0


# What is to be done


def _files(rundir: RunDir, cables: Mapping[str, tuple[Cable, int]], keys: Keys) -> dict[str, tuple[bytes, int]]:
    """Return the files that must be there: content and mode by name."""
    kept = {id_: pair for id_, pair in cables.items() if pair[0].kept}
    dialing = [cable for cable, dummy in kept.values() if cable.transport == "ssh"]
    doors = [cable for cable, dummy in cables.values() if not cable.kept]
    files: dict[str, tuple[bytes, int]] = {}
    if kept:
        files["keeper.py"] = _source(cable_keeper), 0o644
        files["keeper.json"] = _dump({"cables": [entry(rundir, cable, made) for cable, made in kept.values()]}), 0o644
    if dialing:
        lines = [ssh_access.known_host(_alias(cable), key) for cable in dialing for key in cable.peer_host_keys]
        files["known_hosts"] = "".join(f"{line}\n" for line in lines).encode(), 0o644
        private = f"{keys.private.strip()}\n".encode() if keys.private.strip() else _read(rundir, "key")
        if not private:
            raise HostError("key is empty: cables that this host makes by ssh need the experiment's private key")
        files["key"] = private, 0o600
    if doors:
        permitted = {c.id: {"plug": plug_url(rundir, c), "control": f"{control_directory(rundir, c.switch)}/ctl"} for c in doors}
        files["gate.py"] = _source(ssh_gate), 0o644
        files["gate.json"] = _dump({"mark": rundir.mark, "path": os.environ.get("PATH", os.defpath), "cables": permitted}), 0o644
    return files


def _dump(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=1, sort_keys=True).encode()


def _read(rundir: RunDir, name: str) -> bytes:
    try:
        with open(f"{home(rundir)}/{name}", "rb") as file:
            return file.read()
    except OSError:
        return b""


def _lines(rundir: RunDir, cables: Iterable[Cable], keys: Keys) -> list[str]:
    """Return the lines that let the experiment's key in. Raises HostError."""
    if all(cable.kept for cable in cables):
        return []
    if keys.public:
        return [ssh_access.line(rundir, python(), ssh_access.public_key(keys.public))]
    there = ssh_access.lines(rundir.root, rundir.mark)
    if not there:
        raise HostError("public_key is empty: cables that come in by ssh need the experiment's public key")
    return there


def needs(rundir: RunDir, cable: Cable, keys: Keys) -> str:
    """Say why a cable must be made or made again; empty when it is as wanted and looked after. Raises HostError."""
    past = record(rundir)["cables"].get(cable.id)
    if not past or not past["done"]:
        return "not finished" if past else "not there"
    if past["cable"] != cable:
        return "changed"
    wanted = _files(rundir, {cable.id: (cable, past["made"])}, keys)
    for name, (content, dummy) in wanted.items():
        if not _holds(_read(rundir, name), name, content):
            return f"{name} is not as wanted"
    if cable.kept and not keeper(rundir):
        return "its supervisor was dead"
    if not cable.kept and ssh_access.lines(rundir.root, rundir.mark) != _lines(rundir, [cable], keys):
        return "its key was not let in"
    if cable.claim:
        listing = cable_rules.listing(rundir)
        if not listing or listing != record(rundir)["listing"]:
            return "its rules were not as wanted"
    tunnel = _tunnel(rundir, cable)
    return tunnels.missing(rundir, tunnel, _address(cable) if cable.peer_address else "") if tunnel else ""


def _holds(there: bytes, name: str, wanted: bytes) -> bool:
    """Tell whether a file serves a cable: in lists, whether its own entries are among the others."""
    if name == "keeper.json":
        return [e for e in _entries(there) if e in _entries(wanted)] == _entries(wanted)
    if name == "gate.json":
        with contextlib.suppress(ValueError, KeyError, AttributeError):
            one, other = json.loads(there), json.loads(wanted)
            return bool(other["cables"].items() <= one["cables"].items() and one["mark"] == other["mark"])
        return False
    if name == "known_hosts":
        return set(wanted.splitlines()) <= set(there.splitlines())
    return there == wanted


def _entries(text: bytes) -> list[Any]:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return list(json.loads(text)["cables"])
    return []


def _conflict(rundir: RunDir, cable: Cable, own: Iterable[Cable]) -> None:
    """Raise HostError when what a cable claims of this host is claimed already."""
    if not cable.claim:
        return
    others = [(f"the cable {each.name}", each.claim) for each in own if each.id != cable.id]
    for there in existing(rundir.root):
        if there.path != rundir.path:
            others += [(f"{there.project}/{there.experiment}", facts["cable"].claim) for facts in record(there)["cables"].values()]
    protocol, port, vni = cable.claim
    for whose, claim in others:
        if claim and claim[:2] == (protocol, port) and (vni == claim[2] or 0 in (vni, claim[2])):
            what = f"the vxlan {vni} on UDP port {port}" if vni and claim[2] else f"{protocol.upper()} port {port}"
            raise HostError(f"{what} is taken on this host by {whose}: swap that out, or choose another")


def present(rundir: RunDir, cables: Sequence[Cable], keys: Keys, purge: bool, check: bool) -> list[dict[str, Any]]:
    """Bring the cables of an experiment to what is wanted. Returns one result per cable, whatever happened to the others."""
    ids = [cable.id for cable in cables]
    twice = sorted({id_ for id_ in ids if ids.count(id_) > 1})
    if twice:
        raise HostError(f"the cable {twice[0]} is listed twice: ids must differ")
    there = record(rundir)["cables"]
    gone = [id_ for id_ in there if id_ not in ids] if purge else []
    results = [_result(there[id_]["cable"], "remove", "not wanted") for id_ in gone]
    for cable in cables:
        try:
            reason = needs(rundir, cable, keys)
            results.append(_result(cable, "make" if reason else "none", reason))
        except HostError as error:
            results.append({**_result(cable, "none", ""), "failed": True, "msg": str(error)})
    _carry_out(rundir, cables, gone, keys, results, check)
    return results


def absent(rundir: RunDir, ids: Sequence[str], check: bool) -> list[dict[str, Any]]:
    """Remove cables, and leave the others alone."""
    there = record(rundir)["cables"]
    gone = [id_ for id_ in ids if id_ in there]
    results = [_result(there[id_]["cable"], "remove", "not wanted") for id_ in gone]
    results += [{"name": id_, "id": id_, "changed": False, "action": "none", "reason": ""} for id_ in ids if id_ not in there]
    _carry_out(rundir, [], gone, Keys(), results, check)
    return results


def _result(cable: Cable, action: str, reason: str) -> dict[str, Any]:
    return {"name": cable.name, "id": cable.id, "changed": action != "none", "action": action, "reason": reason}


def _carry_out(
    rundir: RunDir, cables: Sequence[Cable], gone: Sequence[str], keys: Keys, results: list[dict[str, Any]], check: bool
) -> None:
    """Do what the results promise, and note in them what failed."""
    outcome = {result["id"]: result for result in results}
    if check or not any(result["changed"] for result in results):
        return
    passage(home(rundir))
    own_directory(f"{home(rundir)}/io", ACCOUNT)
    before = record(rundir)["cables"]
    for id_ in gone:
        with _failing(outcome[id_]):
            _clear(rundir, id_)
    wanted = {
        id_: (facts["cable"], facts["made"]) for id_, facts in before.items() if id_ not in gone and id_ not in {c.id for c in cables}
    }
    stuck = {id_: before[id_] for id_ in gone if outcome[id_].get("failed")}
    with host_lock(rundir.root):
        for cable in cables:
            past = before.get(cable.id)
            if outcome[cable.id].get("failed"):
                if past:
                    # What could not be looked at stays as it is.
                    wanted[cable.id] = past["cable"], past["made"]
                continue
            with _failing(outcome[cable.id]):
                _conflict(rundir, cable, (pair[0] for pair in wanted.values()))
                # Devices that are made anew need a new plug; all else the supervisor sees by itself.
                anew = bool(past) and outcome[cable.id]["changed"] and _tunnel(rundir, cable) is not None
                wanted[cable.id] = cable, (past["made"] if past else 0) + anew
        unfinished = {id_ for id_ in wanted if outcome.get(id_, {}).get("changed")}
        _write_record(rundir, wanted, unfinished, stuck)
    for id_ in sorted(unfinished):
        cable = wanted[id_][0]
        with _failing(outcome[id_]):
            if cable.id in before and before[cable.id]["cable"] != cable:
                _clear(rundir, cable.id)
            tunnel = _tunnel(rundir, cable)
            if tunnel:
                tunnels.set_up(rundir, tunnel, _address(cable) if cable.peer_address else "")
        if outcome[id_].get("failed"):
            del wanted[id_]
            stuck[id_] = {"cable": cable, "made": 0, "done": False}
    try:
        _serve(rundir, wanted, keys)
    except (HostError, OSError) as error:
        for result in results:
            if result["changed"] and not result.get("failed"):
                result.update(failed=True, msg=str(error))
    else:
        _write_record(rundir, wanted, set(), stuck)


@contextlib.contextmanager
def _failing(result: dict[str, Any]) -> Iterator[None]:
    """Let what fails be one cable's failure."""
    try:
        yield
    except (HostError, OSError) as error:
        result.update(failed=True, msg=str(error))


def _write_record(rundir: RunDir, cables: Mapping[str, tuple[Cable, int]], unfinished: set[str], stuck: Mapping[str, Any]) -> None:
    facts = {id_: {"cable": asdict(cable), "made": made, "done": id_ not in unfinished} for id_, (cable, made) in cables.items()}
    facts.update({id_: {**there, "cable": asdict(there["cable"]), "done": False} for id_, there in stuck.items()})
    write_json(f"{home(rundir)}/cables.json", {"cables": facts, "listing": cable_rules.listing(rundir)})


def _clear(rundir: RunDir, id_: str) -> None:
    """Remove what belongs to one cable alone and is not its supervisor's."""
    stop(_gate_process(rundir, id_))
    remove(f"{home(rundir)}/io/gate-{id_}.json")
    tunnels.take_down(rundir, id_)


def _serve(rundir: RunDir, cables: Mapping[str, tuple[Cable, int]], keys: Keys) -> None:
    """Bring to what is wanted all that the cables share: files, rules, who is let in, the supervisor. Raises HostError."""
    files = _files(rundir, cables, keys)
    lines = _lines(rundir, [cable for cable, dummy in cables.values()], keys)
    cable_rules.put(rundir, _ports(cable for cable, dummy in cables.values()))
    another = _read(rundir, "keeper.py") != files.get("keeper.py", (b"", 0))[0]
    for name in ("keeper.py", "keeper.json", "known_hosts", "key", "gate.py", "gate.json"):
        path = f"{home(rundir)}/{name}"
        if name not in files:
            remove(path)
        elif _read(rundir, name) != files[name][0]:
            write_file(path, *files[name])
        if name in files and name == "key":
            os.chown(path, account(ACCOUNT).pw_uid, account(ACCOUNT).pw_gid)
    ssh_access.let_in(rundir.root, rundir.mark, lines)
    process = keeper(rundir)
    if process and ("keeper.json" not in files or another):
        stop(process)
        process = None
    if "keeper.json" in files:
        if process:
            _nudge(process)
        else:
            process = _start(rundir)
        _await(rundir, process, cable_keeper.digest(files["keeper.json"][0]))
    else:
        for name in ("launch.json", "keeper.log", "io/state.json"):
            remove(f"{home(rundir)}/{name}")


def _start(rundir: RunDir) -> Process:
    argv = [python(), "-I", f"{home(rundir)}/keeper.py"]
    process = spawn(argv, mark=rundir.mark, log=f"{home(rundir)}/keeper.log", user=ACCOUNT, unit="benito-cables")
    write_json(f"{home(rundir)}/launch.json", {"process": process.to_record()})
    return process


def _nudge(process: Process) -> None:
    """Let the supervisor read its list again."""
    handle = os.pidfd_open(process.pid)
    try:
        if alive(process):
            signal.pidfd_send_signal(handle, signal.SIGHUP)
    finally:
        os.close(handle)


def _await(rundir: RunDir, process: Process, wanted: str) -> None:
    """Wait until the supervisor has taken its list over."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        told: Any = None
        with contextlib.suppress(ValueError):
            told = json.loads(end_of(f"{home(rundir)}/io/state.json", 1 << 24))
        if isinstance(told, dict) and (told.get("pid"), told.get("config")) == (process.pid, wanted):
            return
        if not alive(process):
            break
        time.sleep(0.01)
    raise ProcessError(f"the supervisor of the cables did not come up: {tail(f'{home(rundir)}/keeper.log') or 'no output'}")


def halt(rundir: RunDir) -> None:
    """Stop all cables of an experiment and remove what they have outside its directory. Raises HostError."""
    ssh_access.let_in(rundir.root, rundir.mark, [])
    stop(keeper(rundir))
    for id_ in known(rundir):
        _clear(rundir, id_)

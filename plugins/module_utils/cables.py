# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cables of an experiment on this host: VDE links from its switches to those of the same substrates on other pnodes.

A supervisor (`cable_keeper.py`) holds all cables of the experiment that this side makes; those that a peer makes to us by ssh come in by
the gate (`ssh_gate.py`). Here the list that is wanted is compared with what is there, and the difference is done.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

from . import cable_keeper, cable_rules, ssh_access, ssh_gate, tunnels
from .accounts import account
from .cable import Cable, address_of, entry, home, host_key_alias, plug_url, tunnel_of
from .cable_status import LARGEST_REPORT, gate_process, keeper, known, record
from .errors import HostError
from .processes import Process, ProcessError, alive, spawn, stop, tail
from .rundir import ACCOUNT, RunDir, existing, host_lock, own_directory, passage, remove, write_file, write_json
from .untrusted import UntrustedError, read_object
from .vde import control_directory


@dataclass(frozen=True)
class Keys:
    """The experiment's key for cables: ``private`` goes to those who dial, ``public`` to those who let in. Empty where not needed."""

    private: str = ""
    public: str = ""


def python() -> str:
    """Return the interpreter of supervisor and gate: the host's own, which the service account can run too."""
    return next((path for path in ("/usr/bin/python3", "/usr/libexec/platform-python") if os.access(path, os.X_OK)), sys.executable)


def _source(module: ModuleType) -> bytes:
    """Return the text of one of our programs, wherever Ansible put it."""
    return inspect.getsource(module).encode()


def _ports(cables: Iterable[Cable]) -> list[cable_rules.Port]:
    """Return the ports of this host that only one peer each may reach. Raises HostError."""
    return [cable_rules.Port(cable.claim[0], cable.claim[1], address_of(cable), cable.claim[2]) for cable in cables if cable.claim]


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
        lines = [ssh_access.known_host(host_key_alias(cable), key) for cable in dialing for key in cable.peer_host_keys]
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
    tunnel = tunnel_of(rundir, cable)
    return tunnels.missing(rundir, tunnel, address_of(cable) if cable.peer_address else "") if tunnel else ""


def _holds(there: bytes, name: str, wanted: bytes) -> bool:
    """Tell whether a file serves a cable: in lists, whether its own entries are among the others."""
    if name == "keeper.json":
        return [e for e in _entries(there) if e in _entries(wanted)] == _entries(wanted)
    if name == "gate.json":
        with contextlib.suppress(ValueError, KeyError, AttributeError, TypeError, RecursionError):
            one, other = json.loads(there), json.loads(wanted)
            return bool(other["cables"].items() <= one["cables"].items() and one["mark"] == other["mark"])
        return False
    if name == "known_hosts":
        return set(wanted.splitlines()) <= set(there.splitlines())
    return there == wanted


def _entries(text: bytes) -> list[Any]:
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
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
                anew = bool(past) and outcome[cable.id]["changed"] and tunnel_of(rundir, cable) is not None
                wanted[cable.id] = cable, (past["made"] if past else 0) + anew
        unfinished = {id_ for id_ in wanted if outcome.get(id_, {}).get("changed")}
        _write_record(rundir, wanted, unfinished, stuck)
    for id_ in sorted(unfinished):
        cable = wanted[id_][0]
        with _failing(outcome[id_]):
            if cable.id in before and before[cable.id]["cable"] != cable:
                _clear(rundir, cable.id)
            tunnel = tunnel_of(rundir, cable)
            if tunnel:
                tunnels.set_up(rundir, tunnel, address_of(cable) if cable.peer_address else "")
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
    stop(gate_process(rundir, id_))
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
        told: dict[str, Any] = {}
        with contextlib.suppress(UntrustedError):
            told = read_object(f"{home(rundir)}/io/state.json", LARGEST_REPORT)
        if (told.get("pid"), told.get("config")) == (process.pid, wanted):
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

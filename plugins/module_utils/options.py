# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that several modules share, and how a module opens its experiment."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

from .errors import HostError
from .rundir import ROOT, RunDir, remove, write_file

TEXT: dict[str, Any] = {"type": "str", "required": True}
NUMBER: dict[str, Any] = {"type": "int", "required": True}

# What any guest's interface and route are described by; a module adds what its own guests have beside.
INTERFACE: dict[str, Any] = {
    "name": TEXT,
    "substrate": TEXT,
    "switch": TEXT,
    "port": NUMBER,
    "mac": TEXT,
    "device": TEXT,
    "address": TEXT,
    "prefix": NUMBER,
}
ROUTE: dict[str, Any] = {"to": {"type": "list", "elements": "str", "required": True}, "via": TEXT, "device": TEXT}

# Who works on an experiment: asked by modules that change it, not by those that only look.
OWNER: dict[str, Any] = {
    "owner": {
        "type": "dict",
        "options": {"user": TEXT, "controller": TEXT, "fingerprint": {"type": "str", "default": ""}},
    },
    "take_over": {"type": "bool", "default": False},
}

EXPERIMENT: dict[str, Any] = {
    "experiment": {
        "type": "dict",
        "required": True,
        "options": {
            "project": {"type": "str", "required": True},
            "experiment": {"type": "str", "required": True},
            "id": {"type": "str", "required": True},
            **OWNER,
        },
    },
    "root": {"type": "str", "default": ROOT},
}

CONTROL_NET: dict[str, Any] = {
    "type": "dict",
    "options": {
        "mode": {"type": "str", "choices": ["nat", "bridge", "ports", "none"], "default": "nat"},
        "bridge": {"type": "str", "required": True},
        "table": {"type": "str"},
        "address": {"type": "str", "default": ""},
        "prefix": {"type": "int", "default": 0},
        "subnet": {"type": "str"},
        "addressing": {"type": "str", "choices": ["static", "dhcp"], "default": "static"},
        "interface": {"type": "str", "default": ""},
        "deadline": {"type": "int", "default": 30},
        "ports": {"type": "list", "elements": "int", "default": []},
        "egress": {
            "type": "dict",
            "options": {
                "mode": {"type": "str", "choices": ["none", "public", "all", "networks"], "default": "public"},
                "networks": {"type": "list", "elements": "str", "default": []},
            },
        },
        "cable_ports": {"type": "list", "elements": "int", "default": [20000, 29999]},
        "guests": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "name": {"type": "str", "required": True},
                "tap": {"type": "str", "required": True},
                "mac": {"type": "str", "required": True},
                "address": {"type": "str", "default": ""},
                "port": {"type": "int"},
            },
        },
    },
}


# Nodes as one text: what templates have to say about a thousand nodes takes Ansible longer than the nodes themselves.
DOCUMENT: dict[str, Any] = {"document": {"type": "json"}}


def take_document(module: Any, validator: Callable[[dict[str, Any]], Any]) -> None:
    """Put what the option ``document`` says of nodes of these ``kinds`` among the module's parameters, as if it had been given in options.

    Those are ``guests``, and of ``hosts``, ``control`` and ``shares`` what the module has. ``validator`` makes a validator of options from
    an argument spec. Raises HostError for a document that is none.
    """
    params, spec = module.params, module.argument_spec
    if params["document"] is None:
        return
    try:
        document = json.loads(params["document"])
        parts = {name: document[name] for name in ("hosts", "control", "shares") if name in spec and name in document}
        parts["guests"] = [guest for guest in document["guests"] if guest["kind"] in params["kinds"]]
    except (ValueError, KeyError, TypeError) as error:
        raise HostError(f"document must be the JSON that the plan makes for a host: {type(error).__name__} {error}") from None
    checked = validator({name: spec[name] for name in parts}).validate(parts)
    if checked.error_messages:
        raise HostError(f"document: {'; '.join(checked.error_messages)}")
    params.update(checked.validated_parameters)


def open_experiment(params: Mapping[str, Any], check: bool) -> tuple[RunDir, contextlib.AbstractContextManager[None]]:
    """Return the experiment's directory and the lock to hold while working on it; a check run neither makes nor locks anything.

    Raises HostError where the experiment belongs to another owner, in a check run too.
    """
    rundir = RunDir.from_options(params["experiment"], params["root"])
    rundir.check()
    return rundir, contextlib.nullcontext() if check else rundir.locked()


def inform(module: Any, look: Callable[[RunDir], dict[str, Any]]) -> None:
    """End an ``_info`` module with what ``look`` returns of its experiment, or with the error. Anybody may look."""
    try:
        found = look(RunDir.from_options(module.params["experiment"], module.params["root"]))
    except HostError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **found)


def of_names(guests: list[dict[str, Any]], names: Sequence[str] | None) -> list[dict[str, Any]]:
    """Return the guests with these names, in this order, there or not; all of them without any names."""
    if names is None:
        return guests
    found = {guest["name"]: guest for guest in guests}
    absent = {"state": "absent", "pid": None, "exit_status": None, "uptime": None, "detail": ""}
    return [found.get(name, {"name": name, **absent}) for name in names]


def remove_each(
    ids: Sequence[str], there: Iterable[str], name: Callable[[str], str], remover: Callable[[str], object], check: bool
) -> list[dict[str, Any]]:
    """Remove each of these objects, whatever becomes of the others.

    ``there`` are the ids of those that exist, ``name`` tells what one is called, and ``remover`` removes it. Returns a result for each
    id, with ``failed`` and ``msg`` where it could not be removed.
    """
    present = set(there)
    results = []
    for id_ in ids:
        found = id_ in present
        result: dict[str, Any] = {"name": name(id_), "id": id_, "changed": found, "action": "remove" if found else "none"}
        result["reason"] = "not wanted" if found else ""
        if found and not check:
            try:
                remover(id_)
            except (HostError, OSError) as error:
                result.update(failed=True, msg=str(error))
        results.append(result)
    return results


def difference(results: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Say in lines what changes, for ``--diff``: before and after of each object that is touched."""
    touched = [result for result in results if result.get("changed")]
    return {
        "before": "".join(f"{result['name']}: {result.get('reason') or 'as it was'}\n" for result in touched),
        "after": "".join(f"{result['name']}: {result['action']}\n" for result in touched),
    }


def failures(results: Sequence[Mapping[str, Any]]) -> str:
    """Join what failed into one message; empty when nothing did."""
    return "\n".join(f"{result['name']}: {result.get('msg', 'failed')}" for result in results if result.get("failed"))


class Progress:
    """One line on how far a run has got, in a file that others may read while the module is busy: a module itself cannot speak."""

    def __init__(self, rundir: RunDir, check: bool) -> None:
        self._path = "" if check else f"{rundir.path}/progress"
        self._said = ""
        self._since = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __call__(self, text: str) -> None:
        """Say something, unless it was just said."""
        if self._path and text != self._said and os.path.isdir(os.path.dirname(self._path)):
            write_file(self._path, f"{text} ({time.monotonic() - self._since:.0f} s)\n".encode("ascii", "replace"), 0o644)
            self._said = text

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._path:
            remove(self._path)

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The owner of an experiment on a host: the holder of the experiment's SSH key, by the name of a user and a controller.

This keeps people who share a host from taking an experiment by its name. It binds nobody who changes the records as root.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import HostError

LONGEST_NAME = 255
FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}\Z")


class OwnerError(HostError):
    """The experiment belongs to another; the text says to whom, and what to do."""


@dataclass(frozen=True)
class Owner:
    """A ``user`` at a ``controller``, names for people. The ``fingerprint`` of the experiment's key decides; it is empty without a key.

    ``since`` is when the owner swapped the experiment in first, or took it over.
    """

    user: str
    controller: str
    fingerprint: str
    since: str = ""

    @classmethod
    def from_options(cls, options: Mapping[str, Any] | None) -> Owner | None:
        """Check what a caller says; None where nothing is said. Raises OwnerError."""
        if options is None:
            return None
        own = cls(*(str(options.get(key) or "") for key in ("user", "controller", "fingerprint")))
        if own.fingerprint and not FINGERPRINT.match(own.fingerprint):
            raise OwnerError(f"owner.fingerprint must be that of an SSH key, SHA256:..., not {own.fingerprint[:80]!r}")
        for key, word in (("user", own.user), ("controller", own.controller)):
            if not word or len(word) > LONGEST_NAME or not word.isprintable():
                raise OwnerError(f"owner.{key} must be 1 to {LONGEST_NAME} printable characters, not {word[:80]!r}")
        return own

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Owner | None:
        """Return the owner that an experiment's record names; None for a record without one."""
        owner = record.get("owner")
        if not isinstance(owner, Mapping):
            return None
        return cls(*(str(owner.get(key, "")) for key in ("user", "controller", "fingerprint", "since")))

    def document(self) -> dict[str, str]:
        """Return it as plain JSON."""
        return {"user": self.user, "controller": self.controller, "fingerprint": self.fingerprint, "since": self.since}

    def report(self) -> dict[str, str]:
        """Return it for a module's result, with the line for people as ``text``."""
        return {**self.document(), "text": str(self)}

    def holds(self, key_of: Owner) -> bool:
        """Tell whether both have the same key."""
        return bool(self.fingerprint) and self.fingerprint == key_of.fingerprint

    def __str__(self) -> str:
        """Return the line that names an owner."""
        return f"{self.user} at {self.controller} (since {self.since}, key {self.fingerprint})"


def check_owner(name: str, recorded: Owner | None, own: Owner | None, take_over: bool) -> None:
    """Raise OwnerError where ``own`` is not the recorded owner of the experiment ``name`` and does not take it over.

    A caller that names no owner is not asked, and an experiment without one is anybody's.
    """
    if recorded is None or own is None or take_over or own.holds(recorded):
        return
    if (own.user, own.controller) == (recorded.user, recorded.controller):
        raise OwnerError(
            f"{name} belongs to {recorded}. That is your own name, but your state directory has {own.fingerprint or 'no key'}: "
            "give the state directory that it was swapped in with (BENITO_STATE_DIR). If that is lost, -e benito_take_over=true makes the "
            "experiment yours again"
        )
    raise OwnerError(
        f"{name} belongs to {recorded}. Give your experiment another name with -e benito_project=NAME, ask {recorded.user} to swap theirs "
        "out, or take it over with -e benito_take_over=true, which locks the owner out"
    )


def claimed(record: Mapping[str, Any], own: Owner | None) -> dict[str, Any]:
    """Return the record with ``own`` as the owner; the time stays where the key does.

    A caller without a key gets an experiment without an owner, and cannot take over: OwnerError.
    """
    recorded = Owner.from_record(record)
    if own is None or not (own.fingerprint or recorded):
        return dict(record)
    if not own.fingerprint:
        raise OwnerError("only an owner with an SSH key can take an experiment over: the playbook swapin makes one")
    since = recorded.since if recorded and own.holds(recorded) else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {**record, "owner": {**own.document(), "since": since}}

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a template is: a guest without an identity, and how the command lines of those that sleep and wake up differ from one that boots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .errors import HostError
from .guest import Guest


class TemplateError(HostError):
    """There is no template, or no guest can be woken up from it; the text says why."""


class NoSleep(TemplateError):
    """The guest that was to become a template did not fall asleep in time: perhaps its image cannot."""


@dataclass(frozen=True)
class Template:
    """A whole template.

    ``size`` is the guests' memory in MB, ``state`` the devices' state with the MACs of the template, ``disk`` the path of its disk,
    ``memory`` the file that its guests map, an experiment's own copy.
    """

    path: str
    size: int
    state: bytes
    disk: str = ""
    memory: str = ""

    def options(self) -> list[str]:
        """Return the words that make a command line of this shape a clone's, at its end."""
        return [
            *memory_options(self.size, type="file", share=False, **{"mem-path": self.memory or f"{self.path}/memory"}),
            "-incoming",
            "defer",
        ]

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

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which guests of a batch are woken up from templates, and which are booted, and why."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from .errors import HostError
from .guest import Guest
from .qemu import Machine
from .rundir import RunDir
from .service_ids import service
from .template import Template
from .template_memory import own_copy
from .templates import discard, ensure, failed, find, inputs, key_of

# A template takes as long as a guest that is booted, and a little: it pays from this number of guests on, if no later swap-in uses it.
PAYS = 3


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
                self._making[key] = self._pool.submit(self._ensure, alike[0], machine)

    def _ensure(self, guest: Guest, machine: Machine) -> Template:
        """Return the template for a guest with a memory that is the experiment's own."""
        template = ensure(self._rundir, self._directory, guest, machine, self._patience)
        return own_copy(self._rundir, template, service(self._rundir))

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

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests in a LAN, until all have booted: ours, cold and warm; their bare command lines; the same with libvirt."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import ours, private
from ..results import Measure, Ratio, Table, in_turns
from ..shapes import SHAPES, topdl
from . import bare_guests, libvirt_guests
from .bare_guests import Guest

BARE, COLD, FIRST, WARM = "bare command lines, all at once", "swap-in, cold", "swap-in, warm, template made in it", "swap-in, warm"
LIBVIRT = "loop over community.libvirt.virt"
SOME = 20


class Race:
    """The ways to bring up so many guests."""

    def __init__(self, count: int, home: Path) -> None:
        topology = home / f"guests-{count}.topdl"
        topology.write_text(topdl(SHAPES["lan"](count)))
        self.experiment = ours.Experiment(topology, home)
        self.count = count
        self.guests: list[Guest] = []
        self.configs = home / "configs"

    def cold(self) -> Mapping[str, Mapping[str, float]]:
        """Swap in cold; then kill the guests, and start the same again without us: switches and TAPs are there."""
        try:
            seconds = self.experiment.swap_in("-e", "benito_start=cold")
            bare_guests.kill([pid for pid, words in self.experiment.guests() if self.learn(words)])
            time.sleep(1)
            with bare_guests.started(self.guests) as bare:
                pass
        finally:
            down = self.experiment.swap_out()
        return {COLD: {"up": seconds, "down": down}, BARE: {"up": bare}}

    def learn(self, words: list[str]) -> bool:
        """Keep what a guest was started with."""
        record: dict[str, Any] = {}
        guest = Guest(words, "")
        record = json.loads(guest.config.with_name("launch.json").read_text())
        known = {known.name for known in self.guests}
        if guest.name not in known:
            self.guests.append(Guest(words, record["tap"]))
            self.configs.mkdir(exist_ok=True)
            shutil.copy(guest.config, self.configs / f"{guest.name}.config")
        return True

    def first(self) -> Mapping[str, Mapping[str, float]]:
        """Swap in warm where no template is."""
        for path in private.TEMPLATES.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        return {FIRST: self.woken_up()}

    def warm(self) -> Mapping[str, Mapping[str, float]]:
        """Swap in warm where a template is."""
        if not any(path.is_dir() for path in private.TEMPLATES.iterdir()):
            self.woken_up()
        return {WARM: self.woken_up()}

    def woken_up(self) -> Mapping[str, float]:
        """Swap in warm, once more without a change, and out."""
        try:
            seconds = self.experiment.swap_in("-e", "benito_start=warm")
            booted = [words for dummy, words in self.experiment.guests() if "-incoming" not in words]
            if booted:
                raise RuntimeError(f"{len(booted)} of {self.count} guests were booted, not woken up")
            again = self.experiment.swap_in("-e", "benito_start=warm")
        finally:
            down = self.experiment.swap_out()
        return {"up": seconds, "again": again, "down": down}

    def libvirt(self) -> Mapping[str, Mapping[str, float]]:
        """Let libvirt do it."""
        return {LIBVIRT: {"up": libvirt_guests.up(self.guests, self.configs, self.experiment.home / "libvirt")}}


def tables(bench: Any) -> Iterator[Table]:
    """Measure 20 and 100 guests."""
    for count in bench.of((20, 100), (20,)):
        race = Race(count, bench.home)
        ways = {COLD: race.cold, FIRST: race.first, WARM: race.warm, LIBVIRT: race.libvirt}
        if count > SOME:
            # However many guests there are, one template is made, as long as before.
            del ways[FIRST]
        samples, reasons = in_turns(ways, bench.rounds, bench.say)
        rows = (BARE, *ways)
        # The targets are for many guests: with few, it is Ansible's start that counts.
        targets = {WARM: 0.25, COLD: 1.15} if count >= 100 else {}
        yield Table(
            f"guests-{count}",
            f"{count} guests until all have booted",
            (Measure("up", "up, s"), Measure("again", "again, unchanged, s"), Measure("down", "down, s")),
            (Ratio("to-bare", "of bare", "up", "up", BARE, targets=targets),),
            ("up",),
            {row: samples.get(row, {}) for row in rows},
            reasons,
            (
                f"{count} guests of image `tiny` with a control interface and one in the LAN. Ours are whole runs of `ansible-playbook`, "
                "from its start to its end.",
                "Bare: the command lines of our guests and the archives they are configured by, on switches and TAPs that are there, "
                "watched at their state ports.",
                "libvirt: a playbook that defines and starts the same guests in two loops, bridges instead of VDE switches; libvirt "
                "runs already, and is kept from asking a KVM that does not work.",
            ),
        )

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses that the lab's DHCP server gave to guests, learnt by the rules at their TAPs from what the server itself says.

A guest speaks with such an address alone. When rules are made anew the addresses are taken along, since a server says them again only
after days. Where the rules were lost, what the guest says counts, unless another machine has that address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from . import arp_probe
from .boot_state import read
from .control_rules import ControlGuest, lease_set
from .guest_status import known
from .rundir import RunDir, read_json

# A set of addresses in what nft shows, and its elements.
_SET = re.compile(r"(set lease_([0-9a-f]{12}) \{[^{}]*?)\n\s*elements = \{([^{}]*)\}")


def without(listing: str) -> str:
    """Return what nft shows of a table without the addresses, which come and go by themselves."""
    return _SET.sub(r"\1", listing)


def learnt(listing: str) -> dict[str, list[str]]:
    """Return the addresses of guests in what nft shows of a table, by the name of their set."""
    return {f"lease_{found[2]}": re.findall(r"(?:\d+\.){3}\d+", found[3]) for found in _SET.finditer(listing)}


def kept(rundir: RunDir, device: str, table: str, guests: Iterable[ControlGuest], listing: str) -> str:
    """Return the commands of nft that give guests the addresses that they had. Raises LinkError."""
    addresses = learnt(listing)
    lost = {guest.tap: guest for guest in guests if not guest.address and not addresses.get(lease_set(guest.mac))}
    said = {address: lost[tap].mac for tap, address in _said(rundir, lost).items()} if lost else {}
    taken = arp_probe.answered(device, said) if said else {}
    for address, mac in said.items():
        if address not in taken:
            addresses.setdefault(lease_set(mac), []).append(address)
    wanted = {lease_set(guest.mac) for guest in guests if not guest.address}
    return "".join(
        f"add element bridge {table} {name} {{ {', '.join(sorted(set(found)))} }}\n"
        for name, found in sorted(addresses.items())
        if found and name in wanted
    )


def _said(rundir: RunDir, taps: Mapping[str, ControlGuest]) -> dict[str, str]:
    """Return the addresses that guests say they have, by TAP."""
    found = {}
    for id_ in known(rundir):
        tap = str(read_json(f"{rundir.guest(id_)}/launch.json").get("tap") or "")
        address = read(f"{rundir.guest(id_)}/io/state").control_address if tap in taps else ""
        if address:
            found[tap] = address
    return found

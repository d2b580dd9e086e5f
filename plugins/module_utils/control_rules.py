# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nftables rules of a control net: what guests reach and who reaches them, their ports, and that none speaks with another's address.

Two tables bear the experiment's label: one of the family inet for what is routed, one of the family bridge for what enters at a TAP.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass

# A packet with this mark is for a service of the experiment's own on this host: that service's table has looked at it already.
ADMITTED = "0x62650001"
SSH = 22
# Where cables of hosts listen unless the lab says otherwise.
CABLE_PORTS = (20000, 29999)


@dataclass(frozen=True)
class ControlGuest:
    """A guest on the control net. Without an address the lab's DHCP server gives it one; port 0 is none."""

    name: str
    tap: str
    mac: str
    address: str
    port: int = 0


def label(mark: str) -> str:
    """Return the comment that says whose table it is: nftables takes 128 characters, and a mark may be longer."""
    return f"benito {hashlib.sha256(mark.encode()).hexdigest()[:32]}"


def routed(
    mark: str,
    bridge: str,
    subnet: ipaddress.IPv4Network,
    guests: tuple[ControlGuest, ...] = (),
    cable_ports: tuple[int, ...] = CABLE_PORTS,
) -> str:
    """Return the table for a net behind this host: guests reach the outside masqueraded, and those with a port are reached at it.

    Masqueraded, a guest has this host's address, by which hosts know each other's cables: it reaches no port that may be a cable's, and
    does not choose the port that it comes from.
    """
    ports = ", ".join(f"{guest.port} : {guest.address} . {SSH}" for guest in guests if guest.port)
    admit = f'\n    oifname "{bridge}" ct status dnat ip daddr {subnet} tcp dport {SSH} accept' if ports else ""
    # Only what is meant for this host itself: what it forwards for others passes.
    forward = f"""
  chain ports {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname != "{bridge}" fib daddr type local meta nfproto ipv4 dnat ip to tcp dport map {{ {ports} }}
  }}"""
    return f"""table inet {bridge} {{
  comment "{label(mark)}"
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname "{bridge}" ct state established,related accept
    iifname "{bridge}" icmp type echo-request accept
    iifname "{bridge}" meta mark {ADMITTED} accept
    iifname "{bridge}" drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname "{bridge}" meta l4proto {{ tcp, udp }} ct direction original th dport {cable_ports[0]}-{cable_ports[-1]} drop
    oifname "{bridge}" ct state established,related accept{admit}
    oifname "{bridge}" drop
    iifname "{bridge}" ip saddr {subnet} accept
    iifname "{bridge}" drop
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {subnet} oifname != "{bridge}" masquerade random,fully-random
  }}{forward if ports else ""}
}}
"""


def guarded(mark: str, table: str, guests: tuple[ControlGuest, ...]) -> str:
    """Return the table by which each guest speaks IPv4 and ARP with its own MAC and address alone; nothing when there are no guests.

    Where the lab's DHCP server gives addresses only MACs are known, and no guest is a DHCP server.
    """
    if not guests:
        return ""
    known = [guest for guest in guests if guest.address]
    taps = ", ".join(f'"{guest.tap}"' for guest in guests)
    macs = ", ".join(f'"{guest.tap}" . {guest.mac}' for guest in guests if not guest.address)
    sources = ", ".join(f'"{guest.tap}" . {guest.mac} . {guest.address}' for guest in known)
    sets = [f"set taps {{ type ifname; elements = {{ {taps} }} }}"]
    rules = ["iifname != @taps accept"]
    if known:
        sets.append(f"set sources {{ typeof iifname . ether saddr . ip saddr; elements = {{ {sources} }} }}")
        rules.append("ether type ip iifname . ether saddr . ip saddr @sources accept")
        rules.append("ether type arp iifname . ether saddr . arp saddr ip @sources accept")
    if macs:
        sets.append(f"set macs {{ typeof iifname . ether saddr; elements = {{ {macs} }} }}")
        rules.append("udp sport 67 drop")
        rules.append("ether type { ip, arp } iifname . ether saddr @macs accept")
    lines = "\n    ".join([*rules, "drop"])
    declared = "\n  ".join(sets)
    return f"""table bridge {table} {{
  comment "{label(mark)}"
  {declared}
  chain guests {{
    type filter hook prerouting priority dstnat; policy accept;
    {lines}
  }}
}}
"""

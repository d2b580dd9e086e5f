# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nftables rules of a control net: what guests reach and who reaches them, their ports, and that none speaks with another's address.

Two tables bear the experiment's label: one of the family inet for what is routed, one of the family bridge for what enters at a TAP or
leaves there. Both drop first: they list what passes.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .host_links import CONTROL_GROUP, NODE_GROUPS, LinkError

# A packet with this mark is for a service of the experiment's own on this host: that service's table has looked at it already.
ADMITTED = "0x62650001"
SSH = 22
EGRESS = ("none", "public", "all", "networks")
# What is no machine of the Internet: its own host, private networks, links and metadata of clouds, carriers, protocols, benchmarks,
# multicast, reserved and broadcast. Networks of examples are not among them: nobody has them, but labs that play the Internet.
NOT_PUBLIC = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/3",
)
# Sources that no machine has: a set takes each address once.
NO_SENDER = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")
ARP = "arp htype 1 arp ptype ip arp hlen 6 arp plen 4 arp operation { request, reply }"
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


@dataclass(frozen=True)
class Egress:
    """Where guests behind the host may connect to: one of EGRESS, and the networks for the last of them."""

    mode: str = "public"
    networks: tuple[str, ...] = ()

    @classmethod
    def from_options(cls, options: Mapping[str, Any] | None) -> Egress:
        """Take ``egress`` of the document's ``control``. Raises LinkError."""
        options = options or {}
        mode = str(options.get("mode") or "public")
        if mode not in EGRESS:
            raise LinkError(f"control.egress.mode must be one of {', '.join(EGRESS)}, not {mode[:40]!r}")
        try:
            networks = [ipaddress.IPv4Network(str(network)) for network in options.get("networks") or ()]
        except ValueError as error:
            raise LinkError(f"control.egress.networks: {error}") from error
        if bool(networks) != (mode == "networks"):
            raise LinkError("control.egress.networks must be given for the mode networks, and for no other")
        return cls(mode, tuple(map(str, ipaddress.collapse_addresses(networks))))

    @property
    def claim(self) -> dict[str, Any]:
        """The same as JSON."""
        return {"mode": self.mode, "networks": list(self.networks)}


PUBLIC = Egress()


def label(mark: str) -> str:
    """Return the comment that says whose table it is: nftables takes 128 characters, and a mark may be longer."""
    return f"benito {hashlib.sha256(mark.encode()).hexdigest()[:32]}"


def routed(
    mark: str,
    bridge: str,
    subnet: ipaddress.IPv4Network,
    guests: tuple[ControlGuest, ...] = (),
    egress: Egress = PUBLIC,
    resolvers: Iterable[str] = (),
    cable_ports: tuple[int, ...] = CABLE_PORTS,
) -> str:
    """Return the table for a net behind this host: what guests reach outside, masqueraded, and at which ports they are reached.

    Masqueraded, a guest has this host's address, by which hosts know each other's cables: it reaches no port that may be a cable's, and
    does not choose the port that it comes from.
    """
    ports = ", ".join(f"{guest.port} : {guest.address} . {SSH}" for guest in guests if guest.port)
    admit = f'\n    oifname "{bridge}" ct status dnat ip daddr {subnet} tcp dport {SSH} accept' if ports else ""
    # Only what is meant for this host itself: what it forwards for others passes. No guest gets at another by the host's ports.
    forward = f"""
  chain ports {{
    type nat hook prerouting priority dstnat; policy accept;
    iifgroup != {CONTROL_GROUP} fib daddr type local meta nfproto ipv4 dnat ip to tcp dport map {{ {ports} }}
  }}"""
    outside = "\n    ".join(_outside(bridge, egress, tuple(resolvers)))
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
    iifname "{bridge}" ip saddr {subnet} jump outside
    iifname "{bridge}" drop
  }}
  chain outside {{
    ct state established,related ct direction reply accept
    oifgroup {{ {CONTROL_GROUP}, {NODE_GROUPS} }} drop
    {outside}
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {subnet} oifname != "{bridge}" masquerade random,fully-random
  }}{forward if ports else ""}
}}
"""


def _outside(bridge: str, egress: Egress, resolvers: tuple[str, ...]) -> list[str]:
    """Return the rules for what a guest begins: each packet is looked at, so that a narrower rule ends older connections, too."""
    if egress.mode == "none":
        return ["drop"]
    if egress.mode == "all":
        return ["accept"]
    known = sorted(set(resolvers), key=ipaddress.IPv4Address)
    ask = [f"ip daddr {{ {', '.join(known)} }} {protocol} dport 53 accept" for protocol in ("udp", "tcp")] if known else []
    if egress.mode == "networks":
        return [*ask, f"ip daddr {{ {', '.join(egress.networks)} }} accept"]
    return [*ask, f"ip daddr {{ {', '.join(NOT_PUBLIC)} }} drop", "accept"]


def guarded(mark: str, table: str, guests: tuple[ControlGuest, ...], protected: Iterable[str] = ()) -> str:
    """Return the table by which each guest speaks IPv4 and ARP with its own MAC and address alone; nothing when there are no guests.

    Where the lab's DHCP server gives addresses they are learnt from its answers, but for those of the ``protected``. No guest is a DHCP
    server, speaks to a group or a VLAN, or hears what is for others.
    """
    if not guests:
        return ""
    known = [guest for guest in guests if guest.address]
    leased = [guest for guest in guests if not guest.address]
    sets = [
        _set("taps", "iifname", (f'"{guest.tap}"' for guest in guests)),
        _set("macs", "iifname . ether saddr", (f'"{guest.tap}" . {guest.mac}' for guest in guests)),
        _set("readers", "oifname . ether daddr", (f'"{guest.tap}" . {guest.mac}' for guest in guests)),
    ]
    # In a frame with the tag of a VLAN the type is that of the tag.
    rules = ["ether type != { ip, arp } drop", "iifname . ether saddr != @macs drop"]
    if leased:
        never = ", ".join([*NO_SENDER, *sorted(a for a in {*protected} if not _is_in(a, NO_SENDER))])
        sets.append(_set("leased", "iifname . ether saddr", (f'"{guest.tap}" . {guest.mac}' for guest in leased)))
        sets.append(f"set never {{ type ipv4_addr; flags interval; elements = {{ {never} }} }}")
        sets += [f"set {lease_set(guest.mac)} {{ type ipv4_addr; size 16; flags dynamic,timeout; timeout 30d; }}" for guest in leased]
        rules.append("ether type ip udp sport 68 udp dport 67 iifname . ether saddr @leased jump requests")
    rules += [
        # A server of DHCP; groups and broadcasts, by which names are spoofed and routers elected; other roads than the lab's.
        "udp sport 67 drop",
        "udp dport 68 drop",
        "ether type ip ether daddr & 01:00:00:00:00:00 == 01:00:00:00:00:00 drop",
        "icmp type { redirect, router-advertisement } drop",
    ]
    if known:
        sets.append(_set("sources", "iifname . ether saddr . ip saddr", (f'"{g.tap}" . {g.mac} . {g.address}' for g in known)))
        rules.append("ether type ip iifname . ether saddr . ip saddr @sources accept")
        rules.append(f"ether type arp {ARP} iifname . arp saddr ether . arp saddr ip @sources accept")
    if leased:
        owners = ", ".join(f'"{guest.tap}" : jump of_{lease_set(guest.mac)}' for guest in leased)
        rules += ["ether type ip ip saddr @never drop", f"iifname vmap {{ {owners} }}"]
    lines = "\n    ".join([*rules, "drop"])
    declared = "\n  ".join(sets)
    learn = "\n    ether type ip udp sport 67 udp dport 68 jump answers" if leased else ""
    return f"""table bridge {table} {{
  comment "{label(mark)}"
  {declared}{_for_leased(leased)}
  chain from_guest {{
    {lines}
  }}
  chain guests {{
    type filter hook prerouting priority dstnat; policy accept;
    iifname @taps jump from_guest
  }}
  chain to_guest {{{learn}
    ether type {{ ip, arp }} oifname . ether daddr @readers accept
    ether type arp ether daddr ff:ff:ff:ff:ff:ff accept
    ether type ip ether daddr ff:ff:ff:ff:ff:ff udp sport 67 udp dport 68 accept
    drop
  }}
  chain readers {{
    type filter hook postrouting priority filter; policy accept;
    oifname @taps jump to_guest
  }}
}}
"""


def lease_set(mac: str) -> str:
    """Return the name of the set of addresses that the lab's DHCP server gave to a MAC."""
    return f"lease_{mac.replace(':', '')}"


def _for_leased(leased: Iterable[ControlGuest]) -> str:
    """Return the chains for guests that ask the lab's DHCP server: each for itself alone, so that none uses up the server's addresses.

    What the server answers says with which addresses a guest may speak.
    """
    asking, asked, answers, owners = [], [], [], []
    for guest in leased:
        name, number = lease_set(guest.mac), f"0x{guest.mac.replace(':', '')}"
        # Behind the 8 bytes of UDP: at 28 the MAC of the client, at 16 the address that it gets.
        asking.append(f'iifname "{guest.tap}" @th,288,48 != {number} drop')
        asked.append(f'iifname "{guest.tap}" ip saddr @{name} accept')
        answers.append(f'oifname "{guest.tap}" @th,288,48 {number} update @{name} {{ @th,192,32 timeout 30d }}')
        arp = f"ether type arp {ARP} arp saddr ether {guest.mac} arp saddr ip"
        allowed = [f"ether type ip ip saddr @{name} accept", f"{arp} 0.0.0.0 accept", f"{arp} @never drop", f"{arp} @{name} accept"]
        owners.append((f"of_{name}", allowed))
    if not owners:
        return ""
    requests = [*asking, "ip saddr 0.0.0.0 accept", "ip saddr @never drop", *asked, "drop"]
    return "".join(_chain(name, lines) for name, lines in [("requests", requests), ("answers", answers), *owners])


def _chain(name: str, lines: Iterable[str]) -> str:
    body = "\n    ".join(lines)
    return f"\n  chain {name} {{\n    {body}\n  }}"


def _set(name: str, typeof: str, elements: Iterable[str]) -> str:
    return f"set {name} {{ typeof {typeof}; elements = {{ {', '.join(elements)} }} }}"


def _is_in(address: str, networks: Iterable[str]) -> bool:
    return any(ipaddress.IPv4Address(address) in ipaddress.IPv4Network(network) for network in networks)

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a control net can have its networks, addresses, MACs and ports on this host: none is another one's, or the host's own."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Sequence

from . import host_links, host_networks
from .control_rules import ControlGuest
from .host_links import LinkError
from .host_networks import NETWORK, ROUTE

LISTENING = "0A"


def check_network(network: ipaddress.IPv4Network, bridge: str, mark: str) -> None:
    """Raise LinkError when a network behind this host would take over what the host talks to."""
    if host_networks.is_special(network):
        raise LinkError(
            f"the control net {network} holds addresses that are no machine's (loopback, link-local, multicast or reserved): "
            f"choose another with control_subnet, for example {_spare(mark)}"
        )
    if not network.is_private:
        raise LinkError(f"the control net {network} is not private: choose another with control_subnet, for example {_spare(mark)}")
    for entry in host_networks.used(lambda name: name == bridge):
        if entry.kind == NETWORK and entry.network.overlaps(network):
            fault = f"overlaps with {entry.network} of {entry.what.rpartition(' ')[2]} on this host"
        elif entry.kind == ROUTE and entry.network.subnet_of(network):
            fault = f"holds {entry.network}, to which this host has {entry.what}"
        elif not entry.kind and entry.network.subnet_of(network):
            fault = f"holds {entry.network.network_address}, and this host has {entry.what}"
        else:
            continue
        raise LinkError(f"the control net {network} {fault}: choose another with control_subnet, for example {_spare(mark)}")


def _spare(mark: str) -> str:
    return f"172.31.{sum(mark.encode()) % 256}.0/24"


def check_guests(guests: Sequence[ControlGuest], network: ipaddress.IPv4Network | None, gateway: str) -> None:
    """Raise LinkError when a guest would have the address or the MAC of something that is none. ``gateway`` is the guests'."""
    if not guests:
        return
    links = host_links.links()
    own = {address.split("/")[0] for link in links for address in host_links.inet(link)}
    machines = {str(entry.network.network_address): entry.what for entry in host_networks.used(lambda name: False) if not entry.kind}
    macs = {str(link.get("address")): f"the interface {link['ifname']} of this host" for link in links}
    macs.update({mac: f"{machines[address]} of this host" for address, mac in _neighbours().items() if address in machines})
    for guest in guests:
        if int(guest.mac[:2], 16) & 3 != 2:
            raise LinkError(
                f"the control MAC {guest.mac} of {guest.name} must be a locally administered one of a single machine, as 02:..."
            )
        if guest.mac in macs:
            raise LinkError(f"the control MAC {guest.mac} of {guest.name} is that of {macs[guest.mac]}: choose another")
        fault = _address_fault(guest.address, network, gateway, own, machines) if guest.address else ""
        if fault:
            raise LinkError(f"the control address {guest.address} of {guest.name} {fault}: choose another")


def _address_fault(text: str, network: ipaddress.IPv4Network | None, gateway: str, own: Iterable[str], machines: dict[str, str]) -> str:
    """Say why an address can be no guest's; empty when it can."""
    address = ipaddress.IPv4Address(text)
    if text == gateway:
        return "is that of the guests' gateway"
    if text in own:
        return "is this host's own"
    if text in machines:
        return f"belongs to a machine of the lab, and this host has {machines[text]}"
    if network is None:
        return "is given, though neither the subnet nor the gateway of the lab is"
    ends = {network.network_address, network.broadcast_address} if network.prefixlen < 31 else set()
    if address not in network or address in ends or host_networks.is_special(ipaddress.IPv4Network(text)):
        return f"is no machine's in the control net {network}"
    return ""


def never_a_guests(gateway: str) -> list[str]:
    """Return the addresses with which no guest may speak, whatever it says that the lab's DHCP server gave it."""
    machines = {str(entry.network.network_address) for entry in host_networks.used(lambda name: False) if not entry.kind}
    own = {address.split("/")[0] for link in host_links.links() for address in host_links.inet(link)}
    return sorted(machines | own | ({gateway} if gateway else set()))


def _neighbours() -> dict[str, str]:
    """Return the MACs of this host's neighbours by address."""
    found = json.loads(host_links.run(["ip", "-json", "-4", "neighbour", "show"]) or "[]")
    return {str(entry["dst"]): str(entry["lladdr"]) for entry in found if entry.get("lladdr")}


def check_ports(guests: Sequence[ControlGuest]) -> None:
    """Raise LinkError when a program of this host listens at a port of a guest's."""
    used = _listening() if any(guest.port for guest in guests) else set()
    for guest in guests:
        if guest.port in used:
            raise LinkError(f"port {guest.port} of {guest.name} is a program's on this host: choose another range with control_ports")


def _listening() -> set[int]:
    """Return the TCP ports that programs of this host listen at."""
    found = set()
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(path, encoding="ascii") as file:
                lines = [line.split() for line in file.readlines()[1:]]
        except OSError:
            continue
        found |= {int(words[1].rpartition(":")[2], 16) for words in lines if words[3] == LISTENING}
    return found

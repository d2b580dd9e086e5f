# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control net in mode ``nat``: a bridge with a private subnet of its own, reachable from the host, masqueraded to the outside.

The rules are those of least privilege: guests may speak to the outside with an address of the control net as source and to nothing on the
host but its answers and ping; nobody outside and no other experiment reaches a guest; guests do not reach each other.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import host_links
from .host_links import LinkError
from .rundir import RunDir, existing, host_lock, read_json, remove, write_file, write_json

FORWARDING = "/proc/sys/net/ipv4/ip_forward"
# A packet with this mark is for a service of the experiment's own on this host: that service's table has looked at it already.
ADMITTED = "0x62650001"


@dataclass(frozen=True)
class ControlNet:
    """Name of the bridge, its address and the subnet's prefix length."""

    bridge: str
    address: str
    prefix: int

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> ControlNet:
        """Take the document's ``control``. Raises LinkError."""
        try:
            ipaddress.IPv4Interface(f"{options['address']}/{options['prefix']}")
        except ValueError as error:
            raise LinkError(f"control: {error}") from error
        bridge = str(options["bridge"])
        if not re.match(r"[A-Za-z0-9]{1,15}\Z", bridge):
            raise LinkError(f"control.bridge must be at most 15 letters and digits, not {bridge[:40]!r}")
        return cls(bridge, str(options["address"]), int(options["prefix"]))

    @property
    def interface(self) -> str:
        """The bridge's address with its prefix length."""
        return f"{self.address}/{self.prefix}"

    @property
    def subnet(self) -> ipaddress.IPv4Network:
        """The subnet of the control net."""
        return ipaddress.IPv4Interface(self.interface).network


def rules(rundir: RunDir, net: ControlNet) -> str:
    """Return the experiment's nftables table."""
    return f"""table inet {net.bridge} {{
  comment "{label(rundir.mark)}"
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname "{net.bridge}" ct state established,related accept
    iifname "{net.bridge}" icmp type echo-request accept
    iifname "{net.bridge}" meta mark {ADMITTED} accept
    iifname "{net.bridge}" drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    oifname "{net.bridge}" ct state established,related accept
    oifname "{net.bridge}" drop
    iifname "{net.bridge}" ip saddr {net.subnet} accept
    iifname "{net.bridge}" drop
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {net.subnet} oifname != "{net.bridge}" masquerade
  }}
}}
"""


def needs(rundir: RunDir, net: ControlNet) -> list[str]:
    """Say what must be done for the control net; empty when everything is as wanted."""
    todo = []
    if not host_links.exists(net.bridge):
        todo.append("bridge")
    elif host_links.addresses(net.bridge) != [net.interface] or not _is_up(net.bridge):
        todo.append("address")
    record = read_json(f"{rundir.path}/control.json")
    if record.get("rules") != rules(rundir, net) or not record.get("listing") or listing(net.bridge) != record.get("listing"):
        todo.append("rules")
    if _forwarding() != "1":
        todo.append("forwarding")
    return todo


def check_free(rundir: RunDir, net: ControlNet) -> None:
    """Raise LinkError when the subnet is somebody else's on this host."""
    for link in host_links.links():
        if link["ifname"] == net.bridge:
            continue
        for entry in link.get("addr_info", []):
            if entry.get("family") != "inet":
                continue
            other = ipaddress.IPv4Interface(f"{entry['local']}/{entry['prefixlen']}").network
            if other.overlaps(net.subnet):
                spare = f"172.31.{sum(rundir.mark.encode()) % 256}.0/24"
                raise LinkError(
                    f"the control net {net.subnet} overlaps with {other} of {link['ifname']} on this host: "
                    f"choose another with control_subnet, for example {spare}"
                )


def create(rundir: RunDir, net: ControlNet) -> None:
    """Bring the control net to what is wanted. Raises LinkError."""
    check_free(rundir, net)
    host_links.add_bridge(net.bridge, net.interface, rundir.mark)
    # One transaction: the old table goes and the new one comes, or nothing happens.
    host_links.run(["nft", "-f", "-"], f"table inet {net.bridge}\ndelete table inet {net.bridge}\n{rules(rundir, net)}")
    write_json(f"{rundir.path}/control.json", {"rules": rules(rundir, net), "listing": listing(net.bridge)})
    with host_lock(rundir.root):
        if _forwarding() != "1":
            # Remembered for the last experiment that leaves this host.
            write_file(f"{rundir.root}/ip_forward", _forwarding().encode())
            _set_forwarding("1")


def tables(mark: str) -> list[str]:
    """Return the nftables tables that bear the mark."""
    found = []
    try:
        lines = host_links.run(["nft", "list", "tables", "inet"]).splitlines()
    except LinkError:
        return []
    for line in lines:
        name = line.split()[-1]
        if f'comment "{label(mark)}"' in listing(name):
            found.append(name)
    return found


def delete_table(name: str) -> None:
    """Remove a table."""
    host_links.run(["nft", "delete", "table", "inet", name])


def restore_forwarding(root: str) -> bool:
    """Give the host its forwarding setting back when no experiment is left. True when something was done."""
    remembered = f"{root}/ip_forward"
    if not os.path.exists(remembered):
        return False
    with host_lock(root):
        if existing(root) or not os.path.exists(remembered):
            return False
        with open(remembered, encoding="ascii") as file:
            _set_forwarding(file.read().strip() or "0")
        return remove(remembered)


def label(mark: str) -> str:
    """Return the comment that says whose table it is: nftables takes 128 characters, and a mark may be longer."""
    return f"benito {hashlib.sha256(mark.encode()).hexdigest()[:32]}"


def listing(table: str) -> str:
    """Return what nft shows of a table; nothing when there is none."""
    try:
        return host_links.run(["nft", "list", "table", "inet", table])
    except LinkError:
        return ""


def _is_up(name: str) -> bool:
    return any("UP" in link.get("flags", []) for link in host_links.links("dev", name))


def _forwarding() -> str:
    with open(FORWARDING, encoding="ascii") as file:
        return file.read().strip()


def _set_forwarding(value: str) -> None:
    try:
        with open(FORWARDING, "w", encoding="ascii") as file:
            file.write(value)
    except OSError as error:
        raise LinkError(f"cannot set net.ipv4.ip_forward to {value}: {error.strerror}; set it where this host is configured") from error

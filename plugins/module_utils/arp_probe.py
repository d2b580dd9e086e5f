# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a network whether somebody has an address, before a guest gets it: the probes of RFC 5227, which no machine learns anything from."""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
import time
from collections.abc import Mapping

from .host_links import LinkError

ETH_P_ARP = 0x0806
SIOCGIFHWADDR = 0x8927
BROADCAST = b"\xff" * 6
HEADER = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
PROBES, INTERVAL, PATIENCE = 3, 0.2, 0.6


def answered(device: str, guests: Mapping[str, str]) -> dict[str, str]:
    """Return the MAC of each machine that has one of these addresses, by address. ``guests`` are the MACs that may have them.

    A machine that asks for an address itself is about to take it. Raises LinkError.
    """
    found: dict[str, str] = {}
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ARP)) as line:
            line.bind((device, ETH_P_ARP))
            own = _own_mac(line, device)
            for number in range(PROBES):
                for address in guests:
                    target = ipaddress.IPv4Address(address).packed
                    body = HEADER + own + bytes(4) + bytes(6) + target
                    line.send(BROADCAST + own + struct.pack("!H", ETH_P_ARP) + body)
                _listen(line, INTERVAL if number < PROBES - 1 else PATIENCE, own, guests, found)
    except OSError as error:
        raise LinkError(f"cannot ask over {device} whether addresses are free: {error.strerror}") from error
    return found


def _listen(line: socket.socket, seconds: float, own: bytes, guests: Mapping[str, str], found: dict[str, str]) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        line.settimeout(left)
        try:
            frame = line.recv(2048)
        except socket.timeout:
            return
        if len(frame) < 42 or frame[12:14] != b"\x08\x06" or frame[14:20] != HEADER[:6]:
            continue
        sender, says, target = frame[22:28], frame[28:32], frame[38:42]
        address = str(ipaddress.IPv4Address(target if says == bytes(4) else says))
        mac = sender.hex(":")
        if sender != own and address in guests and mac != guests[address]:
            found.setdefault(address, mac)


def _own_mac(line: socket.socket, device: str) -> bytes:
    return fcntl.ioctl(line, SIOCGIFHWADDR, struct.pack("256s", device.encode()))[18:24]

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames made by hand, sockets in other networks, and TAPs that a test drives as a hostile guest would."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import ipaddress
import os
import select
import socket
import struct
import subprocess
import time
from collections.abc import Iterator

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
CLONE_NEWNET = 0x40000000
ALL = "ff:ff:ff:ff:ff:ff"


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def ether(target: str, source: str, kind: int, payload: bytes) -> bytes:
    return mac(target) + mac(source) + struct.pack("!H", kind) + payload.ljust(46, b"\0")


def tagged(frame: bytes, number: int, kind: int = 0x8100) -> bytes:
    """Put the tag of a VLAN into a frame."""
    return frame[:12] + struct.pack("!HH", kind, number) + frame[12:]


def arp(operation: int, sender: str, says: str, target: str, asks: str) -> bytes:
    addresses = [ipaddress.IPv4Address(address).packed for address in (says, asks)]
    return struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + mac(sender) + addresses[0] + mac(target) + addresses[1]


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(source: str, target: str, protocol: int, payload: bytes, fragment: int = 0) -> bytes:
    addresses = ipaddress.IPv4Address(source).packed + ipaddress.IPv4Address(target).packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 7, fragment, 64, protocol, 0) + addresses
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def udp(source: int, target: int, data: bytes) -> bytes:
    return struct.pack("!HHHH", source, target, 8 + len(data), 0) + data


def dhcp(client: str, said: bytes, given: str = "0.0.0.0") -> bytes:
    """A message of DHCP that speaks of a client's MAC and an address for it, with a word by which a test knows it."""
    address = ipaddress.IPv4Address(given).packed
    return struct.pack("!BBBBIHH", 1, 1, 6, 0, 7, 0, 0) + bytes(4) + address + bytes(8) + mac(client) + bytes(10) + bytes(192) + said


@contextlib.contextmanager
def elsewhere() -> Iterator[subprocess.Popen[bytes]]:
    """Another network, which ends with the block."""
    with subprocess.Popen(["unshare", "--net", "sleep", "300"]) as process:
        while os.readlink(f"/proc/{process.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            time.sleep(0.01)
        try:
            yield process
        finally:
            process.kill()


def inside(process: subprocess.Popen[bytes], *words: str) -> int:
    """Run a program in another network; its exit status."""
    command = ["nsenter", f"--net=/proc/{process.pid}/ns/net", *words]
    return subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode


def wire(device: str, process: subprocess.Popen[bytes] | None = None) -> socket.socket:
    """Open a socket that sends and hears all frames of an interface, which may be in another network."""
    libc, here = ctypes.CDLL(None), os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        if process:
            there = os.open(f"/proc/{process.pid}/ns/net", os.O_RDONLY)
            libc.setns(there, CLONE_NEWNET)
            os.close(there)
        line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        line.bind((device, 3))
        return line
    finally:
        libc.setns(here, CLONE_NEWNET)
        os.close(here)


def tap(device: str) -> int:
    """Be the machine behind a TAP."""
    handle = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(handle, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TAP | IFF_NO_PI))
    return handle


def heard(line: socket.socket | int, last: bytes, seconds: float = 20.0) -> list[bytes]:
    """Return all frames until one has these bytes: what was sent before it, and is not among them, was dropped."""
    found = []
    end = time.monotonic() + seconds
    number = line if isinstance(line, int) else line.fileno()
    while time.monotonic() < end:
        if select.select([number], [], [], 0.2)[0]:
            frame = os.read(number, 4096)
            found.append(frame)
            if last in frame:
                return found
    raise AssertionError(f"{last!r} did not arrive, but {found}")

# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbered UDP packets, sent at a given pace and counted where they arrive. Runs inside a node of a measurement.

python probe.py echo                          send everything back
python probe.py rtt ADDRESS COUNT INTERVAL    print the round trip times in ms
python probe.py sink                          print when which packets arrived, after one second of silence
python probe.py blast ADDRESS COUNT RATE      send full frames at so many Mb/s
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator

PORT = 5000
# A frame of 1514 bytes: Ethernet, IP and UDP have headers of 14, 20 and 8 bytes.
PAYLOAD, FRAME = 1472, 1514
NUMBER = struct.Struct("!Id")


def opened(address: str = "") -> socket.socket:
    """Return a UDP socket with room for what arrives while nobody looks."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    if address:
        made.connect((address, PORT))
    else:
        made.bind(("", PORT))
        print("ready", flush=True)
    return made


def paced(count: int, interval: float) -> Iterator[int]:
    """Yield numbers, none much before its time: waking up for every frame would cost more than sending it."""
    start = time.monotonic()
    for number in range(count):
        wait = start + number * interval - time.monotonic()
        if wait > 0.001:
            time.sleep(wait)
        yield number


def echo() -> None:
    """Send everything back."""
    with opened() as link:
        while True:
            packet, source = link.recvfrom(2048)
            link.sendto(packet, source)


def rtt(address: str, count: int, interval: float) -> list[float]:
    """Return the round trip times of the packets that came back, in ms."""
    found = []
    with opened(address) as link:
        link.setblocking(False)

        def collect(patience: float) -> bool:
            if not select.select([link], [], [], max(0.0, patience))[0]:
                return False
            with contextlib.suppress(OSError):
                found.append((time.monotonic() - NUMBER.unpack(link.recv(2048)[: NUMBER.size])[1]) * 1000)
            return True

        start = time.monotonic()
        for number in range(count):
            while (wait := start + number * interval - time.monotonic()) > 0:
                collect(wait)
            link.send(NUMBER.pack(number, time.monotonic()).ljust(56))
        while collect(2.0):
            pass
    return found


def sink() -> dict[str, object]:
    """Return which numbers arrived, and the time from the first to the last."""
    numbers, times = [], []
    with opened() as link:
        link.settimeout(60)
        with contextlib.suppress(TimeoutError):
            while True:
                number = NUMBER.unpack(link.recv(2048)[: NUMBER.size])[0]
                times.append(time.monotonic())
                numbers.append(number)
                link.settimeout(1.5)
    return {"numbers": numbers, "times": [t - times[0] for t in times] if times else []}


def blast(address: str, count: int, rate: float) -> None:
    """Send full frames at ``rate`` Mb/s."""
    with opened(address) as link:
        for number in paced(count, FRAME * 8 / rate / 1e6):
            with contextlib.suppress(OSError):
                link.send(NUMBER.pack(number, 0.0).ljust(PAYLOAD))


def main() -> None:
    """Do what the command line says and print the result as JSON."""
    role, *words = sys.argv[1:]
    if role == "echo":
        echo()
    elif role == "sink":
        print(json.dumps(sink()))
    elif role == "rtt":
        print(json.dumps(rtt(words[0], int(words[1]), float(words[2]))))
    else:
        blast(words[0], int(words[1]), float(words[2]))


if __name__ == "__main__":
    main()

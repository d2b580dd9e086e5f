# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bridges and TAPs of the host, through iproute2. Everything made here bears the experiment's mark as its alias."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import struct
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import HostError

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
TAP_HANDLE = 100
# Groups of interfaces, by which one rule speaks of those of all experiments: bridges of control nets, to and from which the host forwards;
# the bridge with the lab's own interface; and, one for each experiment, interfaces of nodes that are the host itself.
CONTROL_GROUP, LAB_GROUP = 25187, 25189
FIRST_NODE_GROUP, LAST_NODE_GROUP = 0x62000000, 0x62FFFFFF
NODE_GROUPS = f"{FIRST_NODE_GROUP}-{LAST_NODE_GROUP}"


class LinkError(HostError):
    """iproute2 or nft refused; the text says what and why."""


def run(argv: Sequence[str], text: str | None = None) -> str:
    """Run a host tool and return its output. Raises LinkError with what the tool said."""
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LinkError(f"{argv[0]}: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise LinkError(f"{' '.join(argv)}: {said[0] if said else f'exit status {done.returncode}'}")
    return done.stdout


def links(*filters: str) -> list[dict[str, Any]]:
    """Return links as ``ip -json`` shows them."""
    found = json.loads(run(["ip", "-json", "-details", "address", "show", *filters]) or "[]")
    return [link for link in found if link]


def exists(name: str) -> bool:
    """Tell whether there is a link of this name."""
    return os.path.isdir(f"/sys/class/net/{name}")


def alias(name: str) -> str:
    """Return the alias of a link, which is whose it is."""
    try:
        with open(f"/sys/class/net/{name}/ifalias", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def master(name: str) -> str:
    """Return the bridge a link is a port of; empty for none."""
    try:
        return os.path.basename(os.readlink(f"/sys/class/net/{name}/master"))
    except OSError:
        return ""


def is_attached(name: str, bridge: str) -> bool:
    """Tell whether a TAP is an isolated port of the bridge."""
    try:
        with open(f"/sys/class/net/{name}/brport/isolated", encoding="ascii") as file:
            return master(name) == bridge and file.read().strip() == "1"
    except OSError:
        return False


def is_bridge(name: str) -> bool:
    """Tell whether a link is a bridge."""
    return os.path.isdir(f"/sys/class/net/{name}/bridge")


def node_group(mark: str) -> int:
    """Return the group of the interfaces that an experiment's nodes have in the host's own network."""
    return FIRST_NODE_GROUP + int.from_bytes(hashlib.sha256(mark.encode()).digest()[:3], "big")


def group(name: str) -> int:
    """Return the group of a link; 0, which is that of all others, when there is no such link."""
    try:
        with open(f"/sys/class/net/{name}/netdev_group", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


def ports(bridge: str) -> list[str]:
    """Return the ports of a bridge."""
    try:
        return sorted(os.listdir(f"/sys/class/net/{bridge}/brif"))
    except OSError:
        return []


def marked(mark: str) -> list[str]:
    """Return the links that bear the mark."""
    return sorted(name for name in os.listdir("/sys/class/net") if alias(name) == mark)


def add_tap(name: str, bridge: str, mark: str) -> None:
    """Make sure of a TAP as a port of the bridge that reaches the host only."""
    if exists(name) and alias(name) != mark:
        raise LinkError(f"there is an interface {name} already which is not ours: remove it or rename the experiment")
    if not exists(name):
        run(["ip", "tuntap", "add", "dev", name, "mode", "tap"])
        run(["ip", "link", "set", "dev", name, "alias", mark])
    disable_ipv6(name)
    # Guests meet on the links of their topology; the control net leads to the host and no further: it is isolated before it is up.
    steps = (f"master {bridge}", "type bridge_slave isolated on", "up")
    run(["ip", "-batch", "-"], "".join(f"link set dev {name} {step}\n" for step in steps))


def open_tap(name: str) -> int:
    """Open a TAP for a process that may not do so itself; the descriptor is the lowest free one from TAP_HANDLE on."""
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
        return fcntl.fcntl(tun, fcntl.F_DUPFD_CLOEXEC, TAP_HANDLE)
    except OSError as error:
        raise LinkError(f"cannot open the interface {name}: {error.strerror}") from error
    finally:
        os.close(tun)


def add_bridge(name: str, address: str, mark: str) -> None:
    """Make sure of a bridge with this address (``172.20.5.1/24``)."""
    if exists(name) and alias(name) != mark:
        raise LinkError(f"there is an interface {name} already which is not ours: remove it or rename the experiment")
    if not exists(name):
        run(["ip", "link", "add", "name", name, "group", str(CONTROL_GROUP), "type", "bridge", "stp_state", "0", "forward_delay", "0"])
        run(["ip", "link", "set", "dev", name, "alias", mark])
    disable_ipv6(name)
    if group(name) != CONTROL_GROUP:
        run(["ip", "link", "set", "dev", name, "group", str(CONTROL_GROUP)])
    for old in addresses(name):
        if old != address:
            run(["ip", "address", "del", old, "dev", name])
    run(["ip", "address", "replace", address, "dev", name])
    run(["ip", "link", "set", "dev", name, "up"])


def addresses(name: str) -> list[str]:
    """Return the IPv4 addresses of a link, ``172.20.5.1/24``."""
    return [address for link in links("dev", name) for address in inet(link)]


def inet(link: Mapping[str, Any]) -> list[str]:
    """Return the IPv4 addresses of a link that `links` has found."""
    return [f"{a['local']}/{a['prefixlen']}" for a in link.get("addr_info", []) if a.get("family") == "inet"]


def delete(name: str) -> None:
    """Remove a link; nothing when it is gone already."""
    if exists(name):
        try:
            run(["ip", "link", "delete", "dev", name])
        except LinkError:
            # One end of a pair goes by itself with the network namespace of the other, when that suits the kernel.
            if exists(name):
                raise


def setting(name: str) -> str:
    """Return a setting of the kernel's network, by its path below /proc/sys/net; empty where the kernel has none."""
    try:
        with open(f"/proc/sys/net/{name}", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def change_setting(name: str, value: str) -> None:
    """Change a setting of the kernel's network, where the kernel has it. Raises LinkError."""
    try:
        with open(f"/proc/sys/net/{name}", "w", encoding="ascii") as file:
            file.write(value)
    except FileNotFoundError:
        return  # A kernel without IPv6 has no such file.
    except OSError as error:
        raise LinkError(f"net/{name} cannot be set to {value}: {error.strerror}") from error


def disable_ipv6(name: str, value: str = "1") -> None:
    """Silence IPv6 on a link, or let it be as it was, as far as the kernel lets us."""
    with contextlib.suppress(LinkError):
        change_setting(f"ipv6/conf/{name}/disable_ipv6", value)

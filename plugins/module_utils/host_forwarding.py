# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a host forwards IPv4 packets: switched on for experiments, for nobody else, and put back as it was.

The kernel forwards what arrives at an interface to any other, so a host that forwards for its guests becomes a router between all its
networks. Where the host did not forward before, a table drops all that neither comes from an experiment nor goes to one. It knows the
interfaces of experiments by their group, which each gets when it is made, so it is the same for all experiments.

    ROOT/forwarding.json              what the host's settings were, and the table as nft shows it; not there where the host forwards anyway
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

from . import host_links
from .host_links import CONTROL_GROUP, LAB_GROUP, NODE_GROUPS, LinkError
from .processes import boot_id
from .rundir import existing, host_lock, read_json, remove, write_json
from .untrusted import UntrustedError, read_bytes

FORWARDING = "/proc/sys/net/ipv4/ip_forward"
INTERFACES = "/proc/sys/net/ipv4/conf"
# The kernel changes this one together with ip_forward.
REDIRECTS = "ipv4/conf/all/accept_redirects"
TABLE = "benito_forward"


def forwarding() -> str:
    """Return whether the host forwards packets, 1 or 0."""
    with open(FORWARDING, encoding="ascii") as file:
        return file.read().strip()


def lacking(root: str) -> bool:
    """Tell whether something is missing for packets of experiments, and of them alone, to be forwarded."""
    record = _record(root)
    return forwarding() != "1" or (bool(record) and _listing() != record.get("listing")) or os.path.exists(f"{root}/ip_forward")


def forward(root: str) -> None:
    """Let the host forward packets of experiments. Raises LinkError."""
    with host_lock(root):
        record = _record(root) or _of_old(root)
        if not record:
            if forwarding() == "1":
                return
            record = {"boot": boot_id(), "ip_forward": forwarding(), **_settings()}
        # It is remembered, and the table in place, before there is anything to put back or to guard.
        write_json(f"{root}/forwarding.json", record)
        if not record.get("listing") or _listing() != record["listing"]:
            routing = [name for name, value in record["interfaces"].items() if value == "1"]
            host_links.run(["nft", "-f", "-"], f"table inet {TABLE}\ndelete table inet {TABLE}\n{rules(routing)}")
            write_json(f"{root}/forwarding.json", {**record, "listing": _listing()})
        remove(f"{root}/ip_forward")
        if forwarding() != "1":
            _write(FORWARDING, "1")


def restore(root: str) -> bool:
    """Give the host its settings back when no experiment is left. True when something was done."""
    if not (os.path.lexists(f"{root}/forwarding.json") or os.path.lexists(f"{root}/ip_forward")):
        return False
    with host_lock(root):
        if existing(root):
            return False
        record = _record(root) or _of_old(root)
        if record:
            _put_back(record)
        if _listing():
            host_links.run(["nft", "delete", "table", "inet", TABLE])
        removed = [remove(f"{root}/{name}") for name in ("forwarding.json", "ip_forward")]
        return any(removed)


def rules(routing: list[str]) -> str:
    """Return the table. ``routing`` are interfaces that forwarded before: what arrives there goes where it went."""
    lines = ["meta nfproto != ipv4 accept", f"iifgroup {CONTROL_GROUP} accept", f"oifgroup {CONTROL_GROUP} accept"]
    lines += [f"iifgroup {groups} oifgroup {groups} accept" for groups in (str(LAB_GROUP), NODE_GROUPS)]
    lines += [f'iifname "{name}" accept' for name in routing]
    # With br_netfilter, frames that a bridge of the host's passes on come by here.
    if host_links.setting("bridge/bridge-nf-call-iptables") == "1":
        bridges = [name for name in sorted(os.listdir("/sys/class/net")) if host_links.is_bridge(name)]
        lines += [f'iifname "{name}" oifname "{name}" accept' for name in bridges]
    text = "\n    ".join([*lines, "drop"])
    return f"""table inet {TABLE} {{
  comment "benito: this host forwards for experiments alone"
  chain forward {{
    type filter hook forward priority filter; policy accept;
    {text}
  }}
}}
"""


def _record(root: str) -> dict[str, Any]:
    """Return what was there before; nothing when we did not switch it on since the host was started."""
    record = read_json(f"{root}/forwarding.json")
    interfaces = record.get("interfaces")
    sound = record.get("boot") == boot_id() and record.get("ip_forward") in ("0", "1") and isinstance(interfaces, dict)
    return record if sound and all("/" not in name for name in interfaces or ()) else {}


def _of_old(root: str) -> dict[str, Any]:
    """Return what earlier versions remembered: the one setting."""
    with contextlib.suppress(UntrustedError):
        before = "1" if read_bytes(f"{root}/ip_forward").strip() == b"1" else "0"
        return {"boot": boot_id(), "ip_forward": before, "interfaces": {}, "redirects": ""}
    return {}


def _settings() -> dict[str, Any]:
    """Return the settings that the kernel changes when forwarding is switched."""
    names = [name for name in sorted(os.listdir(INTERFACES)) if name != "all"]
    interfaces = {name: host_links.setting(f"ipv4/conf/{name}/forwarding") for name in names}
    return {"interfaces": interfaces, "redirects": host_links.setting(REDIRECTS)}


def _put_back(record: dict[str, Any]) -> None:
    _write(FORWARDING, str(record["ip_forward"]))
    for name, value in record["interfaces"].items():
        if os.path.isdir(f"{INTERFACES}/{name}") and host_links.setting(f"ipv4/conf/{name}/forwarding") != value:
            host_links.change_setting(f"ipv4/conf/{name}/forwarding", str(value))
    if record.get("redirects") and host_links.setting(REDIRECTS) != record["redirects"]:
        host_links.change_setting(REDIRECTS, str(record["redirects"]))


def _listing() -> str:
    """Return the table as nft shows it; empty for none."""
    with contextlib.suppress(LinkError):
        return host_links.run(["nft", "list", "table", "inet", TABLE])
    return ""


def _write(path: str, value: str) -> None:
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(value)
    except OSError as error:
        raise LinkError(f"cannot set net.ipv4.ip_forward to {value}: {error.strerror}; set it where this host is configured") from error

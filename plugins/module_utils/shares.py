# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories of this host that the guests of an experiment mount: one 9P server, ``diod``, per experiment.

diod opens paths as it is told and follows symbolic links, which guests can make. So it gets a root directory of its own, in a mount
namespace of its own, with nothing in it but the exported directories under their names and, read-only, what a program needs to run.
It has no rights but those of one account, as which all guests act, and a port above 1024 on the control net's address.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import host_links
from .accounts import account
from .control_net import delete_table, listing
from .control_rules import ADMITTED, label
from .errors import HostError
from .processes import Process, ProcessError, alive, marked, spawn, stop, tail
from .rundir import RunDir, passage, read_json, remove, write_file, write_json

PROGRAM = "diod"
READ_ONLY = '"ro"'
# What needs no quoting in a mount line of the guest nor in diod's configuration.
PATH = re.compile(r"(/[A-Za-z0-9_+@=][A-Za-z0-9._+@=-]*)+\Z")
# A guest needs its own, and the server sees its system under these names.
TAKEN = re.compile(r"/(bin|boot|dev|etc|init|lib[0-9a-z]*|proc|run|sbin|sys|usr)(/.*)?\Z")
BRIDGE = re.compile(r"[A-Za-z0-9_.-]{1,15}\Z")

# Makes the server's root directory and becomes the server. Arguments: where to mount it, configuration, uid, gid, then for each share
# its mode, name and directory, "--", and the server's own words. It runs in a new mount namespace: nothing of it is seen outside.
# The names of hosts come from files alone: diod asks for that of every client, and would wait for an answer.
PREPARE = r"""
set -eu
root=$1 config=$2 uid=$3 gid=$4
shift 4
mount -t tmpfs -o mode=755,size=1m,nr_inodes=4k benito-shares "$root"
cd "$root"
mkdir usr etc
mount --bind /usr usr
mount -o remount,bind,ro,nosuid usr
for name in bin sbin lib lib32 lib64 libx32; do
    if [ -L "/$name" ]; then
        cp -P "/$name" "$name"
    elif [ -d "/$name" ]; then
        mkdir "$name"
        mount --bind "/$name" "$name"
        mount -o remount,bind,ro,nosuid "$name"
    fi
done
printf 'guests:x:%s:%s::/:/bin/false\nroot:x:0:0::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n' "$uid" "$gid" >etc/passwd
printf 'guests:x:%s:\n' "$gid" >etc/group
echo 'hosts: files' >etc/nsswitch.conf
mkdir -p ".${config%/*}"
cat "$config" >".$config"
while [ "$1" != -- ]; do
    mkdir -p ".$2"
    mount --bind "$3" ".$2"
    mount -o "remount,bind,$1,nosuid,nodev" ".$2"
    shift 3
done
shift
mount -o remount,ro .
exec chroot --userspec="$uid:$gid" --groups= . "$@"
"""


class ShareError(HostError):
    """A directory cannot be shared; the text says why."""


@dataclass(frozen=True)
class Share:
    """A directory of this host, and the name guests mount it by."""

    name: str
    path: str
    writable: bool

    @classmethod
    def from_options(cls, options: Mapping[str, Any], root: str) -> Share:
        """Take one entry of the document's ``shares``. ``root`` is where experiments live, which nobody may export. Raises ShareError."""
        name, path = str(options["name"]), str(options.get("path") or options["name"])
        for word in (name, path):
            if not PATH.match(word) or len(word) > 255:
                raise ShareError(f"share {name[:64]!r}: {word[:64]!r} must be an absolute path of letters, digits and . _ + @ = -")
        if TAKEN.match(name):
            raise ShareError(f"share {name[:64]!r}: that place in a guest is its own system's: choose another, such as /share")
        real, own = os.path.realpath(path), os.path.realpath(root)
        if os.path.commonpath([real, own]) in (real, own):
            raise ShareError(f"share {name}: {path} holds the keys of experiments, or is held by {root}: share another directory")
        return cls(name, path, bool(options.get("writable")))

    @property
    def mode(self) -> str:
        """The word of mount for whether guests may write."""
        return "rw" if self.writable else "ro"

    def identity(self) -> list[int]:
        """Return what tells the directory from another one at the same path."""
        facts = os.stat(self.path)
        return [facts.st_dev, facts.st_ino]


@dataclass(frozen=True)
class Server:
    """Where the server listens, as whom it acts, and whom it serves: the addresses of guests behind ``bridge``."""

    bridge: str
    address: str
    port: int
    account: str
    clients: tuple[str, ...]

    @classmethod
    def from_options(cls, control: Mapping[str, Any], port: int, name: str, clients: Sequence[str]) -> Server:
        """Take the document's ``control``, ``share_server`` and the addresses of its guests. Raises ShareError."""
        bridge = str(control.get("bridge") or "")
        if not BRIDGE.match(bridge) or not control.get("address"):
            raise ShareError("shares are reached over the control net, and this experiment has none here: hand them in by virtio instead")
        try:
            found = tuple(str(ipaddress.IPv4Address(word)) for word in (control["address"], *clients))
        except ValueError as error:
            raise ShareError(f"shares: {error}") from error
        if not 1024 <= port <= 65535:
            raise ShareError(f"the port of shares must be between 1024 and 65535, not {port}: the server has no right to lower ones")
        return cls(bridge, found[0], port, name, tuple(sorted(set(found[1:]), key=ipaddress.IPv4Address)))

    @property
    def table(self) -> str:
        """Name of the nftables table."""
        return f"{self.bridge}-shares"


def distinct(shares: Sequence[Share]) -> list[Share]:
    """Return the shares of a batch. Raises ShareError when two bear one name, or one lies in another, as no guest could mount them."""
    for one in shares:
        for other in shares:
            if one is not other and f"{other.name}/".startswith(f"{one.name}/"):
                raise ShareError(f"share {other.name} lies in share {one.name}: guests need places of their own for each")
    return list(shares)


def home(rundir: RunDir) -> str:
    """Return the directory of the server's records."""
    return f"{rundir.path}/shares"


def record(rundir: RunDir) -> dict[str, Any]:
    """Return what is remembered of the server."""
    return read_json(f"{home(rundir)}/launch.json")


def command(rundir: RunDir) -> list[str]:
    """Return the argument vector of the server."""
    return [PROGRAM, "--foreground", "--config-file", f"{home(rundir)}/diod.conf"]


def configuration(server: Server, shares: Sequence[Share]) -> str:
    """Return the server's configuration, which is a Lua script: every word in it was checked to be plain."""
    exports = "".join(f'  {{ path="{share.name}"{"" if share.writable else ", opts=" + READ_ONLY} }},\n' for share in shares)
    return (
        f'listen = {{ "{server.address}:{server.port}" }}\n'
        f"exports = {{\n{exports}}}\n"
        "auth_required = 0\n"
        "allsquash = 1\n"
        'squashuser = "guests"\n'
        'logdest = "stderr"\n'
    )


def rules(rundir: RunDir, server: Server) -> str:
    """Return the nftables table: the guests reach the server, and nobody else does, this host's own programs included."""
    bridge, address, port = server.bridge, server.address, server.port
    clients = f"{{ {', '.join(server.clients)} }}"
    admit = f'iifname "{bridge}" ip saddr {clients} ip daddr {address} tcp dport {port} meta mark set {ADMITTED} accept'
    return f"""table inet {server.table} {{
  comment "{label(rundir.mark)}"
  chain input {{
    type filter hook input priority filter - 5; policy accept;
    {admit if server.clients else ""}
    ip daddr {address} tcp dport {port} drop
  }}
}}
"""


def running(rundir: RunDir) -> Process | None:
    """Return the living server."""
    process = Process.from_record(record(rundir).get("process"))
    return process if alive(process) else None


def state(rundir: RunDir) -> dict[str, Any]:
    """Describe the server: ``running``, ``dead`` when its process is gone, ``absent`` when nothing is shared."""
    found = record(rundir)
    process = running(rundir)
    return {
        "state": "running" if process else "dead" if found else "absent",
        "pid": process.pid if process else None,
        "listen": found.get("listen", ""),
        "account": found.get("account", ""),
        "shares": found.get("shares", []),
    }


def needs(rundir: RunDir, server: Server, shares: Sequence[Share]) -> str:
    """Say why the server must be (re)started; nothing when it is right and running."""
    found = record(rundir)
    if not found:
        return "not there"
    if not running(rundir):
        return "dead"
    return "" if found.get("wanted") == _wanted(rundir, server, shares) else "changed"


def needs_rules(rundir: RunDir, server: Server) -> bool:
    """Tell whether the table is not as wanted, by us or by somebody's doing."""
    found = record(rundir)
    return found.get("rules") != rules(rundir, server) or not found.get("table") or listing(server.table) != found["table"]


def _wanted(rundir: RunDir, server: Server, shares: Sequence[Share]) -> dict[str, Any]:
    directories = [[share.mode, share.name, share.path, *share.identity()] for share in shares]
    return {"argv": command(rundir), "config": configuration(server, shares), "account": server.account, "directories": directories}


def start(rundir: RunDir, server: Server, shares: Sequence[Share]) -> None:
    """Start the server in place of whatever is left of an earlier one. Raises ProcessError."""
    who = account(server.account)
    if who.pw_uid == 0:
        raise ShareError(f"the account {server.account} is root, and guests may not act as root on a host: choose another share_account")
    halt(rundir)
    where = home(rundir)
    passage(where)
    passage(f"{where}/root")
    config = f"{where}/diod.conf"
    write_file(config, configuration(server, shares).encode(), 0o644)
    places = [word for share in shares for word in (share.mode, share.name, share.path)]
    prepare = ["unshare", "--mount", "--propagation", "private", "--", "/bin/sh", "-c", PREPARE, "benito-shares"]
    within = [*prepare, f"{where}/root", config, str(who.pw_uid), str(who.pw_gid), *places, "--"]
    wanted = _wanted(rundir, server, shares)
    process = spawn(command(rundir), mark=rundir.mark, log=f"{where}/server.log", unit="benito-shares", within=within)
    deadline = time.monotonic() + 10
    while not listens(process, server):
        if not alive(process) or time.monotonic() > deadline:
            stop(process)
            raise ProcessError(f"the server of shares did not come up: {tail(f'{where}/server.log') or 'no output'}")
        time.sleep(0.01)
    known = {
        "process": process.to_record(),
        "wanted": wanted,
        "listen": f"{server.address}:{server.port}",
        "account": server.account,
        "shares": [{"name": share.name, "path": share.path, "writable": share.writable} for share in shares],
    }
    write_json(f"{where}/launch.json", {**record(rundir), **known})


def listens(process: Process, server: Server) -> bool:
    """Tell whether the server's socket is there, as the kernel lists it for the server's network."""
    number = int.from_bytes(socket.inet_aton(server.address), "little")
    wanted = f"{number:08X}:{server.port:04X}"
    try:
        with open(f"/proc/{process.pid}/net/tcp", encoding="ascii") as file:
            rows = [line.split() for line in file]
    except OSError:
        return False
    return any(row[1] == wanted and row[3] == "0A" for row in rows)


def admit(rundir: RunDir, server: Server) -> None:
    """Put the table in place, in one transaction. Raises LinkError."""
    passage(home(rundir))
    text = rules(rundir, server)
    host_links.run(["nft", "-f", "-"], f"table inet {server.table}\ndelete table inet {server.table}\n{text}")
    write_json(f"{home(rundir)}/launch.json", {**record(rundir), "rules": text, "table": listing(server.table), "table_name": server.table})


def halt(rundir: RunDir) -> bool:
    """Stop the server, also one whose record was lost. True when it ran."""
    process = running(rundir)
    strays = [p for p in marked(rundir.mark, f"{home(rundir)}/") if p.argv[0] == PROGRAM and p != process]
    stopped = [stop(p, patience=2.0) for p in (*([process] if process else []), *strays)]
    return any(stopped)


def discard(rundir: RunDir) -> bool:
    """Stop the server and remove all that it had. True when there was something."""
    table = str(record(rundir).get("table_name") or "")
    found = halt(rundir)
    if table and label(rundir.mark) in listing(table):
        delete_table(table)
    return remove(home(rundir)) or found


def present(rundir: RunDir, server: Server | None, shares: Sequence[Share], check: bool) -> dict[str, Any]:
    """Export exactly these directories. Returns ``server``, what was done to it, and ``shares``, one result for each.

    A directory that is not there is left out, and its result says so: guests report what they cannot mount.
    """
    here = [share for share in shares if os.path.isdir(share.path)]
    before = {name: old for old in record(rundir).get("shares", []) if (name := _name(old))}
    if not here or server is None:
        report = absent(rundir, check)
        return {**report, "shares": [*report["shares"], *(_missing(share) for share in shares)]}
    reason = needs(rundir, server, here)
    firewall = needs_rules(rundir, server)
    done = {"name": "server", "changed": bool(reason or firewall), "action": "start" if reason else "admit" if firewall else "none"}
    report = {"server": {**done, "reason": reason or ("its rules are not as wanted" if firewall else "")}, "shares": []}
    for share in shares:
        if share not in here:
            report["shares"].append(_missing(share))
            continue
        old = before.pop(share.name, None)
        same = old == {"name": share.name, "path": share.path, "writable": share.writable}
        why = "" if not reason else "not there" if old is None else "changed" if not same else f"the server: {reason}"
        report["shares"].append({"name": share.name, "changed": bool(why), "action": "export" if why else "none", "reason": why})
    gone = [name for name in before if name not in {share.name for share in shares}]
    report["shares"] += [{"name": name, "changed": True, "action": "withdraw", "reason": "not wanted"} for name in gone]
    if not check:
        try:
            if firewall:
                admit(rundir, server)
            if reason:
                start(rundir, server, here)
        except (HostError, OSError) as error:
            report["server"].update(failed=True, msg=str(error))
    return report


def _name(recorded: object) -> str:
    """Return the name of a share in the record; empty for what is none."""
    return str(recorded.get("name", "")) if isinstance(recorded, dict) else ""


def _missing(share: Share) -> dict[str, Any]:
    text = f"there is no directory {share.path} on this host: guests cannot mount {share.name}"
    return {"name": share.name, "changed": False, "action": "none", "reason": "", "missing": True, "msg": text}


def absent(rundir: RunDir, check: bool) -> dict[str, Any]:
    """Export nothing any more."""
    found = os.path.isdir(home(rundir))
    names = [name for old in record(rundir).get("shares", []) if (name := _name(old))]
    report: dict[str, Any] = {
        "server": {
            "name": "server",
            "changed": found,
            "action": "remove" if found else "none",
            "reason": "nothing to share" if found else "",
        },
        "shares": [{"name": name, "changed": True, "action": "withdraw", "reason": "not wanted"} for name in names],
    }
    if found and not check:
        try:
            discard(rundir)
        except (HostError, OSError) as error:
            report["server"].update(failed=True, msg=str(error))
    return report

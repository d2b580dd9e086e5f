# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest is told about itself: a small archive of line files, read by the agent inside it at every boot.

The same content always gives the same bytes, and the archive carries a key of its content, so that the guest can say
which configuration it has applied.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence

from .guest import Guest
from .host_networks import name_servers
from .rundir import RunDir


def hosts_text(guest: Guest, rundir: RunDir, table: Sequence[Sequence[object]]) -> str:
    """Render /etc/hosts as this guest sees it.

    Every interface bears ``node-substrate`` and ``node-index``. The plain name of a node stands once: on its first interface, or
    where ``plain_names`` says so, which the plan does for neighbours (Emulab's rule: the plain name leads over the shared link).
    """
    lines = ["127.0.0.1\tlocalhost loghost", *(f"{address}\t{' '.join(names)}" for address, names in host_names(guest, table))]
    if guest.control and guest.control.address:
        lines.append(f"{guest.control.address}\t{guest.name}.{rundir.experiment}.{rundir.project}")
    return "\n".join(lines) + "\n"


def host_names(guest: Guest, table: Sequence[Sequence[object]]) -> Iterator[tuple[str, list[str]]]:
    """Say which names each address of the experiment has for this guest."""
    nodes = {str(row[0]).lower() for row in table}
    for node, substrate, index, address in table:
        chosen = guest.plain_names.get(str(node))
        plain = chosen == substrate if chosen else index == 0
        # Where a node is called as another's interface would be, the node has the name: NS arrays lead to n and n-0.
        aliases = [alias for alias in (f"{node}-{substrate}", f"{node}-{index}") if alias.lower() not in nodes]
        names = aliases + ([str(node)] if plain else [])
        if names:
            yield str(address), names


def config_files(
    guest: Guest,
    rundir: RunDir,
    hosts: Sequence[Sequence[object]],
    control: Mapping[str, object] | None,
    secrets: Mapping[str, str],
    resolver: str = "",
) -> dict[str, str]:
    """Return the files of the archive by name. ``secrets`` are files taken over as they are (keys)."""
    rows = []
    if guest.control and control:
        address = f"{guest.control.address}/{control['prefix']}" if guest.control.address else "-"
        rows.append(f"{guest.control.mac} eth0 {address} control -")
    # What comes by DHCP is not given, and what only leads on into the machine has none.
    given = {n.device: f"{n.address}/{n.prefix}" for n in guest.nics if n.address and n.dhcp != "client"}
    rows += [f"{n.mac} {n.device} {given.get(n.device, '-')} {n.name} {n.substrate}" for n in guest.nics]
    files = {
        "hostname": guest.name,
        "fqdn": f"{guest.name}.{rundir.experiment}.{rundir.project}",
        "pid_eid": f"{rundir.project}\n{rundir.experiment}",
        "interfaces": "\n".join(rows),
        "gateway": str(control["address"]) if guest.control and control else "",
        "routes": "\n".join(f"{r.to} {r.via} {r.device}" for r in guest.routes),
        "unreachable": "\n".join(guest.unreachable),
        "hosts": hosts_text(guest, rundir, hosts).rstrip("\n"),
        "resolv.conf": resolver,
        **secrets,
    }
    files.update({name: "\n".join(lines) for name, lines in service_lines(guest).items() if lines})
    if guest.start_command:
        files["start_command"] = guest.start_command
    files = {name: text + "\n" if text and not text.endswith("\n") else text for name, text in files.items()}
    digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:16]
    return {"key": f"{digest}\n", **files}


def service_lines(guest: Guest) -> dict[str, list[str]]:
    """Return the lines of the files that few guests need, by name of the file."""
    # The lab's server is not ours to plan: what it gives is reported.
    dhcp = ["client eth0 -"] if guest.control and not guest.control.address else []
    dhcp += [f"client {n.device} {n.address}/{n.prefix}" for n in guest.nics if n.dhcp == "client"]
    for server in guest.dhcp:
        dhcp.append(f"server {server.device} {server.prefix}")
        dhcp += [f"lease {server.device} {mac} {address} {name}" for mac, address, name in server.leases]
    return {
        "mounts": [f"{m.source} {m.directory} {m.type} {m.options}" for m in guest.mounts],
        "dhcp": dhcp,
        "netem": [f"{n.device} {shaped.way} {shaped.words}" for n in guest.nics for shaped in n.shaped],
    }


def pack(files: Mapping[str, str | bytes]) -> bytes:
    """Pack the files into a gzip'd tar, the same bytes for the same files."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, text in files.items():
            content = text.encode() if isinstance(text, str) else text
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o600
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), compresslevel=6, mtime=0)


def host_resolver() -> str:
    """Return a resolv.conf for guests: the host's name servers, less those that only the host itself can reach."""
    return "".join(f"nameserver {server}\n" for server in name_servers()[:3])

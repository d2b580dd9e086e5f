# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files by which ssh reaches the guests of an experiment by name, and knows that it is them.

Both files are made of names, addresses and keys that are checked against their alphabets, so that no text of a
topology can become a directive. How pnodes are connected to is the user's own text: it is quoted, word by word.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from .diagnostics import TopologyError, one_line
from .results import guest_reports, host_of

# Where experiments are on their hosts, if the variable vhost_root does not say otherwise.
ROOT = "/var/lib/benito"

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_ADDRESS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}")
_PUBLIC_KEY = re.compile(r"([a-z0-9@.-]+) ([A-Za-z0-9+/]+={0,3})( .*)?")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.:%-]{0,253}[A-Za-z0-9])?")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FILE = re.compile(r"[A-Za-z0-9_]+")
_DIRECTORY = re.compile(r'/[^"$\x00-\x1f\x7f]*')


def ssh_config(
    benito: Mapping[str, Any],
    nodes: Iterable[Mapping[str, Any]],
    pnodes: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    answers: Mapping[str, object] = MappingProxyType({}),
    known_hosts_file: str = "known_hosts",
) -> str:
    """Return an ssh_config with an entry for each node that has a control address, is entered by way of its host, or is its host.

    A node is a mapping with ``name`` and ``control``, as ``benito_node`` or a guest of a pnode's document, and may have ``pnode``.
    ``pnodes`` has the connection variables of each pnode (``ansible_host`` and so on), over which guests are reached where their addresses
    are private; without them, and over a local connection, they are reached directly. ``answers`` has the list of guests that each host
    returned, see `guest_reports`: of it counts ``control_address`` of a node whose address the lab's DHCP server chose, and that a
    node has an ``entry``, a program of its host that speaks ssh on its standard input.
    Keys and known hosts are files of the experiment's state directory, the latter ``known_hosts_file``. Raises TopologyError for what
    cannot stand in the file.
    """
    state = _checked(_DIRECTORY, benito["state_dir"], "a directory")
    key, known = (_quoted(f"{state}/{name}") for name in ("id_ed25519", _checked(_FILE, known_hosts_file, "a file")))
    mode = (benito.get("control") or {}).get("mode", "nat")
    nodes = list(nodes)
    reports = guest_reports(nodes, answers)
    entries = []
    for node in nodes:
        control = node.get("control")
        report = reports.get(str(node["name"]))
        address = (control.get("address") or (report.control_address if report else "")) if control else None
        pnode = pnodes.get(host_of(node), {})
        if node.get("kind") == "physical" and not _is_local(pnode):
            entries.append(_itself(" ".join(_names(benito, node)), pnode))
        elif address or (report and report.entered):
            name, full = _names(benito, node)
            if address:
                _checked(_ADDRESS, address, "an address")
                names, way = f"{name} {full} {address}", _way(mode, str(address), (control or {}).get("port"), pnode)
            else:
                names, way = f"{name} {full}", _entry(_program(benito, str(node["kind"]), pnode), name, pnode)
            entries.append(
                f"Host {names}\n"
                f"{way}"
                "  User root\n"
                f"  IdentityFile {key}\n"
                "  IdentitiesOnly yes\n"
                f"  UserKnownHostsFile {known}\n"
                f"  HostKeyAlias {full}\n"
                "  StrictHostKeyChecking yes\n"
            )
    return "\n".join(entries)


def _itself(names: str, pnode: Mapping[str, Any]) -> str:
    """Return the entry of a node that is a host: it is reached as Ansible reaches that, as far as options of ssh say how."""
    host = _checked(_HOST, pnode["ansible_host"], "a host name or an address")
    words = _words(host, pnode)
    flags = {"-l": "User", "-p": "Port", "-i": "IdentityFile"}
    lines = [f"Host {names}", f"  HostName {_tokens(host)}"]
    for word, value in pairwise(words):
        if word in flags:
            lines.append(f"  {flags[word]} {_quoted(value)}")
        elif word == "-o" and re.fullmatch(r"[A-Za-z]+=.+", value):
            lines.append(f"  {value.replace('=', ' ', 1)}")
    return "\n".join(lines) + "\n"


def _program(benito: Mapping[str, Any], kind: str, pnode: Mapping[str, Any]) -> str:
    """Return the program of a pnode that leads into its nodes of a kind. Where it is follows from the plan: no host is asked."""
    root = _checked(_DIRECTORY, pnode.get("vhost_root") or ROOT, "a directory")
    return f"{root}/{_checked(_ID, benito['id'], 'an id')}/{'nodes' if kind == 'process' else _checked(_ID, kind, 'a kind')}/enter"


def _entry(program: str, name: str, pnode: Mapping[str, Any]) -> str:
    """Return the line that leads into a node without an address of its own: the pnode's program speaks ssh on its standard input."""
    inside = f"{shlex.quote(program)} {name}"
    if _is_local(pnode):
        return f"  ProxyCommand {_tokens(inside)}\n"
    host = _checked(_HOST, pnode["ansible_host"], "a host name or an address")
    return f"  ProxyCommand {_over(host, pnode)} {_tokens(shlex.quote(inside))}\n"


def _is_local(pnode: Mapping[str, Any]) -> bool:
    return not pnode or str(pnode.get("ansible_connection")) in ("local", "ansible.builtin.local")


def _way(mode: str, address: str, port: object, pnode: Mapping[str, Any]) -> str:
    """Return the lines that say where a guest is: directly, at a port of its pnode, or over its pnode."""
    if _is_local(pnode) or mode == "bridge":
        return f"  HostName {address}\n"
    host = _checked(_HOST, pnode["ansible_host"], "a host name or an address")
    if mode == "ports" and port:
        return f"  HostName {_tokens(host)}\n  Port {int(str(port))}\n"
    # ssh takes %h and %p for the guest's; in what is the user's they mean nothing here.
    return f"  HostName {address}\n  ProxyCommand {_over(host, pnode, ['-W', '[%h]:%p'])}\n"


def _over(host: str, pnode: Mapping[str, Any], options: Sequence[str] = ()) -> str:
    """Return the command that connects to a pnode: ssh as Ansible calls it, with the user's own settings, and these ``options``."""
    words = [str(pnode.get("ansible_ssh_executable") or "ssh"), "-o", "ClearAllForwardings=yes", *_words(host, pnode)]
    return " ".join([_tokens(" ".join(map(shlex.quote, words))), *options, "--", _tokens(shlex.quote(host))])


def _words(host: str, pnode: Mapping[str, Any]) -> list[str]:
    """Return the options with which Ansible calls ssh for a pnode."""
    words: list[str] = []
    for key in ("ansible_ssh_common_args", "ansible_ssh_extra_args"):
        try:
            words += shlex.split(str(pnode.get(key) or ""))
        except ValueError as error:
            raise TopologyError(f"{key} of the pnode {host} cannot be taken apart: {error}") from None
    for option, keys in (("-l", ("user",)), ("-p", ("port",)), ("-i", ("private_key_file", "ssh_private_key_file"))):
        value = next((pnode[name] for key in keys for name in (f"ansible_ssh_{key}", f"ansible_{key}") if pnode.get(name)), None)
        words += [option, str(value)] if value is not None else []
    if not all(word.isprintable() for word in words):
        raise TopologyError(f"the connection settings of the pnode {host} cannot stand in an SSH file")
    return words


def _tokens(text: str) -> str:
    """Quote a text for ssh_config, where % begins a token."""
    return text.replace("%", "%%")


def host_keys(nodes: Iterable[Mapping[str, Any]], answers: Mapping[str, object]) -> dict[str, str]:
    """Return the public host key of each node, as the host that has it says. ``answers`` is as for `ssh_config`."""
    return {name: report.ssh_host_key for name, report in guest_reports(nodes, answers).items() if report.ssh_host_key}


def known_hosts(benito: Mapping[str, Any], nodes: Iterable[Mapping[str, Any]], keys: Mapping[str, str] | str) -> str:
    """Return a known_hosts file: each node by its full name, under which ssh_config has ssh look for it.

    ``keys`` is a public host key for each node by name, or one that all share. A node without one is left out.
    """
    lines = []
    for node in nodes:
        key = keys if isinstance(keys, str) else keys.get(str(node["name"]))
        if key and (node.get("control") or not isinstance(keys, str)):
            found = _PUBLIC_KEY.fullmatch(key.strip())
            if found is None:
                raise TopologyError(f"{one_line(key)} is not a public SSH key")
            lines.append(f"{_names(benito, node)[1]} {found[1]} {found[2]}\n")
    return "".join(lines)


def _names(benito: Mapping[str, Any], node: Mapping[str, Any]) -> tuple[str, str]:
    labels = [_checked(_LABEL, text, "a name") for text in (node["name"], benito["experiment"], benito["project"])]
    return labels[0], ".".join(labels)


def _checked(pattern: re.Pattern[str], text: object, what: str) -> str:
    if not pattern.fullmatch(str(text)):
        raise TopologyError(f"{one_line(str(text))} is not {what} that can stand in an SSH file")
    return str(text)


def _quoted(path: str) -> str:
    """Quote a path for ssh_config, where % begins a token. Paths with a $ never come here."""
    return f'"{_tokens(path)}"'

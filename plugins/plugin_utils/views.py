# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Views of a planned experiment as plain text: a table, a list, a picture.

They take what the inventory offers: ``benito`` (the experiment) and lists of ``benito_node`` (its nodes).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from .results import CableReport, GuestReport, HostReport, guest_reports, host_report, plain, printable

_HEADINGS = ("NODE", "KIND", "PNODE", "STATE", "CONTROL", "ADDRESSES", "START-COMMAND")
_NUMBERS = re.compile(r"([0-9]+)")


def natural(text: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts n-2 before n-10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in _NUMBERS.split(text) if part]


def status_rows(nodes: Iterable[Mapping[str, Any]], answers: Mapping[str, object] = MappingProxyType({})) -> list[dict[str, Any]]:
    """Return one mapping per node, in natural order of names: what was planned, and what its host says about it.

    ``answers`` has the list of guests that each host returned, see `guest_reports`. A guest that its host did not speak of is unknown.
    What is not launched is planned, or a ghost.
    """
    nodes = list(nodes)
    reports = guest_reports(nodes, answers)
    rows = []
    for node in sorted(nodes, key=lambda n: natural(str(n["name"]))):
        report = reports.get(str(node["name"]))
        rows.append(
            {
                "name": node["name"],
                "kind": node["kind"],
                "pnode": f"{node['pnode']}/{node['carrier']}" if node.get("carrier") else node["pnode"],
                "state": _state(node, report),
                "control": (node.get("control") or {}).get("address") or (report.control_address if report else "") or None,
                "addresses": [i["address"] for i in node["interfaces"]],
                "start_command": node.get("start_command") or "",
                "exit_status": report.exit_status if report else None,
                "detail": report.detail if report else "",
            }
        )
    return rows


def status_table(nodes: Iterable[Mapping[str, Any]], answers: Mapping[str, object] = MappingProxyType({})) -> str:
    """Return `status_rows` as aligned lines, and below them what there is to say about those that are not well."""
    rows = status_rows(nodes, answers)
    lines = [
        _HEADINGS,
        *(
            (
                *(printable(row[column]) for column in ("name", "kind", "pnode", "state")),
                printable(row["control"] or "-"),
                printable(" ".join(map(str, row["addresses"])) or "-"),
                _start_command(row),
            )
            for row in rows
        ),
    ]
    shown = _aligned(lines)
    remarks = [f"{printable(row['name'])}: {printable(row['detail'])}" for row in rows if row["detail"]]
    return "\n".join([*shown, *([""] if remarks else []), *remarks]) + "\n"


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return the cells of each line below each other."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def placement_table(benito: Mapping[str, Any], nodes: Iterable[Mapping[str, Any]] = ()) -> str:
    """Return what each pnode is to carry, where each node sits, and the cables between pnodes, as three tables; empty ones are left out.

    ``benito`` has ``placement`` and ``cables``. Memory is in MB; a limit that is not known is left out.
    """

    def load(need: int, limit: int | None) -> str:
        return printable(need if limit is None else f"{need} of {limit}")

    pnodes = [("PNODE", "HOST", "NODES", "MEMORY", "PROCESSORS")]
    for row in benito["placement"]:
        host = printable(row["host"] or "this host")
        pnodes.append(
            (
                printable(row["pnode"]),
                host,
                printable(row["nodes"]),
                load(row["memory"], row["memory_limit"]),
                load(row["cpus"], row["cpus_limit"]),
            )
        )
    ordered = sorted(nodes, key=lambda n: natural(str(n["name"])))
    placed = [("NODE", "KIND", "PNODE"), *((printable(n["name"]), printable(n["kind"]), printable(n["pnode"])) for n in ordered)]
    cables = [("SUBSTRATE", "BETWEEN", "CABLE")]
    cables += [(printable(c["substrate"]), printable(" ".join(c["pnodes"])), printable(c["transport"])) for c in benito["cables"]]
    return "\n\n".join("\n".join(_aligned(table)) for table in (pnodes, placed, cables) if len(table) > 1) + "\n"


def host_reports(answers: Mapping[str, object], hosts: Mapping[str, str] = MappingProxyType({})) -> list[dict[str, Any]]:
    """Return what each host says of all but its nodes, as plain mappings, see `HostReport`.

    ``answers`` has for each pnode what its information modules returned; ``hosts`` has the machine that each pnode is. A host that did
    not answer, of which there is no mapping, is left out.
    """
    said = {str(pnode): answer for pnode, answer in answers.items() if isinstance(answer, Mapping)}
    return [plain(host_report(pnode, str(hosts.get(pnode) or ""), answer)) for pnode, answer in said.items()]


def status_remarks(answers: Mapping[str, object]) -> str:
    """Return a line for each thing between the guests that is not well; nothing when all is.

    ``answers`` has for each pnode, as far as it was asked, what the information modules say: ``switches``, ``shapers``, ``down``
    (interfaces), ``cables``, ``server`` (of files), ``control`` (with a detail where the control net is not well).
    """
    lines: list[str] = []
    for pnode, answer in answers.items():
        lines += [f"{pnode}: {remark}" for remark in _remarks(host_report(str(pnode), "", answer))]
    return "".join(f"{printable(line)}\n" for line in lines)


def _remarks(host: HostReport) -> Iterator[str]:
    yield from (f"the switch of {s.name} is dead" for s in host.switches if s.state != "running")
    yield from (f"the shaper of {s.name} is dead" for s in host.shapers if s.state != "running")
    yield from (f"interface {name} was taken down" for name in host.down)
    yield from (_cable(c) for c in host.cables if c.state != "connected" or c.remakes)
    if host.server and host.server.state == "dead":
        yield "the server of shared directories is dead"
    if host.control and host.control.detail:
        yield host.control.detail


def _cable(cable: CableReport) -> str:
    again = f", made again {cable.remakes} times" if cable.remakes else ""
    why = f" ({cable.detail})" if cable.detail and cable.state != "connected" else ""
    return f"the {cable.transport} cable {cable.name} is {cable.state}{again}{why}"


def _state(node: Mapping[str, Any], report: GuestReport | None) -> str:
    if node.get("ghost"):
        return "ghost"
    if not node.get("guest", True):
        return "planned"
    return report.state if report else "unknown"


def _start_command(row: Mapping[str, Any]) -> str:
    if not row["start_command"] or row["state"] in ("unknown", "planned", "ghost"):
        return "-"
    status = row["exit_status"]
    if status is None:
        return "not run"
    return "running" if status == "running" else f"exit {printable(status)}"


def node_list(
    benito: Mapping[str, Any], nodes: Iterable[Mapping[str, Any]], hosts: Mapping[str, str] | None = None, extra: bool = True
) -> str:
    """Return the experiment's pnodes with the machines that are them, and below them the nodes that live on pnodes.

    ``hosts`` has the machine's name for each pnode. The look is that of Benito's node_list --extra.
    """
    nodes, suffix = list(nodes), f"{benito['experiment']}.{benito['project']}"
    found = sorted({str(n["pnode"]) for n in nodes} | set(hosts or ()))
    lines = [f"{benito['project']}/{benito['experiment']}"]
    lines += [f"    {pnode}.{suffix} / {(hosts or {}).get(pnode, '-')}" for pnode in found]
    if extra:
        lines.append("  extra nodes:")
        lines += [f"    {name}.{suffix}" for name in sorted((str(n["name"]) for n in nodes), key=natural)]
    return "\n".join(printable(line) for line in lines) + "\n"


def topology_graph(nodes: Iterable[Mapping[str, Any]], form: str = "mermaid") -> str:
    """Return a picture in the language of Mermaid or DOT: a box per pnode, an edge per link, a round node per LAN."""
    nodes = list(nodes)
    members: dict[str, list[str]] = {}
    boxes: dict[str, list[Mapping[str, Any]]] = {}
    for node in nodes:
        boxes.setdefault(str(node["pnode"]), []).append(node)
        for interface in node["interfaces"]:
            members.setdefault(str(interface["substrate"]), []).append(str(node["name"]))
    ids = {str(node["name"]): f"n{number}" for number, node in enumerate(nodes)}
    lans = {name: f"s{number}" for number, name in enumerate(members) if len(members[name]) != 2}
    edges = [(ids[ends[0]], ids[ends[1]], name) for name, ends in members.items() if name not in lans]
    edges += [(lans[name], ids[end], "") for name, ends in members.items() if name in lans for end in ends]
    draw = {"mermaid": _mermaid, "dot": _dot}.get(form)
    if draw is None:
        raise ValueError(f"a picture can be in mermaid or dot, not in {printable(form)}")
    return draw({box: [(ids[str(n["name"])], str(n["name"])) for n in inside] for box, inside in sorted(boxes.items())}, lans, edges)


_Boxes = Mapping[str, list[tuple[str, str]]]
_Edges = Iterable[tuple[str, str, str]]


def _mermaid(boxes: _Boxes, lans: Mapping[str, str], edges: _Edges) -> str:
    def label(text: str) -> str:
        return '"' + "".join(c if c.isalnum() or c in " ._-" else f"#{ord(c)};" for c in printable(text)) + '"'

    lines = ["graph LR"]
    for number, (box, inside) in enumerate(boxes.items()):
        lines += [f"  subgraph p{number}[{label(box)}]", *(f"    {i}[{label(name)}]" for i, name in inside), "  end"]
    lines += [f"  {i}(({label(name)}))" for name, i in lans.items()]
    lines += [f"  {a} ---|{label(name)}| {b}" if name else f"  {a} --- {b}" for a, b, name in edges]
    return "\n".join(lines) + "\n"


def _dot(boxes: _Boxes, lans: Mapping[str, str], edges: _Edges) -> str:
    def label(text: str) -> str:
        escaped = printable(text).replace("\\", "\\\\").replace('"', '\\"')
        return f'[label="{escaped}"]'

    lines = ["graph experiment {"]
    for number, (box, inside) in enumerate(boxes.items()):
        lines += [f"  subgraph cluster_{number} {{", f"    graph {label(box)};", *(f"    {i} {label(name)};" for i, name in inside), "  }"]
    lines += [f"  {i} {label(name)};" for name, i in lans.items()]
    lines += [f"  {a} -- {b} {label(name)};" if name else f"  {a} -- {b};" for a, b, name in edges]
    return "\n".join([*lines, "}"]) + "\n"

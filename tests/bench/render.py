# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports as Markdown, between the markers of a page; and their plots."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .plot import bars
from .results import Measure, Ratio, Report, Table


def filled(page: str, reports: Mapping[str, str]) -> str:
    """Return the page with these texts between the markers of their subjects; what has no markers raises ValueError."""
    for subject, text in reports.items():
        begin, end = f"<!-- bench: {subject} -->", f"<!-- end of bench: {subject} -->"
        before, found, rest = page.partition(begin)
        dummy, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"the page has no lines '{begin}' and '{end}'")
        page = f"{before}{begin}\n{text}\n{end}{after}"
    return page


def section(report: Report, why: Mapping[str, str], plots: str = "plots") -> str:
    """Return all tables of a subject, each with its plot. ``why`` has reasons of missed targets, by ``table/row/ratio``."""
    parts = [table(found, why, plots) for found in report.tables]
    machine = ", ".join(f"{name} {value}".strip() for name, value in report.machine.items() if name != "date")
    return "\n\n".join([*parts, f"Measured on {report.machine['date']}: {machine}."])


def table(found: Table, why: Mapping[str, str], plots: str) -> str:
    """Return one table: ratios first, medians after them, and below it what is missing or missed, and why."""
    heads = ["", *(ratio.heading for ratio in found.ratios), *(measure.heading for measure in found.measures)]
    lines = [f"### {found.title}", "", f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    remarks = []
    for row in found.samples:
        ratios = [ratio_cell(found, row, ratio) for ratio in found.ratios]
        lines.append(f"| {' | '.join([row, *ratios, *(cell(found, row, measure) for measure in found.measures)])} |")
        for goal in (*found.ratios, *found.measures):
            if missed(found, row, goal):
                reason = why.get(f"{found.key}/{row}/{goal.key}") or "no reason is noted yet"
                remarks.append(f"- Missed: {row}, {goal.heading}: {reason}.")
    remarks += [f"- Not measured: {row}: {reason.rstrip('.')}." for row, reason in found.reasons.items()]
    fewest = min((len(s) for measures in found.samples.values() for s in measures.values()), default=0)
    if 0 < fewest < 3:
        remarks.append("- Medians are of fewer than three samples.")
    remarks += [f"- {note}" for note in found.notes]
    if remarks:
        lines += ["", *remarks]
    return "\n".join([*lines, "", f"![{found.title}]({plots}/{found.key}.svg)"])


def missed(found: Table, row: str, goal: Ratio | Measure) -> bool:
    """Tell whether a ratio or a median has a target and is beyond it."""
    value = found.value(row, goal.key)
    return value is not None and row in goal.targets and value > goal.targets[row]


def with_target(found: Table, row: str, goal: Ratio | Measure, text: str) -> str:
    """Return the text of a value, with its target if there is one."""
    if row not in goal.targets:
        return text
    return f"**{text}** (target {goal.targets[row]:g}{', missed' if missed(found, row, goal) else ''})"


def ratio_cell(found: Table, row: str, ratio: Ratio) -> str:
    """Return a ratio."""
    value = found.value(row, ratio.key)
    if value is None:
        return "-"
    if row == ratio.to and ratio.of == ratio.beside:
        return "1"
    return with_target(found, row, ratio, f"{value:.2f}")


def cell(found: Table, row: str, measure: Measure) -> str:
    """Return a median, with the smallest and the largest sample where they differ."""
    value = found.median(row, measure.key)
    if value is None:
        return "-"
    measured = found.samples[row][measure.key]
    text, least, most = (f"{number:,.{measure.digits}f}" for number in (value, min(measured), max(measured)))
    return with_target(found, row, measure, text) + (f" ({least} to {most})" if least != most else "")


def plot(found: Table) -> str:
    """Return the plot of a table."""
    headings = {entry.key: entry.heading for entry in (*found.measures, *found.ratios)}
    rows = {row: [found.value(row, key) for key in found.drawn] for row in found.samples}
    series = [headings[key] for key in found.drawn]
    title = found.title if len(series) > 1 else f"{found.title}: {series[0]}"
    return bars(title, rows, series)


def write(report: Report, why: Mapping[str, str], page: Path, plots: Path) -> None:
    """Bring the page and the plots up to date with a report."""
    plots.mkdir(parents=True, exist_ok=True)
    for found in report.tables:
        (plots / f"{found.key}.svg").write_text(plot(found), encoding="utf-8")
    page.write_text(filled(page.read_text(encoding="utf-8"), {report.subject: section(report, why, plots.name)}), encoding="utf-8")


__all__ = ["filled", "plot", "section", "table", "write"]

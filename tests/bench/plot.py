# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bars as SVG: the same values give the same text. A library for this would be the largest thing that the tests install."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

COLOURS = ("#30638e", "#d1783d", "#5b8c5a", "#8a5a83", "#777777")
WIDTH, LABELS, MARGIN, BAR, GAP, VALUES = 820, 310, 16, 15, 9, 60
FONT = 'font-family="sans-serif" font-size="12"'


def number(value: float) -> str:
    """Write a value with two or three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def bars(title: str, rows: Mapping[str, Sequence[float | None]], series: Sequence[str]) -> str:
    """Return a chart with a group of horizontal bars for each row: one for each of the series, none where there is no value."""
    largest = max((value for values in rows.values() for value in values if value is not None), default=0) or 1
    room = WIDTH - LABELS - MARGIN - VALUES
    parts, y = [text(MARGIN, MARGIN + 8, title, "start", ' font-weight="bold"')], MARGIN + 22
    if len(series) > 1:
        x = MARGIN
        for index, name in enumerate(series):
            parts.append(f'<rect x="{x}" y="{y}" width="11" height="11" fill="{COLOURS[index % len(COLOURS)]}"/>')
            parts.append(text(x + 16, y + 10, name))
            x += 34 + 7 * len(name)
        y += 20
    top = y
    for row, values in rows.items():
        y += GAP
        parts.append(text(LABELS - 8, y + BAR * len(series) / 2 + 4, row, "end"))
        for index, value in enumerate(values):
            if value is None:
                parts.append(text(LABELS + 4, y + 11, "-", more=' fill="#777777"'))
            else:
                width = max(value / largest * room, 1)
                parts.append(f'<rect x="{LABELS}" y="{y}" width="{width:.1f}" height="{BAR - 2}" fill="{COLOURS[index % len(COLOURS)]}"/>')
                parts.append(text(LABELS + width + 5, y + 11, number(value)))
            y += BAR
    height = y + MARGIN
    parts.append(f'<line x1="{LABELS}" y1="{top}" x2="{LABELS}" y2="{y + 4}" stroke="#444444"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" {FONT}>\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def text(x: float, y: float, words: str, anchor: str = "start", more: str = "") -> str:
    """Return words at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(words)}</text>'

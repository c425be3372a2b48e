"""Forest plot: one row an estimate with its interval, grouped, with a reference line and the numbers beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from oncoweave.serve import wording
from oncoweave.serve.charts import draw

_WIDTH = 860.0
_MOST_LABEL = 270.0
_LEAST_LABEL = 130.0
_ROW = 25.0
_SECOND_LINE = 13.0
_HEAD = 34.0
_COLUMN_GAP = 22.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """One row. NaN or None as a value means that it could not be estimated, which the row then says."""

    label: str
    value: float | None
    low: float | None
    high: float | None
    columns: tuple[str, ...] = ()
    """Further numbers written at the right."""
    shape: str = "circle"
    tone: str = ""
    """Class of the style sheet that colours the row: fusion, single, baseline, null."""
    strong: bool = False
    faint: bool = False
    """Too small to be interpreted; greyed and marked †."""
    other: float | None = None
    """A second value, without an interval, drawn as a hollow square on the same row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Guide:
    """A vertical line through the plot."""

    value: float
    label: str
    class_: str


def forest_plot(
    groups: Sequence[tuple[str, Sequence[Estimate]]],
    *,
    axis: str,
    headers: Sequence[str],
    guides: Sequence[Guide],
    title: str,
    digits: int = 3,
) -> str:
    """Draw groups of estimates with 95% intervals on one axis named ``axis``.

    ``headers`` names the columns at the right: the estimate, then those of :attr:`Estimate.columns`. Intervals that reach beyond
    the axis end in an arrow head.
    """
    rows = [row for _, members in groups for row in members]
    widths = [_column_width(h, [_cells(r, digits)[i] for r in rows]) for i, h in enumerate(headers)]
    right = _WIDTH - sum(widths) - _COLUMN_GAP * len(widths)
    low, high = axis_range(rows, [g.value for g in guides])
    labels = _label_width(groups)
    scale = draw.Scale(low=low, high=high, start=labels + 20, end=right - 8)
    edges = list(np.cumsum([right + _COLUMN_GAP, *(w + _COLUMN_GAP for w in widths)]) - _COLUMN_GAP)[1:]
    levels = _guide_levels(guides, scale)
    top = 30.0 + 14 * max(levels, default=0)

    body = [draw.text(x, 14, h, class_="head", text_anchor="end") for x, h in zip(edges, headers, strict=True)]
    y = top
    drawn: list[str] = []
    for name, members in groups:
        if name:
            drawn += [draw.text(0, y + 22, name, class_="group"), draw.line(0, y + 28, _WIDTH, y + 28, class_="hair")]
            y += _HEAD
        for row in members:
            lines = _label_lines(row, labels)
            height = _ROW + _SECOND_LINE * (len(lines) - 1)
            drawn += _row(row, y + height / 2, lines=lines, scale=scale, edges=edges, digits=digits)
            y += height
        y += 4
    for guide, level in zip(guides, levels, strict=True):
        x = scale(guide.value)
        anchor, shift = _anchor(guide.label, x, scale)
        body += [
            draw.line(x, top - 10, x, y, class_=guide.class_),
            draw.text(x + shift, 15 + 14 * level, guide.label, class_="guide-label", text_anchor=anchor),
        ]
    body += drawn
    body += draw.x_axis(scale, y + 4, axis, values=draw.ticks(low, high, count=7))
    described = "; ".join(f"{r.label}: {wording.estimate(r.value, r.low, r.high, digits)}" for r in rows)
    return draw.svg(_WIDTH, y + 50, body, title=title, description=f"{axis}. {described}.")


def axis_range(rows: Sequence[Estimate], marks: Sequence[float]) -> tuple[float, float]:
    """Choose the axis: all intervals, unless a few reach so far that the rest would be squeezed together."""
    ends = [float(e) for r in rows for e in (r.value, r.low, r.high, r.other) if wording.known(e)]
    ends += list(marks)
    if not ends:
        return 0.0, 1.0
    low, high = min(ends), max(ends)
    near, far = np.quantile(ends, [0.1, 0.9])
    room = max(far - near, 1e-6)
    values = [float(r.value) for r in rows if wording.known(r.value)] or ends
    low = max(low, near - 1.5 * room) if min(values) >= near - 1.5 * room else low
    high = min(high, far + 1.5 * room) if max(values) <= far + 1.5 * room else high
    pad = 0.03 * (high - low) or max(abs(high) * 0.05, 0.05)
    return low - pad, high + pad


def _cells(row: Estimate, digits: int) -> tuple[str, ...]:
    return (wording.estimate(row.value, row.low, row.high, digits), *row.columns)


def _label_lines(row: Estimate, width: float) -> list[str]:
    mark = " †" if row.faint else ""
    lines = draw.wrap(row.label, width - draw.text_width(mark), max_lines=3, bold=row.strong)
    return [*lines[:-1], lines[-1] + mark]


def _label_width(groups: Sequence[tuple[str, Sequence[Estimate]]]) -> float:
    widest = max(
        [draw.text_width(name, draw.TEXT, bold=True) for name, _ in groups]
        + [draw.text_width(row.label + " †", bold=row.strong) for _, members in groups for row in members]
    )
    return min(max(widest, _LEAST_LABEL), _MOST_LABEL)


def _column_width(header: str, cells: Sequence[str]) -> float:
    return max(draw.text_width(c, draw.TEXT, bold=True) for c in [header, *cells])


def _row(row: Estimate, y: float, *, lines: list[str], scale: draw.Scale, edges: Sequence[float], digits: int) -> list[str]:
    weight = " strong" if row.strong else ""
    cells = _cells(row, digits)
    parts = [draw.element("title", escape(f"{row.label}: {cells[0]}"))]
    parts += draw.lines_of_text(0, y, lines, leading=_SECOND_LINE, class_=f"label{weight}")
    for x, cell in zip(edges, cells, strict=True):
        parts.append(draw.text(x, y + 4, cell, class_=f"cell{weight}", text_anchor="end"))
    if wording.known(row.low) and wording.known(row.high):
        parts += _whisker(float(row.low), float(row.high), y, scale)
    if wording.known(row.other):
        parts.append(draw.marker("square", scale(float(row.other)), y, size=4.5, class_="hollow"))
    if wording.known(row.value):
        size = 5.4 if row.strong else 4.4
        parts.append(draw.marker(row.shape, scale(float(row.value)), y, size=size, class_="mark"))
    return [draw.element("g", *parts, class_=f"row {row.tone}{' faint' if row.faint else ''}")]


def _whisker(low: float, high: float, y: float, scale: draw.Scale) -> list[str]:
    parts = [draw.line(scale(low), y, scale(high), y, class_="whisker")]
    for end, step in ((low, 5.0), (high, -5.0)):
        x = scale(end)
        if scale.clipped(end):
            parts.append(draw.polyline([(x + step, y - 4), (x, y), (x + step, y + 4)], class_="whisker"))
        else:
            parts.append(draw.line(x, y - 3, x, y + 3, class_="whisker"))
    return parts


def _guide_levels(guides: Sequence[Guide], scale: draw.Scale) -> list[int]:
    """Put the labels of guides that stand close to each other on separate lines."""
    levels: list[int] = []
    taken: list[tuple[int, float, float]] = []
    for guide in guides:
        x = scale(guide.value)
        width = draw.text_width(guide.label, draw.SMALL)
        anchor, shift = _anchor(guide.label, x, scale)
        start = x + shift - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
        level = 0
        while any(lv == level and start < b + 8 and a - 8 < start + width for lv, a, b in taken):
            level += 1
        levels.append(level)
        taken.append((level, start, start + width))
    return levels


def _anchor(label: str, x: float, scale: draw.Scale) -> tuple[str, float]:
    half = draw.text_width(label, draw.SMALL) / 2
    if x + half > scale.end + 6:
        return "end", 4.0
    if x - half < 0:
        return "start", -4.0
    return "middle", 0.0

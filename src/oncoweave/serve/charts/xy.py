"""Small multiples of a quantity against a logarithmic one: quality against seconds, labels or parameters."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from oncoweave.serve import wording
from oncoweave.serve.charts import draw

_WIDTH = 860.0
_GAP = 28.0
_LEFT = 54.0
_HEIGHT = 190.0
_TOP = 30.0
_BELOW = 56.0
_LEADING = 13.0
_TONES = ("a", "b", "c", "d")
MOST_CURVES = len(_TONES)
"""Curves of a panel that can be told apart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One mark; ``x`` is positive."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    hover: str = ""
    key: str = ""
    """Written beside the mark."""
    tone: str = ""
    """Class of the style sheet that colours it: fusion, single, baseline; empty in curves, which have their own."""
    shape: str = "circle"


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """Points joined by a line, from left to right, and what they are of."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One plot: loose points, and curves."""

    title: str
    y_label: str
    points: tuple[Point, ...] = ()
    curves: tuple[Curve, ...] = ()

    @property
    def every(self) -> list[Point]:
        """All points."""
        return [*self.points, *(p for curve in self.curves for p in curve.points)]


def xy_chart(panels: Sequence[Panel], *, x_label: str, title: str, columns: int = 2) -> str:
    """Draw panels side by side, each with axes of its own; x is logarithmic."""
    columns = min(columns, len(panels))
    width = (_WIDTH - _GAP * (columns - 1)) / columns
    row = _TOP + _HEIGHT + _BELOW
    body: list[str] = []
    for index, panel in enumerate(panels):
        body += _panel(panel, (index % columns) * (width + _GAP), (index // columns) * row, width, x_label)
    described = " ".join(_described(panel) for panel in panels)
    return draw.svg(_WIDTH, row * -(-len(panels) // columns), body, title=title, description=described)


_STEPS = ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9))


def log_ticks(low: float, high: float) -> list[float]:
    """List round values of a logarithmic axis within a range: powers of ten, with more between them where these are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for steps in _STEPS:
        every = (step * 10.0**power for power in powers for step in steps)
        found = [value for value in every if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
        if len(found) > 2:
            break
    return found


def short_number(value: float) -> str:
    """Write a value of many sizes in few letters: 0.05, 20, 3k, 1.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def _panel(panel: Panel, left: float, top: float, width: float, x_label: str) -> list[str]:
    points = panel.every
    names = max((draw.text_width(c.name, bold=True) for c in panel.curves), default=0.0)
    right = left + width - (min(names, 130.0) + 14 if panel.curves else 14)
    low, high = min(p.x for p in points) / 1.25, max(p.x for p in points) * 1.25
    x = draw.Scale(low=math.log10(low), high=math.log10(high), start=left + _LEFT, end=right)
    ends = [e for p in points for e in (p.y, p.low, p.high) if wording.known(e)]
    pad = 0.06 * (max(ends) - min(ends)) or 0.02
    y = draw.Scale(low=min(ends) - pad, high=max(ends) + pad, start=top + _TOP + _HEIGHT, end=top + _TOP)
    body = [
        draw.text(
            left, top + 14, draw.wrap(panel.title, width, bold=True, max_lines=1)[0], class_="panel-title", hover=panel.title
        )
    ]
    values = draw.ticks(y.low, y.high, count=5)
    body += [draw.line(x.start, y(v), x.end, y(v), class_="grid") for v in values]
    body += draw.y_axis(y, x.start, panel.y_label, values=values)
    body += _log_axis(x, y.start, x_label, log_ticks(low, high))
    for curve, tone in zip(panel.curves, _TONES, strict=False):
        body += _curve(curve, x, y, tone)
    body += _end_names(panel, x, y)
    for point in panel.points:
        body += _mark(point, x(math.log10(point.x)), y(point.y), _whisker(point, x, y))
    return body


def _mark(point: Point, across: float, down: float, whisker: list[str]) -> list[str]:
    mark = draw.marker(point.shape, across, down, size=5.0, class_="mark", hover=point.hover)
    parts = [draw.element("g", *whisker, mark, class_=f"row {point.tone}".strip())]
    return [*parts, draw.text(across + 8, down + 4, point.key, class_="tick")] if point.key else parts


def _whisker(point: Point, x: draw.Scale, y: draw.Scale) -> list[str]:
    if not (wording.known(point.low) and wording.known(point.high)):
        return []
    across = x(math.log10(point.x))
    return [draw.line(across, y(point.low), across, y(point.high), class_="whisker")]


def _curve(curve: Curve, x: draw.Scale, y: draw.Scale, tone: str) -> list[str]:
    places = [(x(math.log10(p.x)), y(p.y)) for p in curve.points]
    whiskers = [part for p in curve.points for part in _whisker(p, x, y)]
    marks = [
        draw.marker("circle", across, down, size=3.5, class_="dot", hover=p.hover)
        for p, (across, down) in zip(curve.points, places, strict=True)
    ]
    return [draw.polyline(places, class_=f"km-{tone} step"), draw.element("g", *whiskers, *marks, class_=f"km-{tone}")]


def _end_names(panel: Panel, x: draw.Scale, y: draw.Scale) -> list[str]:
    """Name each curve at its end, moved apart where two ends meet."""
    ends = sorted((y(curve.points[-1].y), i) for i, curve in enumerate(panel.curves))
    placed: list[tuple[float, int]] = []
    for height, i in ends:
        placed.append((max(height, placed[-1][0] + _LEADING) if placed else height, i))
    over = max(placed[-1][0] - y.start, 0.0) if placed else 0.0
    return [
        draw.text(
            x.end + 8,
            height - over + 4,
            draw.wrap(panel.curves[i].name, 130.0, bold=True, max_lines=1)[0],
            class_=f"km-{_TONES[i]} end-label",
            hover=panel.curves[i].name,
        )
        for height, i in placed
    ]


def _log_axis(x: draw.Scale, y: float, label: str, values: Sequence[float]) -> list[str]:
    parts = [draw.line(x.start, y, x.end, y, class_="axis")]
    for value in values:
        across = x(math.log10(value))
        parts += [
            draw.line(across, y, across, y + 5, class_="axis"),
            draw.text(across, y + 18, short_number(value), class_="tick", text_anchor="middle"),
        ]
    return [*parts, draw.text((x.start + x.end) / 2, y + 36, label, class_="axis-title", text_anchor="middle")]


def _described(panel: Panel) -> str:
    told = "; ".join(p.hover for p in panel.every if p.hover)
    return f"{panel.title}: {told}." if told else f"{panel.title}."

"""Kaplan-Meier curves with confidence bands and the numbers at risk under the axis."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from oncoweave.serve import wording
from oncoweave.serve.charts import draw

_WIDTH = 860.0
_PANEL_GAP = 44.0
_PLOT_HEIGHT = 250.0
_STYLES = ("a", "b", "c", "d")


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """One group's estimated survival as steps, and how many were still followed just before each time."""

    label: str
    time: np.ndarray
    survival: np.ndarray
    low: np.ndarray
    high: np.ndarray
    at_risk: np.ndarray

    def at_risk_at(self, when: float) -> int:
        """Count those whose follow-up reaches ``when``, as the first row at or after it states."""
        later = np.flatnonzero(self.time >= when - 1e-9)
        return round(float(self.at_risk[later[0]])) if len(later) else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """The curves of one model, with a title and lines of statistics written above the plot."""

    title: str
    notes: tuple[str, ...]
    curves: tuple[Curve, ...]


def km_plot(panels: Sequence[Panel], *, unit: str, event_free: str, title: str) -> str:
    """Draw up to two panels side by side on one time axis in ``unit``; ``event_free`` names the vertical axis."""
    last = max(float(c.time.max()) for p in panels for c in p.curves)
    gap = _PANEL_GAP if len(panels) > 1 else 0.0
    width = min((_WIDTH - gap * (len(panels) - 1)) / len(panels), 640.0)
    body: list[str] = []
    bottom = 0.0
    head = _head_height(panels, width)
    for i, panel in enumerate(panels):
        drawn, bottom = _panel(panel, left=i * (width + gap), width=width, head=head, last=last, unit=unit, event_free=event_free)
        body += drawn
    described = " ".join(_described(p, last, unit) for p in panels)
    return draw.svg(width * len(panels) + gap * (len(panels) - 1), bottom, body, title=title, description=described)


def _head_height(panels: Sequence[Panel], width: float) -> float:
    lines = max(len(draw.wrap(p.title, width, bold=True)) + sum(len(_note_lines(n, width)) for n in p.notes) for p in panels)
    return 14 + 15 * lines + 6


def _note_lines(note: str, width: float) -> list[str]:
    return draw.wrap(note, width, size=draw.SMALL, max_lines=3)


def _panel(
    panel: Panel, *, left: float, width: float, head: float, last: float, unit: str, event_free: str
) -> tuple[list[str], float]:
    names = max(draw.text_width(c.label, draw.SMALL) for c in panel.curves)
    x = draw.Scale(low=0.0, high=last, start=left + max(58.0, names + 30), end=left + width - names - 16)
    y = draw.Scale(low=0.0, high=1.0, start=head + _PLOT_HEIGHT, end=head)
    times = draw.ticks(0.0, last, count=7 if width > 500 else 6, unit=unit)
    parts: list[str] = []
    for i, content in enumerate(draw.wrap(panel.title, width, bold=True)):
        parts.append(draw.text(left, 14 + 15 * i, content, class_="panel-title"))
    noted = [content for note in panel.notes for content in _note_lines(note, width)]
    offset = 14 + 15 * len(draw.wrap(panel.title, width, bold=True))
    parts += [draw.text(left, offset + 15 * i, content, class_="note") for i, content in enumerate(noted)]
    parts += [draw.line(x.start, y(v), x.end, y(v), class_="grid") for v in (0.25, 0.5, 0.75, 1.0)]
    parts += draw.x_axis(x, y.start, f"Time ({unit})", values=times)
    parts += draw.y_axis(y, x.start, event_free, values=[0.0, 0.25, 0.5, 0.75, 1.0])
    for curve, style in zip(panel.curves, _STYLES, strict=False):
        parts += _curve(curve, x, y, style)
    parts += _end_labels(panel.curves, x, y)
    bottom = y.start + 58
    parts.append(draw.text(left, bottom, "Number at risk", class_="head"))
    for i, (curve, style) in enumerate(zip(panel.curves, _STYLES, strict=False)):
        row = bottom + 17 * (i + 1)
        parts.append(draw.text(left, row, curve.label, class_=f"km-{style} risk-label"))
        parts += [draw.text(x(t), row, wording.count(curve.at_risk_at(t)), class_="cell", text_anchor="middle") for t in times]
    return parts, bottom + 17 * len(panel.curves) + 10


def _curve(curve: Curve, x: draw.Scale, y: draw.Scale, style: str) -> list[str]:
    upper = [(x(t), y(v)) for t, v in _steps(curve.time, curve.high)]
    lower = [(x(t), y(v)) for t, v in _steps(curve.time, curve.low)]
    band = draw.polygon([*upper, *reversed(lower)], class_=f"km-{style} band")
    return [band, draw.polyline([(x(t), y(v)) for t, v in _steps(curve.time, curve.survival)], class_=f"km-{style} step")]


def _steps(time: np.ndarray, values: np.ndarray) -> list[tuple[float, float]]:
    """Turn estimates into the corners of a right-continuous staircase from (0, 1); an unknown bound keeps the last one."""
    corners = [(0.0, 1.0)]
    for when, value in zip(time.tolist(), values.tolist(), strict=True):
        level = value if np.isfinite(value) else corners[-1][1]
        corners += [(when, corners[-1][1]), (when, level)]
    return corners


def _end_labels(curves: Sequence[Curve], x: draw.Scale, y: draw.Scale) -> list[str]:
    """Name each curve at its end, moved apart where two ends meet."""
    ends = sorted((y(float(c.survival[-1])), i) for i, c in enumerate(curves))
    placed: list[tuple[float, int]] = []
    for height, i in ends:
        placed.append((max(height, placed[-1][0] + 15) if placed else height, i))
    overflow = max(placed[-1][0] - y.start, 0.0)
    return [draw.text(x.end + 8, h - overflow + 4, curves[i].label, class_=f"km-{_STYLES[i]} end-label") for h, i in placed]


def _described(panel: Panel, last: float, unit: str) -> str:
    ends = "; ".join(f"{c.label}: {wording.number(float(c.survival[-1]), 2)}" for c in panel.curves)
    return f"{panel.title}. {' '.join(panel.notes)} Estimated at the end of follow-up (at most {last:g} {unit}): {ends}."

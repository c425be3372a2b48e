"""Decision curves: net benefit of a model, of the baseline, of treating everybody and of treating nobody, over thresholds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from oncoweave.serve import wording
from oncoweave.serve.charts import draw

_WIDTH = 860.0
_COLUMNS = 3
_GAP = 24.0
_HEIGHT = 190.0
_BELOW = 0.25
"""How far the vertical axis reaches below 0, as a share of what lies above it."""
_LEGEND = 28.0
_MODEL, _BASELINE, _ALL, _NONE = "km-a step", "km-b step", "guide chance", "axis"


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """The curves of one horizon: net benefit at each threshold, with the interval of the model's."""

    title: str
    thresholds: np.ndarray
    model: np.ndarray
    low: np.ndarray
    high: np.ndarray
    baseline: np.ndarray
    treat_all: np.ndarray


def decision_plot(panels: Sequence[Decision], *, model: str, baseline: str, acting: str, title: str) -> str:
    """Draw panels side by side on one vertical axis; ``acting`` names what a threshold decides, such as treatment."""
    columns = min(len(panels), _COLUMNS)
    cell = (_WIDTH - _GAP * (columns - 1)) / columns if columns > 1 else 520.0
    highest = max(float(np.nanmax(np.concatenate([[0.01], p.model, p.baseline, p.treat_all, p.high]))) for p in panels)
    low, high = -_BELOW * highest, 1.04 * highest
    body = _legend(((_MODEL, model), (_BASELINE, baseline), (_ALL, f"{acting} everybody"), (_NONE, f"{acting} nobody")))
    head, bottom = _LEGEND + 24, 0.0
    for i, panel in enumerate(panels):
        left, top = (i % columns) * (cell + _GAP), (i // columns) * (_HEIGHT + 84) + head
        x = draw.Scale(low=0.0, high=float(panel.thresholds.max()), start=left + 54, end=left + cell - 12)
        y = draw.Scale(low=low, high=high, start=top + _HEIGHT, end=top)
        bottom = y.start + 48
        if panel.title:
            body.append(draw.text(left + 54, top - 8, panel.title, class_="panel-title"))
        marks = draw.ticks(low, high, count=6)
        body += [draw.line(x.start, y(v), x.end, y(v), class_="grid") for v in marks if v != 0]
        body += draw.y_axis(y, x.start, "Net benefit" if i % columns == 0 else "", values=marks, label_gap=44)
        body += draw.x_axis(x, y.start, "Threshold probability", values=draw.ticks(0.0, x.high, count=5))
        body += _curves(panel, x, y)
    described = " ".join(_described(panel, model, baseline) for panel in panels)
    width = columns * cell + (columns - 1) * _GAP
    return draw.svg(width, bottom, body, title=title, description=described)


def _legend(entries: Sequence[tuple[str, str]]) -> list[str]:
    parts, x = [], 54.0
    for class_, name in entries:
        shown = draw.wrap(name, 230, max_lines=1)[0]
        parts.append(draw.polyline([(x, 12), (x + 26, 12)], class_=class_))
        parts.append(draw.text(x + 32, 16, shown, class_="label"))
        x += 32 + draw.text_width(shown) + 22
    return parts


def _curves(panel: Decision, x: draw.Scale, y: draw.Scale) -> list[str]:
    known = np.isfinite(panel.low) & np.isfinite(panel.high)
    upper = [(x(t), y(v)) for t, v in zip(panel.thresholds[known], panel.high[known], strict=True)]
    lower = [(x(t), y(v)) for t, v in zip(panel.thresholds[known], panel.low[known], strict=True)]
    parts = [draw.polygon([*upper, *reversed(lower)], class_="km-a band")] if len(upper) > 1 else []
    parts.append(draw.line(x.start, y(0), x.end, y(0), class_=_NONE))
    for values, class_ in ((panel.treat_all, _ALL), (panel.baseline, _BASELINE), (panel.model, _MODEL)):
        points = [(x(t), y(v)) for t, v in _inside(panel.thresholds, values, y.low)]
        if len(points) > 1:
            parts.append(draw.polyline(points, class_=class_, fill="none"))
    return parts


def _inside(thresholds: np.ndarray, values: np.ndarray, low: float) -> list[tuple[float, float]]:
    """Corners of a curve down to where it leaves the axis; unknown values are passed over."""
    corners: list[tuple[float, float]] = []
    for threshold, value in zip(thresholds.tolist(), values.tolist(), strict=True):
        if not np.isfinite(value):
            continue
        if value < low:
            if corners:
                before, last = corners[-1]
                share = (last - low) / (last - value)
                corners.append((before + share * (threshold - before), low))
            break
        corners.append((threshold, value))
    return corners


def _described(panel: Decision, model: str, baseline: str) -> str:
    found = [
        f"at {t:.2f} {model} {wording.number(m)}, {baseline} {wording.number(b)}, everybody {wording.number(a)}"
        for t, m, b, a in zip(panel.thresholds, panel.model, panel.baseline, panel.treat_all, strict=True)
    ]
    return f"{panel.title or 'Net benefit'}: {'; '.join(found)}."

"""Calibration plot: what was predicted against what was observed, one square a model and horizon."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from oncoweave.serve import wording
from oncoweave.serve.charts import draw

_WIDTH = 860.0
_COLUMNS = 3
_GAP = 26.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Square:
    """The bins of one model: mean prediction, observed value with its interval, and patients in each."""

    title: str
    predicted: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    num: np.ndarray
    tone: str = "fusion"
    """Class of the style sheet that colours the dots; a baseline is drawn in squares."""


def calibration_plot(squares: Sequence[Square], *, predicted: str, observed: str, title: str) -> str:
    """Draw squares on one common range, with the diagonal of perfect calibration; the area of a dot grows with its patients."""
    columns = min(len(squares), _COLUMNS)
    cell = (_WIDTH - _GAP * (_COLUMNS - 1)) / _COLUMNS
    side = cell - 62
    low, high = _common_range(squares)
    head = 18 + 15 * max(len(draw.wrap(s.title, cell - 8, bold=True, max_lines=3)) for s in squares)
    height = head + side + 50
    largest = max(float(np.nanmax(s.num)) for s in squares)
    body: list[str] = []
    for i, square in enumerate(squares):
        left, top = (i % columns) * (cell + _GAP), (i // columns) * (height + 12)
        x = draw.Scale(low=low, high=high, start=left + 54, end=left + 54 + side)
        y = draw.Scale(low=low, high=high, start=top + head + side, end=top + head)
        marks = draw.ticks(low, high, count=5)
        for j, content in enumerate(draw.wrap(square.title, cell - 8, bold=True, max_lines=3)):
            body.append(draw.text(left, top + 14 + 15 * j, content, class_="panel-title"))
        body += [draw.line(x(low), y(low), x(high), y(high), class_="ideal")]
        body += draw.x_axis(x, y.start, predicted, values=marks)
        body += draw.y_axis(y, x.start, observed if i % columns == 0 else "", values=marks)
        body += _dots(square, x, y, largest)
    rows = -(-len(squares) // columns)
    width = columns * cell + (columns - 1) * _GAP
    described = " ".join(_described(s) for s in squares)
    return draw.svg(width, rows * (height + 12) - 12, body, title=title, description=described)


def _dots(square: Square, x: draw.Scale, y: draw.Scale, largest: float) -> list[str]:
    fine = np.isfinite(square.predicted) & np.isfinite(square.observed)
    points = [(x(float(p)), y(float(o))) for p, o in zip(square.predicted[fine], square.observed[fine], strict=True)]
    parts = [draw.polyline(points, class_="calibration-line")] if len(points) > 1 else []
    shape = "square" if square.tone == "baseline" else "circle"
    for i in np.flatnonzero(fine):
        where = x(float(square.predicted[i]))
        if np.isfinite(square.low[i]) and np.isfinite(square.high[i]):
            parts.append(draw.line(where, y(float(square.low[i])), where, y(float(square.high[i])), class_="whisker"))
        radius = 2.2 + 3.6 * float(np.sqrt(max(square.num[i], 0) / largest)) if np.isfinite(square.num[i]) else 3.0
        hover = (
            f"predicted {wording.number(float(square.predicted[i]), 2)}, observed {wording.number(float(square.observed[i]), 2)},"
            f" n = {wording.count(float(square.num[i]))}"
        )
        parts.append(draw.marker(shape, where, y(float(square.observed[i])), size=radius, class_="dot", hover=hover))
    return [draw.element("g", *parts, class_=f"row {square.tone}")]


def _common_range(squares: Sequence[Square]) -> tuple[float, float]:
    """Use 0 to 1 for probabilities, the range of the data for measurements."""
    ends = np.concatenate([np.concatenate([s.predicted, s.observed, s.low, s.high]) for s in squares])
    ends = ends[np.isfinite(ends)]
    if not len(ends) or (ends.min() >= 0 and ends.max() <= 1):
        return 0.0, 1.0
    pad = 0.04 * (float(ends.max()) - float(ends.min())) or 0.5
    return float(ends.min()) - pad, float(ends.max()) + pad


def _described(square: Square) -> str:
    pairs = zip(square.predicted.tolist(), square.observed.tolist(), strict=True)
    return f"{square.title}: " + "; ".join(f"predicted {p:.2f}, observed {o:.2f}" for p, o in pairs) + "."

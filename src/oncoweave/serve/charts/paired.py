"""Attention beside deletion: a bar and its interval on the left, a bar and its interval on the right, one row a thing."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from oncoweave.serve import wording
from oncoweave.serve.charts import draw

_WIDTH = 860.0
_MOST_LABEL = 190.0
_LEAST_LABEL = 70.0
_ROW = 26.0
_GAP = 26.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """A value with its interval; None or NaN where there is none."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """One row."""

    label: str
    left: Bar
    right: Bar


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """What one half of the chart measures."""

    head: str
    axis: str
    digits: int = 2
    guide: float | None = None
    """A value that is marked by a line, such as what an even spread gives."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Half:
    """One half with its place."""

    side: Side
    bars: tuple[Bar, ...]
    scale: draw.Scale
    edge: float
    """Where its numbers end."""
    tone: str
    fill: str


def paired_bars(rows: Sequence[Pair], *, left: Side, right: Side, title: str) -> str:
    """Draw the rows; both halves start at zero, and each has its own axis."""
    labels = min(max([_LEAST_LABEL, *(draw.text_width(row.label) for row in rows)]), _MOST_LABEL)
    width = (_WIDTH - labels - 18 - _GAP) / 2
    first = _half(left, [row.left for row in rows], start=labels + 18, width=width, tone="fusion", fill="bar-sure")
    second = _half(
        right, [row.right for row in rows], start=labels + 18 + width + _GAP, width=width, tone="km-b", fill="bar-deleted"
    )
    top = 30.0
    bottom = top + _ROW * len(rows)
    body = []
    for half in (first, second):
        body.append(draw.text(half.scale.start, 14, half.side.head, class_="panel-title"))
        body.append(draw.line(half.scale(0), top - 6, half.scale(0), bottom, class_="axis"))
        if half.side.guide is not None:
            body.append(draw.line(half.scale(half.side.guide), top - 6, half.scale(half.side.guide), bottom, class_="ideal"))
    for i, row in enumerate(rows):
        y = top + (i + 0.5) * _ROW
        parts = draw.lines_of_text(0, y, draw.wrap(row.label, labels), leading=12, class_="label")
        told = f"{row.label}: {left.head} {_cell(row.left, left)}; {right.head} {_cell(row.right, right)}"
        body.append(draw.element("g", draw.element("title", escape(told)), *parts, *_drawn(first, i, y), *_drawn(second, i, y)))
    for half in (first, second):
        body += draw.x_axis(half.scale, bottom + 4, half.side.axis, values=draw.ticks(0.0, half.scale.high, count=4))
    described = "; ".join(f"{r.label}: {_cell(r.left, left)}, {_cell(r.right, right)}" for r in rows)
    return draw.svg(_WIDTH, bottom + 50, body, title=title, description=f"{left.head} and {right.head}. {described}.")


def _cell(bar: Bar, side: Side) -> str:
    return wording.estimate(bar.value, bar.low, bar.high, side.digits) if wording.known(bar.value) else "–"


def _half(side: Side, bars: Sequence[Bar], *, start: float, width: float, tone: str, fill: str) -> _Half:
    numbers = max([draw.text_width(_cell(bar, side)) for bar in bars], default=0.0)
    ends = [float(e) for bar in bars for e in (bar.value, bar.high) if wording.known(e)]
    high = max([*ends, side.guide or 0.0]) or 1.0
    scale = draw.Scale(low=0.0, high=1.04 * high, start=start, end=start + width - numbers - 14)
    return _Half(side=side, bars=tuple(bars), scale=scale, edge=start + width, tone=tone, fill=fill)


def _drawn(half: _Half, row: int, y: float) -> list[str]:
    bar, scale = half.bars[row], half.scale
    parts = [draw.text(half.edge, y + 4, _cell(bar, half.side), class_="cell", text_anchor="end")]
    if wording.known(bar.value):
        parts.append(draw.rect(scale(0), y - 7, scale(float(bar.value)) - scale(0), 14, class_=half.fill))
    if wording.known(bar.low) and wording.known(bar.high):
        a, b = scale(float(bar.low)), scale(float(bar.high))
        parts += [draw.line(a, y, b, y, class_="whisker"), *(draw.line(e, y - 4, e, y + 4, class_="whisker") for e in (a, b))]
    return [draw.element("g", *parts, class_=f"row {half.tone}")]

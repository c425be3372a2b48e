"""What each modality adds: bars from zero with intervals, and each modality's share."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from oncoweave.serve import wording
from oncoweave.serve.charts import draw

_WIDTH = 860.0
_MOST_LABEL = 230.0
_ROW = 30.0
_SHARE = 96.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Contribution:
    """What the whole model loses without a modality, with its interval, and the modality's Shapley share (0 to 1)."""

    modality: str
    adds: float | None
    low: float | None
    high: float | None
    share: float | None
    shapley: float | None = None
    """The Shapley value in the unit of the measure, written where there is no share."""
    shapley_se: float | None = None
    """Standard error of sampling orders, none where every combination was evaluated."""

    @property
    def sure(self) -> bool:
        """Whether the interval leaves out zero."""
        if not (wording.known(self.low) and wording.known(self.high)):
            return False
        return float(self.low) > 0 or float(self.high) < 0


def contribution_bars(rows: Sequence[Contribution], *, axis: str, title: str, digits: int = 3) -> str:
    """Draw a bar a modality; a filled bar has an interval that leaves out zero, an outlined one does not."""
    cells = [wording.estimate(r.adds, r.low, r.high, digits, sign=True) for r in rows]
    number_width = max(draw.text_width(c) for c in [*cells, "Change (95% interval)"])
    shares = any(wording.known(r.share) for r in rows)
    values = not shares and any(wording.known(r.shapley) for r in rows)
    right = _WIDTH - (_SHARE + 22 if shares or values else 0)
    ends = [float(e) for r in rows for e in (r.adds, r.low, r.high) if wording.known(e)]
    low, high = min([*ends, 0.0]), max([*ends, 0.0])
    pad = 0.05 * (high - low) or 0.01
    labels = min(max(draw.text_width(r.modality) for r in rows), _MOST_LABEL)
    scale = draw.Scale(low=low - pad, high=high + pad, start=labels + 24, end=right - number_width - 16)
    top = 26.0
    bottom = top + _ROW * len(rows)
    body = [draw.text(right, 14, "Change (95% interval)", class_="head", text_anchor="end")]
    if shares:
        body.append(draw.text(_WIDTH, 14, "Shapley share", class_="head", text_anchor="end"))
    if values:
        body.append(draw.text(_WIDTH, 14, "Shapley value", class_="head", text_anchor="end"))
    track = _share_scale(rows)
    body.append(draw.line(scale(0), top - 4, scale(0), bottom, class_="axis"))
    for i, (row, cell) in enumerate(zip(rows, cells, strict=True)):
        middle = top + (i + 0.5) * _ROW
        parts = [draw.element("title", escape(f"{row.modality}: {cell}")), *_bar(row, scale, middle)]
        parts += draw.lines_of_text(0, middle, draw.wrap(row.modality, labels), leading=13, class_="label")
        parts.append(draw.text(right, middle + 4, cell, class_="cell", text_anchor="end"))
        if shares:
            parts += _share(row, middle, track)
        if values:
            parts.append(draw.text(_WIDTH, middle + 4, _shapley(row, digits), class_="cell", text_anchor="end"))
        body.append(draw.element("g", *parts, class_="row fusion"))
    body += draw.x_axis(scale, bottom + 4, axis, values=draw.ticks(scale.low, scale.high, count=6))
    described = "; ".join(f"{r.modality}: {c}" for r, c in zip(rows, cells, strict=True))
    return draw.svg(_WIDTH, bottom + 50, body, title=title, description=f"{axis}. {described}.")


def _bar(row: Contribution, scale: draw.Scale, y: float) -> list[str]:
    if not wording.known(row.adds):
        return []
    x1, x2 = sorted((scale(0), scale(float(row.adds))))
    parts = [draw.rect(x1, y - 7, x2 - x1, 14, class_="bar-sure" if row.sure else "bar-unsure")]
    if wording.known(row.low) and wording.known(row.high):
        a, b = scale(float(row.low)), scale(float(row.high))
        parts += [draw.line(a, y, b, y, class_="whisker")]
        parts += [draw.line(e, y - 4, e, y + 4, class_="whisker") for e in (a, b)]
    return parts


def _share_scale(rows: Sequence[Contribution]) -> draw.Scale:
    """Hold 0 to 100 % and whatever share lies beyond, so that none is cut off."""
    shares = [float(r.share) for r in rows if wording.known(r.share)]
    return draw.Scale(low=min([0.0, *shares]), high=max([1.0, *shares]), start=_WIDTH - _SHARE, end=_WIDTH - 40)


def _share(row: Contribution, y: float, track: draw.Scale) -> list[str]:
    if not wording.known(row.share):
        return [draw.text(_WIDTH, y + 4, "–", class_="cell", text_anchor="end")]
    share = float(row.share)
    left, right = sorted((track(0.0), track(share)))
    return [
        draw.rect(track(0.0), y - 4, track(1.0) - track(0.0), 8, class_="bar-ground"),
        draw.rect(left, y - 4, right - left, 8, class_="bar"),
        draw.text(_WIDTH, y + 4, f"{wording.number(100 * share, 0)}%", class_="cell", text_anchor="end"),
    ]


def _shapley(row: Contribution, digits: int) -> str:
    written = wording.number(row.shapley, digits, sign=True)
    sampled = wording.known(row.shapley_se) and float(row.shapley_se) > 0
    return f"{written} ± {wording.number(row.shapley_se, digits)}" if sampled else written

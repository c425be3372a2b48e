"""Missingness patterns: one column a combination of modalities, after UpSet (Lex et al., IEEE TVCG 2014)."""

from collections.abc import Sequence
from dataclasses import dataclass

from oncoweave.serve import wording
from oncoweave.serve.charts import draw

_WIDTH = 860.0
_BARS = 132.0
_ROW = 22.0
_SET_WIDTH = 92.0
_MOST_NAME = 165.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Pattern:
    """Patients who have exactly these modalities; ``present`` None stands for all the patterns not drawn."""

    present: frozenset[str] | None
    patients: int
    events: int | None
    label: str = ""
    """Written over the column in place of nothing, for patterns without a dot."""


def missingness_chart(
    patterns: Sequence[Pattern], modalities: Sequence[str], *, having: dict[str, int], event_name: str, title: str
) -> str:
    """Draw patterns as columns of dots under bars of patients (lower part: with an event); ``having`` counts each modality."""
    names = min(max(draw.text_width(name) for name in (*modalities, "patients", event_name)), _MOST_NAME)
    left = names + 12 + _SET_WIDTH + 46
    width = min((_WIDTH - left) / max(len(patterns), 1), 62.0)
    most = max([p.patients for p in patterns] + [1])
    y = draw.Scale(low=0.0, high=float(most), start=22 + _BARS, end=22.0)
    matrix = y.start + 14
    body = _bars(patterns, y, left=left, width=width, event_name=event_name)
    body += draw.y_axis(y, left - 6, "Patients", values=[v for v in draw.ticks(0, most, count=4) if v == int(v)], label_gap=38)
    body += _sets(modalities, having, top=matrix, names=names)
    wide = left + width * len(patterns)
    stripes = [draw.rect(0, matrix + i * _ROW, wide, _ROW, class_="stripe") for i in range(0, len(modalities), 2)]
    body = [*stripes, *body]
    for j, pattern in enumerate(patterns):
        body += _connection(pattern, modalities, left + (j + 0.5) * width, matrix)
    for i, modality in enumerate(modalities):
        body += [_dot(p, modality, left + (j + 0.5) * width, matrix + (i + 0.5) * _ROW) for j, p in enumerate(patterns)]
    bottom = matrix + len(modalities) * _ROW
    body += _numbers(patterns, left=left, width=width, top=bottom + 18, event_name=event_name, names=names)
    described = "; ".join(f"{_spoken(p, modalities)}: {wording.plural(p.patients, 'patient')}" for p in patterns)
    return draw.svg(max(wide + 4, 420.0), bottom + 46, body, title=title, description=described + ".")


def _bars(patterns: Sequence[Pattern], y: draw.Scale, *, left: float, width: float, event_name: str) -> list[str]:
    parts = []
    bar = min(width * 0.62, 30.0)
    for j, pattern in enumerate(patterns):
        x = left + (j + 0.5) * width - bar / 2
        hover = f"{wording.plural(pattern.patients, 'patient')}"
        parts.append(draw.rect(x, y(pattern.patients), bar, y.start - y(pattern.patients), class_="bar", hover=hover))
        if pattern.events:
            hover = f"{wording.count(pattern.events)} {event_name}"
            parts.append(draw.rect(x, y(pattern.events), bar, y.start - y(pattern.events), class_="bar-part", hover=hover))
    return parts


def _sets(modalities: Sequence[str], having: dict[str, int], *, top: float, names: float) -> list[str]:
    """Draw, beside each modality's name, how many patients have it at all."""
    most = max([*having.values(), 1])
    right = names + 12 + _SET_WIDTH
    parts = [draw.text(right, top - 8, "who have it", class_="tick", text_anchor="end")]
    for i, modality in enumerate(modalities):
        middle = top + (i + 0.5) * _ROW
        num = having.get(modality, 0)
        length = (_SET_WIDTH - 36) * num / most
        name = draw.wrap(modality, names, max_lines=1)[0]
        parts += [
            draw.text(names, middle + 4, name, class_="label", text_anchor="end", hover=modality),
            draw.rect(names + 12, middle - 5, length, 10, class_="bar"),
            draw.text(right, middle + 4, wording.count(num), class_="cell", text_anchor="end"),
        ]
    return parts


def _dot(pattern: Pattern, modality: str, x: float, y: float) -> str:
    if pattern.present is None:
        return draw.text(x, y + 4, "·", class_="tick", text_anchor="middle")
    present = modality in pattern.present
    return draw.marker("circle", x, y, size=6.0 if present else 3.2, class_="present" if present else "absent")


def _connection(pattern: Pattern, modalities: Sequence[str], x: float, top: float) -> list[str]:
    if pattern.present is None:
        return []
    rows = [i for i, m in enumerate(modalities) if m in pattern.present]
    if len(rows) < 2:
        return []
    return [draw.line(x, top + (rows[0] + 0.5) * _ROW, x, top + (rows[-1] + 0.5) * _ROW, class_="connection")]


def _numbers(patterns: Sequence[Pattern], *, left: float, width: float, top: float, event_name: str, names: float) -> list[str]:
    parts = [draw.text(names, top, "patients", class_="label", text_anchor="end")]
    any_events = any(p.events is not None for p in patterns)
    if any_events:
        parts.append(draw.text(names, top + 17, draw.wrap(event_name, names, max_lines=1)[0], class_="label", text_anchor="end"))
    for j, pattern in enumerate(patterns):
        x = left + (j + 0.5) * width
        parts.append(draw.text(x, top, wording.count(pattern.patients), class_="cell", text_anchor="middle"))
        if any_events:
            parts.append(draw.text(x, top + 17, wording.count(pattern.events), class_="cell", text_anchor="middle"))
        if pattern.label:
            parts.append(draw.text(x, 14, pattern.label, class_="tick", text_anchor="middle"))
    return parts


def _spoken(pattern: Pattern, modalities: Sequence[str]) -> str:
    if pattern.present is None:
        return pattern.label or "other patterns"
    return " + ".join(m for m in modalities if m in pattern.present) or "no modality"

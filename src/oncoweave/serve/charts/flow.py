"""Cohort flow: a column of boxes with patients and events, and at the right what left the study between them, and why."""

from collections.abc import Sequence
from dataclasses import dataclass

from oncoweave.serve import wording
from oncoweave.serve.charts import draw

_WIDTH = 764.0
_BOX = 320.0
_SIDE_LEFT = 372.0
_SIDE = 388.0
_PAD = 11.0
_LEADING = 15.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Exit:
    """Patients who left, and why."""

    patients: int
    events: int | None
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Patients who remain at a point of the study, and those who left since the point before."""

    name: str
    patients: int
    events: int | None
    exits: tuple[Exit, ...] = ()


def flow_chart(stages: Sequence[Stage], *, event_name: str | None, title: str) -> str:
    """Draw the stages from top to bottom.

    ``event_name`` says what the second count counts (events, positives); None where there is nothing to count.
    """
    body: list[str] = []
    y = 2.0
    for i, stage in enumerate(stages):
        if i:
            side = _exit_lines(stages[i - 1], stage, event_name)
            height = len(side) * _LEADING + 2 * _PAD
            gap = height + 26 if side else 28.0
            body += _arrow(_BOX / 2, y, _BOX / 2, y + gap)
            if side:
                middle = y + gap / 2 - 3
                body += _arrow(_BOX / 2, middle, _SIDE_LEFT, middle)
                body += _box(_SIDE_LEFT, middle - height / 2, _SIDE, side, class_="box lost")
            y += gap
        name = [(content, "label strong", 0.0) for content in draw.wrap(wording.capital(stage.name), _BOX - 2 * _PAD, bold=True)]
        lines = [*name, (f"n = {_counts(stage.patients, stage.events, event_name)}", "label", 0.0)]
        body += _box(0.0, y, _BOX, lines, class_="box last" if i == len(stages) - 1 else "box")
        y += len(lines) * _LEADING + 2 * _PAD
    return draw.svg(_WIDTH, y + 4, body, title=title, description=" ".join(_described(s, event_name) for s in stages))


def _exit_lines(before: Stage, after: Stage, event_name: str | None) -> list[tuple[str, str, float]]:
    """Write who left: the total, then each reason; patients that no reason accounts for are said to be such."""
    lost = before.patients - after.patients
    unexplained = lost - sum(e.patients for e in after.exits)
    exits = list(after.exits)
    if unexplained > 0:
        exits.append(Exit(patients=unexplained, events=None, reason="no reason recorded"))
    if not exits:
        return []
    lines = [(f"Excluded: n = {wording.count(lost)}", "label strong", 0.0)]
    for leaving in exits:
        told = f"{_counts(leaving.patients, leaving.events, event_name)}: {leaving.reason}"
        wrapped = draw.wrap(told, _SIDE - 2 * _PAD - 24, max_lines=4)
        lines += [(content, "label", 12.0 if j == 0 else 24.0) for j, content in enumerate(wrapped)]
    return lines


def _counts(patients: int, events: int | None, event_name: str | None) -> str:
    if event_name is None:
        return wording.count(patients)
    known = f"{event_name} unknown" if events is None else f"{wording.count(events)} {event_name}"
    return f"{wording.count(patients)} ({known})"


def _box(x: float, y: float, width: float, lines: list[tuple[str, str, float]], *, class_: str) -> list[str]:
    height = len(lines) * _LEADING + 2 * _PAD
    parts = [draw.rect(x + 1, y, width, height, rx=3, class_=class_)]
    for i, (content, style, indent) in enumerate(lines):
        parts.append(draw.text(x + 1 + _PAD + indent, y + _PAD + 11.5 + i * _LEADING, content, class_=style))
    return parts


def _arrow(x1: float, y1: float, x2: float, y2: float) -> list[str]:
    head = [(x2 - 4, y2 - 7), (x2, y2), (x2 + 4, y2 - 7)] if x1 == x2 else [(x2 - 7, y2 - 4), (x2, y2), (x2 - 7, y2 + 4)]
    return [draw.line(x1, y1, x2, y2, class_="axis"), draw.polygon(head, class_="arrow-head")]


def _described(stage: Stage, event_name: str | None) -> str:
    left = "; ".join(f"{_counts(e.patients, e.events, event_name)} left: {e.reason}" for e in stage.exits)
    remaining = f"{wording.capital(stage.name)}: n = {_counts(stage.patients, stage.events, event_name)}."
    return f"{wording.capital(left)}. {remaining}" if left else remaining

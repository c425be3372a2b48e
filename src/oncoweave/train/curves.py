"""The log of a pretraining run as a picture: one panel a quantity, in SVG."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from oncoweave.core.files import publish

_WIDTH, _HEIGHT, _COLUMNS = 300, 120, 3
_GAP, _HEAD = 28, 26
_POINTS = 600
"""Points drawn of a curve; of more, evenly spread ones are taken."""


def write_curves(path: Path, rows: Sequence[Mapping[str, float]], *, title: str) -> None:
    """Draw every quantity of the log against the step."""
    names = [n for n in dict.fromkeys(k for row in rows for k in row) if n != "step"]
    panels = [_panel(i, name, [(r["step"], r[name]) for r in rows if name in r]) for i, name in enumerate(names)]
    across = _COLUMNS * (_WIDTH + _GAP) + _GAP
    down = math.ceil(len(names) / _COLUMNS) * (_HEIGHT + _HEAD + _GAP) + _HEAD + _GAP
    text = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{across}" height="{down}" viewBox="0 0 {across} {down}"'
        f' font-family="Helvetica, Arial, sans-serif" font-size="12" role="img"><title>{escape(title)}</title>'
        f'<rect width="100%" height="100%" fill="#fff"/><text x="{_GAP}" y="{_HEAD}" font-size="15">{escape(title)}</text>'
        f"{''.join(panels)}</svg>\n"
    )
    with publish(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _panel(number: int, name: str, points: Sequence[tuple[float, float]]) -> str:
    left = _GAP + number % _COLUMNS * (_WIDTH + _GAP)
    top = _HEAD + _GAP + number // _COLUMNS * (_HEIGHT + _HEAD + _GAP) + _HEAD
    shown = [p for p in points if math.isfinite(p[1])]
    shown = [shown[i * len(shown) // _POINTS] for i in range(_POINTS)] if len(shown) > _POINTS else shown
    head = f'<text x="{left}" y="{top - 8}">{escape(name.replace("_", " "))}</text>'
    frame = f'<rect x="{left}" y="{top}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="#bbb"/>'
    if not shown:
        return head + frame
    first, last = shown[0][0], max(shown[-1][0], shown[0][0] + 1)
    low, high = min(v for _, v in shown), max(v for _, v in shown)
    scale = high - low or max(abs(high), 1.0)
    place = " ".join(
        f"{left + (s - first) / (last - first) * _WIDTH:.1f},{top + _HEIGHT * (0.95 - 0.9 * (v - low) / scale):.1f}"
        for s, v in shown
    )
    note = f"{low:.4g} to {high:.4g}, last {shown[-1][1]:.4g}"
    mark = f'<circle cx="{place.split()[-1].replace(",", chr(34) + " cy=" + chr(34))}" r="2.5" fill="#1b5e9e"/>'
    return (
        f'{head}{frame}<text x="{left + _WIDTH}" y="{top - 8}" text-anchor="end" fill="#666">{note}</text>'
        f'<polyline points="{place}" fill="none" stroke="#1b5e9e" stroke-width="1.5"/>{mark}'
        f'<text x="{left}" y="{top + _HEIGHT + 14}" fill="#666">{first:.0f}</text>'
        f'<text x="{left + _WIDTH}" y="{top + _HEIGHT + 14}" text-anchor="end" fill="#666">step {last:.0f}</text>'
    )

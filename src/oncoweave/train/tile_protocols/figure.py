"""The headline scores of all encoders as a picture in SVG: a mark and an interval each, chance as a dashed line."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd

_PANEL, _LEFT, _GAP, _TOP, _STEP, _ROW_GAP = 430.0, 132.0, 34.0, 66.0, 13.0, 9.0
_INKS = ("#1b5e9e", "#b5471b", "#2f7d4f", "#7b4aa0", "#9a6a00", "#0e7c86")


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One panel: what its rows are of."""

    title: str
    rows: tuple[tuple[str, str, str, str], ...]
    """Label, protocol, setting and metric."""


_ACCURACY = "balanced accuracy"
PANELS = (
    Panel(
        title="Classifying tiles (balanced accuracy; k-shot: 95 % of episodes)",
        rows=(
            ("linear probe", "linear probe", "", _ACCURACY),
            ("k-NN, k = 20", "k-NN", "k=20", _ACCURACY),
            ("SimpleShot", "SimpleShot", "", _ACCURACY),
            ("fine-tuned", "fine-tuning", "tuned", _ACCURACY),
            *((f"{k}-shot", "k-shot", f"k={k}", _ACCURACY) for k in (1, 2, 4, 8, 16)),
        ),
    ),
    Panel(
        title="Retrieving tiles of the class",
        rows=(
            *((f"one of top {k}", "retrieval", f"k={k}", "top-k accuracy") for k in (1, 3, 5)),
            ("majority of 5", "retrieval", "k=5", "majority accuracy"),
            ("average precision", "retrieval", "", "mean average precision"),
        ),
    ),
    Panel(
        title="Finding the same tile in another version (top 1)",
        rows=tuple((what, "robustness", what, "top-1 same tile") for what in ("across scanners", "across stains", "across both")),
    ),
    Panel(
        title="Linear probe on other stains and scanners",
        rows=tuple(
            (what, "out of distribution", what, _ACCURACY)
            for what in ("as they are", "other scanners", "other stains", "both other")
        ),
    ),
)


def draw_scores(scores: pd.DataFrame, *, title: str) -> str:
    """Draw the scores of :func:`~.tables.score_table`; a panel or row that nobody ran is left out."""
    names = list(dict.fromkeys(scores["encoder"]))
    marks = _marks(scores)
    chosen = [(panel, _present(panel, scores)) for panel in PANELS]
    chosen = [(panel, rows) for panel, rows in chosen if rows]
    height_of = [44 + len(rows) * (len(names) * _STEP + _ROW_GAP) + 34 for _, rows in chosen]
    columns = [0.0, 0.0]
    parts: list[str] = []
    for (panel, rows), height in zip(chosen, height_of, strict=True):
        column = int(np.argmin(columns))
        parts.append(_panel(panel.title, rows, marks, left=column * (_PANEL + _GAP) + 16, top=_TOP + columns[column]))
        columns[column] += height + 16
    legend, down = _legend(marks)
    width, height = 2 * _PANEL + _GAP + 32, _TOP + max(columns) + down
    shifted = f'<g transform="translate(0 {down:.0f})">{"".join(parts)}</g>'
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}'
        f' font-family="Helvetica, Arial, sans-serif" font-size="12" role="img"><title>{escape(title)}</title>'
        f'<rect width="100%" height="100%" fill="#fff"/><text x="16" y="26" font-size="15">{escape(title)}</text>'
        f"{legend}{shifted}</svg>\n"
    )


def _present(panel: Panel, scores: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    found = []
    for label, protocol, setting, metric in panel.rows:
        chosen = scores[(scores["protocol"] == protocol) & (scores["setting"] == setting) & (scores["metric"] == metric)]
        if len(chosen):
            found.append((label, chosen))
    return found


def _marks(scores: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Ink and role of each encoder: random weights are hollow, colour statistics black."""
    roles = dict(zip(scores["encoder"], scores["role"], strict=True))
    inks: dict[str, tuple[str, str]] = {}
    counts = {"encoder": 0, "random": 0}
    for name, role in roles.items():
        if role == "colour":
            inks[name] = ("#222", role)
        else:
            inks[name] = (_INKS[counts[role] % len(_INKS)], role)
            counts[role] += 1
    return inks


def _panel(
    title: str,
    rows: Sequence[tuple[str, pd.DataFrame]],
    marks: dict[str, tuple[str, str]],
    *,
    left: float,
    top: float,
) -> str:
    ends = pd.concat([table[["low", "high", "chance"]] for _, table in rows]).to_numpy(dtype=float)
    low = min(max(0.0, float(np.floor(np.nanmin(ends) * 10)) / 10), 0.9)
    start, end = left + _LEFT, left + _PANEL - 12

    def x(value: float) -> float:
        return start + (value - low) / (1 - low) * (end - start)

    step, y = len(marks) * _STEP + _ROW_GAP, top + 30
    bottom = y + step * len(rows)
    parts = [f'<text x="{left:.1f}" y="{top + 12:.1f}" font-size="13" font-weight="bold">{escape(title)}</text>']
    for tick in np.arange(round(low * 10), 11, 1 if low > 0.45 else 2) / 10:
        parts.append(f'<path d="M{x(tick):.1f} {y:.1f}V{bottom:.1f}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{x(tick):.1f}" y="{bottom + 15:.1f}" text-anchor="middle" fill="#555">{tick:.1f}</text>')
    for label, table in rows:
        parts.append(f'<text x="{start - 10:.1f}" y="{y + step / 2 + 4:.1f}" text-anchor="end">{escape(label)}</text>')
        chance = float(table["chance"].iloc[0])
        if np.isfinite(chance):
            parts.append(
                f'<path d="M{x(chance):.1f} {y + 2:.1f}V{y + step - 2:.1f}" stroke="#999" stroke-dasharray="3 2"><title>chance'
                f" {chance:.3f}</title></path>"
            )
        for row in table.to_dict("records"):
            name = str(row["encoder"])
            middle = y + _ROW_GAP / 2 + (list(marks).index(name) + 0.5) * _STEP
            low_x, at, high_x = (x(float(row[key])) for key in ("low", "value", "high"))
            ink, role = marks[name]
            parts.append(_mark((low_x, at, high_x), middle, ink=ink, role=role, hover=f"{name}: {row['value']:.3f}"))
        y += step
    return "".join(parts)


def _mark(ends: Sequence[float], y: float, *, ink: str, role: str, hover: str) -> str:
    low, value, high = ends
    line = f'<path d="M{low:.1f} {y:.1f}H{high:.1f}" stroke="{ink}" stroke-width="1.4"/>' if np.isfinite(low) else ""
    return f"<g><title>{escape(hover)}</title>{line}{_shape(value, y, ink=ink, role=role)}</g>"


def _shape(x: float, y: float, *, ink: str, role: str) -> str:
    if role == "colour":
        return f'<path d="M{x - 5:.1f} {y:.1f}L{x:.1f} {y - 5:.1f}L{x + 5:.1f} {y:.1f}L{x:.1f} {y + 5:.1f}Z" fill="{ink}"/>'
    fill = "#fff" if role == "random" else ink
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}" stroke="{ink}" stroke-width="1.4"/>'


def _legend(marks: dict[str, tuple[str, str]]) -> tuple[str, float]:
    """Name the marks, three a line; also returns how far the rest moves down."""
    parts = []
    for place, (name, (ink, role)) in enumerate(marks.items()):
        x, y = 24 + place % 3 * 290, 48 + place // 3 * 18
        parts.append(_shape(x, y - 4, ink=ink, role=role) + f'<text x="{x + 11}" y="{y}">{escape(name)}</text>')
    return "".join(parts), (len(marks) - 1) // 3 * 18.0

"""What every chart is drawn with: elements, text that is measured and wrapped, scales and axes.

Lengths are CSS pixels, y grows downwards. Colours are classes of the page's style sheet, so that a chart follows light, dark and
print; shapes and dashes repeat whatever a colour says.
"""

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

TEXT = 12.0
"""Font size of labels, in px."""
SMALL = 11.0
"""Font size of ticks and notes, in px."""

_WIDE = 640.0
"""Wider drawings are not shrunk below this on narrow screens, where they scroll."""

_WIDTHS = {
    191: "'",
    222: "ijl",
    278: " !,./:;\\[]IftI|",
    333: "()-r`{}",
    389: '*"',
    500: "Jckszvxy",
    584: "+<=>~−±≥≤×",
    611: "FTZ",
    667: "ABEKPSVXY&",
    722: "CDHNRUw",
    778: "GOQ",
    833: "Mm",
    889: "%",
    944: "W",
    1000: "—…@",
}
_WIDTH_OF = {character: width / 1000 for width, characters in _WIDTHS.items() for character in characters}
_WIDER_FACES = 1.06
"""Room for faces a little wider than Helvetica, whose widths stand above."""

_TIME_STEPS = {
    "days": (1, 2, 5, 10, 20, 30, 50, 100, 200, 365, 730, 1095, 1825, 3650),
    "weeks": (1, 2, 4, 8, 13, 26, 52, 104, 260, 520),
    "months": (1, 2, 3, 6, 12, 24, 36, 60, 120, 240),
    "years": (0.25, 0.5, 1, 2, 5, 10, 20),
}


def element(tag: str, *children: str, **attributes: object) -> str:
    """Write one SVG element; ``stroke_width`` becomes ``stroke-width``, ``class_`` becomes ``class``, None is left out."""
    named = ((k.rstrip("_").replace("_", "-"), v) for k, v in attributes.items() if v is not None)
    head = "".join(f' {k}="{_attribute(v)}"' for k, v in named)
    return f"<{tag}{head}>{''.join(children)}</{tag}>" if children else f"<{tag}{head}/>"


def svg(width: float, height: float, body: Sequence[str], *, title: str, description: str) -> str:
    """Close a drawing into one ``<svg>`` with a title and a description that screen readers speak."""
    content = "".join(body)
    key = hashlib.sha256((title + description + content).encode()).hexdigest()[:10]
    return element(
        "svg",
        element("title", escape(title), id=f"t-{key}"),
        element("desc", escape(description), id=f"d-{key}"),
        content,
        viewBox=f"0 0 {_attribute(width)} {_attribute(height)}",
        width=width,
        height=height,
        role="img",
        aria_labelledby=f"t-{key}",
        aria_describedby=f"d-{key}",
        class_="chart wide" if width > _WIDE else "chart",
    )


def text(x: float, y: float, content: str, **attributes: object) -> str:
    """Write a line of text with its baseline at y; ``hover`` is shown when pointed at."""
    hover = attributes.pop("hover", None)
    tip = [element("title", escape(str(hover)))] if hover else []
    return element("text", *tip, escape(content), x=x, y=y, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, **attributes: object) -> str:
    """Draw a straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, **attributes)


def rect(x: float, y: float, width: float, height: float, **attributes: object) -> str:
    """Draw a box from its upper left corner; ``hover`` is shown when pointed at."""
    hover = attributes.pop("hover", None)
    tip = [element("title", escape(str(hover)))] if hover else []
    return element("rect", *tip, x=x, y=y, width=max(width, 0.0), height=max(height, 0.0), **attributes)


def polyline(points: Sequence[tuple[float, float]], **attributes: object) -> str:
    """Draw a line through points."""
    return element("polyline", points=_points(points), **attributes)


def polygon(points: Sequence[tuple[float, float]], **attributes: object) -> str:
    """Draw a closed outline through points."""
    return element("polygon", points=_points(points), **attributes)


def marker(shape: str, x: float, y: float, *, size: float = 4.5, class_: str = "", hover: str | None = None) -> str:
    """Draw a mark of one of the shapes diamond, square, circle, cross."""
    tip = [element("title", escape(hover))] if hover else []
    if shape == "diamond":
        far = size * 1.3
        return element("polygon", *tip, points=_points([(x - far, y), (x, y - far), (x + far, y), (x, y + far)]), class_=class_)
    if shape == "square":
        side = size * 0.9
        return element("rect", *tip, x=x - side, y=y - side, width=2 * side, height=2 * side, class_=class_)
    if shape == "cross":
        left, right, top, bottom = (f"{v:.2f}" for v in (x - size, x + size, y - size, y + size))
        path = f"M{left} {top}L{right} {bottom}M{left} {bottom}L{right} {top}"
        return element("path", *tip, d=path, class_=class_)
    return element("circle", *tip, cx=x, cy=y, r=size, class_=class_)


def text_width(content: str, size: float = TEXT, *, bold: bool = False) -> float:
    """Estimate the width of a line of text in px; page and chart are set in Helvetica or what looks like it."""
    em = sum(_WIDTH_OF.get(character, 0.556) for character in content)
    return em * size * _WIDER_FACES * (1.06 if bold else 1.0)


def wrap(content: str, width: float, *, size: float = TEXT, max_lines: int = 2, bold: bool = False) -> list[str]:
    """Break text into at most ``max_lines`` lines that fit a width; what does not fit ends in an ellipsis.

    Lines break after spaces and after the joints of model names (``+ _ - / , @``), inside a word only where it alone is too wide.
    """
    lines = [""]
    for part in re.findall(r"[^ +_\-/,@.]*[ +_\-/,@.]*", content):
        for piece in _fitting(part, width, size, bold=bold):
            if text_width((lines[-1] + piece).rstrip(), size, bold=bold) > width and lines[-1]:
                lines.append("")
            lines[-1] += piece
    if len(lines) > max_lines:
        last = "".join(lines[max_lines - 1 :])
        while text_width(last + "…", size, bold=bold) > width:
            last = last[:-1]
        lines = [*lines[: max_lines - 1], last.rstrip(" +") + "…"]
    return [found.rstrip() for found in lines]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """A straight map from values ``low..high`` to px ``start..end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Place a value, held inside the axis."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def clipped(self, value: float) -> bool:
        """Say whether a value lies outside the axis."""
        slack = 1e-9 * (self.high - self.low)
        return not self.low - slack <= value <= self.high + slack


def nice_step(span: float, count: int) -> float:
    """Choose a step of 1, 2, 2.5 or 5 times a power of ten that cuts a span into at most ``count`` parts."""
    raw = span / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    return next(f * power for f in (1, 2, 2.5, 5, 10) if f * power >= raw * (1 - 1e-9))


def ticks(low: float, high: float, *, count: int = 6, unit: str | None = None) -> list[float]:
    """List round values within a range; with a unit of time the steps are those of its calendar (12 months, 52 weeks)."""
    span = high - low
    if span <= 0:
        return [low]
    step = next((s for s in _TIME_STEPS.get(unit or "", ()) if span / s <= count), None) or nice_step(span, count)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_labels(values: Sequence[float]) -> list[str]:
    """Write ticks with one number of decimals and a true minus sign."""
    digits = next((d for d in range(7) if all(abs(v - round(v, d)) < 1e-9 for v in values)), 6)
    return [f"{v:,.{digits}f}".replace("-", "−").replace(",", "\u202f") for v in values]


def x_axis(scale: Scale, y: float, label: str, *, values: Sequence[float], label_gap: float = 36) -> list[str]:
    """Draw a horizontal axis below a plot, with ticks, their labels and a title."""
    parts = [line(scale.start, y, scale.end, y, class_="axis")]
    for value, name in zip(values, tick_labels(values), strict=True):
        parts += [
            line(scale(value), y, scale(value), y + 5, class_="axis"),
            text(scale(value), y + 18, name, class_="tick", text_anchor="middle"),
        ]
    return [*parts, text((scale.start + scale.end) / 2, y + label_gap, label, class_="axis-title", text_anchor="middle")]


def y_axis(scale: Scale, x: float, label: str, *, values: Sequence[float], label_gap: float = 40) -> list[str]:
    """Draw a vertical axis left of a plot, with ticks, their labels and a turned title."""
    parts = [line(x, scale.start, x, scale.end, class_="axis")]
    for value, name in zip(values, tick_labels(values), strict=True):
        parts += [
            line(x - 5, scale(value), x, scale(value), class_="axis"),
            text(x - 9, scale(value) + 4, name, class_="tick", text_anchor="end"),
        ]
    middle = (scale.start + scale.end) / 2
    turned = f"rotate(-90 {x - label_gap:.1f} {middle:.1f})"
    return [*parts, text(x - label_gap, middle, label, class_="axis-title", text_anchor="middle", transform=turned)]


def lines_of_text(x: float, y: float, lines: Sequence[str], *, leading: float = 14, **attributes: object) -> list[str]:
    """Write lines centred vertically on y."""
    top = y + 4 - (len(lines) - 1) * leading / 2
    return [text(x, top + i * leading, content, **attributes) for i, content in enumerate(lines)]


def _fitting(part: str, width: float, size: float, *, bold: bool) -> list[str]:
    """Cut a word that alone is wider than a line."""
    pieces = [""]
    for character in part:
        if pieces[-1] and text_width((pieces[-1] + character).rstrip(), size, bold=bold) > width:
            pieces.append("")
        pieces[-1] += character
    return [piece for piece in pieces if piece]


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in points)


def _attribute(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return escape(str(value), quote=True)

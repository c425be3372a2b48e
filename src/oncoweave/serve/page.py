"""The report as content, before it is set as a page: sections of prose, notes, figures and tables."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, kw_only=True, slots=True)
class Prose:
    """A paragraph; a note is set apart, and an absence says why a section has nothing to show."""

    text: str
    role: str = "paragraph"
    """paragraph, note, warning or absent."""
    kind: str = "prose"


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A chart with its caption."""

    svg: str
    caption: str
    kind: str = "figure"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """Cells of one table row; a faint row is one too small to judge, a strong one is the model the study is about."""

    cells: tuple[str, ...]
    faint: bool = False
    strong: bool = False
    best: frozenset[int] = frozenset()
    """Cells, by their place from 0, that are set in bold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table with its caption; the columns after ``num_text`` hold numbers and are set to the right."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[Row, ...]
    num_text: int = 1
    kind: str = "table"


@dataclass(frozen=True, kw_only=True, slots=True)
class Items:
    """A list of sentences."""

    items: tuple[str, ...]
    kind: str = "items"


@dataclass(frozen=True, kw_only=True, slots=True)
class Folded:
    """Long text that opens on request, such as a configuration."""

    summary: str
    text: str
    kind: str = "folded"


@dataclass(frozen=True, kw_only=True, slots=True)
class Links:
    """A list of pages beside this one: what each is, and its relative address."""

    links: tuple[tuple[str, str], ...]
    kind: str = "links"


@dataclass(frozen=True, kw_only=True, slots=True)
class Marked:
    """A text whose pieces are shaded, from 0 (not at all) to 4."""

    pieces: tuple[tuple[str, int], ...]
    tone: str
    """``attended`` or ``deleted``."""
    kind: str = "marked"


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A picture that the page holds itself."""

    address: str
    """``data:`` and the content."""
    caption: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """Pictures side by side."""

    title: str
    pictures: tuple[Picture, ...]
    kind: str = "pictures"


Block = Prose | Figure | Table | Items | Folded | Links | Marked | Pictures


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A headed part of the report."""

    key: str
    title: str
    blocks: tuple[Block, ...]


def absent(key: str, title: str, why: str) -> Section:
    """Make a section that has nothing to show and says why."""
    return Section(key=key, title=title, blocks=(Prose(text=why, role="absent"),))


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyFigure:
    """A number at the head of the page."""

    name: str
    value: str
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What the study found, in plain words."""

    headline: str
    sentences: tuple[str, ...]
    figures: tuple[KeyFigure, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """The whole report."""

    title: str
    facts: tuple[tuple[str, str], ...]
    verdict: Verdict
    sections: Sequence[Section]
    colophon: str
    kind: str = "report"
    """What the page is: a report of a run, or a bench of several."""


def render(page: Page) -> str:
    """Set a page as one HTML document that needs nothing from elsewhere; all text is escaped."""
    return _template().render(page=page)


@cache
def _template() -> "Template":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(breakable=_breakable, stacked=_stacked)
    return environment.get_template("report.html.j2")


def _breakable(name: str) -> "Markup":
    """Let a long name break after its joints, without a character that copying would take along."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"([_/@]|(?<=\w)\+)(?=\w)", r"\1<wbr>", str(escape(name))))


def _stacked(cell: str) -> "Markup":
    """Set the second line of a cell smaller."""
    from markupsafe import Markup, escape

    first, _, second = cell.partition("\n")
    return Markup(f"{_breakable(first)}<small>{escape(second)}</small>") if second else _breakable(first)

"""Findings: what a check of a cohort has to say, with its weight and its place, and never an identifier."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that a check found."""

    level: Level
    """``error``: results would be wrong. ``warning``: a person should look. ``note``: good to know."""
    area: str
    """What was checked, such as ``duplicates`` or ``units``."""
    where: str
    """Table and column."""
    message: str
    """What is there, and what to do."""
    count: int = 1
    """Patients, rows, columns or files concerned."""


def sorted_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Put errors first, then warnings, then notes; the order inside a level is kept."""
    order = {"error": 0, "warning": 1, "note": 2}
    return tuple(sorted(findings, key=lambda f: order[f.level]))


def rows_text(rows: Sequence[int]) -> str:
    """Name a few rows by number; row 1 is the first below the header."""
    shown = ", ".join(str(r + 1) for r in list(rows)[:5])
    return f"row{'s' if len(rows) > 1 else ''} {shown}{', …' if len(rows) > 5 else ''}"

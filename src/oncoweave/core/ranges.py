"""Types of settings that say which numbers have a meaning: what a ``Config`` annotates its fields with.

``dropout: Rate = 0.1`` is all that a file states: a ``Config`` that :func:`oncoweave.core.settings.ranged` makes holds it however
it is built, :func:`oncoweave.core.settings.configured` names the key of what a user sets, and the listing of a file's settings
shows it.
"""

from dataclasses import dataclass
from math import inf, isfinite
from typing import Annotated


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """Numbers from ``least`` to ``most``, without those that are left out."""

    least: float = -inf
    most: float = inf
    without_least: bool = False
    without_most: bool = False

    def __contains__(self, value: float) -> bool:
        """Say whether a finite number lies in the range."""
        above = value > self.least if self.without_least else value >= self.least
        below = value < self.most if self.without_most else value <= self.most
        return isfinite(value) and above and below

    def __str__(self) -> str:
        """Write the range as a sentence says it."""
        low = f"above {self.least:g}" if self.without_least else f"{self.least:g}"
        if self.most == inf:
            return low if self.without_least else f"{low} or more"
        return f"{low} to {'below ' if self.without_most else ''}{self.most:g}"


Count = Annotated[int, Range(least=1)]
Number = Annotated[int, Range(least=0)]
Positive = Annotated[float, Range(least=0, without_least=True)]
NotNegative = Annotated[float, Range(least=0)]
Rate = Annotated[float, Range(least=0, most=1, without_most=True)]
"""A share that is dropped, forgotten or passed over: never all of it."""
Share = Annotated[float, Range(least=0, most=1)]
SomeShare = Annotated[float, Range(least=0, most=1, without_least=True)]
ProperShare = Annotated[float, Range(least=0, most=1, without_least=True, without_most=True)]


def refuse_uneven(width: int, heads: int) -> None:
    """Refuse heads of an attention that do not divide its width.

    Raises:
        ValueError: they do not.
    """
    if width % heads:
        msg = f"width {width} does not divide into {heads} heads"
        raise ValueError(msg)

"""Units of time and length. Pixel spaces are converted in wsi/geometry.py only."""

from typing import Literal, get_args

from oncoweave.core.errors import unknown_name

TimeUnit = Literal["days", "weeks", "months", "years"]

DAYS_PER: dict[str, float] = {"days": 1.0, "weeks": 7.0, "months": 365.25 / 12, "years": 365.25}
"""Days in one unit; a month is a twelfth of a Julian year (30.4375 days)."""


def convert_time(value: float, *, source: str, target: str) -> float:
    """Convert a duration between units of time.

    >>> convert_time(365.25, source="days", target="months")
    12.0
    """
    for unit in (source, target):
        if unit not in DAYS_PER:
            raise unknown_name("unit of time", unit, get_args(TimeUnit))
    return value * DAYS_PER[source] / DAYS_PER[target]

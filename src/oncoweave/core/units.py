"""Units of time and length. Pixel spaces are converted in wsi/geometry.py only."""

from typing import Literal, get_args

from oncoweave.core.errors import DataError, unknown_name

TimeUnit = Literal["days", "weeks", "months", "years"]
ScanUnit = Literal["HU", "own"]
"""Hounsfield units, or those of each scan alone."""

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


def scan_unit(noted: str) -> ScanUnit:
    """Read what a cohort says of the unit of its scans, in any case: HU or Hounsfield, or arbitrary.

    Raises:
        DataError: another word. CT that is taken for arbitrary would be stretched scan by scan.
    """
    word = noted.strip().casefold().removesuffix(" units").removesuffix(" unit")
    if word in ("hu", "hounsfield"):
        return "HU"
    if word != "arbitrary":
        msg = f"the unit of scans is noted as {noted!r}; wanted HU (CT) or arbitrary (all else); correct the modality's note"
        raise DataError(msg)
    return "own"

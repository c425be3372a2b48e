"""Are the units what they are declared to be? Follow-up times and ages that no patient can have."""

import numpy as np

from oncoweave.core.endpoint import Target
from oncoweave.core.units import DAYS_PER, convert_time
from oncoweave.data.findings import Finding

MOST_YEARS = 60.0
"""No follow-up of a cancer cohort is longer; the longest published run to about 50 years."""
LONG_YEARS = 30.0
"""Few cohorts are followed longer; among those that seem so, many were declared in too long a unit."""
LEAST_DAYS = 30.0
"""A cohort whose longest follow-up is shorter was probably declared in the wrong unit."""
OLDEST_YEARS = 120.0
LARGEST = 1e30
"""No measurement is larger in size, whatever its unit; the square of such a value overflows single precision."""
HIGHEST = 40.0
"""No log2 count is higher: 2^40 reads of one gene have never been made. A z-score that is higher is no score of a common gene."""


def check_times(target: Target) -> list[Finding]:
    """Check that a survival endpoint's times can be in the unit they are declared in.

    More than 60 years is an error (names the unit that would make sense); 30 years or more, and less than 30 days over all
    patients, are warnings.
    """
    unit = target.endpoint.time_unit
    if unit is None or np.isnan(target.time).all():
        return []
    times = target.time[~np.isnan(target.time)]
    where = f"endpoint {target.endpoint.name!r}, column {target.endpoint.columns[0]!r}"
    longest = float(times.max())
    years = convert_time(longest, source=unit, target="years")
    if years > MOST_YEARS:
        long = int((times * DAYS_PER[unit] / DAYS_PER["years"] > MOST_YEARS).sum())
        message = (
            f"the longest follow-up is {longest:,.0f} {unit} = {years:,.0f} years ({long:,} of {len(times):,} times exceed"
            f" {MOST_YEARS:.0f} years){_likely(longest, unit, shorter=True)}; correct the unit"
        )
        return [Finding(level="error", area="units", where=where, message=message, count=long)]
    if years >= LONG_YEARS:
        long = int((times * DAYS_PER[unit] / DAYS_PER["years"] >= LONG_YEARS).sum())
        message = (
            f"the longest follow-up is {longest:,.0f} {unit} = {years:,.0f} years ({long:,} of {len(times):,} times reach"
            f" {LONG_YEARS:.0f} years){_likely(longest, unit, shorter=True)}; check the unit"
        )
        return [Finding(level="warning", area="units", where=where, message=message, count=long)]
    if convert_time(longest, source=unit, target="days") < LEAST_DAYS:
        message = (
            f"the longest follow-up is {longest:,.3g} {unit}: nobody is followed for {LEAST_DAYS:.0f} days"
            f"{_likely(longest, unit, shorter=False)}; check the unit"
        )
        return [Finding(level="warning", area="units", where=where, message=message, count=len(times))]
    return []


def _likely(longest: float, unit: str, *, shorter: bool) -> str:
    """Suggest the unit, nearest to the one declared, in which the longest follow-up would be 1 to 60 years."""
    units = sorted(DAYS_PER, key=lambda u: DAYS_PER[u], reverse=shorter)
    for candidate in units:
        right_side = DAYS_PER[candidate] < DAYS_PER[unit] if shorter else DAYS_PER[candidate] > DAYS_PER[unit]
        usual = candidate != "weeks"  # hardly any table is kept in weeks, so never suggest it
        if right_side and usual and 1 <= convert_time(longest, source=candidate, target="years") <= MOST_YEARS:
            return f", probably {candidate}"
    return ""


def check_scale(values: np.ndarray, scale: str | None, *, where: str) -> list[Finding]:
    """Check that expression values can be on the scale that is declared: counts, log2 or z."""
    known = values[~np.isnan(values)]
    negative, high = int((known < 0).sum()), int((known > HIGHEST).sum())
    if scale == "counts" and negative:
        message = f"declared as counts, but {negative:,} value(s) are negative, the lowest {known.min():.3g}; correct the scale"
        return [Finding(level="error", area="units", where=where, message=message, count=negative)]
    if scale == "log2" and high:
        message = f"declared as log2, but the highest value is {known.max():,.0f}: these look like counts; correct the scale"
        return [Finding(level="error", area="units", where=where, message=message, count=high)]
    if scale == "z" and high:
        message = (
            f"{high:,} z-score(s) exceed {HIGHEST:.0f}, the highest is {known.max():,.0f}: these are counts, or scores against a"
            " reference that hardly varies; one of them can rule a linear model"
        )
        return [Finding(level="warning", area="units", where=where, message=message, count=high)]
    return []


def check_age(values: np.ndarray, *, where: str) -> list[Finding]:
    """Check that a column of ages can be in years: TCGA, for one, gives them in days."""
    known = values[~np.isnan(values)]
    findings = []
    if (known < 0).any():
        message = f"{int((known < 0).sum())} age(s) are negative, the lowest {known.min():.0f}"
        findings.append(Finding(level="warning", area="units", where=where, message=message, count=int((known < 0).sum())))
    old = known > OLDEST_YEARS
    if old.any():
        middle = float(np.median(known))
        unit = "days" if middle > 1500 else "months" if middle > OLDEST_YEARS else ""
        guess = f", probably {unit}" if unit else ""
        message = (
            f"{int(old.sum())} age(s) are above {OLDEST_YEARS:.0f}, the highest {known.max():,.0f}{guess}; give ages in years"
        )
        findings.append(Finding(level="warning", area="units", where=where, message=message, count=int(old.sum())))
    return findings

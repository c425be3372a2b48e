"""Restricted mean survival time: the area under the Kaplan-Meier curve up to a time, and its difference between two groups.

Read as "of the first tau months a patient lives so many on average"; it needs no proportional hazards.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from oncoweave.core.errors import DataError
from oncoweave.evaluate.curves import weighted_kaplan_meier
from oncoweave.evaluate.inputs import outcome
from oncoweave.evaluate.pairs import Statistic


@dataclass(frozen=True, kw_only=True, slots=True)
class RestrictedMean:
    """Mean survival time up to ``until``, its standard error and normal interval, with patients and events by then."""

    value: float
    error: float
    low: float
    high: float
    until: float
    n: int
    events: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RestrictedDifference:
    """Restricted mean of the first group minus that of the second, with a normal interval and two-sided p value."""

    value: float
    error: float
    low: float
    high: float
    p: float
    first: RestrictedMean
    second: RestrictedMean


def restricted_mean(time: np.ndarray, event: np.ndarray, *, until: float, level: float = 0.95) -> RestrictedMean:
    """Restricted mean survival time with its closed-form variance (Irwin 1949; Uno et al. 2014).

    The variance is the sum over event times of (area under the curve from there to ``until``)^2 d / (Y (Y - d)), as in R's
    survRM2 and ``print(survfit, rmean=)``. A last step to zero adds nothing.

    Raises:
        DataError: outcomes that cannot be used, or nobody followed to ``until`` although not everyone died before.
    """
    time, event = outcome(time, event)
    inside = event & (time <= until)
    times, at = np.unique(time[inside], return_inverse=True)
    deaths = np.bincount(at, minlength=len(times)).astype(np.float64)
    at_risk = len(time) - np.searchsorted(np.sort(time), times, side="left").astype(np.float64)
    survival = np.cumprod(1.0 - deaths / at_risk)
    if not until > 0 or (time.max() < until and not (len(survival) and survival[-1] <= 0)):
        msg = f"restricted mean up to {until:g}: wanted a time above 0 to which somebody is followed; the last is {time.max():g}"
        raise DataError(msg)
    steps = np.diff(np.concatenate([[0.0], times, [until]])) * np.concatenate([[1.0], survival])
    beyond = np.cumsum(steps[:0:-1])[::-1]
    left = at_risk - deaths
    error = float(np.sqrt((beyond**2 * np.divide(deaths, at_risk * left, out=np.zeros_like(left), where=left > 0)).sum()))
    value, reach = float(steps.sum()), _reach(error, level)
    return RestrictedMean(
        value=value,
        error=error,
        low=value - reach,
        high=value + reach,
        until=float(until),
        n=len(time),
        events=int(inside.sum()),
    )


def restricted_mean_difference(
    time: np.ndarray, event: np.ndarray, first: np.ndarray, *, until: float, level: float = 0.95
) -> RestrictedDifference:
    """Difference of restricted means, the patients of ``first`` (Bool) minus the others.

    Raises:
        DataError: a group without patients, or one that is not followed to ``until``.
    """
    time, event = outcome(time, event)
    first = np.asarray(first, dtype=bool)
    if first.shape != time.shape or first.all() or not first.any():
        msg = f"restricted mean: wanted two groups, got {int(first.sum())} of {len(time)} patients in the first"
        raise DataError(msg)
    one, other = (restricted_mean(time[rows], event[rows], until=until, level=level) for rows in (first, ~first))
    value, error = one.value - other.value, float(np.hypot(one.error, other.error))
    reach = _reach(error, level)
    p = float(2 * stats.norm.sf(abs(value) / error)) if error > 0 else float("nan")
    return RestrictedDifference(value=value, error=error, low=value - reach, high=value + reach, p=p, first=one, second=other)


def _reach(error: float, level: float) -> float:
    """Half the width of an interval; NaN where nobody died before the time, so that the error is zero."""
    return float(stats.norm.ppf(0.5 + level / 2)) * error if error > 0 else float("nan")


def restricted_mean_of(time: np.ndarray, event: np.ndarray, *, until: float) -> Statistic:
    """Restricted mean as a function of row weights; NaN where under them nobody is followed so far and somebody is left.

    Raises:
        DataError: outcomes that cannot be used, or a time that is not above 0.
    """
    time, event = outcome(time, event)
    if not until > 0:
        msg = f"restricted mean: wanted a time above 0, got {until:g}"
        raise DataError(msg)
    times = np.unique(np.append(time[event & (time < until)], until))
    curve, steps = weighted_kaplan_meier(time, event, times), np.diff(times)

    def statistic(weights: np.ndarray) -> np.ndarray:
        survival = curve(weights)
        return times[0] + survival[:, :-1] @ steps + 0.0 * survival[:, -1]

    return statistic

"""Is the whole predicted survival curve calibrated? D-calibration, with the mass of the censored spread where it may fall."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from oncoweave.core.errors import DataError
from oncoweave.evaluate.concordance import check_curves
from oncoweave.evaluate.inputs import finite, outcome


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class DistributionCalibration:
    """Patients in each bin of predicted survival at their own event time, from [0, 1/bins) up; equal where calibrated."""

    counts: np.ndarray
    statistic: float
    degrees: int
    p: float
    """Small: not calibrated. With few patients a large one says little."""
    n: int
    events: int


def distribution_calibration(own_survival: np.ndarray, event: np.ndarray, *, bins: int = 10) -> DistributionCalibration:
    """D-calibration (Haider et al. 2020, section 3.5): predicted survival at the event time is uniform if curves are calibrated.

    A patient censored where his predicted survival is s has an event later, at a survival below s: his mass is spread evenly
    over [0, s]. Pearson's chi squared with bins - 1 degrees of freedom; it is conservative, more so the more are censored.

    Args:
        own_survival: ``[n]`` predicted S at each patient's own time; see :func:`survival_at_own_time`.
        event: ``[n]`` whether the event happened.
        bins: bins of equal width.

    Raises:
        DataError: NaN, a value outside [0, 1], no patient, or fewer than two bins.
    """
    own = finite("predicted survival", own_survival)
    _, happened = outcome(np.zeros(len(own)), event)
    if bins < 2 or own.min() < 0 or own.max() > 1:
        msg = f"D-calibration: wanted probabilities and two bins or more, got {own.min():.4g} to {own.max():.4g}, {bins} bins"
        raise DataError(msg)
    edges = np.arange(bins) / bins
    mine = np.minimum((own * bins).astype(int), bins - 1)
    counts = np.bincount(mine[happened], minlength=bins).astype(np.float64)
    lost = own[~happened]
    covered = np.clip(lost[:, None] - edges, 0.0, 1 / bins)
    nothing_left = lost == 0
    counts += (covered[~nothing_left] / lost[~nothing_left, None]).sum(axis=0)
    counts[0] += nothing_left.sum()
    expected = len(own) / bins
    statistic = float(((counts - expected) ** 2 / expected).sum())
    return DistributionCalibration(
        counts=counts,
        statistic=statistic,
        degrees=bins - 1,
        p=float(stats.chi2.sf(statistic, bins - 1)),
        n=len(own),
        events=int(happened.sum()),
    )


def survival_at_own_time(
    time: np.ndarray, event: np.ndarray, survival: np.ndarray, *, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Read each patient's own curve at his own time: predicted survival and event, ``([n], [n])``.

    Straight lines between ``times`` and from 1 at time 0. A patient followed beyond the last time is taken as censored there, as
    the curve says no more.

    Args:
        time: ``[n]`` follow-up.
        event: ``[n]`` whether the event happened.
        survival: ``[n, time]`` predicted S(t).
        times: increasing, in the unit of ``time``.

    Raises:
        DataError: predictions of another shape or outside [0, 1], times that do not increase, or outcomes that cannot be used.
    """
    time, event = outcome(time, event)
    survival, times = check_curves(survival, times, len(time))
    event, time = event & (time <= times[-1]), np.minimum(time, times[-1])
    if times[0] > 0:
        survival, times = np.column_stack([np.ones(len(time)), survival]), np.append(0.0, times)
    right = np.clip(np.searchsorted(times, time, side="left"), min(1, len(times) - 1), len(times) - 1)
    left, rows = np.maximum(right - 1, 0), np.arange(len(time))
    span = np.where(right > left, times[right] - times[left], 1.0)
    share = (time - times[left]) / span
    return survival[rows, left] + share * (survival[rows, right] - survival[rows, left]), event

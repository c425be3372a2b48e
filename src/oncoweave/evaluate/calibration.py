"""Do predicted probabilities come true? Reliability in bins, recalibration slope and intercept, and mean calibration error.

For survival a probability is the predicted S(t) at one horizon; what is observed is the Kaplan-Meier curve of the bin at that
horizon, so that censored patients count as long as they were followed.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special, stats

from oncoweave.core.errors import DataError
from oncoweave.evaluate.clustered import effective_numbers
from oncoweave.evaluate.cox import fit_cox
from oncoweave.evaluate.curves import breslow_baseline, kaplan_meier, survival_at
from oncoweave.evaluate.discrimination import as_positive
from oncoweave.evaluate.inputs import finite, outcome

CLIP = 1e-6
"""Probabilities of exactly 0 or 1 are moved by this much before a logit or a log(-log)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reliability:
    """Bins in order of prediction: mean prediction, what was observed with its interval and standard error, and patients."""

    predicted: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    error: np.ndarray
    n: np.ndarray

    @property
    def expected_error(self) -> float:
        """Expected calibration error: |observed - predicted| averaged over patients of the bins where it can be observed."""
        known = ~np.isnan(self.observed)
        if not known.any():
            return float("nan")
        return float(np.average(np.abs(self.observed - self.predicted)[known], weights=self.n[known]))

    @property
    def debiased_error(self) -> float:
        """Expected calibration error less what the luck of few patients a bin adds to it; see :func:`excess_distance`."""
        known = ~np.isnan(self.observed)
        if not known.any():
            return float("nan")
        distance = (self.observed - self.predicted)[known]
        return max(0.0, float(np.average(excess_distance(distance, self.error[known]), weights=self.n[known])))


@dataclass(frozen=True, kw_only=True, slots=True)
class Recalibration:
    """How predictions must be stretched and shifted to come true, and how far off they are.

    ``slope`` below 1: predictions are too extreme. ``intercept`` (slope held at 1; calibration in the large) above 0: predicted
    probabilities of the event are too low; ``ratio`` is events observed over expected. ``ici`` is the integrated calibration
    index (Austin and Steyerberg 2019): the mean distance between predictions and a smooth curve of what is observed, a logistic
    or Cox regression on a restricted cubic spline with three knots where the paper also uses loess; ``e50`` and ``e90`` are the
    median and 90th percentile of that distance. All three grow with the luck of few patients.
    """

    slope: float
    intercept: float
    ratio: float
    ici: float
    e50: float
    e90: float


def excess_distance(distance: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Distance from zero of an estimate with a standard error, less what the error alone adds (after Kumar et al. 2019).

    A normal estimate around d with standard error s has a mean distance above ``|d|``; that surplus, taken at the estimate, is
    subtracted once. Single values may fall below 0, so that far from 0 their mean is unbiased; at d = 0, where the estimate
    itself is luck, .47 s is left of a mean distance of .80 s.
    """
    size = np.abs(distance)
    ratio = np.divide(size, error, out=np.full(np.shape(size), np.inf), where=error > 0)
    surplus = error * (2 / np.sqrt(2 * np.pi)) * np.exp(-(ratio**2) / 2) - 2 * size * special.ndtr(-ratio)
    return size - surplus


def reliability(
    y: np.ndarray,
    probability: np.ndarray,
    *,
    bins: int = 10,
    level: float = 0.95,
    by: Literal["mass", "width"] = "mass",
    persons: np.ndarray | None = None,
) -> Reliability:
    """Reliability of probabilities of a 0/1 outcome, with Wilson intervals.

    Bins are of equal size (``mass``) or of equal width from 0 to 1 (``width``, each with its upper end; empty ones are left out),
    and so is the expected calibration error of the result (Naeini et al. 2015; Nixon et al. 2019). For several classes give the
    probability of the most probable class, and whether it was right. ``persons`` says whose each row is where a person has
    several, which are then worth fewer (see ``clustered``).

    Raises:
        DataError: an outcome that is not 0 or 1, NaN, or a probability outside [0, 1].
    """
    y = as_positive(y).astype(np.float64)
    probability = _probability(probability, len(y))
    member, n = bin_by_mass(probability, bins) if by == "mass" else _bin_by_width(probability, bins)
    observed = np.bincount(member, weights=y) / n
    worth = n if persons is None else effective_numbers(y, member, persons, level=level)
    low, high = wilson(observed, worth, level=level)
    return Reliability(
        predicted=np.bincount(member, weights=probability) / n,
        observed=observed,
        low=low,
        high=high,
        error=np.sqrt(observed * (1 - observed) / np.maximum(worth, 1)),
        n=n,
    )


def wilson(share: np.ndarray, n: np.ndarray, *, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's interval (1927) of shares of ``n`` patients, which need not be whole where shares are means over repeats.

    Of no patient there is none (NaN).
    """
    n = np.where(n > 0, n, np.nan)
    z = stats.norm.ppf(0.5 + level / 2)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.minimum(centre - reach, share).clip(0), np.maximum(centre + reach, share).clip(None, 1)


def survival_reliability(
    time: np.ndarray, event: np.ndarray, survival: np.ndarray, *, horizon: float, bins: int = 5, level: float = 0.95
) -> Reliability:
    """Reliability of predicted survival at a horizon against Kaplan-Meier in each bin, with its log-log interval.

    A bin without a death up to the horizon, of which Greenwood's variance knows nothing, has Wilson's interval of those followed
    to it, the effective number of a survival of 1 (Peto et al. 1977; Dorey and Korn 1987). A bin in which nobody is followed to
    the horizon, and not everyone died before, has an observed value of NaN.

    Raises:
        DataError: unusable outcomes, NaN, or a probability outside [0, 1].
    """
    time, event = outcome(time, event)
    survival = _probability(survival, len(time))
    member, n = bin_by_mass(survival, bins)
    rows = np.full((len(n), 4), np.nan)
    for index in range(len(n)):
        inside = member == index
        curve = kaplan_meier(time[inside], event[inside], level=level)
        at = int(np.searchsorted(curve.times, horizon, side="right")) - 1
        if curve.times[-1] >= horizon or curve.survival[at] == 0:
            rows[index] = curve.survival[at], curve.low[at], curve.high[at], _greenwood(time[inside], event[inside], horizon)
        if rows[index, 0] == 1:
            rows[index, 1:3] = np.ravel(wilson(np.ones(1), (time[inside] >= horizon).sum(keepdims=True), level=level))
    predicted = np.bincount(member, weights=survival) / n
    observed, low, high, error = rows.T
    return Reliability(predicted=predicted, observed=observed, low=low, high=high, error=error, n=n)


def recalibrate(y: np.ndarray, probability: np.ndarray) -> Recalibration:
    """Logistic recalibration of probabilities of a 0/1 outcome (Cox 1958; Van Calster et al. 2016).

    Raises:
        DataError: an outcome that is not 0 or 1, NaN, probabilities outside [0, 1] or all equal, one class only, or outcomes that
            a logit separates completely.
    """
    y = as_positive(y).astype(np.float64)
    probability = _probability(probability, len(y))
    logit = special.logit(probability.clip(CLIP, 1 - CLIP))
    if np.ptp(y) == 0 or np.ptp(logit) == 0:
        msg = (
            f"recalibration: wanted both classes and predictions that differ, got {int(y.sum())} positive of {len(y)} and logits"
            f" that range over {np.ptp(logit):.3g}"
        )
        raise DataError(msg)
    constant = np.ones((len(y), 1))
    slope = _logistic(y, np.column_stack([constant, logit]), np.zeros(len(y)))[1]
    intercept = _logistic(y, constant, logit)[0]
    curve = np.column_stack([constant, spline(logit)])
    smooth = special.expit(curve @ _logistic(y, curve, np.zeros(len(y))))
    ratio = y.mean() / probability.mean()
    return Recalibration(slope=float(slope), intercept=float(intercept), ratio=float(ratio), **_distances(smooth - probability))


def recalibrate_survival(time: np.ndarray, event: np.ndarray, survival: np.ndarray, *, horizon: float) -> Recalibration:
    """Cox recalibration of predicted survival at a horizon: on log(-log S), following patients up to the horizon.

    The smooth curve of the integrated calibration index is a Cox model on a spline of log(-log S) (Austin, Harrell and
    van Klaveren 2020). ``intercept`` is log(observed / expected events): the log ratio of Kaplan-Meier's cumulative hazard at the
    horizon to the mean predicted one.

    Raises:
        DataError: unusable outcomes, probabilities outside [0, 1] or all equal, or no event up to the horizon.
    """
    time, event = outcome(time, event)
    survival = _probability(survival, len(time))
    event, time = event & (time <= horizon), np.minimum(time, horizon)
    score = np.log(-np.log(survival.clip(CLIP, 1 - CLIP)))
    slope = fit_cox(time, event, score[:, None]).coefficients[0]
    basis = spline(score)
    fitted = basis @ fit_cox(time, event, basis).coefficients
    smooth = survival_at(breslow_baseline(time, event, fitted - fitted.mean()), fitted - fitted.mean(), np.array([horizon]))[:, 0]
    observed = kaplan_meier(time, event).at(np.array([horizon]))[0]
    expected = -np.log(survival.clip(CLIP, 1 - CLIP).mean())
    intercept = np.log(-np.log(np.clip(observed, CLIP, 1 - CLIP))) - np.log(expected)
    ratio = (1 - observed) / (1 - survival.clip(CLIP, 1 - CLIP)).mean()
    return Recalibration(slope=float(slope), intercept=float(intercept), ratio=float(ratio), **_distances(smooth - survival))


def bin_by_mass(values: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Bin by quantiles; equal predictions share a bin, so there may be fewer bins than asked for."""
    last = -(-np.arange(1, bins) * len(values) // bins) - 1
    edges = np.unique(np.sort(values)[last])
    member = np.unique(np.searchsorted(edges, values, side="left"), return_inverse=True)[1]
    return member, np.bincount(member)


def spline(values: np.ndarray) -> np.ndarray:
    """Restricted cubic spline, knots at the 10th, 50th and 90th percentile (Harrell 2015, eq. 2.24); linear if they coincide."""
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
    if not low < middle < high:
        return values[:, None]
    curve = (values - low).clip(0) ** 3
    curve -= (values - middle).clip(0) ** 3 * (high - low) / (high - middle)
    curve += (values - high).clip(0) ** 3 * (middle - low) / (high - middle)
    return np.column_stack([values, curve / (high - low) ** 2])


def _distances(gap: np.ndarray) -> dict[str, float]:
    size = np.abs(gap)
    return {"ici": float(size.mean()), "e50": float(np.median(size)), "e90": float(np.quantile(size, 0.9))}


def _greenwood(time: np.ndarray, event: np.ndarray, horizon: float) -> float:
    """Standard error of Kaplan-Meier survival at a horizon; 0 once everyone has died."""
    times, at = np.unique(time[event & (time <= horizon)], return_inverse=True)
    deaths = np.bincount(at, minlength=len(times))
    left = len(time) - np.searchsorted(np.sort(time), times, side="left") - deaths
    if not len(times) or left[-1] == 0:
        return 0.0
    return float(np.prod(left / (left + deaths)) * np.sqrt((deaths / (left * (left + deaths))).sum()))


def _bin_by_width(values: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    inside = np.clip(np.ceil(values * bins).astype(int) - 1, 0, bins - 1)
    member = np.unique(inside, return_inverse=True)[1]
    return member, np.bincount(member)


def _logistic(y: np.ndarray, features: np.ndarray, offset: np.ndarray, *, steps: int = 50) -> np.ndarray:
    """Unpenalised logistic regression by Newton's method with step halving."""
    beta = np.zeros(features.shape[1])
    loss = _logistic_loss(y, features @ beta + offset)
    for _ in range(steps):
        p = special.expit(features @ beta + offset)
        hessian = features.T @ (features * (p * (1 - p))[:, None])
        step = np.linalg.lstsq(hessian, features.T @ (y - p), rcond=None)[0]
        length = 1.0
        worst = loss + 1e-12 * abs(loss)
        while (trial := _logistic_loss(y, features @ (beta + length * step) + offset)) > worst and length > 1e-6:
            length /= 2
        beta, loss = beta + length * step, trial
        if np.abs(features @ step).max() * length < 1e-9:
            return beta
    msg = f"recalibration: no convergence in {steps} steps; the predictions separate the classes completely"
    raise DataError(msg)


def _logistic_loss(y: np.ndarray, logit: np.ndarray) -> float:
    return float(np.logaddexp(0, logit).sum() - y @ logit)


def _probability(values: np.ndarray, length: int) -> np.ndarray:
    values = finite("probability", values, length)
    if len(values) and not (values.min() >= 0 and values.max() <= 1):
        msg = f"probability: wanted values between 0 and 1, got {values.min():.4g} to {values.max():.4g}"
        raise DataError(msg)
    return values

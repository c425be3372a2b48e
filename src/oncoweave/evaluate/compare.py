"""Is one model better than another? Paired differences, folds that share training patients, and many questions at once."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from oncoweave.core.errors import DataError
from oncoweave.evaluate.inputs import check_level, labels
from oncoweave.evaluate.intervals import draw_weights, percentile_interval, replicate, strata_of_patients, varies
from oncoweave.evaluate.pairs import PairStatistic, Statistic

FEW = 10
"""Replicates on the other side of zero, below which their share is too coarse for a p value."""

_SAME = 1e-12
"""Differences below are rounding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A difference of a metric between two models, first minus second, with its interval and two-sided p value.

    ``reason`` says why there is no interval (NaN). A difference that does not vary at all has none, and a p only where it is
    zero, which is 1: nothing then speaks against the models being alike.
    """

    value: float
    low: float
    high: float
    p: float
    reason: str = ""


def without_spread(value: float, reason: str) -> Difference:
    """Make a difference that comes without any spread, which says nothing about how sure it is."""
    unknown, p = float("nan"), 1.0 if abs(value) < _SAME else float("nan")
    return Difference(value=value, low=unknown, high=unknown, p=p, reason=reason)


def paired_difference(value: float, replicates: np.ndarray, *, level: float = 0.95) -> Difference:
    """Interval and p value from bootstrap differences of two models under the same patient weights.

    p is twice the smaller tail share of replicates on the other side of zero, with one added to both counts so that it is never 0
    (Davison and Hinkley 1997, section 4.2). Where fewer than ten replicates lie there, the share only says how many were drawn,
    and p is that of a normal difference with the replicates' standard deviation. Replicates in which a metric was not defined
    are left out; where more than half are, or where all others are equal, there is no interval.
    """
    interval = percentile_interval(value, replicates, level=level)
    defined = replicates[~np.isnan(replicates)]
    if not np.isfinite(interval.low):
        reason = f"not defined in {len(replicates) - len(defined)} of {len(replicates)} bootstrap replicates"
        return Difference(value=value, low=interval.low, high=interval.high, p=float("nan"), reason=reason)
    if not varies(replicates):
        return without_spread(value, "the difference is the same in every bootstrap replicate")
    tail = min((defined <= 0).sum(), (defined >= 0).sum())
    p = min(1.0, 2.0 * float(tail + 1) / (len(defined) + 1))
    if tail < FEW:
        p = float(2 * stats.norm.sf(abs(value) / defined.std(ddof=1)))
    return Difference(value=value, low=interval.low, high=interval.high, p=p)


def paired_bootstrap(
    first: Statistic,
    second: Statistic,
    patients: np.ndarray,
    *,
    generator: np.random.Generator,
    replicates: int = 1000,
    strata: np.ndarray | None = None,
) -> Difference:
    """Difference of two statistics of the same n rows, resampling the patients whose rows they are.

    ``strata`` gives a label a row: patients are then drawn within theirs. Two rankings of the same pairs are subtracted before
    the product, which halves the work.

    Raises:
        DataError: a patient in two strata, not one patient a row, or two rankings of different rows.
    """
    return paired_difference(
        *paired_replicates(first, second, patients, generator=generator, replicates=replicates, strata=strata)
    )


def paired_replicates(
    first: Statistic,
    second: Statistic,
    patients: np.ndarray,
    *,
    generator: np.random.Generator,
    replicates: int = 1000,
    strata: np.ndarray | None = None,
) -> tuple[float, np.ndarray]:
    """Give the difference of two statistics, and ``Float[replicate]`` of it under the draws of :func:`paired_bootstrap`."""
    names, index = np.unique(labels("patients", patients), return_inverse=True)
    of_patient = None if strata is None else strata_of_patients(strata, index)
    weights = draw_weights(len(names), replicates=replicates, generator=generator, strata=of_patient)
    between = difference_of(first, second)
    value = float(between(np.ones((1, len(index)), dtype=np.float32))[0])
    return value, replicate({"": between}, weights, index)[""]


def difference_of(first: Statistic, second: Statistic) -> Statistic:
    """Statistic of the same rows that is the first minus the second."""
    if isinstance(first, PairStatistic) and isinstance(second, PairStatistic):
        return first.minus(second)
    return lambda weights: first(weights) - second(weights)


def corrected_resampled_t(differences: np.ndarray, *, test_to_train: float, level: float = 0.95) -> Difference:
    """Corrected resampled t test over folds (Nadeau and Bengio 2003): folds share training patients, so the variance is raised.

    ``differences`` holds one difference a fold (all repeats), ``test_to_train`` the ratio of test to training patients. The
    variance of the mean is (1/k + test_to_train) times the sample variance, with k - 1 degrees of freedom. Differences that are
    all alike have a variance of zero, and no test.

    Raises:
        DataError: fewer than two folds, a NaN difference, or a ratio that is not positive.
    """
    check_level(level)
    differences = np.asarray(differences, dtype=np.float64)
    num_folds = len(differences)
    if num_folds < 2 or np.isnan(differences).any() or not test_to_train > 0:
        msg = f"resampled t test: wanted two finite differences or more and a ratio above 0, got {differences}, {test_to_train}"
        raise DataError(msg)
    mean = float(differences.mean())
    if not varies(differences):
        return without_spread(mean, "the difference is the same in every fold, so its variance is zero")
    error = float(np.sqrt((1 / num_folds + test_to_train) * differences.var(ddof=1)))
    reach = stats.t.ppf(0.5 + level / 2, num_folds - 1) * error
    return Difference(value=mean, low=mean - reach, high=mean + reach, p=float(2 * stats.t.sf(abs(mean) / error, num_folds - 1)))


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment (1979) of a family of p values; NaN are not questions asked and stay NaN.

    Raises:
        DataError: a p below 0 or above 1.
    """
    p = _family(p)
    adjusted = np.full(len(p), np.nan)
    asked = np.flatnonzero(~np.isnan(p))
    order = asked[np.argsort(p[asked], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * p[order]))
    return adjusted


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Step-up adjustment of Benjamini and Hochberg (1995) for the share of false findings across tasks; NaN stay NaN.

    Raises:
        DataError: a p below 0 or above 1.
    """
    p = _family(p)
    adjusted = np.full(len(p), np.nan)
    asked = np.flatnonzero(~np.isnan(p))
    order = asked[np.argsort(-p[asked], kind="stable")]
    factors = len(order) / np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(factors * p[order]))
    return adjusted


def _family(p: np.ndarray) -> np.ndarray:
    p = np.asarray(p, dtype=np.float64)
    outside = np.flatnonzero((p < 0) | (p > 1))
    if len(outside):
        msg = f"p values: wanted numbers from 0 to 1, or NaN, got {p[outside[0]]:g} in place {outside[0]}"
        raise DataError(msg)
    return p

"""AUROC with DeLong's variance, and the paired test of several models, from midranks in O(n log n).

The area is the mean of each positive's share of negatives that score lower (equal scores count half), and equally of each
negative's share of positives that score higher; the variance comes from how these shares vary (DeLong, DeLong and Clarke-Pearson
1988). Sun and Xu (2014) read the shares from midranks.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from oncoweave.core.errors import DataError
from oncoweave.evaluate.compare import Difference, without_spread
from oncoweave.evaluate.discrimination import as_positive
from oncoweave.evaluate.inputs import check_level, finite, owners
from oncoweave.evaluate.pairs import rows_by_stratum

_ZERO = 1e-12
"""Standard errors below are rounding."""
_SURE = 1e-9
"""Parts of a gap between areas above this, in a direction without variance, are no rounding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Areas:
    """AUROC of several models on the same patients, ``Float[model]``, with covariance ``Float[model, model]`` and counts.

    Without two positives and two negatives the covariance is NaN, without one of each the areas are.
    """

    values: np.ndarray
    covariance: np.ndarray
    n: int
    events: int

    def interval(self, model: int = 0, *, level: float = 0.95) -> tuple[float, float]:
        """Interval of one area on the logit scale, which keeps it inside 0 and 1 (Pepe 2003, section 5.2.5).

        An area of exactly 0 or 1 has no variance and no interval (NaN).
        """
        check_level(level)
        area, variance = float(self.values[model]), float(self.covariance[model, model])
        if not (variance > 0 and 0 < area < 1):
            return float("nan"), float("nan")
        reach = stats.norm.ppf(0.5 + level / 2) * np.sqrt(variance) / (area * (1 - area))
        odds = area / (1 - area)
        low, high = odds * np.exp(-reach), odds * np.exp(reach)
        return float(low / (1 + low)), float(high / (1 + high))

    def difference(self, first: int = 0, second: int = 1, *, level: float = 0.95) -> Difference:
        """Area of one model minus that of another, with DeLong's paired test.

        A variance of zero gives no interval, and no p but 1 for models of one area: areas of exactly 1, 0 or .5 (all scores
        equal) have no variance however few the patients.
        """
        check_level(level)
        value = float(self.values[first] - self.values[second])
        contrast = np.zeros(len(self.values))
        contrast[[first, second]] = 1.0, -1.0
        error = float(np.sqrt(max(contrast @ self.covariance @ contrast, 0.0)))
        if np.isnan(error):
            return Difference(value=value, low=error, high=error, p=error, reason="no fold tests two patients of each class")
        if error < _ZERO:
            return without_spread(value, "DeLong's variance of the difference is zero")
        reach = stats.norm.ppf(0.5 + level / 2) * error
        return Difference(value=value, low=value - reach, high=value + reach, p=float(2 * stats.norm.sf(abs(value) / error)))

    def equal(self) -> tuple[float, int, float]:
        """Wald test that all areas are equal: statistic (chi-square), degrees of freedom, p.

        Areas that differ without any variance have no statistic and no p (NaN); those that are equal have a p of 1.
        """
        contrast = np.eye(len(self.values))[:-1] - np.eye(len(self.values))[1:]
        spread = contrast @ self.covariance @ contrast.T
        if np.isnan(spread).any():
            return float("nan"), len(contrast), float("nan")
        gap = contrast @ self.values
        inverse, degrees = np.linalg.pinv(spread, hermitian=True), int(np.linalg.matrix_rank(spread, hermitian=True))
        if np.abs(gap - spread @ (inverse @ gap)).max(initial=0.0) > _SURE:
            return float("nan"), degrees, float("nan")
        statistic = float(gap @ inverse @ gap)
        return statistic, degrees, float(stats.chi2.sf(statistic, degrees)) if degrees else 1.0


def delong(y: np.ndarray, scores: np.ndarray, *, strata: np.ndarray | None = None, patients: np.ndarray | None = None) -> Areas:
    """AUROC of each column of ``scores``, ``Float[n, model]`` or ``Float[n]``, for 0/1 outcomes ``y``, with their covariance.

    With ``strata``, a label a row, only pairs within a stratum (the fold of one model) count, and all their pairs add up; what
    the rows of a patient add, over the repeats in which he was tested, is summed before it is squared (Obuchowski 1997). With
    one stratum and one row a patient this is DeLong's covariance. A stratum that lacks a class adds nothing; without a stratum
    that has two of each class the covariance is NaN.

    Args:
        y: ``[n]`` 0 or 1.
        scores: as above.
        strata: ``[n]`` labels, by default one stratum.
        patients: ``[n]`` whose each row is, by default everybody's own.

    Raises:
        DataError: a label that is not 0 or 1, a NaN score, a patient with two outcomes, or a row without one.
    """
    positive = as_positive(y)
    columns = np.asarray(scores, dtype=np.float64).reshape(len(y), -1)
    for column in columns.T:
        finite("score", column, len(y))
    owner = np.arange(len(y)) if patients is None else owners("patients", patients, len(y))
    of_owner = np.zeros(int(owner.max(initial=-1)) + 1, dtype=bool)
    of_owner[owner[positive]] = True
    if (of_owner[owner] != positive).any():
        msg = f"y: wanted one outcome a patient, got both in the rows of {len(np.unique(owner[of_owner[owner] != positive]))}"
        raise DataError(msg)
    num_pairs, value, influence, enough = 0, np.zeros(columns.shape[1]), np.zeros((len(y), columns.shape[1])), False
    for rows in rows_by_stratum(np.zeros(len(y), dtype=int) if strata is None else np.unique(strata, return_inverse=True)[1]):
        ones, others = int(positive[rows].sum()), int((~positive[rows]).sum())
        if ones and others:
            num_pairs += ones * others
            area, influence[rows] = _stratum(positive[rows], columns[rows])
            value += ones * others * area
            enough |= ones > 1 and others > 1
    if not num_pairs:
        value[:] = np.nan
    covariance = np.full((columns.shape[1], columns.shape[1]), np.nan)
    if enough:
        summed = np.stack([np.bincount(owner, weights=column) for column in influence.T]) / num_pairs
        covariance = summed @ summed.T
    return Areas(values=value / max(num_pairs, 1), covariance=covariance, n=len(of_owner), events=int(of_owner.sum()))


def _stratum(positive: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Areas of one stratum, and how far each row's pairs won lie from what the area lets expect."""
    num_positive, num_negative = int(positive.sum()), int((~positive).sum())
    area, influence = np.empty(columns.shape[1]), np.empty(columns.shape)
    for index, column in enumerate(columns.T):
        ranks = stats.rankdata(column)
        above = ranks[positive] - stats.rankdata(column[positive])
        below = num_positive - (ranks[~positive] - stats.rankdata(column[~positive]))
        area[index] = above.sum() / (num_positive * num_negative)
        for rows, won, num, rivals in (
            (positive, above, num_positive, num_negative),
            (~positive, below, num_negative, num_positive),
        ):
            influence[rows, index] = (won - rivals * area[index]) * np.sqrt(num / max(num - 1, 1))
    return area, influence

"""AUROC with DeLong's variance, and the paired test of several models, from midranks in O(n log n).

The area is the mean of each positive's share of negatives that score lower (equal scores count half), and equally of each
negative's share of positives that score higher; the variance comes from how these shares vary (DeLong, DeLong and Clarke-Pearson
1988). Sun and Xu (2014) read the shares from midranks. One row is one patient: of clustered rows bootstrap the patients instead.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from oncoweave.core.errors import DataError
from oncoweave.evaluate.compare import Difference
from oncoweave.evaluate.inputs import finite


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
        area, variance = float(self.values[model]), float(self.covariance[model, model])
        if not (variance > 0 and 0 < area < 1):
            return float("nan"), float("nan")
        reach = stats.norm.ppf(0.5 + level / 2) * np.sqrt(variance) / (area * (1 - area))
        odds = area / (1 - area)
        low, high = odds * np.exp(-reach), odds * np.exp(reach)
        return float(low / (1 + low)), float(high / (1 + high))

    def difference(self, first: int = 0, second: int = 1, *, level: float = 0.95) -> Difference:
        """Area of one model minus that of another, with DeLong's paired test; models that rank all alike have a p of 1."""
        value = float(self.values[first] - self.values[second])
        contrast = np.zeros(len(self.values))
        contrast[[first, second]] = 1.0, -1.0
        error = float(np.sqrt(max(contrast @ self.covariance @ contrast, 0.0)))
        if np.isnan(error) or error < 1e-12:
            p = float("nan") if np.isnan(error) else float(abs(value) < 1e-12)
            return Difference(value=value, low=value + 0 * error, high=value + 0 * error, p=p)
        reach = stats.norm.ppf(0.5 + level / 2) * error
        return Difference(value=value, low=value - reach, high=value + reach, p=float(2 * stats.norm.sf(abs(value) / error)))

    def equal(self) -> tuple[float, int, float]:
        """Wald test that all areas are equal: statistic (chi-square), degrees of freedom, p."""
        contrast = np.eye(len(self.values))[:-1] - np.eye(len(self.values))[1:]
        spread = contrast @ self.covariance @ contrast.T
        if np.isnan(spread).any():
            return float("nan"), len(contrast), float("nan")
        gap = contrast @ self.values
        statistic, degrees = float(gap @ np.linalg.pinv(spread) @ gap), int(np.linalg.matrix_rank(spread))
        return statistic, degrees, float(stats.chi2.sf(statistic, degrees)) if degrees else 1.0


def delong(y: np.ndarray, scores: np.ndarray) -> Areas:
    """AUROC of each column of ``scores``, ``Float[n, model]`` or ``Float[n]``, for 0/1 outcomes ``y``, with their covariance.

    Raises:
        DataError: a label that is not 0 or 1, or a NaN score.
    """
    y = finite("y", y)
    if not np.isin(y, (0.0, 1.0)).all():
        msg = f"y: wanted 0 or 1, got {y[~np.isin(y, (0.0, 1.0))][0]}"
        raise DataError(msg)
    columns = np.asarray(scores, dtype=np.float64).reshape(len(y), -1).T
    positive = y > 0.5
    num_positive, num_negative = int(positive.sum()), int((~positive).sum())
    above, below = np.empty((len(columns), num_positive)), np.empty((len(columns), num_negative))
    for index, column in enumerate(columns):
        ranks = stats.rankdata(finite("score", column, len(y)))
        if num_positive and num_negative:
            above[index] = (ranks[positive] - stats.rankdata(column[positive])) / num_negative
            below[index] = 1 - (ranks[~positive] - stats.rankdata(column[~positive])) / num_positive
    values = np.full(len(columns), np.nan) if not num_positive or not num_negative else above.mean(axis=1)
    covariance = np.full((len(columns), len(columns)), np.nan)
    if num_positive > 1 and num_negative > 1:
        covariance = np.atleast_2d(np.cov(above)) / num_positive + np.atleast_2d(np.cov(below)) / num_negative
    return Areas(values=values, covariance=covariance, n=len(y), events=num_positive)

"""How far models trained on permuted outcomes may stray from chance by the luck of the permutation alone."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from oncoweave.core.errors import DataError

ENOUGH = 5
"""Permuted runs from which on their own spread is used; the standard deviation of fewer says next to nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Null:
    """The mean metric of the permuted runs with its 95% interval."""

    mean: float
    low: float
    high: float
    runs: int

    @property
    def enough(self) -> bool:
        """Whether the interval comes from the spread between runs."""
        return self.runs >= ENOUGH


_WIDTH_IN_SD = 2 * 1.96
"""Standard deviations in a normal 95% interval."""


def null_of(metrics: pd.DataFrame, metric: str, *, num_folds: int) -> Null | None:
    """Pool the permuted runs of a table of metrics (role ``null``); None where it has none with a finite value.

    Args:
        metrics: model, role, metric, value, low, high, fold_sd; see ``evaluate.summary``.
        metric: which measure.
        num_folds: folds, those of all repeats.
    """
    rows = metrics[(metrics["metric"] == metric) & (metrics["role"] == "null")].drop_duplicates("model")
    rows = rows[np.isfinite(rows["value"].to_numpy(dtype=float))]
    if rows.empty:
        return None
    value, low, high, fold_sd = (rows[c].to_numpy(dtype=float) for c in ("value", "low", "high", "fold_sd"))
    return permuted_null(value, bootstrap_sd=(high - low) / _WIDTH_IN_SD, fold_sd=fold_sd, num_folds=num_folds)


def permuted_null(values: np.ndarray, *, bootstrap_sd: np.ndarray, fold_sd: np.ndarray, num_folds: int) -> Null:
    """Mean of a metric over permuted runs, with an interval that holds the randomness of the permutation.

    From five runs on it is the t interval over runs. The bootstrap of patients holds a permuted model fixed and so leaves out
    that another permutation gives another model. With fewer runs the variance of their mean is taken as the bootstrap variance
    plus a k-th of the variance between permutations, which is approximated by that of the mean over folds, as every fold draws a
    permutation of its own, and by no less than the bootstrap variance: this counts the patients twice and is wide on purpose.

    Args:
        values: ``[run]`` metric of each permuted run.
        bootstrap_sd: ``[run]`` its standard deviation over the bootstrap of patients; NaN: that of the folds stands for it.
        fold_sd: ``[run]`` its standard deviation over folds; NaN where there was one fold.
        num_folds: folds, those of all repeats.

    Raises:
        DataError: no run, or a value that is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values) or not np.isfinite(values).all():
        msg = f"permuted null: wanted the metric of one permuted run or more, all finite, got {values.tolist()}"
        raise DataError(msg)
    runs, mean = len(values), float(values.mean())
    if runs >= ENOUGH:
        reach = float(stats.t.ppf(0.975, runs - 1) * values.std(ddof=1) / np.sqrt(runs))
    else:
        folds = np.square(np.nan_to_num(np.asarray(fold_sd, dtype=np.float64))) / max(num_folds, 1)
        patients = np.square(np.asarray(bootstrap_sd, dtype=np.float64))
        patients = np.where(np.isnan(patients) & (folds > 0), folds, patients)
        reach = float(stats.norm.ppf(0.975) * np.sqrt(patients.mean() + np.maximum(patients, folds).mean() / runs))
    return Null(mean=mean, low=mean - reach, high=mean + reach, runs=runs)

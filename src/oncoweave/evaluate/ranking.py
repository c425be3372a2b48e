"""Which models differ in rank over tasks: Friedman's test, Nemenyi's critical difference, groups that cannot be told apart.

Rank 1 is the best model of a task; equal values share the mean of their ranks.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from oncoweave.core.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """Ranks of models over tasks, all in the order of their mean rank."""

    models: tuple[str, ...]
    mean_ranks: np.ndarray
    statistic: float
    """Friedman's chi-square with its p value; NaN where all models are equal on all tasks."""
    p: float
    f_statistic: float
    """Iman and Davenport's F (1980), less conservative, with its p value."""
    f_p: float
    critical_difference: float
    """Models whose mean ranks are further apart differ (Nemenyi 1963)."""
    groups: tuple[tuple[int, int], ...]
    """First and last model of each longest run of models that do not differ; models that stand alone are in none."""
    tasks: int


def rank_models(values: np.ndarray, models: tuple[str, ...], *, higher_is_better: bool = True, level: float = 0.95) -> Ranking:
    """Compare models over tasks of patients of their own (Demsar, JMLR 2006).

    Args:
        values: ``Float[task, model]`` of a metric; every model on every task.
        models: names of the columns.
        higher_is_better: direction of the metric.
        level: of the critical difference; .95 tests at 5 %.

    Raises:
        DataError: a NaN, fewer than two models or tasks, or another number of names.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or min(values.shape) < 2 or values.shape[1] != len(models) or not np.isfinite(values).all():
        msg = (
            f"ranking: wanted finite values of {len(models)} models on two tasks or more, got shape {values.shape} with"
            f" {int((~np.isfinite(values)).sum())} not finite; leave out tasks that a model does not have"
        )
        raise DataError(msg)
    num_tasks, num = values.shape
    ranks = stats.rankdata(-values if higher_is_better else values, axis=1)
    order = np.argsort(ranks.mean(axis=0), kind="stable")
    mean_ranks = ranks.mean(axis=0)[order]
    # Ranks around their centre hold the correction for ties: without ties the bottom is k (k + 1) / 12.
    bottom = ((ranks - (num + 1) / 2) ** 2).sum() / (num_tasks * (num - 1))
    statistic = num_tasks * ((mean_ranks - (num + 1) / 2) ** 2).sum() / bottom if bottom > 0 else float("nan")
    most = num_tasks * (num - 1)
    agree = bool(np.isclose(statistic, most))
    f_statistic = float("inf") if agree else (num_tasks - 1) * statistic / (most - statistic)
    reach = critical_difference(num, num_tasks, level=level)
    return Ranking(
        models=tuple(models[index] for index in order),
        mean_ranks=mean_ranks,
        statistic=float(statistic),
        p=float(stats.chi2.sf(statistic, num - 1)),
        f_statistic=float(f_statistic),
        f_p=float(stats.f.sf(f_statistic, num - 1, (num - 1) * (num_tasks - 1))),
        critical_difference=reach,
        groups=_groups(mean_ranks, reach),
        tasks=num_tasks,
    )


def critical_difference(num_models: int, num_tasks: int, *, level: float = 0.95) -> float:
    """Nemenyi's critical difference of mean ranks: the studentised range over the square root of 2, times their spread."""
    quantile = stats.studentized_range.ppf(level, num_models, np.inf) / np.sqrt(2)
    return float(quantile * np.sqrt(num_models * (num_models + 1) / (6 * num_tasks)))


def _groups(mean_ranks: np.ndarray, reach: float) -> tuple[tuple[int, int], ...]:
    last = np.searchsorted(mean_ranks, mean_ranks + reach, side="right") - 1
    groups: list[tuple[int, int]] = []
    for first, end in enumerate(last.tolist()):
        if end > first and not (groups and groups[-1][1] == end):
            groups.append((first, end))
    return tuple(groups)

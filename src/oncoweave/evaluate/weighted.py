"""Metrics other than rankings as functions of patient weights; see ``pairs`` for what a statistic is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from oncoweave.evaluate.discrimination import Weighting, class_indices, disagreement
from oncoweave.evaluate.inputs import check_rows, finite, labels
from oncoweave.evaluate.pairs import Statistic, contiguous, rows_by_stratum

Outcome = tuple[np.ndarray, np.ndarray]
"""0/1 labels and the strata of their rows."""

_REPLICATES = 64
"""Replicates that are sorted out at once where every row stands for several entries."""


def mean_of(values: np.ndarray) -> Statistic:
    """Weighted mean of one value a row (Brier terms, log losses, errors)."""
    values = finite("values", values)

    def statistic(weights: np.ndarray) -> np.ndarray:
        check_rows(weights, len(values))
        return ratio(weights @ values, weights.sum(axis=1, dtype=np.float64))

    return statistic


def improvement_over(null: np.ndarray, values: np.ndarray) -> Statistic:
    """One minus the weighted mean error over that of knowing nothing, both ``Float[row]``: the index of prediction accuracy."""
    null, values = finite("error of knowing nothing", null), finite("error", values, len(null))
    return lambda weights: 1.0 - ratio(weights @ values, weights @ null)


def mean_recall(y: np.ndarray, correct: np.ndarray) -> Statistic:
    """Balanced accuracy: mean over the classes with weight of the weighted share of rows that are ``correct``."""
    classes, code = np.unique(labels("y", y), return_inverse=True)
    member = np.eye(len(classes))[code]

    def statistic(weights: np.ndarray) -> np.ndarray:
        return _mean_defined(ratio(weights @ (member * correct[:, None]), weights @ member))

    return statistic


def average_precision(y: np.ndarray, score: np.ndarray, strata: np.ndarray) -> Statistic:
    """Average precision, with precision counted within the positive's stratum and averaged over all positives.

    A stratum without a negative under the weights is left out: any order of it has a precision of 1. The others count by their
    positives, so that one patient is one precision, as in a single stratum; pairs, by which a C-index weighs, would let the
    negatives say how much a positive counts. What a random order has in such strata is told by :func:`chance_precision`.
    """
    y, score, blocks = finite("y", y), finite("score", score, len(y)), []
    for rows in rows_by_stratum(labels("strata", strata, len(y))):
        positive = np.flatnonzero(y[rows] > 0.5)
        called = (score[rows][:, None] >= score[rows][positive]).astype(np.float32)
        blocks.append((contiguous(rows), positive, called))

    def statistic(weights: np.ndarray) -> np.ndarray:
        check_rows(weights, len(y))
        precision, total = np.zeros(len(weights)), np.zeros(len(weights))
        for rows, positive, called in blocks:
            local = weights[:, rows].astype(np.float32, copy=False)
            hits = local[:, positive]
            share = ratio(hits @ called[positive], local @ called, undefined=0.0)  # a positive without weight adds nothing
            found = hits.sum(axis=1, dtype=np.float64)
            found *= local.sum(axis=1, dtype=np.float64) > found
            precision += np.einsum("bp,bp->b", hits, share) * (found > 0)
            total += found
        return ratio(precision, total)

    return statistic


def chance_precision(y: np.ndarray, strata: np.ndarray) -> float:
    """Mean of :func:`average_precision` over all orders of rows within strata, in closed form (Bestgen 2015); NaN if undefined.

    It is above the share of positives, the more so the smaller a stratum: the first row alone has a precision of 0 or 1.
    """
    total = expected = 0.0
    for rows in rows_by_stratum(strata):
        n, positive = len(rows), int((y[rows] > 0.5).sum())
        if 0 < positive < n:
            harmonic = float((1 / np.arange(1, n + 1)).sum())
            expected += positive * (harmonic + (positive - 1) / (n - 1) * (n - harmonic)) / n
            total += positive
    return expected / total if total else float("nan")


def about_precision(parts: Sequence[Outcome]) -> str:
    """Say what a random order has on average over some classes, and how many strata are left out for want of a negative."""
    found = np.array([chance_precision(y, strata) for y, strata in parts])
    said = [f"a random order has {np.nanmean(found):.3f}"] if not np.isnan(found).all() else []
    sided = [bool((y[rows] > 0.5).all()) for y, strata in parts for rows in rows_by_stratum(strata)]
    if any(sided):
        counted = "folds or strata" if len(parts) == 1 else "folds or strata of one class each"
        said.append(f"{sum(sided)} of {len(sided)} {counted} have no negative and are left out")
    return "; ".join(said)


def kappa(y: np.ndarray, predicted: np.ndarray, num_classes: int, *, weighting: Weighting = "quadratic") -> Statistic:
    """Weighted kappa of class indices; see :func:`oncoweave.evaluate.discrimination.kappa`."""
    true, called = class_indices("y", y, num_classes), class_indices("predicted", predicted, num_classes)
    cell = np.eye(num_classes * num_classes)[true * num_classes + called]
    distance = disagreement(num_classes, weighting)

    def statistic(weights: np.ndarray) -> np.ndarray:
        tables = (weights @ cell).reshape(-1, num_classes, num_classes)
        by_chance = np.einsum("bi,bj,ij->b", tables.sum(axis=2), tables.sum(axis=1), distance)
        observed = np.einsum("bij,ij->b", tables, distance) * tables.sum(axis=(1, 2))
        return 1.0 - ratio(observed, by_chance)

    return statistic


def f1(y: np.ndarray, predicted: np.ndarray, classes: Sequence[int]) -> Statistic:
    """F1 averaged over those of some class indices that are true or predicted under the weights; one class: its own F1."""
    true, called = (np.stack([v == c for c in classes], axis=1).astype(np.float64) for v in (y, predicted))
    hits, either = true * called, true + called
    return lambda weights: _mean_defined(ratio(2 * (weights @ hits), weights @ either))


def micro_area(y: np.ndarray, score: np.ndarray, strata: np.ndarray) -> Statistic:
    """AUROC of all (row, class) entries within strata; ``y`` and ``score`` are ``Float[row, class]``, NaN in ``y`` is unknown.

    Entries are sorted once and their weights added up, as pairs of entries would be too many; equal scores count half.
    """
    finite("score", np.ravel(score))
    blocks = []
    for rows in rows_by_stratum(strata):
        known = ~np.isnan(y[rows])
        owner, value, positive = rows[np.nonzero(known)[0]], score[rows][known], y[rows][known] > 0.5
        order = np.argsort(value, kind="stable")
        order = order[~positive[order]]
        places = (np.searchsorted(value[order], value[positive], side=side) for side in ("left", "right"))
        blocks.append((owner[positive], owner[order], *places))

    def statistic(weights: np.ndarray) -> np.ndarray:
        check_rows(weights, len(y))
        return np.concatenate([_areas(part, blocks) for part in np.array_split(weights, -(-len(weights) // _REPLICATES))])

    return statistic


def explained_variance(y: np.ndarray, predicted: np.ndarray) -> Statistic:
    """R squared: one minus the squared error over the variance around the weighted mean of the same rows."""
    y, predicted = finite("y", y), finite("prediction", predicted, len(y))
    shifted = y - y.mean()
    moments = np.stack([np.ones(len(y)), shifted, shifted**2, (y - predicted) ** 2], axis=1)

    def statistic(weights: np.ndarray) -> np.ndarray:
        total, first, second, error = (weights @ moments).T
        spread = second - ratio(first**2, total)
        return 1.0 - ratio(error, np.where(spread > 1e-12 * second, spread, 0.0))

    return statistic


def rank_correlation(y: np.ndarray, predicted: np.ndarray, strata: np.ndarray) -> Statistic:
    """Spearman's correlation within strata, averaged with the weight of each stratum."""
    y, predicted, blocks = finite("y", y), finite("prediction", predicted, len(y)), []
    for rows in rows_by_stratum(labels("strata", strata, len(y))):
        below = [(v[:, None] < v) + 0.5 * (v[:, None] == v) for v in (y[rows], predicted[rows])]
        blocks.append((contiguous(rows), below[0].astype(np.float32), below[1].astype(np.float32)))

    def statistic(weights: np.ndarray) -> np.ndarray:
        check_rows(weights, len(y))
        products, total = np.zeros(len(weights)), np.zeros(len(weights))
        for rows, below_y, below_predicted in blocks:
            local = weights[:, rows].astype(np.float32, copy=False)
            value = _weighted_correlation(local @ below_y, local @ below_predicted, local)
            size = np.where(np.isnan(value), 0.0, local.sum(axis=1, dtype=np.float64))
            products += size * np.nan_to_num(value)
            total += size
        return ratio(products, total)

    return statistic


@dataclass(frozen=True, slots=True)
class MeanOver:
    """Macro average: the mean of those statistics that are defined under the weights."""

    parts: Sequence[Statistic]

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Evaluate every row of weights; NaN where no part is defined."""
        return _mean_defined(np.stack([part(weights) for part in self.parts], axis=1))


def on_rows(statistic: Statistic, rows: np.ndarray) -> Statistic:
    """Apply a statistic of some rows to weights of all rows."""
    index = contiguous(rows)
    return lambda weights: statistic(weights[:, index])


def ratio(top: np.ndarray, bottom: np.ndarray, undefined: float = np.nan) -> np.ndarray:
    """Divide where the divisor is above zero."""
    top, bottom = np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)
    return np.divide(top, bottom, out=np.full(np.broadcast_shapes(top.shape, bottom.shape), undefined), where=bottom > 0)


def _weighted_correlation(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    total = weights.sum(axis=1, keepdims=True, dtype=np.float64)
    a = a - ratio((weights * a).sum(axis=1, keepdims=True, dtype=np.float64), total)
    b = b - ratio((weights * b).sum(axis=1, keepdims=True, dtype=np.float64), total)
    covariance = (weights * a * b).sum(axis=1)
    return ratio(covariance, np.sqrt((weights * a * a).sum(axis=1) * (weights * b * b).sum(axis=1)))


def _areas(weights: np.ndarray, blocks: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]) -> np.ndarray:
    right, total = np.zeros(len(weights)), np.zeros(len(weights))
    for positive, negative, below, not_above in blocks:
        case = np.take(weights, positive, axis=1)
        passed = np.zeros((len(weights), len(negative) + 1))
        np.cumsum(np.take(weights, negative, axis=1), axis=1, out=passed[:, 1:], dtype=np.float64)
        favour = np.take(passed, below, axis=1) + np.take(passed, not_above, axis=1)
        right += 0.5 * np.einsum("bp,bp->b", case, favour)
        total += case.sum(axis=1, dtype=np.float64) * passed[:, -1]
    return ratio(right, total)


def _mean_defined(values: np.ndarray) -> np.ndarray:
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1))

"""How well scores separate classes: AUROC, average precision, balanced accuracy, and kin.

A metric that a set of patients does not define (a fold without a positive, say) is NaN and says why: every function returns a
:class:`Score`. Equal scores count half in AUROC and enter average precision together.
"""

from collections.abc import Callable

import numpy as np
from scipy import stats

from oncoweave.core.errors import DataError
from oncoweave.evaluate.inputs import finite

PROBABILITY_FLOOR = 1e-15
"""Log loss clips probabilities here, as scikit-learn does for float64."""


class Score(float):
    """The value of a metric; a NaN carries the ``reason`` why the patients do not define it."""

    __slots__ = ("reason",)
    reason: str

    def __new__(cls, value: float, reason: str = "") -> "Score":
        """Make a score from a number and, for NaN, its reason."""
        score = super().__new__(cls, value)
        score.reason = reason
        return score


def auroc(y: np.ndarray, score: np.ndarray) -> Score:
    """Area under the ROC curve: the share of (positive, negative) pairs in which the positive scores higher.

    Raises:
        DataError: a label that is not 0 or 1, or a NaN score.
    """
    positive, score = _labels(y), finite("score", score, len(y))
    num_positive, num_negative = int(positive.sum()), int((~positive).sum())
    if not num_positive or not num_negative:
        return _one_class(num_positive, num_negative, "AUROC")
    rank_sum = stats.rankdata(score)[positive].sum()
    return Score((rank_sum - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative))


def auprc(y: np.ndarray, score: np.ndarray) -> Score:
    """Average precision: precision at each positive's score, averaged over the positives (no interpolation).

    Raises:
        DataError: a label that is not 0 or 1, or a NaN score.
    """
    positive, score = _labels(y), finite("score", score, len(y))
    if not positive.any():
        return _one_class(0, len(positive), "average precision")
    ordered, hits = np.sort(score), np.sort(score[positive])
    called = len(ordered) - np.searchsorted(ordered, hits, side="left")
    right = len(hits) - np.searchsorted(hits, hits, side="left")
    return Score((right / called).mean())


def accuracy(y: np.ndarray, predicted: np.ndarray) -> Score:
    """Share of patients whose predicted class (any labels) is the true one."""
    y, predicted = _classes(y, predicted)
    return Score((y == predicted).mean())


def balanced_accuracy(y: np.ndarray, predicted: np.ndarray) -> Score:
    """Mean recall over the classes that occur among the true ones."""
    y, predicted = _classes(y, predicted)
    code = np.unique(y, return_inverse=True)[1]
    return Score((np.bincount(code, weights=y == predicted) / np.bincount(code)).mean())


def log_loss(y: np.ndarray, probability: np.ndarray) -> Score:
    """Mean negative log-likelihood of class indices ``y`` under ``probability``, ``Float[n, class]`` or ``Float[n]`` (class 1).

    Raises:
        DataError: a class index outside the columns, or something that is not a probability.
    """
    probability = as_class_probabilities(probability, len(y))
    index = finite("y", y).astype(int)
    if len(index) and not (index.min() >= 0 and index.max() < probability.shape[1]):
        msg = f"y: wanted class indices from 0 to {probability.shape[1] - 1}, got {index.min()} to {index.max()}"
        raise DataError(msg)
    chosen = np.clip(probability[np.arange(len(index)), index], PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    return Score(-np.log(chosen).mean())


def macro_auroc(y: np.ndarray, probability: np.ndarray) -> Score:
    """One-vs-rest AUROC averaged over the classes that have patients and counter-patients; NaN if there is none.

    ``y`` holds class indices, ``probability`` is ``Float[n, class]``. Absent classes are named in ``reason`` and left out.
    """
    return _macro(y, probability, auroc)


def macro_auprc(y: np.ndarray, probability: np.ndarray) -> Score:
    """One-vs-rest average precision averaged over the classes that have patients; see :func:`macro_auroc`."""
    return _macro(y, probability, auprc)


def quadratic_kappa(y: np.ndarray, predicted: np.ndarray, num_classes: int) -> Score:
    """Quadratically weighted kappa of ordinal class indices (Cohen 1968); NaN where chance agreement is already complete."""
    y, predicted = _classes(y, predicted)
    table = np.zeros((num_classes, num_classes))
    np.add.at(table, (y.astype(int), predicted.astype(int)), 1.0)
    distance = np.subtract.outer(np.arange(num_classes), np.arange(num_classes)) ** 2.0
    expected = (distance * np.outer(table.sum(axis=1), table.sum(axis=0))).sum() / table.sum()
    if not expected:
        return Score(float("nan"), "true and predicted classes are all one class")
    return Score(1.0 - (distance * table).sum() / expected)


def ordinal_c(y: np.ndarray, score: np.ndarray) -> Score:
    """Share of patient pairs of different ordinal classes in which the higher class scores higher; equal scores count half.

    Raises:
        DataError: a NaN class or score.
    """
    y, score = finite("y", y), finite("score", score, len(y))
    higher = y[:, None] > y[None, :]
    if not higher.any():
        return Score(float("nan"), f"all {len(y)} patients have one class")
    favour = (score[:, None] > score[None, :]) + 0.5 * (score[:, None] == score[None, :])
    return Score(favour[higher].mean())


def as_class_probabilities(probability: np.ndarray, length: int) -> np.ndarray:
    """Return ``Float[n, class]`` from that, or from the probability of class 1 alone.

    Raises:
        DataError: another length, NaN, or a value outside [0, 1].
    """
    probability = np.asarray(probability, dtype=np.float64)
    if probability.ndim == 1:
        probability = np.stack([1 - probability, probability], axis=1)
    if len(probability) != length or not ((probability >= 0) & (probability <= 1)).all():
        msg = f"probability: wanted {length} rows between 0 and 1, got shape {probability.shape} with a value outside or NaN"
        raise DataError(msg)
    return probability


def _macro(y: np.ndarray, probability: np.ndarray, metric: Callable[[np.ndarray, np.ndarray], Score]) -> Score:
    probability = as_class_probabilities(probability, len(y))
    values = [metric((np.asarray(y) == index).astype(float), probability[:, index]) for index in range(probability.shape[1])]
    absent = [str(index) for index, value in enumerate(values) if np.isnan(value)]
    reason = f"classes {', '.join(absent)} left out: {values[int(absent[0])].reason}" if absent else ""
    return Score(float("nan") if len(absent) == len(values) else float(np.nanmean(values)), reason)


def _labels(y: np.ndarray) -> np.ndarray:
    y = finite("y", y)
    strange = ~np.isin(y, (0.0, 1.0))
    if strange.any():
        msg = f"y: wanted 0 or 1, got {y[strange][0]} in row {int(np.flatnonzero(strange)[0])}"
        raise DataError(msg)
    return y > 0.5


def _classes(y: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y, predicted = np.asarray(y), np.asarray(predicted)
    if y.shape != predicted.shape or y.ndim != 1 or not len(y):
        msg = f"classes: wanted one true and one predicted class a patient, got shapes {y.shape} and {predicted.shape}"
        raise DataError(msg)
    return y, predicted


def _one_class(num_positive: int, num_negative: int, name: str) -> Score:
    return Score(float("nan"), f"{name} needs both classes, got {num_positive} positive and {num_negative} negative patients")

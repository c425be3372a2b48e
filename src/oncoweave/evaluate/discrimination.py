"""How well scores separate classes: AUROC, average precision, balanced accuracy, F1, kappa, and kin.

A metric that a set of patients does not define (a fold without a positive, say) is NaN and says why: every function returns a
:class:`Score`. Equal scores count half in AUROC and enter average precision together. Where there are several classes or labels
``y`` is ``Int[n]``, class indices, or ``Float[n, label]``, 0 or 1 with NaN where a label is not known, which is left out.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from scipy import stats

from oncoweave.core.errors import DataError
from oncoweave.evaluate.inputs import finite, labels

SUM_TOLERANCE = 1e-3
"""How far from 1 the class probabilities of a patient may sum, as rounded ones do."""
PROBABILITY_FLOOR = 1e-15
"""Log loss clips probabilities here, as scikit-learn does for float64."""


Weighting = Literal["none", "linear", "quadratic"]
"""How a disagreement counts in kappa: any as one, by the distance between the classes, or by its square."""

Average = Literal["binary", "macro", "micro", "weighted"]


class Score(float):
    """The value of a metric; ``reason`` says why the patients do not define it (NaN), or what was left out of an average."""

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
    positive, score = as_positive(y), finite("score", score, len(y))
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
    positive, score = as_positive(y), finite("score", score, len(y))
    if not positive.any():
        return _one_class(0, len(positive), "average precision")
    ordered, hits = np.sort(score), np.sort(score[positive])
    called = len(ordered) - np.searchsorted(ordered, hits, side="left")
    right = len(hits) - np.searchsorted(hits, hits, side="left")
    return Score((right / called).mean())


def accuracy(y: np.ndarray, predicted: np.ndarray) -> Score:
    """Share of patients whose predicted class (any labels) is the true one; a row without one is refused (DataError)."""
    y, predicted = _classes(y, predicted)
    return Score((y == predicted).mean())


def balanced_accuracy(y: np.ndarray, predicted: np.ndarray) -> Score:
    """Mean recall over the classes that occur among the true ones; a row without one is refused (DataError)."""
    y, predicted = _classes(y, predicted)
    classes, code = np.unique(y, return_inverse=True)
    reason = f"recall of one class alone: all {len(y)} patients have it" if len(classes) == 1 else ""
    return Score((np.bincount(code, weights=y == predicted) / np.bincount(code)).mean(), reason)


def log_loss(y: np.ndarray, probability: np.ndarray) -> Score:
    """Mean negative log-likelihood of class indices ``y`` under ``probability``, ``Float[n, class]`` or ``Float[n]`` (class 1).

    Raises:
        DataError: a class index outside the columns, or something that is not a probability.
    """
    probability = as_distribution(probability, len(y))
    index = class_indices("y", y, probability.shape[1])
    chosen = np.clip(probability[np.arange(len(index)), index], PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    return Score(-np.log(chosen).mean())


def f1(y: np.ndarray, predicted: np.ndarray, *, average: Average = "binary") -> Score:
    """F1: harmonic mean of precision and recall, of class 1 (binary) or over all classes that are true or predicted somewhere.

    ``macro`` averages classes, ``weighted`` by how often each is true; ``micro`` counts all classes together, which for one
    predicted class a patient is the accuracy. A class that is predicted and never true counts 0.

    Args:
        y: class indices.
        predicted: class indices.
        average: how classes are put together.

    Raises:
        DataError: a row without a class, or text where the class 1 is asked about.
    """
    y, predicted = _classes(y, predicted)
    if average == "binary":
        y, predicted = finite("y", y), finite("predicted", predicted)
    classes = np.array([1]) if average == "binary" else np.union1d(y, predicted)
    true, called = (y[:, None] == classes), (predicted[:, None] == classes)
    hits, wanted, given = (true & called).sum(axis=0), true.sum(axis=0), called.sum(axis=0)
    if not (wanted + given).any():
        return Score(float("nan"), f"F1 needs a positive patient, true or predicted; there is none among {len(y)}")
    if average == "micro":
        return Score(2 * hits.sum() / (wanted.sum() + given.sum()))
    return Score(np.average(2 * hits / (wanted + given), weights=wanted if average == "weighted" else None))


def auroc_of_each(y: np.ndarray, probability: np.ndarray) -> tuple[Score, ...]:
    """AUROC of every class against the rest, or of every label among the patients whose label is known."""
    return _of_each(y, probability, auroc)


def auprc_of_each(y: np.ndarray, probability: np.ndarray) -> tuple[Score, ...]:
    """Average precision of every class against the rest, or of every label; see :func:`auroc_of_each`."""
    return _of_each(y, probability, auprc)


def macro_auroc(y: np.ndarray, probability: np.ndarray) -> Score:
    """One-vs-rest AUROC averaged over the classes or labels that have patients and counter-patients; NaN if there is none.

    Absent classes and unknown labels are left out and named in ``reason``.
    """
    return _macro(y, probability, auroc)


def macro_auprc(y: np.ndarray, probability: np.ndarray) -> Score:
    """One-vs-rest average precision averaged over the classes or labels that have patients; see :func:`macro_auroc`."""
    return _macro(y, probability, auprc)


def micro_auroc(y: np.ndarray, probability: np.ndarray) -> Score:
    """AUROC of all known (patient, class) entries taken as one list: asks the scores of different classes to be comparable.

    Classes that no patient has are named in ``reason``: their entries are all untrue.
    """
    return _micro(y, probability, auroc)


def micro_auprc(y: np.ndarray, probability: np.ndarray) -> Score:
    """Average precision of all known (patient, class) entries taken as one list; see :func:`micro_auroc`."""
    return _micro(y, probability, auprc)


def kappa(y: np.ndarray, predicted: np.ndarray, num_classes: int, *, weighting: Weighting = "none") -> Score:
    """Cohen's kappa of class indices (1960; weighted 1968): agreement beyond chance; NaN where chance agreement is complete.

    Raises:
        DataError: see :func:`class_indices`.
    """
    y, predicted = _classes(y, predicted)
    table = np.zeros((num_classes, num_classes))
    np.add.at(table, (class_indices("y", y, num_classes), class_indices("predicted", predicted, num_classes)), 1.0)
    distance = disagreement(num_classes, weighting)
    expected = (distance * np.outer(table.sum(axis=1), table.sum(axis=0))).sum() / table.sum()
    if not expected:
        return Score(float("nan"), "true and predicted classes are all one class")
    return Score(1.0 - (distance * table).sum() / expected)


def disagreement(num_classes: int, weighting: Weighting) -> np.ndarray:
    """Return ``Float[class, class]``, what each pair of true and predicted class costs in kappa."""
    apart = np.abs(np.subtract.outer(np.arange(num_classes), np.arange(num_classes))).astype(np.float64)
    return {"none": np.sign, "linear": np.abs, "quadratic": np.square}[weighting](apart)


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


def as_distribution(probability: np.ndarray, length: int) -> np.ndarray:
    """Return ``Float[n, class]`` of probabilities that sum to 1 a patient; see :func:`as_class_probabilities`.

    Raises:
        DataError: a row that sums to something else.
    """
    probability = as_class_probabilities(probability, length)
    total = probability.sum(axis=1)
    off = np.flatnonzero(np.abs(total - 1) > SUM_TOLERANCE)
    if len(off):
        msg = (
            f"probability: wanted class probabilities that sum to 1, got {total[off[0]]:.4g} in row {int(off[0])}"
            f" ({len(off)} such row(s) of {length}); divide each row by its sum, or give labels that are not exclusive one by one"
        )
        raise DataError(msg)
    return probability


def class_indices(name: str, y: np.ndarray, num_classes: int) -> np.ndarray:
    """Return ``Int[n]``, the class of each patient.

    Raises:
        DataError: no patient, text, NaN, a number that is not whole, or one outside the classes.
    """
    y = finite(name, y)
    strange = np.flatnonzero((y != np.floor(y)) | (y < 0) | (y >= num_classes))
    if len(strange) or not len(y):
        got = f"{y[strange[0]]:g} in row {int(strange[0])} ({len(strange)} such row(s))" if len(strange) else "no patient"
        msg = f"{name}: wanted whole numbers, class indices from 0 to {num_classes - 1}, got {got}"
        raise DataError(msg)
    return y.astype(int)


def as_positive(y: np.ndarray) -> np.ndarray:
    """Return ``Bool[n]``, who is positive.

    Raises:
        DataError: a label that is not 0 or 1.
    """
    y = finite("y", y)
    strange = ~np.isin(y, (0.0, 1.0))
    if strange.any():
        msg = f"y: wanted 0 or 1, got {y[strange][0]} in row {int(np.flatnonzero(strange)[0])}"
        raise DataError(msg)
    return y > 0.5


def known_labels(y: np.ndarray, num_classes: int) -> np.ndarray:
    """Return ``Float[n, class]`` of 0, 1 and NaN from that, or from class indices ``Int[n]``.

    Raises:
        DataError: another number of columns, or a class index outside them.
    """
    y = np.asarray(y)
    y = finite("y", y) if y.ndim == 1 else y.astype(np.float64)
    if y.ndim == 1 and np.isin(y, np.arange(num_classes)).all():
        return np.eye(num_classes)[y.astype(int)]
    if y.ndim != 2 or y.shape[1] != num_classes:
        msg = f"y: wanted class indices from 0 to {num_classes - 1} or {num_classes} columns of labels, got shape {y.shape}"
        raise DataError(msg)
    return y


def _of_each(y: np.ndarray, probability: np.ndarray, metric: Callable[[np.ndarray, np.ndarray], Score]) -> tuple[Score, ...]:
    probability = as_class_probabilities(probability, len(y))
    truth = known_labels(y, probability.shape[1])
    known = ~np.isnan(truth)
    return tuple(
        metric(truth[rows, i], probability[rows, i]) if rows.any() else Score(float("nan"), "no patient with a known label")
        for i, rows in enumerate(known.T)
    )


def _macro(y: np.ndarray, probability: np.ndarray, metric: Callable[[np.ndarray, np.ndarray], Score]) -> Score:
    values = _of_each(y, probability, metric)
    absent = [str(index) for index, value in enumerate(values) if np.isnan(value)]
    said = [f"classes {', '.join(absent)} left out: {values[int(absent[0])].reason}"] if absent else []
    said += _unknown(y)
    return Score(float("nan") if len(absent) == len(values) else float(np.nanmean(values)), "; ".join(said))


def _micro(y: np.ndarray, probability: np.ndarray, metric: Callable[[np.ndarray, np.ndarray], Score]) -> Score:
    probability = as_class_probabilities(probability, len(y))
    truth = known_labels(y, probability.shape[1])
    known = ~np.isnan(truth)
    value = metric(truth[known], probability[known])
    absent = [str(index) for index in np.flatnonzero(~(truth == 1).any(axis=0))]
    lacking = f"no patient has classes {', '.join(absent)}, which count as untrue where known" if absent else ""
    said = value.reason or lacking
    return Score(value, "; ".join([said] * bool(said) + _unknown(y)))


def _unknown(y: np.ndarray) -> list[str]:
    num = int(np.isnan(np.asarray(y, dtype=np.float64)).sum())
    return [f"{num} unknown label(s) left out"] if num else []


def _classes(y: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y, predicted = labels("y", y), labels("predicted", predicted)
    if y.shape != predicted.shape or y.ndim != 1 or not len(y):
        msg = f"classes: wanted one true and one predicted class a patient, got shapes {y.shape} and {predicted.shape}"
        raise DataError(msg)
    return y, predicted


def _one_class(num_positive: int, num_negative: int, name: str) -> Score:
    return Score(float("nan"), f"{name} needs both classes, got {num_positive} positive and {num_negative} negative patients")

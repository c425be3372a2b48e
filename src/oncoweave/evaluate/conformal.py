"""Conformal prediction: sets of classes and intervals of values that hold the truth of a new patient as often as they say.

The guarantee is over patients exchangeable with those that calibrated (Vovk et al. 2005): at least ``level`` on average over
them, not in every group and not at another hospital; :func:`coverage` shows groups. Nothing that calibrates may have been seen in
training, and a patient has one row.
Left out: lower bounds of survival times (Candes, Lei and Ren 2023), whose guarantee needs the censoring time of every patient,
those with an event included, which cohorts do not record.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from oncoweave.core.errors import DataError
from oncoweave.evaluate.clustered import exact_share
from oncoweave.evaluate.discrimination import as_distribution, class_indices
from oncoweave.evaluate.inputs import finite

Score = Literal["lac", "aps"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SetCalibration:
    """Calibration of prediction sets: the cut-off of the score, one for all classes or one a class.

    ``lac`` (Sadinle, Lei and Wasserman 2019) keeps classes whose probability is high enough and gives the smallest sets on
    average; ``aps`` (Romano, Sesia and Candes 2020) adds classes from the most probable on until their probabilities sum up
    and adapts to patients who are hard. Sets of ``aps`` are never empty here, as the most probable class always stays.
    """

    score: Score
    cutoffs: np.ndarray
    """``Float[class]``; infinite where too few patients calibrate: such a class is in every set."""
    level: float
    n: np.ndarray
    """``Int[class]`` patients that each cut-off rests on."""
    randomised: bool

    def sets(self, probability: np.ndarray, *, generator: np.random.Generator | None = None) -> np.ndarray:
        """Prediction sets ``Bool[n, class]`` of new patients; ``generator`` exactly where one calibrated.

        Raises:
            DataError: another number of classes, something that is not a probability, or a generator where none calibrated, or
                none where one did: the two do not fit together and would break the guarantee.
        """
        probability = as_distribution(probability, len(probability))
        if probability.shape[1] != len(self.cutoffs):
            msg = f"prediction sets: wanted {len(self.cutoffs)} classes, got {probability.shape[1]}"
            raise DataError(msg)
        if self.randomised != (generator is not None):
            msg = f"prediction sets: calibration was {'' if self.randomised else 'not '}randomised, so the sets must be alike"
            raise DataError(msg)
        luck = np.zeros(len(probability)) if generator is None else generator.random(len(probability))
        kept = _strangeness(probability, self.score, luck) <= self.cutoffs
        if self.score == "aps":
            kept[np.arange(len(kept)), probability.argmax(axis=1)] = True
        return kept


def calibrate_sets(
    y: np.ndarray,
    probability: np.ndarray,
    *,
    level: float = 0.9,
    score: Score = "lac",
    by_class: bool = False,
    generator: np.random.Generator | None = None,
) -> SetCalibration:
    """Calibrate prediction sets on patients that the model did not train on.

    Args:
        y: ``[n]`` class indices.
        probability: ``Float[n, class]``, or ``Float[n]`` of class 1. Out-of-fold probabilities may be pooled (cross-conformal,
            Vovk 2015): the guarantee then holds to within the difference of the folds' models, in practice nearly so.
        level: share of sets that must hold the truth.
        score: see :class:`SetCalibration`.
        by_class: hold the level within each true class, at the price of larger sets.
        generator: randomises ``aps``, which makes its sets smaller and its coverage nearly exact; ``sets`` then wants one too.

    Raises:
        DataError: no patients, an index outside the classes, or something that is not a probability.
    """
    probability = as_distribution(probability, len(y))
    num_classes = probability.shape[1]
    true = class_indices("y", y, num_classes)
    luck = np.zeros(len(true)) if generator is None else generator.random(len(true))
    strange = _strangeness(probability, score, luck)[np.arange(len(true)), true]
    groups = [strange[true == index] if by_class else strange for index in range(num_classes)]
    return SetCalibration(
        score=score,
        cutoffs=np.array([conformal_quantile(group, level) for group in groups]),
        level=level,
        n=np.array([len(group) for group in groups]),
        randomised=generator is not None,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class IntervalCalibration:
    """Calibration of intervals of values: how many units of spread they reach to either side; infinite with too few patients."""

    reach: float
    level: float
    n: int

    def intervals(self, predicted: np.ndarray, spread: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends for new patients; ``spread`` as in :func:`calibrate_intervals`.

        Raises:
            DataError: a NaN, or a spread that is not above 0.
        """
        predicted = finite("predicted", predicted)
        distance = self.reach * _spread(spread, len(predicted))
        return predicted - distance, predicted + distance


def calibrate_intervals(
    y: np.ndarray, predicted: np.ndarray, *, spread: np.ndarray | None = None, level: float = 0.9
) -> IntervalCalibration:
    """Calibrate intervals on absolute residuals of patients that the model did not train on (Lei et al. 2018).

    ``spread`` is the model's own idea of each patient's error (an ensemble's standard deviation, say): intervals are then wider
    for some than for others and cover as often.

    Raises:
        DataError: no patients, a NaN, or a spread that is not above 0.
    """
    y = finite("y", y)
    if not len(y):
        msg = "prediction intervals: wanted one patient or more to calibrate, got none"
        raise DataError(msg)
    strange = np.abs(y - finite("predicted", predicted, len(y))) / _spread(spread, len(y))
    return IntervalCalibration(reach=conformal_quantile(strange, level), level=level, n=len(y))


def conformal_quantile(strangeness: np.ndarray, level: float) -> float:
    """Smallest cut-off that a new patient stays within with probability ``level``: the ceil(level (n + 1))-th of n scores.

    Infinite where n is too small for the level: nothing can then be left out.

    Raises:
        DataError: a level outside (0, 1).
    """
    if not 0 < level < 1:
        msg = f"conformal prediction: wanted a level inside (0, 1), got {level}"
        raise DataError(msg)
    place = int(np.ceil(level * (len(strangeness) + 1) - 1e-9))
    return float(np.sort(strangeness)[place - 1]) if place <= len(strangeness) else float("inf")


@dataclass(frozen=True, kw_only=True, slots=True)
class Coverage:
    """How often the truth was held, with its exact interval (Clopper and Pearson 1934), and the mean size of what held it."""

    covered: float
    low: float
    high: float
    size: float
    n: int


def coverage(
    held: np.ndarray,
    size: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    level: float = 0.95,
    persons: np.ndarray | None = None,
) -> Mapping[str, Coverage]:
    """Coverage over all patients (``"all"``) and within each group, small ones included, with their n.

    Args:
        held: ``Bool[n]`` whether the set or interval held the truth.
        size: ``[n]`` classes in each set, or width of each interval.
        groups: a label a patient (site, sex, true class, missingness).
        level: of the interval of the coverage itself.
        persons: whose each row is, where a person has several; these count together in the interval (see ``clustered``).

    Raises:
        DataError: no patients.
    """
    held = np.asarray(held, dtype=bool)
    if not len(held):
        msg = "coverage: wanted one patient or more, got none"
        raise DataError(msg)
    labels = {} if groups is None else {str(name): np.asarray(groups) == name for name in np.unique(groups)}
    found = {}
    for name, rows in {"all": np.ones(len(held), dtype=bool), **labels}.items():
        low, high = exact_share(held[rows], None if persons is None else persons[rows], level=level)
        found[name] = Coverage(
            covered=float(held[rows].mean()),
            low=low,
            high=high,
            size=float(np.asarray(size, dtype=np.float64)[rows].mean()),
            n=int(rows.sum()),
        )
    return found


def _strangeness(probability: np.ndarray, score: Score, luck: np.ndarray) -> np.ndarray:
    """Score how strange each class would be for each patient, ``Float[n, class]``."""
    if score == "lac":
        return 1.0 - probability
    order = np.argsort(-probability, axis=1, kind="stable")
    ordered = np.take_along_axis(probability, order, axis=1)
    strange = np.empty_like(probability)
    # The probability of all classes before a class and a random part of its own.
    np.put_along_axis(strange, order, np.cumsum(ordered, axis=1) - luck[:, None] * ordered, axis=1)
    return strange


def _spread(spread: np.ndarray | None, length: int) -> np.ndarray:
    if spread is None:
        return np.ones(length)
    spread = finite("spread", spread, length)
    if len(spread) and spread.min() <= 0:
        msg = f"spread: wanted values above 0, got {spread.min()} in row {int(spread.argmin())}"
        raise DataError(msg)
    return spread

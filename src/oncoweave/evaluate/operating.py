"""Operating points: sensitivity at a fixed specificity and back, with the threshold chosen on training patients.

A patient is called positive where his score is at or above the threshold. Candidate thresholds are the training scores, and
infinity (nobody is called). Where scores are tied no threshold may hit the wanted value exactly, so the rule is stated:
``conservative`` never falls below it on the training patients and among those thresholds takes the best other value;
``empirical`` comes nearest to it on either side, the higher one where two are equally near. On other patients neither is
guaranteed.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from oncoweave.core.errors import DataError
from oncoweave.evaluate.discrimination import Score, as_positive
from oncoweave.evaluate.inputs import finite
from oncoweave.evaluate.pairs import Statistic
from oncoweave.evaluate.weighted import ratio

Rule = Literal["conservative", "empirical"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Threshold:
    """A threshold and what it reached on the training patients it was chosen on."""

    value: float
    """Scores at or above are called positive; infinite where nobody may be called."""
    fixed: str
    """What was held: ``sensitivity`` or ``specificity``."""
    wanted: float
    rule: Rule
    sensitivity: float
    specificity: float
    n: int
    events: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """Sensitivity and specificity on patients at a threshold from elsewhere; NaN with a reason where a class is absent."""

    sensitivity: Score
    specificity: Score
    n: int
    events: int


def threshold_at_specificity(y: np.ndarray, score: np.ndarray, *, specificity: float, rule: Rule = "conservative") -> Threshold:
    """Choose the threshold of a wanted specificity on training patients; its sensitivity is the highest that the rule leaves.

    Raises:
        DataError: training patients of one class, a wanted value outside (0, 1], or NaN.
    """
    return _choose(y, score, "specificity", specificity, rule)


def threshold_at_sensitivity(y: np.ndarray, score: np.ndarray, *, sensitivity: float, rule: Rule = "conservative") -> Threshold:
    """Choose the threshold of a wanted sensitivity on training patients; see :func:`threshold_at_specificity`."""
    return _choose(y, score, "sensitivity", sensitivity, rule)


def operate(y: np.ndarray, score: np.ndarray, threshold: float) -> Operation:
    """Sensitivity and specificity of calling patients whose score is at or above a threshold.

    Raises:
        DataError: a label that is not 0 or 1, or a NaN score.
    """
    positive, score = as_positive(y), finite("score", score, len(y))
    called, events = score >= threshold, int(positive.sum())
    absent = float("nan")
    return Operation(
        sensitivity=Score(called[positive].mean()) if events else Score(absent, f"no positive among {len(y)} patients"),
        specificity=Score((~called[~positive]).mean())
        if events < len(y)
        else Score(absent, f"no negative among {len(y)} patients"),
        n=len(y),
        events=events,
    )


def sensitivity_of(y: np.ndarray, score: np.ndarray, threshold: float) -> Statistic:
    """Sensitivity at a given threshold as a function of row weights."""
    return _share(as_positive(y), score >= threshold)


def specificity_of(y: np.ndarray, score: np.ndarray, threshold: float) -> Statistic:
    """Specificity at a given threshold as a function of row weights."""
    return _share(~as_positive(y), score < threshold)


def _share(of: np.ndarray, right: np.ndarray) -> Statistic:
    top, bottom = (of & right).astype(np.float64), of.astype(np.float64)
    return lambda weights: ratio(weights @ top, weights @ bottom)


def _choose(y: np.ndarray, score: np.ndarray, fixed: str, wanted: float, rule: Rule) -> Threshold:
    positive, score = as_positive(y), finite("score", score, len(y))
    events = int(positive.sum())
    if not 0 < events < len(y) or not 0 < wanted <= 1:
        msg = (
            f"threshold at a {fixed} of {wanted}: wanted a value above 0 and at most 1 and training patients of both classes, got"
            f" {events} positive of {len(y)}"
        )
        raise DataError(msg)
    candidates = np.append(np.unique(score), np.inf)
    missed, spared = (np.searchsorted(np.sort(score[rows]), candidates, side="left") for rows in (positive, ~positive))
    reached = {"sensitivity": (events - missed) / events, "specificity": spared / (len(y) - events)}
    held, other = reached[fixed], reached["specificity" if fixed == "sensitivity" else "sensitivity"]
    distance = np.where(held >= wanted - 1e-12, 0.0, np.inf) if rule == "conservative" else np.abs(held - wanted)
    # The last key decides first: nearest to what is wanted, then (conservative) the best other value, then the higher one held;
    # of two equally near (empirical) the higher one first.
    ties = (-held, -other) if rule == "conservative" else (-other, -held)
    best = int(np.lexsort((*ties, np.round(distance, 12)))[0])
    return Threshold(
        value=float(candidates[best]),
        fixed=fixed,
        wanted=wanted,
        rule=rule,
        sensitivity=float(reached["sensitivity"][best]),
        specificity=float(reached["specificity"][best]),
        n=len(y),
        events=events,
    )

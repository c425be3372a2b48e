"""Make probabilities come true: Platt scaling, isotonic regression, and temperature, fitted on training scores only.

The scores must be ones that the model gave to patients it was not trained on (out of fold). A study recalibrates its models
by slopes that are shrunk towards 1 (:mod:`oncoweave.train.recalibration`), for every endpoint; these are the textbook forms,
which it may be asked for, to rescale a published score and to compare with. Ordering is kept, by isotonic regression up to new
ties.
"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from oncoweave.core.errors import DataError
from oncoweave.evaluate.discrimination import PROBABILITY_FLOOR, as_distribution, as_positive, class_indices
from oncoweave.evaluate.inputs import finite


@dataclass(frozen=True, kw_only=True, slots=True)
class Platt:
    """``expit(intercept + slope * score)``."""

    slope: float
    intercept: float

    def apply(self, score: np.ndarray) -> np.ndarray:
        """Turn scores into probabilities."""
        return special.expit(self.intercept + self.slope * finite("score", score))


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Isotonic:
    """A rising function of the score: straight lines between knots, constant beyond the first and last."""

    scores: np.ndarray
    values: np.ndarray

    def apply(self, score: np.ndarray) -> np.ndarray:
        """Turn scores into probabilities."""
        return np.interp(finite("score", score), self.scores, self.values)


@dataclass(frozen=True, kw_only=True, slots=True)
class Temperature:
    """Log-probabilities of classes divided by ``value``: above 1 softens an overconfident model."""

    value: float

    def apply(self, probability: np.ndarray) -> np.ndarray:
        """Rescale ``Float[n, class]``; the most probable class stays so."""
        probability = as_distribution(probability, len(probability))
        return special.softmax(np.log(probability.clip(PROBABILITY_FLOOR, 1)) / self.value, axis=1)


def fit_platt(y: np.ndarray, score: np.ndarray) -> Platt:
    """Platt scaling (1999) of any score: logistic regression on targets pulled in, (N+ + 1) / (N+ + 2) and 1 / (N- + 2).

    The targets keep the slope finite where the score separates the classes.

    Raises:
        DataError: one class only, a score that does not vary, or NaN.
    """
    positive, score = as_positive(y), finite("score", score, len(y))
    _both_classes("Platt scaling", positive, score)
    num_positive, num_negative = int(positive.sum()), int((~positive).sum())
    target = np.where(positive, (num_positive + 1) / (num_positive + 2), 1 / (num_negative + 2))
    centre, unit = float(score.mean()), float(score.std())
    design = np.stack([np.ones(len(score)), (score - centre) / unit], axis=1)

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        eta = design @ theta
        return float(np.logaddexp(0, eta).sum() - target @ eta), design.T @ (special.expit(eta) - target)

    found = optimize.minimize(
        loss, np.array([special.logit(target.mean()), 0.0]), jac=True, method="BFGS", options={"gtol": 1e-8}
    )
    slope = float(found.x[1]) / unit
    return Platt(slope=slope, intercept=float(found.x[0]) - slope * centre)


def fit_isotonic(y: np.ndarray, score: np.ndarray) -> Isotonic:
    """Isotonic regression of a 0/1 outcome on any score (Zadrozny and Elkan 2002; pool adjacent violators).

    Raises:
        DataError: one class only, a score that does not vary, or NaN.
    """
    positive, score = as_positive(y), finite("score", score, len(y))
    _both_classes("isotonic regression", positive, score)
    scores, at = np.unique(score, return_inverse=True)
    size = np.bincount(at).astype(np.float64)
    fitted = optimize.isotonic_regression(np.bincount(at, weights=positive) / size, weights=size)
    return Isotonic(scores=scores, values=fitted.x)


def fit_temperature(y: np.ndarray, probability: np.ndarray) -> Temperature:
    """Temperature of class probabilities that has the least log loss (Guo et al. 2017), between 0.01 and 100.

    Args:
        y: ``[n]`` class indices.
        probability: ``[n, class]``, or ``[n]`` of class 1.

    Raises:
        DataError: no patient, a class index outside the columns, or something that is not a probability.
    """
    probability = as_distribution(probability, len(y))
    index = class_indices("y", y, probability.shape[1])
    logs = np.log(probability.clip(PROBABILITY_FLOOR, 1))

    def loss(log_temperature: float) -> float:
        scaled = special.log_softmax(logs * np.exp(-log_temperature), axis=1)
        return -float(scaled[np.arange(len(index)), index].mean())

    found = optimize.minimize_scalar(loss, bounds=(np.log(0.01), np.log(100.0)), method="bounded", options={"xatol": 1e-8})
    return Temperature(value=float(np.exp(found.x)))


def _both_classes(name: str, positive: np.ndarray, score: np.ndarray) -> None:
    if positive.all() or not positive.any() or np.ptp(score) == 0:
        events = int(positive.sum())
        msg = f"{name}: wanted both classes and scores that vary, got {events} positive of {len(positive)} training patients"
        raise DataError(msg)

"""Recalibration: stretch and shift a model's scores so that they come true on patients it was not trained on.

A model's scores for its own training rows are too extreme by as much as it overfits. One slope, and where the endpoint has one an
intercept a column, fitted on out-of-fold scores, undo that (Cox 1958; van Houwelingen & Le Cessie, Stat Med 9:1303, 1990). The
slope has a normal prior about 1, so that few patients leave the scores as they are, and stays positive: the order of the patients
by one score never changes. Works on the scale of the linear predictor: log-risk, logit, log-probability, or value.

A study may ask for a textbook form instead (``evaluate.rescale``): Platt scaling of the logit or isotonic regression of a
yes-or-no outcome, or a temperature of classes. They shrink nothing, so that they want some hundred patients.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import expit, logit, softmax

from oncoweave.core.endpoint import Target
from oncoweave.core.errors import ConfigError
from oncoweave.evaluate.likelihoods import GaussianLikelihood, Likelihood, SoftmaxLikelihood, cox_likelihood
from oncoweave.evaluate.rescale import Isotonic, Platt, Temperature, fit_isotonic, fit_platt, fit_temperature

How = Literal["shrunken", "platt", "isotonic", "temperature"]
_SERVES = {"platt": ("binary",), "isotonic": ("binary",), "temperature": ("binary", "multiclass", "ordinal")}
"""Kinds of endpoint of the textbook forms; the shrunken one serves all."""
_SLOPE_SD = 0.5
_INTERCEPT_SD = 0.3
"""Held-out rows of a network may be of one hospital, whose level is not that of the others."""
_LEAST_SLOPE = 0.01
"""Where out-of-fold scores point the wrong way, everybody gets nearly the average."""
_CLIP = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Recalibration:
    """``centre + intercept + slope * (predictor - centre)``, on the scale of the linear predictor."""

    kind: str
    """Kind of the endpoint."""
    centre: np.ndarray
    """``[c]``: mean predictor of the training rows out of fold."""
    slope: np.ndarray
    """``[1]``, or one a label."""
    intercept: np.ndarray
    """``[c]``; 0 for survival, whose baseline hazard takes it up."""

    def apply(self, scores: np.ndarray) -> np.ndarray:
        """Recalibrate ``[n, c]``; NaN rows stay NaN."""
        moved = self.centre + self.intercept + self.slope * (_predictor(scores, self.kind) - self.centre)
        if self.kind in ("survival", "regression"):
            return moved
        return softmax(moved, axis=1) if self.kind in ("multiclass", "ordinal") else expit(moved)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Rescaling:
    """A textbook form, of probabilities."""

    by: Platt | Isotonic | Temperature

    def apply(self, scores: np.ndarray) -> np.ndarray:
        """Recalibrate ``[n, c]``; NaN rows stay NaN."""
        moved, rows = np.full(np.shape(scores), np.nan), ~np.isnan(scores).any(axis=1)
        known = scores[rows]
        if isinstance(self.by, Temperature):
            moved[rows] = self.by.apply(_as_classes(known))[:, -known.shape[1] :]
        else:
            moved[rows, 0] = self.by.apply(_predictor(known[:, 0], "binary") if isinstance(self.by, Platt) else known[:, 0])
        return moved


def check_recalibration(how: How, kind: str) -> None:
    """Refuse a textbook form of an endpoint that has no such probabilities."""
    if kind not in _SERVES.get(how, (kind,)):
        msg = f"recalibration: {how} serves {' and '.join(_SERVES[how])} endpoints, not a {kind} one; leave it at shrunken"
        raise ConfigError(msg)


def fit_recalibration(scores: np.ndarray, target: Target, *, how: How = "shrunken") -> Recalibration | Rescaling:
    """Fit on out-of-fold scores ``[n, c]``; rows that are NaN or whose outcome is not known are left out.

    Raises:
        ConfigError: a textbook form of an endpoint that it does not serve.
        DataError: a textbook form, and patients of one class or scores that do not vary.
    """
    check_recalibration(how, target.endpoint.kind)
    return _shrunken(scores, target) if how == "shrunken" else _textbook(scores, target, how)


def _textbook(scores: np.ndarray, target: Target, how: How) -> Rescaling:
    known = ~np.isnan(scores).any(axis=1) & target.known
    y, scores = target.values[known], scores[known]
    if how == "temperature":
        return Rescaling(by=fit_temperature(y, _as_classes(scores)))
    return Rescaling(by=fit_platt(y, _predictor(scores[:, 0], "binary")) if how == "platt" else fit_isotonic(y, scores[:, 0]))


def _as_classes(scores: np.ndarray) -> np.ndarray:
    return np.hstack([1 - scores, scores]) if scores.shape[1] == 1 else scores


def _shrunken(scores: np.ndarray, target: Target) -> Recalibration:
    kind = target.endpoint.kind
    predictor = _predictor(scores, kind)
    rows = ~np.isnan(predictor)
    counted = np.where(rows, predictor, 0.0).sum(axis=0)
    centre = counted / np.maximum(rows.sum(axis=0), 1)
    slopes, intercept = [], np.zeros(len(centre))
    for likelihood, used, columns in _outcomes(target, rows):
        slope, shift = _solve(likelihood, predictor[used, columns], centre[columns])
        slopes.append(slope)
        intercept[columns] += shift
    return Recalibration(kind=kind, centre=centre, slope=np.array(slopes), intercept=intercept)


def _predictor(scores: np.ndarray, kind: str) -> np.ndarray:
    if kind in ("survival", "regression"):
        return scores
    clipped = np.clip(scores, _CLIP, 1 - _CLIP)
    return np.log(clipped) if kind in ("multiclass", "ordinal") else logit(clipped)


def _outcomes(target: Target, rows: np.ndarray) -> Iterator[tuple[Likelihood, np.ndarray, slice]]:
    """Yield the likelihoods, each with its rows (``Bool[n]``) and columns: one, or one a label."""
    kind, known = target.endpoint.kind, rows.all(axis=1) & target.known
    every = slice(None)
    if kind == "multilabel":
        for label in range(rows.shape[1]):
            used = rows[:, label] & ~np.isnan(target.values[:, label])
            yield _classes(target.values[used, label], 2), used, slice(label, label + 1)
    elif kind == "survival":
        yield cox_likelihood(target.time[known], target.event[known]), known, every
    elif kind == "regression":
        yield GaussianLikelihood(values=target.values[known]), known, every
    else:
        yield _classes(target.values[known], 2 if kind == "binary" else len(target.endpoint.classes)), known, every


def _classes(values: np.ndarray, num_classes: int) -> SoftmaxLikelihood:
    return SoftmaxLikelihood(one_hot=np.eye(num_classes)[values.astype(int)])


def _solve(likelihood: Likelihood, predictor: np.ndarray, centre: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the slope and the shift of each column, by Newton's method from slope 1 and shift 0."""
    offset, spread = centre, predictor - centre
    if likelihood.num_columns < predictor.shape[1]:  # two named classes: the logistic likelihood takes their difference
        offset, spread = np.diff(offset), np.diff(spread, axis=1)
    unit = 1.0
    if isinstance(likelihood, GaussianLikelihood):  # its errors are taken to have variance 1
        unit = float(likelihood.values.std()) or 1.0
        likelihood = GaussianLikelihood(values=likelihood.values / unit)
    offset, spread = offset / unit, spread / unit
    features = [spread] + [np.tile(one, (len(spread), 1)) for one in np.eye(likelihood.num_columns)] * likelihood.has_intercept
    precision = np.array([_SLOPE_SD**-2] + [_INTERCEPT_SD**-2] * (len(features) - 1))
    start = np.array([1.0] + [0.0] * (len(features) - 1))
    theta = start.copy()
    for _ in range(50):
        eta = offset + np.tensordot(theta, features, axes=1)
        residual = likelihood.gradient(eta)
        gradient = np.array([float((f * residual).sum()) for f in features]) - precision * (theta - start)
        curved = [likelihood.curvature(eta, f) for f in features]
        information = np.array([[float((f * c).sum()) for c in curved] for f in features]) + np.diag(precision)
        step = np.linalg.solve(information, gradient)
        theta = theta + step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-8:
            break
    shift = np.zeros(predictor.shape[1])
    if likelihood.has_intercept:
        # half to each of two named classes, which are fitted on their difference
        shift = theta[1:] * unit if len(theta) - 1 == len(shift) else np.array([-0.5, 0.5]) * theta[1]
    return max(float(theta[0]), _LEAST_SLOPE), shift

"""Calibration errors as functions of patient weights: expected calibration error and integrated calibration index.

Both are mean distances and so grow with the luck of few patients. Part of that luck, its standard error under the weights, is
subtracted: at perfect calibration 41 % of it, far from calibration all. Weights of a replicate raise the standard error by the
root of two, which is what resampling adds; still replicates lie above the value where distances are small, so that no interval
can be read from them: see ``calibration_interval``, which simulates the plain distances (:class:`Distance`).
Bins and knots are those of all rows. Patients of one repeat are taken together, and repeats averaged: rows of a patient in
several repeats are no independent evidence.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from oncoweave.evaluate.calibration import CLIP, bin_by_mass, excess_distance, spline
from oncoweave.evaluate.pairs import Statistic, rows_by_stratum
from oncoweave.evaluate.weighted import MeanOver, on_rows, ratio

_CELLS = 200
_STEPS = 10
_CONVERGED = 1e-3
"""Largest change of a logit in the last Newton step."""
_LONGEST = 4.0
"""Longest Newton step, in logits."""
_FURTHEST = 15.0
"""Logits beyond this are as good as certain."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Distance:
    """How far predictions lie from outcomes that may be others than those observed: a calibration error with all its luck."""

    y: np.ndarray
    probability: np.ndarray
    shift: np.ndarray
    """``Float[row]``: what is observed of patients like the row's, less their prediction."""
    of: Callable[[np.ndarray], np.ndarray]
    """From outcomes ``Float32[sample, row]`` to the distance in each sample; NaN where it is not defined."""
    true: Callable[[np.ndarray], float]
    """The distance itself, were the outcomes drawn with probabilities ``Float[row]``."""


def expected_error(y: np.ndarray, probability: np.ndarray, repeats: np.ndarray, *, bins: int = 10) -> Statistic:
    """Debiased expected calibration error of probabilities of a 0/1 outcome, bins of equal size; never below 0.

    At equal weights it is ``reliability(...).debiased_error`` averaged over ``repeats``.
    """
    parts = [on_rows(_binned(y[rows], probability[rows], bins), rows) for rows in rows_by_stratum(repeats)]
    return MeanOver(parts)


def calibration_index(y: np.ndarray, probability: np.ndarray, repeats: np.ndarray) -> Statistic:
    """Debiased integrated calibration index of probabilities of a 0/1 outcome; never below 0.

    The smooth curve is a logistic regression on a restricted cubic spline of the logit with three knots. NaN where under the
    weights a class is absent or the curve separates the classes. More than 400 patients are put into cells of neighbouring
    predictions, 200 or more, at the mean prediction of each.
    """
    parts = [on_rows(_smoothed(y[rows], probability[rows]), rows) for rows in rows_by_stratum(repeats)]
    return MeanOver(parts)


def binned_distance(y: np.ndarray, probability: np.ndarray, repeats: np.ndarray, *, bins: int = 10) -> Distance:
    """Distance of :func:`expected_error` without its correction: of bins of equal size, averaged over repeats."""
    parts = [(rows, np.eye(bins, dtype=np.float32)[bin_by_mass(probability[rows], bins)[0]]) for rows in rows_by_stratum(repeats)]
    shift = np.empty(len(y))
    for rows, member in parts:
        shift[rows] = member @ ratio((y - probability)[rows] @ member, member.sum(axis=0), undefined=0.0)

    def of(outcomes: np.ndarray) -> np.ndarray:
        each = [np.abs((outcomes[:, rows] - probability[rows]) @ member).sum(axis=1) / len(rows) for rows, member in parts]
        return np.mean(each, axis=0)

    return Distance(y=y, probability=probability, shift=shift, of=of, true=lambda chance: float(of(chance[None])[0]))


def smooth_distance(y: np.ndarray, probability: np.ndarray, repeats: np.ndarray) -> Distance:
    """Distance of :func:`calibration_index` without its correction: to the smooth curve of each repeat, averaged."""
    parts = [(rows, _cells(y[rows], probability[rows])) for rows in rows_by_stratum(repeats)]
    shift = np.empty(len(y))
    for rows, cells in parts:
        curve = np.repeat(cells.curve.at(cells.beta[None])[0] - cells.predicted, cells.size)
        shift[rows[cells.order]] = curve

    def of(outcomes: np.ndarray) -> np.ndarray:
        return np.mean([cells.distances(outcomes[:, rows]) for rows, cells in parts], axis=0)

    def true(chance: np.ndarray) -> float:
        return float(np.mean([np.abs(chance - probability)[rows].mean() for rows, _ in parts]))

    return Distance(y=y, probability=probability, shift=shift, of=of, true=true)


def _binned(y: np.ndarray, probability: np.ndarray, bins: int) -> Statistic:
    member = np.eye(bins)[bin_by_mass(probability, bins)[0]]
    gap, positive = member * (y - probability)[:, None], member * y[:, None]

    def statistic(weights: np.ndarray) -> np.ndarray:
        size = weights @ member
        observed = ratio(weights @ positive, size, undefined=0.0)
        # Of n copies of fewer patients only (sum w)^2 / (sum w^2) are independent.
        error = np.sqrt(observed * (1 - observed) * ratio((weights * weights) @ member, size * size, undefined=0.0))
        excess = excess_distance(ratio(weights @ gap, size, undefined=0.0), error)
        return ratio((size * excess).sum(axis=1), size.sum(axis=1)).clip(0.0)

    return statistic


def _smoothed(y: np.ndarray, probability: np.ndarray) -> Statistic:
    cells = _cells(y, probability)
    curve, order, starts, happened = cells.curve, cells.order, cells.starts, y[cells.order].astype(np.float32)

    def statistic(weights: np.ndarray) -> np.ndarray:
        local = np.take(weights, order, axis=1).astype(np.float32, copy=False)
        total, events = (np.add.reduceat(values, starts, axis=1) for values in (local, local * happened))
        squares, of_events = (np.add.reduceat(values, starts, axis=1) for values in (local**2, local**2 * happened))
        found, converged = curve.fit(total, events, np.tile(cells.beta, (len(weights), 1)))
        fitted = curve.at(found)
        slope = fitted * (1 - fitted)
        inverse = np.linalg.inv(curve.information(total * slope))
        spread = inverse @ curve.information(of_events * (1 - fitted) ** 2 + (squares - of_events) * fitted**2) @ inverse
        variance = spread.reshape(len(weights), -1).astype(np.float32) @ curve.products.T
        excess = excess_distance(fitted - cells.predicted, slope * np.sqrt(variance.clip(0.0)))
        value = ratio(np.einsum("bn,bn->b", total, excess), total.sum(axis=1, dtype=np.float64)).clip(0.0)
        return np.where(converged, value, np.nan)

    return statistic


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _Cells:
    """Patients in order of prediction, neighbours in one cell where they are many, and the curve through all of them."""

    order: np.ndarray
    starts: np.ndarray
    size: np.ndarray
    predicted: np.ndarray
    curve: "_Curve"
    beta: np.ndarray

    def distances(self, outcomes: np.ndarray) -> np.ndarray:
        events = np.add.reduceat(np.take(outcomes, self.order, axis=1), self.starts, axis=1)
        total = np.tile(self.size.astype(np.float32), (len(outcomes), 1))
        found, converged = self.curve.fit(total, events, np.tile(self.beta, (len(outcomes), 1)))
        return np.where(converged, np.abs(self.curve.at(found) - self.predicted) @ self.size / self.size.sum(), np.nan)


def _cells(y: np.ndarray, probability: np.ndarray) -> _Cells:
    order = np.argsort(probability, kind="stable")
    starts = np.unique(np.searchsorted(probability[order], probability[order][:: max(1, len(y) // _CELLS)], side="left"))
    size = np.diff(np.append(starts, len(y)))
    predicted = np.add.reduceat(probability[order], starts) / size
    curve = _curve(special.logit(predicted.clip(CLIP, 1 - CLIP)), size)
    events = np.add.reduceat(y[order].astype(np.float32), starts)[None]
    beta = curve.fit(size[None].astype(np.float32), events, np.zeros((1, curve.width)))[0][0]
    return _Cells(order=order, starts=starts, size=size, predicted=predicted, curve=curve, beta=beta)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _Curve:
    """A logistic regression on a spline, fitted for many rows of weights at once; float32 is enough for a curve to look at."""

    design: np.ndarray
    products: np.ndarray

    @property
    def width(self) -> int:
        return self.design.shape[1]

    def at(self, beta: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-(beta.astype(np.float32) @ self.design.T).clip(-_FURTHEST, _FURTHEST)))

    def information(self, weights: np.ndarray) -> np.ndarray:
        """Sum of weighted outer products of the rows of the design, nearly singular ones held up by a trace of a ridge."""
        return (weights @ self.products).astype(np.float64).reshape(-1, self.width, self.width) + 1e-6 * np.eye(self.width)

    def fit(self, total: np.ndarray, events: np.ndarray, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Newton's method from ``beta`` for weights and events in each cell; also says which rows converged."""
        furthest, move = np.abs(self.design).max(axis=0), np.full(len(total), np.inf)
        for _ in range(_STEPS):
            fitted = self.at(beta)
            gradient = (events - total * fitted) @ self.design
            step = np.linalg.solve(self.information(total * fitted * (1 - fitted)), gradient[:, :, None].astype(np.float64))
            move = np.abs(step[:, :, 0]) @ furthest
            beta = beta + step[:, :, 0] / np.maximum(1.0, move / _LONGEST)[:, None]
            if (move < _CONVERGED).all():
                break
        return beta, move < _CONVERGED


def _curve(logit: np.ndarray, size: np.ndarray) -> _Curve:
    columns = spline(np.repeat(logit, size))[np.cumsum(size) - 1]
    columns = columns[:, np.ptp(columns, axis=0) > 0]
    columns = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    if columns.shape[1] > 1:  # the curved part is nearly a line; what it adds to the line keeps float32 exact
        rest = columns[:, 1] - columns[:, 0] * (columns[:, 0] @ columns[:, 1]) / len(logit)
        columns[:, 1] = rest / (rest.std() or 1.0)
    design = np.column_stack([np.ones(len(logit)), columns])
    products = (design[:, :, None] * design[:, None, :]).reshape(len(logit), -1)
    return _Curve(design=design.astype(np.float32), products=products.astype(np.float32))

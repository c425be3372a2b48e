"""Scores as probabilities of what may come true, and back: the scale on which fusions of decisions, beliefs and variances work.

An endpoint asks one question, multilabel one a label. A question has exclusive answers ("hypotheses"): the classes; no or yes; of
survival, no event or an event by a horizon (the median time of the training events); of regression, a value below or above the
training median.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from oncoweave.core.endpoint import Target
from oncoweave.core.errors import DataError
from oncoweave.evaluate.censoring import fit_censoring
from oncoweave.evaluate.concordance import inverse_weights
from oncoweave.evaluate.curves import BaselineHazard, baselines_of_columns, breslow_baseline

_FLOOR = 1e-6
"""Probabilities nearer than this to 0 or 1 are moved there: no single model may veto all others."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Hypotheses:
    """What is needed to turn scores of each modality into probabilities ``[n, m, question, hypothesis]``, and back."""

    kind: str
    prior: np.ndarray
    """``[question, hypothesis]``: frequencies among the training patients."""
    origin: np.ndarray
    """``[m]``. Survival: the mean training log-risk. Regression: the training median. Else 0."""
    unit: np.ndarray
    """``[m]``. Survival: log cumulative baseline hazard at the horizon. Regression: root mean squared error. Else 1."""
    halves: tuple[float, float] = (0.0, 1.0)
    """Regression: mean training value below and above the median."""
    horizon: float = float("nan")
    """Survival: in the endpoint's unit."""

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Turn scores ``[n, m, c]`` into probabilities; NaN stays NaN."""
        if self.kind in ("multiclass", "ordinal"):
            floored = np.maximum(scores, _FLOOR)
            return (floored / floored.sum(axis=2, keepdims=True))[:, :, None, :]
        yes = scores
        if self.kind == "survival":
            with np.errstate(over="ignore"):
                yes = -np.expm1(-np.exp(scores - self.origin[:, None] + self.unit[:, None]))
        elif self.kind == "regression":
            yes = ndtr((scores - self.origin[:, None]) / self.unit[:, None])
        yes = np.clip(yes, _FLOOR, 1 - _FLOOR)
        return np.stack([1 - yes, yes], axis=3)

    def scores(self, probabilities: np.ndarray) -> np.ndarray:
        """Turn pooled probabilities ``[n, question, hypothesis]`` into scores ``[n, c]``.

        Survival: the log-risk at which a proportional hazard from the training average gives that probability by the horizon.
        Regression: the mean of the two halves, weighted.
        """
        if self.kind in ("multiclass", "ordinal"):
            return probabilities[:, 0]
        yes = probabilities[:, :, 1]
        if self.kind == "survival":
            average = np.clip(self.prior[0, 1], _FLOOR, 1 - _FLOOR)
            return np.log(-np.log1p(-np.clip(yes, _FLOOR, 1 - _FLOOR))) - np.log(-np.log1p(-average))
        return self.halves[0] + (self.halves[1] - self.halves[0]) * yes if self.kind == "regression" else yes

    def truth(self, target: Target) -> tuple[np.ndarray, np.ndarray]:
        """Say what came true, ``[n, question, hypothesis]`` of 0 and 1, and with what weight it counts, ``[n, question]``.

        Unknown outcomes weigh 0. A patient censored by the horizon weighs 0 and those known stand for him: their weight is the
        inverse of the chance of being followed that long (Graf et al. 1999).
        """
        known, values = target.known, target.values
        if self.kind in ("multiclass", "ordinal"):
            return np.eye(self.prior.shape[1])[np.where(known, values, 0).astype(int)][:, None], known[:, None].astype(float)
        if self.kind == "survival":
            time, event = np.where(known, target.time, 0.0), known & target.event
            censoring = fit_censoring(time[known], event[known])
            yes, beyond = event & (time <= self.horizon), known & (time > self.horizon)
            weight = np.where(yes, inverse_weights(censoring.at(time)), 0.0)
            weight = np.where(beyond, inverse_weights(censoring.at(np.array([self.horizon]))), weight)[:, None]
            yes = yes[:, None]
        else:
            columns = values.reshape(len(values), -1)
            yes, weight = columns > (self.origin[0] if self.kind == "regression" else 0.5), (~np.isnan(columns)).astype(float)
        return np.stack([~yes, yes], axis=2).astype(float), weight

    def columns(self, answers: np.ndarray) -> np.ndarray:
        """Keep what stands for a column of scores, ``[..., c]`` of ``[..., question, hypothesis]``: each class, or the yes."""
        return answers[..., 0, :] if self.kind in ("multiclass", "ordinal") else answers[..., 1]

    def answers(self, columns: np.ndarray) -> np.ndarray:
        """Undo :meth:`columns`, of probabilities ``[n, c]``; those of classes are made to sum to one."""
        if self.kind in ("multiclass", "ordinal"):
            total = columns.sum(axis=1, keepdims=True)
            return np.divide(columns, total, out=np.full_like(columns, 1.0 / columns.shape[1]), where=total > 0)[:, None]
        return np.stack([1 - columns, columns], axis=2)


def fit_hypotheses(scores: np.ndarray, target: Target) -> Hypotheses:
    """Take frequencies, horizon, baseline hazards and errors from out-of-fold scores ``[n, m, c]`` of the training patients.

    Raises:
        DataError: survival without any event.
    """
    kind, num, known = target.endpoint.kind, scores.shape[1], target.known
    zeros, ones = np.zeros(num), np.ones(num)
    if kind == "survival":
        return _of_survival(scores, target)
    if kind in ("multiclass", "ordinal"):
        counts = np.bincount(target.values[known].astype(int), minlength=scores.shape[2]) + 0.5
        return Hypotheses(kind=kind, prior=counts[None] / counts.sum(), origin=zeros, unit=ones)
    values = target.values.reshape(len(target), -1)
    if kind == "regression":
        return _of_values(scores[:, :, 0], values[:, 0])
    rate = (np.nansum(values, axis=0) + 0.5) / ((~np.isnan(values)).sum(axis=0) + 1.0)
    return Hypotheses(kind=kind, prior=np.stack([1 - rate, rate], axis=1), origin=zeros, unit=ones)


def _of_values(scores: np.ndarray, values: np.ndarray) -> Hypotheses:
    known = ~np.isnan(values)
    middle = float(np.median(values[known]))
    above = values > middle
    low, high = (float(values[rows].mean()) if rows.any() else middle for rows in (known & ~above, above))
    spread = float(values[known].std()) or 1.0
    unit = np.full(scores.shape[1], spread)
    for m, column in enumerate(scores.T):
        rows = known & ~np.isnan(column)
        if rows.any():
            unit[m] = max(float(np.sqrt(np.mean((values[rows] - column[rows]) ** 2))), 1e-3 * spread)
    rate = (above.sum() + 0.5) / (known.sum() + 1.0)
    return Hypotheses(
        kind="regression",
        prior=np.array([[1 - rate, rate]]),
        origin=np.full(scores.shape[1], middle),
        unit=unit,
        halves=(low, high),
    )


def _of_survival(scores: np.ndarray, target: Target) -> Hypotheses:
    known = target.known
    time, event = target.time[known], target.event[known]
    if not event.any():
        msg = (
            f"wanted at least one event among {len(time)} patients with a known outcome, got none; no risk can be told from that"
        )
        raise DataError(msg)
    horizon = float(np.median(time[event]))
    log_hazard = _log_hazard(breslow_baseline(time, event, np.zeros(len(time))), horizon)
    origin, baselines = baselines_of_columns(time, event, scores[known, :, 0])
    unit = np.full(scores.shape[1], log_hazard)
    for m, own in enumerate(baselines):
        if own is not None and own.times[0] <= horizon:
            unit[m] = _log_hazard(own, horizon)
    rate = -np.expm1(-np.exp(log_hazard))
    return Hypotheses(kind="survival", prior=np.array([[1 - rate, rate]]), origin=origin, unit=unit, horizon=horizon)


def _log_hazard(baseline: BaselineHazard, horizon: float) -> float:
    return float(np.log(baseline.cumulative_hazard[np.searchsorted(baseline.times, horizon, side="right") - 1]))


def decision_cutoffs(columns: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Cut-offs ``[m, c]`` above which as many training patients are called positive as are, by each modality and column alone.

    Args:
        columns: ``[n, m, c]`` training probabilities; NaN is an absent modality.
        rates: ``[c]`` how often each column came true.
    """
    result = np.full(columns.shape[1:], 0.5)
    for m in range(columns.shape[1]):
        has = ~np.isnan(columns[:, m]).any(axis=1)
        if has.any():
            result[m] = [np.quantile(columns[has, m, c], 1 - rate) for c, rate in enumerate(rates)]
    return result

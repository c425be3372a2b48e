"""Mean weighted by 1 / variance: of each prediction, by what it says of itself and by how true that was in training."""

from dataclasses import dataclass

import numpy as np

from oncoweave.core.endpoint import Target
from oncoweave.evaluate.hypotheses import Hypotheses, fit_hypotheses
from oncoweave.nn.availability import present_scores

STAGE = "late"

_LEAST = 0.01
"""A modality's errors are never taken for less than this share of what it announces: few training patients may flatter it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """There is nothing to choose."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Fitted:
    """Probabilities p announce an error of 1 - sum p^2 (for two classes, twice p (1 - p)), patient by patient.

    The announced error is multiplied by the modality's out-of-fold Brier score over the mean of what it announced: above 1 where
    it is too sure. Survival is averaged as the probability of an event by the median time of the training events, weighted for
    censoring. A regression value announces nothing: its variance is the modality's out-of-fold mean squared error.
    For two classes the odds of the mean are sum_m a_m / (1 - p_m) over sum_m a_m / p_m, which rise with every p_m.
    """

    hypotheses: Hypotheses
    factor: np.ndarray
    """``[m, question]``: observed over announced error; regression, the mean squared error."""

    def combine(self, scores: np.ndarray) -> np.ndarray:
        """Average ``[n, m, c]`` to ``[n, c]``; NaN is an absent modality."""
        columns = len(self.hypotheses.columns(self.hypotheses.prior))
        present = present_scores(scores, (len(self.factor), columns))
        if self.hypotheses.kind == "regression":
            return _mean(scores, np.where(present[:, :, None], 1.0 / self.factor, 0.0))
        p = self.hypotheses.probabilities(scores)
        weight = np.where(present[:, :, None], 1.0 / (self.factor * _announced(np.where(np.isnan(p), 0.5, p))), 0.0)
        return self.hypotheses.scores(_mean(p, weight[..., None]))


def _announced(p: np.ndarray) -> np.ndarray:
    return np.maximum(1.0 - (p**2).sum(axis=-1), 1e-9)


def _mean(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return (np.nan_to_num(values) * weight).sum(axis=1) / weight.sum(axis=1)


def fit(scores: np.ndarray, target: Target, config: Config) -> Fitted:
    """Compare announced with observed errors on out-of-fold scores ``[n, m, c]`` of the training patients."""
    present = present_scores(scores)
    hypotheses = fit_hypotheses(scores, target)
    if hypotheses.kind == "regression":
        return Fitted(hypotheses=hypotheses, factor=hypotheses.unit[:, None] ** 2)
    p = hypotheses.probabilities(scores)
    truth, weight = hypotheses.truth(target)
    counted = present[:, :, None] * weight[:, None]
    p = np.where(np.isnan(p), 0.5, p)
    observed = (counted * ((truth[:, None] - p) ** 2).sum(axis=3)).sum(axis=0)
    announced = (counted * _announced(p)).sum(axis=0)
    factor = np.divide(observed, announced, out=np.ones_like(observed), where=announced > 0)
    return Fitted(hypotheses=hypotheses, factor=np.maximum(factor, _LEAST))

"""Mean of the scores of the modalities present."""

from dataclasses import dataclass

import numpy as np

from oncoweave.core.endpoint import Target
from oncoweave.nn.availability import present_scores, weighted_mean
from oncoweave.nn.late_rules import log_risk_origin

STAGE = "late"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """There is nothing to choose."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Fitted:
    """Probabilities and values are averaged as they are, log-risks from a common origin."""

    origin: np.ndarray
    """``[m, c]``: survival, the training mean of each modality's log-risk, whose origin is arbitrary; else zeros."""

    def combine(self, scores: np.ndarray) -> np.ndarray:
        """Average ``[n, m, c]`` to ``[n, c]``; NaN is an absent modality."""
        present_scores(scores, self.origin.shape)
        return weighted_mean(scores - self.origin, np.ones(len(self.origin)))


def fit(scores: np.ndarray, target: Target, config: Config) -> Fitted:
    """Take the origins from out-of-fold scores ``[n, m, c]`` of the training patients."""
    return Fitted(origin=log_risk_origin(scores, target))

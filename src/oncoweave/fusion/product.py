"""Bayesian pooling: the evidence of the modalities present is added, what was known before is counted once."""

from dataclasses import dataclass

import numpy as np

from oncoweave.core.endpoint import Target
from oncoweave.nn.availability import present_scores
from oncoweave.nn.evidence import EvidenceScale, evidence_scale

STAGE = "late"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """There is nothing to choose."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Fitted:
    """Exact where modalities are independent given the outcome; overconfident where they tell the same.

    Probabilities: P(y | x_1..x_M) ~ prod_m P(y | x_m) / P(y)^(M-1). Survival: hazard ratios against the average patient multiply.
    Regression: Gaussian posteriors multiply, each modality's variance being its out-of-fold mean squared error, no larger than
    that of the training mean.
    """

    scale: EvidenceScale
    precision: np.ndarray
    """``[m]``: regression, precision of each modality's value relative to the training mean's, at least 1; else ones."""

    def combine(self, scores: np.ndarray) -> np.ndarray:
        """Pool ``[n, m, c]`` to ``[n, c]``; NaN is an absent modality."""
        present = present_scores(scores, self.scale.base.shape)
        evidence = np.nan_to_num(self.scale.evidence(scores)) * self.precision[:, None]
        pooled = evidence.sum(axis=1)
        if self.scale.kind == "regression":
            # precisions add, less the prior's for every modality but the first
            pooled = pooled / (1.0 + (present * (self.precision - 1.0)).sum(axis=1, keepdims=True))
        return self.scale.scores(pooled)


def fit(scores: np.ndarray, target: Target, config: Config) -> Fitted:
    """Take the prior, and for regression the errors, from out-of-fold scores ``[n, m, c]`` of the training patients."""
    present = present_scores(scores)
    precision = np.ones(scores.shape[1])
    if target.endpoint.kind == "regression":
        for m, has in enumerate(present.T):
            rows = has & target.known
            if rows.sum() > 1:
                error = np.mean((target.values[rows] - scores[rows, m, 0]) ** 2)
                precision[m] = max(1.0, np.nanvar(target.values) / max(error, 1e-6 * np.nanvar(target.values)))
    return Fitted(scale=evidence_scale(scores, target), precision=precision)

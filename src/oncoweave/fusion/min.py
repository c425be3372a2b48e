"""The lowest of the scores of the modalities present: all have to agree before risk is called high."""

from dataclasses import dataclass

import numpy as np

from oncoweave.core.endpoint import Target
from oncoweave.nn.availability import present_scores
from oncoweave.nn.evidence import evidence_scale

STAGE = "late"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """There is nothing to choose."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Fitted:
    """Log-risks are taken from a common origin; class probabilities are made to sum to one again (Kittler et al. 1998, eq. 16).

    The more modalities a patient has, the lower the lowest is by chance: compare patients with the same ones.
    """

    origin: np.ndarray
    """``[m, c]``: survival, the training mean of each modality's log-risk; else zeros."""
    sums_to_one: bool

    def combine(self, scores: np.ndarray) -> np.ndarray:
        """Take the lowest of ``[n, m, c]``, ``[n, c]``; NaN is an absent modality."""
        present_scores(scores, self.origin.shape)
        lowest = np.nanmin(scores - self.origin, axis=1)
        return _normalised(lowest) if self.sums_to_one else lowest


def _normalised(p: np.ndarray) -> np.ndarray:
    total = p.sum(axis=1, keepdims=True)
    # where each class is ruled out by somebody nothing is known
    return np.divide(p, total, out=np.full_like(p, 1.0 / p.shape[1]), where=total > 0)


def fit(scores: np.ndarray, target: Target, config: Config) -> Fitted:
    """Take the origins from out-of-fold scores ``[n, m, c]`` of the training patients."""
    present_scores(scores)
    kind = target.endpoint.kind
    origin = evidence_scale(scores, target).base if kind == "survival" else np.zeros(scores.shape[1:])
    return Fitted(origin=origin, sums_to_one=kind in ("multiclass", "ordinal"))

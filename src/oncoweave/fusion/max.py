"""The highest of the scores of the modalities present: one that sounds the alarm is believed."""

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
    """Log-risks are taken from a common origin; class probabilities are made to sum to one again (Kittler et al. 1998, eq. 13).

    The more modalities a patient has, the higher the highest is by chance: compare patients with the same ones.
    """

    origin: np.ndarray
    """``[m, c]``: survival, the training mean of each modality's log-risk; else zeros."""
    sums_to_one: bool

    def combine(self, scores: np.ndarray) -> np.ndarray:
        """Take the highest of ``[n, m, c]``, ``[n, c]``; NaN is an absent modality."""
        present_scores(scores, self.origin.shape)
        highest = np.nanmax(scores - self.origin, axis=1)
        return highest / highest.sum(axis=1, keepdims=True) if self.sums_to_one else highest


def fit(scores: np.ndarray, target: Target, config: Config) -> Fitted:
    """Take the origins from out-of-fold scores ``[n, m, c]`` of the training patients."""
    present_scores(scores)
    kind = target.endpoint.kind
    origin = evidence_scale(scores, target).base if kind == "survival" else np.zeros(scores.shape[1:])
    return Fitted(origin=origin, sums_to_one=kind in ("multiclass", "ordinal"))

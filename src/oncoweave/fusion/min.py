"""The lowest of the scores of the modalities present: all have to agree before risk is called high."""

from dataclasses import dataclass

import numpy as np

from oncoweave.core.endpoint import Target
from oncoweave.nn.late_rules import PickedScore, exclusive_classes, log_risk_origin

STAGE = "late"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """There is nothing to choose."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Fitted(PickedScore):
    """Log-risks are taken from a common origin; class probabilities are made to sum to one again (Kittler et al. 1998, eq. 16).

    The more modalities a patient has, the lower the lowest is by chance: compare patients with the same ones.
    """

    def combine(self, scores: np.ndarray) -> np.ndarray:
        """Take the lowest of ``[n, m, c]``, ``[n, c]``; NaN is an absent modality."""
        return self.picked(scores, np.nanmin)


def fit(scores: np.ndarray, target: Target, config: Config) -> Fitted:
    """Take the origins from out-of-fold scores ``[n, m, c]`` of the training patients."""
    return Fitted(origin=log_risk_origin(scores, target), sums_to_one=exclusive_classes(target))

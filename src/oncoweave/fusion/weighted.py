"""Mean weighted by out-of-fold skill minus chance; a modality at or below chance gets nothing."""

from dataclasses import dataclass

import numpy as np

from oncoweave.core.endpoint import Target
from oncoweave.core.ranges import NotNegative
from oncoweave.core.settings import ranged
from oncoweave.evaluate.skill import skill
from oncoweave.nn.availability import present_scores, weighted_mean
from oncoweave.nn.evidence import EvidenceScale, evidence_scale

STAGE = "late"


@ranged
class Config:
    """How sharply skill is rewarded."""

    power: NotNegative = 1.0
    """Weights are skill to this power."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Fitted:
    """Weights are renormalised to the modalities a patient has; with only modalities of weight 0 he gets the training mean."""

    weights: np.ndarray
    """``[m]``, non-negative, sum 1."""
    scale: EvidenceScale

    def combine(self, scores: np.ndarray) -> np.ndarray:
        """Average ``[n, m, c]`` to ``[n, c]``; NaN is an absent modality."""
        present_scores(scores, self.scale.base.shape)
        centred = scores - self.scale.base if self.scale.kind == "survival" else scores
        mean = weighted_mean(centred, self.weights)
        return np.where(np.isnan(mean), self.scale.scores(np.zeros_like(mean)), mean)


def fit(scores: np.ndarray, target: Target, config: Config) -> Fitted:
    """Measure each modality's concordance on its out-of-fold scores ``[n, m, c]``; equal weights where none has any skill."""
    present = present_scores(scores)
    skills = [skill(target.take(has), scores[has, m]) for m, has in enumerate(present.T)]
    some = np.maximum(np.nan_to_num(skills), 0.0)
    weights = np.where(some > 0, some**config.power, 0.0)
    weights = weights if weights.sum() > 0 else np.ones(len(weights))
    return Fitted(weights=weights / weights.sum(), scale=evidence_scale(scores, target))

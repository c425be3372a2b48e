"""Belief masses, each modality's discounted by its reliability, combined by Dempster's or Yager's rule (Shafer 1976)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from oncoweave.core.endpoint import Target
from oncoweave.evaluate.hypotheses import Hypotheses, fit_hypotheses
from oncoweave.nn.availability import present_scores

STAGE = "late"

_RELIABILITIES = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """What becomes of mass that modalities give to answers that exclude each other."""

    rule: Literal["dempster", "yager"] = "dempster"
    """dempster: shared out in proportion (Shafer 1976, eq. 3.2). yager: counted as not knowing (Yager, Inf Sci 41:93, 1987), all
    modalities at once."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Fitted:
    """A modality puts mass r l_j on answer j and 1 - r on not knowing; l, summing to 1, is its probability over the prior.

    Combined masses become probabilities in proportion to frequency times plausibility (Cobb & Shenoy, Int J Approx Reason 41:314,
    2006), so that what was known before is counted once: with full reliability Dempster's rule is Bayesian pooling, with none the
    training frequency. Survival asks for an event by the median time of the training events, regression for a value above the
    training median.
    """

    hypotheses: Hypotheses
    reliability: np.ndarray
    """``[m, question]``, 0 to 1."""
    rule: str

    def combine(self, scores: np.ndarray) -> np.ndarray:
        """Combine ``[n, m, c]`` to ``[n, c]``; NaN is an absent modality."""
        single, ignorance, conflict = self.masses(scores)
        spare = ignorance + conflict if self.rule == "yager" else ignorance
        belief = self.hypotheses.prior * (single + spare[..., None])
        return self.hypotheses.scores(belief / belief.sum(axis=2, keepdims=True))

    def masses(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Multiply the masses of the modalities present.

        Returns the mass of each answer ``[n, question, hypothesis]``, of not knowing and of conflict ``[n, question]``; sum 1.
        """
        columns = len(self.hypotheses.columns(self.hypotheses.prior))
        present = present_scores(scores, (len(self.reliability), columns))
        trusted = np.where(present[:, :, None], self.reliability, 0.0)
        says = np.nan_to_num(_likelihood(self.hypotheses.probabilities(scores), self.hypotheses.prior))
        ignorance = np.prod(1.0 - trusted, axis=1)
        single = np.prod(trusted[..., None] * says + (1.0 - trusted)[..., None], axis=1) - ignorance[..., None]
        return single, ignorance, 1.0 - single.sum(axis=2) - ignorance


def _likelihood(p: np.ndarray, prior: np.ndarray) -> np.ndarray:
    ratio = p / prior
    return ratio / ratio.sum(axis=-1, keepdims=True)


def fit(scores: np.ndarray, target: Target, config: Config) -> Fitted:
    """Take as reliability what makes each modality's own discounted belief come truest out of fold (squared error).

    So do Elouedi et al. (IEEE Trans Syst Man Cybern B 34:782, 2004), modality by modality. ``scores`` ``[n, m, c]``.
    """
    present = present_scores(scores)
    hypotheses = fit_hypotheses(scores, target)
    likelihood = _likelihood(hypotheses.probabilities(scores), hypotheses.prior)
    truth, weight = hypotheses.truth(target)
    reliability = np.zeros(likelihood.shape[1:3])
    for m, question in np.ndindex(*reliability.shape):
        rows = present[:, m] & (weight[:, question] > 0)
        if rows.any():
            reliability[m, question] = _reliability(
                likelihood[rows, m, question], hypotheses.prior[question], truth[rows, question], weight[rows, question]
            )
    return Fitted(hypotheses=hypotheses, reliability=reliability, rule=config.rule)


def _reliability(likelihood: np.ndarray, prior: np.ndarray, truth: np.ndarray, weight: np.ndarray) -> float:
    errors = []
    for r in _RELIABILITIES:
        belief = prior * (r * likelihood + 1.0 - r)
        squared = (truth - belief / belief.sum(axis=1, keepdims=True)) ** 2
        errors.append(float((weight * squared.sum(axis=1)).sum()))
    return float(_RELIABILITIES[int(np.argmin(errors))])

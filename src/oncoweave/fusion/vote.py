"""Majority vote of the modalities present, each deciding at a cut-off of its own (Kittler et al. 1998, eq. 18)."""

from dataclasses import dataclass

import numpy as np

from oncoweave.core.endpoint import Target
from oncoweave.evaluate.hypotheses import Hypotheses, decision_cutoffs, fit_hypotheses
from oncoweave.nn.availability import present_scores

STAGE = "late"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """There is nothing to choose."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Fitted:
    """A modality says yes above the cut-off at which it would have called as many training patients positive as were.

    Survival: yes is an event by the median time of the training events. Regression: a value above the training median. Classes: a
    vote for the likeliest. An absent modality does not vote; the training frequency has one vote, so that one of one is not as
    sure as three of three. Patients with as many votes tie, and a vote that splits in halves lies between yes and no.
    """

    hypotheses: Hypotheses
    cutoffs: np.ndarray
    """``[m, c]``, of probabilities."""

    def combine(self, scores: np.ndarray) -> np.ndarray:
        """Count the votes of ``[n, m, c]``, ``[n, c]``; NaN is an absent modality."""
        present = present_scores(scores, self.cutoffs.shape)
        columns = self.hypotheses.columns(self.hypotheses.probabilities(scores))
        if self.hypotheses.kind in ("multiclass", "ordinal"):
            votes = ((columns == columns.max(axis=2, keepdims=True)) & present[:, :, None]).astype(float)
            votes /= np.maximum(votes.sum(axis=2, keepdims=True), 1.0)
        else:
            votes = (columns > self.cutoffs).astype(float)
        prior = self.hypotheses.columns(self.hypotheses.prior)
        share = (votes.sum(axis=1) + prior) / (present.sum(axis=1, keepdims=True) + 1.0)
        return self.hypotheses.scores(self.hypotheses.answers(share))


def fit(scores: np.ndarray, target: Target, config: Config) -> Fitted:
    """Take the cut-offs from out-of-fold scores ``[n, m, c]`` of the training patients."""
    present_scores(scores)
    hypotheses = fit_hypotheses(scores, target)
    columns = hypotheses.columns(hypotheses.probabilities(scores))
    return Fitted(hypotheses=hypotheses, cutoffs=decision_cutoffs(columns, hypotheses.columns(hypotheses.prior)))

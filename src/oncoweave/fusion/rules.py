"""A decision list: first the override of one named modality, then k of n positive decisions, then everybody else."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

from oncoweave.core.endpoint import Target
from oncoweave.core.errors import unknown_name
from oncoweave.core.ranges import Count, Rate
from oncoweave.evaluate.hypotheses import Hypotheses, decision_cutoffs, fit_hypotheses
from oncoweave.nn.availability import present_scores

STAGE = "late"
NEEDS = ("names",)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """The list, from its last line to its first."""

    k: Count = 1
    """Positive decisions wanted, of all modalities; of those a patient has, the same share, rounded up. 1: any."""
    override: str = ""
    """Modality that can decide alone, such as the clinical one; empty: none can. Left out, it never decides."""
    override_above: Rate = 0.9
    """Share of the training patients whom the override calls lower."""


def check(config: Config, modalities: Sequence[str]) -> None:
    """Refuse an override that a study does not have."""
    if config.override and config.override not in modalities:
        raise unknown_name("modality (override of rules)", config.override, modalities)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Fitted:
    """if override is far up: line 3; else if k of n are positive: line 2; else line 1.

    A modality is positive above the cut-off at which it would have called as many training patients positive as were; of classes,
    each class is decided apart. A line's score is how often its training patients had the outcome, with one more patient of
    average outcome, and a later line never scores above an earlier (isotonic regression). Patients of one line tie. Survival asks
    for an event by the median time of the training events, regression for a value above the training median.
    """

    hypotheses: Hypotheses
    cutoffs: np.ndarray
    """``[m, c]``, of probabilities."""
    share: float
    """k over the number of modalities."""
    override: int
    """Place of the modality; -1 for none."""
    override_cutoff: np.ndarray
    """``[c]``, of its probabilities."""
    levels: np.ndarray
    """``[3, c]``: score of each line, as a probability."""

    def lines(self, scores: np.ndarray) -> np.ndarray:
        """Say which line decides for each patient and column, ``Int[n, c]``: 2 override, 1 k of n, 0 neither."""
        present = present_scores(scores, self.cutoffs.shape)
        columns = self.hypotheses.columns(self.hypotheses.probabilities(scores))
        positive = (columns > self.cutoffs).sum(axis=1)
        # less a little, so that k of n is k of n whatever k / n rounds to
        wanted = np.maximum(np.ceil(self.share * present.sum(axis=1) - 1e-9), 1.0)
        line = (positive >= wanted[:, None]).astype(int)
        return line if self.override < 0 else np.where(columns[:, self.override] > self.override_cutoff, 2, line)

    def combine(self, scores: np.ndarray) -> np.ndarray:
        """Apply the list to ``[n, m, c]``, ``[n, c]``; NaN is an absent modality."""
        level = np.take_along_axis(self.levels, self.lines(scores), axis=0)
        return self.hypotheses.scores(self.hypotheses.answers(level))


def fit(scores: np.ndarray, target: Target, config: Config, names: Sequence[str] = ()) -> Fitted:
    """Take cut-offs and scores of the lines from out-of-fold scores ``[n, m, c]`` of the training patients."""
    present = present_scores(scores)
    hypotheses = fit_hypotheses(scores, target)
    columns, prior = hypotheses.columns(hypotheses.probabilities(scores)), hypotheses.columns(hypotheses.prior)
    known = max(int(present.any(axis=0).sum()), 1)
    override = list(names).index(config.override) if config.override in names else -1
    if override >= 0 and not present[:, override].any():
        override = -1
    cutoff = np.ones(len(prior))
    if override >= 0:
        cutoff = np.quantile(columns[present[:, override], override], config.override_above, axis=0)
    unscored = Fitted(
        hypotheses=hypotheses,
        cutoffs=decision_cutoffs(columns, prior),
        share=min(config.k, known) / known,
        override=override,
        override_cutoff=cutoff,
        levels=np.zeros((3, len(prior))),
    )
    unscored.levels[:] = _levels(unscored.lines(scores), hypotheses, target)
    return unscored


def _levels(lines: np.ndarray, hypotheses: Hypotheses, target: Target) -> np.ndarray:
    truth, weight = hypotheses.truth(target)
    came, prior = hypotheses.columns(truth), hypotheses.columns(hypotheses.prior)
    weight = np.broadcast_to(weight, came.shape)  # one question of many classes weighs each of them alike
    on_line = np.stack([lines == line for line in range(3)])
    counted = (on_line * weight).sum(axis=1) + 1.0
    rate = ((on_line * weight * came).sum(axis=1) + prior) / counted
    return np.stack([isotonic_regression(r, weights=w).x for r, w in zip(rate.T, counted.T, strict=True)], axis=1)

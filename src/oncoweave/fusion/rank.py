"""Borda count: each score's rank among the training patients, averaged over the modalities present."""

from dataclasses import dataclass

import numpy as np

from oncoweave.core.endpoint import Target
from oncoweave.nn.availability import present_scores, weighted_mean
from oncoweave.nn.late_rules import exclusive_classes, sum_to_one

STAGE = "late"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """There is nothing to choose."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Fitted:
    """Ranks are against training patients, never against the batch: one patient alone gets the same score as among others.

    The mean rank is turned back into a score at that quantile of the training scores, averaged over modalities: the order is
    that of the mean rank, the scale that of the scores.
    """

    ordered: np.ndarray
    """``[m, c, n]``: training scores in order, NaN at the end."""
    sums_to_one: bool

    def ranks(self, scores: np.ndarray) -> np.ndarray:
        """Share of training patients with a lower score (ties count half), ``[n, m, c]``; NaN for an absent modality."""
        result = np.full(scores.shape, np.nan)
        for m, columns in enumerate(self.ordered):
            has = ~np.isnan(scores[:, m]).all(axis=1)
            for c, column in enumerate(columns):
                known = column[~np.isnan(column)]
                both = sum(np.searchsorted(known, scores[has, m, c], side=s) for s in ("left", "right"))
                result[has, m, c] = both / (2 * len(known)) if len(known) else 0.5
        return result

    def combine(self, scores: np.ndarray) -> np.ndarray:
        """Average ranks of ``[n, m, c]``, ``[n, c]``; NaN is an absent modality."""
        present_scores(scores, self.ordered.shape[:2])
        rank = weighted_mean(self.ranks(scores), np.ones(len(self.ordered)))
        value = np.stack([self._quantile(rank[:, c], self.ordered[:, c]) for c in range(rank.shape[1])], axis=1)
        return sum_to_one(value) if self.sums_to_one else value

    @staticmethod
    def _quantile(rank: np.ndarray, ordered: np.ndarray) -> np.ndarray:
        return np.mean([np.quantile(known, rank) for row in ordered if len(known := row[~np.isnan(row)])], axis=0)


def fit(scores: np.ndarray, target: Target, config: Config) -> Fitted:
    """Keep the out-of-fold scores ``[n, m, c]`` of the training patients in order."""
    present_scores(scores)
    ordered = np.sort(np.moveaxis(scores, 0, -1), axis=-1)
    return Fitted(ordered=ordered, sums_to_one=exclusive_classes(target))

"""What late rules have in common that take one score of those present, such as the lowest; arrays without a network."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from oncoweave.core.endpoint import Target
from oncoweave.nn.availability import present_scores
from oncoweave.nn.evidence import evidence_scale


def log_risk_origin(scores: np.ndarray, target: Target) -> np.ndarray:
    """Take where each modality's scores ``[n, m, c]`` are counted from, ``[m, c]``.

    Survival: the training mean of the log-risk, whose own origin is arbitrary; zeros for other endpoints.

    Raises:
        DataError: see :func:`oncoweave.nn.availability.present_scores`.
    """
    present_scores(scores)
    return evidence_scale(scores, target).base if target.endpoint.kind == "survival" else np.zeros(scores.shape[1:])


def exclusive_classes(target: Target) -> bool:
    """Say whether the columns of a score are probabilities of classes that exclude each other."""
    return target.endpoint.kind in ("multiclass", "ordinal")


def sum_to_one(p: np.ndarray) -> np.ndarray:
    """Scale rows ``[n, c]`` to sum to one; where all are zero nothing is known, and classes come out alike."""
    total = p.sum(axis=1, keepdims=True)
    return np.divide(p, total, out=np.full_like(p, 1.0 / p.shape[1]), where=total > 0)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class PickedScore:
    """A rule that picks a score: log-risks are taken from a common origin, class probabilities made to sum to one again."""

    origin: np.ndarray
    """``[m, c]``: survival, the training mean of each modality's log-risk; else zeros."""
    sums_to_one: bool

    def picked(self, scores: np.ndarray, pick: Callable[..., np.ndarray]) -> np.ndarray:
        """Pick from ``[n, m, c]`` along the modalities, passing over NaN, to ``[n, c]``."""
        present_scores(scores, self.origin.shape)
        score = pick(scores - self.origin, axis=1)
        return sum_to_one(score) if self.sums_to_one else score

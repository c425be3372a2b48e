"""Scores on an additive scale: what each modality says beyond what was known of every patient."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, softmax

from oncoweave.core.endpoint import Target

_FLOOR = 1e-6
"""Probabilities nearer than this to 0 or 1 are moved there: no single model may veto all others."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class EvidenceScale:
    """How scores of an endpoint become evidence, and back.

    Evidence is 0 where a modality says nothing new: survival, the log-risk minus its training mean; binary and multilabel, the
    log-odds minus those of the training frequency; multiclass and ordinal, the log probabilities minus those of the training
    frequencies, centred over classes; regression, the value minus the training mean, in training standard deviations.
    """

    kind: str
    base: np.ndarray
    """``[m, c]``: what is subtracted from each modality's (transformed) scores."""
    unit: float = 1.0
    """Regression: the training standard deviation."""

    def evidence(self, scores: np.ndarray) -> np.ndarray:
        """Turn scores ``[n, m, c]`` into evidence; NaN stays NaN."""
        return (_additive(scores, self.kind) - self.base) / self.unit

    def scores(self, evidence: np.ndarray) -> np.ndarray:
        """Turn pooled evidence ``[n, c]`` into scores; a log-risk has its origin at the average training patient."""
        if self.kind == "survival":
            return evidence
        value = evidence * self.unit + self.base[0]
        if self.kind in ("binary", "multilabel"):
            return expit(value)
        return value if self.kind == "regression" else softmax(value, axis=1)


def evidence_scale(scores: np.ndarray, target: Target) -> EvidenceScale:
    """Take the origin from training scores ``[n, m, c]`` (survival) or training frequencies (the others)."""
    kind, (_, num_modalities, num_columns) = target.endpoint.kind, scores.shape
    if kind == "survival":
        base = np.array([[_mean(scores[:, m, c]) for c in range(num_columns)] for m in range(num_modalities)])
        return EvidenceScale(kind=kind, base=base)
    values, unit = target.values.reshape(len(target), -1), 1.0
    if kind in ("multiclass", "ordinal"):
        counts = np.bincount(target.values[target.known].astype(int), minlength=num_columns) + 0.5
        prior = _additive((counts / counts.sum())[None, None, :], kind)[0]
    elif kind == "regression":
        prior, unit = np.nanmean(values, axis=0)[None, :], float(np.nanstd(values)) or 1.0
    else:
        known = (~np.isnan(values)).sum(axis=0)
        prior = logit((np.nansum(values, axis=0) + 0.5) / (known + 1.0))[None, :]
    return EvidenceScale(kind=kind, base=np.repeat(prior, num_modalities, axis=0), unit=unit)


def _additive(scores: np.ndarray, kind: str) -> np.ndarray:
    if kind in ("survival", "regression"):
        return scores
    clipped = np.clip(scores, _FLOOR, 1 - _FLOOR)
    if kind in ("binary", "multilabel"):
        return logit(clipped)
    return np.log(clipped) - np.log(clipped).mean(axis=-1, keepdims=True)


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else 0.0

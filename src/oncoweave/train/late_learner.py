"""Late fusion: one model a modality, combined by a rule or a meta-model fitted on out-of-fold scores only."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from oncoweave.core import shelf
from oncoweave.train.dataset import Dataset
from oncoweave.train.fold import Fitted, Fold, Preparation


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Base:
    """One modality's model, and its scores for the training rows, each made by a model that had not seen the row."""

    fitted: Fitted
    out_of_fold: np.ndarray
    """``[n, c]``; NaN for training rows without the modality."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class FittedLate:
    """One model a modality and the combination of their scores."""

    modalities: tuple[str, ...]
    bases: tuple[Fitted, ...]
    fusion: object

    @property
    def preparations(self) -> dict[str, Preparation]:
        """Those of the bases."""
        return {name: p for base in self.bases for name, p in base.preparations.items()}

    def predict(self, data: Dataset) -> np.ndarray:
        """Return ``[n, c]``; NaN for patients who have none of the modalities."""
        scores = np.stack([base.predict(data) for base in self.bases], axis=1)
        return combine_present(self.fusion, scores)


def combine_present(fusion: object, scores: np.ndarray) -> np.ndarray:
    """Combine scores ``[n, modality, c]`` of the patients who have any; NaN rows for the others."""
    present = ~np.isnan(scores).all(axis=(1, 2))
    output = np.full((len(scores), scores.shape[2]), np.nan)
    if present.any():
        output[present] = fusion.combine(scores[present])  # type: ignore[attr-defined]
    return output


def fit_base(fold: Fold, modality: str, *, learner: str, fit: Callable[[Fold], Fitted]) -> Base:
    """Fit one modality's model on the training rows, and on each inner fold for the out-of-fold scores; once a fold.

    ``learner`` names the model in the fold's memory, so that several late fusions share it.
    """
    key = ("base", modality, learner)
    if key not in fold.memo:
        fitted = fit(fold)
        inner = _inner_of(fold, modality)
        scores = np.full(fitted.predict(fold.train).shape, np.nan)
        for k in np.unique(inner[inner >= 0]).tolist():
            left_out = np.flatnonzero(inner == k)
            scores[left_out] = fit(fold.without(inner, k)).predict(fold.train.take(left_out))
        fold.memo[key] = Base(fitted=fitted, out_of_fold=scores)
    base = fold.memo[key]
    assert isinstance(base, Base), f"the fold's memory holds a {type(base).__name__} under {key}"
    return base


def _inner_of(fold: Fold, modality: str) -> np.ndarray:
    """``Int[n]``: inner fold of each training row; -1 for rows without the modality, where those with it are split apart."""
    has = np.array([sample is not None for sample in fold.train.samples[modality]], dtype=bool)
    if all((has & (fold.inner != k)).any() for k in np.unique(fold.inner)):
        return fold.inner
    labels = np.full(len(fold.train), -1)
    labels[has] = fold.inner_of(has)
    return labels


def fit_late(
    fold: Fold, modalities: Sequence[str], bases: Sequence[Base], *, fusion: str, settings: Mapping[str, object]
) -> tuple[FittedLate, np.ndarray]:
    """Fit a late fusion on the out-of-fold scores of its bases; also returns the training rows' combined scores ``[n, c]``."""
    scores = np.stack([base.out_of_fold for base in bases], axis=1)
    rows = ~np.isnan(scores).all(axis=(1, 2)) & fold.train.outcome.known
    config = shelf.configure("fusion", fusion, settings)
    fused = shelf.load("fusion", fusion).fit(scores[rows], fold.train.outcome.take(rows), config)
    late = FittedLate(modalities=tuple(modalities), bases=tuple(b.fitted for b in bases), fusion=fused)
    return late, combine_present(fused, scores)

"""Late fusion: one model a modality, combined by a rule or a meta-model fitted on out-of-fold scores only."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from oncoweave.core import shelf
from oncoweave.nn.fitted import DecidingFusion, LateFusion
from oncoweave.train.dataset import Dataset
from oncoweave.train.fold import Fitted, Fold, Preparation, Trained


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class FittedLate:
    """One model a modality and the combination of their scores."""

    modalities: tuple[str, ...]
    bases: tuple[Fitted, ...]
    fusion: LateFusion

    @property
    def preparations(self) -> dict[str, Preparation]:
        """Those of the bases."""
        return {name: p for base in self.bases for name, p in base.preparations.items()}

    def predict(self, data: Dataset) -> np.ndarray:
        """Return ``[n, c]``; NaN for patients who have none of the modalities."""
        return combine_present(self.fusion, self._scores(data))

    def decisions(self, data: Dataset) -> list[str] | None:
        """Say what decided for each patient (empty for those who have none of the modalities); None where the fusion cannot."""
        if not isinstance(self.fusion, DecidingFusion):
            return None
        scores = self._scores(data)
        present = ~np.isnan(scores).all(axis=(1, 2))
        told = iter(self.fusion.decisions(scores[present]) if present.any() else ())
        return [next(told) if has else "" for has in present]

    def _scores(self, data: Dataset) -> np.ndarray:
        return np.stack([base.predict(data) for base in self.bases], axis=1)


def combine_present(fusion: LateFusion, scores: np.ndarray) -> np.ndarray:
    """Combine scores ``[n, modality, c]`` of the patients who have any; NaN rows for the others."""
    present = ~np.isnan(scores).all(axis=(1, 2))
    output = np.full((len(scores), scores.shape[2]), np.nan)
    if present.any():
        output[present] = fusion.combine(scores[present])
    return output


def fit_base(fold: Fold, modality: str | None, *, learner: str, fit: Callable[[Fold], Trained | None]) -> Trained:
    """Fit one modality's model on the training rows, and on each inner fold for the out-of-fold scores; once a fold.

    ``fit`` gives None for inner folds that nothing can be learned in: rows left out of them have no score.

    Log-risks of all inner folds have one origin, the mean over the same training rows: measured from the rows that each was
    taught on, the differences between inner folds (hospitals) would count ``K / (K - 1)`` times.

    ``modality`` None is a model of several. ``learner`` names the model in the fold's memory, so that several late fusions share
    it.
    """
    key = ("base", modality, learner)
    if key in fold.seconds:
        fold.reused += fold.seconds[key]
    else:
        started = perf_counter()
        whole = fit(fold)
        assert whole is not None, f"a model of {modality or 'several modalities'} is asked of a fold that cannot teach it"
        inner = fold.inner if modality is None else fold.inner_with(modality)
        scores = np.full(whole.fitted.predict(fold.train).shape, np.nan)
        for k in np.unique(inner[inner >= 0]).tolist():
            part = fit(fold.without(inner, k))
            if part is not None:
                scores[inner == k] = _at_one_origin(part.fitted, fold.train, inner == k)
        fold.memo[key] = Trained(fitted=whole.fitted, out_of_fold=scores)
        fold.seconds[key] = perf_counter() - started
    base = fold.memo[key]
    assert isinstance(base, Trained), f"the fold's memory holds a {type(base).__name__} under {key}"
    return base


def _at_one_origin(fitted: Fitted, train: Dataset, rows: np.ndarray) -> np.ndarray:
    """Predict some training rows (``Bool[n]``); log-risks, which have no level of their own, against the mean of all."""
    if train.outcome.endpoint.kind != "survival":
        return fitted.predict(train.take(rows))
    found = fitted.predict(train)
    return found[rows] - np.nanmean(found[train.outcome.known])


def fit_late(
    fold: Fold,
    modalities: Sequence[str],
    bases: Sequence[Trained],
    *,
    fusion: str,
    settings: Mapping[str, object],
    names: Sequence[str] | None = None,
) -> tuple[Trained, LateFusion]:
    """Fit a late fusion on the out-of-fold scores of its bases.

    The combined scores of the training rows are out of fold for the bases; the few weights of the fusion did see the rows.
    A fusion that states ``NEEDS = ("names",)`` is told the modalities, or the ``names`` of the bases where these are not one a
    modality. Also returns the fitted fusion by itself.
    """
    scores = np.stack([base.out_of_fold for base in bases], axis=1)
    rows = ~np.isnan(scores).all(axis=(1, 2)) & fold.train.outcome.known
    config, module = shelf.configure("fusion", fusion, settings), shelf.load("fusion", fusion)
    needs = {"names": tuple(names or modalities)} if "names" in getattr(module, "NEEDS", ()) else {}
    fused = module.fit(scores[rows], fold.train.outcome.take(rows), config, **needs)
    late = FittedLate(modalities=tuple(modalities), bases=tuple(b.fitted for b in bases), fusion=fused)
    return Trained(fitted=late, out_of_fold=combine_present(fused, scores)), fused

"""What is predicted of everybody where no modality is read: the average outcome of the training patients."""

from dataclasses import dataclass

import numpy as np

from oncoweave.core.endpoint import Target
from oncoweave.train.dataset import Dataset
from oncoweave.train.fold import Fold, Preparation, Trained


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class FittedNothing:
    """A model of modalities none of which its training rows could teach."""

    modalities: tuple[str, ...]
    num_outputs: int

    @property
    def preparations(self) -> dict[str, Preparation]:
        """None: it reads nothing."""
        return {}

    def predict(self, data: Dataset) -> np.ndarray:
        """Return ``[n, c]``, all NaN: nobody has any of its modalities."""
        return np.full((len(data), self.num_outputs), np.nan)


def fit_nothing(fold: Fold) -> Trained:
    """Say of every training row what is known without any modality."""
    average = average_outcome(fold.train.outcome)
    return Trained(
        fitted=FittedNothing(modalities=(), num_outputs=len(average)), out_of_fold=np.tile(average, (len(fold.train), 1))
    )


def average_outcome(target: Target) -> np.ndarray:
    """``[c]``: rates of classes or labels, the mean value, or a log-risk of 0."""
    values, kind = target.values, target.endpoint.kind
    if kind == "survival":
        return np.zeros(1)
    if kind in ("multiclass", "ordinal"):
        known = values[~np.isnan(values)].astype(int)
        return np.bincount(known, minlength=len(target.endpoint.classes)) / len(known)
    return np.atleast_1d(np.nanmean(values, axis=0))

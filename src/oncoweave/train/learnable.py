"""Whether training patients who have a modality can teach a model anything: there are some, and they differ."""

import numpy as np

from oncoweave.core.endpoint import Target
from oncoweave.core.errors import NothingToLearnError
from oncoweave.train.dataset import Dataset

FEW = 20
"""With fewer patients than this, a modality in which nothing varies is taken for scarce; with more, its data are at fault."""


def enough(target: Target, *, fewest: int = 1) -> bool:
    """Whether outcomes differ: at least ``fewest`` patients of each of two classes, so many events, or twice as many values.

    Of several labels, each is known for some patients, and at least one has both of its values so often.
    """
    kind, values = target.endpoint.kind, target.values
    if kind == "survival":
        return bool(target.event.sum() >= fewest)
    if kind == "multilabel":
        known, positive = (~np.isnan(values)).sum(axis=0), np.nansum(values, axis=0)
        return bool((known > 0).all() and (np.minimum(positive, known - positive) >= fewest).any())
    if kind == "regression":
        return bool(target.known.sum() >= 2 * fewest and len(np.unique(values[target.known])) > 1)
    counts = np.unique(values[target.known], return_counts=True)[1]
    return bool((counts >= fewest).sum() >= 2)


def judges(target: Target) -> bool:
    """Whether a loss on these patients tells one model from another: survival wants an event with somebody else at risk."""
    if target.endpoint.kind != "survival" or not target.event.any():
        return target.endpoint.kind != "survival"
    return bool((target.time >= target.time[target.event].min()).sum() > 1)


def why_not(train: Dataset, modality: str, inner: np.ndarray | None) -> str:
    """Say why training patients cannot teach a modality; empty where they can.

    Args:
        train: the training patients.
        modality: one of theirs.
        inner: ``Int[n]``, the inner folds on which models of the modality get their out-of-fold scores, -1 in none; two patients
            of each class are needed for these. None where no such scores are wanted.
    """
    has = has_modality(train, modality)
    if not has.any():
        return "no training patient has it"
    who = f"the {has.sum()} training patient{'s' if has.sum() > 1 else ''} who {'have' if has.sum() > 1 else 'has'} it"
    if not enough(train.outcome.take(np.flatnonzero(has)), fewest=1 if inner is None else 2):
        return f"{who} hardly differ{'' if has.sum() > 1 else 's'} in outcome"
    parts = [] if inner is None else [inner != k for k in np.unique(inner[inner >= 0])]
    varied = has.sum() >= FEW or (
        _varies(train, modality) and (not parts or any(_varies(train.take(part), modality) for part in parts))
    )
    return "" if varied else f"nothing in it varies between {who}"


def has_modality(train: Dataset, modality: str) -> np.ndarray:
    """``Bool[n]``: who has a modality and a known outcome."""
    has = np.array([sample is not None for sample in train.samples[modality]], dtype=bool)
    return has & train.outcome.known


def _varies(train: Dataset, modality: str) -> bool:
    try:
        train.prepare(modality)
    except NothingToLearnError:
        return False
    return True

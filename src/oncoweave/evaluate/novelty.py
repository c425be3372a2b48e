"""Is a patient unlike those of the training set? A distance to them, with a p value from training patients held out in turn.

A flag says that the model has not seen such a patient, not that its prediction is wrong. Rows with a NaN (an absent modality) are
not judged.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.spatial.distance import cdist

from oncoweave.core.errors import DataError
from oncoweave.evaluate.conformal import conformal_quantile

Method = Literal["mahalanobis", "neighbours"]

_FOLDS = 5
_AXES = 64
"""More axes are not kept: a model that is stored with this would grow with the square of its columns."""
_TURN = 512
"""Patients whose distances to all training patients are held at once."""
_FEWEST = 20
"""Fewer patients say too little of where the rest of their kind lie: the smallest p would be above 5 %."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Flags:
    """Per patient: strangeness, conformal p value, and whether it is beyond the threshold; NaN and False where not judged."""

    strangeness: np.ndarray
    p: np.ndarray
    flagged: np.ndarray
    judged: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class Mahalanobis:
    """Distance in units of the training patients' spread; directions in which they do not vary keep the shrunken variance."""

    axes: np.ndarray
    variances: np.ndarray
    floor: float

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Distances of standardised rows."""
        along = rows @ self.axes.T
        beside = np.maximum((rows**2).sum(axis=1) - (along**2).sum(axis=1), 0.0)
        return np.sqrt((along**2 / self.variances).sum(axis=1) + beside / self.floor)


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbours:
    """Distance to the k-th nearest training patient (Ramaswamy, Rastogi and Shim 2000)."""

    rows: np.ndarray
    k: int

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Distances of standardised rows."""
        turns = [cdist(rows[at : at + _TURN], self.rows) for at in range(0, len(rows), _TURN)]
        return np.concatenate([np.partition(turn, self.k - 1, axis=1)[:, self.k - 1] for turn in turns])

    def held_out(self) -> np.ndarray:
        """Distances of the training patients to the others: the nearest to each is the patient himself."""
        return Neighbours(rows=self.rows, k=self.k + 1)(self.rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class Novelty:
    """What training patients look like, and how strange those of them were who were held out."""

    centre: np.ndarray
    scale: np.ndarray
    distance: Mahalanobis | Neighbours
    held_out: np.ndarray
    """Strangeness of each training patient to the others, increasing."""
    threshold: float

    def examine(self, block: np.ndarray) -> Flags:
        """Judge patients by rows ``Float[n, column]`` of the block that was fitted.

        p is the share of training patients, the new one included, who are at least as strange to the rest: of patients like them
        at most a share of ``alpha`` has a p of ``alpha`` or less (Laxhammar and Falkman 2010; Bates et al. 2023).

        Raises:
            DataError: another number of columns.
        """
        block = np.asarray(block, dtype=np.float64)
        if block.ndim != 2 or block.shape[1] != len(self.centre):
            msg = f"novelty: wanted rows of {len(self.centre)} columns, got an array of shape {block.shape}"
            raise DataError(msg)
        judged = np.isfinite(block).all(axis=1)
        strangeness, p = np.full(len(block), np.nan), np.full(len(block), np.nan)
        if judged.any():
            strangeness[judged] = self.distance((block[judged] - self.centre) / self.scale)
            as_strange = len(self.held_out) - np.searchsorted(self.held_out, strangeness[judged], side="left")
            p[judged] = (1 + as_strange) / (1 + len(self.held_out))
        return Flags(strangeness=strangeness, p=p, flagged=judged & (np.nan_to_num(strangeness) > self.threshold), judged=judged)


def fit_novelty(
    block: np.ndarray,
    *,
    generator: np.random.Generator,
    method: Method = "mahalanobis",
    neighbours: int = 10,
    alpha: float = 0.05,
) -> Novelty:
    """Learn what training patients look like from rows ``Float[n, column]``, one a patient.

    Mahalanobis distances use the covariance of standardised columns shrunk towards a sphere (Ledoit and Wolf 2004), so that there
    may be more columns than patients. Held-out strangeness comes from five folds, each measured against the rest; p is slightly
    too large, as new patients are measured against a fifth more. Distances to neighbours depend on how
    dense patients lie and leave out one patient at a time instead.

    Args:
        block: training rows; those with a NaN are left out.
        generator: draws the folds of ``mahalanobis``.
        method: distance to the centre, or to the nearest patients, which finds strange patients between clusters too.
        neighbours: k of ``neighbours``.
        alpha: share of patients like those of the training set who may be flagged.

    Raises:
        DataError: fewer than 20 complete rows.
    """
    block = np.asarray(block, dtype=np.float64)
    rows = block[np.isfinite(block).all(axis=1)] if block.ndim == 2 else np.empty((0, 0))
    if len(rows) < _FEWEST:
        msg = f"novelty: wanted {_FEWEST} training patients or more without a hole, got {len(rows)} of {len(block)}"
        raise DataError(msg)
    centre, scale, distance = _fit(rows, method, neighbours)
    if isinstance(distance, Neighbours):
        held_out = distance.held_out()
    else:
        held_out = np.empty(len(rows))
        fold = generator.permutation(np.arange(len(rows)) % _FOLDS)
        for index in range(_FOLDS):
            middle, unit, others = _fit(rows[fold != index], method, neighbours)
            held_out[fold == index] = others((rows[fold == index] - middle) / unit)
    threshold = conformal_quantile(held_out, 1 - alpha)
    return Novelty(centre=centre, scale=scale, distance=distance, held_out=np.sort(held_out), threshold=threshold)


def _fit(rows: np.ndarray, method: Method, neighbours: int) -> tuple[np.ndarray, np.ndarray, Mahalanobis | Neighbours]:
    centre, scale = rows.mean(axis=0), rows.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    standard = (rows - centre) / scale
    if method == "neighbours":
        return centre, scale, Neighbours(rows=standard, k=min(neighbours, len(rows) - 1))
    return centre, scale, _mahalanobis(standard)


def _mahalanobis(standard: np.ndarray) -> Mahalanobis:
    """Shrink the covariance's eigenvalues towards their mean by Ledoit and Wolf's share (2004, lemma 3.2 to 3.4).

    Of many columns only the axes of largest variance are kept; all directions beside them share their mean variance.
    """
    num, width = standard.shape
    variances, axes = _axes(standard)
    mean = max(float(variances.sum()) / width, np.finfo(float).tiny)
    spread = float((variances**2).sum()) - width * mean**2
    noise = (float(((standard**2).sum(axis=1) ** 2).sum()) / num - float((variances**2).sum())) / num
    share = min(max(noise / spread, 0.0), 1.0) if spread > 0 else 1.0
    kept = axes.shape[0]
    shrunk = (1 - share) * variances + share * mean
    beside = float((1 - share) * variances[kept:].sum()) / (width - kept) if width > kept else 0.0
    floor = max(beside + share * mean, 1e-6 * mean)
    return Mahalanobis(axes=axes, variances=np.maximum(shrunk[:kept], floor), floor=floor)


def _axes(standard: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variances along all principal axes, decreasing, and at most ``_AXES`` of the axes, by way of the smaller product."""
    num, width = standard.shape
    if min(num, width) <= _AXES:
        singular, axes = np.linalg.svd(standard, full_matrices=False)[1:]
        return singular**2 / num, axes
    wide = width > num
    squares, vectors = np.linalg.eigh(standard @ standard.T if wide else standard.T @ standard)
    squares, vectors = np.maximum(squares[::-1], 0.0), vectors[:, ::-1][:, :_AXES]
    axes = (standard.T @ vectors / np.sqrt(np.maximum(squares[:_AXES], np.finfo(float).tiny))).T if wide else vectors.T
    return squares / num, axes

"""One block of columns on a common scale: standardised, and as few orthogonal directions as its patients span."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Standard:
    """Training mean and deviation of a block's columns."""

    centre: np.ndarray
    deviation: np.ndarray
    """Infinite for a column that did not vary in training: it carries nothing and stays at zero for everybody."""

    def apply(self, block: np.ndarray, present: np.ndarray) -> np.ndarray:
        """Standardise ``[n, d]``; rows of absent patients (``Bool[n]``) become zero."""
        return np.where(present[:, None], (np.where(present[:, None], block, 0.0) - self.centre) / self.deviation, 0.0)


def standardise(block: np.ndarray, present: np.ndarray) -> Standard:
    """Take mean and deviation from the patients present; of none, nothing varies."""
    known = block[present] if present.any() else np.zeros((1, block.shape[1]))
    centre, deviation = known.mean(axis=0), known.std(axis=0)
    varies = deviation > 1e-12 * np.maximum(1.0, np.abs(centre))
    return Standard(centre=centre, deviation=np.where(varies, deviation, np.inf))


def principal_axes(columns: np.ndarray, *, explained: float = 1.0, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Principal axes ``[d, k]`` of centred columns ``[n, d]``, and the variance along each ``[k]``, from large to small.

    As many as explain a share of the variance, at least one and at most ``most`` (and what the rows span). The sign of an axis is
    arbitrary: the largest loading is made positive, so that equal data give equal axes.
    """
    _, singular, axes = np.linalg.svd(columns, full_matrices=False)
    variance = singular**2 / len(columns)
    reached = int(np.searchsorted(np.cumsum(variance), explained * variance.sum() * (1 - 1e-12))) + 1
    count = int(np.clip(reached, 1, min(len(singular), most or len(singular))))
    signs = np.sign(axes[np.arange(count), np.abs(axes[:count]).argmax(axis=1)])
    return (axes[:count] * np.where(signs == 0, 1.0, signs)[:, None]).T, variance[:count]

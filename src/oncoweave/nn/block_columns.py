"""Blocks of columns on a common scale: standardised, and projected to a few directions that stand side by side."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from oncoweave.nn.availability import present_blocks


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Standard:
    """Training mean and deviation of a block's columns."""

    centre: np.ndarray
    deviation: np.ndarray
    """Infinite for a column that did not vary in training: it carries nothing and stays at zero for everybody."""

    def apply(self, block: np.ndarray, present: np.ndarray) -> np.ndarray:
        """Standardise ``[n, d]``; rows of absent patients (``Bool[n]``) become zero."""
        return np.where(present[:, None], (np.where(present[:, None], block, 0.0) - self.centre) / self.deviation, 0.0)

    def of_present(self, block: np.ndarray, present: np.ndarray) -> np.ndarray:
        """Standardise the patients present; where nobody is, one row of zeros stands for them."""
        return self.apply(block, present)[present] if present.any() else np.zeros((1, block.shape[1]))


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


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Projection:
    """One modality's training statistics and directions."""

    standard: Standard
    axes: np.ndarray
    """``[d, k]``, of standardised columns; what the training patients project to has total variance 1."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class SideBySide:
    """Projections of several modalities, in the order of ``blocks``; an absent block's stand at zero, the training mean."""

    blocks: dict[str, Projection]

    def numbered(self, what: str) -> tuple[str, ...]:
        """Name each output column: the modality, what it is, and its number."""
        return tuple(f"{m} {what} {k + 1}" for m, block in self.blocks.items() for k in range(block.axes.shape[1]))

    @property
    def groups(self) -> tuple[str, ...]:
        """Modality of each output column."""
        return tuple(m for m, block in self.blocks.items() for _ in range(block.axes.shape[1]))

    def transform(self, blocks: Mapping[str, np.ndarray]) -> np.ndarray:
        """Project blocks ``[n, d]`` to ``[n, column]``, finite; rows all NaN are absent patients."""
        present = present_blocks(blocks, {name: len(block.axes) for name, block in self.blocks.items()})
        return np.hstack([b.standard.apply(blocks[name], present[name]) @ b.axes for name, b in self.blocks.items()])

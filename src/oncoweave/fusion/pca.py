"""Principal components of each block, then block scaling: few columns a modality, whatever its width."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from oncoweave.nn.availability import present_blocks

STAGE = "early"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """How many components a block keeps."""

    explained: float = 0.95
    """Components are added until they explain this share of a block's variance."""
    max_components: int = 32


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Block:
    """One modality's training statistics and components."""

    centre: np.ndarray
    axes: np.ndarray
    """``[d, k]``: standardises, rotates and weighs in one product."""

    def transform(self, values: np.ndarray, present: np.ndarray) -> np.ndarray:
        """Rotate one block ``[n, d]`` to ``[n, k]``; an absent patient stands at the training mean."""
        return np.where(present[:, None], (np.where(present[:, None], values, 0.0) - self.centre) @ self.axes, 0.0)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Fitted:
    """Components of the training patients; columns come modality by modality, in the order of ``blocks``."""

    blocks: dict[str, Block]

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each output column."""
        return tuple(f"{m} component {k + 1}" for m, block in self.blocks.items() for k in range(block.axes.shape[1]))

    @property
    def groups(self) -> tuple[str, ...]:
        """Modality of each output column."""
        return tuple(m for m, block in self.blocks.items() for _ in range(block.axes.shape[1]))

    def transform(self, blocks: Mapping[str, np.ndarray]) -> np.ndarray:
        """Rotate and concatenate blocks ``[n, d]`` to ``[n, column]``, finite; rows all NaN are absent patients."""
        present = present_blocks(blocks, {name: len(block.centre) for name, block in self.blocks.items()})
        return np.hstack([block.transform(blocks[name], present[name]) for name, block in self.blocks.items()])


def fit(blocks: Mapping[str, np.ndarray], config: Config) -> Fitted:
    """Take components from the training patients who have each block.

    Columns are standardised first. Each block is scaled to total variance 1; its components keep their relative
    variances, so that a ridge penalty shrinks the small ones more.
    """
    present = present_blocks(blocks)
    return Fitted(blocks={name: _fit_block(block, present[name], config) for name, block in blocks.items()})


def _fit_block(block: np.ndarray, present: np.ndarray, config: Config) -> Block:
    known = block[present] if present.any() else np.zeros((1, block.shape[1]))
    centre, deviation = known.mean(axis=0), known.std(axis=0)
    # a column that did not vary in training carries nothing that could be learnt: it stays at zero for everybody
    deviation = np.where(deviation > 1e-12 * np.maximum(1.0, np.abs(centre)), deviation, np.inf)
    _, singular, axes = np.linalg.svd((known - centre) / deviation, full_matrices=False)
    variance = singular**2 / len(known)
    reached = np.searchsorted(np.cumsum(variance), config.explained * variance.sum()) + 1
    count = int(np.clip(reached, 1, min(config.max_components, len(singular))))
    size = np.sqrt(variance[:count].sum()) or 1.0
    # the sign of an axis is arbitrary: the largest loading is made positive, so that equal data give equal columns
    signs = np.sign(axes[np.arange(count), np.abs(axes[:count]).argmax(axis=1)])
    return Block(centre=centre, axes=(axes[:count] * signs[:, None] / deviation).T / size)

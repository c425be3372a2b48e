"""Block-scaled concatenation: each block standardised, then weighed so that a wide one does not drown a narrow one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from oncoweave.nn.availability import present_blocks
from oncoweave.nn.block_columns import Standard, standardise

STAGE = "early"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """How blocks are weighed."""

    scaling: Literal["size", "spectral"] = "size"
    """size: every block has total variance 1. spectral: its first principal component has (multiple factor analysis; Escofier &
    Pages 1994)."""
    indicator: bool = True
    """Add a column that says who has the modality, where that differs among the training patients."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Block:
    """One modality's training statistics."""

    centre: np.ndarray
    scale: np.ndarray
    """Divides the centred columns: standard deviation times the block's weight."""
    share: float
    """Share of training patients who have the modality."""
    indicator: float
    """Height of the indicator column; 0 where there is none."""

    def transform(self, values: np.ndarray, present: np.ndarray) -> np.ndarray:
        """Scale one block ``[n, d]``; an absent patient stands at the training mean."""
        scaled = Standard(centre=self.centre, deviation=self.scale).apply(values, present)
        return np.hstack([scaled, self.indicator * (present[:, None] - self.share)]) if self.indicator else scaled


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Fitted:
    """Statistics of the training patients; columns come modality by modality, in the order of ``blocks``."""

    blocks: dict[str, Block]

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each output column: the modality and the index of its feature, or ``present``."""
        return tuple(
            name
            for modality, block in self.blocks.items()
            for name in [f"{modality}[{j}]" for j in range(len(block.centre))] + [f"{modality} present"] * bool(block.indicator)
        )

    @property
    def groups(self) -> tuple[str, ...]:
        """Modality of each output column."""
        return tuple(m for m, block in self.blocks.items() for _ in range(len(block.centre) + bool(block.indicator)))

    def transform(self, blocks: Mapping[str, np.ndarray]) -> np.ndarray:
        """Concatenate blocks ``[n, d]`` to ``[n, column]``, finite; rows all NaN are absent patients."""
        present = present_blocks(blocks, {name: len(block.centre) for name, block in self.blocks.items()})
        return np.hstack([block.transform(blocks[name], present[name]) for name, block in self.blocks.items()])


def fit(blocks: Mapping[str, np.ndarray], config: Config) -> Fitted:
    """Take means, standard deviations and block weights from the training patients who have each block."""
    present = present_blocks(blocks)
    return Fitted(blocks={name: _fit_block(block, present[name], config) for name, block in blocks.items()})


def _fit_block(block: np.ndarray, present: np.ndarray, config: Config) -> Block:
    standard = standardise(block, present)
    if config.scaling == "size":
        weight = np.sqrt(max(int(np.isfinite(standard.deviation).sum()), 1))
    else:
        columns = standard.of_present(block, present)
        weight = np.linalg.norm(columns, ord=2) / np.sqrt(len(columns)) or 1.0
    share = float(present.mean())
    indicator = 1.0 / weight if config.indicator and 0 < share < 1 else 0.0
    return Block(centre=standard.centre, scale=standard.deviation * weight, share=share, indicator=float(indicator))

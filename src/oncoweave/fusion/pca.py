"""Principal components of each block, then block scaling: few columns a modality, whatever its width."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from oncoweave.core.ranges import Count, SomeShare
from oncoweave.core.settings import ranged
from oncoweave.nn.availability import present_blocks
from oncoweave.nn.block_columns import Projection, SideBySide, principal_axes, standardise

STAGE = "early"


@ranged
class Config:
    """How many components a block keeps."""

    explained: SomeShare = 0.95
    """Components are added until they explain this share of a block's variance."""
    max_components: Count = 32
    """Of a block, at most."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Fitted(SideBySide):
    """Components of the training patients; columns come modality by modality, in the order of ``blocks``."""

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each output column."""
        return self.numbered("component")


def fit(blocks: Mapping[str, np.ndarray], config: Config) -> Fitted:
    """Take components from the training patients who have each block.

    Columns are standardised first. Each block is scaled to total variance 1; its components keep their relative
    variances, so that a ridge penalty shrinks the small ones more.
    """
    present = present_blocks(blocks)
    return Fitted(blocks={name: _fit_block(block, present[name], config) for name, block in blocks.items()})


def _fit_block(block: np.ndarray, present: np.ndarray, config: Config) -> Projection:
    standard = standardise(block, present)
    columns = standard.of_present(block, present)
    axes, variance = principal_axes(columns, explained=config.explained, most=config.max_components)
    return Projection(standard=standard, axes=axes / (np.sqrt(variance.sum()) or 1.0))

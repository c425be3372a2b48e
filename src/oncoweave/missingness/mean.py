"""The mean of the training patients who have the block stands for an absent one."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from oncoweave.nn.availability import present_blocks

ACTS_ON = "blocks"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """There is nothing to choose."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Fitted:
    """What most early fusions do by themselves, but without a column that says who has the modality."""

    means: dict[str, np.ndarray]
    """``[d]`` of each modality; zeros where nobody had it."""

    def transform(self, blocks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Fill blocks ``[n, d]``, whose rows are all NaN where absent; what is present stays as it is."""
        present = present_blocks(blocks, {name: len(mean) for name, mean in self.means.items()})
        return {name: np.where(present[name][:, None], blocks[name], mean) for name, mean in self.means.items()}


def fit(blocks: Mapping[str, np.ndarray], config: Config) -> Fitted:
    """Take the means of the training patients' blocks ``[n, d]``."""
    present = present_blocks(blocks)
    means = {name: block[present[name]].sum(axis=0) / max(int(present[name].sum()), 1) for name, block in blocks.items()}
    return Fitted(means=means)

"""The mean over the training patients most alike in what both have (Troyanskaya et al., Bioinformatics 17:520, 2001)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from oncoweave.core.ranges import Count
from oncoweave.core.settings import ranged
from oncoweave.nn.availability import present_blocks
from oncoweave.nn.block_columns import Standard, standardise
from oncoweave.nn.neighbours import shared_distances, standard_blocks

ACTS_ON = "blocks"


@ranged
class Config:
    """How many patients stand in."""

    neighbours: Count = 10
    """Training patients whose mean fills a block in; all who have it where they are fewer."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Fitted:
    """Training patients with their blocks, which a stored model holds. Blocks weigh alike in what two patients have in common.

    Where nobody shares a block with a patient, the training mean stands in.
    """

    neighbours: int
    blocks: dict[str, np.ndarray]
    """``[train, d]``, all NaN where absent."""
    standards: dict[str, Standard]

    def transform(self, blocks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Fill blocks ``[n, d]``, whose rows are all NaN where absent; what is present stays as it is."""
        present = present_blocks(blocks, {name: block.shape[1] for name, block in self.blocks.items()})
        filled = {name: blocks[name].copy() for name in self.blocks}
        lacking = ~np.stack(list(present.values())).all(axis=0)
        if not lacking.any():
            return filled
        known = present_blocks(self.blocks)
        distance = shared_distances(
            standard_blocks(
                {m: b[lacking] for m, b in blocks.items()}, {m: h[lacking] for m, h in present.items()}, self.standards
            ),
            {m: h[lacking] for m, h in present.items()},
            standard_blocks(self.blocks, known, self.standards),
            known,
        )
        place = np.cumsum(lacking) - 1
        for name, block in filled.items():
            for row in np.flatnonzero(~present[name]):
                block[row] = self._stand_in(name, np.where(known[name], distance[place[row]], np.inf))
        return filled

    def _stand_in(self, name: str, distance: np.ndarray) -> np.ndarray:
        nearest = np.argsort(distance, kind="stable")[: self.neighbours]
        nearest = nearest[np.isfinite(distance[nearest])]
        return self.blocks[name][nearest].mean(axis=0) if len(nearest) else self.standards[name].centre


def fit(blocks: Mapping[str, np.ndarray], config: Config) -> Fitted:
    """Keep the training patients' blocks ``[n, d]``."""
    present = present_blocks(blocks)
    standards = {name: standardise(block, present[name]) for name, block in blocks.items()}
    return Fitted(
        neighbours=config.neighbours, blocks={name: block.copy() for name, block in blocks.items()}, standards=standards
    )

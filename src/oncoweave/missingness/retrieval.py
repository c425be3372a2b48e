"""The whole block of one training patient, the most alike of those who have what is lacking (hot deck)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from oncoweave.nn.availability import present_blocks
from oncoweave.nn.block_columns import Standard, standardise
from oncoweave.nn.neighbours import shared_distances, standard_blocks

ACTS_ON = "blocks"
GIVES = "samples"
"""To networks, which read the donor's tokens, whatever the kind of modality; the others give columns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """There is nothing to choose."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Fitted:
    """Training patients with their blocks, which a stored model holds.

    One donor gives all that a patient lacks, so that what is filled in belongs together; where nobody has all of it, each block
    has a donor of its own. Networks read the donor's tokens. Blocks are real ones, with the spread of real ones, not averages.
    Where nobody shares a block with a patient, the training mean stands in, and for networks nothing.
    """

    blocks: dict[str, np.ndarray]
    """``[train, d]``, all NaN where absent."""
    standards: dict[str, Standard]

    def transform(self, blocks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Fill blocks ``[n, d]``, whose rows are all NaN where absent; what is present stays as it is."""
        filled = {}
        for name, donors in self.donors(blocks).items():
            given = np.where((donors < 0)[:, None], self.standards[name].centre, self.blocks[name][donors])
            absent = np.isnan(blocks[name]).all(axis=1, keepdims=True)
            filled[name] = np.where(absent, given, blocks[name])
        return filled

    def donors(self, blocks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Name the training row that gives each absent block, ``Int[n]`` a modality; -1 where present, or where there is none."""
        present = present_blocks(blocks, {name: block.shape[1] for name, block in self.blocks.items()})
        found = {name: np.full(len(blocks[name]), -1) for name in self.blocks}
        known = present_blocks(self.blocks)
        train = standard_blocks(self.blocks, known, self.standards)
        for row in np.flatnonzero(~np.stack(list(present.values())).all(axis=0)):
            has = {name: who[[row]] for name, who in present.items()}
            own = standard_blocks({name: blocks[name][[row]] for name in self.blocks}, has, self.standards)
            distance = shared_distances(own, has, train, known)[0]
            absent = [name for name, who in has.items() if not who[0]]
            donor = _nearest(distance, np.all([known[name] for name in absent], axis=0))
            for name in absent:
                found[name][row] = _nearest(distance, known[name]) if donor < 0 else donor
        return found


def _nearest(distance: np.ndarray, candidates: np.ndarray) -> int:
    usable = np.where(candidates, distance, np.inf)
    best = int(np.argmin(usable))
    return best if np.isfinite(usable[best]) else -1


def fit(blocks: Mapping[str, np.ndarray], config: Config) -> Fitted:
    """Keep the training patients' blocks ``[n, d]``."""
    present = present_blocks(blocks)
    standards = {name: standardise(block, present[name]) for name, block in blocks.items()}
    return Fitted(blocks={name: block.copy() for name, block in blocks.items()}, standards=standards)

"""Canonical variates: of each block, the directions that agree best with the others (MAXVAR; Kettenring 1971, sec. 5)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from oncoweave.core.ranges import Count, Share
from oncoweave.core.settings import ranged
from oncoweave.nn.availability import present_blocks
from oncoweave.nn.block_columns import Projection, SideBySide, principal_axes, standardise

STAGE = "early"
JOINT = True


@ranged
class Config:
    """How many variates, and how far noise may pass for agreement."""

    components: Count = 8
    """Variates, of which each block gives its part: so many columns a block, of a narrow one too; fewer where all blocks together
    have fewer axes."""
    shrinkage: Share = 0.3
    """Share of a block's mean variance in the variance that its directions are divided by; 0 is plain CCA."""
    max_axes: Count = 32
    """Principal components a block is reduced to first (95 % of its variance, where fewer do)."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Fitted(SideBySide):
    """Variates side by side, block by block (Sun et al., Pattern Recognit 38:2437, 2005); an absent block's stand at zero.

    Blocks agree as far as patients have both: each cross-covariance is summed over the training patients who have the two and
    divided by the geometric mean of the numbers who have either, so that few common patients cannot agree more than many.
    """

    agreement: np.ndarray
    """``[k]``: eigenvalues; without shrinkage from 0 to the number of blocks, where 1 is what one block alone would reach."""

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each output column."""
        return self.numbered("variate")


def fit(blocks: Mapping[str, np.ndarray], config: Config) -> Fitted:
    """Find the directions on the training patients.

    The variates maximise the largest eigenvalues of the blocks' correlation matrix after each block is whitened with its shrunk
    covariance: sum_b X_b (X_b' X_b + r I)^-1 X_b' (MAXVAR with a ridge; Tenenhaus & Tenenhaus 2011).
    """
    present = present_blocks(blocks)
    standards = {name: standardise(block, present[name]) for name, block in blocks.items()}
    whitened, directions = {}, {}
    for name, block in blocks.items():
        columns = standards[name].of_present(block, present[name])
        axes, variance = principal_axes(columns, explained=0.95, most=config.max_axes)
        shrunk = (1 - config.shrinkage) * variance + config.shrinkage * variance.mean()
        directions[name] = axes / np.sqrt(np.where(shrunk > 0, shrunk, np.inf))
        whitened[name] = standards[name].apply(block, present[name]) @ directions[name]
    correlation = _correlation(whitened, present)
    values, vectors = np.linalg.eigh(correlation)
    order = np.argsort(-values, kind="stable")[: config.components]
    parts = np.split(vectors[:, order], np.cumsum([d.shape[1] for d in directions.values()])[:-1])
    fitted = {
        name: Projection(standard=standards[name], axes=_scaled(directions[name] @ part, whitened[name] @ part, present[name]))
        for (name, part) in zip(blocks, parts, strict=True)
    }
    return Fitted(blocks=fitted, agreement=values[order])


def _correlation(whitened: Mapping[str, np.ndarray], present: Mapping[str, np.ndarray]) -> np.ndarray:
    names = list(whitened)
    rows = []
    for a in names:
        both = [present[a] & present[b] for b in names]
        sizes = [np.sqrt(present[a].sum() * present[b].sum()) for b in names]
        crosses = zip(names, both, sizes, strict=True)
        rows.append([whitened[a][r].T @ whitened[b][r] / max(size, 1.0) for b, r, size in crosses])
    return np.block(rows)


def _scaled(loadings: np.ndarray, variates: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Give the variates total variance 1; signs are those that make each direction's largest loading positive."""
    size = np.sqrt((variates**2).sum() / max(int(present.sum()), 1))
    signs = np.sign(loadings[np.abs(loadings).argmax(axis=0), np.arange(loadings.shape[1])])
    return loadings * signs / size if size > 0 else np.zeros_like(loadings)

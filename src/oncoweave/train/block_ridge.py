"""A penalty for each block of columns, so that a block that does not help is shrunk away.

The penalties are chosen by cross-validated log-likelihood with a coordinate search, after the multi-penalty ridge of
van de Wiel et al. (J Comput Graph Stat 30:835, 2021) and the IPF-lasso of Boulesteix et al. (Comput Math Methods Med
2017:7691937).
"""

from dataclasses import dataclass

import numpy as np

from oncoweave.evaluate.likelihoods import Likelihood
from oncoweave.train.ridge import (
    InnerFolds,
    choose_penalty,
    cross_validate,
    design,
    gram_root,
    inner_folds,
    maximise,
)

_STEPS = (8.0, 3.0)
"""Factors by which a block's penalty is tried larger and smaller, a coarse round and a fine one."""
_MARGIN = 0.1
"""Cross-validated log-likelihood that a change has to gain; below it the search would follow noise."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Blocks:
    """Columns in groups, each with its Gram matrix, so that trying a penalty costs n x n and not p."""

    x: np.ndarray
    names: tuple[str, ...]
    member: np.ndarray
    """``Int[p]``: the block of each column."""
    grams: tuple[np.ndarray, ...] | None
    """None where the columns are fewer than the patients."""

    def rotated(self, penalties: np.ndarray) -> np.ndarray:
        """Columns whose unit-penalty ridge is the ridge with these block penalties; an infinite one drops the block."""
        if self.grams is None:
            return self.x / np.sqrt(penalties[self.member])
        kept = [gram / penalty for gram, penalty in zip(self.grams, penalties, strict=True) if np.isfinite(penalty)]
        return gram_root(sum(kept)) if kept else np.zeros((len(self.x), 1))  # type: ignore[arg-type]


def split_blocks(x: np.ndarray, groups: np.ndarray) -> Blocks:
    """Split columns ``[n, p]`` by the name each carries in ``groups`` ``[p]``."""
    names, member = np.unique(np.asarray(groups).astype(str), return_inverse=True)
    parts = [x[:, member == b] for b in range(len(names))]
    grams = tuple(part @ part.T for part in parts) if x.shape[1] > x.shape[0] else None
    return Blocks(x=x, names=tuple(str(n) for n in names), member=member, grams=grams)


def choose_block_penalties(likelihood: Likelihood, blocks: Blocks, labels: np.ndarray) -> np.ndarray:
    """Choose a penalty a block, ``[block]``, on the inner folds named by ``labels`` ``[n]``; infinite where it is dropped.

    Starts from the better of one common penalty, and of each block at the penalty that suits it alone, dropped where even that
    does not beat a model without covariates; then tries each block in turn larger, smaller, and dropped.
    """
    folds = inner_folds(likelihood, labels)
    search = _Search(folds=folds, blocks=blocks)
    common, _ = choose_penalty(folds, blocks.rotated(np.ones(len(blocks.names))))
    starts = [np.full(len(blocks.names), common), _alone(folds, blocks)]
    best = max(starts, key=search.score)
    for step in _STEPS:
        best = search.improve(best, step=step)
    return best


def _alone(folds: InnerFolds, blocks: Blocks) -> np.ndarray:
    empty, _ = cross_validate(folds, np.zeros((len(blocks.x), 1)), penalty=1.0, starts=[None] * len(folds.rows))
    penalties = []
    for b in range(len(blocks.names)):
        only = np.full(len(blocks.names), np.inf)
        only[b] = 1.0
        penalty, score = choose_penalty(folds, blocks.rotated(only))
        # each block explains what the others explain too: together they need more shrinkage than alone
        penalties.append(2.0 * penalty if score > empty + _MARGIN else np.inf)
    return np.array(penalties)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _Search:
    """Cross-validated log-likelihood of block penalties, remembered."""

    folds: InnerFolds
    blocks: Blocks

    def score(self, penalties: np.ndarray) -> float:
        z = self.blocks.rotated(penalties)
        return cross_validate(self.folds, z, penalty=1.0, starts=[None] * len(self.folds.rows))[0]

    def improve(self, penalties: np.ndarray, *, step: float) -> np.ndarray:
        """Sweep over the blocks until none improves, three sweeps at most."""
        best, best_score = penalties.copy(), self.score(penalties)
        typical = np.median(best[np.isfinite(best)]) if np.isfinite(best).any() else 1.0
        for _ in range(3):
            before = best_score
            for b in range(len(best)):
                centre = best[b] if np.isfinite(best[b]) else typical
                for value in (centre * step, centre / step, np.inf):
                    proposal = best.copy()
                    proposal[b] = value
                    score = self.score(proposal) if value != best[b] else -np.inf
                    if score > best_score + _MARGIN:
                        best, best_score = proposal, score
            if best_score <= before:
                break
        return best


def fit_blocks(likelihood: Likelihood, blocks: Blocks, penalties: np.ndarray) -> np.ndarray:
    """Coefficients ``[p (+ 1 for the intercept), c]`` at given block penalties."""
    kept = np.isfinite(penalties)[blocks.member]
    result = np.zeros((blocks.x.shape[1] + likelihood.has_intercept, likelihood.num_columns))
    rotation = design(blocks.x[:, kept], penalties[blocks.member][kept])
    theta = maximise(likelihood, rotation.rotated, penalty=1.0)
    width = rotation.rotated.shape[1]
    result[: blocks.x.shape[1]][kept] = rotation.coefficients(theta[:width])
    if likelihood.has_intercept:
        result[-1] = theta[-1]
    return result

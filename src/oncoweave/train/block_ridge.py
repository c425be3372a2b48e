"""A penalty for each block of columns, so that a block that does not help is shrunk away.

In the family of the multi-penalty ridge of van de Wiel et al. (J Comput Graph Stat 30:835, 2021) and the IPF-lasso of Boulesteix
et al. (Comput Math Methods Med 2017:7691937), with penalties from what each block gains out of fold.
"""

from dataclasses import dataclass

import numpy as np

from oncoweave.evaluate.likelihoods import Likelihood
from oncoweave.train.ridge import (
    cross_validate,
    design,
    gram_root,
    inner_folds,
    maximise,
    score_path,
)


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
        return gram_root(sum(kept)) if kept else np.zeros((len(self.x), 1))


def split_blocks(x: np.ndarray, groups: np.ndarray) -> Blocks:
    """Split columns ``[n, p]`` by the name each carries in ``groups`` ``[p]``."""
    names, member = np.unique(np.asarray(groups).astype(str), return_inverse=True)
    parts = [x[:, member == b] for b in range(len(names))]
    grams = tuple(part @ part.T for part in parts) if x.shape[1] > x.shape[0] else None
    return Blocks(x=x, names=tuple(str(n) for n in names), member=member, grams=grams)


def choose_block_penalties(likelihood: Likelihood, blocks: Blocks, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Choose a penalty a block, ``[block]``, on the inner folds named by ``labels`` ``[n]``; infinite where it is dropped.

    A block's gain g is what it adds alone, out of fold, to the log-likelihood of no covariates. Out of m useless blocks the best
    gains about log m by chance, so a block is dropped where g <= log m, and else its coefficients' prior standard deviation is
    shrunk by 1 - log(m) / g. Before that, every block's prior gives its linear predictor the same variance, whatever its width
    and units. The one strength common to all is then cross-validated. Where no block is kept, all are, at equal strength.

    Also returns each patient's linear predictor ``[n, c]`` by the fold that left the patient out, at the chosen penalties.

    Choosing m penalties freely by cross-validation finds higher cross-validated values that do not hold on new patients.
    """
    folds, num = inner_folds(likelihood, labels), len(blocks.names)
    nothing, _, _ = cross_validate(folds, np.zeros((len(blocks.x), 1)), penalty=1.0, starts=[None] * len(folds.rows))
    alone = [score_path(folds, blocks.rotated(_only(b, num))).fair_total for b in range(num)]
    gains = np.array(alone) - nothing.sum()
    shrinkage = 1.0 - np.log(num) / np.maximum(gains, np.finfo(float).tiny)
    shrinkage = np.where(gains > np.log(num), shrinkage, 0.0)
    shrinkage = shrinkage if shrinkage.any() else np.ones(num)
    variance = np.bincount(blocks.member, weights=blocks.x.var(axis=0), minlength=num)
    relative = np.full(num, np.inf)
    kept = (shrinkage > 0) & (variance > 0)
    relative[kept] = variance[kept] / shrinkage[kept] ** 2
    path = score_path(folds, blocks.rotated(relative))
    return path.best * relative, path.out_of_fold


def _only(b: int, num: int) -> np.ndarray:
    penalties = np.full(num, np.inf)
    penalties[b] = 1.0
    return penalties


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

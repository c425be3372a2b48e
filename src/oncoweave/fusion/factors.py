"""Factors behind all blocks, shared or of one block only: Bayesian group factor analysis (MOFA-like) with absent blocks.

Written here, as the method's own library (mofapy2, under the LGPL) gives no factors of patients whom it was not fitted on, and a
model that is tested needs those.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from oncoweave.core.ranges import Count, Rate
from oncoweave.core.settings import ranged
from oncoweave.nn.availability import present_blocks
from oncoweave.nn.block_columns import Standard, principal_axes, standardise

STAGE = "early"
JOINT = True
SHARED = True

_PRIOR = 1e-3
"""Shape and rate of the gamma priors of precisions: next to flat."""


@ranged
class Config:
    """How many factors there may be."""

    max_factors: Count = 15
    """Those that explain nothing are switched off."""
    least_explained: Rate = 0.02
    """Share of some block's variance that a factor has to explain to be kept; the largest is kept in any case."""
    iterations: Count = 300
    """Of the fit, at most."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Block:
    """What one modality tells of the factors."""

    standard: Standard
    projection: np.ndarray
    """``[d, k]``: loadings over the noise variance."""
    information: np.ndarray
    """``[k, k]``: what having this block adds to the precision of a patient's factors."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Fitted:
    """A patient's factors are their posterior mean given the blocks present: the fewer these are, the nearer to zero.

    x_b = W_b z + noise, z standard normal, every column of W_b normal with a precision of its own (ARD), which switches a factor
    off block by block (Virtanen et al., AISTATS 2012, eq. 1-3; Argelaguet et al., Mol Syst Biol 14:e8124, 2018). Absent blocks
    are left out of the likelihood, not filled in.
    """

    blocks: dict[str, Block]
    explained: np.ndarray
    """``[block, k]``: share of the block's variance that each factor explains."""

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each output column, by falling variance explained."""
        return tuple(f"factor {k + 1}" for k in range(self.explained.shape[1]))

    @property
    def groups(self) -> tuple[str, ...]:
        """Factors belong to no one modality."""
        return ("shared",) * self.explained.shape[1]

    def transform(self, blocks: Mapping[str, np.ndarray]) -> np.ndarray:
        """Infer factors ``[n, k]`` from blocks ``[n, d]``; rows all NaN are absent patients."""
        present = present_blocks(blocks, {name: len(block.projection) for name, block in self.blocks.items()})
        pulls = [b.standard.apply(blocks[name], present[name]) @ b.projection for name, b in self.blocks.items()]
        who = np.stack([present[name] for name in self.blocks], axis=1)
        return _infer(pulls, [b.information for b in self.blocks.values()], who)[0]


def fit(blocks: Mapping[str, np.ndarray], config: Config) -> Fitted:
    """Fit by variational Bayes on the training patients, from the principal components of all blocks."""
    present = present_blocks(blocks)
    who = np.stack([present[name] for name in blocks], axis=1)
    standards = {name: standardise(block, present[name]) for name, block in blocks.items()}
    columns, rotations = [], []
    for name, block in blocks.items():
        x = standards[name].apply(block, present[name])
        # noise is alike in all directions, so that a rotation to those the patients span loses nothing
        rotations.append(principal_axes(x)[0] if x.shape[1] > len(x) else np.eye(x.shape[1]))
        columns.append(x @ rotations[-1])
    widths = [int(np.isfinite(s.deviation).sum()) for s in standards.values()]
    parts = _start(columns, who, widths, config.max_factors)
    for _ in range(config.iterations):
        before = np.vstack([p.weights for p in parts])
        mean, second = _infer(
            [x @ p.weights / p.noise for x, p in zip(columns, parts, strict=True)], [p.information() for p in parts], who
        )
        parts = [p.updated(x[has], mean[has], second[has].sum(axis=0)) for p, x, has in zip(parts, columns, who.T, strict=True)]
        if np.abs(np.vstack([p.weights for p in parts]) - before).max() < 1e-5:
            break
    explained = np.stack([(p.weights**2).sum(axis=0) / max(p.width, 1) for p in parts])
    kept = np.argsort(-explained.sum(axis=0), kind="stable")
    kept = kept[(explained[:, kept].max(axis=0) >= config.least_explained) | (np.arange(len(kept)) == 0)]
    return Fitted(blocks=_blocks(standards, rotations, parts, kept), explained=explained[:, kept])


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _Part:
    """One block while fitting, rotated to what the patients span."""

    weights: np.ndarray
    """``[r, k]``: posterior mean of the loadings."""
    spread: np.ndarray
    """``[k, k]``: posterior covariance of one column's loadings."""
    noise: float
    """Variance of what the factors leave of a column."""
    width: int
    """Columns that vary, before the rotation."""

    def information(self) -> np.ndarray:
        return (self.weights.T @ self.weights + self.width * self.spread) / self.noise

    def updated(self, x: np.ndarray, mean: np.ndarray, second: np.ndarray) -> "_Part":
        """Update loadings and noise from columns ``[n, r]``, factors ``[n, k]`` and the sum of their second moments."""
        if not len(x) or self.width == 0:
            return self
        size = (self.weights**2).sum(axis=0) + self.width * np.diag(self.spread)
        precision = (2 * _PRIOR + self.width) / (2 * _PRIOR + size)
        spread = np.linalg.inv(np.diag(precision) + second / self.noise)
        shared = x.T @ mean
        weights = shared @ spread / self.noise
        left = (x**2).sum() - 2 * (shared * weights).sum() + ((weights.T @ weights + self.width * spread) * second).sum()
        noise = (2 * _PRIOR + float(left)) / (2 * _PRIOR + len(x) * self.width)
        return _Part(weights=weights, spread=(spread + spread.T) / 2, noise=max(noise, 1e-4), width=self.width)


def _infer(pulls: list[np.ndarray], informations: list[np.ndarray], who: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posterior mean ``[n, k]`` and second moment ``[n, k, k]`` of the factors, given who has which block ``[n, block]``."""
    total, width = np.sum(pulls, axis=0), informations[0].shape[0]
    mean, second = np.empty((len(who), width)), np.empty((len(who), width, width))
    for pattern in np.unique(who, axis=0):
        rows = (who == pattern).all(axis=1)
        precision = np.eye(width) + sum(i for i, has in zip(informations, pattern, strict=True) if has)
        covariance = np.linalg.inv(precision)
        mean[rows] = total[rows] @ covariance
        second[rows] = covariance + mean[rows][:, :, None] * mean[rows][:, None, :]
    return mean, second


def _start(columns: list[np.ndarray], who: np.ndarray, widths: list[int], most: int) -> list[_Part]:
    """Load every block on the principal components of all of them side by side, each of total variance 1."""
    joined = np.hstack([x / np.sqrt(max(width, 1)) for x, width in zip(columns, widths, strict=True)])
    axes, variance = principal_axes(joined - joined.mean(axis=0), most=most)
    factors = (joined - joined.mean(axis=0)) @ axes / np.sqrt(np.where(variance > 1e-12, variance, np.inf))
    parts = []
    for x, has, width in zip(columns, who.T, widths, strict=True):
        weights = x[has].T @ factors[has] / max(int(has.sum()), 1)
        parts.append(_Part(weights=weights, spread=1e-3 * np.eye(factors.shape[1]), noise=0.5, width=width))
    return parts


def _blocks(
    standards: Mapping[str, Standard], rotations: list[np.ndarray], parts: list[_Part], kept: np.ndarray
) -> dict[str, Block]:
    """Undo the rotations; the sign of a factor is that which makes its largest loading positive."""
    loadings = [rotation @ part.weights[:, kept] for rotation, part in zip(rotations, parts, strict=True)]
    stacked = np.vstack(loadings)
    signs = np.sign(stacked[np.abs(stacked).argmax(axis=0), np.arange(len(kept))])
    signs = np.where(signs == 0, 1.0, signs)
    return {
        name: Block(
            standard=standards[name],
            projection=loading * signs / part.noise,
            information=part.information()[np.ix_(kept, kept)] * np.outer(signs, signs),
        )
        for name, loading, part in zip(standards, loadings, parts, strict=True)
    }

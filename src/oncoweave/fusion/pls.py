"""Partial least squares: of each block, the directions that vary most together with the outcome (Wold 1985; Bastien 2008)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from oncoweave.core.endpoint import Target
from oncoweave.core.ranges import Count
from oncoweave.core.settings import ranged
from oncoweave.evaluate.likelihoods import cox_likelihood
from oncoweave.nn.availability import present_blocks
from oncoweave.nn.block_columns import Projection, SideBySide, standardise

STAGE = "early"
NEEDS = ("target",)


@ranged
class Config:
    """How many components a block gives."""

    components: Count = 2
    """Of a block."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Fitted(SideBySide):
    """Components side by side, block by block; an absent block's stand at zero.

    They saw the outcome: whatever is fitted on top of them needs the components of a patient by a fit that left the patient out.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each output column."""
        return self.numbered("component")


def fit(blocks: Mapping[str, np.ndarray], config: Config, target: Target) -> Fitted:
    """Find the components on the training patients whose outcome is known.

    Components are those of the residuals of a model without covariates: of survival the martingale residuals, of classes and
    labels what came true less its frequency, of an ordinal class its place less the mean.
    """
    present = present_blocks(blocks)
    residuals = _residuals(target)
    return Fitted(blocks={name: _fit_block(block, present[name], residuals, config.components) for name, block in blocks.items()})


def _residuals(target: Target) -> np.ndarray:
    """``[n, c]``; 0 where the outcome is not known."""
    known, kind = target.known, target.endpoint.kind
    if kind == "survival":
        result = np.zeros((len(target), 1))
        result[known] = cox_likelihood(target.time[known], target.event[known]).gradient(np.zeros((int(known.sum()), 1)))
        return result
    values = target.values.reshape(len(target), -1)
    if kind == "multiclass":
        values = np.where(known[:, None], values == np.arange(len(target.endpoint.classes)), np.nan)
    return np.nan_to_num(values - np.nanmean(values, axis=0))


def _fit_block(block: np.ndarray, present: np.ndarray, residuals: np.ndarray, components: int) -> Projection:
    standard = standardise(block, present)
    whole = standard.apply(block, present)
    x, weights, loadings = whole[present], [], []
    for _ in range(min(components, block.shape[1])):
        left, singular, right = np.linalg.svd(x.T @ residuals[present], full_matrices=False)
        if not len(singular) or singular[0] < 1e-9 * max(len(x), 1):
            break
        # the sign is arbitrary: an axis points to more of the outcome, to labels, to later classes
        weight = left[:, 0] * (1.0 if right[0] @ np.arange(1.0, 1.0 + len(right[0])) >= 0 else -1.0)
        score = x @ weight
        loading = x.T @ score / (score @ score)
        x = x - np.outer(score, loading)
        weights.append(weight)
        loadings.append(loading)
    # as many columns whatever was found, so that fits on other patients have them too
    axes = np.zeros((block.shape[1], min(components, block.shape[1])))
    if weights:
        w, p = np.stack(weights, axis=1), np.stack(loadings, axis=1)
        found = w @ np.linalg.inv(p.T @ w)
        axes[:, : len(weights)] = found / np.sqrt(((whole[present] @ found) ** 2).sum() / present.sum())
    return Projection(standard=standard, axes=axes)

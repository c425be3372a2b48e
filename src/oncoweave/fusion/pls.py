"""Partial least squares: of each block, the directions that vary most together with the outcome (Wold 1985; Bastien 2008)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

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

    toward: dict[str, np.ndarray]
    """``[component, residual]`` of each block: the direction among the residuals that a component varies with, of length 1; 0 of
    a component that was not found."""

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each output column."""
        return self.numbered("component")

    def like(self, other: "Fitted") -> "Fitted":
        """Turn components to where those of another fit point.

        Of several classes or labels, which way a component points is arbitrary and may differ from fit to fit: one is turned
        whose ``toward`` stands at more than a right angle to that of the other fit.
        """
        turn = {m: np.where((own * other.toward[m]).sum(axis=1) < 0, -1.0, 1.0) for m, own in self.toward.items()}
        return Fitted(
            blocks={m: replace(block, axes=block.axes * turn[m]) for m, block in self.blocks.items()},
            toward={m: own * turn[m][:, None] for m, own in self.toward.items()},
        )


def fit(blocks: Mapping[str, np.ndarray], config: Config, target: Target) -> Fitted:
    """Find the components on the training patients whose outcome is known.

    Components are those of the residuals of a model without covariates: of survival the martingale residuals, of classes and
    labels what came true less its frequency, of an ordinal class its place less the mean.
    """
    present = present_blocks(blocks)
    residuals = _residuals(target)
    found = {name: _fit_block(block, present[name], residuals, config.components) for name, block in blocks.items()}
    return Fitted(blocks={m: block for m, (block, _) in found.items()}, toward={m: toward for m, (_, toward) in found.items()})


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


def _fit_block(block: np.ndarray, present: np.ndarray, residuals: np.ndarray, components: int) -> tuple[Projection, np.ndarray]:
    standard = standardise(block, present)
    whole = standard.apply(block, present)
    x, weights, loadings = whole[present], [], []
    toward = np.zeros((min(components, block.shape[1]), residuals.shape[1]))
    for k in range(len(toward)):
        left, singular, right = np.linalg.svd(x.T @ residuals[present], full_matrices=False)
        if not len(singular) or singular[0] < 1e-9 * max(len(x), 1):
            break
        # the sign is arbitrary: an axis points to more of the outcome, to labels, to later classes
        sign = 1.0 if right[0] @ np.arange(1.0, 1.0 + len(right[0])) >= 0 else -1.0
        weight, toward[k] = left[:, 0] * sign, right[0] * sign
        score = x @ weight
        loading = x.T @ score / (score @ score)
        x = x - np.outer(score, loading)
        weights.append(weight)
        loadings.append(loading)
    # as many columns whatever was found, so that fits on other patients have them too
    axes = np.zeros((block.shape[1], len(toward)))
    if weights:
        w, p = np.stack(weights, axis=1), np.stack(loadings, axis=1)
        found = w @ np.linalg.inv(p.T @ w)
        axes[:, : len(weights)] = found / np.sqrt(((whole[present] @ found) ** 2).sum() / present.sum())
    return Projection(standard=standard, axes=axes), toward

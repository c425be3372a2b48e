"""Each block regressed on the others by ridge on principal components, in turns (chained equations; van Buuren 2007)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from oncoweave.core.ranges import Count
from oncoweave.core.settings import ranged
from oncoweave.nn.availability import present_blocks
from oncoweave.nn.block_columns import Standard, principal_axes, standardise

ACTS_ON = "blocks"

_PENALTIES = np.geomspace(1e-2, 1e4, 13)


@ranged
class Config:
    """How finely blocks are told, and how often they are gone through."""

    max_components: Count = 20
    """Of each block; 99 % of its variance, where fewer do. A filled-in block has no more than these."""
    rounds: Count = 20
    """Over all blocks, at most."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Block:
    """One modality's training statistics, components and regression."""

    standard: Standard
    axes: np.ndarray
    """``[d, k]``: components of standardised columns."""
    size: float
    """Root of their total variance, by which they are divided so that blocks weigh alike."""
    slopes: np.ndarray
    """``[other components, k]``: regression on the components of all other blocks, in order."""
    offset: np.ndarray
    """``[k]``: where it meets zero; patients who have the block may differ from the others in what they have besides."""

    def components(self, block: np.ndarray, present: np.ndarray) -> np.ndarray:
        """Components ``[n, k]``; zero, the mean, where absent."""
        return self.standard.apply(block, present) @ self.axes / self.size

    def told(self, others: np.ndarray) -> np.ndarray:
        """Components ``[n, k]`` as the regression has them."""
        return others @ self.slopes + self.offset

    def columns(self, components: np.ndarray) -> np.ndarray:
        """Columns ``[n, d]`` that have these components and are average otherwise; those that never varied stay as they were."""
        scale = np.where(np.isfinite(self.standard.deviation), self.standard.deviation, 0.0)
        return self.standard.centre + (components * self.size) @ self.axes.T * scale


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Fitted:
    """Absent blocks start at the mean and are predicted from the others, block after block, round after round."""

    blocks: dict[str, Block]
    rounds: int

    def transform(self, blocks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Fill blocks ``[n, d]``, whose rows are all NaN where absent; what is present stays as it is."""
        present = present_blocks(blocks, {name: len(block.axes) for name, block in self.blocks.items()})
        state = {name: block.components(blocks[name], present[name]) for name, block in self.blocks.items()}
        for _ in range(self.rounds):
            for name, block in self.blocks.items():
                state[name] = np.where(present[name][:, None], state[name], block.told(_others(state, name)))
        return {
            name: np.where(present[name][:, None], blocks[name], block.columns(state[name]))
            for name, block in self.blocks.items()
        }


def _others(state: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    parts = [value for other, value in state.items() if other != name]
    return np.hstack(parts) if parts else np.zeros((len(state[name]), 0))


def fit(blocks: Mapping[str, np.ndarray], config: Config) -> Fitted:
    """Fit the regressions on the training patients who have each block, others filled in by the regressions of the round.

    The penalty of each is chosen by leaving patients out one at a time, in closed form.
    """
    present = present_blocks(blocks)
    parts = {name: _unregressed(block, present[name], config.max_components) for name, block in blocks.items()}
    state = {name: part.components(blocks[name], present[name]) for name, part in parts.items()}
    for _ in range(config.rounds):
        for name, part in parts.items():
            has, others = present[name], _others(state, name)
            slopes, offset = _ridge(others[has], state[name][has])
            parts[name] = replace(part, slopes=slopes, offset=offset)
            state[name] = np.where(has[:, None], state[name], parts[name].told(others))
    return Fitted(blocks=parts, rounds=config.rounds)


def _unregressed(block: np.ndarray, present: np.ndarray, most: int) -> Block:
    standard = standardise(block, present)
    axes, variance = principal_axes(standard.of_present(block, present), explained=0.99, most=most)
    slopes, size = np.zeros((0, axes.shape[1])), float(np.sqrt(variance.sum())) or 1.0
    return Block(standard=standard, axes=axes, size=size, slopes=slopes, offset=np.zeros(axes.shape[1]))


def _ridge(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ridge regression of ``y`` ``[n, k]`` on ``x`` ``[n, p]``, at the penalty of least left-out error: slopes and offset."""
    if not x.size:
        return np.zeros((x.shape[1], y.shape[1])), np.zeros(y.shape[1])
    middle_x, middle_y = x.mean(axis=0), y.mean(axis=0)
    x, y = x - middle_x, y - middle_y
    left, singular, right = np.linalg.svd(x, full_matrices=False)
    told = left.T @ y
    errors, shrunk = [], [singular**2 / (singular**2 + penalty) for penalty in _PENALTIES]
    for kept in shrunk:
        residual = y - left @ (kept[:, None] * told)
        errors.append(float(((residual / np.maximum(1.0 - 1 / len(x) - (left**2) @ kept, 1e-6)[:, None]) ** 2).sum()))
    kept = shrunk[int(np.argmin(errors))]
    inverse = np.divide(kept, singular, out=np.zeros_like(kept), where=singular > 1e-12)
    slopes = right.T @ (inverse[:, None] * told)
    return slopes, middle_y - middle_x @ slopes

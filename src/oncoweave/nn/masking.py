"""Which patches are hidden: rectangles for masked prediction, random ones for autoencoders."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

_TRIES = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Blocks:
    """How rectangles are drawn; the defaults are those of DINOv2."""

    share: float = 0.5
    """Share of tiles that are masked at all."""
    ratio: tuple[float, float] = (0.1, 0.5)
    """Least and largest share of patches hidden in a masked tile."""
    aspect: float = 0.3
    """Lowest ratio of height to width of a rectangle; the highest is its inverse."""
    smallest: int = 4
    """Patches in the smallest rectangle."""


def block_masks(
    num_tiles: int, grid: tuple[int, int], *, blocks: Blocks, generator: torch.Generator
) -> Bool[np.ndarray, "batch patch"]:
    """Hide rectangles of patches (BEiT, Bao et al. 2022, algorithm 1), row by row, in ``share`` of the tiles, drawn at random.

    The range of ratios is cut into as many equal parts as tiles are masked, and each tile draws its ratio from a part of its own,
    so that batches are alike (DINOv2). Where no rectangle fits any more, single patches fill up: the number is met exactly.
    """
    rng = _numpy(generator)
    num_patches = grid[0] * grid[1]
    num_masked = int(num_tiles * blocks.share)
    edges = np.linspace(*blocks.ratio, num_masked + 1)
    masks = np.zeros((num_tiles, num_patches), dtype=bool)
    for row, low, high in zip(rng.permutation(num_tiles)[:num_masked], edges[:-1], edges[1:], strict=True):
        masks[row] = _rectangles(grid, int(num_patches * rng.uniform(low, high)), blocks, rng).ravel()
    return masks


def random_visible(
    num_tiles: int, num_patches: int, *, hidden: float, generator: torch.Generator
) -> tuple[Int64[Tensor, "batch visible"], Int64[Tensor, "batch hidden"]]:
    """Draw the patches to show and those to hide, a share ``hidden`` rounded down, in rising order (MAE, He et al. 2022)."""
    order = torch.rand(num_tiles, num_patches, generator=generator, device=generator.device).argsort(dim=1)
    num_visible = num_patches - int(num_patches * hidden)
    return order[:, :num_visible].sort(dim=1).values, order[:, num_visible:].sort(dim=1).values


def _rectangles(grid: tuple[int, int], number: int, blocks: Blocks, rng: np.random.Generator) -> np.ndarray:
    height, width = grid
    mask = np.zeros(grid, dtype=bool)
    spread = -math.log(blocks.aspect)
    left, failed = number, 0
    while left >= blocks.smallest and failed < _TRIES:
        area, log_aspect, across, down = rng.random(4).tolist()
        area = blocks.smallest + area * (left - blocks.smallest)
        aspect = math.exp((2 * log_aspect - 1) * spread)
        high, wide = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        failed += 1
        if not (0 < high < height and 0 < wide < width):
            continue
        top, start = int(down * (height - high + 1)), int(across * (width - wide + 1))
        part = mask[top : top + high, start : start + wide]
        fresh = high * wide - int(part.sum())
        if 0 < fresh <= left:
            part[:] = True
            left, failed = left - fresh, 0
    if left:
        mask.ravel()[rng.permutation(np.flatnonzero(~mask.ravel()))[:left]] = True
    return mask


def _numpy(generator: torch.Generator) -> np.random.Generator:
    """Draw a numpy generator, whose single numbers cost a tenth of torch's."""
    seed = torch.randint(2**62, (1,), generator=generator, device=generator.device)
    return np.random.default_rng(int(seed))

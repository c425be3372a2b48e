"""Pixel spaces of a slide, and the only place that converts between them.

A point is ``(x, y)``, a size ``(width, height)``, an array ``[height, width]``. Level-0 pixels are the finest a slide stores;
they are the unit of every coordinate written to disk. A tile is asked for in its own pixels at a target resolution, so its side
in level-0 pixels is seldom whole: 256 px at 0.5 um/px on a slide of 0.265 um/px is 483.02 level-0 px. Extents are therefore exact
floats, while tile corners lie on a whole-pixel grid.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NewType

import numpy as np
from jaxtyping import Int64

from oncoweave.core.errors import ConfigError

Px0 = NewType("Px0", float)
"""A length in level-0 pixels."""
TilePx = NewType("TilePx", int)
"""A length in pixels of a tile, at the target resolution."""
Um = NewType("Um", float)
"""A length in micrometres."""
Mpp = NewType("Mpp", float)
"""A resolution in micrometres a pixel."""

PLAUSIBLE_MPP = (0.02, 10.0)
"""What a slide scanner can mean, in um/px; image software writes 72 or 96 dpi, which reads as 353 or 265 um/px."""

_LEVEL_TOLERANCE = 0.01
_SQUARE_TOLERANCE = 0.01


def px0_to_um(length: Px0, *, level0: Mpp) -> Um:
    """Convert level-0 pixels to micrometres.

    >>> px0_to_um(Px0(512.0), level0=Mpp(0.25))
    128.0
    """
    return Um(length * level0)


def um_to_px0(length: Um, *, level0: Mpp) -> Px0:
    """Convert micrometres to level-0 pixels."""
    return Px0(length / level0)


def tile_to_um(length: TilePx, *, target: Mpp) -> Um:
    """Convert tile pixels to micrometres."""
    return Um(length * target)


def tile_to_px0(length: TilePx, *, target: Mpp, level0: Mpp) -> Px0:
    """Convert tile pixels to level-0 pixels, exactly.

    >>> tile_to_px0(TilePx(256), target=Mpp(0.5), level0=Mpp(0.25))
    512.0
    """
    return um_to_px0(tile_to_um(length, target=target), level0=level0)


def magnification(mpp: Mpp) -> float:
    """Nominal objective power by the trade's convention: 0.25 um/px is 40x, 0.5 is 20x."""
    return 10.0 / mpp


def read_mpp(x: float | None, y: float | None) -> tuple[Mpp | None, str]:
    """Judge the resolution that a file states for its two axes.

    Returns:
        The resolution, or None and the reason why what the file states cannot be used.
    """
    if x is None or y is None:
        return None, "it states none"
    low, high = PLAUSIBLE_MPP
    if not (low <= x <= high and low <= y <= high):
        return None, f"it states {x:g} x {y:g} um/px, which no slide scanner has (image software writes such a tag by default)"
    if abs(x - y) > _SQUARE_TOLERANCE * max(x, y):
        return None, f"it states {x:g} x {y:g} um/px, which are not square pixels"
    return Mpp((x + y) / 2), ""


def check_mpp(mpp: float, *, what: str) -> Mpp:
    """Refuse a resolution that nobody can mean.

    Raises:
        ConfigError: not a number between 0.02 and 10 um/px.
    """
    low, high = PLAUSIBLE_MPP
    if not (math.isfinite(mpp) and low <= mpp <= high):
        msg = f"{what}: wanted micrometres a pixel between {low} and {high}, got {mpp!r}"
        raise ConfigError(msg)
    return Mpp(mpp)


@dataclass(frozen=True, kw_only=True, slots=True)
class Box0:
    """A rectangle in level-0 pixels, by its top-left corner and its size."""

    x: Px0
    y: Px0
    width: Px0
    height: Px0


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadPlan:
    """Which pixels of which level to read, and which part of them is wanted."""

    level: int
    corner_px0: tuple[int, int]
    """Top-left corner to ask the reader for, in level-0 pixels."""
    size: tuple[int, int]
    """Pixels to read at the level."""
    crop: tuple[float, float, float, float]
    """Left, top, right, bottom of the wanted part, in pixels of what was read."""


def best_level(downsamples: Sequence[float], *, wanted: float) -> int:
    """Choose the coarsest level that is still as fine as wanted (within 1 %, as levels are rarely exact powers of two)."""
    fine_enough = [i for i, d in enumerate(downsamples) if d <= wanted * (1 + _LEVEL_TOLERANCE)]
    return max(fine_enough, key=lambda i: downsamples[i]) if fine_enough else int(np.argmin(downsamples))


def plan_read(box: Box0, *, downsamples: Sequence[float], size: tuple[int, int]) -> ReadPlan:
    """Plan how to read a level-0 box as an image of ``size`` pixels."""
    level = best_level(downsamples, wanted=min(box.width / size[0], box.height / size[1]))
    down = downsamples[level]
    left, top = box.x / down, box.y / down
    right, bottom = left + box.width / down, top + box.height / down
    first = (_floor(left), _floor(top))
    last = (_ceil(right), _ceil(bottom))
    return ReadPlan(
        level=level,
        corner_px0=(round(first[0] * down), round(first[1] * down)),
        size=(last[0] - first[0], last[1] - first[1]),
        crop=(left - first[0], top - first[1], right - first[0], bottom - first[1]),
    )


def grid(size_px0: tuple[int, int], *, side: Px0, stride: int) -> Int64[np.ndarray, "tile 2"]:
    """List the top-left corners of all whole tiles of a slide, row by row, from its level-0 origin.

    The stride is a whole number of level-0 pixels, so that ``coords // stride`` are grid indices for whoever reads a bag; tiles
    that would reach over the slide's edge are left out.
    """
    axes = [np.arange(max(0, math.floor((length - side) / stride + 1e-9) + 1), dtype=np.int64) * stride for length in size_px0]
    x, y = np.meshgrid(axes[0], axes[1])
    return np.stack([x.ravel(), y.ravel()], axis=1)


def _floor(value: float) -> int:
    return math.floor(value + 1e-6)


def _ceil(value: float) -> int:
    return math.ceil(value - 1e-6)

"""Where the tissue is: stained pixels of a thumbnail, by optical density.

Glass absorbs no light and what is stained absorbs green most, so the mask asks how coloured a pixel is in optical density
(Beer-Lambert, ``-log10(I / I0)`` with ``I0`` the colour of the glass). Dust, air bubbles, pencil and the edge of the cover slip
absorb without colour. A piece of tissue needs a core that passes Otsu's threshold, held between two bounds so that a slide that
is all tissue is not cut in half and an empty slide does not turn its noise into tissue; from its core it grows over whatever is
coloured at all, so that pale mucus, fat septa and oedema stay with their tissue.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from oncoweave.wsi.geometry import Mpp


@dataclass(frozen=True, kw_only=True, slots=True)
class TissueRecipe:
    """How tissue is found."""

    mpp: float = 8.0
    """Resolution of the thumbnail."""
    lowest: float = 0.035
    highest: float = 0.09
    """Bounds of the threshold that a core passes, on the colour of a pixel: its largest less its smallest optical density."""
    faintest: float = 0.02
    """Colour of the palest pixel that a core grows over; averaged glass stays below 0.01."""
    smallest_um2: float = 4000.0
    """Smaller pieces are debris (a square of 63 um)."""
    hole_um2: float = 40000.0
    """Smaller holes, such as lumina and vessels, belong to the tissue (a square of 200 um)."""


def glass_colour(thumbnail: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, " 3"]:
    """Estimate the colour of empty glass: the median of bright, colourless pixels; near white where a slide shows none."""
    bright = (thumbnail.min(axis=2) >= 190) & (np.ptp(thumbnail, axis=2) <= 20)
    if bright.sum() < max(16, thumbnail[..., 0].size // 1000):
        return np.full(3, 245.0)
    return np.median(thumbnail[bright], axis=0).astype(float)


def optical_density(
    thumbnail: UInt8[np.ndarray, "height width 3"], glass: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, "height width 3"]:
    """Optical density of each channel against the glass; never negative."""
    return np.maximum(-np.log10((thumbnail.astype(np.float32) + 1) / (glass.astype(np.float32) + 1)), 0)


def find_tissue(
    density: Float[np.ndarray, "height width 3"],
    *,
    mpp: Mpp,
    recipe: TissueRecipe,
    exclude: Bool[np.ndarray, "height width"] | None = None,
) -> Bool[np.ndarray, "height width"]:
    """Mark tissue in a thumbnail given as optical density; ``exclude`` is never tissue and never fills a hole."""
    from scipy import ndimage

    kept = np.ones(density.shape[:2], dtype=bool) if exclude is None else ~exclude
    clean = np.where(kept[..., None], density, 0)
    sigma = min(8.0 / mpp, 4.0)
    colour = _colour(ndimage.gaussian_filter(clean, sigma=(sigma, sigma, 0), mode="nearest"))
    threshold = np.clip(otsu(colour[kept]), recipe.lowest, recipe.highest) if kept.any() else recipe.highest
    # smoothing spreads tissue over a pixel of glass beside it, which is nearly colourless by itself
    reached = (colour > recipe.faintest) & (_colour(clean) > recipe.faintest / 2) & kept
    pieces, _ = ndimage.label(reached, structure=np.ones((3, 3)))
    has_core = np.bincount(pieces.ravel(), weights=(colour > threshold).ravel()) > 0
    has_core[0] = False
    mask = has_core[pieces]
    mask |= kept & ~mask & ~large_pieces(~mask, smallest=recipe.hole_um2 / mpp**2, border=True)
    return large_pieces(mask, smallest=recipe.smallest_um2 / mpp**2)


def _colour(density: Float[np.ndarray, "height width 3"]) -> Float[np.ndarray, "height width"]:
    return density.max(axis=2) - density.min(axis=2)


def otsu(values: Float[np.ndarray, " pixel"]) -> float:
    """Threshold that separates two classes best (Otsu 1979, eq. 12), on 256 bins; the middle of the bins that tie.

    >>> bool(0.1 < otsu(np.array([0.1] * 50 + [0.9] * 50, dtype=np.float32)) < 0.9)
    True
    """
    counts, edges = np.histogram(values, bins=256)
    centre = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)[:-1].astype(float)
    above = values.size - below
    total = np.cumsum(counts * centre)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (total[:-1] / below - (total[-1] - total[:-1]) / above) ** 2
    between = np.nan_to_num(between)
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return float((edges[best[0] + 1] + edges[best[-1] + 1]) / 2)


def large_pieces(
    mask: Bool[np.ndarray, "height width"], *, smallest: float, border: bool = False
) -> Bool[np.ndarray, "height width"]:
    """Keep pieces of at least ``smallest`` pixels, and with ``border`` also those that touch the slide's edge."""
    from scipy import ndimage

    pieces, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    large = np.bincount(pieces.ravel()) >= smallest
    if border:
        large[np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]])] = True
    return large[pieces] & mask

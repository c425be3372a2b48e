"""Artefacts: pen, blood and folds by colour on the thumbnail, blur by sharpness on the tile.

Simple rules with thresholds that can be read and changed. The colour rules are on optical density, the light absorbed in red,
green and blue (haematoxylin and eosin both absorb green most):

- **pen**: blue, green or cyan ink absorbs red clearly more than green; red ink absorbs green and blue strongly and red hardly;
  black ink absorbs everything alike. Pen pixels are not tissue.
- **blood**: red cells absorb green and blue alike and red little. A tile is dropped when most of its tissue is blood.
- **fold**: tissue lying double absorbs twice as much. A tile is dropped when much of its tissue is far denser than the slide's
  median.
- **blur**: the variance of the Laplacian over the variance of the grey values, at 0.5 um/px (or
  the slide's own, if coarser). Contrast cancels, so pale stroma in focus passes while a blurred nucleus
  does not.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityRecipe:
    """Which artefacts are looked for, and when a tile is dropped for them."""

    pen: bool = True
    blood: bool = True
    fold: bool = True
    blur: bool = True
    blood_share: float = 0.7
    """Share of a tile's tissue that must be blood."""
    fold_share: float = 0.5
    """Share of a tile's tissue that must be folded."""
    fold_ratio: float = 2.5
    """Density of a fold over the slide's median tissue density."""
    fold_density: float = 0.75
    """Mean optical density that a fold has at least."""
    sharpness: float = 0.04
    """A tile below it is blurred. Sharp H&E tiles at 0.5 um/px reach 0.07 to 5, the same ones blurred by 1 um 0.001 to 0.04."""


def pen_mask(density: Float[np.ndarray, "height width 3"]) -> Bool[np.ndarray, "height width"]:
    """Mark ink."""
    red, green, blue = np.moveaxis(density, 2, 0)
    colour = density.max(axis=2) - density.min(axis=2)
    cold = (red > 1.2 * green) & (colour > 0.25)
    warm = (green > 0.6) & (blue > 0.7 * green) & (red < 0.12 * green)
    black = (density.min(axis=2) > 0.7) & (colour < 0.2)
    return cold | warm | black


def blood_mask(density: Float[np.ndarray, "height width 3"]) -> Bool[np.ndarray, "height width"]:
    """Mark red cells."""
    red, green, blue = np.moveaxis(density, 2, 0)
    return (green > 0.3) & (blue > 0.65 * green) & (red < 0.35 * green)


def fold_mask(
    density: Float[np.ndarray, "height width 3"], tissue: Bool[np.ndarray, "height width"], *, recipe: QualityRecipe
) -> Bool[np.ndarray, "height width"]:
    """Mark tissue that lies double."""
    mean = density.mean(axis=2)
    usual = float(np.median(mean[tissue])) if tissue.any() else 0.0
    return tissue & (mean > max(recipe.fold_density, recipe.fold_ratio * usual))


def sharpness(tile: UInt8[np.ndarray, "height width 3"], *, reduce: int = 1) -> float:
    """Variance of the 4-neighbour Laplacian over the variance of the grey values; 0 for a tile of one colour.

    ``reduce`` averages squares of that many pixels first, to bring a tile finer than 0.5 um/px, or an enlarged one, to its scale.
    """
    grey = tile.astype(np.float32) @ _GREY
    high, wide = (length // reduce * reduce for length in grey.shape)
    grey = grey[:high, :wide].reshape(high // reduce, reduce, wide // reduce, reduce).mean(axis=(1, 3))
    spread = float(grey.var())
    if spread < 1e-3:
        return 0.0
    centre = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * centre
    return float(laplacian.var()) / spread

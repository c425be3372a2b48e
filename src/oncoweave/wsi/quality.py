"""Artefacts: pen, blood and folds by colour on the thumbnail, blur by sharpness on the tile.

Simple rules with thresholds that can be read and changed. The colour rules are on optical density, the light absorbed in red,
green and blue (haematoxylin and eosin both absorb green most):

- **pen**: blue, green or cyan ink absorbs red more than green, on glass clearly and on tissue, where it is dark, at least about
  as much; red ink absorbs green and blue strongly and red hardly; black ink absorbs everything alike. Pen pixels are not tissue,
  and a tile is dropped when a part of it is pen. Heavy brown or black pigment looks like black ink.
- **blood**: red cells absorb green and blue alike and red little. A tile is dropped when most of its tissue is blood.
- **fold**: tissue lying double absorbs twice as much. A tile is dropped when much of its tissue is far denser than the slide's
  median.
- **blur**: the power of the Laplacian over the variance of the grey values, at 0.5 um/px (or
  the slide's own, if coarser). Contrast cancels, so pale stroma in focus passes while a blurred nucleus
  does not.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

_COLOURED = 20
"""Grey levels between a pixel's channels from which it is tissue rather than glass."""
_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityRecipe:
    """Which artefacts are looked for, and when a tile is dropped for them."""

    pen: bool = True
    blood: bool = True
    fold: bool = True
    blur: bool = True
    pen_um2: float = 1000.0
    """Smaller spots of ink colour are refracting debris, not a stroke."""
    pen_share: float = 0.2
    """Share of a tile that must be pen."""
    blood_share: float = 0.7
    """Share of a tile's tissue that must be blood."""
    fold_share: float = 0.5
    """Share of a tile's tissue that must be folded."""
    fold_ratio: float = 2.5
    """Density of a fold over the slide's median tissue density."""
    fold_density: float = 0.75
    """Mean optical density that a fold has at least."""
    sharpness: float = 0.05
    """A tile below it is blurred. H&E in focus reaches 0.09 to 5 at 0.5 um/px, and 0.003 to 0.04 blurred by 1 um."""


def pen_mask(density: Float[np.ndarray, "height width 3"]) -> Bool[np.ndarray, "height width"]:
    """Mark ink."""
    red, green, blue = np.moveaxis(density, 2, 0)
    colour = density.max(axis=2) - density.min(axis=2)
    mean = density.mean(axis=2)
    cold = ((red > 1.3 * green) & (colour > 0.3)) | ((red > 0.9 * green) & (red > blue) & (colour > 0.15) & (mean > 0.4))
    warm = (green > 0.6) & (blue > 0.7 * green) & (red < 0.12 * green)
    black = (density.min(axis=2) > 0.7 * density.max(axis=2)) & (mean > 0.45)
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
    """Power of the 4-neighbour Laplacian over the variance of the grey values, both on coloured pixels; 0 for one flat colour.

    Glass is left out, as the step from glass to tissue would count as contrast that a sharp tile should show everywhere.
    ``reduce`` averages squares of that many pixels first, to bring a tile finer than 0.5 um/px, or an enlarged one, to its scale.
    """
    high, wide = (length // reduce * reduce for length in tile.shape[:2])
    image = tile[:high, :wide].astype(np.float32)
    if reduce > 1:
        image = image.reshape(high // reduce, reduce, wide // reduce, reduce, 3).mean(axis=(1, 3))
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    grey = image @ _GREY
    centre = grey[1:-1, 1:-1]
    coloured = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue) > _COLOURED
    stained = coloured[1:-1, 1:-1]
    spread = float(centre[stained].var()) if stained.any() else 0.0
    if spread < 1e-3:
        return 0.0
    # rounding to 8 bits alone has variance 1/12 a channel, of which the Laplacian's weights (squares sum to 20) see a share
    rounding = 20 / 12 * float(np.square(_GREY).sum()) / reduce**2
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * centre
    return max(0.0, float(np.square(laplacian[stained]).mean()) - rounding) / spread

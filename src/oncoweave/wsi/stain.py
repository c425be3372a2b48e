"""Stain normalisation: Macenko and Reinhard by torchstain, fitted once a slide.

Fitting tile by tile, as is common, paints a tile of pure stroma with haematoxylin and fails on a nearly empty one. Here the
statistics come from a sample of the slide's tissue tiles taken together, and every tile is then mapped alike; what torchstain
fits is used as it is, and the mapping is written out so that nothing wraps around in eight bits. A slide whose sample cannot be
fitted is a recorded failure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8

from oncoweave.core.errors import SlideError, missing_extra

_LIGHT = 240.0
"""Transmitted light of Macenko's optical density."""
_FAINTEST = 0.15
"""Density that a stained pixel has in every channel (torchstain's beta)."""
_FEWEST_PIXELS = 2000
"""Stained pixels that a fit needs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Macenko:
    """Stain vectors and concentrations of a slide (Macenko et al., ISBI 2009)."""

    vectors: Float[np.ndarray, "3 2"]
    """Columns haematoxylin and eosin, in natural-log optical density."""
    strongest: Float[np.ndarray, " 2"]
    """99th percentile of each stain's concentration."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reinhard:
    """Mean and deviation of a slide's colours in CIELAB (Reinhard et al., IEEE CG&A 2001)."""

    mean: Float[np.ndarray, " 3"]
    deviation: Float[np.ndarray, " 3"]


_REINHARD_TARGET = Reinhard(mean=np.array([41.9, 29.1, -14.4]), deviation=np.array([16.1, 11.4, 8.6]))


def fit_stain(kind: Literal["macenko", "reinhard"], tiles: Sequence[UInt8[np.ndarray, "height width 3"]]) -> Macenko | Reinhard:
    """Fit a slide's stain on some of its tissue tiles.

    Raises:
        SlideError: too few stained pixels, or colours that hold no two stains.
    """
    normalizers = _library()
    pixels = np.concatenate([tile.reshape(-1, 3) for tile in tiles]) if tiles else np.empty((0, 3), dtype=np.uint8)
    stained = pixels[(_density(pixels) >= _FAINTEST).all(axis=1)]
    if len(stained) < _FEWEST_PIXELS:
        msg = (
            f"stain ({kind}) cannot be fitted: {len(stained)} stained pixels in a sample of {len(tiles)} tiles, wanted"
            f" {_FEWEST_PIXELS}; embed this slide with --stain none"
        )
        raise SlideError(msg)
    normalizer = normalizers[kind]()
    normalizer.fit(stained[:, None, :])
    if kind == "reinhard":
        mean, deviation = np.asarray(normalizer.target_means, float), np.asarray(normalizer.target_stds, float)
        sound = bool(deviation.min() > 1e-2)
        fitted: Macenko | Reinhard = Reinhard(mean=mean, deviation=deviation)
    else:
        vectors, strongest = np.asarray(normalizer.HERef, float), np.asarray(normalizer.maxCRef, float)
        sound = bool(np.isfinite(vectors).all() and strongest.min() > 1e-2 and np.linalg.cond(vectors) < 1e3)
        fitted = Macenko(vectors=vectors, strongest=strongest)
    if not sound:
        msg = (
            f"stain ({kind}) cannot be fitted: a sample of {len(tiles)} tiles has one colour; embed this slide with --stain none"
        )
        raise SlideError(msg)
    return fitted


def normalise(tile: UInt8[np.ndarray, "height width 3"], fitted: Macenko | Reinhard) -> UInt8[np.ndarray, "height width 3"]:
    """Bring a tile from its slide's stain to the common target.

    Macenko's target is torchstain's (a published reference of H&E); Reinhard's is the tissue of OpenSlide's CMU-1 test slide. By
    Reinhard, glass and what is fainter than a stain keep their colour, as the mapping of tissue would tint them.
    """
    if isinstance(fitted, Reinhard):
        from torchstain.numpy.utils import lab2rgb, rgb2lab

        lab = rgb2lab(tile.astype(np.float32) / 255).astype(np.float64)
        planes = np.stack([lab[..., 0] / 2.55, lab[..., 1] - 128, lab[..., 2] - 128], axis=-1)
        planes = (planes - fitted.mean) / fitted.deviation * _REINHARD_TARGET.deviation + _REINHARD_TARGET.mean
        back = np.stack([np.clip(planes[..., 0], 0, 100) * 2.55, planes[..., 1] + 128, planes[..., 2] + 128], axis=-1)
        amount = np.clip(_density(tile.reshape(-1, 3)).mean(axis=1) / (2 * _FAINTEST), 0, 1).reshape(*tile.shape[:2], 1)
        return _eight_bits(amount * lab2rgb(back) * 255 + (1 - amount) * tile)
    target = _library()["macenko"]()
    amounts = np.linalg.pinv(fitted.vectors) @ _density(tile.reshape(-1, 3)).T
    amounts *= (target.maxCRef / fitted.strongest)[:, None]
    return _eight_bits(_LIGHT * np.exp(-target.HERef @ amounts).T.reshape(tile.shape))


def _library() -> dict[str, type]:
    try:
        from torchstain.numpy.normalizers.macenko import NumpyMacenkoNormalizer
        from torchstain.numpy.normalizers.reinhard import NumpyReinhardNormalizer
    except ModuleNotFoundError as error:
        raise missing_extra("torchstain", "slides") from error
    return {"macenko": NumpyMacenkoNormalizer, "reinhard": NumpyReinhardNormalizer}


def _density(pixels: UInt8[np.ndarray, "pixel 3"]) -> Float[np.ndarray, "pixel 3"]:
    return -np.log((pixels.astype(np.float64) + 1) / _LIGHT)


def _eight_bits(image: np.ndarray) -> UInt8[np.ndarray, "height width 3"]:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)

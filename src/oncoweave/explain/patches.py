"""Attention over the patches of a film, as an array in the film's grid and laid over its pixels (IRENE, fig. 3: word to image).

What is bright is looked at; it is not said whether it speaks for or against anything (no sign), nor that the output depends on it
(no attribution): see ``explain.occlusion``.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from oncoweave.core.errors import DataError
from oncoweave.core.files import publish
from oncoweave.explain.attention import attend_from
from oncoweave.explain.batches import collate
from oncoweave.explain.words import Word
from oncoweave.train.dataset import Dataset
from oncoweave.train.network_learner import FittedNetwork
from oncoweave.wsi.colours import paint


def grid_map(
    values: Float[np.ndarray, " patch"], positions: Float[np.ndarray, "patch axis"], *, film: int = 0
) -> Float[np.ndarray, "row column"]:
    """Lay values of patches out in the grid of one film; NaN where there is no patch. Attention has no sign, attributes nothing.

    Args:
        values: one a patch.
        positions: ``(x, y, film)``, in patches from the top left corner.
        film: number of the film.

    Raises:
        DataError: values and positions differ in number, or no patch is of that film.
    """
    if len(values) != len(positions) or positions.shape[1] != 3:
        msg = f"wanted one (x, y, film) a value, got {len(values)} values and positions {positions.shape}"
        raise DataError(msg)
    own = positions[:, 2] == film
    if not own.any():
        msg = f"no patch is of film {film}; there are films {sorted({int(f) for f in positions[:, 2]})}"
        raise DataError(msg)
    x, y = positions[own, :2].astype(int).T
    grid = np.full((y.max() + 1, x.max() + 1), np.nan)
    grid[y, x] = values[own]
    return grid


def word_map(
    fitted: FittedNetwork, patient: Dataset, word: Word, *, text: str = "report", picture: str = "film", film: int = 0
) -> Float[np.ndarray, "row column"]:
    """Map what a word's tokens have drawn from each patch of a film through all blocks; neither sign nor attribution.

    Args:
        fitted: a network with the report's words and the film's patches as tokens.
        patient: one row.
        word: of that patient's report (``explain.words.words_of``).
        text: name of the report's modality.
        picture: name of the film's modality.
        film: number of the film.

    Raises:
        ConfigError: the fusion does not return its attention, or an encoder keeps no tokens apart.
        DataError: the patient has no film, or the word is no word of the patient's.
    """
    received = attend_from(fitted, patient, modality=text, places=word.pieces)
    if picture not in received:
        msg = f"the patient has no patches of modality {picture!r} that can be told apart"
        raise DataError(msg)
    tokens = collate(fitted, patient, np.arange(1))[picture]
    if tokens.positions is None:
        msg = f"modality {picture!r} has tokens without places; a map needs patches of a film"
        raise DataError(msg)
    return grid_map(received[picture], tokens.positions[0][tokens.keep[0]].double().numpy(), film=film)


def overlay(
    grid: Float[np.ndarray, "row column"], pixels: UInt8[np.ndarray, "height width"], *, strength: float = 0.45
) -> Image.Image:
    """Lay a map over the film it belongs to, dark violet where least and pale yellow where most is received.

    A patch keeps its edges: a smooth picture would show places that no patch resolves. What has no patch is left grey. Colours
    run from the map's own least to its own most, so two pictures cannot be compared by colour; they show neither sign nor
    attribution.
    """
    scaled = Image.fromarray(grid.astype(np.float32)).resize(pixels.shape[::-1], Image.Resampling.NEAREST)
    values = np.asarray(scaled, dtype=float)
    grey = np.repeat(pixels[..., None], 3, axis=2).astype(float)
    known = ~np.isnan(values)
    if not known.any():
        raise DataError("the map holds no value; is the film of another patient?")
    low, high = float(np.nanmin(grid)), float(np.nanmax(grid))
    grey[known] = (1 - strength) * grey[known] + strength * paint(values[known], low=low, high=high)
    return Image.fromarray(np.rint(grey).astype(np.uint8))


def write_overlay(
    path: Path, grid: Float[np.ndarray, "row column"], pixels: UInt8[np.ndarray, "height width"], *, strength: float = 0.45
) -> Path:
    """Write :func:`overlay` as a PNG; the file holds the patient's film."""
    with publish(path) as partial:
        overlay(grid, pixels, strength=strength).save(partial, format="PNG")
    return path

"""A picture of what was found on a slide: the tissue's outline, the grid, and what was dropped for which artefact."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from PIL import Image, ImageDraw

from oncoweave.core.files import publish
from oncoweave.wsi.tiling import Tiling

COLOURS = {"kept": (0, 90, 255), "pen": (0, 160, 0), "blood": (255, 0, 0), "fold": (255, 200, 0), "blur": (255, 0, 255)}
"""Colour of a tile's frame; what was dropped carries a cross."""
PEN = (0, 200, 0)
TISSUE = (0, 0, 0)

_LONGEST = 2048
_SHORTEST = 512


def write_preview(path: Path, tiling: Tiling, *, blurred: Int64[np.ndarray, "_ 2"] | None = None) -> None:
    """Write a PNG, atomically: kept tiles framed blue, dropped ones crossed out, tissue outlined black, pen painted green."""
    image = draw_preview(tiling, blurred=blurred)
    with publish(path) as partial:
        image.save(partial, format="PNG")


def draw_preview(tiling: Tiling, *, blurred: Int64[np.ndarray, "_ 2"] | None = None) -> Image.Image:
    """Draw what :func:`write_preview` writes; ``blurred`` are corners found out of focus when they were read."""
    overview = tiling.overview
    height, width = overview.tissue.shape
    zoom = min(_LONGEST / max(height, width), max(1.0, _SHORTEST / max(height, width)))
    size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    canvas = Image.fromarray(overview.thumbnail).resize(size, Image.Resampling.BILINEAR)
    pixels = np.array(canvas)
    pixels[_resized(overview.pen, size)] = PEN
    pixels[_outline(_resized(overview.tissue, size))] = TISSUE
    canvas = Image.fromarray(pixels)
    draw = ImageDraw.Draw(canvas)
    scale = zoom * tiling.level0 / overview.mpp
    gone: Mapping[str, np.ndarray] = {**tiling.dropped, **({} if blurred is None else {"blur": blurred})}
    lost = {tuple(corner) for corners in gone.values() for corner in corners.tolist()}
    for corner in tiling.coords.tolist():
        if tuple(corner) not in lost:
            draw.rectangle(_frame(corner, tiling.side, scale), outline=COLOURS["kept"])
    for name, corners in gone.items():
        for corner in corners.tolist():
            left, top, right, bottom = _frame(corner, tiling.side, scale)
            draw.rectangle((left, top, right, bottom), outline=COLOURS[name])
            draw.line((left, top, right, bottom), fill=COLOURS[name])
            draw.line((left, bottom, right, top), fill=COLOURS[name])
    return canvas


def _frame(corner: list[int], side: float, scale: float) -> tuple[float, float, float, float]:
    left, top = corner[0] * scale, corner[1] * scale
    return left, top, max(left, left + side * scale - 1), max(top, top + side * scale - 1)


def _resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)).astype(bool)


def _outline(mask: np.ndarray) -> np.ndarray:
    edge = np.zeros_like(mask)
    edge[1:] |= mask[1:] != mask[:-1]
    edge[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    return edge

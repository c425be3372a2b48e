"""Pixels of a slide at a resolution of one's choice."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from oncoweave.wsi.geometry import Box0, Mpp, Px0, plan_read
from oncoweave.wsi.readers import Slide

_PATCH = 2048
"""Largest side, in level pixels, that a thumbnail reads at once: 12 MiB, whatever the slide."""


def read_box(slide: Slide, box: Box0, *, size: tuple[int, int]) -> UInt8[np.ndarray, "height width 3"]:
    """Read a level-0 box as an image of ``size`` pixels, resampled from the best level.

    Whole-number reductions average their pixels; other reductions use an antialiased window (Hamming), enlargements are bilinear.

    Raises:
        SlideError: the file cannot be decoded there.
    """
    plan = plan_read(box, downsamples=slide.downsamples, size=size)
    pixels = slide.read_region(plan.corner_px0, plan.level, plan.size)
    left, top, right, bottom = plan.crop
    if plan.size == size and max(left, top, plan.size[0] - right, plan.size[1] - bottom) < 1e-3:
        return pixels
    shrink = ((right - left) / size[0], (bottom - top) / size[1])
    if min(shrink) < 1:
        window = Image.Resampling.BILINEAR
    elif max(abs(s - round(s)) for s in (*shrink, left, top)) < 1e-3:
        window = Image.Resampling.BOX
    else:
        window = Image.Resampling.HAMMING
    return np.asarray(Image.fromarray(pixels).resize(size, window, box=_inside(plan.crop, plan.size)))


def read_thumbnail(slide: Slide, *, level0: Mpp, target: Mpp) -> UInt8[np.ndarray, "height width 3"]:
    """Read the whole slide at a coarse resolution, patch by patch, so that memory does not grow with the slide.

    Pixel ``[j, i]`` covers level-0 pixels ``i * s`` to ``(i + 1) * s`` with ``s = target / level0``; a rest that does not fill a
    pixel at the right and lower edge still gets one, white beyond the slide.
    """
    scale = max(1.0, target / level0)
    width, height = (max(1, int(np.ceil(length / scale - 1e-6))) for length in slide.dimensions)
    down = slide.downsamples[plan_read(_box(0, 0, scale, 1, 1), downsamples=slide.downsamples, size=(1, 1)).level]
    step = max(1, int(_PATCH * down / scale))
    out = np.empty((height, width, 3), dtype=np.uint8)
    for top in range(0, height, step):
        for left in range(0, width, step):
            wide, high = min(step, width - left), min(step, height - top)
            out[top : top + high, left : left + wide] = read_box(slide, _box(left, top, scale, wide, high), size=(wide, high))
    return out


def _box(left: int, top: int, scale: float, width: int, height: int) -> Box0:
    return Box0(x=Px0(left * scale), y=Px0(top * scale), width=Px0(width * scale), height=Px0(height * scale))


def _inside(crop: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    return max(0.0, crop[0]), max(0.0, crop[1]), min(float(size[0]), crop[2]), min(float(size[1]), crop[3])

"""What spoils a slide: pen marks, out-of-focus areas and folds."""

import numpy as np

from oncoweave.phantom.texture import resize, smooth_noise
from oncoweave.phantom.tissue import SCALE

KINDS = ("pen", "blur", "fold")
"""Artefacts in the order of their codes 1, 2, 3 in the artefact map."""

_INKS = ((0.10, 0.22, 0.62), (0.06, 0.45, 0.25), (0.12, 0.12, 0.14), (0.6, 0.1, 0.12))


def draw_pen(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Draw one or two felt-pen strokes; a signed distance field in full-resolution pixels, positive under the ink."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32) * SCALE
    distance = np.full(shape, -1e4, dtype=np.float32)
    extent = shape[0] * SCALE
    for _ in range(rng.integers(1, 3)):
        start, bend, end = rng.uniform(-0.05, 0.3, 2), rng.uniform(0.1, 0.5, 2), rng.uniform(0.35, 0.95, 2)
        if rng.random() < 0.5:
            start[0], bend[0], end[0] = 1 - start[0], 1 - bend[0], 1 - end[0]
        t = np.linspace(0, 1, 90)[:, None]
        curve = ((1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end) * extent
        width = rng.uniform(0.018, 0.03) * extent
        for px, py in curve:
            np.maximum(distance, width - np.hypot(x - px, y - py), out=distance)
    return distance + 3 * smooth_noise(shape, 14, rng)


def ink(light: np.ndarray, pen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put ink over the light of a slide (both at full resolution)."""
    colour = np.asarray(_INKS[rng.integers(len(_INKS))], dtype=np.float32)
    cover = np.clip(pen / 5, 0, 1) * np.float32(rng.uniform(0.7, 0.9))
    cover *= 0.9 + 0.1 * np.clip(pen / 25, 0, 1)  # ink is thinner at the rim
    return light * (1 - cover[..., None] * (1 - colour))


def draw_blur(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Draw an out-of-focus region covering a tenth to a third of the slide; positive inside."""
    field = smooth_noise(shape, shape[0] / 2.5, rng)
    return (field - np.quantile(field, rng.uniform(0.66, 0.9))) * 60


def defocus(image: np.ndarray, region: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur an 8-bit image where the region is positive, with a soft border."""
    from PIL import Image, ImageFilter

    soft = Image.fromarray(image).filter(ImageFilter.GaussianBlur(float(rng.uniform(3.5, 6.5))))
    weight = np.clip(region / 12, 0, 1).astype(np.float32)[..., None]
    return (image + weight * (np.asarray(soft, dtype=np.float32) - image)).astype(np.uint8)


def draw_fold(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Draw a fold: a long narrow band where tissue lies double; positive inside."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32) * SCALE
    angle = rng.uniform(0, np.pi)
    extent = shape[0] * SCALE
    cross = np.cos(angle) * (x - extent * rng.uniform(0.3, 0.7)) + np.sin(angle) * (y - extent * rng.uniform(0.3, 0.7))
    return (
        rng.uniform(0.008, 0.014) * extent - np.abs(cross + 40 * smooth_noise(shape, 70, rng)) + 6 * smooth_noise(shape, 12, rng)
    )


def enlarge(field: np.ndarray, size_px: int) -> np.ndarray:
    """Bring a layout field to full resolution."""
    return resize(field, (field.shape[0] * SCALE, field.shape[1] * SCALE))[:size_px, :size_px]

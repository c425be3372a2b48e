"""Random textures of tissue: smooth fields, fine grain, and wavy fibres, fast enough for whole slides."""

from functools import lru_cache

import numpy as np

_BANK_PX = 1024
"""Side of the periodic noise that fine textures are cut from; larger than a field of view, so repeats are not seen."""


def resize(field: np.ndarray, shape: tuple[int, int], *, smooth: bool = False) -> np.ndarray:
    """Interpolate a 2-D field to another ``(height, width)``, bilinearly or (``smooth``) bicubically; float32."""
    from PIL import Image

    method = Image.Resampling.BICUBIC if smooth else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(field.astype(np.float32)).resize((shape[1], shape[0]), method))


def smooth_noise(shape: tuple[int, int], scale_px: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a smooth Gaussian field that varies over ``scale_px`` pixels, mean about 0 and sd about 1, float32."""
    coarse = tuple(max(4, round(s / scale_px) + 3) for s in shape)
    grid = rng.standard_normal(coarse, dtype=np.float32)
    field = resize(grid, (shape[0] + int(3 * scale_px), shape[1] + int(3 * scale_px)), smooth=True)[: shape[0], : shape[1]]
    return field / np.float32(0.72)  # bicubic interpolation of unit noise loses about half of the variance


def fractal_noise(shape: tuple[int, int], scale_px: float, rng: np.random.Generator) -> np.ndarray:
    """Sum three smooth fields of halving scale and amplitude; sd about 1, float32."""
    total = sum(smooth_noise(shape, scale_px / 2**i, rng) * np.float32(0.5**i) for i in range(3))
    return np.asarray(total, dtype=np.float32) / np.float32(np.sqrt(sum(0.25**i for i in range(3))))


@lru_cache(maxsize=8)
def bank(sigma_px: float) -> np.ndarray:
    """Give the periodic noise of a grain size, sd 1, float32 ``[1024, 1024]``; the same for every slide ever drawn."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng([777, round(sigma_px * 10)])
    noise = gaussian_filter(rng.standard_normal((_BANK_PX, _BANK_PX)), sigma_px, mode="wrap")
    return (noise / noise.std()).astype(np.float32)


def grain(shape: tuple[int, int], sigma_px: float, rng: np.random.Generator) -> np.ndarray:
    """Cut fine grain of a size from the bank at a random place; sd 1, float32."""
    y, x = rng.integers(0, _BANK_PX, size=2)
    rows, columns = (y + np.arange(shape[0])) % _BANK_PX, (x + np.arange(shape[1])) % _BANK_PX
    return bank(sigma_px)[rows][:, columns]


@lru_cache(maxsize=2)
def _fibre_bank() -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(778)
    total = np.zeros((_BANK_PX, _BANK_PX))
    for across, along, weight in ((1.1, 14.0, 0.75), (2.6, 26.0, 0.9), (7.0, 60.0, 1.0)):
        noise = gaussian_filter(rng.standard_normal((_BANK_PX, _BANK_PX)), (across, along), mode="wrap")
        total += weight * noise / noise.std()
    return (total / total.std()).astype(np.float32)


def fibres(across_px: np.ndarray, along_px: np.ndarray) -> np.ndarray:
    """Draw fibre bundles that run where ``across_px`` is constant; both are coordinates in pixels; sd 1, float32."""
    rows = across_px.astype(np.int32) & (_BANK_PX - 1)
    columns = along_px.astype(np.int32) & (_BANK_PX - 1)
    return _fibre_bank()[rows, columns]

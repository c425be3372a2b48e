"""Haematoxylin and eosin to light: Beer-Lambert mixing, and the stain and scanner of a site."""

from dataclasses import dataclass

import numpy as np

HAEMATOXYLIN = np.array([0.63, 0.70, 0.33])
"""Optical density of haematoxylin in red, green, blue (blue-violet nuclei)."""
EOSIN = np.array([0.13, 0.87, 0.47])
"""Optical density of eosin in red, green, blue (pink stroma)."""
ERYTHROCYTE = np.array([0.12, 0.82, 0.68])
"""Optical density of haemoglobin with eosin (orange red)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stain:
    """How one site stains and scans."""

    haematoxylin: tuple[float, float, float]
    eosin: tuple[float, float, float]
    haematoxylin_strength: float
    eosin_strength: float
    white: tuple[float, float, float]
    """Intensity of clear glass, 0 to 255."""
    gamma: float
    blur_px: float
    noise: float
    """Sensor noise, standard deviation in grey levels."""


def site_stain(rng: np.random.Generator, *, strength: float) -> Stain:
    """Draw a site's stain and scanner; ``strength`` 0 is the textbook, 1 is the usual spread between hospitals."""

    def vector(base: np.ndarray) -> tuple[float, float, float]:
        shifted = np.clip(base + strength * rng.normal(0, 0.035, 3), 0.02, None)
        return _triple(shifted / np.linalg.norm(shifted))

    return Stain(
        haematoxylin=vector(HAEMATOXYLIN),
        eosin=vector(EOSIN),
        haematoxylin_strength=float(np.exp(strength * rng.normal(0, 0.12))),
        eosin_strength=float(np.exp(strength * rng.normal(0, 0.16))),
        white=_triple(244 - strength * np.abs(rng.normal(0, 4, 3))),
        gamma=float(np.exp(strength * rng.normal(0, 0.05))),
        blur_px=float(np.clip(0.45 + strength * rng.normal(0, 0.15), 0.0, 1.0)),
        noise=1.5,
    )


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = (float(v) for v in values)
    return red, green, blue


def develop(haematoxylin: np.ndarray, eosin: np.ndarray, blood: np.ndarray | None, stain: Stain) -> np.ndarray:
    """Turn stain amounts (arrays ``[height, width]``) into light: ``I = white * exp(-sum of amount * density)``, float32 RGB."""
    image = np.empty((*haematoxylin.shape, 3), dtype=np.float32)
    for rows in strips(len(image)):
        for channel in range(3):
            density = haematoxylin[rows] * np.float32(-stain.haematoxylin[channel] * stain.haematoxylin_strength * stain.gamma)
            density += eosin[rows] * np.float32(-stain.eosin[channel] * stain.eosin_strength * stain.gamma)
            if blood is not None:
                density += blood[rows] * np.float32(-ERYTHROCYTE[channel] * stain.gamma)
            np.exp(density, out=density)
            np.multiply(density, np.float32(stain.white[channel]), out=image[rows, :, channel])
    return image


def scan(light: np.ndarray, stain: Stain, grain: np.ndarray) -> np.ndarray:
    """Blur, add sensor noise (``grain`` has sd 1) and round to 8 bits, as the site's scanner does."""
    from PIL import Image, ImageFilter

    image = np.empty(light.shape, dtype=np.uint8)
    for rows in strips(len(image)):
        noisy = light[rows] + (grain[rows] * np.float32(stain.noise))[..., None]
        np.clip(noisy, 0, 255, out=noisy)
        image[rows] = noisy
    side = float(np.exp(-0.5 / max(stain.blur_px, 0.2) ** 2))  # a Gaussian cut to three taps a side
    kernel = np.outer([side, 1, side], [side, 1, side]).ravel()
    return np.asarray(Image.fromarray(image).filter(ImageFilter.Kernel((3, 3), kernel.tolist(), float(kernel.sum()))))


def strips(height: int, rows: int = 128) -> list[slice]:
    """Cut an image's rows into strips small enough for the processor's cache."""
    return [slice(top, min(top + rows, height)) for top in range(0, height, rows)]

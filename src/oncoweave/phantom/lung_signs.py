"""Signs of lung diseases drawn on a phantom film: one shape a disease, on a side drawn anew for each."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32, UInt8

from oncoweave.phantom.lungs import DISEASES
from oncoweave.phantom.texture import smooth_noise

MM_PER_PX = (280 / 256, 384 / 320)
"""Down and across a film of a phantom patient."""
Field = Float32[np.ndarray, "height width"]


def draw_signs(
    film: UInt8[np.ndarray, "height width"], signs: tuple[bool, ...], rng: np.random.Generator
) -> UInt8[np.ndarray, "height width"]:
    """Draw the signs of some diseases, in the order of :data:`oncoweave.phantom.lungs.DISEASES`, on a film.

    COPD: dark lungs that reach below the flattened diaphragm. Bronchiectasis: rings of bronchial walls low in one lung.
    Pneumothorax: a dark rim without markings, behind a fine line, at the upper side. Pneumonia: a fuzzy consolidation.
    Interstitial lung disease: a net of lines low in both lungs. Tuberculosis: a cavity with a thick wall in an upper lobe. Lung
    cancer: a spiky mass at one hilum. Pleural effusion: fluid at one base, with a meniscus that rises to the side.
    """
    height, width = film.shape
    grey = film.astype(np.float32)
    y = (height / 2 - np.arange(height, dtype=np.float32))[:, None] * MM_PER_PX[0]
    x = (np.arange(width, dtype=np.float32) - width / 2)[None, :] * MM_PER_PX[1]
    x, y = np.broadcast_arrays(x, y)
    for disease, shown in zip(DISEASES, signs, strict=True):
        side, own = float(rng.choice((-1.0, 1.0))), np.random.default_rng(int(rng.integers(2**32)))
        if shown:
            grey = _DRAWN[disease.name](grey, side * x, y, own)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def _soft(depth_mm: Field, edge_mm: float) -> Field:
    """1 inside, 0 outside, with an edge of the given width."""
    return np.clip(depth_mm / edge_mm + 0.5, 0, 1)


def _lung(across: Field, y: Field) -> Field:
    """Distance from the side of the lung in millimetres, positive inside; the lung on the side where ``across`` is positive."""
    return 54 * np.sqrt(np.clip(1 - (y / 150) ** 6, 0.05, 1)) - np.abs(across - 80)


def _aerated(across: Field, y: Field) -> Field:
    return _soft(_lung(across, y), 8) * _soft(y + 80, 10)


def _blend(grey: Field, share: Field, towards: float) -> Field:
    return grey + share * (towards - grey)


def _hyperinflated(grey: Field, across: Field, y: Field, rng: np.random.Generator) -> Field:
    wide = np.abs(across)
    grey = grey - float(rng.uniform(18, 26)) * _aerated(wide, y)
    below = _soft(-y - 70, 6) * _soft(y + float(rng.uniform(104, 114)), 5) * _soft(_lung(wide, y), 8)
    return np.minimum(grey, _blend(grey, 0.85 * below, 115.0))


def _rings(grey: Field, across: Field, y: Field, rng: np.random.Generator) -> Field:
    for _ in range(5):
        centre = float(rng.uniform(48, 105)), float(rng.uniform(-62, -12))
        distance = np.hypot(across - centre[0], y - centre[1])
        radius = float(rng.uniform(6, 8.5))
        grey = _blend(grey, 0.6 * _soft(radius - distance, 2), 75.0)
        grey = _blend(grey, _soft(1.6 - np.abs(distance - radius), 1.5), 235.0)
    return grey


def _rim(grey: Field, across: Field, y: Field, rng: np.random.Generator) -> Field:
    rim = float(rng.uniform(17, 25)) * np.clip((y + 40) / 60, 0, 1)
    from_wall = np.where(across > 80, _lung(across, y), 99.0)
    apart = np.clip(rim / 4, 0, 1)
    grey = _blend(grey, 0.9 * apart * _soft(rim - from_wall, 2) * _soft(from_wall + 1, 3), 35.0)
    return _blend(grey, 0.9 * apart * _soft(1.3 - np.abs(from_wall - rim), 1.5), 225.0)


def _consolidated(grey: Field, across: Field, y: Field, rng: np.random.Generator) -> Field:
    centre = float(rng.uniform(68, 100)), float(rng.uniform(-45, 10))
    distance = np.hypot((across - centre[0]) / float(rng.uniform(26, 34)), (y - centre[1]) / float(rng.uniform(20, 26)))
    fuzzy = np.clip(1.5 - distance - 0.2 * smooth_noise(grey.shape, 5, rng), 0, 1)
    return _blend(grey, 0.8 * fuzzy * _aerated(across, y), 205.0)


def _reticular(grey: Field, across: Field, y: Field, rng: np.random.Generator) -> Field:
    wide = np.abs(across)
    bend = 3 * smooth_noise(grey.shape, 12, rng)
    lines = np.zeros_like(grey)
    for slope in (1.0, -1.0):
        phase = (across + slope * y + bend) * 2 * np.pi / 10 + float(rng.uniform(0, 2 * np.pi))
        lines = np.maximum(lines, np.clip(4 * np.cos(phase) - 2.6, 0, 1))
    return grey + 65 * lines * _aerated(wide, y) * _soft(5 - y, 25) * _soft(wide - 55, 20)


def _cavity(grey: Field, across: Field, y: Field, rng: np.random.Generator) -> Field:
    centre, radius = (float(rng.uniform(68, 94)), float(rng.uniform(58, 88))), float(rng.uniform(15, 19))
    distance = np.hypot(across - centre[0], y - centre[1])
    grey = _blend(grey, 0.9 * _soft(radius - distance, 3), 220.0)
    return _blend(grey, _soft(radius - 6 - distance, 2), 55.0)


def _mass(grey: Field, across: Field, y: Field, rng: np.random.Generator) -> Field:
    dx, dy = across - float(rng.uniform(42, 54)), y - float(rng.uniform(0, 35))
    spikes = 1 + 0.08 * np.cos(int(rng.integers(7, 11)) * np.arctan2(dy, dx) + float(rng.uniform(0, 6)))
    return _blend(grey, 0.95 * _soft(float(rng.uniform(19, 24)) * spikes - np.hypot(dx, dy), 3), 228.0)


def _meniscus(grey: Field, across: Field, y: Field, rng: np.random.Generator) -> Field:
    level = float(rng.uniform(-62, -48)) + 0.0065 * np.clip(across - 30, 0, None) ** 2
    fluid = _soft(level - y, 5) * _soft(across - 18, 8) * _soft(_lung(np.maximum(across, 80), y) + 3, 6)
    return _blend(grey, 0.95 * fluid, 218.0)


_DRAWN: dict[str, Callable[[Field, Field, Field, np.random.Generator], Field]] = {
    "COPD": _hyperinflated,
    "bronchiectasis": _rings,
    "pneumothorax": _rim,
    "pneumonia": _consolidated,
    "interstitial lung disease": _reticular,
    "tuberculosis": _cavity,
    "lung cancer": _mass,
    "pleural effusion": _meniscus,
}

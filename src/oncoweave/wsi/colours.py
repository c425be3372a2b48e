"""Colours in which equal steps look equal: OKLab (Ottosson 2020), and a colour scale laid out in it.

The scale goes from dark violet over green to pale yellow, which stains of haematoxylin and eosin do not have; its lightness grows
evenly, so that it reads the same in print and to the colour-blind.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float, UInt8

_TO_CONES = np.array([
    [0.8189330101, 0.3618667424, -0.1288597137],
    [0.0329845436, 0.9293118715, 0.0361456387],
    [0.0482003018, 0.2643662691, 0.6338517070],
])  # fmt: skip
_TO_LAB = np.array([
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
])  # fmt: skip
_RGB_TO_XYZ = np.array([
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
])  # fmt: skip
_LIGHTNESS, _HUE = (0.25, 0.94), (290.0, 108.0)
_STEPS = 256


def to_oklab(rgb: Float[np.ndarray, "*shape 3"]) -> Float[np.ndarray, "*shape 3"]:
    """Convert sRGB from 0 to 1 to OKLab: lightness from 0 to 1, green to red, blue to yellow."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((np.maximum(rgb, 0) + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _RGB_TO_XYZ.T @ _TO_CONES.T) @ _TO_LAB.T


def from_oklab(lab: Float[np.ndarray, "*shape 3"]) -> Float[np.ndarray, "*shape 3"]:
    """Convert OKLab to sRGB; a colour that no screen shows comes out below 0 or above 1."""
    linear = (lab @ np.linalg.inv(_TO_LAB).T) ** 3 @ np.linalg.inv(_TO_CONES).T @ np.linalg.inv(_RGB_TO_XYZ).T
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055)


@lru_cache(maxsize=1)
def scale() -> UInt8[np.ndarray, "step 3"]:
    """Lay the colour scale out in 256 steps of equal distance in OKLab, dark to light."""
    t = np.linspace(0, 1, 16 * _STEPS)
    hue = np.radians(_HUE[0] + (_HUE[1] - _HUE[0]) * t)
    chroma = 0.09 + 0.2 * (t - 0.42) ** 2  # as much as a screen can show at every lightness on the way
    lab = np.stack([_LIGHTNESS[0] + (_LIGHTNESS[1] - _LIGHTNESS[0]) * t, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(lab, axis=0), axis=1))])
    even = np.linspace(0, length[-1], _STEPS)
    path = np.stack([np.interp(even, length, axis) for axis in lab.T], axis=1)
    return np.rint(255 * np.clip(from_oklab(path), 0, 1)).astype(np.uint8)


def paint(values: Float[np.ndarray, " n"], *, low: float, high: float) -> UInt8[np.ndarray, "n 3"]:
    """Give each value its colour on the scale from ``low`` to ``high``; values beyond get the end's."""
    share = np.clip((values - low) / (high - low), 0, 1) if high > low else np.full(len(values), 0.5)
    return scale()[np.rint((_STEPS - 1) * share).astype(int)]

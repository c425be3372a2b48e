"""What a windowed volume looks like as a whole: moments, shares of its values, and means of large cells."""

from itertools import pairwise

import numpy as np
from jaxtyping import Float

COARSE = (10, 8, 7)
"""Cells along each axis."""
_HU_EDGES = (-1000, -900, -700, -500, -150, -20, 20, 80, 200, 400)


def coarse_means(windowed: Float[np.ndarray, "x y z"]) -> Float[np.ndarray, "coarse_x coarse_y coarse_z"]:
    """Average over cells of nearly equal size, ``COARSE`` of them."""
    for axis, cells in enumerate(COARSE):
        parts = np.array_split(windowed, cells, axis=axis)
        windowed = np.stack([part.mean(axis=axis) for part in parts], axis=axis)
    return windowed


def _edges(unit: str) -> tuple[int, ...]:
    return _HU_EDGES if unit == "HU" else tuple(range(0, 1000, 100))


def statistic_names(unit: str) -> tuple[str, ...]:
    """Name what :func:`describe` gives for a unit: ``HU``, or ``own`` for thousandths of a scan's own window."""
    edges, mark = _edges(unit), "HU" if unit == "HU" else "thousandths"
    ranges = (f"share of {low} to {high} {mark}" for low, high in pairwise(edges))
    return ("mean", "deviation", "skewness", "kurtosis", *ranges, f"share above {edges[-1]} {mark}", "edges")


def describe(inside: Float[np.ndarray, "x y z"], *, low: int, high: int, unit: str) -> Float[np.ndarray, " statistic"]:
    """Describe what lies inside the scan, 0 to 1 inside the window."""
    mean, spread = float(inside.mean()), max(float(inside.std()), 1e-6)
    off = (inside - mean) / spread
    square = off * off
    slots = np.searchsorted((np.array(_edges(unit), dtype=np.float32) - low) / (high - low), inside.ravel(), side="right")
    shares = np.bincount(slots, minlength=len(_edges(unit)) + 1)[1:] / inside.size
    changes = float(np.mean([np.abs(np.diff(inside, axis=a)).mean() if inside.shape[a] > 1 else 0.0 for a in range(3)]))
    return np.array([mean, spread, float((square * off).mean()), float((square * square).mean()), *shares, changes])

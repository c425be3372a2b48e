"""Weights and images that follow a formula, so that numbers made of them depend on no generator."""

import zlib
from collections.abc import Mapping

import numpy as np


def weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Fill tensors with sines whose phase comes from the tensor's name; matrices are scaled by their inputs, gains lie near 1."""
    filled = {}
    for name, shape in shapes.items():
        phase = zlib.crc32(name.encode()) % 1000
        values = np.sin(1.7 * np.arange(np.prod(shape)) + phase).reshape(shape)
        if len(shape) > 1 and "token" not in name and "pos" not in name:
            values = values * 1.4 / np.prod(shape[1:]) ** 0.5
        elif name.endswith(("weight", "gamma", "lambda1")):
            values = 1 + 0.3 * values
        filled[name] = (values * (0.3 if name.endswith("bias") else 1)).astype(np.float32)
    return filled


def images(side: int, *, count: int = 2) -> np.ndarray:
    """Waves with values from 0 to 1, ``[count, 3, side, side]``, finer in each image and colour."""
    image, colour, y, x = np.meshgrid(np.arange(count), np.arange(3), np.arange(side), np.arange(side), indexing="ij")
    return (0.5 + 0.5 * np.sin((0.31 + 0.1 * colour) * x + (0.17 + 0.2 * image) * y + colour)).astype(np.float32)

"""Fixtures that every test may use."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(20240229)


@pytest.fixture
def real_data() -> Path:
    """The folder of real data: ``ONCOWEAVE_DATA``, or ``shared/data`` beside the checkout; skips where there is none."""
    folder = Path(os.environ.get("ONCOWEAVE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not a folder (set ONCOWEAVE_DATA)")
    return folder


@pytest.fixture
def write_slide(tmp_path: Path) -> Callable[..., Path]:
    """Write a lossless tiled pyramidal TIFF: glass, with rectangles ``(x, y, width, height)`` of speckled purple tissue.

    ``mpp`` None leaves the resolution out.
    """

    def write(
        name: str = "slide.tiff",
        *,
        size: tuple[int, int] = (1024, 768),
        boxes: tuple[tuple[int, int, int, int], ...] = ((256, 128, 512, 384),),
        mpp: float | None = 0.5,
        levels: int = 2,
        colour: tuple[int, int, int] = (170, 90, 160),
        seed: int = 0,
    ) -> Path:
        import tifffile

        drawn = np.random.default_rng(seed)
        image = np.full((size[1], size[0], 3), 243, dtype=np.uint8)
        for x, y, width, height in boxes:
            nuclei = drawn.random((height, width)) < 0.2
            image[y : y + height, x : x + width] = np.where(nuclei[..., None], np.array(colour) // 2, np.array(colour))
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        scale = {} if mpp is None else {"resolution": (10000 / mpp, 10000 / mpp), "resolutionunit": "CENTIMETER"}
        with tifffile.TiffWriter(path) as tiff:
            for level in range(levels):
                step = 2**level
                high, wide = image.shape[0] // step, image.shape[1] // step
                blocks = image[: high * step, : wide * step].reshape(high, step, wide, step, 3).mean(axis=(1, 3))
                small = np.rint(blocks).astype(np.uint8)
                kind = {"subfiletype": 1} if level else scale
                tiff.write(small, tile=(256, 256), photometric="rgb", compression="deflate", metadata=None, **kind)
        return path

    return write

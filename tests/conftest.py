"""Fixtures that every test may use."""

import os
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

"""Tiles of phantom slides are named by the truth they lie on."""

import numpy as np
import pytest

from oncoweave.core.errors import DataError
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import write_phantom
from oncoweave.phantom.histology import REGIONS
from oncoweave.phantom.labelled_tiles import cut_tiles, label_tiles
from oncoweave.phantom.truth_folder import truth_folder

SIDE = 32  # 8 pixels of the maps


def maps(*tiles: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """Truth of a row of tiles, each filled by shares of regions."""
    regions = np.zeros((8, 8 * len(tiles)), dtype=np.uint8)
    for number, shares in enumerate(tiles):
        pixels = np.concatenate([np.full(round(64 * share), REGIONS.index(name)) for name, share in shares.items()])
        regions[:, 8 * number : 8 * number + 8] = np.resize(pixels, 64).reshape(8, 8)
    return regions, np.zeros_like(regions)


@pytest.mark.parametrize(
    ("shares", "subtype", "name"),
    [
        ({"stroma": 1.0}, "solid", "stroma"),
        ({"tumour": 0.75, "stroma": 0.25}, "solid", "tumour, solid"),
        ({"tumour": 0.5, "stroma": 0.5}, "solid", None),
        ({"tumour": 0.5, "lumen": 0.25, "stroma": 0.25}, "glandular", "tumour, glandular"),
        ({"tumour": 0.5, "lumen": 0.25, "stroma": 0.25}, "solid", None),
        ({"lumen": 1.0}, "glandular", None),
        ({"necrosis": 0.75, "tumour": 0.25}, "solid", "necrosis"),
        ({"fat": 0.75, "stroma": 0.25}, "discohesive", "fat"),
        ({"tumour": 0.125, "stroma": 0.875}, "discohesive", "tumour, discohesive"),
        ({"tumour": 0.0625, "stroma": 0.9375}, "discohesive", None),
        ({"tumour": 0.0, "stroma": 1.0}, "discohesive", "stroma"),
        ({"background": 1.0}, "solid", None),
    ],
)
def test_a_tile_is_the_tissue_that_fills_it(shares, subtype, name):
    corners, found = label_tiles(*maps(shares), subtype=subtype, side=SIDE)
    assert found == ([] if name is None else [name])
    assert corners.shape == (len(found), 2)


def test_corners_are_level_0_pixels_and_artefacts_are_left_out():
    regions, artefacts = maps({"stroma": 1.0}, {"fat": 1.0}, {"stroma": 1.0})
    artefacts[3, 20] = 1
    corners, found = label_tiles(regions, artefacts, subtype="solid", side=SIDE)
    assert found == ["stroma", "fat"]
    assert corners.tolist() == [[0, 0], [32, 0]]


def test_tiles_of_a_cohort_show_what_they_are_called(tmp_path):
    config = Config(patients=2, seed=3, missing=0.0, slide_px=768, without=("volume", "film"))
    write_phantom(config, tmp_path / "cohort", progress=False)
    tiles = cut_tiles(tmp_path / "cohort", side=96, per_slide=3, rng=np.random.default_rng(0))
    assert len(tiles.images) == len(tiles.labels) == len(tiles.slides) > 5
    for slide in set(tiles.slides):
        labels = [name for name, s in zip(tiles.labels, tiles.slides, strict=True) if s == slide]
        assert max(labels.count(name) for name in labels) <= 3
    again = cut_tiles(tmp_path / "cohort", side=96, per_slide=3, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(again.images, tiles.images)
    part = tiles.take(np.array([n == tiles.labels[0] for n in tiles.labels]))
    assert set(part.labels) == {tiles.labels[0]}
    assert truth_folder(tmp_path / "cohort").is_dir()


def test_a_cohort_without_slides_is_refused(tmp_path):
    config = Config(patients=2, missing=0.0, without=("slide", "volume", "film"))
    write_phantom(config, tmp_path / "cohort", progress=False)
    with pytest.raises(DataError, match="has no slides; make it without --no-slides"):
        cut_tiles(tmp_path / "cohort", rng=np.random.default_rng(0))

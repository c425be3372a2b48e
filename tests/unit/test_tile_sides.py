"""Tiles on both sides: equal ones are refused, near-equal embeddings counted, other numbers than the released ones no contest."""

import numpy as np
import pandas as pd
import pytest
import torch

from oncoweave.core.errors import DataError
from oncoweave.train.probe import LabelledTiles, ProbeData, load_probe
from oncoweave.train.tile_files import write_tiles
from oncoweave.train.tile_protocols.embedded import Embedded
from oncoweave.train.tile_protocols.sides import COLUMNS, near_tiles, refuse_equal_tiles, said, suspicious


def shard(path, images):
    write_tiles(path, images, labels=["a", "b"] * (len(images) // 2), groups=[f"{path.stem}{i}" for i in range(len(images))])
    return path


def test_equal_pixels_are_refused_whatever_the_files_are_called_and_blank_tiles_are_not(tmp_path, rng):
    first, second = (rng.integers(0, 255, (6, 40, 40, 3)).astype(np.uint8) for _ in range(2))
    first[0] = second[0] = 240
    train, clean = shard(tmp_path / "train.h5", first), shard(tmp_path / "clean.h5", second)
    refuse_equal_tiles(load_probe(train, clean, side=32), train, clean)
    second[3:5] = first[[5, 2]]
    leaking = shard(tmp_path / "leaking.h5", second)
    with pytest.raises(DataError, match=r"2 of 6 tiles in .*leaking.h5 are tiles of .*train.h5 as well, pixel by pixel"):
        refuse_equal_tiles(load_probe(train, leaking, side=32), train, leaking)


def test_tiles_that_are_not_read_have_no_hash_and_are_not_called_equal():
    tiles = LabelledTiles(images=torch.zeros(2, 3, 4, 4, dtype=torch.uint8), label=np.array([0, 1]), group=np.array([0, 1]))
    refuse_equal_tiles(ProbeData(train=tiles, test=tiles, classes=("a", "b")), "x", "y")


def embedded(features: np.ndarray) -> Embedded:
    return Embedded(features=features, label=np.arange(len(features)) % 2, group=np.arange(len(features)))


@pytest.mark.parametrize("copies", [0, 3])
def test_near_copies_are_counted_against_what_one_side_shows_by_itself(rng, copies):
    x, z = rng.normal(size=(200, 8)), rng.normal(size=(60, 8))
    z[:copies] = x[:copies] + rng.normal(0, 0.02, (copies, 8))
    x[-1] = x[-2] + 0.01  # two tiles of one slide
    table = pd.DataFrame([near_tiles("e", embedded(x), embedded(z), rng=rng)])
    assert table.iloc[0].to_dict() == dict(zip(COLUMNS, ("e", copies, 60, 2, 200, 200), strict=True))
    assert suspicious(table) == bool(copies)
    wanted = "3 of 60 test tiles are near-equal to a training tile, by e (and 2 of 200" if copies else "No test tile is equal"
    assert said(table).startswith(wanted)


def test_counts_do_not_depend_on_the_scale_or_on_a_shift_of_embeddings(rng):
    x, z = rng.normal(size=(80, 6)), rng.normal(size=(300, 6))
    z[:5] = x[:5] * 1.001
    counts = [near_tiles("e", embedded(a), embedded(b), rng=rng)["near"] for a, b in ((x, z), (x * 7 + 3, z * 7 + 3))]
    assert counts[0] == counts[1] >= 5

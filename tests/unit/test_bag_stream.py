"""Batches of slides: what an epoch visits, the budget, the same batch for the same step, and what is left out."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch

from oncoweave.core.errors import ConfigError, DataError
from oncoweave.data.bags import Bag, BagAttrs, write_bag
from oncoweave.data.columns import fit_scaling
from oncoweave.nn.coordinates import SlideView
from oncoweave.phantom.arrangement import Config, write_arrangement
from oncoweave.train.bag_stream import BagData, fit_tile_scaling, open_bags, pack_epoch

SIZES = (4, 30, 7, 1, 12, 25, 9, 16)
STILL = SlideView(crop=1.0, flip=0.0)


def _bag(number, size, *, pitch=512.0, side=8, dim=3):
    rng = np.random.default_rng(number)
    cell = np.arange(size)
    attrs = BagAttrs(slide_id=f"S{number}", encoder="e", encoder_fingerprint="abc", patch_size=256, patch_size_level0=pitch)
    return Bag(
        features=(rng.normal(size=(size, dim)) * (1, 2, 0, 1)[:dim] + (number, 5, 7, 0)[:dim]).astype(np.float32),
        coords=(np.stack([cell % side, cell // side], axis=1) * pitch).astype(np.int64),
        tissue_fraction=None,
        attrs=attrs,
    )


@pytest.fixture
def folder(tmp_path):
    for number, size in enumerate(SIZES):
        write_bag(tmp_path / "bags" / f"S{number}.h5", _bag(number, size))
    return tmp_path / "bags"


def _open(folder, *, views=STILL, batch=3, seed=0, rank=0, world=1, **data):
    settings = {"budget": 40, "readers": 0} | data
    return BagData(**settings).open([folder], views=views, batch=batch, seed=seed, rank=rank, world=world)


def _steps(stream):
    return stream.describe()["steps_of_first_epoch"]


def test_an_epoch_visits_every_slide_once_and_the_next_in_another_order(folder):
    stream = _open(folder)
    orders = []
    place = 0
    for _ in range(3):
        seen = []
        while len(seen) < len(SIZES):
            seen += stream.slides_of(place).tolist()
            place += 1
        assert Counter(seen) == Counter(range(len(SIZES)))
        orders.append(seen)
    assert orders[0] != orders[1] != orders[2]


def test_batches_hold_no_more_slides_and_tiles_than_asked_for(folder):
    stream = _open(folder, budget=26)
    for step in range(2 * _steps(stream)):
        batch = stream.batch(step)
        assert len(batch.keep) <= 3
        assert batch.keep.sum() <= 26
        assert stream.notes(step)["tiles"] == batch.keep.sum()
    order = np.arange(8)
    packs = pack_epoch(np.array(SIZES), order, slides=100, budget=40)
    assert [p.tolist() for p in packs] == [[0, 1], [2, 3, 4], [5, 6], [7]]  # 34, 20 (25 more would be 45), 34 (16 more 50), 16


def test_a_slide_larger_than_the_budget_is_shortened_to_neighbours_and_counted(folder):
    stream = _open(folder, budget=9, memory=0)
    for step in range(_steps(stream)):
        batch = stream.batch(step)
        if stream.notes(step)["shortened"]:
            assert batch.keep.sum() == 9
            extent = batch.positions[0, batch.keep[0], :2]
            assert ((extent.amax(dim=0) - extent.amin(dim=0)) <= 8).all()
            break
    else:
        pytest.fail("no slide was shortened")


@pytest.mark.parametrize("readers", [0, 2])
def test_a_batch_is_a_function_of_seed_and_step(folder, readers):
    views = SlideView(grid=50)
    wanted = [_open(folder, views=views).batch(s) for s in range(9)]
    stream = _open(folder, views=views, readers=readers)
    for step in (0, 1, 2, 7, 3, 8):  # in any order, as after a crash
        again = stream.batch(step)
        assert torch.equal(again.values, wanted[step].values)
        assert torch.equal(again.positions, wanted[step].positions)
        assert torch.equal(again.keep, wanted[step].keep)
    stream.close()
    other = _open(folder, views=views, seed=1)
    assert [other.slides_of(s).tolist() for s in range(3)] != [stream.slides_of(s).tolist() for s in range(3)]


def test_processes_share_the_same_sequence_of_batches(folder):
    alone = _open(folder, batch=2)
    shared = [_open(folder, batch=4, rank=rank, world=2) for rank in range(2)]
    for step in range(6):
        for rank, stream in enumerate(shared):
            assert stream.slides_of(step).tolist() == alone.slides_of(2 * step + rank).tolist()
    with pytest.raises(ConfigError, match="2 process"):
        _open(folder, batch=3, world=2)


def test_tiles_are_standardised_by_slides_that_count_alike(folder):
    index = open_bags([folder])
    scaling = fit_tile_scaling(index, measured=100)
    bags = [_bag(i, n).features.astype(np.float64) for i, n in enumerate(SIZES)]
    mean = np.mean([b.mean(axis=0) for b in bags], axis=0)
    np.testing.assert_allclose(scaling.centre, mean)
    spread = np.sqrt(np.mean([((b - mean) ** 2).mean(axis=0) for b in bags], axis=0))
    np.testing.assert_allclose(scaling.scale, [spread[0], spread[1], 1.0], rtol=1e-5)
    alike = fit_tile_scaling(index.take(np.array([1])), measured=1)
    np.testing.assert_allclose(alike.centre, fit_scaling(bags[1]).centre, rtol=1e-6)
    stream = _open(folder)
    shown = stream.sample(1)
    np.testing.assert_allclose(shown.values[0, :4], (bags[0] - scaling.centre) / scaling.scale, atol=1e-5)


def test_positions_are_in_tiles_whatever_the_scanner(tmp_path):
    for number, pitch in enumerate((512.0, 513.6)):
        write_bag(tmp_path / f"S{number}.h5", dataclasses.replace(_bag(0, 20), coords=_bag(0, 20, pitch=pitch).coords,
                  attrs=dataclasses.replace(_bag(0, 20).attrs, slide_id=f"S{number}", patch_size_level0=pitch)))  # fmt: skip
    sample = _open(tmp_path, views=SlideView(grid=8)).sample(2)
    corners = [p[k, :2] - p[k, :2].amin(dim=0) for p, k in zip(sample.positions, sample.keep, strict=True)]
    assert torch.equal(*corners)
    assert corners[0].amax(dim=0).tolist() == [7, 2]


def test_views_crop_and_stay_on_the_grid(folder):
    stream = _open(folder, views=SlideView(crop=0.5, grid=9))
    for step in range(_steps(stream)):
        batch = stream.batch(step)
        places = batch.positions[batch.keep]
        assert places[:, :2].min() >= 0
        assert places[:, :2].max() <= 8
        assert (places[:, 2] == 0).all()
        assert batch.keep.sum() < sum(SIZES[i] for i in stream.slides_of(step)) or max(batch.keep.sum(dim=1)) == 1


def test_the_fingerprint_follows_the_bags_not_their_place(folder, tmp_path):
    first = open_bags([folder])
    folder.rename(tmp_path / "elsewhere")
    assert open_bags([tmp_path / "elsewhere"]).fingerprint == first.fingerprint
    write_bag(tmp_path / "elsewhere" / "S0.h5", _bag(0, 5))
    assert open_bags([tmp_path / "elsewhere"]).fingerprint != first.fingerprint


def test_cohorts_give_the_bags_of_their_slides(tmp_path):
    write_arrangement(Config(patients=2, unlabelled=3), tmp_path / "cohort")
    index = open_bags([tmp_path / "cohort"])
    assert [p.stem for p in index.paths] == [f"A{i:05d}-S1" for i in range(5)]
    assert index.dim == 16


def test_a_bag_of_another_width_is_named_even_where_it_calls_itself_as_another(folder):
    write_bag(folder / "again.h5", _bag(1, 5, dim=2))
    with pytest.raises(DataError, match=r"tiles of width \d, the other bags' of \d|comes from another encoder"):
        open_bags([folder])


def test_bags_that_cannot_be_read_are_counted_and_said(folder):
    (folder / "broken.h5").write_bytes(b"no bag")
    stream = _open(folder, batch=8, budget=1000)
    assert stream.describe()["refused"] == 1
    assert "broken.h5" in stream.faults()["refused"][0]
    assert "broken" not in str(stream.describe())
    (folder / "S2.h5").unlink()
    stream = dataclasses.replace(stream.data, memory=0).open([folder], views=STILL, batch=7, seed=0)
    (folder / "S5.h5").unlink()
    batch = stream.batch(0)
    assert len(batch.keep) == 6
    assert stream.notes(0)["unread"] == 1
    assert stream.describe()["unread_since_start"] == 1
    for file in folder.glob("S*.h5"):
        file.unlink()
    with pytest.raises(DataError, match=r"none of the 7 slide\(s\) of step 1"):
        stream.batch(1)


def test_nothing_to_read_and_mixed_encoders_are_refused(folder, tmp_path):
    with pytest.raises(DataError, match="no such file"):
        open_bags([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no bag in"):
        open_bags([tmp_path / "empty"])
    write_bag(folder / "other.h5", _bag(9, 5, dim=4))
    with pytest.raises(DataError, match="another encoder"):
        open_bags([folder])

"""Slide: several slides a patient, positions, drawing of tiles, refusals."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.encoder_card import UNNAMED, TileSource
from oncoweave.core.errors import DataError
from oncoweave.data.bags import Bag, BagAttrs, write_bag
from oncoweave.data.cohort import ModalitySpec, Record
from oncoweave.modalities import slide

SPEC = ModalitySpec(name="slide", kind="slide")


def bag(features: np.ndarray, *, slide_id: str = "S1", mpp: float | None = 0.25, mark: str | None = "abc") -> Bag:
    count = len(features)
    coords = np.stack([np.arange(count) * 512, np.full(count, 1024)], axis=1)
    attrs = BagAttrs(slide_id=slide_id, encoder="colour", encoder_fingerprint=mark, level0_mpp=mpp)
    return Bag(features=features, coords=coords, tissue_fraction=None, attrs=attrs)


def sample(rng: np.random.Generator, *counts: int, patient: str = "P1", dim: int = 3, **changes) -> slide.Sample:
    bags = [bag(rng.normal(size=(n, dim)).astype(np.float32), slide_id=f"S{i}", **changes) for i, n in enumerate(counts)]
    return slide.from_bags(patient, bags, paths=[f"bags/S{i}.h5" for i in range(len(bags))])


def test_slides_of_a_patient_are_one_bag(rng):
    two = sample(rng, 4, 6)
    joined = np.concatenate([b.features for b in two.bags])
    np.testing.assert_allclose(two.mean, joined.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(two.std, joined.std(axis=0), atol=1e-6)
    tokens = slide.fit([two, sample(rng, 5)]).collate([two])
    assert tokens.keep.sum() == 10


def test_tiles_are_standardised_and_each_patient_counts_once(rng):
    long, short = sample(rng, 400), sample(rng, 4)
    fitted = slide.fit([long, short])
    np.testing.assert_allclose(fitted.tile_scaling.centre, (long.mean + short.mean) / 2)
    tokens = fitted.collate([long])
    back = tokens.values[0].numpy() * fitted.tile_scaling.scale + fitted.tile_scaling.centre
    np.testing.assert_allclose(back, long.bags[0].features, atol=1e-5)


def test_block_is_mean_and_deviation_standardised(rng):
    drawn = [sample(rng, int(n)) for n in rng.integers(3, 9, size=12)]
    block = slide.fit(drawn).block(drawn)
    assert block.shape == (12, 6)
    np.testing.assert_allclose(block.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(block.std(axis=0), 1)


def test_positions_are_tiles_and_slide_numbers(rng):
    two = sample(rng, 2, 1)
    sizes = [dataclasses.replace(b, attrs=dataclasses.replace(b.attrs, patch_size_level0=512.0)) for b in two.bags]
    stated = slide.from_bags("P1", sizes, paths=["a", "b"])
    assert slide.fit([two]).collate([stated]).positions[0].tolist() == [[0, 2, 0], [1, 2, 0], [0, 2, 1]]


def test_overlapping_tiles_are_as_far_apart_as_others(rng):
    one = sample(rng, 3).bags[0]
    attrs = dataclasses.replace(one.attrs, patch_size=256, patch_size_level0=1024.0, overlap=128)
    drawn = slide.from_bags("P1", [dataclasses.replace(one, attrs=attrs)], paths=["a"])
    assert slide.fit([drawn]).collate([drawn]).positions[0, :, 0].tolist() == [0, 1, 2]


def test_tiles_of_two_resolutions_lie_on_one_scale(rng):
    fine, coarse = (sample(rng, 4).bags[0] for _ in range(2))
    half = dataclasses.replace(coarse.attrs, patch_size_level0=241.5, level0_mpp=0.53)
    whole = np.rint(np.arange(4)[:, None] * [241.5, 0.0]).astype(np.int64)
    bags = [
        dataclasses.replace(fine, attrs=dataclasses.replace(fine.attrs, patch_size_level0=512.0)),
        dataclasses.replace(coarse, coords=whole, attrs=half),
    ]
    drawn = slide.from_bags("P1", bags, paths=["a", "b"])
    np.testing.assert_allclose(slide.fit([drawn]).collate([drawn]).positions[0, :, 0], [0, 1, 2, 3] * 2, atol=0.5 / 241)


def test_a_bag_without_a_tile_size_counts_its_usual_step(rng):
    assert slide.fit([sample(rng, 3)]).collate([sample(rng, 3)]).positions[0, :, 0].tolist() == [0, 1, 2]
    one = sample(rng, 1)
    assert slide.fit([sample(rng, 3)]).collate([one]).positions[0].tolist() == [[0, 4, 0]]


def test_half_precision_bags_are_read_as_float32(rng):
    half = slide.from_bags("P1", [bag(rng.normal(size=(5, 3)).astype(np.float16))], paths=["a"])
    assert str(slide.fit([half, sample(rng, 3)]).collate([half]).values.dtype) == "torch.float32"


def test_a_slide_that_is_not_embedded_names_the_command(tmp_path):
    for missing in (None, np.nan, " "):
        rows = pd.DataFrame({"patient_id": ["P1"], "slide_id": ["S9"], "path": [missing]})
        with pytest.raises(
            DataError, match=r"^modality 'slide', row 1 .*: the slide is not embedded.*run: oncoweave slides embed"
        ):
            slide.read(Record(patient_id="P1", modality=SPEC, rows=rows, root=tmp_path))


def test_two_widths_within_a_patient_are_refused(rng, tmp_path):
    rows = []
    for name, dim in (("A", 3), ("B", 5)):
        write_bag(tmp_path / f"{name}.h5", bag(rng.normal(size=(4, dim)).astype(np.float32), slide_id=name))
        rows.append({"patient_id": "P1", "slide_id": name, "path": f"{name}.h5"})
    record = Record(patient_id="P1", modality=SPEC, rows=pd.DataFrame(rows), root=tmp_path)
    with pytest.raises(DataError, match=r"modality 'slide', row 1 .*, bag .*B.h5: its features have width 5 .*wanted 3"):
        slide.read(record)


def test_another_encoder_of_the_same_width_is_refused(rng):
    fitted = slide.fit([sample(rng, 3), sample(rng, 4)])
    with pytest.raises(DataError, match=r"patient 'P9', bag bags/S0.h5: .*another encoder of the same width 3"):
        fitted.collate([sample(rng, 3, patient="P9", mark="other")])
    fitted.collate([sample(rng, 3, mark=None)])  # a dialect without fingerprints cannot be told apart


def test_where_tiles_come_from_is_what_the_bags_state(rng):
    resolved = bag(rng.normal(size=(3, 3)).astype(np.float32))
    resolved = dataclasses.replace(resolved, attrs=dataclasses.replace(resolved.attrs, mpp=0.5))
    stated = slide.from_bags("P2", [resolved], paths=["a"])
    assert slide.fit([sample(rng, 4), stated]).source == TileSource(encoder="colour", fingerprint="abc", mpp=0.5)
    unnamed = dataclasses.replace(resolved, attrs=BagAttrs(slide_id="S1"))
    assert slide.fit([slide.from_bags("P3", [unnamed], paths=["a"])]).source == TileSource(encoder=UNNAMED)


def test_equal_tiles_are_refused():
    with pytest.raises(DataError, match="patient 'P1', bag a: all 4 tiles are equal"):
        slide.check(slide.from_bags("P1", [bag(np.ones((4, 3), dtype=np.float32))], paths=["a"]))


def test_one_tile_is_enough(rng):
    one = sample(rng, 1)
    slide.check(one)
    assert np.isfinite(slide.fit([sample(rng, 5), sample(rng, 6)]).block([one])).all()


@pytest.mark.real
def test_a_real_trident_bag_is_read(real_data):
    path = real_data / "feature_bags_samples" / "TCGA-AD-6964-01Z-00-DX1.h5"
    rows = pd.DataFrame({"patient_id": ["P1"], "slide_id": ["S"], "path": [str(path)]})
    drawn = slide.read(Record(patient_id="P1", modality=SPEC, rows=rows, root=None))
    slide.check(drawn)
    assert drawn.num_tiles > 100
    assert np.isfinite(slide.fit([drawn, dataclasses.replace(drawn)]).block([drawn])).all()
    assert Path(drawn.paths[0]) == path

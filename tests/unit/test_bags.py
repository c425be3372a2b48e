from dataclasses import replace

import h5py
import numpy as np
import pytest

from oncoweave.core.errors import DataError
from oncoweave.data.bags import Bag, BagAttrs, read_bag, read_head, write_bag

ATTRS = BagAttrs(
    slide_id="s1",
    encoder="colour/plain",
    encoder_fingerprint="f" * 64,
    mpp=0.5,
    level0_mpp=0.25,
    patch_size=256,
    patch_size_level0=512.0,
    overlap=0,
    level0_width=10000,
    level0_height=8000,
    recipe='{"tile": 256}',
    fingerprint="a" * 64,
)


def a_bag(rng, tiles=5, dim=4, dtype=np.float16) -> Bag:
    return Bag(
        features=rng.normal(size=(tiles, dim)).astype(dtype),
        coords=rng.integers(0, 9000, (tiles, 2)),
        tissue_fraction=rng.random(tiles).astype(np.float32),
        attrs=ATTRS,
    )


def write_h5(path, datasets, on_file=None, on_coords=None):
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
        file.attrs.update(on_file or {})
        if on_coords:
            file["coords"].attrs.update(on_coords)
    return path


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("tiles", [1, 5, 2500])
def test_round_trip_is_lossless(tmp_path, rng, dtype, tiles):
    bag = a_bag(rng, tiles=tiles, dtype=dtype)
    write_bag(tmp_path / "s1.h5", bag)
    back = read_bag(tmp_path / "s1.h5")
    assert back.attrs == bag.attrs
    assert back.features.dtype == dtype
    np.testing.assert_array_equal(back.features, bag.features)
    np.testing.assert_array_equal(back.coords, bag.coords)
    np.testing.assert_array_equal(back.tissue_fraction, bag.tissue_fraction)
    head = read_head(tmp_path / "s1.h5")
    assert (head.num_tiles, head.dim, head.attrs) == (tiles, 4, bag.attrs)


def test_equal_bags_are_equal_bytes(tmp_path, rng):
    bag = a_bag(rng)
    write_bag(tmp_path / "a.h5", bag)
    write_bag(tmp_path / "b.h5", bag)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_the_file_is_laid_out_as_trident_reads_it(tmp_path, rng):
    write_bag(tmp_path / "s1.h5", a_bag(rng, tiles=3000))
    with h5py.File(tmp_path / "s1.h5") as file:
        assert file["features"].chunks == (1024, 4)
        assert file["coords"].dtype == np.int64
        on_coords = dict(file["coords"].attrs)
        assert (on_coords["patch_size"], on_coords["patch_size_level0"], on_coords["overlap"]) == (256, 512.0, 0)
        assert (on_coords["level0_magnification"], on_coords["target_magnification"]) == (40.0, 20.0)
        assert (on_coords["name"], on_coords["level0_width"], on_coords["level0_height"]) == ("s1", 10000, 8000)
        assert file["features"].attrs["encoder"] == "colour/plain"
        assert (file.attrs["schema"], file.attrs["schema_version"], file.attrs["mpp"]) == ("oncoweave.bag", 1, 0.5)


def test_dialects_are_told_apart(tmp_path, rng):
    values = {"features": rng.normal(size=(6, 3)).astype(np.float32), "coords": rng.integers(0, 999, (6, 2)).astype(np.int32)}
    trident = write_h5(
        tmp_path / "TCGA-X.h5",
        values,
        on_coords={"patch_size": 512, "patch_size_level0": 1024.0, "overlap": 0, "level0_magnification": 40, "name": "TCGA-X"},
    )
    clam = write_h5(
        tmp_path / "clam.h5",
        values,
        on_coords={"patch_size": 256, "patch_level": 1, "downsample": np.array([4.0, 4.0]), "name": "clam"},
    )
    gigapath = write_h5(tmp_path / "giga.h5", values)
    three = {"features": values["features"][None], "coords": values["coords"][None]}
    old_trident = write_h5(tmp_path / "old.h5", three)
    for path, dialect, side in (
        (trident, "trident", 1024.0),
        (clam, "clam", 1024.0),
        (gigapath, "gigapath", None),
        (old_trident, "gigapath", None),
    ):
        bag = read_bag(path)
        assert (bag.attrs.dialect, bag.attrs.patch_size_level0, bag.attrs.slide_id) == (dialect, side, path.stem)
        assert bag.coords.dtype == np.int64
        np.testing.assert_array_equal(bag.features, values["features"])
        assert bag.tissue_fraction is None
        assert read_head(path).num_tiles == 6


@pytest.mark.real
def test_a_real_bag_of_another_tool_is_read(real_data):
    bag = read_bag(real_data / "feature_bags_samples" / "TCGA-AD-6964-01Z-00-DX1.h5")
    assert bag.features.shape == (777, 512)
    assert bag.coords[0].tolist() == [10240, 21504]
    with pytest.raises(DataError, match=r"not a bag of tiles, it has no dataset 'coords'"):
        read_bag(real_data / "feature_bags_samples" / "TCGA-3X-AAVA-01Z-00-DX1.h5")


@pytest.mark.parametrize(
    ("datasets", "on_file", "message"),
    [
        ({"x": np.zeros(3)}, {}, r"no dataset 'features'; it has \{'x': \(3,\)\}"),
        ({"features": np.zeros((3, 2))}, {}, r"no dataset 'coords'"),
        ({"features": np.zeros((3, 2)), "coords": np.zeros((4, 2))}, {}, r"of as many, got \(3, 2\) and \(4, 2\)"),
        ({"features": np.zeros((3, 2)), "coords": np.zeros((3, 5))}, {}, r"coords \[tile, 2\]"),
        ({"feats": np.zeros((3, 2)), "coords": np.zeros((3, 2))}, {"unit": "um"}, r"coords are micrometres, wanted level-0"),
        ({"features": np.zeros((0, 2)), "coords": np.zeros((0, 2))}, {}, r"wanted at least one tile"),
        (
            {"features": np.full((3, 2), np.nan), "coords": np.zeros((3, 2))},
            {},
            r"3 of 3 tiles have features that are not finite",
        ),
        (
            {"features": np.zeros((3, 2)), "coords": np.zeros((3, 2))},
            {"schema": "oncoweave.bag", "schema_version": 9},
            r"bag schema version 9, this oncoweave reads 1",
        ),
    ],
)
def test_what_is_not_a_bag_is_refused_by_name(tmp_path, datasets, on_file, message):
    path = write_h5(tmp_path / "wrong.h5", datasets, on_file)
    with pytest.raises(DataError, match=r"wrong\.h5: .*" + message):
        read_bag(path)


def test_a_bag_cut_short_or_missing_is_refused(tmp_path, rng):
    write_bag(tmp_path / "s1.h5", a_bag(rng, tiles=500))
    content = (tmp_path / "s1.h5").read_bytes()
    (tmp_path / "s1.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"s1\.h5: not a readable HDF5 file, or cut short"):
        read_bag(tmp_path / "s1.h5")
    with pytest.raises(DataError, match=r"s2\.h5: no such bag; make it with: oncoweave slides embed"):
        read_bag(tmp_path / "s2.h5")


def test_what_cannot_be_read_back_is_not_written(tmp_path, rng):
    bag = a_bag(rng)
    infinite = bag.features.copy()
    infinite[2, 0] = np.inf
    with pytest.raises(
        DataError, match=r"1 of 5 tiles have features that are not finite, first tile 2 \(float16 holds up to 65504\)"
    ):
        write_bag(tmp_path / "s1.h5", replace(bag, features=infinite))
    assert list(tmp_path.iterdir()) == []

"""Folder of bags: dialects, whose slides they are, and encoders that do not mix."""

import h5py
import numpy as np
import pytest

from oncoweave.core.errors import DataError
from oncoweave.data.bags import read_bag
from oncoweave.data.importers.choose import import_cohort
from oncoweave.data.store import read_cohort, verify


def write_trident(path, features):
    with h5py.File(path, "w") as file:
        file["features"] = features
        coords = file.create_dataset("coords", data=np.arange(2 * len(features)).reshape(-1, 2))
        coords.attrs.update({"patch_size": 224, "patch_size_level0": 448, "level0_magnification": 40, "target_magnification": 20})


def write_clam(path, features):
    with h5py.File(path, "w") as file:
        file["features"] = features
        coords = file.create_dataset("coords", data=np.arange(2 * len(features)).reshape(-1, 2))
        coords.attrs.update({"patch_level": 1, "patch_size": 256, "downsample": [4.0, 4.0]})


def write_gigapath(path, features):
    with h5py.File(path, "w") as file:
        file["features"] = features[None]
        file["coords"] = np.arange(2 * len(features)).reshape(1, -1, 2)


def test_three_dialects_and_a_slide_table(tmp_path, rng):
    folder = tmp_path / "bags"
    folder.mkdir()
    bags = {name: rng.normal(size=(size, 4)).astype(np.float32) for name, size in (("s1", 3), ("s2", 5), ("s3", 2))}
    for write, name in zip((write_trident, write_clam, write_gigapath), bags, strict=True):
        write(folder / f"{name}.h5", bags[name])
    write_trident(folder / "unlisted.h5", bags["s1"])
    (tmp_path / "slides.csv").write_text(
        "slide_id,patient_id,sample_id,site\ns1,001,a,X\ns2.h5,001,b,X\ns3,002,a,\ngone,003,a,X\n"
    )
    _, report = import_cohort(folder, tmp_path / "out", slides=tmp_path / "slides.csv")
    cohort = read_cohort(tmp_path / "out")
    assert verify(tmp_path / "out") == []
    assert cohort.patient_ids.tolist() == ["001", "002"]
    assert [len(r.rows) for r in cohort.records("slides")] == [2, 1]  # two slides of one patient
    for slide_id, path in cohort.tables["slides"][["slide_id", "path"]].itertuples(index=False):
        bag = read_bag(cohort.root / path)
        np.testing.assert_array_equal(bag.features, bags[slide_id])
        np.testing.assert_array_equal(bag.coords, np.arange(2 * len(bag)).reshape(-1, 2))
    assert read_bag(cohort.root / "bags/slides/s2.h5").attrs.patch_size_level0 == 1024  # 256 px at downsample 4
    counts = {e.reason: e.count for e in report.entries if e.kind == "left out"}
    assert counts == {"listed, but there is no .h5 of that name": 1, "there is a .h5, but it is not listed in slides.csv": 1}


def test_bags_of_two_encoders_are_refused(tmp_path, rng):
    write_trident(tmp_path / "TCGA-AA-0001-01Z-00-DX1.h5", rng.normal(size=(3, 4)))
    write_trident(tmp_path / "TCGA-AA-0002-01Z-00-DX1.h5", rng.normal(size=(3, 5)))
    with pytest.raises(DataError, match=rf"bag of slide '{tmp_path}/TCGA-AA-0002\S+' comes from another encoder"):
        import_cohort(tmp_path, tmp_path / "out")


def test_slides_without_patients_are_refused(tmp_path, rng):
    write_trident(tmp_path / "a.h5", rng.normal(size=(3, 4)))
    with pytest.raises(DataError, match=r"not named by a TCGA barcode, first 'a': give a table .* with --slides"):
        import_cohort(tmp_path, tmp_path / "out")


def test_a_slide_id_that_leads_elsewhere_is_refused(tmp_path, rng):
    write_trident(tmp_path / "a.h5", rng.normal(size=(3, 4)))
    (tmp_path / "slides.csv").write_text("slide_id,patient_id\na,1\n../../evil,2\n")
    with pytest.raises(DataError, match=r"slides\.csv, line 3, column 'slide_id': '\.\./\.\./evil' cannot name a file"):
        import_cohort(tmp_path, tmp_path / "out", slides=tmp_path / "slides.csv")


def test_a_patient_of_two_sites_is_refused(tmp_path, rng):
    write_trident(tmp_path / "a.h5", rng.normal(size=(3, 4)))
    (tmp_path / "slides.csv").write_text("slide_id,patient_id,site\na,1,X\nb,1,Y\n")
    with pytest.raises(DataError, match="slides of more than one site, first the one in line 2"):
        import_cohort(tmp_path, tmp_path / "out", slides=tmp_path / "slides.csv")


def test_real_bags(real_data, tmp_path):
    _, report = import_cohort(real_data / "feature_bags_samples", tmp_path / "out")
    cohort = read_cohort(tmp_path / "out")
    assert cohort.site.to_dict() == {"TCGA-3X-AAVA": "3X", "TCGA-AD-6964": "AD"}
    assert cohort.records("slides")[0] is None  # its file has no coordinates: kept as a patient, absent as a slide
    bag = read_bag(cohort.root / cohort.tables["slides"]["path"].iloc[0])
    assert bag.features.shape == (777, 512)
    with h5py.File(real_data / "feature_bags_samples" / "TCGA-AD-6964-01Z-00-DX1.h5") as file:
        np.testing.assert_array_equal(bag.features, file["feats"][()])
    assert any("no dataset 'coords'" in e.reason and e.count == 1 for e in report.entries)


def test_two_bags_of_one_name_are_refused_and_neither_is_lost(tmp_path, rng):
    for part in ("batch1", "batch2"):
        (tmp_path / "bags" / part).mkdir(parents=True)
        write_trident(tmp_path / "bags" / part / "s1.h5", rng.normal(size=(3, 4)).astype(np.float32))
    with pytest.raises(DataError, match=r"two bags are named 's1', batch1/s1\.h5 and batch2/s1\.h5"):
        import_cohort(tmp_path / "bags", tmp_path / "out")

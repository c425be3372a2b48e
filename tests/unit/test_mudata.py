"""MuData out and in again: the same cohort; and MuData of others."""

import numpy as np
import pandas as pd
import pytest
from test_store import assert_same, small_cohort

from oncoweave.core.errors import DataError
from oncoweave.data.importers.mudata import read, write_mudata
from oncoweave.data.importers.sources import read_source

mudata = pytest.importorskip("mudata", reason="needs the extra omics")


def load(path):
    with mudata.set_options(pull_on_update=False):
        return mudata.read_h5mu(path)


def test_round_trip_is_exact(tmp_path):
    cohort = small_cohort()
    read_back, _ = read(write_mudata(cohort, tmp_path / "c.h5mu"))
    assert_same(cohort, read_back)


def test_numbers_keep_their_types_and_names_that_clash_are_told_apart(tmp_path):
    cohort = small_cohort()
    ids = pd.DataFrame({"patient_id": ["1", "001", "1"], "sample_id": ["b", "a", "c"]})
    values = pd.DataFrame({"x0": np.array([1, -0.5, np.nan], "float32"), "x1": np.array([1, 2, 3], "float16")})
    for name in ("rna", "protein"):
        cohort.tables[name] = pd.concat([ids, values, pd.DataFrame({"big": [2**60, 1, 2]})], axis=1)
        cohort.modalities[name] = type(cohort.modalities["record"])(name=name, kind="expression")
    path = write_mudata(cohort, tmp_path / "c.h5mu")
    assert_same(cohort, read(path)[0])
    data = load(path)
    assert data["rna"].obs_names.tolist() == ["1", "001", "1#2"]
    assert data["rna"].var_names.tolist() == ["rna:x0", "rna:x1"]  # 2**60 is not exact as a float and stays beside
    np.testing.assert_array_equal(data["rna"].X[:, 0], np.float32([1, -0.5, np.nan]))
    assert data.obs.loc["1#2", "ki67"] != data.obs.loc["1#2", "ki67"]
    assert data.obs.loc["001", "ki67"] == 0.1


def test_slides_are_pooled_and_referred_to(tmp_path):
    cohort = small_cohort(tmp_path / "source")
    data = load(write_mudata(cohort, tmp_path / "c.h5mu"))
    assert data["he"].obsm["mean_of_tiles"].shape == (2, 3)
    again, _ = read(tmp_path / "c.h5mu")
    assert again.tables["he"]["path"].tolist() == [str(tmp_path / "source" / "bags" / "he" / f"{s}.h5") for s in ("s1", "s2")]


def test_rows_taken_away_outside_stay_away(tmp_path):
    path = write_mudata(small_cohort(), tmp_path / "c.h5mu")
    with mudata.set_options(pull_on_update=False):
        data = mudata.read_h5mu(path)
        data.mod["record"] = data["record"][["TCGA-02"]].copy()
        data.update()
        data.write(tmp_path / "less.h5mu")
    less, _ = read(tmp_path / "less.h5mu")
    assert less.tables["record"]["patient_id"].tolist() == ["TCGA-02"]
    assert less.tables["record"]["stage"].cat.categories.tolist() == ["IV", "III", "II", "I"]


def test_a_file_of_others_becomes_a_cohort_without_outcomes(tmp_path):
    from anndata import AnnData

    obs = pd.DataFrame({"batch": ["x", "y"]}, index=["p1", "p2"])
    rna = AnnData(X=np.array([[1.0, 2.0], [3.0, np.nan]], "float32"), obs=obs, var=pd.DataFrame(index=["TP53", "KRAS"]))
    image = AnnData(X=np.ones((1, 3), "float32"), obs=pd.DataFrame(index=["p2"]), var=pd.DataFrame(index=["a", "b", "c"]))
    with mudata.set_options(pull_on_update=False):
        data = mudata.MuData({"rna": rna, "he": image})
        data.obs["age"] = [50.0, 60.0]
        data.write(tmp_path / "other.h5mu")
    cohort, report = read(tmp_path / "other.h5mu")
    assert {n: s.kind for n, s in cohort.modalities.items()} == {"rna": "expression", "he": "embedding"}
    assert cohort.availability()["he"].to_dict() == {"p1": False, "p2": True}
    assert cohort.patients["age"].tolist() == [50, 60]
    assert any("declares no outcomes" in e.reason for e in report.entries)
    part = read_source(tmp_path / "other.h5mu::rna")
    assert part[["patient_id", "batch", "TP53"]].to_numpy().tolist() == [["p1", "x", 1.0], ["p2", "y", 3.0]]
    with pytest.raises(DataError, match="no part named 'rnaa'; did you mean 'rna'"):
        read_source(tmp_path / "other.h5mu::rnaa")


def test_a_damaged_file_says_so(tmp_path):
    (tmp_path / "c.h5mu").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"c\.h5mu: not a readable MuData file"):
        read(tmp_path / "c.h5mu")

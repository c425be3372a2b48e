"""Readers of released splits, on tiny drawn files of the same layout, and on the released files where they are."""

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.endpoint import read_target
from oncoweave.core.errors import DataError
from oncoweave.data.released_splits import LUAD_GENES, gigapath_luad_genes, gigapath_panda
from oncoweave.data.splits import TRAIN_ONLY, check_splits


def luad_table(rng: np.random.Generator, patients: int = 40) -> pd.DataFrame:
    """Two slides a patient, frozen and FFPE; labels as the released file writes them."""
    rows = []
    for i in range(patients):
        case = f"TCGA-{'AB'[i % 2]}{i % 3}-{i:04d}"
        labels = {gene: bool(rng.random() < 0.4) for gene in LUAD_GENES}
        for ending, ffpe in (("01A-01-TS1", False), ("01Z-00-DX1", True)):
            slide = f"{case}-{ending}"
            seen = {"percent_tumor_cells": 80.0, "sample_type": "Primary Tumor"}
            rows.append({"slide_id": slide, "case_submitter_id": case, "is_ffpe": ffpe, **seen, **labels, "pat_id": f"c{i}"})
    return pd.DataFrame(rows)


def panda_files(folder, *, test: tuple[str, ...] = ("t1", "t2")) -> dict[str, object]:
    sides = {"train": ("a", "b", "c", "d"), "val": ("e", "f"), "test": test}
    paths = {}
    for number, (side, slides) in enumerate(sides.items()):
        paths[side] = folder / f"{side}_0.csv"
        grades = [(i + number) % 6 for i in range(len(slides))]
        table = pd.DataFrame({"slide_id": slides, "data_provider": ["karolinska", "radboud"][number % 2], "label": grades})
        table.to_csv(paths[side], index=False)
    return paths


def test_five_genes_become_patients_endpoints_and_ten_folds(tmp_path, rng):
    table = luad_table(rng)
    table.to_csv(tmp_path / "luad.csv")
    released = gigapath_luad_genes(tmp_path / "luad.csv", folds=5)
    assert len(released.patients) == 40
    assert len(released.slides) == 80
    assert released.slides["is_ffpe"].sum() == 40
    assert "percent_tumor_cells" in released.slides
    assert released.patients.loc["TCGA-A0-0000", "site"] == "A0"
    first = table.drop_duplicates("case_submitter_id").set_index("case_submitter_id")
    for endpoint in released.endpoints[:5]:
        values = read_target(endpoint, released.patients).values
        assert np.array_equal(values, first.loc[released.patients.index, endpoint.columns[0]].astype(float))
    assert [e.name for e in released.endpoints] == [*(f"{g}_mutation" for g in LUAD_GENES), "five_genes"]
    check_splits(released.splits, released.patients.index.to_numpy())
    assert released.splits["fold"].value_counts().tolist() == [8] * 5
    pd.testing.assert_frame_equal(released.splits, gigapath_luad_genes(tmp_path / "luad.csv", folds=5).splits)


def test_a_table_that_is_not_as_released_is_refused(tmp_path, rng):
    path = tmp_path / "luad.csv"
    table = luad_table(rng)
    table.drop(columns="FAT1").to_csv(path)
    with pytest.raises(DataError, match=r"luad.csv: lacks the column\(s\) \['FAT1'\]"):
        gigapath_luad_genes(path)
    table.assign(EGFR=["maybe", *table["EGFR"][1:]]).to_csv(path)
    with pytest.raises(DataError, match="column EGFR: wanted True or False, got 'maybe' in line 2"):
        gigapath_luad_genes(path)
    table.loc[1, "KRAS"] = not table.loc[0, "KRAS"]
    table.to_csv(path)
    with pytest.raises(DataError, match=r"slides of 1 patient\(s\) have different labels, first of KRAS"):
        gigapath_luad_genes(path)


def test_panda_tests_its_test_slides_and_trains_on_the_rest(tmp_path):
    released = gigapath_panda(**panda_files(tmp_path))
    fold = released.splits.set_index("patient_id")["fold"]
    assert fold.to_dict() == {**dict.fromkeys("abcdef", TRAIN_ONLY), "t1": 0, "t2": 0}
    assert set(released.splits["repeat"]) == {0}
    assert released.slides.set_index("slide_id")["side"].to_dict()["e"] == "val"
    grades = read_target(released.endpoints[0], released.patients)
    assert grades.values.tolist() == [0, 1, 2, 3, 1, 2, 2, 3]
    assert released.patients["site"].tolist() == ["karolinska"] * 4 + ["radboud"] * 2 + ["karolinska"] * 2


def test_panda_slides_on_two_sides_and_strange_grades_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"1 slide\(s\) stand there twice, first again in test"):
        gigapath_panda(**panda_files(tmp_path, test=("t1", "a")))
    paths = panda_files(tmp_path)
    paths["val"].write_text("slide_id,data_provider,label\ne,radboud,2\nf,radboud,7\n")
    with pytest.raises(DataError, match=r"val_0.csv: column label: wanted an ISUP grade 0 to 5, got '7' in line 3"):
        gigapath_panda(**paths)


def test_the_released_files_are_read(real_data):
    folder = real_data / "benchmark_splits"
    luad = gigapath_luad_genes(folder / "gigapath_luad_5gene_tcga.csv.gz")
    assert len(luad.patients) == 521
    assert len(luad.slides) == 1345
    assert luad.slides["is_ffpe"].sum() == 557
    assert luad.patients[list(LUAD_GENES)].sum().to_dict() == {"EGFR": 70, "FAT1": 46, "KRAS": 139, "TP53": 244, "LRP1B": 163}
    assert luad.splits["fold"].nunique() == 10
    per_fold = luad.splits.merge(luad.patients, left_on="patient_id", right_index=True).groupby("fold")["FAT1"].sum()
    assert per_fold.min() >= 4
    panda = gigapath_panda(**{side: folder / f"gigapath_panda_{side}_0.csv.gz" for side in ("train", "val", "test")})
    assert len(panda.patients) == 9555
    assert (panda.splits["fold"] == 0).sum() == 954
    assert panda.patients["isup_grade"].value_counts().sort_index().tolist() == [2603, 2399, 1209, 1118, 1124, 1102]

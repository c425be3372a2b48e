"""Few hospitals, repeats that would be copies, and a finished run that is run again."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from oncoweave.core.files import read_json, sha256
from oncoweave.data.store import write_cohort
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import draw_cohort
from oncoweave.serve.report import write_report
from oncoweave.train.study import ModelSpec, Protocol, Study, run_study


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Study, Path]:
    folder = tmp_path_factory.mktemp("few") / "cohort"
    drawn, _, _ = draw_cohort(Config(patients=90, seed=3, sites=3, without=("slide", "report", "volume", "film", "expression")))
    write_cohort(drawn, folder)
    study = Study(
        name="s",
        cohort=str(folder),
        endpoint="overall_survival",
        models=(ModelSpec(name="stacking", fusion="stacking"),),
        protocol=Protocol(folds=3, repeats=3, inner_folds=2, bootstrap=100, group_by_site=True),
    )
    done = run_study(study, folder.with_name("run"))
    write_report(done)
    return study, done


def test_as_many_hospitals_as_folds_allow_one_split_which_is_fitted_and_counted_once(run):
    _, done = run
    assert pd.read_parquet(done / "splits.parquet")["repeat"].unique().tolist() == [0]
    assert pd.read_parquet(done / "predictions.parquet")["repeat"].unique().tolist() == [0]
    said = " ".join(read_json(done / "manifest.json")["warnings"])
    assert "Of 3 repeats, 2 would part the patients as an earlier one does (3 hospitals in 3 folds)" in said
    assert "the figures rest on 1 different split" in said
    page = (done / "report.html").read_text(encoding="utf-8")
    assert "3-fold cross-validation; patients were split" in page
    assert "the figures rest on 1 different split" in page


def test_a_finished_run_that_is_run_again_leaves_every_file_as_it_was(run):
    study, done = run
    before = {p.relative_to(done): (sha256(p), p.stat().st_mtime_ns) for p in done.rglob("*.*") if p.is_file()}
    write_report(run_study(study, done))
    assert {p.relative_to(done): sha256(p) for p in done.rglob("*.*") if p.is_file()} == {p: h for p, (h, _) in before.items()}
    untouched = [p for p in before if p.suffix in (".parquet", ".safetensors") or p.name == "manifest.json"]
    assert len(untouched) > 15
    assert all((done / p).stat().st_mtime_ns == before[p][1] for p in untouched)


def test_a_table_that_was_lost_is_made_again(run, tmp_path):
    study, done = run
    copy = shutil.copytree(done, tmp_path / "run")
    (copy / "metrics.parquet").unlink()
    run_study(study, copy)
    assert (copy / "metrics.parquet").read_bytes() == (done / "metrics.parquet").read_bytes()

"""A study on Monte Carlo splits, to its report."""

import pandas as pd

from oncoweave.data.store import write_cohort
from oncoweave.evaluate.comparisons import RESAMPLED_T
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import draw_cohort
from oncoweave.serve.report import write_report
from oncoweave.train.study import ModelSpec, Protocol, Study, run_study

WITHOUT = ("slide", "report", "volume", "film", "expression")


def test_random_splits_test_a_part_each_and_are_compared_by_the_corrected_t(tmp_path):
    drawn, _, _ = draw_cohort(Config(patients=60, seed=3, sites=3, without=WITHOUT))
    cohort = write_cohort(drawn, tmp_path / "cohort")
    protocol = Protocol(
        folds=4, repeats=3, scheme="monte_carlo", inner_folds=2, bootstrap=100, permutations=0, group_by_site=False
    )
    models = (ModelSpec(name="late", fusion="average"),)
    study = Study(name="s", cohort=str(cohort), endpoint="overall_survival", models=models, main="late", protocol=protocol)
    run = run_study(study, tmp_path / "run")
    predictions = pd.read_parquet(run / "predictions.parquet").query("model == 'late'")
    assert predictions.groupby(["repeat", "fold"]).size().tolist() == [15, 15, 15]
    told = pd.read_parquet(run / "comparisons.parquet")
    told = told[(told["method"] == RESAMPLED_T) & (told["metric"] == "c_index")]
    assert told["p"].notna().all()
    page = write_report(run).read_text(encoding="utf-8")
    assert "by 3 splits, each of which tests 15 of 60 patients" in page
    checklist = pd.read_csv(run / "tripod_ai.csv").set_index("item")["text"]
    assert checklist["12a"].startswith("3 splits, each of which tests 15 of 60 patients")
    tested = predictions["patient_id"].nunique()
    assert tested < 60
    assert f"{tested} of them were tested" in checklist["21"]
    audits = pd.read_parquet(run / "audits.parquet")
    assert not (audits["verdict"] == "failed").any(), audits[audits["verdict"] == "failed"]["evidence"].tolist()

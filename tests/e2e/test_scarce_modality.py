"""A modality that the training patients of some folds cannot teach: absent there for everybody, counted, and said."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.errors import DataError
from oncoweave.core.files import read_json
from oncoweave.data.cohort import Cohort
from oncoweave.data.store import write_cohort
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import draw_cohort
from oncoweave.serve.report import write_report
from oncoweave.train.dataset import load_dataset
from oncoweave.train.fold import Fold
from oncoweave.train.locked import lock
from oncoweave.train.panel import plan
from oncoweave.train.study import ModelSpec, NetworkConfig, Protocol, Study, resolve, run_study

MODELS = (
    ModelSpec(name="stacking", fusion="stacking"),
    ModelSpec(name="concat", fusion="concat", missing="knn"),
    ModelSpec(name="gated", fusion="gated"),
    ModelSpec(name="two_level", fusion="two_level", settings={"feature": "concat"}),
    ModelSpec(name="tree", fusion="hierarchical", settings={"tree": "(report, variants), record"}),
)
SITES = ("site-01", "site-02", "site-03")


@pytest.fixture(scope="module")
def drawn() -> Cohort:
    return draw_cohort(Config(patients=66, seed=3, sites=3, without=("slide", "volume", "film", "expression")))[0]


def with_reports_of(drawn: Cohort, patients: list[str], *, alone: str = "") -> Cohort:
    """Keep the reports of these patients only, and nothing but the report of one of them."""
    tables = {m: t[t["patient_id"] != alone].reset_index(drop=True) for m, t in drawn.tables.items()}
    reports = drawn.tables["report"]
    return replace(drawn, tables={**tables, "report": reports[reports["patient_id"].isin(patients)].reset_index(drop=True)})


def holders(drawn: Cohort, site: str, *, positive: int, negative: int) -> list[str]:
    has = drawn.patients.loc[drawn.tables["report"]["patient_id"].unique()]
    here = has[has["site"] == site]
    return [p for y, n in ((1, positive), (0, negative)) for p in here.index[here["driver_a"] == y][:n]]


def study(folder, **changes) -> Study:
    protocol = Protocol(folds=3, repeats=1, inner_folds=2, bootstrap=100, group_by_site=True, permutations=0)
    network = NetworkConfig(epochs=1, members=1, width=8)
    content = {"name": "s", "cohort": str(folder), "endpoint": "driver_a", "models": MODELS, "main": "stacking"}
    return Study(**(content | {"protocol": protocol, "network": network} | changes))


def test_a_modality_that_a_fold_cannot_teach_is_absent_there_for_everybody_and_said(drawn, tmp_path):
    first, second = holders(drawn, SITES[0], positive=3, negative=3), holders(drawn, SITES[1], positive=2, negative=0)
    cohort = with_reports_of(drawn, [*first, *second], alone=first[0])
    run = run_study(study(write_cohort(cohort, tmp_path / "cohort"), models=MODELS[:2]), tmp_path / "run")
    rows = pd.read_parquet(run / "predictions.parquet")
    alone = rows[rows["model"] == "only_report"]
    assert set(alone["patient_id"]) == set(second)  # those of the first hospital are tested where two of one class train
    untaught = rows[(rows["site"] == SITES[0]) & ~rows["model"].str.contains("[", regex=False)]
    assert not untaught["pattern"].str.contains("report").any()
    assert first[0] not in set(rows.loc[rows["model"] != "site_only", "patient_id"])
    measured = pd.read_parquet(run / "metrics.parquet").query("metric == 'auroc'").set_index("model")["n"]
    of_main = measured[measured.index.str.startswith("stacking")]
    assert len(of_main) > 1  # a subset of its modalities is compared on the patients of the whole
    assert of_main.nunique() == 1
    said = next(w for w in read_json(run / "manifest.json")["warnings"] if "'report'" in w)
    assert "absent for everybody in 1 of 3 folds" in said
    assert "(the 2 training patients who have it hardly differ in outcome: 1)" in said
    assert "6 tested patients who have it (counted once a repeat); 1 of these, who have nothing else" in said
    assert "counts as absent for everybody" in write_report(run).read_text(encoding="utf-8")
    assert {"adds", "share"} <= set(pd.read_parquet(run / "contributions.parquet").columns)


def test_models_of_a_fold_are_those_of_a_study_without_the_modality_it_cannot_teach(drawn):
    cohort = with_reports_of(drawn, holders(drawn, SITES[1], positive=2, negative=0))
    predicted = {}
    for modalities in (("report", "variants", "record"), ("variants", "record")):
        asked = resolve(study("", modalities=modalities, models=MODELS[: len(modalities) + 2]), cohort)
        data = load_dataset(cohort, asked.endpoint, modalities)
        data = data.take(data.outcome.known)
        tested = data.site == SITES[0]
        fold = Fold(train=data.take(~tested), seed=0, inner_folds=2, group_by_site=True)
        for model in (m for m in plan(asked, has_sites=True) if m.role == "fusion"):
            locked = lock(model, fold, asked)
            predicted[model.name, len(modalities)] = locked.frame(data.take(tested)).set_index("patient_id")["p"]
    for name in ("stacking", "concat", "gated", "two_level"):
        np.testing.assert_allclose(predicted[name, 3], predicted[name, 2].loc[predicted[name, 3].index], atol=1e-6)
    assert np.isfinite(predicted["tree", 3]).all()  # cut to the modalities that are left


def test_reports_of_one_hospital_leave_their_model_without_a_patient_and_everything_else_fitted(drawn, tmp_path):
    first = drawn.patients.index[drawn.patients["site"] == SITES[0]]
    folder = write_cohort(with_reports_of(drawn, list(first)), tmp_path / "cohort")
    run = run_study(study(folder, endpoint="overall_survival", models=MODELS[:1]), tmp_path / "run")
    rows = pd.read_parquet(run / "predictions.parquet")
    assert "only_report" not in set(rows["model"])
    assert {"stacking", "only_record", "only_variants", "site_only"} <= set(rows["model"])
    assert rows.groupby("model")["fold"].nunique().eq(3).all()
    (said,) = (w for w in read_json(run / "manifest.json")["warnings"] if "is not measured" in w)
    assert said.startswith("No tested patient is predicted by 'only_report': ")
    with pytest.raises(DataError, match="the reference 'report' would predict nobody: whoever has 'report' is tested in folds"):
        run_study(study(folder, endpoint="overall_survival", models=MODELS[:1], reference="report"), tmp_path / "no_reference")
    assert not (tmp_path / "no_reference" / "claim.json").exists()


def test_an_outcome_that_does_not_differ_is_refused_before_anything_is_fitted(drawn, tmp_path):
    same = replace(drawn, patients=drawn.patients.assign(driver_a=1))
    with pytest.raises(DataError, match=r"^endpoint 'driver_a': the 66 patients whose outcome is known do not differ in it"):
        run_study(study(write_cohort(same, tmp_path / "cohort"), models=MODELS[:1]), tmp_path / "run")
    assert not (tmp_path / "run" / "claim.json").exists()


def test_a_modality_that_no_fold_can_teach_is_refused_before_anything_is_fitted(drawn, tmp_path):
    folder = write_cohort(with_reports_of(drawn, holders(drawn, SITES[0], positive=3, negative=0)), tmp_path / "cohort")
    match = r"modality 'report' can be learned in none of 3 folds \(no training patient has it: 1; the 3 training patients who"
    with pytest.raises(DataError, match=match):
        run_study(study(folder, models=MODELS[:1]), tmp_path / "run")
    assert not (tmp_path / "run" / "claim.json").exists()

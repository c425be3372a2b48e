"""A whole study on phantom tables: every kind of endpoint, an interruption, a locked model, and what is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.errors import ConfigError, DataError, UnknownNameError
from oncoweave.core.files import read_json
from oncoweave.core.state import load_state
from oncoweave.data.cohort import Cohort
from oncoweave.data.store import write_cohort
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import draw_cohort
from oncoweave.serve.report import write_report
from oncoweave.train import protocol
from oncoweave.train.predict import predict_cohort
from oncoweave.train.study import ModelSpec, NetworkConfig, Protocol, Study, resolve, run_study

WITHOUT = ("slide", "report", "volume", "film")
QUICK = Protocol(folds=2, repeats=1, inner_folds=2, bootstrap=100, group_by_site=False)
MODELS = (
    ModelSpec(name="early", fusion="concat"),
    ModelSpec(name="network", fusion="gated"),
    ModelSpec(name="stacking", fusion="stacking"),
)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "cohort"
    drawn, _, _ = draw_cohort(Config(patients=80, seed=3, without=WITHOUT))
    return write_cohort(drawn, folder)


def study(cohort: Path, **changes: object) -> Study:
    content = {"name": "s", "cohort": str(cohort), "endpoint": "overall_survival", "models": MODELS, "protocol": QUICK}
    return Study(**(content | {"network": NetworkConfig(epochs=2)} | changes))


@pytest.fixture(scope="module")
def run(cohort, tmp_path_factory) -> Path:
    return run_study(study(cohort), tmp_path_factory.mktemp("runs") / "survival")


def test_every_admitted_patient_is_predicted_once_by_every_fusion_and_only_out_of_fold(run, cohort):
    predictions = pd.read_parquet(run / "predictions.parquet")
    splits = pd.read_parquet(run / "splits.parquet").set_index("patient_id")["fold"]
    for model in ("early", "network", "stacking", "permuted_stacking", "site_only"):
        rows = predictions[predictions["model"] == model]
        assert sorted(rows["patient_id"]) == sorted(splits.index)
        assert (rows["fold"].to_numpy() == splits.loc[rows["patient_id"]].to_numpy()).all()
    alone = predictions[predictions["model"] == "only_expression"]
    has = Cohort.open(cohort).availability()["expression"]
    assert sorted(alone["patient_id"]) == sorted(has.index[has])


def test_results_carry_patients_events_intervals_and_roles(run):
    metrics = pd.read_parquet(run / "metrics.parquet")
    c_index = metrics[metrics["metric"] == "c_index"].set_index("model")
    assert (c_index["low"] <= c_index["value"]).all()
    assert (c_index["value"] <= c_index["high"]).all()
    assert set(c_index["role"]) == {"baseline", "single", "fusion", "ablation", "null"}
    assert c_index.loc["only_record", "role"] == "baseline"
    assert (c_index["events"] > 0).all()


def test_an_interrupted_run_goes_on_and_ends_the_same(run, cohort, tmp_path, monkeypatch):
    calls = []
    original = protocol.lock

    def cut(*arguments):
        calls.append(1)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(protocol, "lock", cut)
    with pytest.raises(KeyboardInterrupt):
        run_study(study(cohort), tmp_path / "run")
    assert len(list((tmp_path / "run" / "parts").glob("*.parquet"))) == 1
    monkeypatch.setattr(protocol, "lock", original)
    resumed = pd.read_parquet(run_study(study(cohort), tmp_path / "run") / "predictions.parquet")
    pd.testing.assert_frame_equal(resumed, pd.read_parquet(run / "predictions.parquet"))


def test_a_locked_model_predicts_new_patients_with_any_subset_of_modalities(run, cohort, tmp_path):
    opened = Cohort.open(cohort)
    fewer = Cohort(
        name="new",
        patients=opened.patients[["site"]].iloc[:10],
        tables={"expression": opened.take(opened.patient_ids[:10]).tables["expression"]},
        modalities={"expression": opened.modalities["expression"]},
    )
    write_cohort(fewer, tmp_path / "new")
    summary = predict_cohort(run, tmp_path / "new", tmp_path / "p.csv", model=None)
    table = pd.read_csv(tmp_path / "p.csv")
    assert summary.predicted == len(table) == int(fewer.availability()["expression"].sum())
    assert summary.predicted + summary.without == 10
    assert (table["pattern"] == "expression").all()
    assert table["survival@12"].between(0, 1).all()
    locked = load_state(run / "models" / "stacking.safetensors")
    assert locked.modalities == ("expression", "variants", "record")


@pytest.mark.parametrize(
    ("endpoint", "metric"),
    [
        ("progression_24m", "auroc"),
        ("subtype", "macro_auroc"),
        ("grade", "quadratic_kappa"),
        ("findings", "macro_auroc"),
    ],
)
def test_every_kind_of_endpoint_runs_to_its_report(cohort, tmp_path, endpoint, metric):
    done = run_study(study(cohort, endpoint=endpoint), tmp_path / "run")
    metrics = pd.read_parquet(done / "metrics.parquet")
    assert np.isfinite(metrics.loc[metrics["metric"] == metric, "value"]).all()
    page = write_report(done).read_text(encoding="utf-8")
    assert not any(patient in page for patient in Cohort.open(cohort).patient_ids)


def test_networks_may_stand_for_a_modality_in_a_late_fusion(cohort, tmp_path):
    models = (ModelSpec(name="stacking", fusion="stacking", encoders={"expression": "snn"}),)
    done = run_study(study(cohort, models=models), tmp_path / "run")
    locked = load_state(done / "models" / "stacking.safetensors")
    assert [type(base).__name__ for base in locked.fitted.bases] == ["FittedNetwork", "FittedLinear", "FittedLinear"]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"endpoint": "overall_surival"}, UnknownNameError, "did you mean 'overall_survival'"),
        ({"modalities": ("expresion",)}, UnknownNameError, "did you mean 'expression'"),
        ({"main": "early_concat"}, UnknownNameError, "no model .main. named 'early_concat'"),
        ({"models": (ModelSpec(name="stacking", fusion="stackin"),)}, UnknownNameError, "did you mean 'stacking'"),
        ({"models": (MODELS[2], MODELS[2])}, ConfigError, "model names must differ"),
        (
            {"models": (ModelSpec(name="stacking", fusion="stacking", penalty="per_modality"),)},
            ConfigError,
            "penalty per_modality belongs to an early fusion",
        ),
        ({"protocol": Protocol(folds=60)}, ConfigError, "80 patients remain, too few for 60 folds"),
        ({"protocol": Protocol(folds=30, group_by_site=True)}, ValueError, "wanted 30 folds"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_fitted(cohort, tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        run_study(study(cohort, **changes), tmp_path / "run")
    assert not (tmp_path / "run" / "parts").exists()


def test_a_folder_of_another_study_is_not_overwritten(run, cohort, tmp_path):
    with pytest.raises(ConfigError, match="holds a run of another study"):
        run_study(study(cohort, name="other"), run)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty and holds no run"):
        run_study(study(cohort), tmp_path / "taken")


def test_predicting_with_what_is_no_run_says_how_to_make_one(tmp_path, cohort):
    with pytest.raises(DataError, match="is not a run folder"):
        predict_cohort(tmp_path, cohort, tmp_path / "p.csv", model=None)


def test_a_study_without_late_fusion_gets_one_as_a_baseline(cohort):
    resolved = resolve(study(cohort, models=MODELS[:1], main="early"), Cohort.open(cohort))
    assert [(m.name, m.fusion, m.modalities) for m in resolved.models] == [
        ("early", "concat", ("expression", "variants", "record")),
        ("late_mean", "average", ("expression", "variants", "record")),
    ]


def test_the_site_audit_exposes_a_site_confounder_that_the_grouped_split_keeps_out(tmp_path):
    found = {}
    for confounded in (False, True):
        drawn, _, _ = draw_cohort(
            Config(patients=240, seed=5, sites=8, site_confounder=confounded, without=(*WITHOUT, "variants"))
        )
        folder = write_cohort(drawn, tmp_path / f"c{confounded}")
        grouped = QUICK.model_copy(update={"group_by_site": True, "folds": 4})
        asked = study(folder, models=(ModelSpec(name="stacking", fusion="average"),), protocol=grouped)
        done = run_study(asked, tmp_path / f"r{confounded}")
        metrics = pd.read_parquet(done / "site_audit.parquet").set_index("metric")
        found[confounded] = metrics.loc["c_index"]
        held = read_json(done / "manifest.json")["warnings"]
        assert any("would have counted that as skill" in w for w in held) == confounded
    assert found[True]["low"] > 0.55
    assert found[False]["low"] < 0.5

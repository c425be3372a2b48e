"""A whole study on phantom tables: every kind of endpoint, an interruption, a locked model, and what is refused."""

import shutil
from dataclasses import replace
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
from oncoweave.train import fitting
from oncoweave.train.predict import predict_cohort
from oncoweave.train.study import ModelSpec, NetworkConfig, Protocol, Study, resolve, run_study

WITHOUT = ("slide", "report", "volume", "film")
FURTHER = ("operating", "decision", "reclassification", "certainty", "novelty", "distribution")
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


def test_what_modalities_contribute_is_divided_on_all_patients_and_adds_up(run):
    found = pd.read_parquet(run / "contributions.parquet").set_index("modality")
    metrics = pd.read_parquet(run / "metrics.parquet").query("metric == 'c_index'").set_index("model")
    assert (metrics.loc[metrics["role"] == "ablation", "n"] == metrics.loc["stacking", "n"]).all()
    assert found["shapley"].sum() == pytest.approx(metrics.loc["stacking", "value"] - 0.5)
    assert found["note"].str.contains("exact, from all 7 subsets").all()
    for modality, row in found.iterrows():
        others = "+".join(m for m in ("expression", "variants", "record") if m != modality)
        assert row["adds"] == pytest.approx(metrics.loc["stacking", "value"] - metrics.loc[f"stacking[{others}]", "value"])
    # the planted hazard shows in the record and in expression, and hardly in variants
    assert found["shapley"].idxmin() == "variants"


def test_an_interrupted_run_goes_on_and_ends_the_same(run, cohort, tmp_path, monkeypatch):
    calls = []
    original = fitting.lock

    def cut(*arguments):
        calls.append(1)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(fitting, "lock", cut)
    with pytest.raises(KeyboardInterrupt):
        run_study(study(cohort), tmp_path / "run")
    assert len(list((tmp_path / "run" / "parts").glob("*.parquet"))) == 1
    monkeypatch.setattr(fitting, "lock", original)
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
    assert table["novelty_p"].between(0, 1).all() and "own_survival" not in table  # nobody knows what becomes of them
    locked = load_state(run / "models" / "stacking.safetensors")
    assert locked.modalities == ("expression", "variants", "record")


@pytest.mark.parametrize(
    ("endpoint", "metric", "tables"),
    [
        ("progression_24m", "auroc", {"operating", "decision", "reclassification", "certainty"}),
        ("subtype", "macro_auroc", {"certainty"}),
        ("grade", "quadratic_kappa", {"certainty"}),
        ("findings", "macro_auroc", set()),
        ("ki67", "r2", {"certainty"}),
    ],
)
def test_every_kind_of_endpoint_runs_to_its_report(cohort, tmp_path, endpoint, metric, tables):
    done = run_study(study(cohort, endpoint=endpoint), tmp_path / "run")
    filled = {t for t in FURTHER if len(pd.read_parquet(done / f"{t}.parquet"))}
    assert filled == tables | {"novelty"}
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
        (
            {"models": (ModelSpec(name="only_record", fusion="stacking"),), "main": "only_record"},
            ConfigError,
            "that of a baseline",
        ),
        ({"modalities": ("record", "record")}, ConfigError, "modalities must differ, 'record' stands there more than once"),
        (
            {"models": (ModelSpec(name="stacking", fusion="stacking", encoders={"expresion": "snn"}),)},
            UnknownNameError,
            "did you mean 'expression'",
        ),
        (
            {"models": (ModelSpec(name="stacking", fusion="concat", encoders={"expression": "snn"}),)},
            ConfigError,
            "encoders and objectives belong to networks",
        ),
        (
            {"models": (ModelSpec(name="stacking", fusion="gated", weights={"expression": "weights.safetensors"}),)},
            ConfigError,
            "weights of 'expression' belong to an encoder; name it as well",
        ),
        (
            {
                "models": (
                    ModelSpec(
                        name="stacking",
                        fusion="gated",
                        encoders={"expression": "snn"},
                        weights={"expression": "nowhere.safetensors"},
                    ),
                )
            },
            ConfigError,
            "nowhere.safetensors is no file; they are never replaced by random ones",
        ),
        (
            {"models": (ModelSpec(name="stacking", fusion="gated", encoders={"expression": "snn"}, frozen=("expression",)),)},
            ConfigError,
            "frozen names 'expression', which has no weights",
        ),
        (
            {"models": (ModelSpec(name="stacking", fusion="gated", objective="classify"),)},
            ConfigError,
            "objective 'classify' does not fit a survival endpoint",
        ),
        (
            {"models": (ModelSpec(name="stacking", fusion="concat", settings={"scalling": "size"}),)},
            UnknownNameError,
            "did you mean 'scaling'",
        ),
        ({"protocol": Protocol(folds=60)}, ConfigError, "80 of 80 patients remain, too few for 60 folds"),
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
        grouped = QUICK.model_copy(update={"group_by_site": True, "folds": 4, "permutations": 0})  # the audit asks of none
        asked = study(folder, models=(ModelSpec(name="stacking", fusion="average"),), protocol=grouped)
        done = run_study(asked, tmp_path / f"r{confounded}")
        metrics = pd.read_parquet(done / "site_audit.parquet").set_index("metric")
        found[confounded] = metrics.loc["c_index"]
        held = read_json(done / "manifest.json")["warnings"]
        assert any("would have counted that as skill" in w for w in held) == confounded
    assert found[True]["low"] > 0.55
    assert found[False]["low"] < 0.5


def test_networks_that_differ_in_what_encodes_what_are_trained_apart(cohort, tmp_path):
    models = tuple(
        ModelSpec(name=("stacking", "other")[i], fusion="joint", encoders={kind: "linear"}, objective=objective)
        for i, (kind, objective) in enumerate([("expression", None), ("variants", "discrete_survival")])
    )
    done = run_study(study(cohort, models=models, main="stacking"), tmp_path / "run")
    first, second = (load_state(done / "models" / f"{m.name}.safetensors").fitted for m in models)
    assert first.config.modalities["expression"].encoder == second.config.modalities["variants"].encoder == "linear"
    assert type(second.objective).__name__ == "DiscreteSurvival"
    assert not (done / "checkpoints").exists()


def test_a_hold_out_is_measured_with_the_censoring_of_its_training_patients(cohort, tmp_path):
    opened = Cohort.open(cohort)
    splits = pd.DataFrame({"patient_id": opened.patient_ids, "repeat": 0, "fold": np.where(np.arange(len(opened)) < 50, -1, 0)})
    splits.to_csv(tmp_path / "splits.csv", index=False)
    held_out = QUICK.model_copy(update={"splits": str(tmp_path / "splits.csv")})
    asked = study(cohort, models=MODELS[2:], protocol=held_out)
    done = run_study(asked, tmp_path / "run")
    metrics = pd.read_parquet(done / "metrics.parquet").query("model == 'stacking'").set_index("metric")
    assert metrics.loc["c_index", "n"] == 30
    assert np.isfinite(metrics.loc["uno_c", "value"])
    splits.assign(fold=splits["fold"].sample(frac=1, random_state=0).to_numpy()).to_csv(tmp_path / "splits.csv", index=False)
    with pytest.raises(ConfigError, match="this study, of splits that have changed since"):
        run_study(asked, tmp_path / "run")


def test_a_modality_that_nobody_has_in_a_test_fold_is_no_obstacle(tmp_path):
    drawn, _, _ = draw_cohort(Config(patients=80, seed=3, sites=4, without=WITHOUT))
    first = drawn.patients.index[drawn.site.isin(sorted(drawn.site.unique())[:2])]
    expression = drawn.tables["expression"]
    tables = {**drawn.tables, "expression": expression[expression["patient_id"].isin(first)]}
    folder = write_cohort(replace(drawn, tables=tables), tmp_path / "cohort")
    grouped = QUICK.model_copy(update={"folds": 4, "group_by_site": True, "permutations": 0})
    done = run_study(study(folder, models=MODELS[2:], protocol=grouped), tmp_path / "run")
    predictions = pd.read_parquet(done / "predictions.parquet")
    assert (predictions["model"] == "stacking").sum() == 80
    assert (predictions["model"] == "only_expression").sum() == drawn.take(list(first)).availability()["expression"].sum()


def renamed(cohort: Path, folder: Path, columns: dict[str, str]) -> Path:
    opened = Cohort.open(cohort)
    tables = {name: t.rename(columns=columns) for name, t in opened.tables.items()}
    return write_cohort(replace(opened, tables=tables), folder)


def test_renamed_columns_of_new_patients_are_said_and_a_modality_without_any_is_refused(run, cohort, tmp_path):
    genes = [c for c in Cohort.open(cohort).tables["expression"] if c not in ("patient_id", "sample_id")]
    some = renamed(cohort, tmp_path / "some", {genes[0]: "X1", "age_years": "Age"})
    warnings = " ".join(predict_cohort(run, some, tmp_path / "p.csv", model=None).warnings)
    assert "'expression' lacks 1 of" in warnings
    every = renamed(cohort, tmp_path / "every", {g: f"{g}x" for g in genes})
    with pytest.raises(DataError, match=r"'expression' has none of the \d+ columns that the model reads"):
        predict_cohort(run, every, tmp_path / "p.csv", model=None)


def test_values_of_new_patients_in_another_unit_are_said_without_naming_anyone(run, cohort, tmp_path):
    opened = Cohort.open(cohort)
    tables = dict(opened.tables)
    tables["record"] = tables["record"].assign(age_years=tables["record"]["age_years"] * 365.25)
    tables["variants"] = tables["variants"].copy()
    tables["variants"].loc[0, "MYC_cnv"] = 50.0
    strange = write_cohort(replace(opened, tables=tables), tmp_path / "days")
    warnings = predict_cohort(run, strange, tmp_path / "p.csv", model=None).warnings
    known = int(tables["record"]["age_years"].notna().sum())
    aged = tables["record"].set_index("patient_id")["age_years"].dropna().index
    strangeness = pd.read_csv(tmp_path / "p.csv").set_index("patient_id")["novelty_p"]
    predict_cohort(run, cohort, tmp_path / "q.csv", model=None)
    usual = pd.read_csv(tmp_path / "q.csv")["novelty_p"]
    assert strangeness[strangeness.index.isin(aged)].max() < 0.1 < usual.median()
    assert any(f"'record', column 'age_years': {known} of {known} patients have a value far outside" in w for w in warnings)
    assert any("'variants', column 'MYC_cnv': 1 of" in w for w in warnings)
    assert not any(p in w for w in warnings for p in opened.patient_ids)
    assert not predict_cohort(run, cohort, tmp_path / "p.csv", model=None).warnings


def test_tampered_tables_and_models_are_refused(run, cohort, tmp_path):
    opened = Cohort.open(cohort)
    copy = write_cohort(opened, tmp_path / "copy")
    record = copy / "modalities" / "record.parquet"
    table = pd.read_parquet(record)
    table.to_parquet(record, compression="gzip")
    with pytest.raises(DataError, match=r"record\.parquet: missing or changed since the cohort was written"):
        run_study(study(copy), tmp_path / "run")
    shutil.copytree(run, tmp_path / "tampered")
    model = tmp_path / "tampered" / "models" / "stacking.safetensors"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"stacking\.safetensors: changed since the run wrote it; run the study again"):
        predict_cohort(tmp_path / "tampered", cohort, tmp_path / "p.csv", model=None)
    shutil.copy(run / "models" / "stacking.safetensors", model.with_name("foreign.safetensors"))
    with pytest.raises(DataError, match=r"foreign\.safetensors: not a model that this run wrote.*; delete it, or"):
        predict_cohort(tmp_path / "tampered", cohort, tmp_path / "p.csv", model="foreign")
    shutil.copy(run / "models" / "stacking.safetensors", model)
    (tmp_path / "tampered" / "manifest.json").unlink()  # a run that was cut off after this model: its own record holds
    assert predict_cohort(tmp_path / "tampered", cohort, tmp_path / "p.csv", model=None).predicted
    (tmp_path / "tampered" / "written.json").unlink()
    with pytest.raises(DataError, match=r"stacking\.safetensors: not a model that this run wrote"):
        predict_cohort(tmp_path / "tampered", cohort, tmp_path / "p.csv", model=None)
    with pytest.raises(ConfigError, match=r"written as \.csv or \.parquet"):
        predict_cohort(run, cohort, tmp_path / "p.xlsx", model=None)

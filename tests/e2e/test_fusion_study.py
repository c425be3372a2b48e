"""A study of hybrid fusions, of operators that read every token and of stand-ins, from run to report and to new patients."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.errors import ConfigError, UnknownNameError
from oncoweave.core.files import read_json
from oncoweave.data.cohort import Cohort
from oncoweave.data.store import write_cohort
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import draw_cohort
from oncoweave.serve.report import write_report
from oncoweave.train.predict import predict_cohort
from oncoweave.train.study import ModelSpec, NetworkConfig, Protocol, Study, resolve, run_study

MODELS = (
    ModelSpec(name="tree", fusion="hierarchical", settings={"tree": "(expression, variants), record"}, missing="latent"),
    ModelSpec(name="found", fusion="hierarchical", settings={"tree": "correlation"}),
    ModelSpec(name="balanced", fusion="balanced", settings={"operator": "gated"}),
    ModelSpec(name="distilled", fusion="distilled", missing="learned", modalities=("expression", "record")),
    ModelSpec(name="tokens", fusion="mcat", encoders={"record": "tabular/tiny"}),
    ModelSpec(name="two_level", fusion="two_level", settings={"feature": "concat"}, missing="knn"),
    ModelSpec(name="filled", fusion="gated", missing="knn", missing_settings={"neighbours": 3}),
    ModelSpec(name="handed_on", fusion="stacking", missing="retrieval", encoders={"expression": "linear"}),
)
ALL = ("expression", "variants", "record")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    drawn, _, _ = draw_cohort(Config(patients=48, seed=3, without=("slide", "report", "volume", "film")))
    tables = {**drawn.tables, "record": drawn.tables["record"].assign(device="one")}
    return write_cohort(replace(drawn, tables=tables), tmp_path_factory.mktemp("phantom") / "cohort")


def study(cohort, **changes):
    protocol = Protocol(folds=2, repeats=1, inner_folds=2, bootstrap=100, group_by_site=False, permutations=1)
    network = NetworkConfig(epochs=1, members=1, width=8, modality_dropout={"expression": 0.3})
    content = {"name": "s", "cohort": str(cohort), "endpoint": "overall_survival", "models": MODELS, "main": "tree"}
    return Study(**(content | {"protocol": protocol, "network": network} | changes))


def test_hybrids_and_stand_ins_go_from_run_to_report_and_to_new_patients(cohort, tmp_path):
    run = run_study(study(cohort), tmp_path / "run")
    predictions = pd.read_parquet(run / "predictions.parquet")
    patients = len(pd.read_parquet(run / "splits.parquet"))
    for model in MODELS:
        rows = predictions[predictions["model"] == model.name]
        assert np.isfinite(rows["risk"]).all()
        assert len(rows) == patients or model.name == "distilled"
    warnings = read_json(run / "manifest.json")["warnings"]
    assert "Columns of 'record' that are the same for all patients, and are not used: device." in warnings
    notes = [w for w in warnings if w.startswith("Encoder of")]
    assert [note.partition(":")[0] for note in notes] == ["Encoder of 'variants' in tokens"]  # expression is read by pathways
    assert "project instead of pathways" in notes[0]
    roles = predictions["model"].unique()
    assert "permuted_tree" in roles
    assert {f"tree[{'+'.join(s)}]" for s in (("expression",), ("expression", "record"), ("variants", "record"))} <= set(roles)
    page = write_report(run).read_text(encoding="utf-8")
    assert all(model.name in page for model in MODELS)
    opened = Cohort.open(cohort)
    fewer = Cohort(
        name="new",
        patients=opened.patients[["site"]].iloc[:12],
        tables={"record": opened.take(opened.patient_ids[:12]).tables["record"]},
        modalities={"record": opened.modalities["record"]},
    )
    write_cohort(fewer, tmp_path / "new")
    for name in ("two_level", "distilled", "tree", "filled", "handed_on"):
        out = tmp_path / f"{name}.csv"
        predict_cohort(run, tmp_path / "new", out, model=name)
        assert np.isfinite(pd.read_csv(out)["risk"]).all()


def test_a_decision_list_says_which_line_decided_and_which_never_does(cohort, tmp_path):
    never, override = "record above 0.9 and record below 0.1 then high", "override: variants above 0.5 then high"
    settings = {"rules": f"{never}; expression above 0.5 then low", "k": 2, "override": "variants", "override_above": 0.5}
    run = run_study(
        study(cohort, models=(ModelSpec(name="list", fusion="rules", settings=settings),), main="list"), tmp_path / "run"
    )
    rows = pd.read_parquet(run / "predictions.parquet").query("model == 'list'")
    told = rows.groupby("decided_by")["risk"]
    assert (
        {"expression above 0.5 then low", override}
        <= set(told.groups)
        <= {
            *("expression above 0.5 then low", override, "k of n positive", "none of these"),
        }
    )
    assert (told.nunique() <= 2).all()  # a score a line and fold
    absent = ~rows["pattern"].str.split("+").map(lambda has: "expression" in has)
    assert not rows.loc[absent, "decided_by"].eq("expression above 0.5 then low").any()
    warned = [w for w in read_json(run / "manifest.json")["warnings"] if "decided for no tested patient" in w]
    assert len(warned) == 1
    assert never in warned[0]
    assert override not in warned[0]
    page = write_report(run).read_text(encoding="utf-8")
    assert "Which line decided" in page
    assert f'{override}</th><td class="number">{rows["decided_by"].eq(override).sum()}</td>' in page
    predict_cohort(run, cohort, tmp_path / "p.csv", model="list")
    assert set(pd.read_csv(tmp_path / "p.csv")["decided_by"]) & {override, "none of these", "k of n positive"}


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"network": NetworkConfig(modality_dropout={"expresion": 0.3})}, UnknownNameError, "did you mean 'expression'"),
        (
            {"models": (ModelSpec(name="list", fusion="rules", settings={"override_above": 0.5}),)},
            ConfigError,
            "override_above 0.5 of rules and no override; name the modality",
        ),
        (
            {"models": (ModelSpec(name="tree", fusion="hierarchical", settings={"tree": "record, variants"}),)},
            ConfigError,
            "expr",
        ),
        ({"models": (ModelSpec(name="tree", fusion="two_level", settings={"decision": "gated"}),)}, ConfigError, "level is late"),
        ({"models": (ModelSpec(name="tree", fusion="auxiliary", settings={"operator": "concat"}),)}, ConfigError, "is early"),
    ],
)
def test_what_a_fusion_cannot_do_is_refused_before_anything_is_fitted(cohort, changes, error, match):
    with pytest.raises(error, match=match):
        resolve(study(cohort, **changes), Cohort.open(cohort))

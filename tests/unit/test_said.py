"""What the checklist says depends on the endpoint, the models and the sites there are."""

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.data.how_split import how_split
from oncoweave.train.dataset import UNKNOWN_SITE, Dataset
from oncoweave.train.said import Facts, said_of
from oncoweave.train.study import ModelSpec, Study

IDS = np.array([f"p{i}" for i in range(12)], dtype=object)
SPLITS = pd.DataFrame({"patient_id": IDS, "repeat": 0, "fold": np.arange(12) % 3})
VERDICTS = ["failed", "failed", "passed", "not applicable"]


def facts(kind="regression", model=None, *, sites=False, lacking=0) -> Facts:
    columns = {"survival": ("t", "e"), "multilabel": ("a", "b")}.get(kind, ("y",))
    classes = ("no", "yes") if kind == "binary" else ()
    endpoint = Endpoint(name="y", kind=kind, columns=columns, classes=classes, time_unit="months" if kind == "survival" else None)
    values = np.ones((12, 2)) if len(columns) == 2 else np.arange(12) % 2 * 1.0
    site = np.array(["A", "B"] * 6 if sites else [UNKNOWN_SITE] * 12, dtype=object)
    samples = {"labs": (1.0,) * 12, "rna": (None,) * lacking + (1.0,) * (12 - lacking)}
    data = Dataset(
        patient_ids=IDS,
        site=site,
        target=Target(endpoint=endpoint, values=values),
        samples=samples,
        kinds={"labs": "record", "rna": "expression"},
    )
    model = model or ModelSpec(name="main", fusion="average", modalities=("labs", "rna"))
    of_site = [("main", "site", "A"), ("main", "site", "B")] if sites else [("main", "site", UNKNOWN_SITE)]
    return Facts(
        study=Study(name="s", cohort="c", endpoint="y", modalities=("labs", "rna"), models=(model,), main="main"),
        data=data,
        flow=[],
        metrics=pd.DataFrame(
            {"model": ["main", *(["site_only"] if sites else [])], "role": "fusion", "metric": "m", "value": np.nan}
        ),
        groups=pd.DataFrame(of_site, columns=["model", "grouping", "group"]),
        audits=pd.DataFrame({"audit": ["site on both sides", "twins", "c", "d"], "verdict": VERDICTS}),
        splits=SPLITS,
        how=how_split(SPLITS, IDS, site),
        commit="",
    )


def test_failed_audits_are_counted_among_those_that_could_be_made():
    said = said_of(facts())["audits"]
    assert said.startswith(
        "2 of 3 audits that could be made failed (site on both sides, twins); 1 more were not applicable (audits.parquet)."
    )


@pytest.mark.parametrize(
    ("kind", "has", "lacks"),
    [
        ("survival", ("net benefit",), ("coverage",)),
        ("multilabel", (), ("coverage", "net benefit")),
        ("regression", ("coverage",), ("net benefit",)),
        ("binary", ("coverage", "net benefit"), ()),
    ],
)
def test_only_tables_that_an_endpoint_fills_are_pointed_at(kind, has, lacks):
    said = said_of(facts(kind))
    assert all(words in said["measures"] for words in has)
    assert not any(words in said["measures"] for words in lacks)
    assert ("log-risk" in said["output"]) is (kind == "survival")
    assert ("Cut-offs" in said["output"]) is (kind == "binary")
    assert ("probabilities" in said["recalibration"]) is (kind in ("binary", "multilabel"))


def test_without_hospitals_no_model_of_them_is_named_and_no_performance_by_them():
    without, with_them = said_of(facts()), said_of(facts(sites=True))
    assert "hospital" not in without["models"]
    assert "beside them: the hospital only, labs alone, rna alone" in with_them["models"]
    assert "centre" not in without["clusters"] and "by centre" in with_them["clusters"]
    assert "site" not in without["fairness"]


def test_what_stands_in_for_an_absent_modality_is_the_main_models_own():
    knn = ModelSpec(name="main", fusion="concat", modalities=("labs", "rna"), missing="knn")
    assert "3 of 12 patients lack one or more of the study's modalities" in (said := said_of(facts(lacking=3))["missing"])
    assert "the models of those that are there are combined" in said
    said = said_of(facts(model=knn, lacking=3))["missing"]
    assert "the policy knn stands in for one that is absent: The mean over the training patients most alike" in said
    assert "Every patient has every modality" in said_of(facts())["missing"]


def test_a_main_model_of_some_modalities_reads_no_others():
    labs = ModelSpec(name="main", fusion="concat", modalities=("labs",))
    said = said_of(facts(model=labs))["predictors"]
    assert "What main reads: labs (record). Read by other models only: rna." in said

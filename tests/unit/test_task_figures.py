"""Figures of tasks on public data, against the files that their authors released."""

import json

import pandas as pd
import pytest

from oncoweave.data.published_splits import published_splits
from oncoweave.data.splits import splits_hash
from oncoweave.train.task import load_task

ROUNDED = 5.1e-4
"""Figures have three digits."""


@pytest.mark.parametrize(("name", "part"), [("report_cancer_type", "Task1_Disease"), ("report_stage", "Task2_Stage")])
def test_accuracies_are_the_overall_ones_of_the_metrics_files(name, part, real_data):
    released = json.loads((real_data / "tcga_reports" / "pathrep_published_metrics.json").read_text())
    stated = {f.model: f.value for f in load_task(name).published.figures}
    found = {key.split("/")[-1]: value["Overall"]["accuracy"]["mean"] for key, value in released.items() if part in key}
    named = {model.replace(", fine-tuned", "" if "pathllama" in model else "-ft") + ".json": v for model, v in stated.items()}
    assert named.keys() == found.keys()
    assert named == pytest.approx(found, abs=ROUNDED)


def test_mcats_table_is_recomputed_from_released_predictions(real_data):
    table = pd.read_csv(real_data / "oof_histology_risk" / "cindex_recomputed.csv")
    mean = table[table["source"] == "mcat"].set_index(["model", "cohort"])["cindex_mean"]
    models = {"MCAT": "MCAT_concat", "AMIL, histology": "AMIL", "SNN, omics": "SNN"}
    stated = {(models[f.model], f.group): f.value for f in load_task("tcga_survival").published.figures}
    assert len(stated) == 15
    assert stated == pytest.approx(mean[list(stated)].to_dict(), abs=ROUNDED)


def test_pan_cancer_figures_are_the_last_column_of_the_results(real_data):
    table = pd.read_csv(real_data / "tcga_pancan_survival_song" / "results.csv", index_col=0)
    last = table["256"].fillna(table["4"])  # rows with a star have no components and one value
    rows = {
        "cancer type": "canc*",
        "demographics": "demo*",
        "cancer type and demographics": "canc-demo*",
        "expression": "expr",
        "histology": "hist",
        "text": "text",
        "demographics, expression, histology and text": "demo-expr-hist-text",
    }
    stated = {f.model: f.value for f in load_task("pancancer_survival").published.figures}
    assert stated == pytest.approx({model: last[row] for model, row in rows.items()}, abs=5.1e-5)


@pytest.mark.parametrize("name", ["tcga_blca", "tcga_brca", "tcga_gbmlgg", "tcga_luad", "tcga_ucec"])
def test_the_folds_of_mcat_are_known_by_their_hash(name, real_data):
    files = sorted((real_data / "oof_histology_risk" / "mcat_splits" / name).glob("splits_*.csv"))
    assert splits_hash(published_splits(files)) == load_task("tcga_survival").split.known[name]


def test_the_folds_of_the_pan_cancer_table_are_known_by_their_hash(real_data):
    cases = pd.read_csv(real_data / "tcga_pancan_survival_song" / "split_cases.csv")
    splits = pd.DataFrame({"patient_id": cases["case_id"], "repeat": 0, "fold": cases["split"]})
    assert splits_hash(splits) == load_task("pancancer_survival").split.known["pancancer_song"]

"""Counts of the report: those of patients who were drawn, and none where there is nothing to count."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from report_plan import Plan
from report_runs import write_run

from oncoweave.serve.charts.forest import Estimate, Guide, forest_plot
from oncoweave.serve.report import page_of
from oncoweave.serve.run_folder import read_run


def section(folder, key):
    return next(s for s in page_of(read_run(folder)).sections if s.key == key)


def test_patients_of_unknown_outcome_have_no_events(tmp_path):
    folder = write_run(tmp_path / "run", Plan(kind="binary", num=60))
    steps = json.loads((folder / "flow.json").read_text())
    assert steps[1] == {"step": "excluded", "patients": 28, "events": None, "reason": "recurrence not known"}
    chart = section(folder, "flow").blocks[0].svg
    assert "28 (recurrence unknown): recurrence not known" in chart
    assert "19 (9 recurrence): follow-up" in chart


def test_the_flow_names_the_endpoint_as_the_page_does(tmp_path):
    chart = section(write_run(tmp_path / "run", Plan(num=60)), "flow").blocks[0].svg
    assert "28 (events unknown): overall survival not known" in chart and "overall_survival" not in chart


def test_sizes_of_calibration_groups_are_those_drawn(tmp_path):
    folder = write_run(tmp_path / "run", Plan(num=200))
    table = pd.read_parquet(folder / "calibration.parquet")
    table["n"] = np.where(table["horizon"] == 36.0, 14, 25)
    table.loc[(table["horizon"] == 36.0), "observed"] = np.nan
    other = table.assign(model="early_concat", n=77, observed=0.5)
    pd.concat([table, other]).to_parquet(folder / "calibration.parquet")
    assert "Each mark is 25 patients." in section(folder, "calibration").blocks[0].caption


def test_lines_of_guides_begin_below_all_their_labels():
    rows = [("", [Estimate(label="m", value=0.6, low=0.4, high=0.8)])]
    guides = [
        Guide(value=0.5, label="best baseline 0.500", class_="guide"),
        Guide(value=0.5, label="chance 0.50", class_="guide"),
    ]
    svg = forest_plot(rows, axis="C-index", headers=("C-index",), guides=guides, title="Models")
    starts = [float(y) for y in re.findall(r'<line[^>]* y1="([\d.]+)"[^>]*class="guide"', svg)]
    baselines = [float(y) for y in re.findall(r'<text[^>]* y="([\d.]+)"[^>]*class="guide-label"', svg)]
    assert len(starts) == len(baselines) == 2 and min(starts) > max(baselines) > min(baselines)


def test_patients_who_lack_something_are_judged_together(tmp_path):
    folder = write_run(tmp_path / "run", Plan(num=120))
    table = pd.read_parquet(folder / "groups.parquet")
    table.loc[table["grouping"] == "pattern", ["value", "low", "high"]] = np.nan
    row = {"model": "stacking", "grouping": "complete", "metric": "c_index", "events": 30.0, "n": 60}
    pooled = [
        {**row, "group": "every modality", "value": 0.672, "low": 0.55, "high": 0.78},
        {**row, "group": "lacks something", "value": 0.431, "low": 0.31, "high": 0.56},
    ]
    pd.concat([table, pd.DataFrame(pooled)]).to_parquet(folder / "groups.parquet")
    text = " ".join(page_of(read_run(folder)).verdict.sentences)
    assert (
        "The C-index is 0.672 (0.550 to 0.780) for the 60 who have every modality and 0.431 (0.310 to 0.560) for the 60 who lack"
        " something."
    ) in text
    captions = [getattr(block, "caption", "") for block in section(folder, "groups").blocks]
    assert any("by what patients lack" in caption for caption in captions)


def test_single_combinations_stand_beside_their_intervals(tmp_path):
    text = " ".join(page_of(read_run(write_run(tmp_path / "run", Plan(seed=3)))).verdict.sentences)
    assert re.search(r"ranges from 0\.\d{3} \([\d.]+ to [\d.]+\) without", text)


def test_shares_of_a_gain_that_may_be_nothing_are_not_printed(tmp_path):
    folder = write_run(tmp_path / "run", Plan(num=60, modalities=("clinical", "rna")))
    table = pd.read_parquet(folder / "contributions.parquet").assign(share=[1.3, -0.3], shapley=[0.041, -0.01], shapley_se=0.0)
    table.to_parquet(folder / "contributions.parquet")
    assert "130%" in section(folder, "contributions").blocks[0].svg
    metrics = pd.read_parquet(folder / "metrics.parquet")
    metrics.loc[metrics["model"] == "stacking", "low"] = 0.48
    metrics.to_parquet(folder / "metrics.parquet")
    figure = section(folder, "contributions").blocks[0]
    assert "130%" not in figure.svg and ">+0.041<" in figure.svg
    assert "cannot be told from zero" in figure.caption


def test_an_endpoint_without_events_has_none_to_be_unknown(tmp_path):
    chart = section(write_run(tmp_path / "run", Plan(kind="regression", num=60)), "flow").blocks[0].svg
    assert "28: " in chart and "unknown" not in chart


@pytest.mark.parametrize(
    ("better", "words"),
    [
        ({}, "No other model tried scored better on these patients."),
        ({"only_clinical": 0.95}, "The best score of all on these patients, 0.950 (0.900 to 0.980), belongs to clinical only."),
        (
            {"site_only": 0.95},
            "0.950 (0.900 to 0.980), belongs to hospital only. To know only the hospital tells more of the outcome here than",
        ),
        ({"early_concat": 0.96, "site_only": 0.95}, "which makes it optimistic. To know only the hospital (0.950"),
    ],
)
def test_a_baseline_that_scores_better_than_the_main_model_is_named_at_the_head(tmp_path, better, words):
    folder = write_run(tmp_path / "run", Plan(num=120))
    table = pd.read_parquet(folder / "metrics.parquet")
    rows = (table["metric"] == "c_index") & (table["role"] != "null")
    main = read_run(folder).main
    table.loc[rows, "value"] = table.loc[rows, "model"].map({main: 0.7} | better).fillna(0.6)
    table.loc[rows & table["model"].isin(better), ["low", "high"]] = 0.9, 0.98
    table.to_parquet(folder / "metrics.parquet")
    assert words in " ".join(page_of(read_run(folder)).verdict.sentences)


def test_the_best_score_of_all_stands_beside_its_interval(tmp_path):
    folder = write_run(tmp_path / "run", Plan(num=120))
    table = pd.read_parquet(folder / "metrics.parquet")
    best = (table["model"] == "early_concat") & (table["metric"] == "c_index")
    table.loc[best, ["value", "low", "high"]] = 0.912, 0.861, 0.954
    table.to_parquet(folder / "metrics.parquet")
    text = " ".join(page_of(read_run(folder)).verdict.sentences)
    assert "The best score of all on these patients, 0.912 (0.861 to 0.954), belongs to" in text


def fewer(folder, model, num, value):
    """Leave a model the first patients only, with a score of its own."""
    table = pd.read_parquet(folder / "metrics.parquet")
    rows = (table["model"] == model) & (table["metric"] == "c_index")
    table.loc[table["model"] == model, "n"] = num
    table.loc[rows, ["value", "low", "high"]] = value, value - 0.05, value + 0.03
    table.to_parquet(folder / "metrics.parquet")
    told = pd.read_parquet(folder / "predictions.parquet")
    few = told["patient_id"].drop_duplicates().iloc[:num]
    told[(told["model"] != model) | told["patient_id"].isin(few)].to_parquet(folder / "predictions.parquet")
    return folder


def test_a_score_on_other_patients_is_not_ranked_with_the_models(tmp_path):
    plan = Plan(num=120, modalities=("clinical", "rna"))
    page = page_of(read_run(fewer(write_run(tmp_path / "run", plan), "only_rna", 34, 0.95)))
    text = " ".join(page.verdict.sentences)
    assert "Measured on other patients: rna only (0.950 (0.900 to 0.980), on 34 patients). Its score cannot be ranked" in text
    assert "0.950 (0.900 to 0.980), belongs to" not in text
    rows = next(s for s in page.sections if s.key == "measures").blocks[0].rows
    assert {row.cells[0] for row in rows if "(n = " in row.cells[0]} == {"rna only (n = 34)"}


def test_a_baseline_of_fewer_patients_says_so_and_draws_no_line(tmp_path):
    page = page_of(read_run(fewer(write_run(tmp_path / "run", Plan(num=120)), "only_clinical", 40, 0.8)))
    assert "The baseline, clinical only, reaches 0.800 (0.750 to 0.830) in 40 patients." in " ".join(page.verdict.sentences)
    assert [f.detail for f in page.verdict.figures if f.name.startswith("Baseline")] == ["0.750 to 0.830; n = 40"]
    assert "best baseline" not in next(s for s in page.sections if s.key == "performance").blocks[0].svg

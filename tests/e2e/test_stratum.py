"""A pan-cancer task on a cohort that names types of cancer: ranked within them, published figures held against all pairs."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from oncoweave.data.store import write_cohort
from oncoweave.evaluate.metrics import ALL_PAIRS
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import draw_cohort
from oncoweave.serve import wording
from oncoweave.serve.bench.run import run_bench
from oncoweave.train.bench.spec import Bench
from oncoweave.train.study import NetworkConfig, Protocol
from oncoweave.train.task import load_task, study_of


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    root = tmp_path_factory.mktemp("stratum")
    drawn, _, _ = draw_cohort(
        Config(patients=60, seed=3, sites=3, missing=0.0, without=("slide", "report", "volume", "film", "expression", "variants"))
    )
    time = drawn.target("overall_survival").time
    kinds = np.where(time > np.median(time), "mild", "deadly")
    kinds[0] = ""
    write_cohort(replace(drawn, name="own", patients=drawn.patients.assign(tumour_type=kinds)), root / "own")
    bench = Bench(
        name="b",
        tasks={"pancancer_survival": str(root / "own")},
        main=("early_concat",),
        protocol=Protocol(folds=2, repeats=1, inner_folds=2, bootstrap=100, permutations=0, group_by_site=False),
        network=NetworkConfig(epochs=1),
    )
    return run_bench(bench, root / "out"), root


def test_the_task_names_the_stratum_and_says_where_it_cannot(results):
    _, root = results
    task = load_task("pancancer_survival")
    assert study_of(task, root / "own").stratum == "tumour_type"
    drawn, _, _ = draw_cohort(Config(patients=6, seed=3, without=("slide", "report", "volume", "film", "expression", "variants")))
    write_cohort(replace(drawn, name="own"), root / "without")
    without = study_of(task, root / "without")
    assert without.stratum is None
    assert "all pairs, as there is no column tumour_type or cancer_type" in without.name


def test_the_bench_ranks_within_types_and_holds_papers_against_all_pairs(results):
    found, root = results
    assert not found.failures
    metrics = pd.read_parquet(root / "out/tasks/pancancer_survival/metrics.parquet").set_index(["model", "metric"])
    scores = found.scores.set_index("model")
    for model in scores.index:
        assert scores.loc[model, "value"] == metrics.loc[(model, "c_index"), "value"]
        assert scores.loc[model, "all_pairs"] == metrics.loc[(model, "c_index" + ALL_PAIRS), "value"]
    assert (scores["value"] != scores["all_pairs"]).any()
    main = scores[scores["main"]].iloc[0]
    page = (root / "out" / "bench.md").read_text(encoding="utf-8")
    assert "C-index, within tumour type ↑" in page
    row = next(line for line in page.splitlines() if "demographics, expression, histology and text" in line)
    assert "C-index over all pairs" in row
    assert wording.estimate(main["all_pairs"], main["all_pairs_low"], main["all_pairs_high"]) in row
    report = (root / "out/tasks/pancancer_survival/report.html").read_text(encoding="utf-8")
    assert "Only patients of the same tumour type were ranked against each other; over all pairs it is" in report
    assert "of the same tumour type, as telling these apart is not the question" in report
    assert "1 patient(s) have no value in it" in report
    card = (root / "out/tasks/pancancer_survival/tripod_ai.csv").read_text(encoding="utf-8")
    assert "Main measure: c_index, ranked within tumour_type (over all pairs beside it)" in card
    groups = pd.read_parquet(root / "out/tasks/pancancer_survival/groups.parquet")
    assert set(groups.loc[groups["grouping"] == "tumour_type", "group"]) == {"mild", "deadly", "unknown"}

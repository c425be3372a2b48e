"""Sections on acting and certainty: the page shows the tables' numbers, says what is absent, and draws no curve off its axis."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from report_plan import ENDPOINTS, Plan
from report_runs import write_run

from oncoweave.serve import wording
from oncoweave.serve.charts.decision import Decision, decision_plot
from oncoweave.serve.report import page_of
from oncoweave.serve.run_folder import read_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return {kind: read_run(write_run(root / kind, Plan(kind=kind, num=120, num_sites=4))) for kind in ENDPOINTS}


def section(run, key):
    return next(s for s in page_of(run).sections if s.key == key)


def words(found):
    return " ".join(b.text if b.kind == "prose" else b.caption for b in found.blocks)


def test_operating_points_stand_as_the_table_has_them_with_patients_and_p(runs):
    run = runs["binary"]
    block = section(run, "acting").blocks[0]
    assert block.header[0] == "Cut-off chosen for" and len(block.rows) == 8
    first = run.operating.iloc[:4]
    cells = block.rows[0].cells
    assert cells[:2] == ("specificity 0.95", "stacking")
    for cell, (_, row) in zip(cells[2:], first.iterrows(), strict=True):
        assert cell.startswith(wording.estimate(row["value"], row["low"], row["high"], 2) + f"\nn = {round(row['n'])}")
    assert [("p = 0.031, adjusted 0.25" in cell) for cell in cells[2:]] == [True, True, False, False]
    assert "adjusted by Holm over all models, cut-offs and both measures" in block.caption
    assert not any("p = " in cell for cell in block.rows[1].cells)  # the baseline is not held against itself


def test_specimens_are_told_with_how_many_independent_ones_they_are_worth(runs):
    run = runs["binary"]
    plain = section(run, "acting").blocks[0]
    alike = section(replace(run, operating=run.operating.assign(n_effective=run.operating["n"])), "acting").blocks[0]
    assert (alike.caption, alike.rows) == (plain.caption, plain.rows) and "specimens" not in plain.caption
    found = section(replace(run, operating=run.operating.assign(n_effective=17.6)), "acting").blocks[0]
    assert all("\nn = 3" in cell and ", worth 18" in cell for cell in found.rows[0].cells[2:])
    assert "the tests count them together" in found.caption


def test_cochrans_test_over_all_models_stands_below_the_calls(runs):
    said = section(runs["binary"], "acting").blocks[1].text
    assert "in the first repeat, 28 with the outcome and 29 without it)" in said
    assert "at specificity 0.95, sensitivity p = 0.024 (adjusted by Holm 0.19) and specificity p = 0.024 (adjusted" in said
    old = runs["binary"].operating.drop(columns=["p_all", "p_all_adjusted", "n_all"])
    assert "Cochran" not in words(section(replace(runs["binary"], operating=old), "acting"))


def test_the_number_to_test_is_told_at_a_few_thresholds_and_where_none_suffices(runs):
    def told(run):
        return next(b for b in section(run, "acting").blocks if b.kind == "table" and b.header[0] == "Threshold")

    table = told(runs["binary"])
    assert [row.cells for row in table.rows[1:4]] == [
        ("0.10", "33 (17 to 97)"), ("0.20", "no gain (17 or more)"), ("0.30", "no gain (17 or more)"),
    ]  # fmt: skip
    assert "treating everybody, treating nobody, or clinical only" in table.caption
    decision = runs["binary"].decision
    nothing = replace(runs["binary"], decision=decision.assign(to_test=np.inf, to_test_low=np.inf, to_test_high=np.inf))
    assert {row.cells[1] for row in told(nothing).rows} == {"no gain"}
    assert told(runs["survival"]).header == ("Threshold", "By 12 months", "By 36 months", "By 60 months")
    old = replace(runs["binary"], decision=decision.filter(regex="^(?!to_test)"))
    assert "for one more net true positive" not in words(section(old, "acting"))


def test_what_a_comparison_could_have_seen_stands_beside_it(runs):
    run = runs["binary"]
    block = section(run, "comparisons").blocks[0]
    assert block.header[-1] == "Detectable"
    assert {row.cells[-1] for row in block.rows} == {wording.number(run.comparisons["detectable"].iloc[0])}
    assert "may differ by less than that" in block.caption
    old = replace(run, comparisons=run.comparisons.drop(columns="detectable"))
    assert "Detectable" not in section(old, "comparisons").blocks[0].header


def test_thresholds_at_which_gains_are_shown_are_those_of_the_table(runs):
    run = runs["binary"]
    main = run.decision[run.decision["model"] == run.main]
    at = main.loc[main["over_default_low"] > 0, "threshold"]
    text = words(section(run, "acting"))
    assert len(at) and f"nobody at thresholds of {at.min():.2f} to {at.max():.2f}" in text
    assert "of the 117 patients whom both models predict" in text
    low = main["over_reference_low"].where(main["threshold"].round(2).isin([0.1, 0.3, 0.35]), -0.1).abs()
    low = low.where(main["threshold"].round(2).isin([0.1, 0.3, 0.35]), -0.1)
    run = replace(run, decision=run.decision.assign(over_reference_low=low.reindex(run.decision.index)))
    assert "more than clinical only at 0.10 and 0.30 to 0.35" in words(section(run, "acting"))
    none = run.decision.assign(over_default_low=-1.0, over_reference_low=np.nan)
    text = words(section(replace(run, decision=none), "acting"))
    assert "At no threshold is stacking shown to be worth more than treating everybody or nobody; a gain over clinical" in text


def test_each_horizon_has_its_panel_and_reclassification_its_parts(runs):
    run = runs["survival"]
    found = section(run, "acting")
    assert re.findall(r"By \d+ months<", found.blocks[0].svg) == ["By 12 months<", "By 36 months<", "By 60 months<"]
    table = found.blocks[-1]
    assert len(table.rows) == 6 and table.header[1:3] == ("n", "Events")
    cell = run.reclassification.set_index(["horizon", "measure", "part"]).loc[(36.0, "idi", "nonevents")]
    row = next(r for r in table.rows if r.cells[0] == "Integrated discrimination by 36 months")
    assert row.cells[4] == wording.estimate(cell["value"], cell["low"], cell["high"], sign=True)
    assert "no evidence without a difference in discrimination" in table.caption


def test_restricted_means_and_d_calibration_are_told(runs):
    run = runs["survival"]
    drawn = section(run, "km").blocks[0].svg
    assert "Mean time without event in the first 60 months, low minus high:" in drawn
    assert "+14.3 (+9.9 to +18.6); p &lt; 0.001" in drawn
    caption = section(run, "calibration").blocks[0].caption
    assert "stacking p = 0.047 and clinical only not tested (fewer than 5 patients a bin are expected" in caption
    assert "D-calibration" not in section(replace(run, distribution=None), "calibration").blocks[0].caption
    old = replace(run, km_summary=run.km_summary.filter(regex="^(?!rmst)"))
    assert "Mean time without event" not in section(old, "km").blocks[0].svg


@pytest.mark.parametrize("kind", ["binary", "multiclass", "ordinal"])
def test_coverage_of_sets_is_told_and_drawn_with_its_promise(runs, kind):
    found = section(runs[kind], "certainty")
    told, chart = words(found), found.blocks[1].svg
    assert "It was in 91.3% (80.0 to 97.0) of 120 patients" in told
    assert "62% name one class, 35% several" in told and "3% none" in told
    assert "promised 90%" in chart and all(name in chart for name in ENDPOINTS[kind]["classes"])
    every = runs[kind].certainty
    assert all(wording.estimate(r["covered"], r["low"], r["high"], 2) in chart for _, r in every.iterrows())
    assert "4 patients are unlike the training patients in at least one modality: 3.1% (1.2 to 6.4) of the 119" in told
    assert "1 patient could not be judged" in told


def test_intervals_of_values_and_flags_where_there_are_no_sets(runs):
    assert "It held it in 91.3% (80.0 to 97.0) of 120 patients and is 1.370 wide" in words(
        section(runs["regression"], "certainty")
    )
    found = section(runs["survival"], "certainty")
    assert "no range of times" in found.blocks[0].text
    assert "5% by chance" in found.blocks[-1].svg and "Hospital" in found.blocks[-1].svg
    assert "no prediction sets" in section(runs["multilabel"], "certainty").blocks[0].text


@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "ordinal", "regression"])
def test_outcomes_without_decision_curves_say_so(runs, kind):
    (block,) = section(runs[kind], "acting").blocks
    assert block.role == "absent" and "need a yes-or-no outcome or an event by a horizon" in block.text


def test_tables_that_are_not_there_are_named(runs):
    run = runs["binary"]
    text = words(section(replace(run, operating=None, reclassification=None), "acting"))
    assert "has no operating.parquet" in text and "net reclassification" not in text.lower()
    (block,) = section(replace(run, certainty=None, novelty=None), "certainty").blocks
    assert block.role == "absent"
    other = run.certainty.assign(model="another")
    assert section(replace(run, certainty=other, novelty=None), "certainty").blocks[0].role == "absent"
    alone = replace(run, manifest={**run.manifest, "main_model": run.reference})
    assert "baseline itself" in section(alone, "acting").blocks[0].text


def test_curves_that_leave_the_axis_end_there_and_holes_are_passed_over():
    t = np.array([0.1, 0.2, 0.3, 0.4])
    flat, hole = np.array([0.2, 0.2, 0.2, 0.2]), np.array([0.2, np.nan, 0.1, 0.0])
    falls = np.array([0.1, 0.0, -5.0, -9.0])
    panel = Decision(title="", thresholds=t, model=flat, low=flat - 0.1, high=flat + 0.1, baseline=hole, treat_all=falls)
    chart = decision_plot([panel], model="m", baseline="b", acting="treat", title="Decision curves")
    lines = re.findall(r'points="([^"]+)"[^>]*class="(guide chance|km-b step|km-a step)"', chart)
    lines += [(p, c) for c, p in re.findall(r'class="(guide chance|km-b step|km-a step)"[^>]*points="([^"]+)"', chart)]
    corners = {c: [tuple(map(float, xy.split(","))) for xy in p.split()] for p, c in lines}  # the legend's line comes first
    bottom = max(y for points in corners.values() for _, y in points)
    assert len(corners["guide chance"]) == 3 and corners["guide chance"][-1][1] == bottom
    assert len(corners["km-b step"]) == 3 and len(corners["km-a step"]) == 4
    assert corners["guide chance"][-1][0] < corners["km-a step"][2][0]  # cut between .2 and .3


def test_many_comparisons_show_the_false_discovery_rate(tmp_path):
    folder = write_run(tmp_path / "run", Plan(num=60, fusions=tuple(f"f{i}" for i in range(9)), main="f0"))
    table = pd.read_parquet(folder / "comparisons.parquet").assign(q=0.0421)
    table.to_parquet(folder / "comparisons.parquet")
    block = section(read_run(folder), "comparisons").blocks[0]
    assert block.header[-1] == "q" and {row.cells[-1] for row in block.rows} == {"0.042"}
    few = table[table["model"].isin(["f0", "f1"])]
    few.to_parquet(folder / "comparisons.parquet")
    assert section(read_run(folder), "comparisons").blocks[0].header[-1] != "q"

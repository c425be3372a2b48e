"""The verdict of a report: better, worse or not to be told apart by the paired difference, and who could not be judged."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_plan import Plan
from report_runs import write_run

from oncoweave.serve import findings
from oncoweave.serve.run_folder import read_run
from oncoweave.serve.verdict import verdict


def said(folder: Path) -> str:
    told = verdict(read_run(folder))
    return f"{told.headline}. {' '.join(told.sentences)}"


@pytest.mark.parametrize(
    ("gain", "headline", "words"),
    [
        (0.08, "Better than the baseline", "the model is better than the baseline"),
        (0.001, "Not distinguishable from the baseline", "cannot be told apart"),
        (-0.08, "Worse than the baseline", "The loss over it"),
    ],
)
def test_the_verdict_follows_the_paired_difference(tmp_path, gain, headline, words):
    text = said(write_run(tmp_path / "run", Plan(gain=gain)))
    assert text.startswith(headline)
    assert words in text


def test_a_gain_in_a_measure_where_less_is_better_is_a_negative_difference(tmp_path):
    folder = write_run(tmp_path / "run", Plan(kind="regression", gain=0.08))
    for name in ("metrics", "comparisons"):
        table = pd.read_parquet(folder / f"{name}.parquet")
        table = table[table["metric"] != "mae"].assign(metric="mae")
        if name == "metrics":
            table["higher_is_better"] = False
        table.to_parquet(folder / f"{name}.parquet")
    run = read_run(folder)
    compared = findings.against_reference(run)
    assert compared.reading == "worse"
    assert compared.difference == pytest.approx(-0.08)
    assert compared.low < compared.difference < compared.high < 0


@pytest.mark.parametrize(
    ("low", "p", "p_adjusted", "better_up", "primary", "wanted"),
    [
        (-0.01, 0.001, 0.001, True, True, "not distinguishable"),
        (0.01, 0.001, 0.001, True, False, "better"),
        (0.01, 0.001, 0.001, False, False, "worse"),
        (0.01, 0.02, 0.2, True, False, "not distinguishable"),
        (0.01, 0.02, 0.2, True, True, "better"),
        (0.01, 0.2, 0.2, True, True, "not distinguishable"),
        (np.nan, 0.02, 0.02, True, True, "unknown"),
        (np.nan, 1.0, 1.0, True, True, "not distinguishable"),
    ],
)
def test_a_difference_needs_its_interval_and_its_p(low, p, p_adjusted, better_up, primary, wanted):
    row = pd.Series({"low": low, "high": 0.04, "p": p, "p_adjusted": p_adjusted})
    assert findings.reading(row, better_up=better_up, primary=primary) == wanted


def test_a_second_method_that_does_not_confirm_is_told(tmp_path):
    folder = write_run(tmp_path / "run", Plan(gain=0.08))
    table = pd.read_parquet(folder / "comparisons.parquet")
    table.loc[table["method"].str.startswith("corrected"), "p"] = 0.31
    table.to_parquet(folder / "comparisons.parquet")
    text = said(folder)
    assert text.startswith("Better than the baseline (clinical only), not confirmed by a second test.")
    assert "A second test does not confirm this (corrected resampled t over folds, p = 0.31)." in text


def test_patients_who_lack_a_modality_are_counted(tmp_path):
    folder = write_run(tmp_path / "run", Plan(seed=3))
    patients = pd.read_parquet(folder / "predictions.parquet").drop_duplicates("patient_id")
    found = findings.missing_modalities(read_run(folder))
    assert found.num == 610
    assert found.num_lacking == int((patients["pattern"].str.count(r"\+") < 4).sum())
    assert found.num_unpredicted == 0
    groups = pd.read_parquet(folder / "groups.parquet")
    groups = groups[(groups["model"] == "stacking") & (groups["grouping"] == "pattern")]
    small = (groups["n"] < findings.SMALL_N) | (groups["events"] < findings.SMALL_EVENTS)
    assert len(found.judged) == int((~small).sum()) > 1
    assert found.judged[0].lacks == ()
    assert f"{found.num_lacking} patients lack at least one modality" in said(folder)


def test_a_modality_that_a_fold_cannot_teach_is_not_counted_as_lacking(tmp_path):
    folder = write_run(tmp_path / "run", Plan(seed=3))
    before = findings.missing_modalities(read_run(folder))
    table = pd.read_parquet(folder / "predictions.parquet")
    every = table["pattern"].loc[table["pattern"].str.len().idxmax()]
    hidden = table.loc[table["pattern"] == every, "patient_id"].drop_duplicates().iloc[:7]
    table.loc[table["patient_id"].isin(hidden), "pattern"] = every.rpartition("+")[0]
    table.to_parquet(folder / "predictions.parquet")
    found = findings.missing_modalities(read_run(folder))
    counted = pd.read_parquet(folder / "missingness.parquet")
    assert found.num_lacking == before.num_lacking == counted.loc[counted["pattern"] != every, "n"].sum()
    assert (before.num_untaught, found.num_untaught) == (0, 7)
    assert "7 patients have one that the training patients of a fold could not teach" in said(folder)


def test_patients_without_a_prediction_are_told(tmp_path):
    folder = write_run(tmp_path / "run", Plan())
    table = pd.read_parquet(folder / "predictions.parquet")
    table[~((table["model"] == "stacking") & table["patient_id"].str.endswith("7-X"))].to_parquet(folder / "predictions.parquet")
    assert "61 patients got no prediction from this model" in said(folder)

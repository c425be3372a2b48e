"""What the report makes of models trained on permuted outcomes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_plan import Plan
from report_runs import write_run

from oncoweave.serve.report import page_of
from oncoweave.serve.run_folder import read_run
from oncoweave.serve.verdict import verdict


def said(folder: Path) -> str:
    told = verdict(read_run(folder))
    return f"{told.headline}. {' '.join(told.sentences)}"


@pytest.mark.parametrize(
    ("null", "runs", "words"),
    [
        (0.5, 6, "which is chance, as it should be. Single runs range from"),
        (0.7, 6, "as leaking information would be: trust no figure here"),
        (0.5, 1, "does not contradict chance (0.50), but does not show it either; run more with protocol.permutations"),
        (0.7, 1, "above chance (0.50) in one permuted run; run more with protocol.permutations"),
    ],
)
def test_the_verdict_says_where_the_null_stands(tmp_path, null, runs, words):
    text = said(write_run(tmp_path / "run", Plan(null=null, permutations=runs, num=2000, num_patterns=2)))
    assert words in text
    # one draw of a permutation condemns nothing
    assert text.startswith("Not to be trusted") == ("leaking" in text) == (null > 0.6 and runs > 1)
    assert "information leaks" not in text


def null_run(folder: Path, values: list[float]) -> str:
    write_run(folder, Plan(permutations=len(values)))
    table = pd.read_parquet(folder / "metrics.parquet")
    chosen = (table["role"] == "null") & (table["metric"] == "c_index")
    value = np.array(values)
    table.loc[chosen, ["value", "low", "high"]] = np.stack([value, value - 0.08, value + 0.08], axis=1)
    table.to_parquet(folder / "metrics.parquet")
    return said(folder)


def test_single_permuted_runs_beyond_chance_condemn_nothing_where_their_mean_is_at_chance(tmp_path):
    values = [0.607, 0.592, 0.586, 0.407, 0.409, 0.419, 0.515, 0.470]
    text = null_run(tmp_path / "run", values)
    assert not text.startswith("Not to be trusted")
    assert "scores 0.501 on average of 8 runs" in text and "which is chance, as it should be" in text
    assert "the model itself, 0.681, is better than all of them" in text


@pytest.mark.parametrize("values", [[0.599], [0.57] * 3, [0.46, 0.75, 0.47, 0.82, 0.49]])
def test_a_mean_null_far_from_chance_is_not_called_chance(tmp_path, values):
    text = null_run(tmp_path / "run", values)
    assert "as it should be" not in text
    assert "does not contradict chance (0.50), but does not show it either" in text


def test_permuted_runs_are_one_row_of_the_forest(tmp_path):
    run = read_run(write_run(tmp_path / "run", Plan(permutations=6)))
    figure = next(s for s in page_of(run).sections if s.key == "performance").blocks[0]
    assert figure.svg.count("outcomes permuted, mean of 6 runs</") >= 1
    assert "permuted_2" not in figure.svg and "holds the luck of the permutation" in figure.caption


def test_a_null_that_was_not_run_is_told(tmp_path):
    folder = write_run(tmp_path / "run", Plan())
    table = pd.read_parquet(folder / "metrics.parquet")
    table[table["role"] != "null"].to_parquet(folder / "metrics.parquet")
    assert "has not been checked for leakage" in said(folder)


def test_what_is_not_defined_is_said_with_its_reason(tmp_path):
    folder = write_run(tmp_path / "run", Plan(num=40))
    compared, metrics = (pd.read_parquet(folder / f"{name}.parquet") for name in ("comparisons", "metrics"))
    model, second = compared["model"].iloc[0], compared["method"].str.startswith("corrected")
    compared["note"] = ""
    rows = (compared["model"] == model) & second
    compared.loc[rows, ["low", "high", "p", "p_adjusted"]] = np.nan
    compared.loc[rows, "note"] = "the variance is zero"
    compared.to_parquet(folder / "comparisons.parquet")
    metrics["note"] = np.where(metrics["model"] == model, "no interval: the same value in every bootstrap replicate", "")
    metrics.loc[metrics["model"] == model, ["low", "high"]] = np.nan
    metrics.to_parquet(folder / "metrics.parquet")
    sections = {s.key: s for s in page_of(read_run(folder)).sections}
    table, told = sections["comparisons"].blocks
    assert [row.cells[-2] for row in table.rows].count("not defined") == 1
    assert "Not defined: corrected resampled t over folds" in told.text and "(the variance is zero)" in told.text
    assert any("Interval not defined:" in getattr(block, "text", "") for block in sections["performance"].blocks)

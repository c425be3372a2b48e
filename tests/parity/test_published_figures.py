"""Figures of the page of published results that released risks fix: MCAT's table (Chen et al., ICCV 2021)."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def mcat_table(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("published_mcat_table")
    for name in ("published_mcat_table", "published_line"):
        sys.modules.pop(name, None)


def test_ties_bound_a_c_index(mcat_table):
    fold = pd.DataFrame({"time": [1.0, 2.0, 3.0], "event": [True, True, False], "risk": [0.5, 0.5, 0.1]})
    rows = fold.assign(model="m", cohort="c", fold=0)
    found = mcat_table.fold_figures(rows).loc[("m", "c", 0)]
    # of three pairs two are right and one is tied
    np.testing.assert_allclose(found[["least", "c", "most"]].astype(float), [2 / 3, 2.5 / 3, 1.0])


@pytest.mark.real
def test_the_table_is_rebuilt_from_released_risks(real_data, mcat_table):
    table = mcat_table.figures(mcat_table.released(real_data), real_data)
    assert len(table) == 55
    assert table["to the digit"].sum() >= 50
    assert table["as far as ties tell"].all()
    found = table.set_index(["model", "cohort"])["c"]
    for model, values in mcat_table.PAPER.items():
        for cohort, value in zip(mcat_table.COHORTS, values, strict=True):
            assert found[(model, cohort)] == pytest.approx(value, abs=5e-4), (model, cohort)

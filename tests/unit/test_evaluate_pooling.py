import numpy as np
import pandas as pd
import pytest

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import DataError
from oncoweave.evaluate.concordance import harrell_c
from oncoweave.evaluate.measure import draw, measure
from oncoweave.evaluate.metrics import metrics_of
from oncoweave.evaluate.pairs import survival_pairs
from oncoweave.evaluate.pooling import pair_strata
from oncoweave.evaluate.tables import check_predictions
from oncoweave.evaluate.training_outcomes import training_curves


@pytest.fixture
def planted(rng):
    """Risks that are noise within a fold and a cancer type; each fold has a scale of its own, and one cancer type is deadly."""
    n = 240
    cancer, fold = np.arange(n) % 2, np.arange(n) // 2 % 4
    return pd.DataFrame(
        {
            "patient_id": [f"p{i:03d}" for i in range(n)],
            "site": "a",
            "model": "m",
            "repeat": 0,
            "fold": fold,
            "pattern": "clinical",
            "time": rng.exponential(1 / np.exp(2.0 * cancer)),
            "event": 1,
            "risk": rng.normal(size=n) + 3.0 * cancer + 10.0 * fold,
            "high_risk": np.nan,
            "stratum": np.where(cancer == 1, "GBM", "LGG"),
        }
    )


def c_index(rows, strata):
    columns = (rows[c].to_numpy() for c in ("time", "event", "risk"))
    time, event, risk = columns
    return survival_pairs(time, event > 0.5, risk, strata)(np.ones((1, len(rows)), dtype=np.float32))[0]


def test_raw_pooling_says_something_else_and_is_refused(planted):
    raw = harrell_c(planted["time"].to_numpy(), planted["event"].to_numpy(), planted["risk"].to_numpy())
    by_fold = c_index(planted, pair_strata(planted, ["repeat", "fold"]))
    by_both = c_index(planted, pair_strata(planted))
    assert by_fold > raw + 0.1  # folds' scales hide that the model knows the cancer type
    assert by_both == pytest.approx(0.5, abs=0.06) and by_fold > 0.65  # which is all that it knows
    for by in ([], ["stratum"], ["repeat"]):
        with pytest.raises(DataError, match="holds raw predictions of 4 folds or repeats"):
            pair_strata(planted, by)


def test_a_row_without_a_stratum_is_refused(planted):
    planted.loc[3, "stratum"] = None
    with pytest.raises(DataError, match="'stratum': wanted a value in every row to rank within, got 1 without"):
        pair_strata(planted)


def test_the_metrics_of_a_table_rank_within_its_stratum(planted, rng):
    endpoint = Endpoint(name="os", kind="survival", columns=("time", "event"), time_unit="months")
    values = {}
    for name, frame in (("cancers", planted), ("pooled", planted.drop(columns="stratum"))):
        table = check_predictions(frame, endpoint)
        resamples = draw(table, replicates=20, level=0.95, generator=rng)
        found = measure(table.of("m"), metrics_of(table, training_curves(table)), endpoint, resamples)
        values[name] = found
        assert len(found["c_index"].folds) == 4  # still one value a fold
    assert values["cancers"]["c_index"].value == pytest.approx(c_index(planted, pair_strata(planted)))
    assert values["pooled"]["c_index"].value > 0.65 > 0.6 > values["cancers"]["c_index"].value
    assert values["pooled"]["uno_c"].value > 0.65 > 0.6 > values["cancers"]["uno_c"].value


def test_a_patient_has_one_stratum(planted):
    twice = pd.concat([planted, planted.iloc[:1].assign(repeat=1, stratum="GBM")])
    with pytest.raises(DataError, match="column 'stratum': wanted one value a patient"):
        check_predictions(twice, Endpoint(name="os", kind="survival", columns=("time", "event"), time_unit="months"))

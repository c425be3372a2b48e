import numpy as np
import pandas as pd
import pytest

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import UnknownNameError
from oncoweave.evaluate.comparisons import BOOTSTRAP, RESAMPLED_T
from oncoweave.evaluate.summary import SummaryOptions, summarise
from oncoweave.evaluate.versus import versus

BINARY = Endpoint(name="response", kind="binary", columns=("response",), classes=("no", "yes"))


@pytest.fixture
def predictions(rng) -> pd.DataFrame:
    truth = rng.normal(size=120)
    y = (truth + rng.normal(size=120) > 0).astype(float)
    frames = []
    for repeat in range(2):
        fold = rng.permutation(np.arange(120) % 3)
        for model, share, has in (("good", 1.0, 120), ("poor", 0.2, 100)):
            p = 1 / (1 + np.exp(-share * truth - rng.normal(size=120)))
            frame = {"patient_id": [f"p{i:03d}" for i in range(120)], "site": "north", "model": model, "repeat": repeat}
            frames.append(pd.DataFrame(frame | {"fold": fold, "pattern": "a", "y": y, "p": p}).iloc[:has])
    return pd.concat(frames, ignore_index=True)


def test_it_is_what_the_summary_of_the_same_two_models_says(predictions):
    found = versus(predictions, BINARY, first="good", second="poor", metric="auroc", generator=np.random.default_rng(0))
    told = summarise(
        predictions,
        BINARY,
        roles={"good": "fusion", "poor": "baseline"},
        generator=np.random.default_rng(0),
        options=SummaryOptions(references=("poor",)),
    ).comparisons.query("metric == 'auroc'")
    boot, folds = (told[told["method"] == method].iloc[0] for method in (BOOTSTRAP, RESAMPLED_T))
    assert (found.difference, found.low, found.high, found.p) == tuple(boot[["difference", "low", "high", "p"]])
    assert found.p_folds == folds["p"]
    assert found.n == 100
    assert found.difference > 0


def test_a_metric_that_the_endpoint_has_not_is_refused(predictions):
    with pytest.raises(UnknownNameError, match="no metric of a binary endpoint named 'auorc'; did you mean 'auroc'"):
        versus(predictions, BINARY, first="good", second="poor", metric="auorc", generator=np.random.default_rng(0))


def test_models_of_no_common_patient_are_not_compared_and_the_rest_is(predictions):
    """As where no patient has both modalities: what cannot be compared is said, and nothing else is lost."""
    numbers = predictions["patient_id"].str[1:].astype(int)
    theirs = predictions[(predictions["model"] == "poor") & (numbers >= 60)].assign(model="elsewhere")
    apart = pd.concat([predictions[(predictions["model"] == "good") & (numbers < 60)], theirs])
    found = versus(apart, BINARY, first="good", second="elsewhere", metric="auroc", generator=np.random.default_rng(0))
    assert (found.n, found.note) == (0, "the two models predict no patient in common")
    assert np.isnan([found.difference, found.p, found.p_folds]).all()
    whole = predictions[predictions["model"] == "poor"]
    told = summarise(
        pd.concat([apart, whole], ignore_index=True),
        BINARY,
        roles={"good": "single", "elsewhere": "single", "poor": "fusion"},
        generator=np.random.default_rng(0),
        options=SummaryOptions(references=("elsewhere", "poor"), pair=("good", "elsewhere"), replicates=50),
    )
    rows = told.comparisons.set_index(["model", "reference"]).sort_index()
    assert set(rows.loc[("good", "elsewhere"), "note"]) == {"the two models predict no patient in common"}
    assert rows.loc[("good", "poor"), "p"].notna().any()
    assert rows.loc[("poor", "elsewhere"), "p_adjusted"].notna().any()
    assert told.decision.empty
    assert told.metrics["value"].notna().any()

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

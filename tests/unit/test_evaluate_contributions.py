from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import DataError
from oncoweave.evaluate.contributions import Worths, contributions
from oncoweave.evaluate.discrimination import auroc
from oncoweave.evaluate.shapley import every_subset

RESPONSE = Endpoint(name="response", kind="binary", columns=("response",))
NAMES = ("clinical", "rna", "slide")
SUBSETS = [frozenset(c) for k in (1, 2, 3) for c in combinations(NAMES, k)]


@pytest.fixture
def predictions(rng):
    signal = {name: rng.normal(size=200) for name in NAMES}
    y = (rng.random(200) < 1 / (1 + np.exp(-(2 * signal["rna"] + signal["clinical"])))).astype(int)
    frames = []
    for subset in SUBSETS:
        logit = sum({"rna": 2.0, "clinical": 1.0, "slide": 0.0}[n] * signal[n] for n in subset) + 0.1 * rng.normal(size=200)
        keys = {"patient_id": [f"p{i}" for i in range(200)], "site": "s", "model": "+".join(sorted(subset)), "pattern": "all"}
        frames.append(pd.DataFrame(keys | {"repeat": 0, "fold": np.arange(200) % 2, "y": y, "p": 1 / (1 + np.exp(-logit))}))
    return pd.concat(frames)


def contribute(predictions, subsets, worths=None):
    models, rng = {s: "+".join(sorted(s)) for s in subsets}, np.random.default_rng(0)
    found = contributions(predictions, RESPONSE, models=models, generator=rng, worths=worths, replicates=200)
    return found.set_index("modality")


def test_what_a_modality_adds_is_the_paired_difference(predictions):
    found = contribute(predictions, SUBSETS)

    def pooled(model):
        rows = predictions[predictions["model"] == model]
        areas, sizes = [], []
        for _, inside in rows.groupby("fold"):
            areas.append(auroc(inside["y"].to_numpy(), inside["p"].to_numpy()))
            sizes.append(inside["y"].sum() * (1 - inside["y"]).sum())
        return np.average(areas, weights=sizes)

    assert found.loc["rna", "adds"] == pytest.approx(pooled("clinical+rna+slide") - pooled("clinical+slide"))
    assert found.loc["rna", "low"] > 0
    assert found.loc["slide", "low"] < 0 < found.loc["slide", "high"]
    assert found["share"].sum() == pytest.approx(1.0)
    assert found["share"].idxmax() == "rna"
    note = "auroc on the 200 patients who have any of the modalities; Shapley values exact, from all 7 subsets"
    assert found["note"].tolist() == [note] * 3
    assert found["shapley"].sum() == pytest.approx(pooled("clinical+rna+slide") - 0.5)
    assert found["shapley_se"].tolist() == [0.0] * 3


def test_a_subset_that_was_not_run_is_noted(predictions):
    found = contribute(predictions, [s for s in SUBSETS if s != frozenset({"clinical", "rna"})])
    assert np.isnan(found.loc["slide", "adds"]) and "no model without slide" in found.loc["slide", "note"]
    assert np.isfinite(found.loc["rna", "adds"])
    # leaving each out once would give the useless slide an even part of what the others share
    assert found["share"].isna().all() and found["shapley"].isna().all()
    assert "no share: the model was fitted on 6 of 7 subsets" in found.loc["rna", "note"]


def test_worths_of_more_subsets_than_have_a_model_are_divided(predictions):
    names = list(NAMES)
    additive = {s: 0.5 + sum({"clinical": 0.1, "rna": 0.2, "slide": 0.0}[n] for n in s) for s in every_subset(names)}
    leave_one_out = [s for s in SUBSETS if len(s) > 1]
    found = contribute(predictions, leave_one_out, Worths(values=additive))
    assert found["share"].to_dict() == pytest.approx({"clinical": 1 / 3, "rna": 2 / 3, "slide": 0.0}, abs=1e-9)
    orders = (tuple(names), tuple(names[::-1])) * 2
    found = contribute(predictions, leave_one_out, Worths(values=additive, orders=orders))
    assert found["shapley"].to_dict() == pytest.approx({"clinical": 0.1, "rna": 0.2, "slide": 0.0}, abs=1e-9)
    assert "estimated from 4 orders of the 3 modalities, 7 of 7 subsets (standard error 0.0000" in found.loc["rna", "note"]


def test_a_gain_below_zero_is_divided_but_has_no_shares(predictions):
    worths = Worths(values={s: 0.5 - 0.01 * len(s) for s in every_subset(list(NAMES))})
    found = contribute(predictions, [s for s in SUBSETS if len(s) > 1], worths)
    assert found["shapley"].tolist() == pytest.approx([-0.01] * 3)
    assert found["share"].isna().all() and "gain -0.03 over none" in found.loc["rna", "note"]


def test_a_model_that_lacks_patients_is_refused(predictions):
    lacking = predictions[~((predictions["model"] == "rna") & (predictions["patient_id"] < "p2"))]
    with pytest.raises(DataError, match=r"model 'rna' lacks \d+ of the 200 rows"):
        contribute(lacking, SUBSETS)


def test_a_model_of_everything_is_needed(predictions):
    with pytest.raises(DataError, match="wanted a model of all modalities"):
        contribute(predictions, [s for s in SUBSETS if len(s) < 3])


def test_a_gain_that_may_be_zero_has_values_but_no_shares(predictions):
    noise = np.random.default_rng(1).random(len(predictions))
    found = contribute(
        predictions.assign(p=noise), SUBSETS, Worths(values={s: 0.45 + 0.001 * len(s) for s in every_subset(NAMES)})
    )
    assert found["shapley"].tolist() == pytest.approx([0.001] * 3)
    assert found["share"].isna().all() and "may be zero" in found.loc["rna", "note"]

from itertools import combinations, permutations

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import DataError
from oncoweave.evaluate.contributions import contributions, shapley_shares
from oncoweave.evaluate.discrimination import auroc

RESPONSE = Endpoint(name="response", kind="binary", columns=("response",))
NAMES = ("clinical", "rna", "slide")
SUBSETS = [frozenset(c) for k in (1, 2, 3) for c in combinations(NAMES, k)]


def by_permutation(values, chance):
    """Shapley's definition: the mean gain of joining, over all orders."""
    value = {frozenset(): chance} | values
    shares = dict.fromkeys(NAMES, 0.0)
    for order in permutations(NAMES):
        for index, name in enumerate(order):
            shares[name] += (value[frozenset(order[: index + 1])] - value[frozenset(order[:index])]) / 6
    total = value[frozenset(NAMES)] - chance
    return {name: share / total for name, share in shares.items()}


def test_shares_are_shapley_values(rng):
    values = {s: 0.5 + 0.1 * len(s) + 0.05 * rng.random() for s in SUBSETS}
    shares, reason = shapley_shares(values, chance=0.5)
    assert shares == pytest.approx(by_permutation(values, 0.5))
    assert sum(shares.values()) == pytest.approx(1.0)
    assert reason == ""


def test_two_modalities_that_tell_the_same_share_evenly():
    both = {frozenset({"rna"}): 0.7, frozenset({"slide"}): 0.7, frozenset({"rna", "slide"}): 0.7}
    assert shapley_shares(both, chance=0.5)[0] == pytest.approx({"rna": 0.5, "slide": 0.5})


@pytest.mark.parametrize(
    ("values", "chance", "reason"),
    [
        ({frozenset({"a", "b"}): 0.7}, 0.5, "1 of 3 subsets were run, too few to tell"),
        ({frozenset({"a"}): 0.4, frozenset({"b"}): 0.4, frozenset({"a", "b"}): 0.45}, 0.5, "gain -0.05 over chance"),
        ({frozenset({"a"}): 0.7, frozenset({"a", "b"}): 0.7}, None, "no value at chance"),
    ],
)
def test_shares_that_cannot_be_told_say_why(values, chance, reason):
    shares, said = shapley_shares(values, chance=chance)
    assert shares == {} and reason in said


def test_leave_one_out_subsets_give_an_approximate_share():
    additive = {s: 0.5 + sum({"clinical": 0.1, "rna": 0.2, "slide": 0.0}[n] for n in s) for s in SUBSETS if len(s) > 1}
    shares, reason = shapley_shares(additive, chance=0.5)
    assert shares == pytest.approx({"clinical": 1 / 3, "rna": 2 / 3, "slide": 0.0}, abs=1e-9)
    assert "approximate: 4 of 7 subsets" in reason


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


def contribute(predictions, subsets):
    models = {s: "+".join(sorted(s)) for s in subsets}
    found = contributions(predictions, RESPONSE, models=models, generator=np.random.default_rng(0), replicates=200)
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
    assert found["note"].tolist() == ["auroc on the 200 patients whom every subset compared can predict"] * 3


def test_a_subset_that_was_not_run_is_noted(predictions):
    found = contribute(predictions, [s for s in SUBSETS if s != frozenset({"clinical", "rna"})])
    assert np.isnan(found.loc["slide", "adds"]) and "no model without slide" in found.loc["slide", "note"]
    assert np.isfinite(found.loc["rna", "adds"])


def test_a_model_of_everything_is_needed(predictions):
    with pytest.raises(DataError, match="wanted a model of all modalities"):
        contribute(predictions, [s for s in SUBSETS if len(s) < 3])

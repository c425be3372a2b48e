"""Early fusions on a fold: stand-ins for absent blocks are part of the model, and supervised columns come from other patients."""

import numpy as np
import pytest

from oncoweave.core import shelf
from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.core.state import load_state, save_state
from oncoweave.fusion import pls
from oncoweave.modalities import embedding
from oncoweave.train.dataset import Dataset
from oncoweave.train.filling import FittedFilled, Policy, fit_filled
from oncoweave.train.fold import Fold
from oncoweave.train.late_learner import fit_late
from oncoweave.train.linear_learner import fit_linear

N = 90
WIDTHS = {"a": 3, "b": 40}


def _dataset(rng, n=N, *, told=1.0):
    truth = rng.normal(size=n)
    samples = {}
    for name, width in WIDTHS.items():
        values = rng.normal(size=(n, width))
        values[:, 0] += 1.5 * told * truth
        who = rng.random(n) < (1.0 if name == "a" else 0.7)
        columns = tuple(f"{name}{j}" for j in range(width))
        samples[name] = tuple(
            embedding.Sample(patient_id=f"P{i}", path="drawn", columns=columns, values=values[i : i + 1]) if who[i] else None
            for i in range(n)
        )
    endpoint = Endpoint(name="y", kind="binary", columns=("y",))
    target = Target(endpoint=endpoint, values=(truth > 0).astype(float))
    ids = np.array([f"P{i}" for i in range(n)], dtype=object)
    site = np.array(["A"] * n, dtype=object)
    return Dataset(patient_ids=ids, site=site, target=target, samples=samples, kinds=dict.fromkeys(WIDTHS, "embedding"))


def _fold(data):
    return Fold(train=data, seed=0, inner_folds=3, group_by_site=False)


def _told(scores, target):
    known = ~np.isnan(scores[:, 0])
    return np.corrcoef(scores[known, 0], target.values[known])[0, 1]


@pytest.mark.parametrize("missing", ["mask", "mean", "knn", "iterative", "retrieval"])
def test_a_stand_in_is_fitted_stored_and_applied_with_the_model(missing, rng, tmp_path):
    data, new = _dataset(rng), _dataset(rng)
    policy = None if missing == "mask" else Policy(name=missing)
    trained = fit_filled(_fold(data), list(WIDTHS), policy, lambda f: fit_linear(f, list(WIDTHS), fusion="concat"))
    assert isinstance(trained.fitted, FittedFilled) == (missing != "mask")
    if missing != "mask":
        blocks = {m: trained.fitted.preparations[m].block(new.samples[m]) for m in WIDTHS}
        model = trained.fitted.fitted
        fused = model.fusion.transform(trained.fitted.filling.policy.transform(blocks))
        np.testing.assert_allclose(trained.fitted.predict(new), model.head.predict(fused))
    save_state(tmp_path / "model.safetensors", trained.fitted)
    again = load_state(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.predict(new), trained.fitted.predict(new))
    assert _told(trained.fitted.predict(new), new.outcome) > 0.4
    alone = np.vstack([again.predict(new.take(np.array([i]))) for i in range(10)])
    np.testing.assert_allclose(alone, again.predict(new)[:10], atol=1e-10)


@pytest.mark.parametrize("penalty", ["per_modality", "group_lasso", "ipf_lasso", "priority_lasso"])
def test_every_penalty_of_blocks_tells_of_the_outcome(penalty, rng):
    data, new = _dataset(rng), _dataset(rng)
    trained = fit_linear(_fold(data), list(WIDTHS), fusion="concat", penalty=penalty)
    assert set(trained.fitted.head.model.penalty.blocks) == set(WIDTHS)
    assert _told(trained.fitted.predict(new), new.outcome) > 0.4
    assert _told(trained.out_of_fold, data.outcome) > 0.3


def test_supervised_columns_do_not_flatter_what_is_fitted_on_them(rng):
    """Of noise, components that saw the outcome tell it perfectly; those of patients left out tell nothing."""
    data = _dataset(rng, told=0.0)
    trained = fit_linear(_fold(data), ["b"], fusion="pls")
    plain = fit_linear(_fold(data), ["b"], fusion="concat")
    assert _told(trained.out_of_fold, data.outcome) < _told(plain.out_of_fold, data.outcome) + 0.2
    block = trained.fitted.preparations["b"].block(data.samples["b"])
    has = ~np.isnan(block).all(axis=1)
    seen = pls.fit({"b": block[has]}, pls.Config(), data.outcome.take(has)).transform({"b": block[has]})
    assert _told(seen, data.outcome.take(has)) > 0.6
    informative = _dataset(rng)
    fitted = fit_linear(_fold(informative), list(WIDTHS), fusion="pls").fitted
    new = _dataset(rng)
    assert _told(fitted.predict(new), new.outcome) > 0.4


def test_rules_are_told_the_names_of_their_modalities(rng):
    fold = _fold(_dataset(rng))
    bases = [fit_linear(fold, [m], fusion="concat") for m in WIDTHS]
    _, fused = fit_late(fold, list(WIDTHS), bases, fusion="rules", settings={"override": "b"})
    assert fused.override == 1
    with pytest.raises(LookupError, match="no modality"):
        rules = shelf.load("fusion", "rules")
        rules.check(rules.Config(override="c"), tuple(WIDTHS))
